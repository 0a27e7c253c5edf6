/* SPDX-License-Identifier: BSD-2-Clause */
/* The head of an answer. */
#ifndef PFK_HTTP_RESPONSE_H
#define PFK_HTTP_RESPONSE_H

#include "http/thread.h"

/* What the request has to do with how the answer looks. */
struct pfk_response_frame {
    bool head_only;  /* the method is HEAD */
    bool keep_alive; /* the connection stays open */
    unsigned minor;  /* of the request's version */
};

static inline struct pfk_response_frame pfk_response_frame_of(const struct prefork_http_request *request)
{
    return (struct pfk_response_frame){.head_only = prefork_http_text_is(request->method, "HEAD") != 0,
                                       .keep_alive = request->keep_alive != 0,
                                       .minor = request->minor};
}

/* Whether the body that is said to have a length is sent, too. */
bool pfk_response_has_body(const struct prefork_http_response *response, struct pfk_response_frame frame);

/* Writes the head of an answer to thread->head, with `body_bytes` for its
 * length; returns its own. -EINVAL, -EMSGSIZE of prefork_http_respond. */
int64_t pfk_response_write_head(struct pfk_http_thread *thread, const struct prefork_http_response *response,
                                struct pfk_response_frame frame, uint64_t body_bytes);

#endif
