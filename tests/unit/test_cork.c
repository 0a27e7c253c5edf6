/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/cork.h"

#include <string.h>

#include "../lib/unit.h"

static struct pfk_cork cork;
static unsigned char input[PFK_CORK_BYTES + 1];

static void open_cork(void)
{
    for (size_t i = 0; i < sizeof(input); i++)
        input[i] = (unsigned char)(i * 7 + i / 256);
    ck_assert_int_eq(pfk_cork_open(&cork), 0);
}

static void close_cork(void)
{
    pfk_cork_close(&cork);
    pfk_cork_close(&cork);
}

static void add(const void *data, size_t length)
{
    ck_assert(pfk_cork_add(&cork, data, length));
}

static void expect_pieces(size_t n)
{
    size_t length = 0;

    ck_assert_uint_eq(cork.n_pieces, n);
    for (size_t i = 0; i < n; i++)
        length += cork.pieces[i].iov_len;
    ck_assert_uint_eq(cork.length, length);
}

START_TEST(what_is_read_stays_where_it_lies)
{
    pfk_cork_begin_turn(&cork, input, 4096);
    for (size_t at = 0; at < 4096; at += 64)
        add(input + at, 64);
    expect_pieces(1);
    ck_assert_ptr_eq(cork.pieces[0].iov_base, input);
    ck_assert_uint_eq(cork.length, 4096);
    ck_assert_uint_eq(cork.copied, 0);
}
END_TEST

START_TEST(what_else_is_written_is_copied)
{
    char text[] = "copied";

    add(text, 6);
    memset(text, 'x', 6);
    add(text, 6);
    expect_pieces(1);
    ck_assert_mem_eq(cork.pieces[0].iov_base, "copiedxxxxxx", 12);
}
END_TEST

/* All of it must lie there: what lies behind may change. */
START_TEST(half_outside_is_copied)
{
    pfk_cork_begin_turn(&cork, input, 100);
    add(input + 50, 51);
    add(input + 100, 1);
    ck_assert_uint_eq(cork.copied, 52);
    add(input + 50, 50);
    add(input, 100);
    ck_assert_uint_eq(cork.copied, 52);
    expect_pieces(3);
}
END_TEST

START_TEST(the_order_is_kept)
{
    pfk_cork_begin_turn(&cork, input, 4096);
    add("head", 4);
    add(input, 10);
    add("tail", 4);
    expect_pieces(3);
    ck_assert_mem_eq(cork.pieces[0].iov_base, "head", 4);
    ck_assert_ptr_eq(cork.pieces[1].iov_base, input);
    ck_assert_mem_eq(cork.pieces[2].iov_base, "tail", 4);
}
END_TEST

static void expect_refusal(const void *data, size_t length)
{
    const struct pfk_cork before = cork;

    ck_assert(!pfk_cork_add(&cork, data, length));
    ck_assert_mem_eq(&cork, &before, sizeof(before));
}

START_TEST(it_has_an_end)
{
    pfk_cork_begin_turn(&cork, input, sizeof(input));
    expect_refusal(input, sizeof(input));
    add(input, sizeof(input) - 1);
    expect_refusal("x", 1);
}
END_TEST

/* Where pieces end, copies go on: who writes in bits does not make calls of them. */
START_TEST(the_last_piece_takes_everything)
{
    unsigned char expected[4096], got[4096];
    size_t length = 0, at = 0;

    pfk_cork_begin_turn(&cork, input, sizeof(input));
    for (size_t i = 0; i < 500; i++) {
        add("head", 4);
        memcpy(expected + length, "head", 4);
        add(input + 9 * i, 3);
        memcpy(expected + length + 4, input + 9 * i, 3);
        length += 7;
    }
    expect_pieces(PFK_CORK_PIECES - 1); /* begun by a copy, it is the last */
    ck_assert_ptr_eq(cork.pieces[PFK_CORK_PIECES - 3].iov_base, input + 9 * (PFK_CORK_PIECES / 2 - 2));
    ck_assert_uint_eq(cork.length, length);
    for (size_t i = 0; i < cork.n_pieces; at += cork.pieces[i++].iov_len)
        memcpy(got + at, cork.pieces[i].iov_base, cork.pieces[i].iov_len);
    ck_assert_mem_eq(got, expected, length);
    expect_refusal(input, PFK_CORK_COPIED_BYTES);
}
END_TEST

/* The last place is for copies, but what goes on where the last piece ended needs none. */
START_TEST(the_last_piece_is_kept_for_copies)
{
    pfk_cork_begin_turn(&cork, input, sizeof(input));
    for (size_t i = 0; i < PFK_CORK_PIECES - 1; i++)
        add(input + 2 * i, 1);
    add(input + 2 * (PFK_CORK_PIECES - 2) + 1, 20000);
    expect_pieces(PFK_CORK_PIECES - 1);
    ck_assert_uint_eq(cork.copied, 0);
    expect_refusal(input, PFK_CORK_COPIED_BYTES + 1);
    add(input, 1);
    ck_assert_uint_eq(cork.copied, 1);
    add("x", 1);
    expect_pieces(PFK_CORK_PIECES);
}
END_TEST

START_TEST(copies_have_an_end)
{
    add(input, PFK_CORK_COPIED_BYTES - 1);
    expect_refusal(input, 2);
    add(input, 1);
    expect_refusal(input, 1);
}
END_TEST

START_TEST(a_turn_forgets_the_one_before)
{
    pfk_cork_begin_turn(&cork, input, 100);
    add(input, 100);
    pfk_cork_end_turn(&cork);
    expect_pieces(0);
    add(input, 100);
    ck_assert_uint_eq(cork.copied, 100);
}
END_TEST

static Suite *cork_suite(void)
{
    Suite *suite = suite_create("cork");
    TCase *cases = tcase_create("cork");

    tcase_add_checked_fixture(cases, open_cork, close_cork);
    tcase_add_test(cases, what_is_read_stays_where_it_lies);
    tcase_add_test(cases, what_else_is_written_is_copied);
    tcase_add_test(cases, half_outside_is_copied);
    tcase_add_test(cases, the_order_is_kept);
    tcase_add_test(cases, it_has_an_end);
    tcase_add_test(cases, the_last_piece_takes_everything);
    tcase_add_test(cases, the_last_piece_is_kept_for_copies);
    tcase_add_test(cases, copies_have_an_end);
    tcase_add_test(cases, a_turn_forgets_the_one_before);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(cork_suite)
