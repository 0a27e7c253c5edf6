/* SPDX-License-Identifier: BSD-2-Clause */
/* The stage of the tests that kill at machine instructions: a small table, a
 * ledger outside of it, a master (this process), up to two victims, survivors
 * that really sleep, and the checks after the death.
 *
 * Survivors sleep without a timeout: sem_clockwait is replaced in them by
 * sem_wait (their second look after about a second is switched off), loops poll
 * for ever. So whoever is not woken after a repair hangs, however fast or slow
 * the machine is: once all are at rest, nobody may sleep while what it waits
 * for is there. */
#ifndef STEP_STAGE_H
#define STEP_STAGE_H

#include <sys/types.h>

#include "base/atomic.h"
#include "job/lane.h"
#include "job/table.h"

enum { STAGE_JOBS = 40, STAGE_VICTIMS = 2, STAGE_SURVIVORS = 4, STAGE_MAX_SLOTS = 4 };

/* Lanes, by the number of the outside producer. */
enum {
    STAGE_VICTIM, /* and the next one: the other victim, or the other dead */
    STAGE_OTHER_DEAD,
    STAGE_HOLDER,
    STAGE_RUNNER,
    STAGE_FIRST_SURVIVOR,
    STAGE_LANES = STAGE_FIRST_SURVIVOR + STAGE_SURVIVORS
};

/* The numbers of jobs, each used once but for the first and the last. */
enum {
    STAGE_QUIT, /* sends a worker home */
    STAGE_FIRST_JOB,        /* the scene's own */
    STAGE_VICTIMS_JOBS = 8, /* + victim * STAGE_VICTIM_JOBS: what victims submit */
    STAGE_VICTIM_JOBS = 8,
    STAGE_HELPS_JOBS =
        STAGE_VICTIMS_JOBS + STAGE_VICTIMS * STAGE_VICTIM_JOBS, /* what the master submits to let others go on */
    STAGE_CYCLES_JOB = STAGE_JOBS - 1
};

/* What the ledger knows of a job. Written by processes that die: each field
 * alone is enough for what is concluded from it. */
struct stage_job {
    pfk_atomic_u32 accepted;                    /* the table owes it an end */
    pfk_atomic_u32 running;                     /* pid of who runs it, 0 */
    pfk_atomic_u32 runs;                        /* runs that reached their end */
    pfk_atomic_u32 completed;                   /* complete returned 0, to others than victims */
    pfk_atomic_u32 buried;                      /* given up, as it should be */
    pfk_atomic_u64 submitting;                  /* id: its victim is about to submit it */
    pfk_atomic_u64 completing[STAGE_VICTIMS];   /* id: the victim is about to complete it */
    pfk_atomic_u32 completed_by[STAGE_VICTIMS]; /* the victim completed it: 0 or 1 */
};

/* What a process is about to wait for. */
enum stage_wait { STAGE_NOTHING, STAGE_A_JOB, STAGE_ROOM, STAGE_A_RESULT };

/* Written by the lane's process. */
struct stage_waiting {
    pfk_atomic_u32 what;
    pfk_atomic_u64 job; /* of STAGE_A_RESULT */
};

struct stage_ledger {
    struct stage_job jobs[STAGE_JOBS];
    struct stage_waiting waiting[STAGE_LANES];
    pfk_atomic_u32 failed;
    char reason[400];
};

extern struct stage_ledger *stage_ledger;
extern struct prefork_table *stage_table;
extern struct prefork_lane *stage_holder, *stage_runner; /* the master's own */
extern uint32_t stage_time_factor;                       /* 1 or more: how slow this machine may be */

/* Once, first. 0, or -1. */
int stage_set_up(void);
void stage_tear_down(void);

/* A new table with an empty ledger; false: it could not be had. */
bool stage_open(uint32_t slots);

/* -- after the death, in this order */

/* The accounts of a dead victim: what it did last is told by the words. Before
 * the repair, and before any living victim goes on. */
void stage_close_accounts(uint32_t victim, pid_t pid);
/* Repairs with `n_dead` lanes from STAGE_VICTIM on. */
void stage_repair(uint32_t n_dead);
/* The dead lane is opened again and the table works, while another victim holds what it holds. */
void stage_reuse(void);
/* Waits for the living, empties the table, checks everything, closes. False:
 * stage_ledger->reason says what was broken. */
bool stage_close(void);

/* Closes without checks; survivors are killed. */
void stage_drop(void);

/* Notes a breach; the first one counts. */
void stage_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool stage_is_sound(void);
/* In a process of the stage: a breach ends it. */
void stage_expect(bool holds, const char *what);

/* -- what participants do */
/* In a victim, first: opens its lane. */
struct prefork_lane *stage_be_victim(uint32_t victim);
struct prefork_lane *stage_lane(uint32_t outside);
uint32_t stage_lane_number(uint32_t outside);
uint64_t stage_word(uint32_t index);
/* Said before whatever may sleep, by whoever's lane it is. */
void stage_wait_for(uint32_t outside, enum stage_wait what, uint64_t job);
uint64_t stage_reserve(struct prefork_lane *lane);
/* In a victim: submits what it has reserved, as job `number`. */
void stage_submit(struct prefork_lane *lane, uint64_t job, uint32_t number, uint32_t flags);
uint64_t stage_put(struct prefork_lane *lane, uint32_t number, uint32_t flags);
/* As if the token that goes with the job had been taken at once: sleeping workers sleep on. */
uint64_t stage_put_silently(struct prefork_lane *lane, uint32_t number, uint32_t flags);
struct prefork_job *stage_claim(struct prefork_lane *lane);
uint32_t stage_run(struct prefork_job *job);  /* up to, not including, complete; returns its number */
void stage_complete(struct prefork_job *job); /* what was run */
bool stage_run_one(void);                     /* the master as a worker: claims, runs, completes; false: no job */
void stage_poll(struct prefork_lane *lane);   /* for ever */
uint32_t stage_release_held(void);            /* one that the holder has reserved; how many had it? */

#endif
