/* SPDX-License-Identifier: BSD-2-Clause */
/* A lane's magazine: the slots that it freed, to be reserved again without a
 * ring in between. Who collects a result and submits the next job takes from
 * its own; who submits and never collects takes from those of the workers that
 * free its jobs.
 *
 * The slot's word is SPARE. The magazine is a queue of job ids (slot and life)
 * that only its owner writes: first the hint, then `top`, then the word. A life
 * says whether a hint is stale: once the slot was reserved it is, for ever. So
 * "all before this ticket is stale" stays true, and takers may remember it
 * privately, or in `bottom`, by plain stores, however late; what is before
 * `bottom` is written over without a look. Nothing is hoarded: who finds the
 * free rings empty looks through all magazines. Who dies leaves words, which
 * repair frees like any other. */
#ifndef PFK_JOB_MAGAZINE_H
#define PFK_JOB_MAGAZINE_H

#include <stdbool.h>
#include <stdint.h>

#include "job/layout.h"

struct prefork_lane;
struct prefork_table;

/* How far a taker has looked in somebody's magazine. */
struct pfk_magazine_cursor {
    uint32_t lane;   /* 0: nobody's */
    uint64_t ticket; /* all before it is stale */
};

/* A lane's private part. */
struct pfk_magazine {
    uint64_t top; /* of our own: the next ticket */
    struct pfk_magazine_cursor own;
    struct pfk_magazine_cursor source; /* where a slot that we reserve may lie: who freed the last */
};

static inline bool pfk_magazine_own_is_empty(const struct pfk_magazine *magazine)
{
    return magazine->own.ticket == magazine->top;
}

/* For a lane that was just opened. */
void pfk_magazine_open(struct prefork_lane *lane);

/* Frees a slot whose word is *word: into the lane's magazine while it has a
 * place, else into a free ring. False, with *word as it was found, when the word
 * is another. After it pfk_table_wake_room is due: a read-modify-write of this
 * thread published the slot. */
bool pfk_magazine_free(struct prefork_lane *lane, uint32_t index, uint64_t *word);

/* Next time the lane looks in the magazine of lane `number`, too: from where others have got to. */
void pfk_magazine_follow(struct prefork_lane *lane, uint32_t number);

/* Reserves a spare slot at the cursor's lane for `lane`. Returns the id of its
 * next job, or 0 when there is none. */
uint64_t pfk_magazine_take(struct prefork_lane *lane, struct pfk_magazine_cursor *cursor);

/* The same out of anybody's magazine. */
uint64_t pfk_magazine_take_any(struct prefork_lane *lane);

/* Whether pfk_magazine_take_any would find one. */
bool pfk_magazine_any(const struct prefork_table *table);

/* Moves the lane's spare slots to the free rings, where others find them sooner. */
void pfk_magazine_empty(struct prefork_lane *lane);

/* Whether the magazine of lane `number` names slot `index` in the life of `word`. */
bool pfk_magazine_names(const struct prefork_table *table, uint32_t number, uint32_t index, uint64_t word);

#endif
