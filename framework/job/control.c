/* SPDX-License-Identifier: BSD-2-Clause */
/* The control segment and the upper layers' counters; see control.h. */
#include "job/control.h"

#include <fcntl.h>

#include "base/fd.h"
#include "job/lane.h"

static struct pfk_seat_shm *control_seat(const struct prefork_table *table, uint32_t seat)
{
    struct pfk_seat_shm *const seats = (struct pfk_seat_shm *)(void *)(table->control + 1);

    return &seats[seat];
}

void pfk_control_set_phase(struct prefork_table *table, enum pfk_phase phase)
{
    pfk_u32_store_release(&table->control->phase, (uint32_t)phase);
}

enum pfk_phase pfk_control_phase(const struct prefork_table *table)
{
    const uint32_t phase = pfk_u32_load_acquire(&table->control->phase);

    return phase > PFK_PHASE_FINISHING ? PFK_PHASE_FINISHING : (enum pfk_phase)phase;
}

void pfk_control_set_seat(struct prefork_table *table, uint32_t seat, const struct pfk_seat *status)
{
    struct pfk_seat_shm *const shm = control_seat(table, seat);

    pfk_u32_store_relaxed(&shm->incarnation, status->incarnation);
    pfk_u32_store_relaxed(&shm->generation, status->generation);
    pfk_u32_store_relaxed(&shm->ready, status->ready);
    pfk_u64_store_relaxed(&shm->started_ns, status->started_ns);
    pfk_u32_store_release(&shm->pid, (uint32_t)status->pid);
}

void pfk_control_seat(const struct prefork_table *table, uint32_t seat, struct pfk_seat *status_out)
{
    const struct pfk_seat_shm *const shm = control_seat(table, seat);

    status_out->pid = (int32_t)pfk_u32_load_acquire(&shm->pid);
    status_out->incarnation = pfk_u32_load_relaxed(&shm->incarnation);
    status_out->generation = pfk_u32_load_relaxed(&shm->generation);
    status_out->ready = pfk_u32_load_relaxed(&shm->ready);
    status_out->started_ns = pfk_u64_load_relaxed(&shm->started_ns);
}

int pfk_control_enter_child(struct prefork_table *table)
{
    int rc = prefork_segment_detach(table->control_segment);

    if (rc == 0)
        rc = prefork_segment_attach(table->control_segment, PREFORK_SEGMENT_READ_ONLY);
    if (rc != 0)
        return rc;
    table->control = prefork_segment_address(table->control_segment);
    rc = prefork_segment_keep_from_children(table->control_segment);
    return rc != 0 ? rc : prefork_segment_keep_from_children(table->work_segment);
}

void pfk_table_leave_loops(struct prefork_table *table)
{
    table->leaves_loops = true;
}

bool pfk_table_has_producers(const struct prefork_table *table)
{
    uint32_t lane;

    for (uint32_t i = 0; (lane = prefork_table_outside_lane(table, i)) != 0; i++)
        if (pfk_u32_load_relaxed(&pfk_table_lane(table, lane)->in_use) != 0)
            return true;
    return table->store != NULL;
}

void pfk_table_ring_loop(const struct prefork_table *table, uint32_t lane)
{
    if (!pfk_table_is_lane(table, lane) || pfk_u32_load_relaxed(&pfk_table_lane(table, lane)->in_use) == 0)
        return;
    (void)fcntl(table->wake_fds[lane], F_SETFL, O_NONBLOCK); /* who died may have changed that */
    (void)pfk_fd_event_signal(table->wake_fds[lane]);
}

void pfk_lane_count(struct prefork_lane *lane, enum pfk_lane_counter counter, uint64_t by)
{
    pfk_u64_bump_relaxed(&lane->shm->counters[counter], by);
}

void pfk_lane_publish(struct prefork_lane *lane, enum pfk_lane_counter counter, uint64_t value)
{
    pfk_u64_store_relaxed(&lane->shm->counters[counter], value);
}

bool pfk_table_lane_open(const struct prefork_table *table, uint32_t lane)
{
    return pfk_u32_load_relaxed(&pfk_table_lane(table, lane)->in_use) != 0;
}

uint64_t pfk_table_published_sum(const struct prefork_table *table, enum pfk_lane_counter counter)
{
    uint64_t sum = 0;

    for (uint32_t lane = 1; lane <= table->geometry.lanes; lane++)
        sum += pfk_table_lane_open(table, lane) ? pfk_table_counter(table, lane, counter) : 0;
    return sum;
}

uint64_t pfk_table_counter(const struct prefork_table *table, uint32_t lane, enum pfk_lane_counter counter)
{
    return pfk_u64_load_relaxed(&pfk_table_lane(table, lane)->counters[counter]);
}

uint64_t pfk_table_counter_sum(const struct prefork_table *table, enum pfk_lane_counter counter)
{
    uint64_t sum = 0;

    for (uint32_t lane = 1; lane <= table->geometry.lanes; lane++)
        sum += pfk_table_counter(table, lane, counter);
    return sum;
}
