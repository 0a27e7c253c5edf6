/* SPDX-License-Identifier: BSD-2-Clause */
/* What most would write first: a ring in shared memory under a robust mutex,
 * and a condition variable for each side. Messages are written in place under
 * the mutex and copied out under it: one lock for each operation, and no lock
 * while a job runs. */
#include "transport.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "handoff_payload.h"

struct mutex_ring {
    pthread_mutex_t mutex;
    pthread_cond_t items, room;
    uint64_t head, tail; /* under the mutex, like the slots */
    uint64_t slots, bytes;
    _Alignas(64) unsigned char slot_bytes[];
};

struct mutex_queue {
    uint32_t bytes;
    uint64_t ring_bytes; /* of each ring of replies */
    uint64_t map_bytes;
    struct mutex_ring *requests;
    unsigned char *replies; /* one ring for each producer */
};

struct mutex_end {
    const struct mutex_queue *queue;
    struct mutex_ring *own_replies; /* of a producer */
    struct mutex_ring *to;          /* where a worker's reply goes */
    uint64_t *message;              /* copied out */
};

static void mutex_check(const char *call, int error)
{
    if (error != 0)
        transport_fail("mutex", call, error);
}

static uint64_t mutex_ring_bytes(uint64_t slots, uint64_t bytes)
{
    return sizeof(struct mutex_ring) + slots * bytes;
}

static struct mutex_ring *mutex_replies(const struct mutex_queue *queue, uint32_t producer)
{
    return (struct mutex_ring *)(void *)(queue->replies + producer * queue->ring_bytes);
}

static void mutex_ring_init(struct mutex_ring *ring, uint64_t slots, uint64_t bytes)
{
    pthread_mutexattr_t mutex_attributes;
    pthread_condattr_t cond_attributes;

    mutex_check("pthread_mutexattr_init", pthread_mutexattr_init(&mutex_attributes));
    mutex_check("pthread_mutexattr_setpshared",
                pthread_mutexattr_setpshared(&mutex_attributes, PTHREAD_PROCESS_SHARED));
    mutex_check("pthread_mutexattr_setrobust", pthread_mutexattr_setrobust(&mutex_attributes, PTHREAD_MUTEX_ROBUST));
    mutex_check("pthread_mutex_init", pthread_mutex_init(&ring->mutex, &mutex_attributes));
    (void)pthread_mutexattr_destroy(&mutex_attributes);
    mutex_check("pthread_condattr_init", pthread_condattr_init(&cond_attributes));
    mutex_check("pthread_condattr_setpshared", pthread_condattr_setpshared(&cond_attributes, PTHREAD_PROCESS_SHARED));
    mutex_check("pthread_cond_init", pthread_cond_init(&ring->items, &cond_attributes));
    mutex_check("pthread_cond_init", pthread_cond_init(&ring->room, &cond_attributes));
    (void)pthread_condattr_destroy(&cond_attributes);
    ring->slots = slots;
    ring->bytes = bytes;
}

static const char *mutex_refuses(const struct shape *shape)
{
    (void)shape;
    return NULL;
}

static void *mutex_create(const struct shape *shape)
{
    struct mutex_queue *const queue = transport_allocate("mutex", sizeof(*queue));
    const uint64_t request_bytes = mutex_ring_bytes(shape->slots, shape->bytes);
    const uint32_t reply_rings = shape->window > 0 ? shape->producers : 0;
    unsigned char *at;

    queue->bytes = shape->bytes;
    queue->ring_bytes = mutex_ring_bytes(shape->window, shape->bytes);
    queue->map_bytes = request_bytes + reply_rings * queue->ring_bytes;
    at = transport_map_shared("mutex", queue->map_bytes);
    queue->requests = (struct mutex_ring *)(void *)at;
    queue->replies = at + request_bytes;
    mutex_ring_init(queue->requests, shape->slots, shape->bytes);
    for (uint32_t i = 0; i < reply_rings; i++)
        mutex_ring_init(mutex_replies(queue, i), shape->window, shape->bytes);
    return queue;
}

static void mutex_destroy(void *handle)
{
    struct mutex_queue *const queue = handle;

    transport_unmap(queue->requests, queue->map_bytes);
    free(queue);
}

static void *mutex_open_worker(void *handle, uint32_t index)
{
    struct mutex_end *const end = transport_allocate("mutex", sizeof(*end));

    (void)index;
    end->queue = handle;
    end->message = transport_allocate("mutex", end->queue->bytes);
    return end;
}

static void *mutex_open_producer(void *handle, uint32_t index)
{
    struct mutex_end *const end = mutex_open_worker(handle, index);

    end->own_replies = mutex_replies(end->queue, index);
    return end;
}

static void mutex_close(void *handle)
{
    struct mutex_end *const end = handle;

    free(end->message);
    free(end);
}

/* -- the ring -------------------------------------------------------------- */

static uint64_t *mutex_ring_slot(struct mutex_ring *ring, uint64_t position)
{
    return (uint64_t *)(void *)(ring->slot_bytes + position % ring->slots * ring->bytes);
}

/* Nobody dies here, and a ring whose holder died is whole all the same: the
 * index moves last. */
static void mutex_ring_lock(struct mutex_ring *ring)
{
    const int error = pthread_mutex_lock(&ring->mutex);

    if (error == EOWNERDEAD)
        mutex_check("pthread_mutex_consistent", pthread_mutex_consistent(&ring->mutex));
    else
        mutex_check("pthread_mutex_lock", error);
}

/* Returns a slot to fill, with the mutex held. */
static uint64_t *mutex_ring_begin_push(struct mutex_ring *ring)
{
    mutex_ring_lock(ring);
    while (ring->tail - ring->head == ring->slots)
        mutex_check("pthread_cond_wait", pthread_cond_wait(&ring->room, &ring->mutex));
    return mutex_ring_slot(ring, ring->tail);
}

static void mutex_ring_end_push(struct mutex_ring *ring)
{
    ring->tail++;
    (void)pthread_mutex_unlock(&ring->mutex);
    (void)pthread_cond_signal(&ring->items);
}

static void mutex_ring_pop(struct mutex_ring *ring, uint64_t *message_out)
{
    mutex_ring_lock(ring);
    while (ring->tail == ring->head)
        mutex_check("pthread_cond_wait", pthread_cond_wait(&ring->items, &ring->mutex));
    memcpy(message_out, mutex_ring_slot(ring, ring->head), ring->bytes);
    ring->head++;
    (void)pthread_mutex_unlock(&ring->mutex);
    (void)pthread_cond_signal(&ring->room);
}

/* -- the producer ---------------------------------------------------------- */

static uint64_t *mutex_begin_request(void *handle)
{
    const struct mutex_end *const end = handle;

    return mutex_ring_begin_push(end->queue->requests);
}

static void mutex_send_request(void *handle)
{
    const struct mutex_end *const end = handle;

    mutex_ring_end_push(end->queue->requests);
}

static void mutex_send_stop(void *handle)
{
    *mutex_begin_request(handle) = PAYLOAD_STOP;
    mutex_send_request(handle);
}

static const uint64_t *mutex_take_reply(void *handle)
{
    const struct mutex_end *const end = handle;

    mutex_ring_pop(end->own_replies, end->message);
    return end->message;
}

/* -- the worker ------------------------------------------------------------ */

static const uint64_t *mutex_take_request(void *handle)
{
    const struct mutex_end *const end = handle;

    mutex_ring_pop(end->queue->requests, end->message);
    return end->message;
}

static uint64_t *mutex_begin_reply(void *handle, uint32_t producer)
{
    struct mutex_end *const end = handle;

    end->to = mutex_replies(end->queue, producer);
    return mutex_ring_begin_push(end->to);
}

static void mutex_send_reply(void *handle)
{
    const struct mutex_end *const end = handle;

    mutex_ring_end_push(end->to);
}

/* The message was copied out, and its slot is another's already. */
static void mutex_end_message(void *handle)
{
    (void)handle;
}

const struct transport transport_mutex = {
    .name = "mutex",
    .refuses = mutex_refuses,
    .create = mutex_create,
    .destroy = mutex_destroy,
    .open_producer = mutex_open_producer,
    .close_producer = mutex_close,
    .begin_request = mutex_begin_request,
    .send_request = mutex_send_request,
    .send_stop = mutex_send_stop,
    .take_reply = mutex_take_reply,
    .end_reply = mutex_end_message,
    .open_worker = mutex_open_worker,
    .close_worker = mutex_close,
    .take_request = mutex_take_request,
    .end_request = mutex_end_message,
    .begin_reply = mutex_begin_reply,
    .send_reply = mutex_send_reply,
};
