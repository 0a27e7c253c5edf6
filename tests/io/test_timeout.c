/* SPDX-License-Identifier: BSD-2-Clause */
/* Time limits of connections: each kind ends who keeps the server waiting, and nobody else. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

#include "io/outbox.h"

enum { LIMIT_MS = 60 };

static struct stage stage;
static int fds_before;
static int failed_status;

static void open_stage(void)
{
    fds_before = pfk_test_fds_open();
    stage_open(&stage, 64, 64, 64);
    failed_status = 0;
}

static void close_stage(void)
{
    stage_close(&stage);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static int on_failed(struct prefork_connection *connection, int status, void *context)
{
    (void)context;
    failed_status = status;
    (void)prefork_connection_write(connection, "late\n", 5);
    return status;
}

static const struct pfk_protocol *lines(void)
{
    struct prefork_protocol given = *prefork_protocol_lines("handler");

    given.failed = on_failed;
    return stage_protocol(&given);
}

static void limit(enum pfk_timeout_kind kind, uint32_t length_ms)
{
    stage.loop.timeouts.length_ms[kind] = length_ms;
}

static uint64_t timed_out(void)
{
    return pfk_table_counter_sum(stage.table, PFK_COUNT_CONNECTIONS_TIMED_OUT);
}

/* The machine held the test up for so long that a limit may have passed which should not have. */
static bool late;
static uint64_t turned_ns; /* when the loop was turned last; 0: not yet */

/* Turns the loop for that long. */
static void pass(uint32_t length_ms)
{
    const uint64_t until_ns = prefork_deadline_after_ms(length_ms);
    uint64_t now_ns;

    while ((now_ns = prefork_clock_now_ns()) < until_ns) {
        late = late || (turned_ns != 0 && now_ns - turned_ns > LIMIT_MS / 4 * UINT64_C(1000000));
        turned_ns = now_ns;
        stage_turn(&stage);
    }
}

START_TEST(who_says_nothing_is_closed)
{
    int client;

    limit(PFK_TIMEOUT_FIRST_BYTE, LIMIT_MS);
    client = stage_connect(&stage, lines());
    pass(LIMIT_MS / 2);
    ck_assert(late || stage.loop.n_connections == 1);
    stage_expect_end(&stage, client);
    ck_assert_int_eq(failed_status, 0);
    ck_assert_uint_eq(timed_out(), 1);
    (void)close(client);
}
END_TEST

START_TEST(half_a_message_is_late_however_it_dribbles)
{
    int client;
    uint64_t begun_ns;

    limit(PFK_TIMEOUT_MESSAGE, 2 * LIMIT_MS);
    client = stage_connect(&stage, lines());
    begun_ns = prefork_clock_now_ns();
    while (failed_status == 0) {
        ck_assert_uint_lt(prefork_clock_now_ns() - begun_ns, UINT64_C(10000000000));
        if (pfk_buffer_length(stage_last(&stage)->input) < 60)
            (void)send(client, ".", 1, MSG_NOSIGNAL);
        pass(LIMIT_MS / 20);
    }
    ck_assert_int_eq(failed_status, -ETIMEDOUT);
    ck_assert_uint_ge(prefork_clock_now_ns() - begun_ns, (2 * LIMIT_MS - 10) * UINT64_C(1000000));
    stage_expect(&stage, client, "late\n");
    stage_expect_end(&stage, client);
    ck_assert_uint_eq(timed_out(), 1);
    (void)close(client);
}
END_TEST

START_TEST(each_message_has_a_time_of_its_own)
{
    int client;

    limit(PFK_TIMEOUT_MESSAGE, LIMIT_MS);
    client = stage_connect(&stage, lines());
    for (int i = 0; i < 6; i++) {
        (void)send(client, "\na", 2, MSG_NOSIGNAL); /* the end of one, the beginning of the next */
        pass(LIMIT_MS / 3);
        (void)stage_work(&stage);
    }
    ck_assert(late || failed_status == 0);
    ck_assert(late || stage.loop.n_connections == 1);
    (void)close(client);
}
END_TEST

START_TEST(who_is_idle_is_closed_who_is_busy_is_not)
{
    int idle, busy;

    limit(PFK_TIMEOUT_IDLE, LIMIT_MS);
    idle = stage_connect(&stage, lines());
    busy = stage_connect(&stage, lines());
    stage_send(idle, "one\n");
    stage_turn(&stage);
    (void)stage_work(&stage);
    stage_expect(&stage, idle, "one\n");
    for (int i = 0; i < 6; i++) {
        (void)send(busy, "two\n", 4, MSG_NOSIGNAL);
        pass(LIMIT_MS / 3);
        (void)stage_work(&stage);
        if (!late)
            stage_expect(&stage, busy, "two\n");
    }
    stage_expect_end(&stage, idle);
    ck_assert(late || (stage.loop.n_connections == 1 && timed_out() == 1));
    (void)close(idle);
    (void)close(busy);
}
END_TEST

/* Whichever limit was running when the job began. None runs before: what reads the message may be slow. */
START_TEST(a_long_job_is_not_the_peers_fault)
{
    const int client = stage_connect(&stage, lines());

    stage_send(client, "long\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
    for (unsigned kind = PFK_TIMEOUT_FIRST_BYTE; kind <= PFK_TIMEOUT_WRITE; kind++)
        limit(kind, LIMIT_MS / 3);
    for (unsigned kind = PFK_TIMEOUT_FIRST_BYTE; kind <= PFK_TIMEOUT_WRITE; kind++) {
        pfk_timeout_begin(&stage.loop.timeouts, &stage_last(&stage)->timeout, kind);
        STAGE_UNTIL(&stage, stage.loop.n_connections == 0 || stage_last(&stage)->timeout.kind == PFK_TIMEOUT_NONE);
        ck_assert_uint_eq(stage.loop.n_connections, 1);
    }
    ck_assert_uint_eq(timed_out(), 0);
    (void)stage_work(&stage);
    stage_expect(&stage, client, "long\n");
    stage_expect_end(&stage, client); /* and now it is idle */
    (void)close(client);
}
END_TEST

/* Its peer takes nothing; then a little, then nothing again. */
START_TEST(who_does_not_read_is_closed)
{
    struct prefork_protocol given = *prefork_protocol_raw("handler");
    char piece[4096];
    int client;

    limit(PFK_TIMEOUT_WRITE, LIMIT_MS);
    client = stage_connect(&stage, stage_protocol(&given));
    for (int i = 0; i < 400; i++)
        ck_assert_int_eq(prefork_connection_write(stage_last(&stage), memset(piece, 'x', sizeof(piece)), sizeof(piece)),
                         0);
    for (int i = 0; i < 6; i++) {
        pass(LIMIT_MS / 3);
        for (int n = 0; n < 40; n++) /* a socket pair tells of room when a good part of it is free */
            (void)recv(client, piece, sizeof(piece), MSG_DONTWAIT);
    }
    ck_assert(late || stage.loop.n_connections == 1);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    ck_assert_uint_eq(timed_out(), 1);
    (void)close(client);
}
END_TEST

/* However much the server adds meanwhile. */
START_TEST(who_does_not_read_is_closed_whatever_is_written)
{
    static const char piece[4096];
    const int client = stage_connect(&stage, stage_protocol(prefork_protocol_raw("handler")));

    limit(PFK_TIMEOUT_WRITE, LIMIT_MS);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(prefork_connection_write(stage_last(&stage), piece, sizeof(piece)), 0);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0 || prefork_connection_write(stage_last(&stage), "x", 1) != 0);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    ck_assert_uint_eq(timed_out(), 1);
    (void)close(client);
}
END_TEST

/* The one timer waits for an hour already when a limit begins that ends before. */
START_TEST(a_short_limit_does_not_wait_for_a_long_one)
{
    const int patient = stage_connect(&stage, lines());
    int client;

    limit(PFK_TIMEOUT_IDLE, 3600000);
    limit(PFK_TIMEOUT_MESSAGE, LIMIT_MS);
    stage_send(patient, "patient\n");
    STAGE_UNTIL(&stage, stage_work(&stage) == 1);
    stage_expect(&stage, patient, "patient\n");
    ck_assert_uint_eq(stage_last(&stage)->timeout.kind, PFK_TIMEOUT_IDLE);
    client = stage_connect(&stage, lines());
    stage_send(client, "half");
    stage_expect(&stage, client, "late\n");
    stage_expect_end(&stage, client);
    STAGE_UNTIL(&stage, timed_out() == 1);
    stage_expect_nothing(&stage, patient);
    (void)close(client);
    (void)close(patient);
}
END_TEST

START_TEST(many_end_in_batches)
{
    enum { MANY = 300 };
    int clients[MANY];

    limit(PFK_TIMEOUT_FIRST_BYTE, LIMIT_MS);
    for (int i = 0; i < MANY; i++)
        clients[i] = stage_connect(&stage, lines());
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    ck_assert_uint_eq(timed_out(), MANY);
    for (int i = 0; i < MANY; i++)
        (void)close(clients[i]);
}
END_TEST

START_TEST(without_limits_no_timer_runs)
{
    int client = stage_connect(&stage, lines());

    stage_send(client, "half a line");
    stage_turn(&stage);
    ck_assert(!ev_is_active(&stage.loop.timeouts.timer));
    (void)close(client);
}
END_TEST

static Suite *timeout_suite(void)
{
    Suite *suite = suite_create("timeout");
    TCase *tcase = tcase_create("limits");

    tcase_add_checked_fixture(tcase, open_stage, close_stage);
    tcase_add_test(tcase, who_says_nothing_is_closed);
    tcase_add_test(tcase, half_a_message_is_late_however_it_dribbles);
    tcase_add_test(tcase, each_message_has_a_time_of_its_own);
    tcase_add_test(tcase, who_is_idle_is_closed_who_is_busy_is_not);
    tcase_add_test(tcase, a_long_job_is_not_the_peers_fault);
    tcase_add_test(tcase, who_does_not_read_is_closed);
    tcase_add_test(tcase, who_does_not_read_is_closed_whatever_is_written);
    tcase_add_test(tcase, a_short_limit_does_not_wait_for_a_long_one);
    tcase_add_test(tcase, many_end_in_batches);
    tcase_add_test(tcase, without_limits_no_timer_runs);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(timeout_suite)
