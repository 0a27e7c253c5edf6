/* SPDX-License-Identifier: BSD-2-Clause */
/* lines: a message ends with its newline, or with the last byte. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "io/connection.h"

/* What was searched before isn't searched again: a line that dribbles in costs
 * no more than one that comes at once. */
static int64_t protocol_lines_frame(struct prefork_connection *connection, const void *data, size_t length,
                                    size_t capacity, int final, PFK_UNUSED void *context)
{
    const unsigned char *bytes = data;
    const size_t limit = length < capacity ? length : capacity;
    const size_t from = connection->scanned < limit ? connection->scanned : 0;
    const unsigned char *newline = memchr(bytes + from, '\n', limit - from);

    if (newline != NULL)
        return newline - bytes + 1;
    if (length > capacity || (length == capacity && !final))
        return -EMSGSIZE;
    if (final)
        return (int64_t)length;
    connection->scanned = (uint32_t)limit;
    return 0;
}

static int protocol_lines_failed(struct prefork_connection *connection, int status, PFK_UNUSED void *context)
{
    char text[80];
    int length;

    if (status != -EMSGSIZE)
        return status;
    length =
        snprintf(text, sizeof(text), "error: the line is longer than %zu bytes\n", pfk_connection_capacity(connection));
    (void)prefork_connection_write(connection, text, (size_t)length);
    return status;
}

PFK_EXPORT const struct prefork_protocol *prefork_protocol_lines(const char *handler)
{
    static _Thread_local struct prefork_protocol lines;

    lines = (struct prefork_protocol){.size = sizeof(lines),
                                      .handler = handler,
                                      .frame = protocol_lines_frame,
                                      .failed = protocol_lines_failed,
                                      .frames_in_place = 1}; /* one search decides */
    return &lines;
}
