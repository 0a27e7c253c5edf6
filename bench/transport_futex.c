/* SPDX-License-Identifier: BSD-2-Clause */
/* Ping-pong between two processes: one message each way and one futex for each,
 * nothing else. The floor under every idle wake-up. */
#include "transport.h"

#include <stdlib.h>

#include "futex.h"
#include "handoff_payload.h"

struct ball {
    _Alignas(128) _Atomic uint32_t full;
    _Alignas(64) uint64_t payload[];
};

struct futex_queue {
    uint64_t ball_bytes;
    struct ball *request, *reply;
    _Atomic uint64_t *calls;
};

struct futex_end {
    const struct futex_queue *queue;
    uint64_t calls;
};

static const char *futex_refuses(const struct shape *shape)
{
    if (shape->producers != 1 || shape->workers != 1 || shape->window != 1)
        return "ping-pong is 1:1, a round trip, 1 in flight";
    return NULL;
}

static void *futex_create(const struct shape *shape)
{
    struct futex_queue *const queue = transport_allocate("futex", sizeof(*queue));
    unsigned char *at;

    queue->ball_bytes = sizeof(struct ball) + (shape->bytes + 127) / 128 * 128;
    at = transport_map_shared("futex", 2 * queue->ball_bytes + sizeof(*queue->calls));
    queue->request = (struct ball *)(void *)at;
    queue->reply = (struct ball *)(void *)(at + queue->ball_bytes);
    queue->calls = (_Atomic uint64_t *)(void *)(at + 2 * queue->ball_bytes);
    return queue;
}

static void futex_destroy(void *handle)
{
    struct futex_queue *const queue = handle;

    transport_unmap(queue->request, 2 * queue->ball_bytes + sizeof(*queue->calls));
    free(queue);
}

static uint64_t futex_count_calls(void *handle)
{
    const struct futex_queue *const queue = handle;

    return atomic_load(queue->calls);
}

static void *futex_open(void *handle, uint32_t index)
{
    struct futex_end *const end = transport_allocate("futex", sizeof(*end));

    (void)index;
    end->queue = handle;
    return end;
}

static void futex_close(void *handle)
{
    struct futex_end *const end = handle;

    (void)atomic_fetch_add(end->queue->calls, end->calls);
    free(end);
}

static void futex_throw(struct futex_end *end, struct ball *ball)
{
    atomic_store(&ball->full, 1);
    futex_wake(&ball->full, 1);
    end->calls++;
}

/* The ball is the catcher's until it throws the other one. */
static const uint64_t *futex_catch(struct futex_end *end, struct ball *ball)
{
    while (atomic_load(&ball->full) == 0) {
        futex_wait(&ball->full, 0, NULL);
        end->calls++;
    }
    atomic_store_explicit(&ball->full, 0, memory_order_relaxed);
    return ball->payload;
}

static uint64_t *futex_begin_request(void *handle)
{
    const struct futex_end *const end = handle;

    return end->queue->request->payload;
}

static void futex_send_request(void *handle)
{
    struct futex_end *const end = handle;

    futex_throw(end, end->queue->request);
}

static void futex_send_stop(void *handle)
{
    *futex_begin_request(handle) = PAYLOAD_STOP;
    futex_send_request(handle);
}

static const uint64_t *futex_take_reply(void *handle)
{
    struct futex_end *const end = handle;

    return futex_catch(end, end->queue->reply);
}

static const uint64_t *futex_take_request(void *handle)
{
    struct futex_end *const end = handle;

    return futex_catch(end, end->queue->request);
}

static uint64_t *futex_begin_reply(void *handle, uint32_t producer)
{
    const struct futex_end *const end = handle;

    (void)producer;
    return end->queue->reply->payload;
}

static void futex_send_reply(void *handle)
{
    struct futex_end *const end = handle;

    futex_throw(end, end->queue->reply);
}

static void futex_end(void *handle)
{
    (void)handle;
}

const struct transport transport_futex = {
    .name = "futex",
    .refuses = futex_refuses,
    .create = futex_create,
    .destroy = futex_destroy,
    .futex_calls = futex_count_calls,
    .open_producer = futex_open,
    .close_producer = futex_close,
    .begin_request = futex_begin_request,
    .send_request = futex_send_request,
    .send_stop = futex_send_stop,
    .take_reply = futex_take_reply,
    .end_reply = futex_end,
    .open_worker = futex_open,
    .close_worker = futex_close,
    .take_request = futex_take_request,
    .end_request = futex_end,
    .begin_reply = futex_begin_reply,
    .send_reply = futex_send_reply,
};
