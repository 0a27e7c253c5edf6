/* SPDX-License-Identifier: BSD-2-Clause */
/* The bare ring with parking, one place to park for items and one for room:
 * what a table that need not survive anything would be. `ring` parks at once,
 * `ring-spin` looks a while before it does. */
#include "transport.h"

#include <stdlib.h>

#include "bare_ring.h"
#include "handoff_payload.h"
#include "parking.h"

/* About 20 us: longer than a wake-up takes, so that a partner which is at work
 * on another processor is always awaited. */
#define SPIN_LOOKS 2000

/* A ring with its two places to park. */
struct lot {
    struct parking items, room;
    struct bare_ring ring; /* last: its cells follow */
};

struct ring_queue {
    struct shape shape;
    uint32_t spin_looks;
    uint64_t lot_bytes; /* of each lot of replies */
    uint64_t map_bytes;
    _Atomic uint64_t *futex_calls;
    struct lot *requests;
    unsigned char *replies; /* one lot for each producer */
};

/* A participant's view: the cells that it holds at the moment. */
struct ring_end {
    const struct ring_queue *queue;
    struct lot *own_replies; /* of a producer */
    struct lot *to;          /* where a worker's reply goes */
    struct bare_cell *request, *reply;
    uint64_t request_ticket, reply_ticket;
    uint64_t futex_calls;
};

static struct lot *ring_replies(const struct ring_queue *queue, uint32_t producer)
{
    return (struct lot *)(void *)(queue->replies + producer * queue->lot_bytes);
}

static uint64_t ring_lot_bytes(uint64_t cells, uint64_t payload_bytes)
{
    return sizeof(struct lot) - sizeof(struct bare_ring) + bare_ring_bytes(cells, payload_bytes);
}

static uint64_t ring_reply_cells(const struct shape *shape)
{
    uint64_t cells = 2;

    while (cells < shape->window)
        cells *= 2;
    return cells;
}

static void *ring_create(const struct shape *shape, uint32_t spin_looks)
{
    struct ring_queue *const queue = transport_allocate("ring", sizeof(*queue));
    const uint64_t request_bytes = ring_lot_bytes(shape->slots, shape->bytes);
    const uint32_t reply_lots = shape->window > 0 ? shape->producers : 0;
    unsigned char *at;

    queue->shape = *shape;
    queue->spin_looks = spin_looks;
    queue->lot_bytes = ring_lot_bytes(ring_reply_cells(shape), shape->bytes);
    queue->map_bytes = BARE_RING_UNIT + request_bytes + reply_lots * queue->lot_bytes;
    at = transport_map_shared("ring", queue->map_bytes);
    queue->futex_calls = (_Atomic uint64_t *)(void *)at;
    queue->requests = (struct lot *)(void *)(at + BARE_RING_UNIT);
    queue->replies = at + BARE_RING_UNIT + request_bytes;
    bare_ring_init(&queue->requests->ring, shape->slots, shape->bytes);
    for (uint32_t i = 0; i < reply_lots; i++)
        bare_ring_init(&ring_replies(queue, i)->ring, ring_reply_cells(shape), shape->bytes);
    return queue;
}

static void *ring_create_parking(const struct shape *shape)
{
    return ring_create(shape, 0);
}

static void *ring_create_spinning(const struct shape *shape)
{
    return ring_create(shape, SPIN_LOOKS);
}

static void ring_destroy(void *handle)
{
    struct ring_queue *const queue = handle;

    transport_unmap(queue->futex_calls, queue->map_bytes);
    free(queue);
}

static uint64_t ring_futex_calls(void *handle)
{
    const struct ring_queue *const queue = handle;

    return atomic_load(queue->futex_calls);
}

static const char *ring_refuses(const struct shape *shape)
{
    (void)shape;
    return NULL;
}

static struct ring_end *ring_open(void *handle)
{
    struct ring_end *const end = transport_allocate("ring", sizeof(*end));

    end->queue = handle;
    return end;
}

static void *ring_open_producer(void *handle, uint32_t index)
{
    struct ring_end *const end = ring_open(handle);

    end->own_replies = ring_replies(end->queue, index);
    return end;
}

static void *ring_open_worker(void *handle, uint32_t index)
{
    (void)index;
    return ring_open(handle);
}

static void ring_close(void *handle)
{
    struct ring_end *const end = handle;

    (void)atomic_fetch_add(end->queue->futex_calls, end->futex_calls);
    free(end);
}

/* -- waiting --------------------------------------------------------------- */

typedef struct bare_cell *ring_begin_fn(struct bare_ring *ring, uint64_t *ticket_out);

static inline void ring_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Sleeps until `begin` gives a cell. */
static inline struct bare_cell *ring_park(struct ring_end *end, struct parking *parking, struct bare_ring *ring,
                                          ring_begin_fn *begin, uint64_t *ticket_out)
{
    for (;;) {
        struct bare_cell *cell;

        for (uint32_t look = 0; look < end->queue->spin_looks; look++) {
            cell = begin(ring, ticket_out);
            if (cell != NULL)
                return cell;
            ring_pause();
        }
        parking_declare(parking);
        cell = begin(ring, ticket_out);
        if (cell != NULL) {
            end->futex_calls += parking_cancel(parking);
            return cell;
        }
        end->futex_calls += parking_sleep(parking);
        cell = begin(ring, ticket_out);
        if (cell != NULL)
            return cell;
    }
}

static inline struct bare_cell *ring_push(struct ring_end *end, struct lot *lot, uint64_t *ticket_out)
{
    struct bare_cell *const cell = bare_ring_begin_push(&lot->ring, ticket_out);

    if (__builtin_expect(cell != NULL, 1))
        return cell;
    return ring_park(end, &lot->room, &lot->ring, bare_ring_begin_push, ticket_out);
}

static inline struct bare_cell *ring_pop(struct ring_end *end, struct lot *lot, uint64_t *ticket_out)
{
    struct bare_cell *const cell = bare_ring_begin_pop(&lot->ring, ticket_out);

    if (__builtin_expect(cell != NULL, 1))
        return cell;
    return ring_park(end, &lot->items, &lot->ring, bare_ring_begin_pop, ticket_out);
}

/* -- the producer ---------------------------------------------------------- */

static uint64_t *ring_begin_request(void *handle)
{
    struct ring_end *const end = handle;

    end->request = ring_push(end, end->queue->requests, &end->request_ticket);
    return end->request->payload;
}

static void ring_send_request(void *handle)
{
    struct ring_end *const end = handle;

    bare_ring_end_push(end->request, end->request_ticket);
    end->futex_calls += parking_wake(&end->queue->requests->items);
}

static void ring_send_stop(void *handle)
{
    *ring_begin_request(handle) = PAYLOAD_STOP;
    ring_send_request(handle);
}

static const uint64_t *ring_take_reply(void *handle)
{
    struct ring_end *const end = handle;

    end->reply = ring_pop(end, end->own_replies, &end->reply_ticket);
    return end->reply->payload;
}

/* Nobody waits for room among the replies: it holds the whole window. */
static void ring_end_reply(void *handle)
{
    struct ring_end *const end = handle;

    bare_ring_end_pop(&end->own_replies->ring, end->reply, end->reply_ticket);
}

/* -- the worker ------------------------------------------------------------ */

static const uint64_t *ring_take_request(void *handle)
{
    struct ring_end *const end = handle;

    end->request = ring_pop(end, end->queue->requests, &end->request_ticket);
    return end->request->payload;
}

static void ring_end_request(void *handle)
{
    struct ring_end *const end = handle;

    bare_ring_end_pop(&end->queue->requests->ring, end->request, end->request_ticket);
    end->futex_calls += parking_wake(&end->queue->requests->room);
}

static uint64_t *ring_begin_reply(void *handle, uint32_t producer)
{
    struct ring_end *const end = handle;

    end->to = ring_replies(end->queue, producer);
    end->reply = ring_push(end, end->to, &end->reply_ticket);
    return end->reply->payload;
}

static void ring_send_reply(void *handle)
{
    struct ring_end *const end = handle;

    bare_ring_end_push(end->reply, end->reply_ticket);
    end->futex_calls += parking_wake(&end->to->items);
    ring_end_request(end);
}

#define RING_COMMON                                                                                                    \
    .refuses = ring_refuses, .destroy = ring_destroy, .futex_calls = ring_futex_calls,                                 \
    .open_producer = ring_open_producer, .close_producer = ring_close, .begin_request = ring_begin_request,            \
    .send_request = ring_send_request, .send_stop = ring_send_stop, .take_reply = ring_take_reply,                     \
    .end_reply = ring_end_reply, .open_worker = ring_open_worker, .close_worker = ring_close,                          \
    .take_request = ring_take_request, .end_request = ring_end_request, .begin_reply = ring_begin_reply,               \
    .send_reply = ring_send_reply

const struct transport transport_ring = {.name = "ring", .create = ring_create_parking, RING_COMMON};
const struct transport transport_ring_spin = {.name = "ring-spin", .create = ring_create_spinning, RING_COMMON};
