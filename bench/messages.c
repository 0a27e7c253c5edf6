/* SPDX-License-Identifier: BSD-2-Clause */
#include "messages.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "handoff_payload.h"

struct messages_queue {
    const struct message_calls *calls;
    struct shape shape;
    struct channel *requests; /* one, or one for each producer */
    struct channel *replies;  /* one for each producer; NULL: there are no replies */
};

struct messages_end {
    const struct messages_queue *queue;
    const struct channel *requests;
    const struct channel *replies; /* a producer's own, or where the worker's reply goes */
    struct message *request, *reply;
};

static uint32_t messages_request_channels(const struct messages_queue *queue)
{
    return queue->calls->paired ? queue->shape.producers : 1;
}

static struct channel *messages_open_channels(const struct messages_queue *queue, uint32_t count)
{
    struct channel *const channels = transport_allocate(queue->calls->name, count * sizeof(channels[0]));

    for (uint32_t i = 0; i < count; i++)
        channels[i] = queue->calls->open(&queue->shape);
    return channels;
}

void *messages_create(const struct message_calls *calls, const struct shape *shape)
{
    struct messages_queue *const queue = transport_allocate(calls->name, sizeof(*queue));

    queue->calls = calls;
    queue->shape = *shape;
    queue->requests = messages_open_channels(queue, messages_request_channels(queue));
    if (shape->window > 0)
        queue->replies = messages_open_channels(queue, shape->producers);
    return queue;
}

void messages_destroy(void *handle)
{
    struct messages_queue *const queue = handle;

    for (uint32_t i = 0; i < messages_request_channels(queue); i++)
        queue->calls->close(&queue->requests[i]);
    for (uint32_t i = 0; queue->replies != NULL && i < queue->shape.producers; i++)
        queue->calls->close(&queue->replies[i]);
    free(queue->requests);
    free(queue->replies);
    free(queue);
}

static struct messages_end *messages_open(void *handle, uint32_t index)
{
    const struct messages_queue *const queue = handle;
    const char *const name = queue->calls->name;
    struct messages_end *const end = transport_allocate(name, sizeof(*end));

    end->queue = queue;
    end->requests = &queue->requests[queue->calls->paired ? index : 0];
    end->request = transport_allocate(name, sizeof(struct message) + queue->shape.bytes);
    end->reply = transport_allocate(name, sizeof(struct message) + queue->shape.bytes);
    end->request->type = end->reply->type = 1;
    return end;
}

void *messages_open_producer(void *handle, uint32_t index)
{
    struct messages_end *const end = messages_open(handle, index);

    if (end->queue->replies != NULL)
        end->replies = &end->queue->replies[index];
    return end;
}

void *messages_open_worker(void *handle, uint32_t index)
{
    return messages_open(handle, index);
}

void messages_close(void *handle)
{
    struct messages_end *const end = handle;

    free(end->request);
    free(end->reply);
    free(end);
}

uint64_t *messages_begin_request(void *handle)
{
    const struct messages_end *const end = handle;

    return end->request->payload;
}

void messages_send_request(void *handle)
{
    const struct messages_end *const end = handle;

    end->queue->calls->send(end->requests, end->request, end->queue->shape.bytes);
}

void messages_send_stop(void *handle)
{
    *messages_begin_request(handle) = PAYLOAD_STOP;
    messages_send_request(handle);
}

const uint64_t *messages_take_reply(void *handle)
{
    const struct messages_end *const end = handle;

    end->queue->calls->receive(end->replies, end->reply, end->queue->shape.bytes);
    return end->reply->payload;
}

const uint64_t *messages_take_request(void *handle)
{
    const struct messages_end *const end = handle;

    end->queue->calls->receive(end->requests, end->request, end->queue->shape.bytes);
    return end->request->payload;
}

uint64_t *messages_begin_reply(void *handle, uint32_t producer)
{
    struct messages_end *const end = handle;

    end->replies = &end->queue->replies[producer];
    return end->reply->payload;
}

void messages_send_reply(void *handle)
{
    const struct messages_end *const end = handle;

    end->queue->calls->send(end->replies, end->reply, end->queue->shape.bytes);
}

void messages_end(void *handle)
{
    (void)handle;
}

void messages_write(const char *transport, int fd, const void *bytes, size_t count)
{
    const char *at = bytes;

    while (count > 0) {
        const ssize_t written = write(fd, at, count);

        if (written < 0 && errno != EINTR)
            transport_fail(transport, "write", errno);
        if (written > 0) {
            at += written;
            count -= (size_t)written;
        }
    }
}

void messages_read(const char *transport, int fd, void *bytes_out, size_t count)
{
    char *at = bytes_out;

    while (count > 0) {
        const ssize_t got = read(fd, at, count);

        if (got == 0)
            transport_fail(transport, "read: everybody else is gone", EPIPE);
        if (got < 0 && errno != EINTR)
            transport_fail(transport, "read", errno);
        if (got > 0) {
            at += got;
            count -= (size_t)got;
        }
    }
}
