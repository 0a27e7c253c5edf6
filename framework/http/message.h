/* SPDX-License-Identifier: BSD-2-Clause */
/* One request as it arrives: where it ends, and whether it may be taken. Knows
 * the limits and what HTTP demands beyond its grammar; parser.c knows the
 * grammar. The outcome does not depend on the pieces in which bytes come. */
#ifndef PFK_HTTP_MESSAGE_H
#define PFK_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/parser.h"

/* Bytes that chunk lines and trailers may add to head and body. */
#define PFK_MESSAGE_CHUNKING_BYTES 32768

struct pfk_message_limits {
    uint16_t headers;
    uint32_t head_bytes;
    uint64_t body_bytes;
};

struct pfk_message {
    uint64_t bytes;           /* of all of it; 0: it is not whole */
    bool expects;             /* the sender waits for 100 before it sends the body */
    bool continued;           /* and was told */
    struct pfk_parser parser; /* the last member, see there */
};

/* Begins with a new message. */
void pfk_message_begin(struct pfk_message *message, const struct pfk_message_limits *limits);

/* Looks at the first `length` bytes at `data`, of which it may have seen some.
 * Returns the length of the message, 0 when more bytes are needed, or the
 * negative of the status with which to refuse it. */
int64_t pfk_message_read(struct pfk_message *message, const struct pfk_message_limits *limits, const char *data,
                         size_t length);

/* How much of a struct is to be copied. */
static inline size_t pfk_message_size(const struct pfk_message *message)
{
    const struct pfk_parser *parser = &message->parser;
    const size_t n_fields = parser->n_fields < parser->max_fields ? parser->n_fields : parser->max_fields;

    return offsetof(struct pfk_message, parser.fields) + n_fields * sizeof(struct pfk_field);
}

#endif
