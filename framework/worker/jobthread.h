/* SPDX-License-Identifier: BSD-2-Clause */
/* Job threads: claim a job, run its handler, complete it, again.
 *
 * Life cycle: start, in the worker, after fork; finish, any number of times;
 * join once it has ended. All by one thread, the worker's main one. The thread
 * inherits the signal mask of its creator. A crash of its handler takes the
 * process; the master repairs the lane. */
#ifndef PFK_WORKER_JOBTHREAD_H
#define PFK_WORKER_JOBTHREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "prefork/table.h"
#include "worker/handler.h"

struct pfk_jobthread;

struct pfk_jobthread_options {
    struct prefork_table *table;
    uint32_t lane;                    /* the number of the lane that the thread opens */
    struct pfk_handler_set *handlers; /* borrowed until join */
    int ended_fd;                     /* an eventfd of the caller's that gets 1 added when the thread has ended */
};

/* When a job thread leaves its loop. The numbers grow with the haste. */
enum pfk_jobthread_end {
    PFK_JOBTHREAD_NEVER = 0,
    PFK_JOBTHREAD_TABLE_EMPTY = 1, /* when no job is left to claim */
    PFK_JOBTHREAD_AFTER_JOB = 2,   /* after the job at hand */
};

/* Creates the thread and returns once its lane is open.
 *   -EAGAIN, -ENOMEM   no thread, no memory
 *   and errors of prefork_lane_open */
int pfk_jobthread_start(const struct pfk_jobthread_options *options, struct pfk_jobthread **thread_out);

/* Asks the thread to end, and wakes it if it waits for a job. A wake-up may
 * come too early to be noticed: call again, every few milliseconds, until
 * pfk_jobthread_ended. Never blocks. */
void pfk_jobthread_finish(struct pfk_jobthread *thread, enum pfk_jobthread_end end);

/* Whether the thread has left its loop and closed its lane. */
bool pfk_jobthread_ended(const struct pfk_jobthread *thread);

/* Waits for a thread that has ended, and frees it. NULL in *thread is allowed;
 * *thread becomes NULL. */
void pfk_jobthread_join(struct pfk_jobthread **thread);

#endif
