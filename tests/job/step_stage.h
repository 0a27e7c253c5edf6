/* SPDX-License-Identifier: BSD-2-Clause */
/* The stage of step_kill: a small table, a ledger outside of it, a master (this
 * process), survivors that really sleep, and the checks after the death.
 *
 * Survivors sleep without a timeout: sem_clockwait is replaced in them by
 * sem_wait (their second look after about a second is switched off), loops poll
 * for ever. So whoever is not woken after a repair hangs, however fast or slow
 * the machine is. */
#ifndef STEP_STAGE_H
#define STEP_STAGE_H

#include "base/atomic.h"
#include "job/lane.h"
#include "job/park.h"
#include "job/table.h"

enum { STAGE_JOBS = 8, STAGE_SURVIVORS = 4, STAGE_MAX_SLOTS = 4 };

/* Lanes, by the number of the outside producer. */
enum {
    STAGE_VICTIM,
    STAGE_OTHER_DEAD,
    STAGE_HOLDER,
    STAGE_RUNNER,
    STAGE_FIRST_SURVIVOR,
    STAGE_LANES = STAGE_FIRST_SURVIVOR + STAGE_SURVIVORS
};

/* What the ledger knows of a job. Written by processes that die: each field
 * alone is enough for what is concluded from it. */
struct stage_job {
    pfk_atomic_u32 accepted;  /* the table owes it an end */
    pfk_atomic_u32 running;   /* pid of who runs it, 0 */
    pfk_atomic_u32 runs;      /* runs that reached their end */
    pfk_atomic_u32 completed; /* complete returned 0 */
    pfk_atomic_u32 buried;    /* given up, as it should be */
};

struct stage_ledger {
    struct stage_job jobs[STAGE_JOBS];
    pfk_atomic_u32 napping[STAGE_SURVIVORS];  /* set before the call that sleeps */
    pfk_atomic_u32 answered[STAGE_SURVIVORS]; /* it got what it slept for */
    pfk_atomic_u64 reserved;                  /* the victim's reservation: job id */
    pfk_atomic_u32 reserved_number;           /* what it submits there */
    pfk_atomic_u32 completing;                /* the job that the victim is completing */
    pfk_atomic_u32 failed;
    char reason[400];
};

/* What a mutant replaces. */
struct stage_calls {
    int (*repair)(struct prefork_table *, const uint32_t *, uint32_t, struct prefork_repair *);
    int (*claim)(struct prefork_lane *, uint64_t, struct prefork_job **);
    int (*submit)(struct prefork_lane *, uint64_t, const struct prefork_submission *);
};

extern struct stage_ledger *stage_ledger;
extern struct prefork_table *stage_table;
extern struct prefork_lane *stage_holder, *stage_runner; /* the master's own */
extern struct stage_calls stage_calls;
extern bool stage_victim_leaves; /* this process is a victim: it keeps no account of what it completed */

/* Once, first. 0, or -1. */
int stage_set_up(void);
void stage_tear_down(void);

/* A new table with an empty ledger; false: it could not be had. */
bool stage_open(uint32_t slots);

/* After the victim's death: repairs with `n_dead` lanes from STAGE_VICTIM on,
 * waits for the survivors, empties the table, checks everything, closes.
 * False: stage_ledger->reason says what was broken. */
bool stage_close(uint32_t n_dead);

/* Notes a breach; the first one counts. */
void stage_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* In a process of the stage: a breach ends it. */
void stage_expect(bool holds, const char *what);

/* -- what participants do */
struct prefork_lane *stage_lane(uint32_t outside);
uint64_t stage_reserve(struct prefork_lane *lane);
uint64_t stage_put(struct prefork_lane *lane, uint32_t number, uint32_t flags);
/* As if the token that goes with the job had been taken at once: sleeping workers sleep on. */
uint64_t stage_put_silently(struct prefork_lane *lane, uint32_t number, uint32_t flags);
struct prefork_job *stage_claim(struct prefork_lane *lane);
void stage_run(struct prefork_job *job);      /* up to, not including, complete */
void stage_complete(struct prefork_job *job); /* what was run */

/* -- survivors; each call returns when it sleeps */
void stage_start_worker(void);
void stage_start_submitter(uint32_t number, int status); /* waits for its job */
void stage_start_loop(uint32_t number);                  /* polls for its job */
void stage_start_reserver(void);                         /* waits for room */
void stage_start_room_loop(void);                        /* polls for room */

#endif
