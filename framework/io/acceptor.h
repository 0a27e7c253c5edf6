/* SPDX-License-Identifier: BSD-2-Clause */
/* An I/O thread's share in the listening sockets: takes connections in small
 * batches, and rests while the process has no descriptors left.
 *
 * Without descriptors a listening socket stays readable and every accept fails:
 * a loop that only looked again would spin. So the watchers stop for 10 ms, then
 * twice as long, up to 100 ms. A short shortage costs clients nothing but that
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
};

/* Begins to accept, as I/O thread `number` of all workers. `acceptor` stays where
 * it is. -ENOMEM, -EMFILE. */
int pfk_acceptor_start(struct pfk_acceptor *acceptor, struct pfk_loop *loop, const struct pfk_io_port *ports,
                       size_t n_ports, uint32_t number);

/* Ends it; may be called again. The sockets stay open. */
void pfk_acceptor_stop(struct pfk_acceptor *acceptor);

#endif
