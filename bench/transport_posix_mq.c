/* SPDX-License-Identifier: BSD-2-Clause */
/* POSIX message queues of the depth that any user may have. */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <unistd.h>

#include "messages.h"

/* The kernel's defaults for fs.mqueue.msg_max and msgsize_max. */
#define POSIX_MQ_DEPTH     10
#define POSIX_MQ_MAX_BYTES 8192

static const char *posix_mq_refuses(const struct shape *shape)
{
    return shape->bytes > POSIX_MQ_MAX_BYTES ? "the message exceeds fs.mqueue.msgsize_max" : NULL;
}

static uint32_t posix_mq_max_window(const struct shape *shape)
{
    (void)shape;
    return POSIX_MQ_DEPTH;
}

static struct channel posix_mq_open(const struct shape *shape)
{
    struct mq_attr attributes = {.mq_maxmsg = POSIX_MQ_DEPTH, .mq_msgsize = (long)shape->bytes};
    char name[64];
    mqd_t queue;

    (void)snprintf(name, sizeof(name), "/handoff-%d", (int)getpid());
    queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
    if (queue == (mqd_t)-1)
        transport_fail("posix-mq", "mq_open", errno);
    (void)mq_unlink(name); /* it lives as long as somebody has it open */
    return (struct channel){.in = queue, .out = queue};
}

static void posix_mq_close(const struct channel *channel)
{
    (void)mq_close(channel->in);
}

static void posix_mq_send(const struct channel *channel, const struct message *message, size_t bytes)
{
    while (mq_send(channel->out, (const char *)message->payload, bytes, 0) != 0)
        if (errno != EINTR)
            transport_fail("posix-mq", "mq_send", errno);
}

static void posix_mq_receive(const struct channel *channel, struct message *message_out, size_t bytes)
{
    while (mq_receive(channel->in, (char *)message_out->payload, bytes, NULL) < 0)
        if (errno != EINTR)
            transport_fail("posix-mq", "mq_receive", errno);
}

static const struct message_calls posix_mq_calls = {.name = "posix-mq",
                                                    .open = posix_mq_open,
                                                    .close = posix_mq_close,
                                                    .send = posix_mq_send,
                                                    .receive = posix_mq_receive};

static void *posix_mq_create(const struct shape *shape)
{
    return messages_create(&posix_mq_calls, shape);
}

const struct transport transport_posix_mq = {.name = "posix-mq",
                                             .refuses = posix_mq_refuses,
                                             .max_window = posix_mq_max_window,
                                             .create = posix_mq_create,
                                             MESSAGES_TRANSPORT};
