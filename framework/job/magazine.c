/* SPDX-License-Identifier: BSD-2-Clause */
/* See magazine.h. Keeps I-15. Any participant; the calls that take a lane run on
 * its thread. Every loop is bounded by the number of places. */
#include "job/magazine.h"

#include "job/lane.h"

/* `bottom` is shared, so it is told only now and then. */
#define MAGAZINE_TELL 16

enum magazine_find { MAGAZINE_STALE, MAGAZINE_PENDING, MAGAZINE_SPARE };

static pfk_atomic_u64 *magazine_place(struct pfk_magazine_shm *magazine, uint64_t ticket)
{
    return &magazine->hints[ticket % PFK_MAGAZINE_PLACES];
}

/* What became of the slot that a hint names. Pending: its owner is about to
 * make it SPARE. */
static enum magazine_find magazine_look(const struct prefork_table *table, uint64_t hint, uint64_t *word_out)
{
    if (pfk_job_index(hint) >= table->geometry.slots)
        return MAGAZINE_STALE;
    *word_out = pfk_u64_load_acquire(&pfk_table_descriptor(table, pfk_job_index(hint))->word);
    if (pfk_word_life(*word_out) != pfk_job_life(hint))
        return MAGAZINE_STALE;
    return pfk_word_state(*word_out) == PFK_SPARE ? MAGAZINE_SPARE : MAGAZINE_PENDING;
}

void pfk_magazine_open(struct prefork_lane *lane)
{
    struct pfk_magazine *const magazine = &lane->magazine;

    magazine->top = pfk_u64_load_relaxed(&lane->shm->magazine.top); /* goes on: tickets are never used again */
    magazine->own = (struct pfk_magazine_cursor){lane->number, magazine->top};
}

/* Writes the hint for a slot that is about to be SPARE in the life of `word`;
 * false when the magazine is full. Most times `bottom` tells that it is not, and
 * the word of the oldest hint, in another cache line, is not looked at. */
static bool magazine_hint(struct prefork_lane *lane, uint32_t index, uint64_t word)
{
    struct pfk_magazine *const magazine = &lane->magazine;
    struct pfk_magazine_shm *const shm = &lane->shm->magazine;
    pfk_atomic_u64 *const place = magazine_place(shm, magazine->top);
    uint64_t oldest;

    if (PFK_UNLIKELY(magazine->top - pfk_u64_load_relaxed(&shm->bottom) >= PFK_MAGAZINE_PLACES) &&
        magazine_look(lane->table, pfk_u64_load_relaxed(place), &oldest) != MAGAZINE_STALE)
        return false;
    pfk_u64_store_relaxed(place, pfk_job_id(word, index));
    pfk_u64_store_release(&shm->top, ++magazine->top); /* after the hint */
    return true;
}

bool pfk_magazine_free(struct prefork_lane *lane, uint32_t index, uint64_t *word)
{
    const bool spare = magazine_hint(lane, index, *word);
    const uint64_t freed = pfk_word_moved(*word, spare ? PFK_SPARE : PFK_FREEING, lane->number);

    if (PFK_UNLIKELY(!pfk_u64_cas_acq_rel(&pfk_table_descriptor(lane->table, index)->word, word, freed)))
        return false;
    if (PFK_UNLIKELY(!spare))
        (void)pfk_rings_put_free(&lane->rings, index);
    return true;
}

/* Where to begin: hints of tickets further back were overwritten. */
static uint64_t magazine_begin(uint64_t ticket, uint64_t top)
{
    return top - ticket <= PFK_MAGAZINE_PLACES ? ticket : top - PFK_MAGAZINE_PLACES;
}

void pfk_magazine_follow(struct prefork_lane *lane, uint32_t number)
{
    const uint64_t bottom = pfk_u64_load_relaxed(&pfk_table_lane(lane->table, number)->magazine.bottom);

    lane->magazine.source = (struct pfk_magazine_cursor){number, bottom};
}

uint64_t pfk_magazine_take(struct prefork_lane *lane, struct pfk_magazine_cursor *cursor)
{
    const struct prefork_table *const table = lane->table;
    struct pfk_magazine_shm *const shm = &pfk_table_lane(table, cursor->lane)->magazine;
    const uint64_t top = pfk_u64_load_acquire(&shm->top);
    bool all_stale = true;

    for (uint64_t ticket = magazine_begin(cursor->ticket, top); ticket != top; ticket++) {
        const uint64_t hint = pfk_u64_load_relaxed(magazine_place(shm, ticket));
        const uint32_t index = pfk_job_index(hint);
        uint64_t word = 0, reserved;
        const enum magazine_find find = magazine_look(table, hint, &word);

        all_stale = all_stale && find != MAGAZINE_PENDING;
        if (all_stale)
            cursor->ticket = ticket + 1; /* stale, or soon: whether we take it or another does */
        if (find != MAGAZINE_SPARE)
            continue;
        reserved = pfk_word_reserved(word, lane->number);
        if (PFK_UNLIKELY(!pfk_u64_cas_acq_rel(&pfk_table_descriptor(table, index)->word, &word, reserved)))
            continue;
        if (all_stale && cursor->ticket % MAGAZINE_TELL == 0)
            pfk_u64_store_relaxed(&shm->bottom, cursor->ticket);
        return pfk_job_id(reserved, index);
    }
    return 0;
}

/* Moves a slot of ours to a free ring, if nobody took it. */
static void magazine_give_away(struct prefork_lane *lane, uint32_t index, uint64_t spare)
{
    if (!pfk_u64_cas_acq_rel(&pfk_table_descriptor(lane->table, index)->word, &spare,
                             pfk_word_moved(spare, PFK_FREEING, lane->number)))
        return;
    (void)pfk_rings_put_free(&lane->rings, index);
    (void)pfk_table_wake_room(lane->table);
}

void pfk_magazine_empty(struct prefork_lane *lane)
{
    const struct pfk_magazine *const magazine = &lane->magazine;

    for (uint64_t i = magazine_begin(magazine->own.ticket, magazine->top); i != magazine->top; i++) {
        const uint64_t hint = pfk_u64_load_relaxed(magazine_place(&lane->shm->magazine, i));
        uint64_t word;

        if (magazine_look(lane->table, hint, &word) == MAGAZINE_SPARE && pfk_word_owner(word) == lane->number)
            magazine_give_away(lane, pfk_job_index(hint), word);
    }
}

/* -- all magazines ------------------------------------------------------------- */

/* Calls `visit` for each lane in use, until it returns true. */
static bool magazine_each(const struct prefork_table *table, bool (*visit)(uint32_t number, void *context),
                          void *context)
{
    for (uint32_t base = 0; base <= table->geometry.lanes; base += 64) {
        uint64_t open = pfk_u64_load_acquire(&table->work->open_lanes[base / 64]);

        for (; open != 0; open &= open - 1) {
            const uint32_t number = base + (uint32_t)__builtin_ctzll(open);

            if (pfk_table_is_lane(table, number) && visit(number, context))
                return true;
        }
    }
    return false;
}

struct magazine_taking {
    struct prefork_lane *lane;
    uint64_t job;
};

static bool magazine_take_of(uint32_t number, void *context)
{
    struct magazine_taking *const taking = context;
    pfk_atomic_u64 *const bottom = &pfk_table_lane(taking->lane->table, number)->magazine.bottom;
    const uint64_t seen = pfk_u64_load_relaxed(bottom);
    struct pfk_magazine_cursor cursor = {number, seen};

    taking->job = pfk_magazine_take(taking->lane, &cursor);
    if (cursor.ticket != seen)
        pfk_u64_store_relaxed(bottom, cursor.ticket);
    if (taking->job != 0 && number != taking->lane->number)
        taking->lane->magazine.source = cursor;
    return taking->job != 0;
}

uint64_t pfk_magazine_take_any(struct prefork_lane *lane)
{
    struct magazine_taking taking = {lane, 0};

    (void)magazine_each(lane->table, magazine_take_of, &taking);
    return taking.job;
}

static bool magazine_has(uint32_t number, void *context)
{
    const struct prefork_table *const table = context;
    struct pfk_magazine_shm *const shm = &pfk_table_lane(table, number)->magazine;
    const uint64_t top = pfk_u64_load_acquire(&shm->top);
    uint64_t word;

    for (uint64_t ticket = magazine_begin(pfk_u64_load_relaxed(&shm->bottom), top); ticket != top; ticket++)
        if (magazine_look(table, pfk_u64_load_relaxed(magazine_place(shm, ticket)), &word) == MAGAZINE_SPARE)
            return true;
    return false;
}

bool pfk_magazine_any(const struct prefork_table *table)
{
    return magazine_each(table, magazine_has, (void *)(uintptr_t)table);
}

bool pfk_magazine_names(const struct prefork_table *table, uint32_t number, uint32_t index, uint64_t word)
{
    struct pfk_magazine_shm *const shm = &pfk_table_lane(table, number)->magazine;
    const uint64_t top = pfk_u64_load_relaxed(&shm->top);

    for (uint64_t ticket = magazine_begin(pfk_u64_load_relaxed(&shm->bottom), top); ticket != top; ticket++)
        if (pfk_u64_load_relaxed(magazine_place(shm, ticket)) == pfk_job_id(word, index))
            return true;
    return false;
}
