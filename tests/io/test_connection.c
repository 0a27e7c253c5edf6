/* SPDX-License-Identifier: BSD-2-Clause */
/* One connection, and several in one loop: order, back-pressure, ends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

#include "io/outbox.h"
#include "prefork/ev.h"

static struct stage stage;
static int fds_before;

static void open_with(uint32_t slots, uint32_t request_bytes)
{
    fds_before = pfk_test_fds_open();
    stage_open(&stage, slots, request_bytes, 64);
}

static void open_stage(void)
{
    open_with(64, 64);
}

static void close_stage(void)
{
    stage_close(&stage);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

/* -- Protocols of the tests ------------------------------------------------- */

static int echo_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

static int count_opened, count_closed;

static void on_opened(struct prefork_connection *connection, void *context)
{
    (void)context;
    count_opened++;
    ck_assert_ptr_null(prefork_connection_user(connection));
    prefork_connection_set_user(connection, &count_opened);
}

static void on_closed(struct prefork_connection *connection, void *context)
{
    (void)context;
    count_closed++;
    ck_assert_ptr_eq(prefork_connection_user(connection), &count_opened);
    ck_assert_int_eq(prefork_connection_write(connection, "x", 1), -EPIPE);
    ck_assert_int_eq(prefork_connection_submit(connection, 0, "x", 1), -EPIPE);
    prefork_connection_close(connection);
}

static const struct pfk_protocol *lines_protocol(prefork_message_fn message, enum prefork_order order)
{
    struct prefork_protocol given = *prefork_protocol_lines(message == NULL ? "handler" : NULL);

    given.message = message;
    given.order = order;
    given.opened = on_opened;
    given.closed = on_closed;
    return stage_protocol(&given);
}

static const struct pfk_protocol *job_lines(enum prefork_order order)
{
    return lines_protocol(NULL, order);
}

/* -- Without jobs ----------------------------------------------------------- */

START_TEST(inline_echo_of_lines_that_dribble_in)
{
    const struct pfk_protocol *protocol = lines_protocol(echo_inline, PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    const char *text = "one\n\ntwo and more\n";

    ck_assert_int_eq(count_opened, 1);
    for (const char *at = text; *at != '\0'; at++) {
        ck_assert_int_eq(send(client, at, 1, 0), 1);
        stage_turn(&stage);
    }
    stage_expect(&stage, client, text);
    ck_assert_ptr_null(stage_last(&stage)->input);
    ck_assert_ptr_null(stage_last(&stage)->outbox);
    (void)close(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    ck_assert_int_eq(count_closed, 1);
}
END_TEST

START_TEST(an_idle_connection_is_small)
{
    ck_assert_uint_le(sizeof(struct prefork_connection), 168);
}
END_TEST

/* The byte at a position of the test's stream; every 50th ends a line. */
static unsigned char stream_byte(size_t at)
{
    return at % 50 == 49 ? '\n' : (unsigned char)(at * 7 % 251 + at / 65536 % 3 + 11);
}

static size_t stream_send(int fd, size_t from, size_t length)
{
    unsigned char piece[8192];
    ssize_t sent;

    if (length == 0)
        return 0;
    for (size_t i = 0; i < length; i++)
        piece[i] = stream_byte(from + i);
    sent = send(fd, piece, length, MSG_NOSIGNAL);
    return sent > 0 ? (size_t)sent : 0;
}

static size_t stream_receive(int fd, size_t from, size_t length)
{
    unsigned char piece[8192];
    const ssize_t got = recv(fd, piece, length, 0);

    for (ssize_t i = 0; i < got; i++) {
        if (piece[i] != stream_byte(from + (size_t)i))
            ck_abort_msg("byte %zu is wrong", from + (size_t)i);
    }
    return got > 0 ? (size_t)got : 0;
}

/* Echoes a stream with the least buffers; both sides move pieces of chance
 * lengths. */
static void echo_stream(const struct pfk_protocol *protocol, size_t total, bool tcp)
{
    int client = tcp ? stage_connect_tcp(&stage, protocol) : stage_connect(&stage, protocol);
    struct prefork_connection *connection = stage_last(&stage);
    const int least = 1;
    size_t sent = 0, got = 0;
    uint32_t state = 11;
    const uint64_t deadline_ns = prefork_deadline_after_ms(25000);

    ck_assert_int_eq(setsockopt(connection->watcher.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
    if (!tcp) /* over TCP it would make the kernel wait 200 ms for each window */
        ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
    while (got < total) {
        size_t length;

        ck_assert_msg(prefork_clock_now_ns() < deadline_ns, "sent %zu, got %zu of %zu", sent, got, total);
        state = state * UINT32_C(1664525) + UINT32_C(1013904223);
        length = 1 + (state >> 8) % 8192;
        sent += stream_send(client, sent, length < total - sent ? length : total - sent);
        stage_turn(&stage);
        (void)stage_work(&stage);
        stage_turn(&stage);
        got += stream_receive(client, got, 1 + (state >> 16) % 8192);
        ck_assert_uint_le(pfk_outbox_waiting_bytes(connection),
                          PFK_CONNECTION_HIGH_WATER_BYTES + PFK_LOOP_SCRATCH_BYTES + 4096);
        ck_assert_uint_le(pfk_buffer_length(connection->input), 2 * PFK_LOOP_SCRATCH_BYTES);
    }
    (void)shutdown(client, SHUT_WR);
    stage_expect_end(&stage, client);
    (void)close(client);
}

static const struct {
    bool lines, jobs, tcp;
    size_t bytes;
} streams[] = {{false, false, false, 4000000}, {true, false, false, 1000000}, {false, true, false, 1000000},
               {true, true, false, 500000},    {false, false, true, 2000000}, {true, true, true, 500000}};

START_TEST(a_stream_is_exact_with_the_least_buffers)
{
    struct prefork_protocol given =
        streams[_i].lines ? *prefork_protocol_lines("handler") : *prefork_protocol_raw("handler");
    const struct pfk_protocol *protocol;

    if (!streams[_i].jobs)
        given.message = echo_inline;
    protocol = stage_protocol(&given);
    echo_stream(protocol, streams[_i].bytes, streams[_i].tcp);
}
END_TEST

START_TEST(many_small_messages_yield_to_others)
{
    const struct pfk_protocol *protocol = lines_protocol(echo_inline, PREFORK_ORDER_ORDERED);
    int greedy = stage_connect(&stage, protocol);
    int modest = stage_connect(&stage, protocol);
    char lines[4096];

    memset(lines, '\n', sizeof(lines));
    ck_assert_int_eq(send(greedy, lines, sizeof(lines), 0), sizeof(lines));
    stage_turn(&stage);
    stage_turn(&stage);
    stage_send(modest, "here\n");
    stage_turn(&stage);
    ck_assert_int_eq(recv(modest, lines, sizeof(lines), 0), 5);
    for (size_t got = 0; got < sizeof(lines);) {
        const ssize_t n = recv(greedy, lines, sizeof(lines), 0);

        got += n > 0 ? (size_t)n : 0;
        stage_turn(&stage);
    }
    (void)close(greedy);
    (void)close(modest);
}
END_TEST

START_TEST(high_water_stops_reading)
{
    const struct prefork_protocol given = {.size = sizeof(given), .message = echo_inline};
    const struct pfk_protocol *protocol = stage_protocol(&given);
    int client = stage_connect(&stage, protocol);
    static char bytes[65536];
    size_t sent = 0;

    for (int idle = 0; idle < 200;) {
        const ssize_t n = send(client, bytes, sizeof(bytes), MSG_NOSIGNAL);

        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        stage_turn(&stage);
        ck_assert_uint_lt(sent, 16 * PFK_CONNECTION_HIGH_WATER_BYTES);
    }
    ck_assert_int_eq(stage_last(&stage)->watcher.events & (EV_READ | EV_WRITE), EV_WRITE);
    ck_assert_uint_ge(pfk_outbox_waiting_bytes(stage_last(&stage)), PFK_CONNECTION_HIGH_WATER_BYTES);
    for (size_t got = 0; got < sent;) {
        const ssize_t n = recv(client, bytes, sizeof(bytes), 0);

        got += n > 0 ? (size_t)n : 0;
        stage_turn(&stage);
    }
    ck_assert_ptr_null(stage_last(&stage)->outbox);
    ck_assert(ev_is_active(&stage_last(&stage)->watcher));
    ck_assert_int_eq(stage_last(&stage)->watcher.events & (EV_READ | EV_WRITE), EV_READ);
    (void)close(client);
}
END_TEST

/* -- Jobs and their order --------------------------------------------------- */

/* Claims all jobs that are ready; their requests must be `first`, `first`+1 … */
static int claim_all(int *workers, char first)
{
    int n = 0;

    for (int worker = stage_claim(&stage); worker >= 0; worker = stage_claim(&stage), n++) {
        size_t length;

        ck_assert_int_eq(stage_request(&stage, worker, &length)[0], first + n);
        workers[n] = worker;
    }
    return n;
}

START_TEST(ordered_replies_come_in_the_order_of_requests)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    int workers[STAGE_WORKERS];

    stage_send(client, "a\nb\nc\n");
    stage_turn(&stage);
    ck_assert_int_eq(claim_all(workers, 'a'), 3);
    stage_complete(&stage, workers[2], 0);
    stage_complete(&stage, workers[1], 0);
    stage_expect_nothing(&stage, client);
    stage_complete(&stage, workers[0], 0);
    stage_expect(&stage, client, "a\nb\nc\n");
    (void)close(client);
}
END_TEST

START_TEST(unordered_replies_come_as_they_are_ready)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_UNORDERED);
    int client = stage_connect(&stage, protocol);
    int workers[STAGE_WORKERS];

    stage_send(client, "a\nb\nc\n");
    stage_turn(&stage);
    ck_assert_int_eq(claim_all(workers, 'a'), 3);
    stage_complete(&stage, workers[2], 0);
    stage_expect(&stage, client, "c\n");
    stage_complete(&stage, workers[0], 0);
    stage_expect(&stage, client, "a\n");
    (void)shutdown(client, SHUT_WR);
    stage_expect_nothing(&stage, client);
    stage_complete(&stage, workers[1], 0);
    stage_expect(&stage, client, "b\n");
    stage_expect_end(&stage, client);
    (void)close(client);
}
END_TEST

START_TEST(serial_jobs_run_one_by_one)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_SERIAL);
    int client = stage_connect(&stage, protocol);
    int workers[STAGE_WORKERS];
    const char *expected[] = {"a\n", "b\n", "c\n"};

    stage_send(client, "a\nb\nc\n");
    for (int i = 0; i < 3; i++) {
        stage_turn(&stage);
        ck_assert_int_eq(claim_all(workers, (char)('a' + i)), 1);
        stage_complete(&stage, workers[0], 0);
        stage_expect(&stage, client, expected[i]);
    }
    (void)close(client);
}
END_TEST

/* Answers upper-case lines itself and makes jobs of the others. */
static int half_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    const char first = *(const char *)message;

    return first >= 'A' && first <= 'Z' ? echo_inline(connection, message, length, context)
                                        : prefork_connection_submit(connection, 0, message, length);
}

START_TEST(inline_answers_keep_their_place_among_jobs)
{
    const struct pfk_protocol *protocol = lines_protocol(half_inline, PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    int workers[STAGE_WORKERS];

    stage_send(client, "A\na\nB\nC\nb\nD\n");
    stage_expect(&stage, client, "A\n");
    stage_expect_nothing(&stage, client);
    ck_assert_int_eq(claim_all(workers, 'a'), 2);
    stage_complete(&stage, workers[1], 0);
    stage_expect_nothing(&stage, client);
    stage_complete(&stage, workers[0], 0);
    stage_expect(&stage, client, "a\nB\nC\nb\nD\n");
    (void)close(client);
}
END_TEST

START_TEST(as_many_jobs_as_allowed_are_in_flight)
{
    struct prefork_protocol given = *prefork_protocol_lines("handler");
    const struct pfk_protocol *protocol;
    int client, workers[STAGE_WORKERS];

    given.max_in_flight = 3;
    protocol = stage_protocol(&given);
    client = stage_connect(&stage, protocol);
    stage_send(client, "a\nb\nc\nd\ne\n");
    stage_turn(&stage);
    ck_assert_int_eq(claim_all(workers, 'a'), 3);
    stage_complete(&stage, workers[1], 0); /* done, but its reply must wait, and holds its slot */
    stage_turn(&stage);
    ck_assert_int_eq(stage_claim(&stage), -1);
    stage_complete(&stage, workers[0], 0);
    stage_expect(&stage, client, "a\nb\n");
    stage_complete(&stage, workers[2], 0);
    ck_assert_int_eq(claim_all(workers, 'd'), 2);
    stage_complete(&stage, workers[0], 0);
    stage_complete(&stage, workers[1], 0);
    stage_expect(&stage, client, "c\nd\ne\n");
    (void)close(client);
}
END_TEST

START_TEST(a_slot_does_not_wait_for_the_peer)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    const int least = 1;
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    char line[64];

    memset(line, 'x', sizeof(line));
    line[63] = '\n';
    ck_assert_int_eq(setsockopt(stage_last(&stage)->watcher.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
    for (int i = 0; i < 200; i++) { /* far more than the socket takes; the client reads nothing */
        (void)send(client, line, sizeof(line), 0);
        stage_turn(&stage);
        (void)stage_work(&stage);
        stage_turn(&stage);
    }
    ck_assert_ptr_nonnull(stage_last(&stage)->outbox->unsent);
    ck_assert_uint_eq(stage_last(&stage)->in_flight, 0);
    ck_assert_int_eq(prefork_table_statistics(stage.table, &statistics), 0);
    ck_assert_uint_eq(statistics.free_slots, statistics.slots);
    (void)close(client);
}
END_TEST

/* -- Room ------------------------------------------------------------------- */

static void open_small_stage(void)
{
    open_with(2, 64);
}

START_TEST(starved_connections_are_served_in_order)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    const char *lines[] = {"a\n", "b\n", "c\n", "d\n", "e\n", "f\n"};
    int clients[6], workers[STAGE_WORKERS];

    for (int i = 0; i < 6; i++) {
        clients[i] = stage_connect(&stage, protocol);
        stage_send(clients[i], lines[i]);
        stage_turn(&stage);
    }
    for (int i = 0; i < 6; i += 2) {
        stage_turn(&stage);
        ck_assert_int_eq(claim_all(workers, (char)('a' + i)), 2);
        stage_complete(&stage, workers[0], 0);
        stage_complete(&stage, workers[1], 0);
        stage_expect(&stage, clients[i], lines[i]);
        stage_expect(&stage, clients[i + 1], lines[i + 1]);
    }
    for (int i = 0; i < 6; i++)
        (void)close(clients[i]);
}
END_TEST

/* Room has come, and a message of somebody else in the same moment. */
START_TEST(nobody_overtakes_the_starved)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    const int waiting = stage_connect(&stage, protocol), quick = stage_connect(&stage, protocol);
    uint64_t held[2];
    int workers[STAGE_WORKERS];

    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(prefork_lane_reserve(stage.workers[0], PREFORK_NO_WAIT, &held[i]), 0);
    stage_send(waiting, "a\n");
    STAGE_UNTIL(&stage, !pfk_list_empty(&stage.loop.starved));
    stage_turn(&stage);
    ck_assert_int_eq(prefork_lane_abandon(stage.workers[0], held[0]), 0);
    stage_send(quick, "b\n");
    for (int i = 0; i < 3; i++)
        stage_turn(&stage);
    ck_assert_int_eq(claim_all(workers, 'a'), 1);
    stage_complete(&stage, workers[0], 0);
    stage_expect(&stage, waiting, "a\n");
    STAGE_UNTIL(&stage, stage_work(&stage) == 1);
    stage_expect(&stage, quick, "b\n");
    ck_assert_int_eq(prefork_lane_abandon(stage.workers[0], held[1]), 0);
    (void)close(waiting);
    (void)close(quick);
}
END_TEST

static size_t receive_some(int fd, char *into, size_t size, size_t length)
{
    const ssize_t got = recv(fd, into + length, size - length, 0);

    return got > 0 ? (size_t)got : 0;
}

START_TEST(a_full_table_delays_but_loses_nothing)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    enum { CLIENTS = 20, LINES = 50 };
    int clients[CLIENTS];

    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = stage_connect(&stage, protocol);
        for (int line = 0; line < LINES; line++)
            stage_send(clients[i], (const char[]){(char)('a' + i), (char)('0' + line % 10), '\n', '\0'});
    }
    for (int i = 0; i < CLIENTS; i++) {
        char got[LINES * 3];
        size_t length = 0;

        STAGE_UNTIL(&stage,
                    (stage_work(&stage), length += receive_some(clients[i], got, sizeof(got), length)) == sizeof(got));
        for (int line = 0; line < LINES; line++) {
            ck_assert_int_eq(got[line * 3], 'a' + i);
            ck_assert_int_eq(got[line * 3 + 1], '0' + line % 10);
        }
        (void)close(clients[i]);
    }
}
END_TEST

START_TEST(room_freed_by_another_lane_wakes_the_starved)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    uint64_t jobs[2];

    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(prefork_lane_reserve(stage.workers[0], PREFORK_NO_WAIT, &jobs[i]), 0);
    stage_send(client, "a\n");
    STAGE_UNTIL(&stage, !pfk_list_empty(&stage.loop.starved));
    for (int i = 0; i < 5; i++)
        stage_turn(&stage);
    ck_assert(!ev_is_active(&stage.loop.awake)); /* it would sleep */
    ck_assert_int_eq(prefork_lane_abandon(stage.workers[0], jobs[0]), 0);
    STAGE_UNTIL(&stage, stage_work(&stage) == 1);
    stage_expect(&stage, client, "a\n");
    ck_assert_int_eq(prefork_lane_abandon(stage.workers[0], jobs[1]), 0);
    (void)close(client);
}
END_TEST

/* -- Failures --------------------------------------------------------------- */

START_TEST(a_failed_job_closes_by_default_after_earlier_replies)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect_tcp(&stage, protocol);
    int workers[STAGE_WORKERS];

    stage_send(client, "a\nb\nc\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 3);
    ck_assert_int_eq(claim_all(workers, 'a'), 3);
    stage_complete(&stage, workers[2], 0);
    stage_complete(&stage, workers[1], -EIO);
    stage_expect_nothing(&stage, client);
    stage_complete(&stage, workers[0], 0);
    stage_send(client, "unheard\n");
    stage_expect(&stage, client, "a\n");
    stage_expect_end(&stage, client);
    (void)close(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}
END_TEST

static int tell_status(struct prefork_connection *connection, int status, void *context)
{
    (void)context;
    ck_assert_int_eq(status, -EIO);
    return prefork_connection_write(connection, "failed\n", 7);
}

START_TEST(what_failed_writes_takes_the_place_of_the_reply)
{
    struct prefork_protocol given = *prefork_protocol_lines("handler");
    const struct pfk_protocol *protocol;
    int client, workers[STAGE_WORKERS];

    given.failed = tell_status;
    protocol = stage_protocol(&given);
    client = stage_connect(&stage, protocol);
    stage_send(client, "a\nb\nc\n");
    stage_turn(&stage);
    ck_assert_int_eq(claim_all(workers, 'a'), 3);
    stage_complete(&stage, workers[1], -EIO);
    stage_complete(&stage, workers[2], 0);
    stage_expect_nothing(&stage, client);
    stage_complete(&stage, workers[0], 0);
    stage_expect(&stage, client, "a\nfailed\nc\n");
    stage_send(client, "d\n");
    stage_turn(&stage);
    (void)stage_work(&stage);
    stage_expect(&stage, client, "d\n");
    (void)close(client);
}
END_TEST

START_TEST(a_line_too_long_is_told_after_earlier_replies)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect_tcp(&stage, protocol);
    char line[100];
    int workers[STAGE_WORKERS];

    memset(line, 'x', sizeof(line));
    stage_send(client, "a\n");
    ck_assert_int_eq(send(client, line, sizeof(line), 0), sizeof(line));
    STAGE_UNTIL(&stage, stage_last(&stage)->phase == PFK_CONNECTION_CLOSING);
    ck_assert_int_eq(claim_all(workers, 'a'), 1);
    stage_complete(&stage, workers[0], 0);
    stage_expect(&stage, client, "a\nerror: the line is longer than 64 bytes\n");
    ck_assert_int_eq(send(client, line, sizeof(line), 0), sizeof(line)); /* must not turn the end into a reset */
    stage_expect_end(&stage, client);
    (void)close(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}
END_TEST

START_TEST(a_line_of_just_the_request_size_is_one)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    char line[65];

    memset(line, 'x', 64);
    line[64] = '\0';
    line[63] = '\n';
    stage_send(client, line);
    stage_turn(&stage);
    ck_assert_uint_eq(stage_work(&stage), 1);
    stage_expect(&stage, client, line);
    line[63] = 'x'; /* an unterminated last line of the same size */
    stage_send(client, line);
    (void)shutdown(client, SHUT_WR);
    (void)close(client);
}
END_TEST

static int64_t bad_frame(struct prefork_connection *connection, const void *data, size_t length, size_t capacity,
                         int final, void *context)
{
    (void)connection;
    (void)data;
    (void)capacity;
    (void) final;
    return *(const int *)context == 1 ? (int64_t)length + 1 : *(const int *)context;
}

START_TEST(a_frame_that_lies_fails_the_connection)
{
    const int answers[] = {1, -EBADMSG, 0};
    const struct prefork_protocol given = {
        .size = sizeof(given), .message = echo_inline, .frame = bad_frame, .context = (void *)(uintptr_t)&answers[_i]};
    const struct pfk_protocol *protocol = stage_protocol(&given);
    int client = stage_connect(&stage, protocol);
    static char bytes[4096];

    while (stage_last(&stage)->phase == PFK_CONNECTION_OPEN) { /* a frame that never has enough ends, too */
        (void)send(client, bytes, sizeof(bytes), MSG_NOSIGNAL);
        stage_turn(&stage);
    }
    stage_expect_end(&stage, client);
    (void)close(client);
}
END_TEST

static int refuse_without_cause(struct prefork_connection *connection, const void *message, size_t length,
                                void *context)
{
    (void)connection;
    (void)message;
    (void)length;
    (void)context;
    return -EAGAIN;
}

START_TEST(a_message_that_is_refused_without_a_submit_does_not_hang)
{
    const struct pfk_protocol *protocol = lines_protocol(refuse_without_cause, PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);

    stage_send(client, "a\n");
    stage_expect_end(&stage, client);
    (void)close(client);
}
END_TEST

START_TEST(submit_says_what_is_wrong)
{
    const struct pfk_protocol *protocol = lines_protocol(echo_inline, PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    char big[65] = "";

    ck_assert_int_eq(prefork_connection_submit(stage_last(&stage), 1, "x", 1), -ENOENT);
    ck_assert_int_eq(prefork_connection_submit(stage_last(&stage), 0, big, sizeof(big)), -EMSGSIZE);
    (void)close(client);
}
END_TEST

/* -- Ends ------------------------------------------------------------------- */

START_TEST(a_half_closed_client_gets_all_answers)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = _i == 0 ? stage_connect(&stage, protocol) : stage_connect_tcp(&stage, protocol);

    stage_send(client, "a\nb\nunterminated");
    (void)shutdown(client, SHUT_WR);
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 3);
    stage_expect_nothing(&stage, client);
    ck_assert_uint_eq(stage_work(&stage), 3);
    stage_expect(&stage, client, "a\nb\nunterminated");
    stage_expect_end(&stage, client);
    ck_assert_uint_eq(stage.loop.n_connections, 0);
    (void)close(client);
}
END_TEST

START_TEST(a_half_closed_client_gets_more_answers_than_may_be_in_flight)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    char lines[401];

    for (int i = 0; i < 200; i++)
        memcpy(lines + 2 * i, "x\n", 3);
    stage_send(client, lines);
    (void)shutdown(client, SHUT_WR);
    for (int i = 0; i < 100; i++) {
        stage_turn(&stage);
        (void)stage_work(&stage);
    }
    stage_expect(&stage, client, lines);
    stage_expect_end(&stage, client);
    (void)close(client);
}
END_TEST

static void reset(int fd)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    (void)close(fd);
}

START_TEST(a_reset_detaches_what_is_in_flight)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect_tcp(&stage, protocol);
    int workers[STAGE_WORKERS];

    stage_send(client, "a\nb\nc\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 3);
    ck_assert_int_eq(claim_all(workers, 'a'), 3);
    stage_complete(&stage, workers[1], 0);
    if (_i == 1)
        stage_turn(&stage);
    reset(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    ck_assert_int_eq(count_closed, 1);
    stage_complete(&stage, workers[0], 0);
    stage_complete(&stage, workers[2], -EIO);
    for (int i = 0; i < 3; i++)
        stage_turn(&stage);
}
END_TEST

/* The client's descriptor number and the entries are used again at once: the
 * old job's result must not reach the new client. */
START_TEST(results_of_the_gone_reach_nobody)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);

    for (int i = 0; i < 2000; i++) {
        int gone = stage_connect_tcp(&stage, protocol);
        int client, workers[STAGE_WORKERS];

        stage_send(gone, "a\n");
        STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
        ck_assert_int_eq(claim_all(workers, 'a'), 1);
        reset(gone);
        STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
        client = stage_connect_tcp(&stage, protocol);
        stage_send(client, "z\n");
        STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
        stage_complete(&stage, workers[0], 0);
        stage_turn(&stage);
        (void)stage_work(&stage);
        stage_expect(&stage, client, "z\n");
        reset(client);
        STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    }
}
END_TEST

static int close_at_q(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    int rc;

    if (*(const char *)message != 'q')
        return half_inline(connection, message, length, context);
    rc = prefork_connection_write(connection, "bye\n", 4);
    prefork_connection_close(connection);
    ck_assert_int_eq(prefork_connection_write(connection, "no\n", 3), -EPIPE);
    return rc;
}

START_TEST(close_flushes_what_is_in_flight)
{
    const struct pfk_protocol *protocol = lines_protocol(close_at_q, PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);

    stage_send(client, "a\nA\nq\nb\n");
    stage_turn(&stage);
    ck_assert_uint_eq(stage_work(&stage), 1);
    stage_expect(&stage, client, "a\nA\nbye\n");
    stage_expect_end(&stage, client);
    ck_assert_uint_eq(stage.loop.n_connections, 1); /* it lingers */
    (void)close(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}
END_TEST

START_TEST(a_peer_that_never_ends_is_left_after_a_while)
{
    const struct pfk_protocol *protocol = lines_protocol(close_at_q, PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);

    stage_send(client, "q\n");
    stage_expect(&stage, client, "bye\n");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    (void)close(client);
}
END_TEST

START_TEST(a_drain_finishes_and_closes)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int idle = stage_connect(&stage, protocol);
    int busy = stage_connect(&stage, protocol);

    stage_send(busy, "a\nb\npart");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 2);
    pfk_loop_drain(&stage.loop);
    stage_expect_end(&stage, idle);
    stage_expect_nothing(&stage, busy);
    ck_assert_uint_eq(stage_work(&stage), 2);
    stage_expect(&stage, busy, "a\nb\n");
    stage_expect_end(&stage, busy);
    (void)close(idle);
    (void)close(busy);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}
END_TEST

START_TEST(ending_the_loop_ends_the_connections)
{
    const struct pfk_protocol *protocol = job_lines(PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);

    stage_send(client, "a\nb\npart");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 2);
    pfk_loop_close(&stage.loop);
    ck_assert_int_eq(count_closed, 1);
    (void)close(client);
}
END_TEST

static void write_later(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct prefork_connection *connection = timer->data;

    (void)loop;
    (void)events;
    ck_assert_ptr_eq(prefork_connection_loop(connection), loop);
    ck_assert_int_eq(prefork_connection_write(connection, "tick\n", 5), 0);
    prefork_connection_close(connection);
}

START_TEST(a_timer_of_the_protocols_own_may_write_and_close)
{
    const struct pfk_protocol *protocol = lines_protocol(echo_inline, PREFORK_ORDER_ORDERED);
    int client = stage_connect(&stage, protocol);
    ev_timer timer;

    ev_timer_init(&timer, write_later, 0.001, 0.);
    timer.data = stage_last(&stage);
    ev_timer_start(prefork_connection_loop(stage_last(&stage)), &timer);
    stage_expect(&stage, client, "tick\n");
    stage_expect_end(&stage, client);
    (void)close(client);
}
END_TEST

static Suite *connection_suite(void)
{
    Suite *suite = suite_create("connection");
    TCase *plain = tcase_create("plain");
    TCase *room = tcase_create("room");

    tcase_set_timeout(plain, 30);
    tcase_add_checked_fixture(plain, open_stage, close_stage);
    tcase_add_test(plain, inline_echo_of_lines_that_dribble_in);
    tcase_add_test(plain, an_idle_connection_is_small);
    tcase_add_loop_test(plain, a_stream_is_exact_with_the_least_buffers, 0, sizeof(streams) / sizeof(streams[0]));
    tcase_add_test(plain, many_small_messages_yield_to_others);
    tcase_add_test(plain, high_water_stops_reading);
    tcase_add_test(plain, ordered_replies_come_in_the_order_of_requests);
    tcase_add_test(plain, unordered_replies_come_as_they_are_ready);
    tcase_add_test(plain, serial_jobs_run_one_by_one);
    tcase_add_test(plain, inline_answers_keep_their_place_among_jobs);
    tcase_add_test(plain, as_many_jobs_as_allowed_are_in_flight);
    tcase_add_test(plain, a_slot_does_not_wait_for_the_peer);
    tcase_add_test(plain, a_failed_job_closes_by_default_after_earlier_replies);
    tcase_add_test(plain, what_failed_writes_takes_the_place_of_the_reply);
    tcase_add_test(plain, a_line_too_long_is_told_after_earlier_replies);
    tcase_add_test(plain, a_line_of_just_the_request_size_is_one);
    tcase_add_loop_test(plain, a_frame_that_lies_fails_the_connection, 0, 3);
    tcase_add_test(plain, a_message_that_is_refused_without_a_submit_does_not_hang);
    tcase_add_test(plain, submit_says_what_is_wrong);
    tcase_add_loop_test(plain, a_half_closed_client_gets_all_answers, 0, 2);
    tcase_add_test(plain, a_half_closed_client_gets_more_answers_than_may_be_in_flight);
    tcase_add_loop_test(plain, a_reset_detaches_what_is_in_flight, 0, 2);
    tcase_add_test(plain, results_of_the_gone_reach_nobody);
    tcase_add_test(plain, close_flushes_what_is_in_flight);
    tcase_add_test(plain, a_peer_that_never_ends_is_left_after_a_while);
    tcase_add_test(plain, a_drain_finishes_and_closes);
    tcase_add_test(plain, ending_the_loop_ends_the_connections);
    tcase_add_test(plain, a_timer_of_the_protocols_own_may_write_and_close);
    suite_add_tcase(suite, plain);
    tcase_set_timeout(room, 30);
    tcase_add_checked_fixture(room, open_small_stage, close_stage);
    tcase_add_test(room, starved_connections_are_served_in_order);
    tcase_add_test(room, nobody_overtakes_the_starved);
    tcase_add_test(room, a_full_table_delays_but_loses_nothing);
    tcase_add_test(room, room_freed_by_another_lane_wakes_the_starved);
    suite_add_tcase(suite, room);
    return suite;
}

PFK_UNIT_MAIN(connection_suite)
