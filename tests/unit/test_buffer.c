/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/buffer.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "../lib/unit.h"

START_TEST(nothing_is_null)
{
    struct pfk_buffer *buffer = NULL;

    ck_assert_uint_eq(pfk_buffer_length(buffer), 0);
    ck_assert_ptr_null(pfk_buffer_data(buffer));
    pfk_buffer_consume(&buffer, 0);
    ck_assert_int_eq(pfk_buffer_append(&buffer, "", 0), 0);
    ck_assert_ptr_null(buffer);
    pfk_buffer_free(&buffer);
}
END_TEST

START_TEST(the_last_byte_frees_it)
{
    struct pfk_buffer *buffer = NULL;

    ck_assert_int_eq(pfk_buffer_append(&buffer, "abc", 3), 0);
    pfk_buffer_consume(&buffer, 1);
    ck_assert_uint_eq(pfk_buffer_length(buffer), 2);
    ck_assert_mem_eq(pfk_buffer_data(buffer), "bc", 2);
    pfk_buffer_consume(&buffer, 2);
    ck_assert_ptr_null(buffer);
}
END_TEST

START_TEST(no_memory_leaves_it_as_it_was)
{
    struct pfk_buffer *buffer = NULL;

    ck_assert_int_eq(pfk_buffer_append(&buffer, "abc", 3), 0);
    ck_assert_ptr_null(pfk_buffer_reserve(&buffer, SIZE_MAX - 8));
    ck_assert_ptr_null(pfk_buffer_reserve(&buffer, SIZE_MAX / 4));
    ck_assert_mem_eq(pfk_buffer_data(buffer), "abc", 3);
    pfk_buffer_free(&buffer);
    ck_assert_ptr_null(buffer);
}
END_TEST

static uint32_t test_random(uint32_t *state)
{
    *state = *state * UINT32_C(1664525) + UINT32_C(1013904223);
    return *state >> 8;
}

/* Appends and consumes pieces of chance lengths; the bytes are a function of
 * their position, so each one is checked. */
START_TEST(bytes_come_out_as_they_went_in)
{
    struct pfk_buffer *buffer = NULL;
    uint32_t state = 7;
    size_t in = 0, out = 0;

    for (int i = 0; i < 20000; i++) {
        size_t length = test_random(&state) % 700;

        if (test_random(&state) % 2 == 0) {
            unsigned char *room = pfk_buffer_reserve(&buffer, length + 1);

            ck_assert_ptr_nonnull(room);
            for (size_t at = 0; at < length + 1; at++, in++)
                room[at] = (unsigned char)(in * 31 % 251);
            pfk_buffer_commit(buffer, length + 1);
        } else {
            const unsigned char *data = pfk_buffer_data(buffer);
            size_t right = 0;

            length = length < in - out ? length : in - out;
            for (size_t at = 0; at < length; at++, out++)
                right += data[at] == out * 31 % 251;
            ck_assert_uint_eq(right, length);
            pfk_buffer_consume(&buffer, length);
        }
        ck_assert_uint_eq(pfk_buffer_length(buffer), in - out);
    }
    pfk_buffer_free(&buffer);
}
END_TEST

/* A stream that flows through needs no more memory than what waits at once. */
START_TEST(a_long_stream_does_not_make_it_grow)
{
    struct pfk_buffer *buffer = NULL;
    char piece[1000] = "";

    ck_assert_int_eq(pfk_buffer_append(&buffer, piece, 1), 0);
    for (int i = 0; i < 100000; i++) {
        ck_assert_int_eq(pfk_buffer_append(&buffer, piece, sizeof(piece)), 0);
        pfk_buffer_consume(&buffer, sizeof(piece));
    }
    ck_assert_uint_le(buffer->capacity, 8192);
    pfk_buffer_free(&buffer);
}
END_TEST

static Suite *buffer_suite(void)
{
    Suite *suite = suite_create("buffer");
    TCase *cases = tcase_create("bytes");

    tcase_add_test(cases, nothing_is_null);
    tcase_add_test(cases, the_last_byte_frees_it);
    tcase_add_test(cases, no_memory_leaves_it_as_it_was);
    tcase_add_test(cases, bytes_come_out_as_they_went_in);
    tcase_add_test(cases, a_long_stream_does_not_make_it_grow);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(buffer_suite)
