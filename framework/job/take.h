/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking the slot whose entry is at the head of a ring: to reserve it, or to
 * claim its job. The three rules of taking are in docs/INVARIANTS.md; here they
 * are code, once. Inline, so that each use is compiled for its `take`. */
#ifndef PFK_JOB_TAKE_H
#define PFK_JOB_TAKE_H

#include "job/table.h"

/* What the word becomes when `lane` takes the slot; 0: it is not to be taken. */
typedef uint64_t pfk_take_fn(uint64_t word, uint32_t lane);

static inline uint64_t pfk_take_reserve(uint64_t word, uint32_t lane)
{
    return pfk_word_is_free(word) ? pfk_word_reserved(word, lane) : 0;
}

static inline uint64_t pfk_take_claim(uint64_t word, uint32_t lane)
{
    return pfk_word_is_claimable(word) ? pfk_word_claimed(word, lane) : 0;
}

/* Returns the word that it left, the slot's number and (unless NULL) whose it
 * was before, or 0 when there is none.
 * The entry is removed only after the word forbids it: if we die in between, it
 * is still at the head, and repair finds it there. */
static inline uint64_t pfk_take(const struct prefork_table *table, struct pfk_ring *ring, pfk_take_fn *take,
                                uint32_t lane, uint32_t *index_out, uint32_t *owner_out)
{
    struct pfk_ring_entry entry;

    for (uint32_t step = 0; step < ring->patience && pfk_ring_peek(ring, &entry); step++) {
        pfk_atomic_u64 *at;
        uint64_t word, taken;

        if (PFK_UNLIKELY(entry.index >= table->geometry.slots)) {
            pfk_ring_remove(ring, &entry);
            continue;
        }
        at = &pfk_table_descriptor(table, entry.index)->word;
        word = pfk_u64_load_acquire(at);
        if (PFK_UNLIKELY(!pfk_ring_holds(&entry)))
            continue; /* it left meanwhile, so the word may be of a later life */
        taken = take(word, lane);
        if (PFK_UNLIKELY(taken == 0)) {
            pfk_ring_remove(ring, &entry); /* the leftover of somebody slow or dead */
            continue;
        }
        if (PFK_UNLIKELY(!pfk_u64_cas_acq_rel(at, &word, taken)))
            continue; /* not stale: repair may have settled the word; look again */
        pfk_ring_remove(ring, &entry);
        *index_out = entry.index;
        if (owner_out != NULL)
            *owner_out = pfk_word_owner(word);
        return taken;
    }
    return 0;
}

#endif
