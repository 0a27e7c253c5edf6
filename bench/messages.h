/* SPDX-License-Identifier: BSD-2-Clause */
/* What the transports have in common that carry messages through the kernel:
 * each participant has a message of its own to write or read, which two calls
 * move. A transport supplies the calls; the ends of a transport are here. */
#ifndef BENCH_MESSAGES_H
#define BENCH_MESSAGES_H

#include <stddef.h>
#include <stdint.h>

#include "transport.h"

/* One direction of a transport; what the numbers mean, its calls know. */
struct channel {
    int in, out;
};

/* A message; the type is only for transports that need one. */
struct message {
    _Alignas(64) long type;
    uint64_t payload[];
};

struct message_calls {
    const char *name;
    struct channel (*open)(const struct shape *shape);
    void (*close)(const struct channel *channel);
    /* Move a whole message; they wait, and end the process if they fail. */
    void (*send)(const struct channel *channel, const struct message *message, size_t bytes);
    void (*receive)(const struct channel *channel, struct message *message_out, size_t bytes);
    /* Requests go through a channel for each producer, whose worker has the
     * same number; else all share one. */
    bool paired;
};

void *messages_create(const struct message_calls *calls, const struct shape *shape);
void messages_destroy(void *queue);

void *messages_open_producer(void *queue, uint32_t index);
void *messages_open_worker(void *queue, uint32_t index);
void messages_close(void *end);

uint64_t *messages_begin_request(void *end);
void messages_send_request(void *end);
void messages_send_stop(void *end);
const uint64_t *messages_take_reply(void *end);

const uint64_t *messages_take_request(void *end);
uint64_t *messages_begin_reply(void *end, uint32_t producer);
void messages_send_reply(void *end);

/* Nothing to do: what was received is the participant's own. */
void messages_end(void *end);

/* All of a transport but its name, refuses, max_window and create. */
#define MESSAGES_TRANSPORT                                                                                             \
    .destroy = messages_destroy, .open_producer = messages_open_producer, .close_producer = messages_close,            \
    .begin_request = messages_begin_request, .send_request = messages_send_request, .send_stop = messages_send_stop,   \
    .take_reply = messages_take_reply, .end_reply = messages_end, .open_worker = messages_open_worker,                 \
    .close_worker = messages_close, .take_request = messages_take_request, .end_request = messages_end,                \
    .begin_reply = messages_begin_reply, .send_reply = messages_send_reply

/* Writes or reads that many bytes, in as many pieces as it takes. */
void messages_write(const char *transport, int fd, const void *bytes, size_t count);
void messages_read(const char *transport, int fd, void *bytes_out, size_t count);

#endif
