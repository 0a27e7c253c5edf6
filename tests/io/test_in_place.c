/* SPDX-License-Identifier: BSD-2-Clause */
/* A long message that comes alone is read where its job will lie, and its reply
 * is sent from where it lies. What was expected wrongly is no worse than before. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

#define LONG_BYTES 4096

static struct stage stage;
static int fds_before;
static const void *read_to, *sent_from;
static unsigned n_sent;

/* Linked with --wrap: where the last bytes went, and came from. */
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __real_send(int fd, const void *data, size_t length, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t length, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    read_to = message->msg_iov[0].iov_base;
    return __real_recvmsg(fd, message, flags);
}

ssize_t __wrap_send(int fd, const void *data, size_t length, int flags)
{
    sent_from = data;
    n_sent++;
    return __real_send(fd, data, length, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    sent_from = message->msg_iov[0].iov_base;
    n_sent++;
    return __real_sendmsg(fd, message, flags);
}

static void open_with(uint32_t slots)
{
    fds_before = pfk_test_fds_open();
    stage_open(&stage, slots, LONG_BYTES, LONG_BYTES);
}

static void open_stage(void)
{
    open_with(64);
}

static void close_stage(void)
{
    stage_close(&stage);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

/* A line of `length` bytes, its newline included. */
static char *line_of(size_t length, char letter)
{
    static char line[LONG_BYTES + 1];

    memset(line, letter, length - 1);
    line[length - 1] = '\n';
    line[length] = '\0';
    return line;
}

/* Answers the next job, and says where its request lay. */
static const void *answer(size_t wanted_length)
{
    size_t length;
    int worker = stage_claim(&stage);
    const void *request;

    for (const uint64_t deadline_ns = prefork_deadline_after_ms(10000); worker < 0; worker = stage_claim(&stage)) {
        ck_assert(prefork_clock_now_ns() < deadline_ns);
        stage_turn(&stage);
    }
    request = stage_request(&stage, worker, &length);
    ck_assert_uint_eq(length, wanted_length);
    stage_complete(&stage, worker, 0);
    return request;
}

/* Sends a text that is one message, and sees its echo. Returns where it lay. */
static const void *echo(int client, const char *text)
{
    const void *request;

    read_to = NULL;
    stage_send(client, text);
    request = answer(strlen(text));
    sent_from = NULL;
    stage_expect(&stage, client, text);
    return request;
}

static const struct pfk_protocol *protocol_of(const struct prefork_protocol *given)
{
    return stage_protocol(given);
}

static void flows_in_place(const struct prefork_protocol *given)
{
    const int client = stage_connect(&stage, protocol_of(given));

    ck_assert_ptr_ne(echo(client, line_of(LONG_BYTES, 'a')), read_to); /* nothing was expected yet */
    for (char letter = 'b'; letter < 'z'; letter++) {
        ck_assert_ptr_eq(echo(client, line_of(LONG_BYTES, letter)), read_to);
        ck_assert_ptr_nonnull(read_to);
        ck_assert_ptr_nonnull(sent_from);
        ck_assert(sent_from != stage.loop.cork.room && sent_from != stage.loop.scratch);
        ck_assert_ptr_null(stage_last(&stage)->input);
    }
    (void)close(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}

START_TEST(raw_flows_in_place)
{
    flows_in_place(prefork_protocol_raw("handler"));
}
END_TEST

START_TEST(lines_flow_in_place)
{
    flows_in_place(prefork_protocol_lines("handler"));
}
END_TEST

START_TEST(short_messages_are_copied)
{
    const int client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));

    for (char letter = 'a'; letter < 'f'; letter++) {
        (void)echo(client, line_of(64, letter));
        ck_assert_ptr_null(read_to);
    }
    (void)close(client);
}
END_TEST

/* Who has not said that it bears bytes which change sees none. */
START_TEST(a_frame_of_others_sees_private_memory)
{
    struct prefork_protocol given = *prefork_protocol_lines("handler");
    int client;

    given.frames_in_place = 0;
    client = stage_connect(&stage, protocol_of(&given));
    for (char letter = 'a'; letter < 'f'; letter++) {
        (void)echo(client, line_of(LONG_BYTES, letter));
        ck_assert_ptr_null(read_to);
    }
    (void)close(client);
}
END_TEST

START_TEST(the_flag_is_0_or_1)
{
    struct prefork_protocol given = *prefork_protocol_lines("handler");
    struct pfk_protocol protocol;

    given.frames_in_place = 2;
    ck_assert_int_eq(pfk_protocol_complete(&given, 0, &protocol), -EINVAL);
}
END_TEST

static uint64_t free_slots(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    ck_assert_int_eq(prefork_table_statistics(stage.table, &statistics), 0);
    return statistics.free_slots;
}

/* Half a message holds no slot, and the other half is joined to it. */
START_TEST(half_a_message_gives_the_slot_back)
{
    const int client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));
    const char *text;

    (void)echo(client, line_of(LONG_BYTES, 'a'));
    text = line_of(LONG_BYTES, 'b');
    ck_assert_int_eq(send(client, text, 1500, 0), 1500);
    STAGE_UNTIL(&stage, stage_last(&stage)->input != NULL);
    ck_assert_ptr_nonnull(read_to);
    ck_assert_uint_eq(free_slots(), 64);
    stage_send(client, text + 1500);
    (void)answer(LONG_BYTES);
    stage_expect(&stage, client, text);
    ck_assert_ptr_eq(echo(client, line_of(LONG_BYTES, 'c')), read_to); /* and it is expected again */
    (void)close(client);
}
END_TEST

/* Several messages where one was expected: each has a slot of its own. */
START_TEST(several_messages_are_cut)
{
    const int client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));

    (void)echo(client, line_of(LONG_BYTES, 'a'));
    stage_send(client, "one\ntwo\nand thr");
    ck_assert_ptr_ne(answer(4), read_to); /* the others lie there yet */
    ck_assert_ptr_ne(answer(4), read_to);
    stage_expect(&stage, client, "one\ntwo\n");
    stage_send(client, "ee\n");
    (void)answer(10);
    stage_expect(&stage, client, "and three\n");
    (void)close(client);
}
END_TEST

/* More than the slot holds. */
START_TEST(what_the_slot_does_not_hold_follows)
{
    const int client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));
    static char text[3 * LONG_BYTES + 1];

    (void)echo(client, line_of(LONG_BYTES, 'a'));
    memcpy(text, line_of(3000, 'b'), 3000);
    memcpy(text + 3000, line_of(3000, 'c'), 3000);
    memcpy(text + 6000, line_of(3000, 'd'), 3001);
    stage_send(client, text);
    for (int i = 0; i < 3; i++)
        (void)answer(3000);
    stage_expect(&stage, client, text);
    ck_assert_ptr_nonnull(read_to);
    (void)echo(client, line_of(LONG_BYTES, 'e'));
    ck_assert_ptr_null(read_to);
    (void)close(client);
}
END_TEST

START_TEST(the_end_after_a_long_message)
{
    const int client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));

    (void)echo(client, line_of(LONG_BYTES, 'a'));
    ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
    stage_expect_end(&stage, client);
    ck_assert_uint_eq(free_slots(), 64);
    (void)close(client);
}
END_TEST

/* The one slot is another's: the message is read all the same, and waits. */
START_TEST(no_slot_is_left)
{
    int client, other, worker;
    char text[LONG_BYTES + 1];

    close_stage();
    open_with(2);
    client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));
    other = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));
    (void)echo(client, line_of(LONG_BYTES, 'a'));
    stage_send(other, "x\ny\n");
    while ((worker = stage_claim(&stage)) < 0)
        stage_turn(&stage);
    strcpy(text, line_of(LONG_BYTES, 'b'));
    read_to = NULL;
    stage_send(client, text);
    STAGE_UNTIL(&stage, !pfk_list_empty(&stage.loop.starved));
    ck_assert_ptr_null(read_to);
    stage_complete(&stage, worker, 0);
    (void)answer(2);
    stage_expect(&stage, other, "x\ny\n");
    (void)answer(LONG_BYTES);
    stage_expect(&stage, client, text);
    (void)close(client);
    (void)close(other);
}
END_TEST

/* The last one is reserved to read into, and the messages that come need it: one at a time. */
START_TEST(the_last_slot_is_not_kept_from_its_own_messages)
{
    uint64_t held;
    int client;

    close_stage();
    open_with(2);
    client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));
    (void)echo(client, line_of(LONG_BYTES, 'a'));
    ck_assert_int_eq(prefork_lane_reserve(stage.workers[0], PREFORK_NO_WAIT, &held), 0);
    read_to = NULL;
    stage_send(client, "one\ntwo\n");
    (void)answer(4);
    ck_assert_ptr_nonnull(read_to);
    stage_expect(&stage, client, "one\n");
    (void)answer(4);
    stage_expect(&stage, client, "two\n");
    ck_assert_int_eq(prefork_lane_abandon(stage.workers[0], held), 0);
    (void)close(client);
}
END_TEST

/* Room has come, but nobody has told the loop yet. */
START_TEST(who_waits_for_a_slot_has_the_first_right_to_it)
{
    uint64_t held[2];
    int client;

    close_stage();
    open_with(2);
    client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(prefork_lane_reserve(stage.workers[0], PREFORK_NO_WAIT, &held[i]), 0);
    stage_send(client, "a\n");
    STAGE_UNTIL(&stage, !pfk_list_empty(&stage.loop.starved));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(prefork_lane_abandon(stage.workers[0], held[i]), 0);
    ck_assert(!pfk_loop_take_slot(&stage.loop));
    (void)answer(2);
    stage_expect(&stage, client, "a\n");
    ck_assert(pfk_loop_take_slot(&stage.loop));
    pfk_loop_drop_slot(&stage.loop);
    (void)close(client);
}
END_TEST

/* The socket was said to be readable, and is not. */
START_TEST(nothing_to_read_gives_the_slot_back)
{
    const int client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));

    (void)echo(client, line_of(LONG_BYTES, 'a'));
    read_to = NULL;
    ev_feed_event(stage.loop.ev, &stage_last(&stage)->watcher, EV_READ);
    STAGE_UNTIL(&stage, read_to != NULL);
    ck_assert_uint_eq(free_slots(), 64);
    ck_assert_uint_eq(stage.loop.n_connections, 1);
    ck_assert_ptr_eq(echo(client, line_of(LONG_BYTES, 'b')), read_to);
    (void)close(client);
}
END_TEST

START_TEST(a_reset_gives_the_slot_back)
{
    const struct linger at_once = {.l_onoff = 1};
    const int client = stage_connect_tcp(&stage, protocol_of(prefork_protocol_lines("handler")));

    (void)echo(client, line_of(LONG_BYTES, 'a'));
    read_to = NULL;
    ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    (void)close(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    ck_assert_ptr_nonnull(read_to);
    ck_assert_uint_eq(free_slots(), 64);
}
END_TEST

/* What is no message fails where it lies. */
START_TEST(a_failure_gives_the_slot_back)
{
    const int client = stage_connect(&stage, protocol_of(prefork_protocol_lines("handler")));
    char text[LONG_BYTES + 1];

    (void)echo(client, line_of(LONG_BYTES, 'a'));
    read_to = NULL;
    memset(text, 'b', LONG_BYTES);
    text[LONG_BYTES] = '\0';
    stage_send(client, text);
    stage_expect(&stage, client, "error: the line is longer than 4096 bytes\n");
    ck_assert_ptr_nonnull(read_to);
    ck_assert_uint_eq(free_slots(), 64);
    stage_expect_end(&stage, client);
    (void)close(client);
}
END_TEST

static int64_t frame_that_answers(struct prefork_connection *connection, const void *data, size_t length,
                                  size_t capacity, int final, void *context)
{
    (void)capacity;
    (void) final;
    (void)context;
    return prefork_connection_write(connection, data, length) == 0 ? (int64_t)length : -EPIPE;
}

/* The slot is a worker's before the turn's end: what is written of it is copied at once. */
START_TEST(what_is_written_of_a_slot_is_copied)
{
    struct prefork_protocol given = *prefork_protocol_lines("handler");
    int client;

    given.frame = frame_that_answers;
    client = stage_connect(&stage, protocol_of(&given));
    for (char letter = 'a'; letter < 'd'; letter++) {
        read_to = NULL;
        stage_send(client, line_of(LONG_BYTES, letter));
        stage_expect(&stage, client, line_of(LONG_BYTES, letter));
        ck_assert(letter == 'a' || read_to != NULL);
        ck_assert_ptr_eq(sent_from, letter == 'a' ? (void *)stage.loop.scratch : (void *)stage.loop.cork.room);
        (void)answer(LONG_BYTES);
        stage_expect(&stage, client, line_of(LONG_BYTES, letter));
    }
    (void)close(client);
}
END_TEST

/* -- Answered on the I/O thread ---------------------------------------------- */

static int write_back(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

/* Several messages that came together go out as they lie, by one call. */
START_TEST(an_echo_is_sent_from_where_it_was_read)
{
    struct prefork_protocol given = *prefork_protocol_lines(NULL);
    int client;

    given.message = write_back;
    client = stage_connect(&stage, protocol_of(&given));
    stage_send(client, "one\ntwo\nthree\n");
    n_sent = 0;
    stage_expect(&stage, client, "one\ntwo\nthree\n");
    ck_assert_ptr_eq(sent_from, stage.loop.scratch);
    ck_assert_uint_eq(n_sent, 1);
    (void)close(client);
}
END_TEST

static int quote(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    const int rc = prefork_connection_write(connection, "> ", 2);

    (void)context;
    return rc != 0 ? rc : prefork_connection_write(connection, message, length);
}

/* However many bits they are written in. */
START_TEST(answers_in_many_bits_go_out_by_one_call)
{
    struct prefork_protocol given = *prefork_protocol_lines(NULL);
    char text[40 * 4 + 1] = "", expected[40 * 6 + 1] = "";
    int client;

    given.message = quote;
    client = stage_connect(&stage, protocol_of(&given));
    for (int i = 0; i < 40; i++) {
        char line[16];

        (void)snprintf(line, sizeof(line), "%03d\n", i);
        (void)strcat(text, line);
        (void)strcat(strcat(expected, "> "), line);
    }
    stage_send(client, text);
    n_sent = 0;
    stage_expect(&stage, client, expected);
    ck_assert_uint_eq(n_sent, 1);
    (void)close(client);
}
END_TEST

static Suite *in_place_suite(void)
{
    Suite *suite = suite_create("in_place");
    TCase *tcase = tcase_create("in_place");

    tcase_add_checked_fixture(tcase, open_stage, close_stage);
    tcase_add_test(tcase, raw_flows_in_place);
    tcase_add_test(tcase, lines_flow_in_place);
    tcase_add_test(tcase, short_messages_are_copied);
    tcase_add_test(tcase, a_frame_of_others_sees_private_memory);
    tcase_add_test(tcase, the_flag_is_0_or_1);
    tcase_add_test(tcase, half_a_message_gives_the_slot_back);
    tcase_add_test(tcase, several_messages_are_cut);
    tcase_add_test(tcase, what_the_slot_does_not_hold_follows);
    tcase_add_test(tcase, the_end_after_a_long_message);
    tcase_add_test(tcase, no_slot_is_left);
    tcase_add_test(tcase, the_last_slot_is_not_kept_from_its_own_messages);
    tcase_add_test(tcase, who_waits_for_a_slot_has_the_first_right_to_it);
    tcase_add_test(tcase, nothing_to_read_gives_the_slot_back);
    tcase_add_test(tcase, a_reset_gives_the_slot_back);
    tcase_add_test(tcase, a_failure_gives_the_slot_back);
    tcase_add_test(tcase, what_is_written_of_a_slot_is_copied);
    tcase_add_test(tcase, an_echo_is_sent_from_where_it_was_read);
    tcase_add_test(tcase, answers_in_many_bits_go_out_by_one_call);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(in_place_suite)
