/* SPDX-License-Identifier: BSD-2-Clause */
/* A message of 4 KiB that flows through the table of a whole pool is copied
 * nowhere: the kernel is told to write it into the shared segment, and to take
 * the reply from there. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/unit.h"
#include "base/atomic.h"
#include "support.h"

enum { LONG_BYTES = 4096, MESSAGES = 500 };

static struct prefork_pool *pool;

/* Counted by the worker, where the kernel took or gave bytes: */
struct shared {
    pfk_atomic_u32 received_inside, received_outside;
    pfk_atomic_u32 sent_inside, sent_outside;
};
static struct shared *shared;

/* -- Where the segments lie: the SYSV lines of /proc/self/maps ---------------------- */

static bool in_a_segment(const void *data, size_t length)
{
    const unsigned long begin = (unsigned long)(uintptr_t)data;
    FILE *const maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool found = false;

    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long first, behind;

        if (strstr(line, "/SYSV") != NULL && sscanf(line, "%lx-%lx", &first, &behind) == 2)
            found = found || (begin >= first && begin < behind && length <= behind - begin);
    }
    if (maps != NULL)
        (void)fclose(maps);
    return found;
}

/* -- Linked with --wrap ------------------------------------------------------------- */

ssize_t __real_recv(int fd, void *data, size_t length, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __real_send(int fd, const void *data, size_t length, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t length, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t length, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

static bool in_worker;

static void count(ssize_t moved, const void *data, pfk_atomic_u32 *inside, pfk_atomic_u32 *outside)
{
    if (in_worker && moved > 0)
        (void)pfk_u32_add_acq_rel(in_a_segment(data, (size_t)moved) ? inside : outside, 1);
}

static ssize_t count_received(ssize_t got, const void *data)
{
    count(got, data, &shared->received_inside, &shared->received_outside);
    return got;
}

static ssize_t count_sent(ssize_t sent, const void *data)
{
    count(sent, data, &shared->sent_inside, &shared->sent_outside);
    return sent;
}

ssize_t __wrap_recv(int fd, void *data, size_t length, int flags)
{
    return count_received(__real_recv(fd, data, length, flags), data);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    return count_received(__real_recvmsg(fd, message, flags), message->msg_iov[0].iov_base);
}

ssize_t __wrap_send(int fd, const void *data, size_t length, int flags)
{
    return count_sent(__real_send(fd, data, length, flags), data);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return count_sent(__real_sendmsg(fd, message, flags), message->msg_iov[0].iov_base);
}

/* -- The pool ------------------------------------------------------------------------ */

static int echo(struct prefork_job *job, void *context)
{
    size_t length;

    (void)context;
    (void)prefork_job_request(job, &length);
    return prefork_job_reply_request(job, 0, length);
}

static void opened(struct prefork_connection *connection, void *context)
{
    (void)connection;
    (void)context;
    in_worker = true;
}

static void start(const char *address)
{
    static struct prefork_protocol protocol;
    void *region;
    int fd;

    protocol = *prefork_protocol_raw("echo");
    protocol.opened = opened;
    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 1), 0);
    ck_assert_int_eq(prefork_pool_share(pool, sizeof(*shared), NULL, NULL, &region), 0);
    shared = region;
    ck_assert_int_eq(prefork_pool_handle(pool, "echo", echo, NULL), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, address, &protocol), 0);
    ck_assert_msg(prefork_pool_start(pool, &fd) == 0, "%s", prefork_last_error());
    ck_assert(support_wait_ready(pool, 1));
}

/* A call is counted behind it: perhaps the last one is not yet. */
static void end(int client)
{
    (void)close(client);
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)), 0);
}

static void messages_flow_through(const char *address)
{
    char message[LONG_BYTES];
    unsigned echoed = 0;
    int client;

    start(address);
    client = support_connect(prefork_pool_address(pool, 0));
    ck_assert_int_ge(client, 0);
    while (echoed < MESSAGES) {
        memset(message, (int)('a' + echoed % 26), sizeof(message));
        if (!support_echo(client, message, sizeof(message)))
            break;
        echoed++;
    }
    end(client);
    ck_assert_uint_eq(echoed, MESSAGES);
    ck_assert_uint_eq(pfk_u32_load_acquire(&shared->received_outside), 1); /* nothing was expected yet */
    ck_assert_uint_eq(pfk_u32_load_acquire(&shared->received_inside), MESSAGES - 1);
    ck_assert_uint_eq(pfk_u32_load_acquire(&shared->sent_outside), 0);
    ck_assert_uint_eq(pfk_u32_load_acquire(&shared->sent_inside), MESSAGES);
    prefork_pool_destroy(&pool);
}

START_TEST(over_tcp)
{
    messages_flow_through("tcp:127.0.0.1:0");
}
END_TEST

START_TEST(over_a_unix_socket)
{
    const char *const folder = getenv("TMPDIR");
    char address[256];

    (void)snprintf(address, sizeof(address), "unix:%s/segment.%ld", folder != NULL ? folder : "/tmp", (long)getpid());
    messages_flow_through(address);
}
END_TEST

static Suite *in_segment_suite(void)
{
    Suite *const suite = suite_create("in_segment");
    TCase *const tcase = tcase_create("in_segment");

    tcase_set_tags(tcase, PFK_UNIT_NEEDS_PROC);
    tcase_set_timeout(tcase, 20);
    tcase_add_test(tcase, over_tcp);
    tcase_add_test(tcase, over_a_unix_socket);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(in_segment_suite)
