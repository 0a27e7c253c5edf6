/* SPDX-License-Identifier: BSD-2-Clause */
/* The slot word: one 64-bit word for each slot, the only authority on what the
 * slot holds. Every step of a job is one compare-and-swap on it.
 *
 *      63            28 27       16 15      8 7     4 3     0
 *     +----------------+-----------+---------+-------+-------+
 *     |      life      |   owner   | attempt | flags | state |
 *     +----------------+-----------+---------+-------+-------+
 *
 * life grows at each reservation, attempt at each claim, so (life, attempt)
 * never means two owners: it is the fencing token. owner is a lane, 0 is
 * nobody. A value recurs only after 2^36 - 1 lives of one slot.
 *
 * The living leave QUEUING and FREEING as they are once the entry is put: the
 * owner's number matters only after its death, when repair looks whether the
 * entry is there and makes the word READY or FREE. */
#ifndef PFK_JOB_WORD_H
#define PFK_JOB_WORD_H

#include <stdbool.h>
#include <stdint.h>

/* 0 is no state: a slot full of zeros was scribbled on. */
#define PFK_STATES(X)                                                                        \
    X(FREE, 1)     /* one entry in a free ring; nobody's */                                  \
    X(RESERVED, 2) /* the owner writes the request */                                        \
    X(QUEUING, 3)  /* a job; its entry is in the ready ring, or the owner owes it */         \
    X(READY, 4)    /* a job; one entry in the ready ring; nobody's */                        \
    X(CLAIMED, 5)  /* the owner runs it */                                                   \
    X(DONE, 6)     /* the submitter may collect it; nobody's */                              \
    X(FREEING, 7)  /* free; its entry is in a free ring, or the owner owes it */             \
    X(SPARE, 8)    /* free; no entry, but a hint in the owner's magazine */

enum pfk_state {
#define PFK_STATE_ENUM(name, value) PFK_##name = (value),
    PFK_STATES(PFK_STATE_ENUM)
#undef PFK_STATE_ENUM
};

#define PFK_LAST_STATE PFK_SPARE

/* Flags: the submitter sets them (the master, once the submitter is dead), so
 * any compare-and-swap of an owner may fail because of them and is repeated. */
enum pfk_flag {
    PFK_DETACHED = 1, /* nobody will collect */
    PFK_WAIT = 2,     /* post the submitter's semaphore on completion */
    PFK_NOTIFY = 4,   /* put a hint into the submitter's mailbox on completion */
    PFK_FLAGS = 7
};

#define PFK_LIFE_BITS 36
#define PFK_LIFE_MASK ((UINT64_C(1) << PFK_LIFE_BITS) - 1)
#define PFK_INDEX_BITS 24
#define PFK_INDEX_MASK ((UINT32_C(1) << PFK_INDEX_BITS) - 1)
#define PFK_OWNER_MASK UINT32_C(0xfff)
#define PFK_NOBODY UINT32_C(0)

static inline uint64_t pfk_word(uint32_t state, uint32_t flags, uint32_t attempt, uint32_t owner, uint64_t life)
{
    return (uint64_t)(state & 15) | (uint64_t)(flags & 15) << 4 | (uint64_t)(attempt & 255) << 8 |
           (uint64_t)(owner & PFK_OWNER_MASK) << 16 | (life & PFK_LIFE_MASK) << 28;
}

static inline uint32_t pfk_word_state(uint64_t word)
{
    return (uint32_t)(word & 15);
}

static inline uint32_t pfk_word_flags(uint64_t word)
{
    return (uint32_t)(word >> 4 & 15);
}

static inline uint32_t pfk_word_attempt(uint64_t word)
{
    return (uint32_t)(word >> 8 & 255);
}

static inline uint32_t pfk_word_owner(uint64_t word)
{
    return (uint32_t)(word >> 16) & PFK_OWNER_MASK;
}

static inline uint64_t pfk_word_life(uint64_t word)
{
    return word >> 28;
}

static inline bool pfk_word_is(uint64_t word, uint32_t state, uint32_t owner)
{
    return pfk_word_state(word) == state && pfk_word_owner(word) == owner;
}

/* A slot that whoever meets its entry at the head of a free ring may reserve. */
static inline bool pfk_word_is_free(uint64_t word)
{
    return pfk_word_state(word) == PFK_FREE || pfk_word_state(word) == PFK_FREEING;
}

/* A job that whoever meets its entry at the head of the ready ring may claim. */
static inline bool pfk_word_is_claimable(uint64_t word)
{
    return pfk_word_state(word) == PFK_READY || pfk_word_state(word) == PFK_QUEUING;
}

/* The same job in another state, with another owner. */
static inline uint64_t pfk_word_moved(uint64_t word, uint32_t state, uint32_t owner)
{
    return (word & ~UINT64_C(0x0fff000f)) | state | (uint64_t)owner << 16;
}

/* A new life of the slot; 1 follows the last. No job lives in 0: so 0 is no job's
 * id, and no spare slot is named by a hint that was never written. */
static inline uint64_t pfk_word_reserved(uint64_t word, uint32_t owner)
{
    const uint64_t life = pfk_word_life(word) + 1;

    return pfk_word(PFK_RESERVED, 0, 0, owner, life + (life >> PFK_LIFE_BITS));
}

static inline uint64_t pfk_word_claimed(uint64_t word, uint32_t owner)
{
    return pfk_word(PFK_CLAIMED, pfk_word_flags(word), pfk_word_attempt(word) + 1, owner, pfk_word_life(word));
}

static inline uint64_t pfk_word_flagged(uint64_t word, uint32_t flags)
{
    return word | (uint64_t)flags << 4;
}

static inline uint64_t pfk_job_id(uint64_t word, uint32_t index)
{
    return pfk_word_life(word) << PFK_INDEX_BITS | index;
}

static inline uint32_t pfk_job_index(uint64_t job)
{
    return (uint32_t)(job & PFK_INDEX_MASK);
}

static inline uint64_t pfk_job_life(uint64_t job)
{
    return job >> PFK_INDEX_BITS & PFK_LIFE_MASK;
}

/* The state's name, "unknown" for none. */
const char *pfk_state_name(uint32_t state);

#endif
