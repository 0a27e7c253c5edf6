/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/load.h"

#include "job/control.h"

/* So many threads are looked at: of a larger family, the next ones by number. */
#define LOAD_LOOK 64
/* A thread yields when it has more than the average by a part, and some. */
#define LOAD_OPEN_PART  16
#define LOAD_OPEN_SOME  1
#define LOAD_TAKEN_SOME 2
/* What comes in while it looks away the others must be able to take without
 * getting ahead of it themselves: so many, shared by them. Of those that are
 * open, what is taken at once; it may be gone again a moment later. */
#define LOAD_OPEN_BURST  16
#define LOAD_TAKEN_BURST 32

/* Further ahead nobody is said to be, so that sums stay whole. */
#define LOAD_AHEAD_MAX (INT64_C(1) << 56)

/* Of the others that are at work. */
struct load_average {
    uint32_t n;
    uint64_t open;
    int64_t ahead; /* connections that they have taken more than this thread */
};

static uint32_t load_family_size(const struct pfk_load *load)
{
    return load->family.seats * load->family.threads_per_seat;
}

uint32_t pfk_load_lane(const struct prefork_table *table, const struct pfk_load_family *family, uint32_t number)
{
    return prefork_table_worker_lane(table, number / family->threads_per_seat, 0, number % family->threads_per_seat);
}

/* How far a lane is ahead, negative: behind. Who fell far behind weighs no more
 * than who fell behind a little. A difference, which is right wherever the
 * numbers stand: a lie may have brought them anywhere. */
static int64_t load_ahead(const struct pfk_load *load, uint32_t lane)
{
    const uint64_t taken = pfk_table_counter(load->table, lane, PFK_COUNT_CONNECTIONS_TAKEN);
    const int64_t ahead = (int64_t)(taken - load->taken);

    if (ahead < -PFK_LOAD_MEMORY)
        return -PFK_LOAD_MEMORY;
    return ahead < LOAD_AHEAD_MAX ? ahead : LOAD_AHEAD_MAX;
}

static struct load_average load_look(const struct pfk_load *load)
{
    const uint32_t size = load_family_size(load);
    struct load_average average = {.n = 0};

    for (uint32_t i = 1; i < size && i <= LOAD_LOOK; i++) {
        const uint32_t lane = pfk_load_lane(load->table, &load->family, (load->number + i) % size);

        if (!pfk_table_lane_open(load->table, lane))
            continue;
        average.n++;
        average.open += pfk_table_counter(load->table, lane, PFK_COUNT_CONNECTIONS_NOW);
        average.ahead += load_ahead(load, lane);
    }
    if (average.n > 0) {
        average.open /= average.n;
        average.ahead /= (int64_t)average.n;
    }
    return average;
}

void pfk_load_open(struct pfk_load *load, struct prefork_table *table, struct prefork_lane *lane,
                   const struct pfk_load_family *family, uint32_t number)
{
    *load = (struct pfk_load){.table = table, .lane = lane, .family = *family, .number = number};
    load->taken = (uint64_t)load_look(load).ahead;
    pfk_lane_publish(lane, PFK_COUNT_CONNECTIONS_TAKEN, load->taken);
}

bool pfk_load_yields(struct pfk_load *load, uint64_t n_connections)
{
    const struct load_average others = load_look(load);

    if (others.n == 0)
        return false;
    if (others.ahead > PFK_LOAD_MEMORY)
        load->taken += (uint64_t)(others.ahead - PFK_LOAD_MEMORY);
    if (n_connections > others.open + others.open / LOAD_OPEN_PART + LOAD_OPEN_SOME + LOAD_OPEN_BURST / others.n)
        return true;
    return n_connections + LOAD_OPEN_SOME >= others.open &&
           -others.ahead > LOAD_TAKEN_SOME + LOAD_TAKEN_BURST / (int64_t)others.n;
}

void pfk_load_take(struct pfk_load *load)
{
    pfk_lane_publish(load->lane, PFK_COUNT_CONNECTIONS_TAKEN, ++load->taken);
}

uint64_t pfk_load_connections(const struct pfk_load *load)
{
    const uint32_t size = load_family_size(load);
    uint64_t sum = 0;

    if (size == 0)
        return pfk_table_counter(load->table, prefork_lane_number(load->lane), PFK_COUNT_CONNECTIONS_NOW);
    for (uint32_t number = 0; number < size; number++) {
        const uint32_t lane = pfk_load_lane(load->table, &load->family, number);

        if (pfk_table_lane_open(load->table, lane))
            sum += pfk_table_counter(load->table, lane, PFK_COUNT_CONNECTIONS_NOW);
    }
    return sum;
}
