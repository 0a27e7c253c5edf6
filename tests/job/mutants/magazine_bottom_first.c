/* SPDX-License-Identifier: BSD-2-Clause */
/* Who takes a spare slot tells that its hint is stale before it has the slot:
 * who dies in between leaves a slot that nobody finds any more. */
#include "job/lane.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "bottom before the word",
                              .scene = "waits for room, is woken; one waits for room"};

/* Is called once, and right before the compare-and-swap. */
#define pfk_word_reserved(word, owner) (mutant_tell(shm, all_stale, cursor), pfk_word_reserved(word, owner))

static inline void mutant_tell(struct pfk_magazine_shm *shm, bool all_stale, const struct pfk_magazine_cursor *cursor)
{
    if (all_stale)
        pfk_u64_store_relaxed(&shm->bottom, cursor->ticket);
}

#include "../../../framework/job/magazine.c"
