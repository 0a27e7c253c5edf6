/* SPDX-License-Identifier: BSD-2-Clause */
/* See magazine.h. Keeps I-15. The owner's calls run on the lane's thread. */
#include "job/magazine.h"

#include "job/lane.h"

static pfk_atomic_u64 *magazine_word(const struct prefork_table *table, uint32_t index)
{
    return &pfk_table_descriptor(table, index)->word;
}

bool pfk_magazine_prepare(struct prefork_lane *lane, uint32_t index)
{
    struct pfk_magazine *const magazine = &lane->magazine;
    const uint32_t place = magazine->top;

    if (magazine->words[place] != 0 &&
        pfk_u64_load_relaxed(magazine_word(lane->table, magazine->indexes[place])) == magazine->words[place])
        return false; /* the oldest is still there */
    pfk_u32_store_relaxed(&lane->shm->magazine[place], index + 1);
    return true;
}

void pfk_magazine_put(struct prefork_lane *lane, uint32_t index, uint64_t spare)
{
    struct pfk_magazine *const magazine = &lane->magazine;

    magazine->words[magazine->top] = spare;
    magazine->indexes[magazine->top] = index;
    magazine->top = (magazine->top + 1) % PFK_MAGAZINE_PLACES;
}

uint64_t pfk_magazine_take(struct prefork_lane *lane, uint32_t *index_out)
{
    struct pfk_magazine *const magazine = &lane->magazine;

    for (uint32_t i = 0; i < PFK_MAGAZINE_PLACES; i++) {
        const uint32_t place = (magazine->top - 1) % PFK_MAGAZINE_PLACES;
        uint64_t spare = magazine->words[place];
        const uint64_t reserved = pfk_word_reserved(spare, lane->number);

        if (spare == 0)
            return 0;
        magazine->words[place] = 0;
        magazine->top = place;
        *index_out = magazine->indexes[place];
        if (PFK_LIKELY(pfk_u64_cas_acq_rel(magazine_word(lane->table, *index_out), &spare, reserved)))
            return reserved;
    }
    return 0;
}

void pfk_magazine_empty(struct prefork_lane *lane)
{
    struct pfk_magazine *const magazine = &lane->magazine;

    for (uint32_t place = 0; place < PFK_MAGAZINE_PLACES; place++) {
        const uint32_t index = magazine->indexes[place];
        uint64_t spare = magazine->words[place];

        magazine->words[place] = 0;
        if (spare == 0 || !pfk_u64_cas_acq_rel(magazine_word(lane->table, index), &spare,
                                               pfk_word_moved(spare, PFK_FREEING, lane->number)))
            continue;
        (void)pfk_rings_put_free(&lane->rings, index);
        (void)pfk_table_wake_room(lane->table);
    }
}

/* -- for all ----------------------------------------------------------------- */

/* Is told of a SPARE slot; true ends the search. */
typedef bool magazine_visit_fn(pfk_atomic_u64 *at, uint64_t spare, uint32_t index, void *context);

static bool magazine_search_lane(const struct prefork_table *table, uint32_t number, magazine_visit_fn *visit,
                                 void *context)
{
    const struct pfk_lane_shm *const lane = pfk_table_lane(table, number);

    for (uint32_t place = 0; place < PFK_MAGAZINE_PLACES; place++) {
        const uint32_t hint = pfk_u32_load_relaxed(&lane->magazine[place]);
        uint64_t word;

        if (hint == 0 || hint > table->geometry.slots)
            continue;
        word = pfk_u64_load_acquire(magazine_word(table, hint - 1));
        if (pfk_word_state(word) == PFK_SPARE && visit(magazine_word(table, hint - 1), word, hint - 1, context))
            return true;
    }
    return false;
}

/* Looks through the magazines of all open lanes; bounded: a line of hints each. */
static bool magazine_search(const struct prefork_table *table, magazine_visit_fn *visit, void *context)
{
    for (uint32_t base = 0; base <= table->geometry.lanes; base += 64) {
        uint64_t open = pfk_u64_load_acquire(&table->work->open_lanes[base / 64]);

        for (; open != 0; open &= open - 1) {
            const uint32_t number = base + (uint32_t)__builtin_ctzll(open);

            if (pfk_table_is_lane(table, number) && magazine_search_lane(table, number, visit, context))
                return true;
        }
    }
    return false;
}

struct magazine_taking {
    uint32_t lane;
    uint32_t index;
    uint64_t reserved;
};

static bool magazine_visit_to_take(pfk_atomic_u64 *at, uint64_t spare, uint32_t index, void *context)
{
    struct magazine_taking *const taking = context;

    taking->index = index;
    taking->reserved = pfk_word_reserved(spare, taking->lane);
    return pfk_u64_cas_acq_rel(at, &spare, taking->reserved);
}

uint64_t pfk_magazine_take_any(const struct prefork_table *table, uint32_t lane, uint32_t *index_out)
{
    struct magazine_taking taking = {.lane = lane};

    if (!magazine_search(table, magazine_visit_to_take, &taking))
        return 0;
    *index_out = taking.index;
    return taking.reserved;
}

static bool magazine_visit_to_see(pfk_atomic_u64 *at, uint64_t spare, uint32_t index, void *context)
{
    (void)at;
    (void)spare;
    (void)index;
    (void)context;
    return true;
}

bool pfk_magazine_any(const struct prefork_table *table)
{
    return magazine_search(table, magazine_visit_to_see, NULL);
}
