/* SPDX-License-Identifier: BSD-2-Clause */
/* I/O threads as a worker runs them: listening sockets, a real job thread, many
 * clients, drain and stop. And what happens without descriptors. */
#include "io/iothread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"

#include "base/atomic.h"
#include "base/fd.h"
#include "io/address.h"
#include "job/control.h"

enum { IO_THREADS = 2, JOB_THREADS = 2 };

static struct prefork_table *table;
static struct pfk_listener *listener;
static struct pfk_protocol protocol;
static struct pfk_iothread *threads[IO_THREADS];
static int drained_fd = -1;
static int fds_before;
static pthread_t job_threads[JOB_THREADS];
static unsigned n_job_threads;
static pfk_atomic_u32 job_threads_stop;

/* -- The stage -------------------------------------------------------------- */

static void *echo_jobs(void *argument)
{
    struct prefork_lane *lane;
    const uint32_t number = prefork_table_worker_lane(table, 0, 0, IO_THREADS + (uint32_t)(uintptr_t)argument);
    struct prefork_job *job;

    ck_assert_int_eq(prefork_lane_open(table, number, &lane), 0);
    while (pfk_u32_load_acquire(&job_threads_stop) == 0) {
        size_t length;

        if (prefork_lane_claim(lane, prefork_deadline_after_ms(50), &job) != 0)
            continue;
        (void)prefork_job_request(job, &length);
        (void)prefork_job_reply_request(job, 0, length);
        (void)prefork_job_complete(job, 0);
    }
    prefork_lane_close(&lane);
    return NULL;
}

static void start_job_threads(void)
{
    for (; n_job_threads < JOB_THREADS; n_job_threads++)
        ck_assert_int_eq(pthread_create(&job_threads[n_job_threads], NULL, echo_jobs, (void *)(uintptr_t)n_job_threads),
                         0);
}

static void stop_job_threads(void)
{
    pfk_u32_store_release(&job_threads_stop, 1);
    while (n_job_threads > 0)
        (void)pthread_join(job_threads[--n_job_threads], NULL);
}

static void make_table(void)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = 32,
                                                  .request_bytes = 1024,
                                                  .reply_bytes = 1024,
                                                  .max_workers = 1,
                                                  .threads_per_worker = IO_THREADS + JOB_THREADS,
                                                  .generations = 1};
    int rc;

    fds_before = pfk_test_fds_open();
    rc = prefork_table_create(&options, &table);
    ck_assert_msg(rc == 0, "%s", prefork_last_error());
    rc = pfk_listener_open("tcp:127.0.0.1:0", &(const struct pfk_listener_options){.backlog = 512}, &listener);
    ck_assert_msg(rc == 0, "%s", prefork_last_error());
    ck_assert_int_eq(pfk_fd_event(&drained_fd), 0);
}

static struct pfk_io_options options_of(unsigned i, const struct pfk_io_port *port)
{
    return (struct pfk_io_options){.table = table,
                                   .lane = prefork_table_worker_lane(table, 0, 0, i),
                                   .n_handlers = 1,
                                   .ports = port,
                                   .n_ports = 1,
                                   .drained_fd = drained_fd};
}

static void start(const struct prefork_protocol *given, unsigned n_threads)
{
    const struct pfk_io_port port = {.listener = listener, .protocol = &protocol};

    ck_assert_int_eq(pfk_protocol_complete(given, given->handler != NULL ? 0 : -1, &protocol), 0);
    for (unsigned i = 0; i < n_threads; i++) {
        const struct pfk_io_options options = options_of(i, &port);
        const int rc = pfk_iothread_start(&options, &threads[i]);

        ck_assert_msg(rc == 0, "%s", prefork_last_error());
    }
}

static void end(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    int rc;

    for (unsigned i = 0; i < IO_THREADS; i++)
        pfk_iothread_stop(&threads[i]);
    stop_job_threads();
    ck_assert_int_eq(prefork_table_statistics(table, &statistics), 0);
    rc = prefork_table_verify(table);
    ck_assert_msg(rc == 0, "%s", prefork_last_error());
    prefork_table_destroy(&table);
    pfk_listener_close(&listener);
    pfk_fd_close(&drained_fd);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static int connect_client(void)
{
    struct pfk_address address;
    int fd;

    ck_assert_int_eq(pfk_address_parse(pfk_listener_address(listener), &address), 0);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, &address.socket.any, address.length), 0);
    return fd;
}

static bool wait_readable(int fd, int limit_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    return poll(&ready, 1, limit_ms) == 1;
}

static void expect(int fd, const void *bytes, size_t length)
{
    unsigned char got[4096];

    ck_assert_uint_le(length, sizeof(got));
    for (size_t have = 0; have < length;) {
        ssize_t n;

        ck_assert(wait_readable(fd, 10000));
        n = recv(fd, got + have, length - have, 0);
        ck_assert_msg(n > 0, "%s after %zu of %zu bytes", n == 0 ? "the end" : strerror(errno), have, length);
        have += (size_t)n;
        if (have == length)
            ck_assert_mem_eq(got, bytes, length);
    }
}

static void expect_end(int fd)
{
    char byte;

    ck_assert(wait_readable(fd, 10000));
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
}

/* -- Serving ---------------------------------------------------------------- */

START_TEST(many_clients_are_answered_by_all_threads)
{
    enum { CLIENTS = 100, ROUNDS = 20, DEPTH = 5 };
    int clients[CLIENTS];

    start_job_threads();
    start(prefork_protocol_lines("echo"), IO_THREADS);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = connect_client();
    for (int round = 0; round < ROUNDS; round++) {
        char lines[CLIENTS][128];

        for (int i = 0; i < CLIENTS; i++) {
            size_t length = 0;

            for (int line = 0; line < DEPTH; line++)
                length += (size_t)snprintf(lines[i] + length, sizeof(lines[i]) - length, "%d %d %d\n", i, round, line);
            ck_assert_int_eq(send(clients[i], lines[i], length, 0), (ssize_t)length);
        }
        for (int i = 0; i < CLIENTS; i++)
            expect(clients[i], lines[i], strlen(lines[i]));
    }
    for (int i = 0; i < CLIENTS; i++)
        (void)close(clients[i]);
    for (unsigned i = 0; i < IO_THREADS; i++) /* which count what they sent after the client has it */
        pfk_iothread_stop(&threads[i]);
    ck_assert_uint_eq(pfk_table_counter_sum(table, PFK_COUNT_CONNECTIONS), CLIENTS);
    ck_assert_uint_eq(pfk_table_counter_sum(table, PFK_COUNT_CONNECTIONS_SERVED), CLIENTS);
    ck_assert_uint_eq(pfk_table_counter_sum(table, PFK_COUNT_BYTES_IN),
                      pfk_table_counter_sum(table, PFK_COUNT_BYTES_OUT));
}
END_TEST

START_TEST(clients_that_vanish_leave_nothing)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    const uint64_t deadline_ns = prefork_deadline_after_ms(10000);

    start_job_threads();
    start(prefork_protocol_lines("echo"), IO_THREADS);
    for (int i = 0; i < 1000; i++) {
        int fd = connect_client();

        ck_assert_int_eq(send(fd, "a\nb\nc\npart", 10, 0), 10);
        if (i % 2 == 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        (void)close(fd);
    }
    for (unsigned i = 0; i < IO_THREADS; i++)
        pfk_iothread_drain(threads[i]);
    while (!pfk_iothread_drained(threads[0]) || !pfk_iothread_drained(threads[1]))
        ck_assert(prefork_clock_now_ns() < deadline_ns);
    do {
        ck_assert(prefork_clock_now_ns() < deadline_ns);
        ck_assert_int_eq(prefork_table_statistics(table, &statistics), 0);
    } while (statistics.free_slots != statistics.slots);
}
END_TEST

START_TEST(a_drain_ends_and_is_told)
{
    int idle, closing;

    start(prefork_protocol_lines("echo"), 1);
    idle = connect_client();
    closing = connect_client();
    ck_assert_int_eq(send(closing, "a\n", 2, 0), 2);
    start_job_threads();
    expect(closing, "a\n", 2);
    ck_assert(!pfk_iothread_drained(threads[0]));
    pfk_iothread_drain(threads[0]);
    pfk_iothread_drain(threads[0]);
    expect_end(idle);
    expect_end(closing);
    (void)close(idle);
    (void)close(closing);
    ck_assert(wait_readable(drained_fd, 10000));
    ck_assert(pfk_iothread_drained(threads[0]));
}
END_TEST

START_TEST(a_drain_of_nothing_ends_at_once)
{
    start(prefork_protocol_lines("echo"), 1);
    pfk_iothread_drain(threads[0]);
    ck_assert(wait_readable(drained_fd, 10000));
}
END_TEST

START_TEST(stop_ends_connections_and_leaves_jobs_detached)
{
    int client;
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    const uint64_t deadline_ns = prefork_deadline_after_ms(10000);

    start(prefork_protocol_lines("echo"), 1);
    client = connect_client();
    ck_assert_int_eq(send(client, "a\nb\n", 4, 0), 4);
    do {
        ck_assert(prefork_clock_now_ns() < deadline_ns);
        ck_assert_int_eq(prefork_table_statistics(table, &statistics), 0);
    } while (statistics.ready_slots != 2);
    if (_i == 1)
        pfk_iothread_drain(threads[0]);
    pfk_iothread_stop(&threads[0]);
    ck_assert_ptr_null(threads[0]);
    pfk_iothread_stop(&threads[0]);
    ck_assert(wait_readable(client, 10000));
    (void)close(client);
}
END_TEST

START_TEST(a_start_that_fails_says_why)
{
    const struct pfk_io_port port = {.listener = listener, .protocol = &protocol};
    struct pfk_io_options options = options_of(0, &port);
    struct pfk_iothread *second;

    ck_assert_int_eq(pfk_protocol_complete(prefork_protocol_raw("echo"), 0, &protocol), 0);
    ck_assert_int_eq(pfk_iothread_start(&options, &threads[0]), 0);
    ck_assert_int_eq(pfk_iothread_start(&options, &second), -EBUSY);
    ck_assert_ptr_null(second);
    ck_assert_str_ne(prefork_last_error(), "");
    options.lane = 999;
    ck_assert_int_eq(pfk_iothread_start(&options, &second), -EINVAL);
}
END_TEST

START_TEST(a_start_without_descriptors_fails_at_each_step)
{
    const struct pfk_io_port port = {.listener = listener, .protocol = &protocol};
    const struct pfk_io_options options = options_of(0, &port);
    struct rlimit limit, before;
    int rc = -EMFILE;

    ck_assert_int_eq(pfk_protocol_complete(prefork_protocol_raw("echo"), 0, &protocol), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    for (limit.rlim_cur = (rlim_t)drained_fd + 1; rc != 0; limit.rlim_cur++) {
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        rc = pfk_iothread_start(&options, &threads[0]);
        ck_assert_msg(rc == 0 || rc == -EMFILE, "%d: %s", rc, prefork_last_error());
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_uint_ge(limit.rlim_cur, (rlim_t)drained_fd + 4); /* wishes, loop and reserve: three at least */
}
END_TEST

/* -- Shortage of descriptors ------------------------------------------------ */

static pfk_atomic_u32 lines_short, lines_back;

static void count_lines(enum prefork_log_level level, const char *text, void *context)
{
    (void)level;
    (void)context;
    if (strstr(text, "no descriptors left") != NULL)
        (void)pfk_u32_add_acq_rel(&lines_short, 1);
    if (strstr(text, "descriptors are back") != NULL)
        (void)pfk_u32_add_acq_rel(&lines_back, 1);
}

static uint64_t process_cpu_ns(void)
{
    struct rusage used;

    ck_assert_int_eq(getrusage(RUSAGE_SELF, &used), 0);
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * UINT64_C(1000000000) +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000;
}

/* Makes the lowest free descriptor the limit: none can be opened any more, but
 * those that are closed can be used again. */
static struct rlimit forbid_more_descriptors(void)
{
    struct rlimit before, limit;
    int free_fd = dup(drained_fd);

    ck_assert_int_ge(free_fd, 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)free_fd;
    pfk_fd_close(&free_fd);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

START_TEST(without_descriptors_it_neither_spins_nor_hangs)
{
    enum { CLIENTS = 40 };
    const uint64_t deadline_ns = prefork_deadline_after_ms(20000);
    struct pfk_address address;
    struct rlimit before;
    int clients[CLIENTS], held = dup(drained_fd), late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t cpu_ns, since_ns;

    prefork_log_set_sink(count_lines, NULL);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    start_job_threads();
    start(prefork_protocol_lines("echo"), 1);
    before = forbid_more_descriptors();
    cpu_ns = process_cpu_ns();
    since_ns = prefork_clock_now_ns();
    ck_assert_int_eq(pfk_address_parse(pfk_listener_address(listener), &address), 0);
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(connect(clients[i], &address.socket.any, address.length), 0);
    for (int i = 0; i < CLIENTS; i++) /* turned away, 16 in 80 ms */
        expect_end(clients[i]);
    (void)poll(NULL, 0, 300);
    /* Two job threads that look 20 times a second are in the bill, too. */
    ck_assert_uint_lt(process_cpu_ns() - cpu_ns, (prefork_clock_now_ns() - since_ns) / 5);
    ck_assert_uint_eq(pfk_u32_load_acquire(&lines_short), 1);
    ck_assert_uint_gt(pfk_table_counter_sum(table, PFK_COUNT_ACCEPT_ERRORS), 0);

    pfk_fd_close(&held); /* room for one */
    ck_assert_int_eq(connect(late, &address.socket.any, address.length), 0);
    ck_assert_int_eq(send(late, "a\n", 2, 0), 2);
    expect(late, "a\n", 2);
    (void)close(late);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    while (pfk_u32_load_acquire(&lines_back) == 0) {
        int fd = connect_client();

        ck_assert(prefork_clock_now_ns() < deadline_ns);
        (void)close(fd);
        (void)poll(NULL, 0, 50);
    }
    ck_assert_uint_eq(pfk_u32_load_acquire(&lines_back), 1);
    ck_assert_uint_eq(pfk_u32_load_acquire(&lines_short), 1);
    for (int i = 0; i < CLIENTS; i++)
        (void)close(clients[i]);
    prefork_log_set_sink(NULL, NULL);
}
END_TEST

static Suite *iothread_suite(void)
{
    Suite *suite = suite_create("iothread");
    TCase *serving = tcase_create("serving");
    TCase *starting = tcase_create("starting");
    TCase *shortage = tcase_create("shortage");
    TCase *const all[] = {serving, starting, shortage};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        tcase_set_timeout(all[i], 30);
        tcase_add_checked_fixture(all[i], make_table, end);
        suite_add_tcase(suite, all[i]);
    }
    tcase_add_test(serving, many_clients_are_answered_by_all_threads);
    tcase_add_test(serving, clients_that_vanish_leave_nothing);
    tcase_add_test(serving, a_drain_ends_and_is_told);
    tcase_add_test(serving, a_drain_of_nothing_ends_at_once);
    tcase_add_loop_test(serving, stop_ends_connections_and_leaves_jobs_detached, 0, 2);
    tcase_add_test(starting, a_start_that_fails_says_why);
    tcase_add_test(starting, a_start_without_descriptors_fails_at_each_step);
    tcase_add_test(shortage, without_descriptors_it_neither_spins_nor_hangs);
    return suite;
}

PFK_UNIT_MAIN(iothread_suite)
