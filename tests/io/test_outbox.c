/* SPDX-License-Identifier: BSD-2-Clause */
/* What leaves a connection in one turn: bytes that lie where they were read, copies, files and replies, in their
 * order, whatever the kernel takes of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

#include "io/outbox.h"

static struct stage stage;
static int fds_before;
static struct prefork_connection *other; /* to whom others write */

/* Linked with --wrap: the kernel takes so much of the next call, and then whatever it likes. */
static size_t kernel_takes = SIZE_MAX;
static int kernel_says = EAGAIN; /* when that is nothing */
static unsigned n_sent;
static int sent_flags;
static size_t file_bytes; /* not 0: files are sent to nowhere, as fast as can be, and counted here */
static bool files_wait;

ssize_t __real_send(int fd, const void *data, size_t length, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_sendfile(int to, int from, off_t *offset, size_t length);
ssize_t __wrap_send(int fd, const void *data, size_t length, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendfile(int to, int from, off_t *offset, size_t length);

static ssize_t take_some(int fd, const void *data, size_t length, int flags)
{
    const size_t taken = length < kernel_takes ? length : kernel_takes;

    kernel_takes = SIZE_MAX;
    n_sent++;
    sent_flags = flags;
    if (taken > 0)
        return __real_send(fd, data, taken, flags);
    errno = kernel_says;
    kernel_says = EAGAIN;
    return -1;
}

/* The test's own clients send with it, too. */
ssize_t __wrap_send(int fd, const void *data, size_t length, int flags)
{
    return (flags & MSG_DONTWAIT) == 0 ? __real_send(fd, data, length, flags) : take_some(fd, data, length, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    static unsigned char all[1 << 20];
    size_t length = 0;

    for (size_t i = 0; i < message->msg_iovlen; i++) {
        memcpy(all + length, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
        length += message->msg_iov[i].iov_len;
    }
    return take_some(fd, all, length, flags);
}

ssize_t __wrap_sendfile(int to, int from, off_t *offset, size_t length)
{
    if (files_wait) {
        errno = EAGAIN;
        return -1;
    }
    if (file_bytes == 0)
        return __real_sendfile(to, from, offset, length);
    file_bytes += length;
    *offset += (off_t)length;
    return (ssize_t)length;
}

static void open_stage(void)
{
    fds_before = pfk_test_fds_open();
    stage_open(&stage, 64, 64, 64);
}

static void close_stage(void)
{
    stage_close(&stage);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static int connect_with(prefork_message_fn message)
{
    struct prefork_protocol given = *prefork_protocol_lines(NULL);

    given.message = message;
    return stage_connect(&stage, stage_protocol(&given));
}

static void write_some(struct prefork_connection *connection, const void *data, size_t length)
{
    ck_assert_int_eq(prefork_connection_write(connection, data, length), 0);
}

static int quote(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    write_some(connection, "> ", 2);
    write_some(connection, message, length);
    return 0;
}

/* -- The kernel takes a part -------------------------------------------------- */

/* Wherever it stops, within a piece or between two; the rest was copied before its memory was read into again. */
START_TEST(what_the_kernel_does_not_take_follows)
{
    static const char expected[] = "> one\n> two\n> three\n";
    const int client = connect_with(quote);

    for (size_t taken = 0; taken < sizeof(expected); taken++) {
        stage_send(client, "one\ntwo\nthree\nfo");
        kernel_takes = taken;
        STAGE_UNTIL(&stage, kernel_takes == SIZE_MAX);
        memset(stage.loop.scratch, '!', 64);
        memset(stage.loop.cork.room, '!', 64);
        stage_expect(&stage, client, expected);
        stage_send(client, "ur\n");
        stage_expect(&stage, client, "> four\n");
        ck_assert_ptr_null(stage_last(&stage)->outbox);
    }
    (void)close(client);
}
END_TEST

/* Its socket may be writable all the time: to wait for that would be to spin. */
START_TEST(a_kernel_without_memory_ends_the_connection)
{
    const int client = connect_with(quote);

    stage_send(client, "one\n");
    kernel_takes = 0;
    kernel_says = _i == 0 ? ENOBUFS : ENOMEM;
    stage_expect_end(&stage, client);
    ck_assert_uint_eq(n_sent, 1);
    (void)close(client);
}
END_TEST

/* More than the cork holds, and the kernel takes a part of what it holds, or of the rest. */
static int answer_at_length(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    static char text[PFK_CORK_COPIED_BYTES];

    (void)context;
    write_some(connection, message, length);
    write_some(connection, memset(text, 'a', 8000), 8000);
    write_some(connection, memset(text, 'b', 8000), 8000);
    write_some(connection, memset(text, 'c', 8000), 8000);
    write_some(connection, memset(text, 'd', 8000), 8000);
    return 0;
}

START_TEST(what_the_cork_does_not_hold_keeps_the_order)
{
    static const size_t takes[] = {0, 2, 4, 5, 8003, 8004, 16004, 16005, 20000, 24004, SIZE_MAX};
    const int client = connect_with(answer_at_length);
    char line[8001];

    stage_send(client, "one\n");
    kernel_takes = takes[_i];
    stage_expect(&stage, client, "one\n");
    for (char letter = 'a'; letter < 'e'; letter++) {
        memset(line, letter, 8000);
        line[8000] = '\0';
        stage_expect(&stage, client, line);
    }
    (void)close(client);
}
END_TEST

/* -- Files --------------------------------------------------------------------- */

static int file_of(const char *text)
{
    const int fd = memfd_create("test_outbox", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static int answer_with_a_file(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    write_some(connection, message, length);
    write_some(connection, "[", 1);
    ck_assert_int_eq(prefork_connection_send_file(connection, file_of("a file"), 2, 4), 0);
    write_some(connection, "]\n", 2);
    return 0;
}

START_TEST(a_file_keeps_its_place)
{
    static const char expected[] = "one\n[file]\ntwo\n[file]\n";
    const int client = connect_with(answer_with_a_file);

    for (size_t taken = 0; taken < 8; taken++) {
        stage_send(client, "one\ntwo\n");
        kernel_takes = taken;
        stage_expect(&stage, client, expected);
        STAGE_UNTIL(&stage, stage_last(&stage)->outbox == NULL);
    }
    (void)close(client);
}
END_TEST

/* One segment carries both, if they fit. */
START_TEST(what_is_before_a_file_says_that_more_follows)
{
    const int client = connect_with(answer_with_a_file);

    files_wait = true;
    stage_send(client, "one\n");
    stage_expect(&stage, client, "one\n[");
    ck_assert(sent_flags & MSG_MORE);
    files_wait = false;
    stage_expect(&stage, client, "file]\n");
    ck_assert(!(sent_flags & MSG_MORE));
    (void)close(client);
}
END_TEST

static int answer_by_file_and_job(struct prefork_connection *connection, const void *message, size_t length,
                                  void *context)
{
    const int rc = length > 4 ? 0 : prefork_connection_send_file(connection, file_of("file\n"), 0, 5);

    (void)context;
    return rc != 0 ? rc : prefork_connection_submit(connection, 0, message, length);
}

static uint64_t free_slots(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    ck_assert_int_eq(prefork_table_statistics(stage.table, &statistics), 0);
    return statistics.free_slots;
}

/* D-21: behind a file that waits for its peer, replies leave their slots. */
START_TEST(a_file_that_waits_holds_no_slot)
{
    const int client = connect_with(answer_by_file_and_job);

    files_wait = true;
    stage_send(client, "one\nthree\nfive\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 3);
    ck_assert_uint_eq(stage_work(&stage), 3);
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 0);
    ck_assert_uint_eq(free_slots(), 64);
    stage_expect_nothing(&stage, client);
    files_wait = false;
    stage_expect(&stage, client, "file\none\nthree\nfive\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->outbox == NULL);
    (void)close(client);
}
END_TEST

static int answer_with_a_long_file(struct prefork_connection *connection, const void *message, size_t length,
                                   void *context)
{
    const int fd = file_of("");

    (void)message;
    (void)length;
    (void)context;
    ck_assert_int_eq(ftruncate(fd, INT32_MAX), 0);
    ck_assert_int_eq(prefork_connection_send_file(connection, fd, 0, INT32_MAX), 0);
    return 0;
}

/* A peer that takes a file as fast as it is sent leaves others their turn. */
START_TEST(a_file_is_sent_a_piece_in_each_turn)
{
    const size_t piece = 1 << 20;
    const int client = connect_with(answer_with_a_long_file);

    stage_send(client, "file\n");
    file_bytes = 1;
    STAGE_UNTIL(&stage, file_bytes > 1);
    for (int i = 0; i < 20; i++) {
        file_bytes = 1;
        stage_turn(&stage);
        ck_assert_uint_le(file_bytes, 1 + 2 * piece); /* its socket's turn, and one that it asked for */
        ck_assert_uint_ge(file_bytes, 1 + piece);
    }
    (void)close(client);
}
END_TEST

/* -- Other connections ----------------------------------------------------------- */

static int tell_both(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    write_some(connection, message, length);
    write_some(other, message, length);
    write_some(connection, "told\n", 5);
    return 0;
}

/* What is written to another connection is not in the turn's cork, nor is the cork sent to it. */
START_TEST(a_turn_may_write_to_others)
{
    const int listener = connect_with(quote);
    int speaker;

    other = stage_last(&stage);
    speaker = connect_with(tell_both);
    for (size_t taken = 0; taken < 8; taken++) {
        stage_send(speaker, "one\ntwo\n");
        kernel_takes = taken; /* of the first one to the other */
        stage_expect(&stage, speaker, "one\ntold\ntwo\ntold\n");
        stage_expect(&stage, listener, "one\ntwo\n");
        STAGE_UNTIL(&stage, other->outbox == NULL);
    }
    (void)close(speaker);
    (void)close(listener);
}
END_TEST

/* -- Ends ------------------------------------------------------------------------- */

static int answer_and_close(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    write_some(connection, message, length);
    prefork_connection_close(connection);
    ck_assert_int_eq(prefork_connection_write(connection, "x", 1), -EPIPE);
    return 0;
}

START_TEST(what_was_written_before_the_close_is_sent)
{
    const int client = connect_with(answer_and_close);

    stage_send(client, "one\ntwo\n");
    kernel_takes = (size_t)_i;
    stage_expect(&stage, client, "one\n");
    stage_expect_end(&stage, client);
    (void)close(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}
END_TEST

static int refuse(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    write_some(connection, message, length);
    return length == 4 ? 0 : -EPROTO;
}

/* And what was written for messages before one that fails. */
START_TEST(what_was_written_before_a_failure_is_sent)
{
    const int client = connect_with(refuse);

    stage_send(client, "one\nthree\ntwo\n");
    stage_expect(&stage, client, "one\nthree\n");
    stage_expect_end(&stage, client);
    (void)close(client);
}
END_TEST

/* More than a turn may take waits in private memory, behind what was sent of it. */
START_TEST(what_a_turn_leaves_is_answered_in_the_next_one)
{
    enum { LINES = 3 * PFK_CONNECTION_TURN_MESSAGES + 7 };
    const int client = connect_with(quote);
    char text[4 * LINES + 1] = "", expected[6 * LINES + 1] = "";

    for (int i = 0; i < LINES; i++) {
        char line[16];

        (void)snprintf(line, sizeof(line), "> %03d\n", i);
        memcpy(text + 4 * i, line + 2, 4);
        memcpy(expected + 6 * i, line, 6);
    }
    stage_send(client, text);
    stage_expect(&stage, client, expected);
    ck_assert_uint_le(n_sent, LINES / PFK_CONNECTION_TURN_MESSAGES + 1);
    (void)close(client);
}
END_TEST

static Suite *outbox_suite(void)
{
    Suite *suite = suite_create("outbox");
    TCase *cases = tcase_create("outbox");

    tcase_add_checked_fixture(cases, open_stage, close_stage);
    tcase_set_timeout(cases, 30);
    tcase_add_test(cases, what_the_kernel_does_not_take_follows);
    tcase_add_loop_test(cases, a_kernel_without_memory_ends_the_connection, 0, 2);
    tcase_add_loop_test(cases, what_the_cork_does_not_hold_keeps_the_order, 0, 11);
    tcase_add_test(cases, a_file_keeps_its_place);
    tcase_add_test(cases, what_is_before_a_file_says_that_more_follows);
    tcase_add_test(cases, a_file_that_waits_holds_no_slot);
    tcase_add_test(cases, a_file_is_sent_a_piece_in_each_turn);
    tcase_add_test(cases, a_turn_may_write_to_others);
    tcase_add_loop_test(cases, what_was_written_before_the_close_is_sent, 0, 5);
    tcase_add_test(cases, what_was_written_before_a_failure_is_sent);
    tcase_add_test(cases, what_a_turn_leaves_is_answered_in_the_next_one);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(outbox_suite)
