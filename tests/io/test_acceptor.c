/* SPDX-License-Identifier: BSD-2-Clause */
/* What accept4 may fail with, injected by one that takes its place. Failures of one connection cost one look each;
 * shortages are waited for, without work; and always the next one is served. */
#include "io/acceptor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

#include "base/fd.h"

enum { TIMES = 1000 };

static struct stage stage;
static struct pfk_listener *listener;
static struct pfk_address address;
static struct pfk_acceptor acceptor;
static int fds_before;
static unsigned lines_logged;

static int injected_error;  /* 0: none */
static unsigned injections; /* left */
static unsigned calls;

/* The linker puts it in the place of accept4 (--wrap). */
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags);

int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags)
{
    calls++;
    if (injections > 0) {
        injections--;
        errno = injected_error;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, peer, length, flags);
}

static void count_line(enum prefork_log_level level, const char *text, void *context)
{
    (void)level;
    (void)text;
    (void)context;
    lines_logged++;
}

static void open_stage(void)
{
    static struct pfk_io_port port;
    struct pfk_io_options options = {.ports = &port, .n_ports = 1};

    fds_before = pfk_test_fds_open();
    prefork_log_set_sink(count_line, NULL);
    stage_open(&stage, 64, 64, 64);
    ck_assert_int_eq(
        pfk_listener_open("tcp:127.0.0.1:0", &(const struct pfk_listener_options){.backlog = 512}, &listener), 0);
    ck_assert_int_eq(pfk_address_parse(pfk_listener_address(listener), &address), 0);
    port = (struct pfk_io_port){.listener = listener, .protocol = stage_protocol(prefork_protocol_lines("handler"))};
    options.table = stage.table;
    ck_assert_int_eq(pfk_acceptor_start(&acceptor, &stage.loop, &options), 0);
    lines_logged = calls = 0;
}

static void close_stage(void)
{
    pfk_acceptor_stop(&acceptor);
    pfk_listener_close(&listener);
    stage_close(&stage);
    prefork_log_set_sink(NULL, NULL);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static int connect_client(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, &address.socket.any, address.length), 0);
    return fd;
}

static uint64_t counted(enum pfk_lane_counter counter)
{
    return pfk_table_counter_sum(stage.table, counter);
}

static uint64_t cpu_ns(void)
{
    struct timespec used;

    ck_assert_int_eq(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used), 0);
    return (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
}

static void end_run(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(ev, EVBREAK_ALL);
}

/* Runs the loop as an I/O thread does, asleep while nothing happens. */
static void run_for(double seconds)
{
    ev_timer end;

    ev_now_update(stage.loop.ev);
    ev_timer_init(&end, end_run, seconds, 0.);
    ev_timer_start(stage.loop.ev, &end);
    ev_run(stage.loop.ev, 0);
}

/* -- Failures of one connection --------------------------------------------- */

static const int passing[] = {EINTR,     ECONNABORTED, EPERM,  EPROTO,     ENOPROTOOPT, ENETDOWN,
                              EHOSTDOWN, EHOSTUNREACH, ENONET, EOPNOTSUPP, ENETUNREACH, ETIMEDOUT};

START_TEST(a_failure_of_one_connection_passes)
{
    int client;

    injected_error = passing[_i];
    injections = TIMES;
    client = connect_client();
    STAGE_UNTIL(&stage, counted(PFK_COUNT_CONNECTIONS) == 1);
    ck_assert_uint_eq(injections, 0);
    ck_assert_uint_eq(counted(PFK_COUNT_ACCEPT_ERRORS), TIMES);
    ck_assert_uint_le(calls, TIMES + 2);
    ck_assert_uint_eq(lines_logged, 0);
    (void)close(client);
}
END_TEST

/* -- Shortages -------------------------------------------------------------- */

static const int shortages[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

/* A second of it: 4 calls in the first 150 ms, then at most 2 in 80 ms. */
START_TEST(a_shortage_is_slept_through)
{
    uint64_t since_ns;
    uint64_t used_ns;
    int client;

    injected_error = shortages[_i];
    injections = UINT32_MAX;
    client = connect_client();
    used_ns = cpu_ns();
    run_for(1.);
    used_ns = cpu_ns() - used_ns;
    ck_assert_uint_lt(used_ns, UINT64_C(10000000)); /* 1 % */
    ck_assert_uint_ge(counted(PFK_COUNT_ACCEPT_ERRORS), 5);
    ck_assert_uint_le(calls, 40);
    ck_assert_uint_eq(lines_logged, 1);
    injections = 0; /* and it is over */
    since_ns = prefork_clock_now_ns();
    while (counted(PFK_COUNT_CONNECTIONS) == 0 && prefork_clock_now_ns() - since_ns < UINT64_C(10000000000))
        run_for(0.001);
    ck_assert_uint_eq(counted(PFK_COUNT_CONNECTIONS), 1);
    printf("# errno %d: %u calls and %.2f ms of CPU in a second; served %.1f ms after its end\n", injected_error, calls,
           (double)used_ns / 1e6, (double)(prefork_clock_now_ns() - since_ns) / 1e6);
    ck_assert_uint_lt(prefork_clock_now_ns() - since_ns, UINT64_C(2000000000)); /* 100 ms, on a machine at rest */
    (void)close(client);
}
END_TEST

/* A thousand of them, one after the other, each over at once. */
START_TEST(a_thousand_shortages_wear_nothing_out)
{
    injected_error = shortages[_i];
    for (unsigned i = 1; i <= TIMES; i++) {
        const int client = connect_client();

        injections = 1;
        acceptor.rest_s = 0;
        STAGE_UNTIL(&stage, injections == 0);
        ev_feed_event(stage.loop.ev, &acceptor.rest, EV_TIMER);
        STAGE_UNTIL(&stage, counted(PFK_COUNT_CONNECTIONS) == i);
        (void)close(client);
        STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    }
    ck_assert_uint_eq(counted(PFK_COUNT_ACCEPT_ERRORS), TIMES);
    ck_assert_uint_le(lines_logged, 20);
}
END_TEST

/* When it lasts, a batch at a time learns that it is not served. */
START_TEST(a_long_shortage_turns_a_batch_away)
{
    enum { CLIENTS = 20, BATCH = 16 };
    int clients[CLIENTS];

    for (int i = 0; i < CLIENTS; i++)
        clients[i] = connect_client();
    injected_error = EMFILE;
    injections = 1;
    acceptor.rest_s = 10.; /* has rested for long */
    STAGE_UNTIL(&stage, injections == 0);
    ck_assert_uint_eq(counted(PFK_COUNT_CONNECTIONS_REFUSED), BATCH);
    for (int i = 0; i < BATCH; i++)
        stage_expect_end(&stage, clients[i]);
    ck_assert_int_ge(acceptor.reserve_fd, 0);
    STAGE_UNTIL(&stage, counted(PFK_COUNT_CONNECTIONS) == CLIENTS - BATCH);
    for (int i = 0; i < CLIENTS; i++)
        (void)close(clients[i]);
}
END_TEST

static Suite *acceptor_suite(void)
{
    Suite *const suite = suite_create("acceptor");
    TCase *const all = tcase_create("errors");
    TCase *const asleep = tcase_create("asleep");

    suite_add_tcase(suite, all);
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, open_stage, close_stage);
    suite_add_tcase(suite, asleep);
    tcase_set_timeout(asleep, 60);
    tcase_set_tags(asleep, PFK_UNIT_NO_VALGRIND);
    tcase_add_checked_fixture(asleep, open_stage, close_stage);
    tcase_add_loop_test(all, a_failure_of_one_connection_passes, 0, (int)(sizeof(passing) / sizeof(passing[0])));
    tcase_add_loop_test(asleep, a_shortage_is_slept_through, 0, (int)(sizeof(shortages) / sizeof(shortages[0])));
    tcase_add_test(all, a_long_shortage_turns_a_batch_away);
    tcase_add_loop_test(all, a_thousand_shortages_wear_nothing_out, 0, (int)(sizeof(shortages) / sizeof(shortages[0])));
    return suite;
}

PFK_UNIT_MAIN(acceptor_suite)
