/* SPDX-License-Identifier: BSD-2-Clause */
/* The body of a worker process.
 *
 * Its main thread starts I/O threads and job threads, says that it is ready,
 * and then watches for the end, which comes in one of three ways:
 *   the pool stops    (phase in the control segment; SIGTERM says "look"):
 *                     drains its connections, says so, goes on claiming jobs
 *                     until nobody submits any more, then runs the table empty
 *   it alone retires  (SIGTERM while the pool runs): drains its connections,
 *                     finishes its jobs, and ends, at the latest after drain_ms
 *   it is an orphan   (end of file on the life pipe): as when it retires, but
 *                     within PFK_WORKER_ORPHAN_MS, whatever its handlers do
 * Of a durable pool only what is in hand is finished: an orphan claims no more at once and waits for the jobs in hand
 * up to drain_ms, for replies to its connections PFK_WORKER_ORPHAN_IO_MS; when the pool stops the table is not run
 * empty. What waits is the next master's. */
#ifndef PFK_WORKER_WORKER_H
#define PFK_WORKER_WORKER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "io/iothread.h"
#include "prefork/table.h"
#include "worker/handler.h"
#include "worker/user.h"

#define PFK_WORKER_IO_THREADS_MAX  64
#define PFK_WORKER_JOB_THREADS_MAX 64
#define PFK_WORKER_ORPHAN_MS       3000
#define PFK_WORKER_ORPHAN_IO_MS    1000

struct pfk_worker_options {
    struct prefork_table *table;
    struct pfk_handler_set *handlers;
    const struct pfk_io_port *ports;
    size_t n_ports;
    const struct pfk_user *user; /* NULL: the master's own */
    uint32_t io_threads;
    uint32_t job_threads;
    uint32_t seat;
    uint32_t seats;                /* of the pool */
    struct pfk_loop_limits limits; /* of connections */
    uint32_t connections_max;      /* of the pool; 0: any number */
    const struct pfk_quota *quota; /* of each peer; NULL: any number */
    uint64_t drain_ms;             /* limit of a worker that retires alone */
    bool durable;                  /* the table outlives its master */
    int life_fd;                   /* read end of a pipe into which only the master could write, and never does */
    int report_fd;                 /* write end of this worker's report pipe */
    sigset_t program_mask;         /* what the program had blocked before it became a pool */
};

/* Runs the worker and ends the process by _exit: with 0 after an orderly end.
 * Called in the child that fork has just made, with all signals blocked, after
 * what belongs to the master alone was closed. */
PFK_NORETURN void pfk_worker_main(const struct pfk_worker_options *options);

#endif
