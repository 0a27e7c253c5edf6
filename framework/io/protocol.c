/* SPDX-License-Identifier: BSD-2-Clause */
/* Ready-made protocols, and what a protocol leaves out. */
#include "io/protocol.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/error.h"
#include "io/connection.h"

#define PROTOCOL_MAX_IN_FLIGHT         1024
#define PROTOCOL_MAX_IN_FLIGHT_DEFAULT 16

static int64_t protocol_frame_piece(struct prefork_connection *connection, const void *data, size_t length,
                                    size_t capacity, int final, void *context)
{
    (void)connection;
    (void)data;
    (void) final;
    (void)context;
    return (int64_t)(length < capacity ? length : capacity);
}

/* What was searched before isn't searched again: a line that dribbles in costs
 * no more than one that comes at once. */
static int64_t protocol_frame_line(struct prefork_connection *connection, const void *data, size_t length,
                                   size_t capacity, int final, void *context)
{
    const unsigned char *bytes = data;
    const size_t limit = length < capacity ? length : capacity;
    const size_t from = connection->scanned < limit ? connection->scanned : 0;
    const unsigned char *newline = memchr(bytes + from, '\n', limit - from);

    (void)context;
    if (newline != NULL)
        return newline - bytes + 1;
    if (length > capacity || (length == capacity && !final))
        return -EMSGSIZE;
    if (final)
        return (int64_t)length;
    connection->scanned = limit;
    return 0;
}

static int protocol_fail_line(struct prefork_connection *connection, int status, void *context)
{
    char text[80];
    int length;

    (void)context;
    if (status != -EMSGSIZE)
        return status;
    length =
        snprintf(text, sizeof(text), "error: the line is longer than %zu bytes\n", pfk_connection_capacity(connection));
    (void)prefork_connection_write(connection, text, (size_t)length);
    return status;
}

PFK_EXPORT const struct prefork_protocol *prefork_protocol_raw(const char *handler)
{
    static _Thread_local struct prefork_protocol raw;

    raw = (struct prefork_protocol){.size = sizeof(raw), .handler = handler};
    return &raw;
}

PFK_EXPORT const struct prefork_protocol *prefork_protocol_lines(const char *handler)
{
    static _Thread_local struct prefork_protocol lines;

    lines = (struct prefork_protocol){
        .size = sizeof(lines), .handler = handler, .frame = protocol_frame_line, .failed = protocol_fail_line};
    return &lines;
}

static int protocol_check(const struct prefork_protocol *given, int handler)
{
    if (given == NULL || given->size != sizeof(*given))
        return pfk_error(EINVAL, "protocol: size must be sizeof(struct prefork_protocol), %zu", sizeof(*given));
    if (given->order != PREFORK_ORDER_ORDERED && given->order != PREFORK_ORDER_SERIAL &&
        given->order != PREFORK_ORDER_UNORDERED)
        return pfk_error(EINVAL, "protocol: order %d is none of enum prefork_order", (int)given->order);
    if (given->max_in_flight > PROTOCOL_MAX_IN_FLIGHT)
        return pfk_error(EINVAL, "protocol: max_in_flight is %u; use 1 ... %d", given->max_in_flight,
                         PROTOCOL_MAX_IN_FLIGHT);
    if (handler < 0 && given->message == NULL)
        return pfk_error(EINVAL, "protocol: name a handler, or give a message function");
    return 0;
}

int pfk_protocol_complete(const struct prefork_protocol *given, int handler, struct pfk_protocol *protocol_out)
{
    const int rc = protocol_check(given, handler);
    struct prefork_protocol *face = &protocol_out->face;

    if (rc != 0)
        return rc;
    *face = *given;
    face->handler = NULL;
    if (face->max_in_flight == 0)
        face->max_in_flight = PROTOCOL_MAX_IN_FLIGHT_DEFAULT;
    if (face->order == PREFORK_ORDER_SERIAL)
        face->max_in_flight = 1;
    if (face->frame == NULL)
        face->frame = protocol_frame_piece;
    protocol_out->proxy = (struct pfk_proxy_rule){.trust = NULL};
    protocol_out->has_handler = handler >= 0;
    protocol_out->handler = handler >= 0 ? (uint32_t)handler : 0;
    return 0;
}
