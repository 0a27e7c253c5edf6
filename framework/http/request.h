/* SPDX-License-Identifier: BSD-2-Clause */
/* A request as its user sees it, and as it travels in a slot. */
#ifndef PFK_HTTP_REQUEST_H
#define PFK_HTTP_REQUEST_H

#include "http/message.h"
#include "http/thread.h"

/* A request in a slot: this, the fields, the head, the body. Whoever may write
 * the slot may have written anything, so it is checked when it is read. */
struct pfk_request_shm {
    uint64_t body_bytes;
    uint32_t magic;
    uint32_t head_bytes;
    struct pfk_piece method;
    struct pfk_piece target;
    uint16_t n_fields;
    uint8_t minor;
    uint8_t keep_alive;
};

/* Fills thread->request from a whole message at `data`. 0 or -ENOMEM. */
int pfk_request_of_message(struct pfk_http_thread *thread, const struct pfk_message *message, const char *data);

/* Writes the request that thread->answering is as a slot will hold it, to
 * thread->job; returns its length, or -ENOMEM. */
int64_t pfk_request_to_job(struct pfk_http_thread *thread, const struct prefork_http_request *request);

/* Fills thread->request from what a job carries. 0, or -EPROTO: that is none. */
int pfk_request_of_job(struct pfk_http_thread *thread, const char *data, size_t length);

#endif
