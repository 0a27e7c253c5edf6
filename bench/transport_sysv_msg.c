/* SPDX-License-Identifier: BSD-2-Clause */
/* System V message queues, private ones. They outlive their processes, so the
 * one that made them removes them, also when it fails. */
#include "transport.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <unistd.h>

#include "messages.h"

/* Requests, and the replies of each producer. */
#define SYSV_MSG_MAX_QUEUES 65

static struct {
    pid_t maker_pid;
    int ids[SYSV_MSG_MAX_QUEUES];
    int count;
} sysv_msg_made;

/* At exit, of children too. */
static void sysv_msg_remove_all(void)
{
    if (getpid() != sysv_msg_made.maker_pid)
        return;
    while (sysv_msg_made.count > 0)
        (void)msgctl(sysv_msg_made.ids[--sysv_msg_made.count], IPC_RMID, NULL);
}

static void sysv_msg_remember(int id)
{
    if (sysv_msg_made.maker_pid == 0 && atexit(sysv_msg_remove_all) != 0)
        transport_fail("sysv-msg", "atexit", ENOMEM);
    sysv_msg_made.maker_pid = getpid();
    sysv_msg_made.ids[sysv_msg_made.count++] = id;
}

static const char *sysv_msg_refuses(const struct shape *shape)
{
    struct msginfo info;

    if (msgctl(0, IPC_INFO, (struct msqid_ds *)(void *)&info) < 0)
        return "this kernel has no System V message queues";
    return shape->bytes > (uint32_t)info.msgmax ? "the message exceeds kernel.msgmax" : NULL;
}

static uint32_t sysv_msg_max_window(const struct shape *shape)
{
    struct msginfo info;

    (void)msgctl(0, IPC_INFO, (struct msqid_ds *)(void *)&info);
    return (uint32_t)info.msgmnb / shape->bytes;
}

static struct channel sysv_msg_open(const struct shape *shape)
{
    const int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

    (void)shape;
    if (id < 0)
        transport_fail("sysv-msg", "msgget", errno);
    sysv_msg_remember(id);
    return (struct channel){.in = id, .out = id};
}

/* Each is closed when all are. */
static void sysv_msg_close(const struct channel *channel)
{
    (void)channel;
    sysv_msg_remove_all();
}

static void sysv_msg_send(const struct channel *channel, const struct message *message, size_t bytes)
{
    while (msgsnd(channel->out, message, bytes, 0) != 0)
        if (errno != EINTR)
            transport_fail("sysv-msg", "msgsnd", errno);
}

static void sysv_msg_receive(const struct channel *channel, struct message *message_out, size_t bytes)
{
    while (msgrcv(channel->in, message_out, bytes, 0, 0) < 0)
        if (errno != EINTR)
            transport_fail("sysv-msg", "msgrcv", errno);
}

static const struct message_calls sysv_msg_calls = {.name = "sysv-msg",
                                                    .open = sysv_msg_open,
                                                    .close = sysv_msg_close,
                                                    .send = sysv_msg_send,
                                                    .receive = sysv_msg_receive};

static void *sysv_msg_create(const struct shape *shape)
{
    return messages_create(&sysv_msg_calls, shape);
}

const struct transport transport_sysv_msg = {.name = "sysv-msg",
                                             .refuses = sysv_msg_refuses,
                                             .max_window = sysv_msg_max_window,
                                             .create = sysv_msg_create,
                                             MESSAGES_TRANSPORT};
