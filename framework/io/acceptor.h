/* SPDX-License-Identifier: BSD-2-Clause */
/* An I/O thread's share in the listening sockets: takes connections in small
 * batches, lets less busy threads go first, and rests while the process has no
 * descriptors left.
 *
 * All threads of all workers are woken for a connection. Those that have more to
 * do than the others (load.h) look away for a millisecond; if it still waits
 * then, nobody idler came, and they take it: one at first, then two, ... as long
 * as nobody comes. So a connection waits for a stopped thread a millisecond, and
 * a crowd of them not much longer.
 *
 * Without descriptors a listening socket stays readable and every accept fails:
 * a loop that only looked again would spin. So the watchers stop for 10 ms, then
 * twice as long, up to 80 ms. A short shortage costs clients nothing but that
 * wait; when it lasts, clients are turned away by means of a reserved
 * descriptor instead of hanging for ever. */
#ifndef PFK_IO_ACCEPTOR_H
#define PFK_IO_ACCEPTOR_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/iothread.h"
#include "io/loop.h"

struct pfk_acceptor_port;

struct pfk_acceptor {
    struct pfk_loop *loop;
    struct pfk_acceptor_port *ports;
    size_t n_ports;
    int reserve_fd;
    double rest_s; /* the present rest; 0: the last accept found a descriptor */
    /* A shortage lasts until a second has passed without a failure, so that a
     * server that works at its limit does not log each time. */
    bool short_of_descriptors;
    double failed_at;     /* ev_now of the last failure */
    uint64_t turned_away; /* in this shortage */
    ev_timer rest;

    struct pfk_load load;
    uint32_t connections_max; /* 0: any number */
    uint64_t refused;         /* not told in the log yet */
    double refusal_told_at;   /* ev_now */
    double refusal_rest_s;    /* between two lines */
    unsigned waits;           /* in a row after which a connection was still there */
    unsigned grants;          /* connections that may be taken whatever the others do */
    ev_timer yield;
};

/* Begins to accept; `options` is borrowed for the call, `acceptor` stays where it
 * is. -ENOMEM, -EMFILE. */
int pfk_acceptor_start(struct pfk_acceptor *acceptor, struct pfk_loop *loop, const struct pfk_io_options *options);

/* Ends it; may be called again. The sockets stay open. */
void pfk_acceptor_stop(struct pfk_acceptor *acceptor);

#endif
