/* SPDX-License-Identifier: BSD-2-Clause */
/* The bare ring with two counting semaphores of the C library: a token for each
 * item, and one for each free cell. Simple, and each job pays two posts and two
 * waits. */
#include "transport.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>

#include "bare_ring.h"
#include "handoff_payload.h"

struct lot {
    _Alignas(BARE_RING_UNIT) sem_t items;
    _Alignas(BARE_RING_UNIT) sem_t room;
    struct bare_ring ring; /* last: its cells follow */
};

struct ring_sem_queue {
    uint64_t lot_bytes; /* of each lot of replies */
    uint64_t map_bytes;
    struct lot *requests;
    unsigned char *replies; /* one lot for each producer */
};

struct ring_sem_end {
    const struct ring_sem_queue *queue;
    struct lot *own_replies; /* of a producer */
    struct lot *to;          /* where a worker's reply goes */
    struct bare_cell *request, *reply;
    uint64_t request_ticket, reply_ticket;
};

static uint64_t ring_sem_lot_bytes(uint64_t cells, uint64_t payload_bytes)
{
    return sizeof(struct lot) - sizeof(struct bare_ring) + bare_ring_bytes(cells, payload_bytes);
}

static struct lot *ring_sem_replies(const struct ring_sem_queue *queue, uint32_t producer)
{
    return (struct lot *)(void *)(queue->replies + producer * queue->lot_bytes);
}

static void ring_sem_init(struct lot *lot, uint64_t cells, uint64_t payload_bytes)
{
    bare_ring_init(&lot->ring, cells, payload_bytes);
    if (sem_init(&lot->items, 1, 0) != 0 || sem_init(&lot->room, 1, (unsigned)cells) != 0)
        transport_fail("ring-sem", "sem_init", errno);
}

static const char *ring_sem_refuses(const struct shape *shape)
{
    (void)shape;
    return NULL;
}

static void *ring_sem_create(const struct shape *shape)
{
    struct ring_sem_queue *const queue = transport_allocate("ring-sem", sizeof(*queue));
    const uint64_t request_bytes = ring_sem_lot_bytes(shape->slots, shape->bytes);
    const uint32_t reply_lots = shape->window > 0 ? shape->producers : 0;
    uint64_t reply_cells = 2;
    unsigned char *at;

    while (reply_cells < shape->window)
        reply_cells *= 2;
    queue->lot_bytes = ring_sem_lot_bytes(reply_cells, shape->bytes);
    queue->map_bytes = request_bytes + reply_lots * queue->lot_bytes;
    at = transport_map_shared("ring-sem", queue->map_bytes);
    queue->requests = (struct lot *)(void *)at;
    queue->replies = at + request_bytes;
    ring_sem_init(queue->requests, shape->slots, shape->bytes);
    for (uint32_t i = 0; i < reply_lots; i++)
        ring_sem_init(ring_sem_replies(queue, i), reply_cells, shape->bytes);
    return queue;
}

static void ring_sem_destroy(void *handle)
{
    struct ring_sem_queue *const queue = handle;

    transport_unmap(queue->requests, queue->map_bytes);
    free(queue);
}

static void *ring_sem_open_worker(void *handle, uint32_t index)
{
    struct ring_sem_end *const end = transport_allocate("ring-sem", sizeof(*end));

    (void)index;
    end->queue = handle;
    return end;
}

static void *ring_sem_open_producer(void *handle, uint32_t index)
{
    struct ring_sem_end *const end = ring_sem_open_worker(handle, index);

    end->own_replies = ring_sem_replies(end->queue, index);
    return end;
}

static void ring_sem_take_token(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        if (errno != EINTR)
            transport_fail("ring-sem", "sem_wait", errno);
}

/* A token says that some cell is ready, not that the next one is: its holder
 * may have been preempted between begin and end. Then only that one can help. */
static struct bare_cell *ring_sem_push(struct lot *lot, uint64_t *ticket_out)
{
    struct bare_cell *cell;

    ring_sem_take_token(&lot->room);
    while ((cell = bare_ring_begin_push(&lot->ring, ticket_out)) == NULL)
        (void)sched_yield();
    return cell;
}

static struct bare_cell *ring_sem_pop(struct lot *lot, uint64_t *ticket_out)
{
    struct bare_cell *cell;

    ring_sem_take_token(&lot->items);
    while ((cell = bare_ring_begin_pop(&lot->ring, ticket_out)) == NULL)
        (void)sched_yield();
    return cell;
}

/* -- the producer ---------------------------------------------------------- */

static uint64_t *ring_sem_begin_request(void *handle)
{
    struct ring_sem_end *const end = handle;

    end->request = ring_sem_push(end->queue->requests, &end->request_ticket);
    return end->request->payload;
}

static void ring_sem_send_request(void *handle)
{
    struct ring_sem_end *const end = handle;

    bare_ring_end_push(end->request, end->request_ticket);
    (void)sem_post(&end->queue->requests->items);
}

static void ring_sem_send_stop(void *handle)
{
    *ring_sem_begin_request(handle) = PAYLOAD_STOP;
    ring_sem_send_request(handle);
}

static const uint64_t *ring_sem_take_reply(void *handle)
{
    struct ring_sem_end *const end = handle;

    end->reply = ring_sem_pop(end->own_replies, &end->reply_ticket);
    return end->reply->payload;
}

static void ring_sem_end_reply(void *handle)
{
    struct ring_sem_end *const end = handle;

    bare_ring_end_pop(&end->own_replies->ring, end->reply, end->reply_ticket);
    (void)sem_post(&end->own_replies->room);
}

/* -- the worker ------------------------------------------------------------ */

static const uint64_t *ring_sem_take_request(void *handle)
{
    struct ring_sem_end *const end = handle;

    end->request = ring_sem_pop(end->queue->requests, &end->request_ticket);
    return end->request->payload;
}

static void ring_sem_end_request(void *handle)
{
    struct ring_sem_end *const end = handle;

    bare_ring_end_pop(&end->queue->requests->ring, end->request, end->request_ticket);
    (void)sem_post(&end->queue->requests->room);
}

static uint64_t *ring_sem_begin_reply(void *handle, uint32_t producer)
{
    struct ring_sem_end *const end = handle;

    end->to = ring_sem_replies(end->queue, producer);
    end->reply = ring_sem_push(end->to, &end->reply_ticket);
    return end->reply->payload;
}

static void ring_sem_send_reply(void *handle)
{
    struct ring_sem_end *const end = handle;

    bare_ring_end_push(end->reply, end->reply_ticket);
    (void)sem_post(&end->to->items);
    ring_sem_end_request(end);
}

const struct transport transport_ring_sem = {
    .name = "ring-sem",
    .refuses = ring_sem_refuses,
    .create = ring_sem_create,
    .destroy = ring_sem_destroy,
    .open_producer = ring_sem_open_producer,
    .close_producer = free,
    .begin_request = ring_sem_begin_request,
    .send_request = ring_sem_send_request,
    .send_stop = ring_sem_send_stop,
    .take_reply = ring_sem_take_reply,
    .end_reply = ring_sem_end_reply,
    .open_worker = ring_sem_open_worker,
    .close_worker = free,
    .take_request = ring_sem_take_request,
    .end_request = ring_sem_end_request,
    .begin_reply = ring_sem_begin_reply,
    .send_reply = ring_sem_send_reply,
};
