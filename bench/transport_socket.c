/* SPDX-License-Identifier: BSD-2-Clause */
/* Unix sockets, with the buffers that the kernel gives them. `stream` is a
 * connection between each producer and the worker of the same number, as a
 * client and a server have it; `seqpacket` is one socket that all producers
 * and all workers share, since it keeps messages apart. */
#include "transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "messages.h"

/* What the kernel books for a message beside its bytes, generously. */
#define SOCKET_OVERHEAD_BYTES 2048

static uint32_t socket_buffer_bytes(void)
{
    socklen_t length = sizeof(int);
    int fds[2], bytes = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        transport_fail("socket", "socketpair", errno);
    (void)getsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, &length);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return (uint32_t)bytes;
}

static const char *socket_refuses_stream(const struct shape *shape)
{
    return shape->producers != shape->workers ? "a connection has two ends: only as many workers as producers" : NULL;
}

static const char *socket_refuses_seqpacket(const struct shape *shape)
{
    return shape->bytes + SOCKET_OVERHEAD_BYTES > socket_buffer_bytes() ? "the message exceeds the socket's buffer"
                                                                        : NULL;
}

static uint32_t socket_max_window(const struct shape *shape)
{
    const uint32_t room = socket_buffer_bytes() / (shape->bytes + SOCKET_OVERHEAD_BYTES);

    return room > 1 ? room : 1;
}

static struct channel socket_open(int type)
{
    int fds[2];

    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0)
        transport_fail("socket", "socketpair", errno);
    return (struct channel){.in = fds[0], .out = fds[1]};
}

static struct channel socket_open_stream(const struct shape *shape)
{
    (void)shape;
    return socket_open(SOCK_STREAM);
}

static struct channel socket_open_seqpacket(const struct shape *shape)
{
    (void)shape;
    return socket_open(SOCK_SEQPACKET);
}

static void socket_close(const struct channel *channel)
{
    (void)close(channel->in);
    (void)close(channel->out);
}

static void socket_send(const struct channel *channel, const struct message *message, size_t bytes)
{
    messages_write("socket", channel->out, message->payload, bytes);
}

static void socket_receive(const struct channel *channel, struct message *message_out, size_t bytes)
{
    messages_read("socket", channel->in, message_out->payload, bytes);
}

static const struct message_calls stream_calls = {.name = "stream",
                                                  .open = socket_open_stream,
                                                  .close = socket_close,
                                                  .send = socket_send,
                                                  .receive = socket_receive,
                                                  .paired = true};

static const struct message_calls seqpacket_calls = {.name = "seqpacket",
                                                     .open = socket_open_seqpacket,
                                                     .close = socket_close,
                                                     .send = socket_send,
                                                     .receive = socket_receive};

static void *socket_create_stream(const struct shape *shape)
{
    return messages_create(&stream_calls, shape);
}

static void *socket_create_seqpacket(const struct shape *shape)
{
    return messages_create(&seqpacket_calls, shape);
}

const struct transport transport_stream = {.name = "stream",
                                           .refuses = socket_refuses_stream,
                                           .max_window = socket_max_window,
                                           .create = socket_create_stream,
                                           MESSAGES_TRANSPORT};
const struct transport transport_seqpacket = {.name = "seqpacket",
                                              .refuses = socket_refuses_seqpacket,
                                              .max_window = socket_max_window,
                                              .create = socket_create_seqpacket,
                                              MESSAGES_TRANSPORT};
