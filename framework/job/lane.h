/* SPDX-License-Identifier: BSD-2-Clause */
/* The process-private half of a lane. One thread uses it, so nothing in it is
 * atomic but the interrupt. It lies on a page that the kernel wipes in forked
 * children (madvise(2), MADV_WIPEONFORK): there `table` is NULL. */
#ifndef PFK_JOB_LANE_H
#define PFK_JOB_LANE_H

#include "job/magazine.h"
#include "job/spin.h"
#include "job/table.h"

/* The job that the lane has claimed. */
struct prefork_job {
    struct prefork_lane *lane;
    uint64_t word; /* as the claim left it; only its flags may have moved since */
    uint32_t index;
    uint32_t handler;
    uint32_t request_bytes;
    uint32_t attempt;
    uint32_t reply_offset, reply_bytes;
    bool held;
};

/* What a lane remembers of a slot that it reserved or submitted to. */
enum pfk_record_state {
    PFK_RECORD_NONE,
    PFK_RECORD_RESERVED,
    PFK_RECORD_WAITED, /* submitted, to be waited for */
    PFK_RECORD_NOTIFY, /* submitted, its completion not yet given out */
    PFK_RECORD_GIVEN   /* given out by prefork_lane_next, not yet collected */
};

struct pfk_record {
    uint64_t job;
    void *user;
    uint32_t next, previous; /* of the list of all that are not NONE */
    enum pfk_record_state state;
};

struct prefork_lane {
    struct prefork_table *table; /* NULL in a forked child */
    struct pfk_lane_shm *shm;
    struct pfk_record newest;   /* the slot reserved last, until it is submitted: so most need no place in the list */
    struct pfk_record *records; /* the list; [slots] is its head; pages come with use */
    size_t records_bytes;
    uint32_t number;
    uint32_t rescan_at;         /* the next record that a rescan looks at; `slots` when none runs */
    bool wanted_room;           /* asked for room and not yet reserved since */
    pfk_atomic_u32 interrupted; /* set by any thread, cleared by the call that returns -EINTR */
    struct pfk_spin spin;
    struct pfk_rings rings;
    struct pfk_ring mailbox;
    struct pfk_magazine magazine;
    struct prefork_job job;
};

int pfk_lane_inherited(const char *call);

/* The same for a lane of a process that came by key: -ENOTSUP. */
int pfk_lane_not_family(const struct prefork_lane *lane, const char *call);

/* 0, or -ECHILD with the text when the handle was inherited by a child. */
static inline int pfk_lane_check(const struct prefork_lane *lane, const char *call)
{
    return PFK_LIKELY(lane->table != NULL) ? 0 : pfk_lane_inherited(call);
}

/* The same; and -ENOTSUP in a process that came by key. */
static inline int pfk_lane_check_family(const struct prefork_lane *lane, const char *call)
{
    return PFK_LIKELY(lane->table != NULL && !pfk_table_is_attached(lane->table)) ? 0 : pfk_lane_not_family(lane, call);
}

/* prefork_lane_open without its checks. */
int pfk_lane_open(struct prefork_table *table, uint32_t number, struct prefork_lane **lane_out);

/* True once after prefork_lane_interrupt. */
bool pfk_lane_take_interrupt(struct prefork_lane *lane);

/* Until when to sleep at most before looking again: no wake-up is trusted for
 * longer than about a second. */
uint64_t pfk_lane_nap_ns(const struct prefork_lane *lane, uint64_t deadline_ns);

/* Remembers a job in the list. */
void pfk_lane_record(struct prefork_lane *lane, uint64_t job, enum pfk_record_state state, void *user);
/* Takes a record out of it. */
void pfk_lane_unlist(struct prefork_lane *lane, struct pfk_record *record);

static inline bool pfk_lane_is_listed(const struct prefork_lane *lane, const struct pfk_record *record)
{
    return record != &lane->newest;
}

static inline void pfk_lane_forget(struct prefork_lane *lane, struct pfk_record *record)
{
    if (PFK_UNLIKELY(pfk_lane_is_listed(lane, record)))
        pfk_lane_unlist(lane, record);
    record->state = PFK_RECORD_NONE;
}

/* Remembers a slot that was reserved. */
static inline void pfk_lane_record_reserved(struct prefork_lane *lane, uint64_t job)
{
    if (PFK_UNLIKELY(lane->newest.state != PFK_RECORD_NONE))
        pfk_lane_record(lane, lane->newest.job, PFK_RECORD_RESERVED, NULL);
    lane->newest.job = job;
    lane->newest.state = PFK_RECORD_RESERVED;
}

/* The record of `job` if the lane remembers exactly it, else NULL. */
static inline struct pfk_record *pfk_lane_find(struct prefork_lane *lane, uint64_t job)
{
    const uint32_t index = pfk_job_index(job);
    struct pfk_record *const record = &lane->newest;

    if (PFK_LIKELY(record->job == job && record->state != PFK_RECORD_NONE))
        return record;
    if (index >= lane->table->geometry.slots || lane->records[index].state == PFK_RECORD_NONE ||
        lane->records[index].job != job)
        return NULL;
    return &lane->records[index];
}

/* Counters of the table itself, behind those of enum pfk_lane_counter. */
enum pfk_table_counter_index {
    PFK_COUNT_SUBMITTED = PFK_LANE_COUNTERS,
    PFK_COUNT_CLAIMED,
    PFK_COUNT_FAILED,
    PFK_COUNT_HANDED_BACK,
    PFK_COUNT_COLLECTED,
    PFK_COUNT_REFUSED,
    PFK_COUNT_SLEPT,
    PFK_COUNT_WOKEN,
    PFK_ALL_COUNTERS
};
_Static_assert(PFK_ALL_COUNTERS <= PFK_COUNTERS, "a lane has room for all counters");

static inline void pfk_lane_tally(struct prefork_lane *lane, uint32_t counter)
{
    pfk_u64_bump_relaxed(&lane->shm->counters[counter], 1);
}

/* One job in 64 is stamped: two clock readings on each would cost as much as
 * the ring. Chosen by the slot's life, which submitter and claimer both know. */
static inline bool pfk_lane_stamps(uint64_t word)
{
    return (pfk_word_life(word) & 63) == 1;
}

void pfk_lane_stamp_latency(pfk_atomic_u64 *log2_ns, uint64_t from_ns, uint64_t to_ns);

#endif
