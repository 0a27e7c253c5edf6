/* SPDX-License-Identifier: BSD-2-Clause */
/* I/O threads: what the worker layer sees of framework/io.
 *
 * An I/O thread has a loop, a lane and connections of its own. It accepts from
 * listening sockets that it shares with all others, cuts what arrives into
 * messages, submits them as jobs and writes the results.
 *
 * Life cycle: start, in the worker, after fork; drain, any number of times;
 * stop. The three are called by one thread, the worker's main one; nothing
 * else may be called from there. The thread inherits the signal mask of its
 * creator, which has blocked all but SIGSEGV and its like. Fork: a child that a worker forks has
 * no I/O threads and must not use these handles. A crash takes the process;
 * the lane is repaired by the master. */
#ifndef PFK_IO_IOTHREAD_H
#define PFK_IO_IOTHREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/listener.h"
#include "io/load.h"
#include "io/loop.h"
#include "io/protocol.h"
#include "io/quota.h"
#include "prefork/table.h"

struct pfk_iothread;

/* A listening socket, and how its connections speak. */
struct pfk_io_port {
    const struct pfk_listener *listener; /* borrowed until stop */
    const struct pfk_protocol *protocol; /* borrowed until stop */
};

struct pfk_io_options {
    struct prefork_table *table;
    uint32_t lane;       /* the number of the lane that the thread opens */
    uint32_t number;     /* of the thread among those of all workers: seat * threads of each + index */
    uint32_t n_handlers; /* handler numbers below it exist */
    struct pfk_loop_limits limits;
    struct pfk_load_family family;   /* of the I/O threads of all workers; all 0: this one is alone */
    uint32_t connections_max;        /* open in the family at once; 0: any number */
    const struct pfk_quota *quota;   /* of each peer; NULL: any number. Borrowed */
    const struct pfk_io_port *ports; /* copied */
    size_t n_ports;                  /* may be 0 */
    int drained_fd;                  /* an eventfd of the caller's that gets 1 added when a drain has ended;
                                        -1: none. May be shared by several threads: then ask each one */
};

/* Creates the thread and returns once its lane is open, its loop stands and it
 * accepts. Blocks for that long, not longer.
 *   -EAGAIN   no thread could be created
 *   -EMFILE, -ENFILE, -ENOMEM   no descriptor for the loop, no memory
 *   and errors of prefork_lane_open */
int pfk_iothread_start(const struct pfk_io_options *options, struct pfk_iothread **thread_out);

/* Asks for a drain and returns at once: no connection is accepted and nothing
 * is read any more; messages that were read and cut are finished, their replies
 * flushed, the connections closed. Its end is told through drained_fd. */
void pfk_iothread_drain(struct pfk_iothread *thread);

/* Whether a drain has ended: no connection is left. */
bool pfk_iothread_drained(const struct pfk_iothread *thread);

/* Ends the thread now, whatever it was doing, closes its connections and its
 * lane, and joins it. Blocks for one turn of its loop (a protocol's callback
 * that blocks holds it up). NULL in *thread is allowed; *thread becomes NULL. */
void pfk_iothread_stop(struct pfk_iothread **thread);

#endif
