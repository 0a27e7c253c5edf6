/* SPDX-License-Identifier: BSD-2-Clause */
/* length: a message begins with a number that tells how long it is. The context
 * is the user's, so what kind of number it is lies in which function cuts. */
#include <errno.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "base/error.h"
#include "prefork.h"

static uint64_t protocol_length_read(const unsigned char *bytes, unsigned n_bytes, bool little)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < n_bytes; i++)
        number = number << 8 | bytes[little ? n_bytes - 1 - i : i];
    return number;
}

/* The longest message counts before it has come: nobody collects bytes for one
 * that could never be taken. */
static int64_t protocol_length_cut(const unsigned char *data, size_t length, size_t capacity, unsigned prefix_bytes,
                                   unsigned flags)
{
    const uint64_t least = (flags & PREFORK_LENGTH_INCLUSIVE) != 0 ? prefix_bytes : 0;
    uint64_t number;

    if (capacity < prefix_bytes)
        return -EMSGSIZE;
    if (length < prefix_bytes)
        return 0;
    number = protocol_length_read(data, prefix_bytes, (flags & PREFORK_LENGTH_LITTLE) != 0);
    if (number < least)
        return -EPROTO;
    number -= least; /* what follows the prefix */
    if (number > capacity - prefix_bytes)
        return -EMSGSIZE;
    return length - prefix_bytes >= number ? (int64_t)(prefix_bytes + number) : 0;
}

/* name, bytes of the prefix, flags */
#define PROTOCOL_LENGTH_KINDS(X, bytes)                                                                                \
    X(bytes##_0, bytes, 0) X(bytes##_1, bytes, 1) X(bytes##_2, bytes, 2) X(bytes##_3, bytes, 3)

#define PROTOCOL_LENGTH_FRAME(name, bytes, flags)                                                                      \
    static int64_t protocol_length_frame_##name(PFK_UNUSED struct prefork_connection *connection, const void *data,    \
                                                size_t length, size_t capacity, PFK_UNUSED int final,                  \
                                                PFK_UNUSED void *context)                                              \
    {                                                                                                                  \
        return protocol_length_cut(data, length, capacity, bytes, flags);                                              \
    }
PROTOCOL_LENGTH_KINDS(PROTOCOL_LENGTH_FRAME, 1)
PROTOCOL_LENGTH_KINDS(PROTOCOL_LENGTH_FRAME, 2)
PROTOCOL_LENGTH_KINDS(PROTOCOL_LENGTH_FRAME, 4)
PROTOCOL_LENGTH_KINDS(PROTOCOL_LENGTH_FRAME, 8)

#define PROTOCOL_LENGTH_FLAGS_ALL                 (PREFORK_LENGTH_LITTLE | PREFORK_LENGTH_INCLUSIVE)
#define PROTOCOL_LENGTH_ENTRY(name, bytes, flags) [flags] = protocol_length_frame_##name,

static prefork_frame_fn protocol_length_frame(unsigned prefix_bytes, unsigned flags)
{
    static const prefork_frame_fn frames[][PROTOCOL_LENGTH_FLAGS_ALL + 1] = {
        [1] = {PROTOCOL_LENGTH_KINDS(PROTOCOL_LENGTH_ENTRY, 1)},
        [2] = {PROTOCOL_LENGTH_KINDS(PROTOCOL_LENGTH_ENTRY, 2)},
        [4] = {PROTOCOL_LENGTH_KINDS(PROTOCOL_LENGTH_ENTRY, 4)},
        [8] = {PROTOCOL_LENGTH_KINDS(PROTOCOL_LENGTH_ENTRY, 8)},
    };

    return prefix_bytes < PFK_COUNT_OF(frames) && flags <= PROTOCOL_LENGTH_FLAGS_ALL ? frames[prefix_bytes][flags]
                                                                                     : NULL;
}

PFK_EXPORT const struct prefork_protocol *prefork_protocol_length(const char *handler, unsigned prefix_bytes,
                                                                  unsigned flags)
{
    static _Thread_local struct prefork_protocol length;

    length = (struct prefork_protocol){.size = sizeof(length),
                                       .handler = handler,
                                       .frame = protocol_length_frame(prefix_bytes, flags),
                                       .frames_in_place = 1}; /* the prefix is read once */
    if (length.frame != NULL)
        return &length;
    (void)pfk_error(EINVAL,
                    "prefork_protocol_length: a prefix of %u bytes, flags 0x%x; use 1, 2, 4 or 8 bytes, and flags of "
                    "enum prefork_length",
                    prefix_bytes, flags);
    return NULL;
}
