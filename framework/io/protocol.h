/* SPDX-License-Identifier: BSD-2-Clause */
/* A protocol with its defaults filled in and its handler's name resolved, and
 * what a listener puts in front of it. */
#ifndef PFK_IO_PROTOCOL_H
#define PFK_IO_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "io/proxy.h"
#include "prefork.h"

struct pfk_protocol {
    struct prefork_protocol face; /* frame is never NULL; message and failed may be: the defaults are built in;
                                     handler is NULL: the name was resolved */
    uint32_t handler;             /* for the default `message` */
    bool has_handler;
    bool frames_in_place;        /* messages may be cut where they lie in a slot, and go on from there */
    struct pfk_proxy_rule proxy; /* all 0: no PROXY headers */
};

/* The frame function of a protocol that has none. */
int64_t pfk_protocol_raw_frame(struct prefork_connection *connection, const void *data, size_t length, size_t capacity,
                               int final, void *context);

/* Completes `given`, whose handler has the number `handler` (-1 when it names
 * none). Copies the struct, borrows its context.
 *   -EINVAL  size, order or max_in_flight is out of range, or the protocol has
 *            neither a handler nor a `message` */
int pfk_protocol_complete(const struct prefork_protocol *given, int handler, struct pfk_protocol *protocol_out);

#endif
