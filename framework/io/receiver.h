/* SPDX-License-Identifier: BSD-2-Clause */
/* An I/O thread's share in the sockets for datagrams: reads them in small
 * batches, and makes each a connection of one message (datagram.h).
 *
 * Back-pressure: of one socket a thread has at most the protocol's max_in_flight
 * datagrams in hand, and reads no more while the last one waits for a slot. What
 * it does not read stays in the socket's buffer, where the kernel drops what
 * does not fit. So memory is bounded, whatever is sent. */
#ifndef PFK_IO_RECEIVER_H
#define PFK_IO_RECEIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/datagram.h"
#include "io/iothread.h"
#include "io/loop.h"

struct pfk_receiver {
    struct pfk_loop *loop;
    struct pfk_receiver_port *ports;
    size_t n_ports; /* for datagrams; the others are the acceptor's */
};

/* Begins to receive, as I/O thread `number` of all workers. `receiver` stays
 * where it is. -ENOMEM. */
int pfk_receiver_start(struct pfk_receiver *receiver, struct pfk_loop *loop, const struct pfk_io_port *ports,
                       size_t n_ports, uint32_t number);

/* Receives no more; what is in hand is answered. May be called again. */
void pfk_receiver_stop(struct pfk_receiver *receiver);

/* Frees it, after the loop and with it all that was in hand is closed. */
void pfk_receiver_close(struct pfk_receiver *receiver);

/* For connection.c: sends a reply, which is counted; what could not be sent is
 * dropped, and counted too. Always all of it. */
size_t pfk_receiver_reply(const struct pfk_datagram *datagram, const struct iovec *pieces, size_t n_pieces);

/* For connection.c: a datagram is done with. Frees it. */
void pfk_receiver_end(struct pfk_datagram *datagram);

#endif
