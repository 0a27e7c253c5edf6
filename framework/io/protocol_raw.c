/* SPDX-License-Identifier: BSD-2-Clause */
/* raw: each piece that arrives is a message. */
#include "base/compiler.h"
#include "io/protocol.h"

int64_t pfk_protocol_raw_frame(PFK_UNUSED struct prefork_connection *connection, PFK_UNUSED const void *data,
                               size_t length, size_t capacity, PFK_UNUSED int final, PFK_UNUSED void *context)
{
    return (int64_t)(length < capacity ? length : capacity);
}

PFK_EXPORT const struct prefork_protocol *prefork_protocol_raw(const char *handler)
{
    static _Thread_local struct prefork_protocol raw;

    raw = (struct prefork_protocol){.size = sizeof(raw), .handler = handler};
    return &raw;
}
