/* SPDX-License-Identifier: BSD-2-Clause */
/* How many connections a pool has, and how many of one peer: over the limit they
 * are closed at once, and no death takes anything of the limit away. */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "base/clock.h"
#include "support.h"

enum { WORKERS = 2, IO_THREADS = 2, LIMIT = 8 };

static struct prefork_pool *pool;
static int clients[4 * LIMIT];
static unsigned n_clients;
static uint64_t wanted; /* by the condition below */

static int echo_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

static void start(enum prefork_pool_option option)
{
    static struct prefork_protocol protocol;
    int fd;

    protocol = *prefork_protocol_raw("none");
    protocol.handler = NULL;
    protocol.message = echo_inline;
    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, WORKERS), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_IO_THREADS, IO_THREADS), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_JOB_THREADS, 0), 0);
    ck_assert_int_eq(prefork_pool_set(pool, option, LIMIT), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", &protocol), 0);
    ck_assert_int_eq(prefork_pool_start(pool, &fd), 0);
    ck_assert(support_wait_ready(pool, WORKERS));
}

static void end(void)
{
    while (n_clients > 0)
        (void)close(clients[--n_clients]);
    prefork_pool_destroy(&pool);
}

static struct prefork_pool_statistics statistics(void)
{
    struct prefork_pool_statistics now = {.size = sizeof(now)};

    ck_assert_int_eq(prefork_pool_statistics(pool, &now), 0);
    return now;
}

static bool has_wanted(void *context)
{
    (void)context;
    return statistics().connections_now == wanted;
}

static void wait_until_open(uint64_t n)
{
    wanted = n;
    ck_assert(support_wait_until(has_wanted, NULL, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
}

/* A client with the address 127.0.0.`host`, kept if it was served. */
static bool serves(uint8_t host)
{
    const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u | host)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_port = htons((uint16_t)strtoul(strrchr(prefork_pool_address(pool, 0), ':') + 1, NULL, 10));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&from, sizeof(from)), 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    if (support_echo(fd, "a", 1)) {
        clients[n_clients++] = fd;
        return true;
    }
    (void)close(fd);
    return false;
}

static void fill(uint8_t host)
{
    for (int i = 0; i < LIMIT; i++)
        ck_assert(serves(host));
    ck_assert(!serves(host));
}

/* Closes the client that was served last; waits until the pool knows. */
static void leave(void)
{
    const uint64_t open = statistics().connections_now;

    (void)close(clients[--n_clients]);
    wait_until_open(open - 1);
}

static void kill_worker(uint32_t seat)
{
    const pid_t pid = support_worker_pid(pool, seat);

    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_gt(support_wait_replaced(pool, seat, pid), 0);
}

/* All workers die one by one, with all that they had. */
static void kill_workers(void)
{
    for (uint32_t seat = 0; seat < WORKERS; seat++)
        kill_worker(seat);
    while (n_clients > 0)
        (void)close(clients[--n_clients]);
    wait_until_open(0);
}

START_TEST(a_pool_has_so_many)
{
    start(PREFORK_POOL_CONNECTIONS);
    fill(1);
    ck_assert(!serves(2));
    ck_assert_uint_eq(statistics().connections_refused, 2);
    ck_assert_uint_eq(statistics().connections_now, LIMIT);
    leave();
    ck_assert(serves(2));
    ck_assert(!serves(2));
    kill_workers();
    fill(3);
    end();
}
END_TEST

START_TEST(a_peer_has_so_many)
{
    start(PREFORK_POOL_CONNECTIONS_PER_PEER);
    fill(1);
    fill(2);
    ck_assert_uint_eq(statistics().connections_refused, 2);
    leave();
    ck_assert(!serves(1));
    ck_assert(serves(2));
    ck_assert(!serves(2));
    kill_workers();
    fill(1);
    fill(2);
    end();
}
END_TEST

/* What one worker had is free, what the others have is not. */
START_TEST(the_living_keep_theirs)
{
    uint64_t left;
    unsigned served = 0;

    start(PREFORK_POOL_CONNECTIONS_PER_PEER);
    fill(1);
    kill_worker(0);
    for (unsigned i = 0; i < LIMIT; i++) { /* the dead one's clients have seen the end */
        char byte;

        if (recv(clients[i], &byte, 1, MSG_DONTWAIT) == 0)
            served++;
    }
    left = statistics().connections_now;
    ck_assert_uint_eq(left + served, LIMIT);
    for (unsigned i = 0; i < served; i++)
        ck_assert(serves(1));
    ck_assert(!serves(1));
    end();
}
END_TEST

static Suite *limits_suite(void)
{
    Suite *const suite = suite_create("limits");
    TCase *const all = tcase_create("limits");

    suite_add_tcase(suite, all);
    tcase_set_timeout(all, 60);
    tcase_add_test(all, a_pool_has_so_many);
    tcase_add_test(all, a_peer_has_so_many);
    tcase_add_test(all, the_living_keep_theirs);
    return suite;
}

PFK_UNIT_MAIN(limits_suite)
