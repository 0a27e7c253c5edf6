/* SPDX-License-Identifier: BSD-2-Clause */
/* A lane's magazine: free slots that it keeps at hand, so that who collects a
 * result and submits the next job goes through no free ring, and finds the slot
 * warm in its cache.
 *
 * The slot's word is SPARE and names the owner. The magazine in shared memory
 * holds hints, written by the owner alone: the hint is there before the word
 * becomes SPARE, and is overwritten only after the word moved on. Nothing is
 * hoarded: who finds the free rings empty looks through all magazines and takes
 * what is SPARE by the same compare-and-swap as the owner. Who dies leaves
 * words that repair frees like any other. */
#ifndef PFK_JOB_MAGAZINE_H
#define PFK_JOB_MAGAZINE_H

#include <stdbool.h>
#include <stdint.h>

#include "job/layout.h"

struct prefork_lane;
struct prefork_table;

/* The owner's private half: which words it left. */
struct pfk_magazine {
    uint64_t words[PFK_MAGAZINE_PLACES]; /* 0: the place is empty */
    uint32_t indexes[PFK_MAGAZINE_PLACES];
    uint32_t top; /* the place that the next slot gets */
};

/* Writes the hint for slot `index`; false when the magazine is full. */
bool pfk_magazine_prepare(struct prefork_lane *lane, uint32_t index);

/* After the word of the prepared slot became `spare`. */
void pfk_magazine_put(struct prefork_lane *lane, uint32_t index, uint64_t spare);

/* Reserves the slot that the lane put last and nobody took. Returns its word
 * and number, or 0. */
uint64_t pfk_magazine_take(struct prefork_lane *lane, uint32_t *index_out);

/* Moves the slots to the free rings, where others find them sooner. */
void pfk_magazine_empty(struct prefork_lane *lane);

/* Reserves a slot for `lane` out of anybody's magazine; as pfk_magazine_take. */
uint64_t pfk_magazine_take_any(const struct prefork_table *table, uint32_t lane, uint32_t *index_out);

/* Whether pfk_magazine_take_any would find one. */
bool pfk_magazine_any(const struct prefork_table *table);

#endif
