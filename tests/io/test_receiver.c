/* SPDX-License-Identifier: BSD-2-Clause */
/* Datagrams of one I/O thread: answered, refused, left in the socket. */
#include "io/receiver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

static struct stage stage;
static struct pfk_listener *listener;
static struct pfk_receiver receiver;
static struct pfk_protocol protocol;
static int fds_before, count_opened, count_closed;

static void open_stage(void)
{
    fds_before = pfk_test_fds_open();
    stage_open(&stage, 4, 64, 128);
}

static void close_stage(void)
{
    pfk_receiver_stop(&receiver);
    stage_close(&stage);
    pfk_receiver_close(&receiver);
    pfk_listener_close(&listener);
    ck_assert_int_eq(count_opened, count_closed);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static void on_opened(struct prefork_connection *connection, void *context)
{
    (void)connection;
    (void)context;
    count_opened++;
}

static void on_closed(struct prefork_connection *connection, void *context)
{
    (void)connection;
    (void)context;
    count_closed++;
}

/* Begins to receive at `address` and returns a client's socket, connected. */
static int receive(const char *address, const char *target, const struct prefork_protocol *given)
{
    struct prefork_protocol told = *given;
    const struct pfk_listener_options plain = {.backlog = 1};
    struct pfk_io_port port;
    struct pfk_address to;
    char text[PFK_ADDRESS_TEXT_BYTES];
    int client;

    told.opened = on_opened;
    told.closed = on_closed;
    ck_assert_int_eq(pfk_protocol_complete(&told, told.handler != NULL ? 0 : -1, &protocol), 0);
    protocol.face.frame = pfk_datagram_frame;
    ck_assert_msg(pfk_listener_open(address, &plain, &listener) == 0, "%s", prefork_last_error());
    port = (struct pfk_io_port){listener, &protocol};
    ck_assert_int_eq(pfk_receiver_start(&receiver, &stage.loop, &port, 1, 0), 0);
    (void)snprintf(text, sizeof(text), "%s%s", target, strrchr(pfk_listener_address(listener), ':'));
    ck_assert_int_eq(pfk_address_parse(text, &to), 0);
    client = socket(to.socket.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(connect(client, &to.socket.any, to.length), 0); /* takes replies from just there */
    return client;
}

/* A datagram comes that is `text`, whole. */
static void expect_datagram(int client, const char *text)
{
    char got[256];
    ssize_t length = -1;

    STAGE_UNTIL(&stage, (length = recv(client, got, sizeof(got), 0)) >= 0 || errno != EAGAIN);
    ck_assert_int_eq(length, (ssize_t)strlen(text));
    ck_assert_mem_eq(got, text, strlen(text));
}

static uint64_t counted(enum pfk_lane_counter counter)
{
    return pfk_table_counter_sum(stage.table, counter);
}

static int echo_twice(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    int rc = prefork_connection_write(connection, message, length);

    (void)context;
    if (rc == 0)
        rc = prefork_connection_write(connection, message, length);
    return rc;
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

static const struct prefork_protocol inline_echo = {.size = sizeof(inline_echo), .message = echo_twice};

START_TEST(what_is_written_leaves_as_one_datagram)
{
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", &inline_echo);

    stage_send(client, "one");
    stage_send(client, "two");
    expect_datagram(client, "oneone");
    expect_datagram(client, "twotwo");
    ck_assert_uint_eq(stage.loop.n_connections, 0);
    ck_assert_int_eq(count_opened, 2);
    ck_assert_uint_eq(counted(PFK_COUNT_DATAGRAMS), 2);
    ck_assert_uint_eq(counted(PFK_COUNT_CONNECTIONS), 0);
    (void)close(client);
}
END_TEST

enum { BITS = 20, LONG_BYTES = 9000 };

static void write_some(struct prefork_connection *connection, const void *data, size_t length)
{
    ck_assert_int_eq(prefork_connection_write(connection, data, length), 0);
}

static int answer_in_bits(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    for (int i = 0; i < BITS; i++) {
        write_some(connection, "> ", 2);
        write_some(connection, message, length);
    }
    return 0;
}

static int answer_at_length(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    static char text[LONG_BYTES];

    (void)context;
    write_some(connection, message, length);
    for (char letter = 'a'; letter < 'd'; letter++)
        write_some(connection, memset(text, letter, sizeof(text)), sizeof(text));
    return 0;
}

/* However many pieces it is written in, and however long they are. */
START_TEST(a_long_answer_leaves_as_one_datagram)
{
    static const struct {
        prefork_message_fn message;
        ssize_t bytes;
    } answers[] = {{answer_in_bits, 5 * BITS}, {answer_at_length, 3 + 3 * LONG_BYTES}};
    const struct prefork_protocol given = {.size = sizeof(given), .message = answers[_i].message};
    static char got[65536];
    ssize_t length = -1;
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", &given);

    stage_send(client, "one");
    STAGE_UNTIL(&stage, (length = recv(client, got, sizeof(got), 0)) >= 0 || errno != EAGAIN);
    ck_assert_int_eq(length, answers[_i].bytes);
    ck_assert_mem_eq(got + (_i == 0 ? 2 : 0), "one", 3);
    ck_assert_mem_eq(got + length - 3, _i == 0 ? "one" : "ccc", 3);
    stage_expect_nothing(&stage, client);
    ck_assert_uint_eq(stage.loop.n_connections, 0);
    ck_assert_uint_eq(counted(PFK_COUNT_DATAGRAMS_DROPPED), 0);
    (void)close(client);
}
END_TEST

/* Writes, submits what it was sent twice, and writes again. */
static int answer_by_jobs(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    write_some(connection, "<", 1);
    ck_assert_int_eq(prefork_connection_submit(connection, 0, message, length), 0);
    write_some(connection, "|", 1);
    ck_assert_int_eq(prefork_connection_submit(connection, 0, message, length), 0);
    write_some(connection, ">", 1);
    return 0;
}

static int say_sorry(struct prefork_connection *connection, int status, void *context)
{
    (void)status;
    (void)context;
    write_some(connection, "sorry", 5);
    return 0;
}

/* Its jobs end one by one, in either order; the first or both may have failed. */
START_TEST(what_jobs_answer_leaves_as_one_datagram)
{
    static const char *const expected[] = {"<one|one>", "<sorry|one>", "<one|sorry>", "<sorry|sorry>"};
    const int first = _i & 1 ? -EIO : 0, second = _i & 2 ? -EIO : 0;
    const struct prefork_protocol given = {.size = sizeof(given), .message = answer_by_jobs, .failed = say_sorry};
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", &given);
    int workers[2];

    for (int turned = 0; turned < 2; turned++) {
        stage_send(client, "one");
        for (int i = 0; i < 2; i++)
            STAGE_UNTIL(&stage, (workers[i] = stage_claim(&stage)) >= 0);
        stage_complete(&stage, workers[turned], turned == 0 ? first : second);
        stage_expect_nothing(&stage, client);
        stage_complete(&stage, workers[!turned], turned == 0 ? second : first);
        expect_datagram(client, expected[_i]);
        STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
        stage_expect_nothing(&stage, client);
    }
    (void)close(client);
}
END_TEST

START_TEST(unordered_jobs_answer_as_one_datagram_too)
{
    const struct prefork_protocol given = {
        .size = sizeof(given), .message = answer_by_jobs, .failed = say_sorry, .order = PREFORK_ORDER_UNORDERED};
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", &given);
    int workers[2];

    stage_send(client, "one");
    for (int i = 0; i < 2; i++)
        STAGE_UNTIL(&stage, (workers[i] = stage_claim(&stage)) >= 0);
    stage_expect_nothing(&stage, client);
    stage_complete(&stage, workers[1], -EIO);
    stage_expect_nothing(&stage, client);
    stage_complete(&stage, workers[0], 0);
    expect_datagram(client, "<|>sorryone");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    stage_expect_nothing(&stage, client);
    (void)close(client);
}
END_TEST

static void check_peer(const char *address, const char *target, const char *expected)
{
    const struct prefork_protocol peers = {.size = sizeof(peers), .message = tell_peer};
    const int client = receive(address, target, &peers);
    struct pfk_address own = {.type = SOCK_DGRAM};
    char text[PFK_ADDRESS_TEXT_BYTES];

    own.length = sizeof(own.socket);
    ck_assert_int_eq(getsockname(client, &own.socket.any, &own.length), 0);
    pfk_address_format(&own, text);
    ck_assert_int_eq(strncmp(text, expected, strlen(expected)), 0);
    stage_send(client, "who");
    expect_datagram(client, text);
    (void)close(client);
}

START_TEST(the_peer_is_the_sender)
{
    check_peer("udp:127.0.0.1:0", "udp:127.0.0.1", "udp:127.0.0.1:");
}
END_TEST

/* The client is connected: it takes only what comes from where it sent to. */
START_TEST(an_every_address_answers_from_where_it_was_asked)
{
    check_peer("udp:*:0", "udp:127.0.0.2", "udp:127.0.0.1:");
}
END_TEST

START_TEST(ipv4_at_every_address_does_likewise)
{
    check_peer("udp:0.0.0.0:0", "udp:127.0.0.3", "udp:127.0.0.1:");
}
END_TEST

START_TEST(a_job_answers_its_sender)
{
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", prefork_protocol_raw("echo"));

    stage_send(client, "first");
    stage_send(client, "second");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 2);
    ck_assert_uint_eq(stage_work(&stage), 2);
    expect_datagram(client, "first");
    expect_datagram(client, "second");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    (void)close(client);
}
END_TEST

START_TEST(a_job_that_fails_is_not_answered)
{
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", prefork_protocol_raw("echo"));
    int worker = -1;

    stage_send(client, "x");
    STAGE_UNTIL(&stage, (worker = stage_claim(&stage)) >= 0);
    stage_complete(&stage, worker, -EIO);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    stage_expect_nothing(&stage, client);
    (void)close(client);
}
END_TEST

START_TEST(what_is_longer_than_a_request_is_dropped_and_counted)
{
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", &inline_echo);
    char text[66];

    memset(text, 'x', sizeof(text));
    ck_assert_int_eq(send(client, text, 65, 0), 65);
    ck_assert_int_eq(send(client, text, 0, 0), 0);
    ck_assert_int_eq(send(client, text, 64, 0), 64);
    text[64] = '\0';
    STAGE_UNTIL(&stage, counted(PFK_COUNT_DATAGRAMS) == 1);
    ck_assert_uint_eq(counted(PFK_COUNT_DATAGRAMS_DROPPED), 2);
    ck_assert_int_eq(recv(client, text, sizeof(text), MSG_TRUNC), 128);
    (void)close(client);
}
END_TEST

/* More than the table and max_in_flight hold: what was not taken stays in the
 * socket, and all of it is answered in the end. */
static void check_flood(uint32_t max_in_flight, unsigned at_most)
{
    struct prefork_protocol given = *prefork_protocol_raw("echo");
    unsigned answered = 0;
    char byte;
    int client;

    given.max_in_flight = max_in_flight;
    client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", &given);
    for (int i = 0; i < 100; i++)
        stage_send(client, "x");
    for (int i = 0; i < 20; i++) {
        stage_turn(&stage);
        ck_assert_uint_le(stage.loop.n_connections, at_most);
    }
    ck_assert_uint_gt(stage.loop.n_connections, 0);
    STAGE_UNTIL(&stage, (stage_work(&stage), answered += recv(client, &byte, 1, 0) == 1, answered == 100));
    ck_assert_uint_eq(counted(PFK_COUNT_DATAGRAMS), 100);
    ck_assert_uint_eq(counted(PFK_COUNT_DATAGRAMS_DROPPED), 0);
    (void)close(client);
}

START_TEST(max_in_flight_bounds_what_is_in_hand)
{
    check_flood(2, 2);
}
END_TEST

START_TEST(a_full_table_leaves_datagrams_in_the_socket)
{
    check_flood(16, 5); /* 4 slots, and one datagram that waits */
}
END_TEST

START_TEST(a_drain_answers_what_is_in_hand)
{
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", prefork_protocol_raw("echo"));

    stage_send(client, "x");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 1);
    pfk_receiver_stop(&receiver);
    pfk_loop_drain(&stage.loop);
    stage_send(client, "y");
    stage_turn(&stage);
    ck_assert_uint_eq(stage.loop.n_connections, 1);
    ck_assert_uint_eq(stage_work(&stage), 1);
    expect_datagram(client, "x");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    stage_expect_nothing(&stage, client);
    (void)close(client);
}
END_TEST

START_TEST(a_stop_leaves_nothing)
{
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", prefork_protocol_raw("echo"));

    for (int i = 0; i < 10; i++)
        stage_send(client, "x");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 5);
    (void)close(client); /* the fixture closes all in the middle of it */
}
END_TEST

static int write_too_much(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    static char much[70000];

    (void)message;
    (void)length;
    (void)context;
    return prefork_connection_write(connection, much, sizeof(much));
}

START_TEST(a_reply_that_no_datagram_holds_is_dropped_and_counted)
{
    const struct prefork_protocol given = {.size = sizeof(given), .message = write_too_much};
    const int client = receive("udp:127.0.0.1:0", "udp:127.0.0.1", &given);

    stage_send(client, "x");
    STAGE_UNTIL(&stage, counted(PFK_COUNT_DATAGRAMS_DROPPED) == 1);
    ck_assert_uint_eq(stage.loop.n_connections, 0);
    (void)close(client);
}
END_TEST

static Suite *receiver_suite(void)
{
    Suite *suite = suite_create("receiver");
    TCase *cases = tcase_create("receiver");

    tcase_add_checked_fixture(cases, open_stage, close_stage);
    tcase_set_timeout(cases, 30);
    tcase_add_test(cases, what_is_written_leaves_as_one_datagram);
    tcase_add_loop_test(cases, a_long_answer_leaves_as_one_datagram, 0, 2);
    tcase_add_loop_test(cases, what_jobs_answer_leaves_as_one_datagram, 0, 4);
    tcase_add_test(cases, unordered_jobs_answer_as_one_datagram_too);
    tcase_add_test(cases, the_peer_is_the_sender);
    tcase_add_test(cases, an_every_address_answers_from_where_it_was_asked);
    tcase_add_test(cases, ipv4_at_every_address_does_likewise);
    tcase_add_test(cases, a_job_answers_its_sender);
    tcase_add_test(cases, a_job_that_fails_is_not_answered);
    tcase_add_test(cases, what_is_longer_than_a_request_is_dropped_and_counted);
    tcase_add_test(cases, max_in_flight_bounds_what_is_in_hand);
    tcase_add_test(cases, a_full_table_leaves_datagrams_in_the_socket);
    tcase_add_test(cases, a_drain_answers_what_is_in_hand);
    tcase_add_test(cases, a_stop_leaves_nothing);
    tcase_add_test(cases, a_reply_that_no_datagram_holds_is_dropped_and_counted);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(receiver_suite)
