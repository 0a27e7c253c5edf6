/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/protocol.h"

#include <errno.h>
#include <string.h>

#include "../lib/unit.h"

#include "io/connection.h"
#include "prefork/error.h"

static int take(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)connection;
    (void)message;
    (void)length;
    (void)context;
    return 0;
}

static int refuse(struct prefork_protocol given, int handler)
{
    struct pfk_protocol protocol;

    return pfk_protocol_complete(&given, handler, &protocol);
}

START_TEST(defaults_are_filled_in)
{
    struct pfk_protocol protocol;

    ck_assert_str_eq(prefork_protocol_raw("echo")->handler, "echo");
    ck_assert_int_eq(pfk_protocol_complete(prefork_protocol_raw("echo"), 3, &protocol), 0);
    ck_assert(protocol.face.frame != NULL);
    ck_assert_ptr_null(protocol.face.handler);
    ck_assert_uint_eq(protocol.face.max_in_flight, 16);
    ck_assert_uint_eq(protocol.handler, 3);
    ck_assert(protocol.has_handler);
}
END_TEST

START_TEST(serial_has_one_in_flight)
{
    struct prefork_protocol given = *prefork_protocol_lines("echo");
    struct pfk_protocol protocol;

    given.order = PREFORK_ORDER_SERIAL;
    given.max_in_flight = 7;
    ck_assert_int_eq(pfk_protocol_complete(&given, 0, &protocol), 0);
    ck_assert_uint_eq(protocol.face.max_in_flight, 1);
}
END_TEST

START_TEST(what_makes_no_sense_is_refused)
{
    const struct prefork_protocol good = {.size = sizeof(good), .message = take};
    struct prefork_protocol bad = good;
    struct pfk_protocol protocol;

    ck_assert_int_eq(refuse(good, -1), 0);
    ck_assert_int_eq(pfk_protocol_complete(NULL, 0, &protocol), -EINVAL);
    bad.size = 1;
    ck_assert_int_eq(refuse(bad, -1), -EINVAL);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "sizeof"));
    bad = good;
    bad.order = (enum prefork_order)3;
    ck_assert_int_eq(refuse(bad, -1), -EINVAL);
    bad = good;
    bad.max_in_flight = 1025;
    ck_assert_int_eq(refuse(bad, -1), -EINVAL);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "1024"));
    bad = good;
    bad.message = NULL;
    ck_assert_int_eq(refuse(bad, -1), -EINVAL);
    ck_assert_int_eq(refuse(bad, 0), 0);
}
END_TEST

static int64_t cut(const struct prefork_protocol *protocol, struct prefork_connection *connection, const char *data,
                   size_t capacity, int final)
{
    return protocol->frame(connection, data, strlen(data), capacity, final, NULL);
}

START_TEST(lines_are_cut_behind_their_newline)
{
    const struct prefork_protocol *lines = prefork_protocol_lines("echo");
    struct prefork_connection connection = {.scanned = 0};

    ck_assert_int_eq(cut(lines, &connection, "a\nb\n", 8, 0), 2);
    ck_assert_int_eq(cut(lines, &connection, "\n", 8, 0), 1);
    ck_assert_int_eq(cut(lines, &connection, "1234567\n", 8, 0), 8);
    ck_assert_int_eq(cut(lines, &connection, "12345678\n", 8, 0), -EMSGSIZE);
    ck_assert_int_eq(cut(lines, &connection, "12345678", 8, 0), -EMSGSIZE);
    ck_assert_int_eq(cut(lines, &connection, "12345678", 8, 1), 8);
    ck_assert_int_eq(cut(lines, &connection, "123456789", 8, 1), -EMSGSIZE);
    ck_assert_int_eq(cut(lines, &connection, "abc", 8, 1), 3);
    ck_assert_int_eq(cut(lines, &connection, "abc", 8, 0), 0);
    ck_assert_uint_eq(connection.scanned, 3);
    ck_assert_int_eq(cut(lines, &connection, "abcd\n", 8, 0), 5);
}
END_TEST

START_TEST(pieces_are_cut_at_the_capacity)
{
    struct pfk_protocol protocol;
    struct prefork_connection connection = {.scanned = 0};

    ck_assert_int_eq(pfk_protocol_complete(prefork_protocol_raw("echo"), 0, &protocol), 0);
    ck_assert_int_eq(cut(&protocol.face, &connection, "abc", 8, 0), 3);
    ck_assert_int_eq(cut(&protocol.face, &connection, "abcdefghij", 8, 0), 8);
}
END_TEST

static const struct {
    unsigned prefix_bytes, flags;
    const char *data;
    size_t length;
    int64_t size; /* at a capacity of 16 */
} lengths[] = {
    {1, 0, "\0", 1, 1},
    {1, 0, "\3abc", 4, 4},
    {1, 0, "\3abcd", 5, 4},
    {1, 0, "\3ab", 3, 0},
    {1, 0, "\xf", 1, 0},
    {1, 0, "\x10", 1, -EMSGSIZE},
    {1, PREFORK_LENGTH_INCLUSIVE, "\0", 1, -EPROTO},
    {1, PREFORK_LENGTH_INCLUSIVE, "\1", 1, 1},
    {1, PREFORK_LENGTH_INCLUSIVE, "\x10", 1, 0},
    {1, PREFORK_LENGTH_INCLUSIVE, "\x11", 1, -EMSGSIZE},
    {2, 0, "\0", 1, 0},
    {2, 0, "\0\2ab", 4, 4},
    {2, 0, "\2\0ab", 4, -EMSGSIZE},
    {2, PREFORK_LENGTH_LITTLE, "\2\0ab", 4, 4},
    {2, PREFORK_LENGTH_LITTLE | PREFORK_LENGTH_INCLUSIVE, "\4\0ab", 4, 4},
    {2, PREFORK_LENGTH_INCLUSIVE, "\0\1", 2, -EPROTO},
    {4, 0, "\0\0\0\1", 4, 0},
    {4, 0, "\0\0\0\1a", 5, 5},
    {4, PREFORK_LENGTH_LITTLE, "\1\0\0\0a", 5, 5},
    {4, 0, "\xff\xff\xff\xff", 4, -EMSGSIZE},
    {8, 0, "\0\0\0\0\0\0\0\10abcdefgh", 16, 16},
    {8, PREFORK_LENGTH_INCLUSIVE, "\0\0\0\0\0\0\0\11a", 9, 9},
    {8, PREFORK_LENGTH_LITTLE, "\1\0\0\0\0\0\0\0a", 9, 9},
    {8, 0, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, -EMSGSIZE},
    {8, PREFORK_LENGTH_INCLUSIVE, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, -EMSGSIZE},
};

START_TEST(a_number_tells_how_long_a_message_is)
{
    const struct prefork_protocol *const protocol =
        prefork_protocol_length("echo", lengths[_i].prefix_bytes, lengths[_i].flags);

    ck_assert_ptr_nonnull(protocol);
    ck_assert_str_eq(protocol->handler, "echo");
    for (int final = 0; final <= 1; final++)
        ck_assert_int_eq(protocol->frame(NULL, lengths[_i].data, lengths[_i].length, 16, final, NULL),
                         lengths[_i].size);
}
END_TEST

START_TEST(a_number_that_does_not_fit_a_request_is_told)
{
    ck_assert_int_eq(prefork_protocol_length("echo", 8, 0)->frame(NULL, "", 1, 7, 0, NULL), -EMSGSIZE);
}
END_TEST

START_TEST(other_numbers_are_none)
{
    ck_assert_ptr_null(prefork_protocol_length("echo", 0, 0));
    ck_assert_ptr_null(prefork_protocol_length("echo", 3, 0));
    ck_assert_ptr_null(prefork_protocol_length("echo", 16, 0));
    ck_assert_ptr_null(prefork_protocol_length("echo", 4, 4));
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "1, 2, 4 or 8 bytes"));
}
END_TEST

static Suite *protocol_suite(void)
{
    Suite *suite = suite_create("protocol");
    TCase *cases = tcase_create("protocol");

    tcase_add_test(cases, defaults_are_filled_in);
    tcase_add_test(cases, serial_has_one_in_flight);
    tcase_add_test(cases, what_makes_no_sense_is_refused);
    tcase_add_test(cases, lines_are_cut_behind_their_newline);
    tcase_add_test(cases, pieces_are_cut_at_the_capacity);
    tcase_add_loop_test(cases, a_number_tells_how_long_a_message_is, 0, (int)(sizeof(lengths) / sizeof(lengths[0])));
    tcase_add_test(cases, a_number_that_does_not_fit_a_request_is_told);
    tcase_add_test(cases, other_numbers_are_none);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(protocol_suite)
