/* SPDX-License-Identifier: BSD-2-Clause */
/* A pipe for the requests, one for each producer's replies; of the size that
 * the kernel gives them. */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "messages.h"

/* How many buffers of one page a pipe has by default. */
#define PIPE_PAGES 16

/* What is written in one piece is read in one piece, if all write as much;
 * beyond that the pieces of several writers mix. */
static const char *pipe_refuses(const struct shape *shape)
{
    if (shape->bytes > PIPE_BUF && shape->producers + shape->workers > 2)
        return "messages above PIPE_BUF can't be shared";
    return NULL;
}

/* The first and the last page may be filled in part. */
static uint32_t pipe_max_window(const struct shape *shape)
{
    const uint32_t page_bytes = (uint32_t)sysconf(_SC_PAGESIZE);
    const uint32_t room = shape->bytes <= page_bytes ? (PIPE_PAGES - 1) * (page_bytes / shape->bytes)
                                                     : PIPE_PAGES * page_bytes / shape->bytes;

    if (shape->bytes <= page_bytes)
        return room > PIPE_PAGES ? room : PIPE_PAGES;
    return room > 1 ? room : 1;
}

static struct channel pipe_open(const struct shape *shape)
{
    int fds[2];

    (void)shape;
    if (pipe2(fds, O_CLOEXEC) != 0)
        transport_fail("pipe", "pipe2", errno);
    return (struct channel){.in = fds[0], .out = fds[1]};
}

static void pipe_close(const struct channel *channel)
{
    (void)close(channel->in);
    (void)close(channel->out);
}

static void pipe_send(const struct channel *channel, const struct message *message, size_t bytes)
{
    messages_write("pipe", channel->out, message->payload, bytes);
}

static void pipe_receive(const struct channel *channel, struct message *message_out, size_t bytes)
{
    messages_read("pipe", channel->in, message_out->payload, bytes);
}

static const struct message_calls pipe_calls = {
    .name = "pipe", .open = pipe_open, .close = pipe_close, .send = pipe_send, .receive = pipe_receive};

static void *pipe_create(const struct shape *shape)
{
    return messages_create(&pipe_calls, shape);
}

const struct transport transport_pipe = {
    .name = "pipe", .refuses = pipe_refuses, .max_window = pipe_max_window, .create = pipe_create, MESSAGES_TRANSPORT};
