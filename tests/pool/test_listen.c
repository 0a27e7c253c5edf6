/* SPDX-License-Identifier: BSD-2-Clause */
/* Listeners of a pool that runs: shards and a worker's death, datagrams, PROXY
 * headers, options. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "io/address.h"
#include "support.h"

/* AddressSanitizer keeps for a while what was freed. */
#if defined(__SANITIZE_ADDRESS__)
#define KEEPS_FREED_MEMORY 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEPS_FREED_MEMORY 1
#endif
#endif
#ifndef KEEPS_FREED_MEMORY
#define KEEPS_FREED_MEMORY 0
#endif

static struct prefork_pool *pool;
static int fds_before;

static int echo(struct prefork_job *job, void *context)
{
    size_t length;

    (void)context;
    (void)prefork_job_request(job, &length);
    return prefork_job_reply_request(job, 0, length);
}

static void make_pool(void)
{
    fds_before = pfk_test_fds_open();
    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 2), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_IO_THREADS, 2), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "echo", echo, NULL), 0);
}

static void end_pool(void)
{
    prefork_pool_destroy(&pool);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static void listen_with(const char *address, const struct prefork_protocol *protocol,
                        const struct prefork_listen_options *options)
{
    const int rc = prefork_pool_listen_with(pool, address, protocol, options);

    ck_assert_msg(rc == 0, "%s", prefork_last_error());
}

static void start(void)
{
    int end_fd;

    ck_assert_msg(prefork_pool_start(pool, &end_fd) == 0, "%s", prefork_last_error());
    ck_assert(support_wait_ready(pool, 2));
}

static void stop(void)
{
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)), 0);
}

static int tell_pid(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    const pid_t pid = getpid();

    (void)message;
    (void)length;
    (void)context;
    return prefork_connection_write(connection, &pid, sizeof(pid));
}

static int tell_peer(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    char text[PREFORK_PEER_BYTES];
    const int rc = prefork_connection_peer(connection, text, sizeof(text));

    (void)message;
    (void)length;
    (void)context;
    return rc < 0 ? rc : prefork_connection_write(connection, text, (size_t)rc);
}

static const struct prefork_protocol pids = {.size = sizeof(pids), .message = tell_pid};
static const struct prefork_protocol peers = {.size = sizeof(peers), .message = tell_peer};
static const struct prefork_listen_options sharded = {.size = sizeof(sharded), .shards = 1};

/* Waits for what comes; its length, 0 at the end, -1: nothing. */
static ssize_t receive(int fd, void *data, size_t length, int wait_ms)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};

    return poll(&readable, 1, wait_ms) == 1 ? recv(fd, data, length, 0) : -1;
}

static pid_t ask_pid(int fd)
{
    pid_t pid = 0;

    ck_assert_int_eq(receive(fd, &pid, sizeof(pid), SUPPORT_LIMIT_MS), sizeof(pid));
    return pid;
}

/* -- Shards --------------------------------------------------------------------- */

#define CLIENTS 100

static void connect_all(int clients[CLIENTS])
{
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = support_connect(prefork_pool_address(pool, 0));
        ck_assert_int_ge(clients[i], 0);
        ck_assert_int_eq(send(clients[i], "?", 1, MSG_NOSIGNAL), 1);
    }
}

START_TEST(shards_spread_over_all_workers)
{
    int clients[CLIENTS], of_first = 0;

    listen_with("tcp:127.0.0.1:0", &pids, &sharded);
    start();
    connect_all(clients);
    for (int i = 0; i < CLIENTS; i++) {
        of_first += ask_pid(clients[i]) == support_worker_pid(pool, 0);
        (void)close(clients[i]);
    }
    /* by a hash of the ports: 50, give or take 5 times the deviation */
    ck_assert_int_gt(of_first, 25);
    ck_assert_int_lt(of_first, 75);
    stop();
}
END_TEST

/* Whether each thread of a process stands still. */
static bool is_stopped(void *context)
{
    const pid_t pid = *(const pid_t *)context;
    char path[300], state = 'T';
    struct dirent *entry;
    DIR *tasks;

    (void)snprintf(path, sizeof(path), "/proc/%ld/task", (long)pid);
    tasks = opendir(path);
    while (tasks != NULL && state == 'T' && (entry = readdir(tasks)) != NULL) {
        FILE *stat;

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%ld/task/%.20s/stat", (long)pid, entry->d_name);
        stat = fopen(path, "re");
        if (stat == NULL || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
            state = '?';
        if (stat != NULL)
            (void)fclose(stat);
    }
    if (tasks != NULL)
        (void)closedir(tasks);
    return tasks != NULL && state == 'T';
}

/* Those that the stopped worker's shards hold are never accepted by it. */
START_TEST(what_waits_in_a_dead_workers_shard_is_served_by_the_next)
{
    int clients[CLIENTS];
    pid_t victim, next;

    listen_with("tcp:127.0.0.1:0", &pids, &sharded);
    start();
    victim = support_worker_pid(pool, 0);
    ck_assert_int_eq(kill(victim, SIGSTOP), 0);
    ck_assert(support_wait_until(is_stopped, &victim, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    connect_all(clients);
    ck_assert_int_eq(kill(victim, SIGKILL), 0);
    next = support_wait_replaced(pool, 0, victim);
    ck_assert_int_gt(next, 0);
    for (int i = 0; i < CLIENTS; i++) {
        const pid_t pid = ask_pid(clients[i]);

        ck_assert(pid == next || pid == support_worker_pid(pool, 1));
        (void)close(clients[i]);
    }
    stop();
}
END_TEST

/* -- Datagrams ------------------------------------------------------------------ */

static int connect_datagram(void)
{
    struct pfk_address to;
    int fd;

    ck_assert_int_eq(pfk_address_parse(prefork_pool_address(pool, 0), &to), 0);
    fd = socket(to.socket.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, &to.socket.any, to.length), 0);
    return fd;
}

/* Sends it again each second while nothing comes: datagrams may be lost. */
static bool ask(int fd, const void *data, size_t length, char *reply, size_t reply_bytes)
{
    for (int tries = 0; tries < SUPPORT_LIMIT_MS / 1000; tries++) {
        if (send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
            return false;
        if (receive(fd, reply, reply_bytes, 1000) == (ssize_t)length)
            return true;
    }
    return false;
}

static void ask_in_turn(const struct prefork_listen_options *options)
{
    int clients[4];
    unsigned wrong = 0;

    listen_with("udp:127.0.0.1:0", prefork_protocol_raw("echo"), options);
    start();
    for (int i = 0; i < 4; i++)
        clients[i] = connect_datagram();
    for (unsigned round = 0; round < 500; round++) {
        for (unsigned i = 0; i < 4; i++) {
            const unsigned question[2] = {round, i};
            char answer[64];

            wrong += !ask(clients[i], question, sizeof(question), answer, sizeof(answer)) ||
                     memcmp(answer, question, sizeof(question)) != 0;
        }
    }
    ck_assert_uint_eq(wrong, 0);
    for (int i = 0; i < 4; i++)
        (void)close(clients[i]);
    stop();
}

START_TEST(each_datagram_is_answered_to_its_sender)
{
    ask_in_turn(NULL);
}
END_TEST

START_TEST(also_with_shards)
{
    ask_in_turn(&sharded);
}
END_TEST

static long resident_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = -1;
    FILE *status;

    (void)snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
    status = fopen(path, "re");
    while (status != NULL && fgets(line, sizeof(line), status) != NULL)
        (void)sscanf(line, "RssAnon: %ld", &kib);
    if (status != NULL)
        (void)fclose(status);
    return kib;
}

START_TEST(a_flood_of_datagrams_takes_no_memory)
{
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};
    char much[20000] = "", answer[64];
    long before_kib, after_kib;
    int client;

    listen_with("udp:127.0.0.1:0", prefork_protocol_raw("echo"), NULL);
    start();
    client = connect_datagram();
    ck_assert(ask(client, "first", 5, answer, sizeof(answer)));
    before_kib = resident_kib(support_worker_pid(pool, 0)) + resident_kib(support_worker_pid(pool, 1));
    for (int i = 0; i < 50000; i++) {
        (void)send(client, much, 512, MSG_NOSIGNAL);
        if (i % 1000 == 0)
            (void)send(client, much, sizeof(much), MSG_NOSIGNAL);
    }
    after_kib = resident_kib(support_worker_pid(pool, 0)) + resident_kib(support_worker_pid(pool, 1));
    ck_assert_msg(KEEPS_FREED_MEMORY || after_kib - before_kib < 8192, "%ld KiB before, %ld after", before_kib,
                  after_kib);
    (void)close(client);
    client = connect_datagram(); /* without the answers to all that */
    ck_assert(ask(client, "last", 4, answer, sizeof(answer)));
    ck_assert_mem_eq(answer, "last", 4);
    (void)close(client);
    ck_assert_int_eq(prefork_pool_statistics(pool, &statistics), 0);
    ck_assert_uint_gt(statistics.datagrams, 2);
    ck_assert_uint_gt(statistics.datagrams_dropped, 0);
    ck_assert_uint_eq(statistics.connections, 0);
    stop();
}
END_TEST

/* -- PROXY headers --------------------------------------------------------------- */

START_TEST(a_trusted_proxy_names_the_peer)
{
    static const char header[] = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nwho";
    const struct prefork_listen_options trusting = {.size = sizeof(trusting), .proxy_from = "127.0.0.0/8"};
    char text[PREFORK_PEER_BYTES] = "";
    int fd;

    listen_with("tcp:127.0.0.1:0", &peers, &trusting);
    start();
    fd = support_connect(prefork_pool_address(pool, 0));
    ck_assert_int_eq(send(fd, header, sizeof(header) - 1, MSG_NOSIGNAL), sizeof(header) - 1);
    ck_assert_int_gt(receive(fd, text, sizeof(text) - 1, SUPPORT_LIMIT_MS), 0);
    ck_assert_str_eq(text, "tcp:192.0.2.1:56324");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(a_late_header_closes)
{
    const struct prefork_listen_options hasty = {.size = sizeof(hasty), .proxy_from = "*", .proxy_ms = 20};
    struct pollfd ended = {.events = POLLIN};
    char byte;
    int fd;

    listen_with("tcp:127.0.0.1:0", &peers, &hasty);
    start();
    fd = support_connect(prefork_pool_address(pool, 0));
    ck_assert_int_eq(send(fd, "PROXY TCP4", 10, MSG_NOSIGNAL), 10);
    ended.fd = fd;
    ck_assert_int_eq(poll(&ended, 1, SUPPORT_LIMIT_MS), 1);
    ck_assert_int_le(recv(fd, &byte, 1, 0), 0); /* the end, or a reset if the header had not been read yet */
    (void)close(fd);
    stop();
}
END_TEST

/* -- Options --------------------------------------------------------------------- */

static void refuse(const char *address, struct prefork_listen_options options, int rc, const char *text)
{
    const int fds = pfk_test_fds_open();

    ck_assert_int_eq(prefork_pool_listen_with(pool, address, prefork_protocol_raw("echo"), &options), rc);
    ck_assert_msg(strstr(prefork_last_error(), text) != NULL, "%s", prefork_last_error());
    ck_assert_int_eq(pfk_test_fds_open(), fds);
    ck_assert_ptr_null(prefork_pool_address(pool, 0));
}

START_TEST(options_that_make_no_sense_are_refused)
{
    const struct prefork_listen_options none = {.size = sizeof(none)};
    struct prefork_listen_options bad = none;

    bad.size = 1;
    refuse("tcp:127.0.0.1:0", bad, -EINVAL, "size is 1");
    bad.size = sizeof(bad) + 1;
    refuse("tcp:127.0.0.1:0", bad, -EINVAL, "size is");
    bad = none;
    bad.backlog = 65536;
    refuse("tcp:127.0.0.1:0", bad, -EINVAL, "backlog is 65536");
    bad = none;
    bad.shards = 2;
    refuse("tcp:127.0.0.1:0", bad, -EINVAL, "shards is 2");
    bad = none;
    bad.mode = 01777;
    refuse("unix:nowhere", bad, -EINVAL, "mode is 01777");
    bad = none;
    bad.owner = "";
    refuse("tcp:127.0.0.1:0", bad, -EINVAL, "path of a Unix socket");
    bad = none;
    bad.proxy_ms = 3600001;
    refuse("tcp:127.0.0.1:0", bad, -EINVAL, "proxy_ms is 3600001");
    bad = none;
    bad.proxy_from = "";
    refuse("tcp:127.0.0.1:0", bad, -EINVAL, "trusted addresses");
    bad.proxy_from = "*";
    refuse("udp:127.0.0.1:0", bad, -EINVAL, "no PROXY header");
}
END_TEST

/* What a program has that was compiled when the struct ended earlier. */
START_TEST(options_of_an_older_kind_are_taken)
{
    const struct prefork_listen_options old = {.size = offsetof(struct prefork_listen_options, mode), .mode = 07777};

    listen_with("tcp:127.0.0.1:0", prefork_protocol_raw("echo"), &old);
}
END_TEST

START_TEST(a_protocol_that_is_none_is_refused)
{
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", prefork_protocol_length("echo", 3, 0)), -EINVAL);
}
END_TEST

static Suite *listen_suite(void)
{
    Suite *suite = suite_create("listen");
    TCase *cases = tcase_create("running");
    TCase *proc = tcase_create("proc");
    TCase *memory = tcase_create("memory");
    TCase *options = tcase_create("options");

    tcase_add_checked_fixture(cases, make_pool, end_pool);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, shards_spread_over_all_workers);
    tcase_add_test(cases, each_datagram_is_answered_to_its_sender);
    tcase_add_test(cases, also_with_shards);
    tcase_add_test(cases, a_trusted_proxy_names_the_peer);
    tcase_add_test(cases, a_late_header_closes);
    suite_add_tcase(suite, cases);
    tcase_add_checked_fixture(proc, make_pool, end_pool);
    tcase_set_timeout(proc, 60);
    tcase_set_tags(proc, PFK_UNIT_NEEDS_PROC);
    tcase_add_test(proc, what_waits_in_a_dead_workers_shard_is_served_by_the_next);
    suite_add_tcase(suite, proc);
    tcase_add_checked_fixture(memory, make_pool, end_pool);
    tcase_set_timeout(memory, 60);
    tcase_set_tags(memory, PFK_UNIT_NEEDS_PROC " " PFK_UNIT_NO_VALGRIND); /* it keeps freed memory for a while */
    tcase_add_test(memory, a_flood_of_datagrams_takes_no_memory);
    suite_add_tcase(suite, memory);
    tcase_add_checked_fixture(options, make_pool, end_pool);
    tcase_add_test(options, options_that_make_no_sense_are_refused);
    tcase_add_test(options, options_of_an_older_kind_are_taken);
    tcase_add_test(options, a_protocol_that_is_none_is_refused);
    suite_add_tcase(suite, options);
    return suite;
}

PFK_UNIT_MAIN(listen_suite)
