/* SPDX-License-Identifier: BSD-2-Clause */
/* A datagram that is being answered. To the rest of framework/io it is a
 * connection of one message, which has arrived whole and from which nothing more
 * will come: it ends when what was written or submitted has been sent. Its bytes
 * leave through here instead of through a socket of its own. The home thread
 * only. */
#ifndef PFK_IO_DATAGRAM_H
#define PFK_IO_DATAGRAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/address.h"
#include "prefork.h"

/* Room for what the kernel tells of the address that it was sent to. */
#define PFK_DATAGRAM_CONTROL_BYTES 64

struct pfk_receiver_port;

struct pfk_datagram {
    struct pfk_receiver_port *port;
    struct pfk_address sender;
    size_t control_bytes; /* 0: it was not told */
    union {
        unsigned char bytes[PFK_DATAGRAM_CONTROL_BYTES];
        size_t aligned;
    } control;
};

/* The frame function of every listener for datagrams: all of it is one message. */
int64_t pfk_datagram_frame(struct prefork_connection *connection, const void *data, size_t length, size_t capacity,
                           int final, void *context);

/* Sends the pieces as one datagram to the sender. Returns their bytes, or 0: it
 * was dropped, for the socket takes no more now, or can't take it at all. */
size_t pfk_datagram_send(const struct pfk_datagram *datagram, int fd, const struct iovec *pieces, size_t n_pieces);

#endif
