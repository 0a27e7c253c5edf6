/* SPDX-License-Identifier: BSD-2-Clause */
/* What a protocol leaves out. The ready-made ones are protocol_raw.c,
 * protocol_lines.c and protocol_length.c. */
#include "io/protocol.h"

#include <errno.h>

#include "base/error.h"

#define PROTOCOL_MAX_IN_FLIGHT         1024
#define PROTOCOL_MAX_IN_FLIGHT_DEFAULT 16

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
    if (given->frames_in_place > 1)
        return pfk_error(EINVAL, "protocol: frames_in_place is %u; use 0 or 1", given->frames_in_place);
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
    if (face->frame == NULL) {
        face->frame = pfk_protocol_raw_frame;
        face->frames_in_place = 1;
    }
    protocol_out->frames_in_place = face->message == NULL && face->frames_in_place != 0;
    protocol_out->proxy = (struct pfk_proxy_rule){.trust = NULL};
    protocol_out->has_handler = handler >= 0;
    protocol_out->handler = handler >= 0 ? (uint32_t)handler : 0;
    return 0;
}
