/* SPDX-License-Identifier: BSD-2-Clause */
#include "../../bench/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/unit.h"

#define STREAM_BYTES 10000

static unsigned char whole[STREAM_BYTES], other[STREAM_BYTES];

START_TEST(pieces_are_those_of_the_whole)
{
    const struct pattern pattern = pattern_make(1, 7, 0);

    pattern_fill(&pattern, 0, whole, sizeof(whole));
    for (size_t offset = 0; offset < 40; offset++)
        for (size_t length = 0; length < 40; length++) {
            pattern_fill(&pattern, offset, other, length);
            ck_assert_mem_eq(other, whole + offset, length);
        }
}
END_TEST

START_TEST(match_stops_at_the_first_wrong_byte)
{
    const struct pattern pattern = pattern_make(1, 7, 0);

    pattern_fill(&pattern, 3, whole, sizeof(whole));
    ck_assert_uint_eq(pattern_match(&pattern, 3, whole, sizeof(whole)), sizeof(whole));
    for (size_t at = 0; at < sizeof(whole); at += 97) {
        whole[at] ^= 0x80;
        ck_assert_uint_eq(pattern_match(&pattern, 3, whole, sizeof(whole)), at);
        whole[at] ^= 0x80;
    }
}
END_TEST

/* How many of the bytes at two places are equal by chance: one in 256 would be. */
static size_t equal_bytes(struct pattern left, uint64_t left_offset, struct pattern right, uint64_t right_offset)
{
    size_t equal = 0;

    pattern_fill(&left, left_offset, whole, sizeof(whole));
    pattern_fill(&right, right_offset, other, sizeof(other));
    for (size_t i = 0; i < sizeof(whole); i++)
        equal += whole[i] == other[i];
    return equal;
}

START_TEST(other_places_connections_and_seeds_differ)
{
    const struct pattern pattern = pattern_make(1, 7, 0);
    const size_t limit = STREAM_BYTES / 100;

    for (uint64_t shift = 1; shift <= UINT64_C(1) << 40; shift *= 2) {
        ck_assert_uint_lt(equal_bytes(pattern, 0, pattern, shift), limit);
        ck_assert_uint_lt(equal_bytes(pattern, 0, pattern_make(1, 7 + shift, 0), 0), limit);
        ck_assert_uint_lt(equal_bytes(pattern, 0, pattern_make(1 + shift, 7, 0), 0), limit);
    }
}
END_TEST

START_TEST(lines_have_their_length_and_no_tag)
{
    const struct pattern pattern = pattern_make(1, 7, 13);

    pattern_fill(&pattern, 13 * 5 + 4, whole, sizeof(whole));
    for (size_t i = 0; i < sizeof(whole); i++) {
        ck_assert_int_eq(whole[i] == '\n', (i + 4) % 13 == 12);
        ck_assert_int_ne(whole[i], '[');
    }
}
END_TEST

START_TEST(lines_of_one_byte_are_empty)
{
    const struct pattern pattern = pattern_make(1, 7, 1);

    pattern_fill(&pattern, 5, whole, 3);
    ck_assert_mem_eq(whole, "\n\n\n", 3);
}
END_TEST

static Suite *pattern_suite(void)
{
    Suite *suite = suite_create("pattern");
    TCase *tcase = tcase_create("all");

    tcase_add_test(tcase, pieces_are_those_of_the_whole);
    tcase_add_test(tcase, match_stops_at_the_first_wrong_byte);
    tcase_add_test(tcase, other_places_connections_and_seeds_differ);
    tcase_add_test(tcase, lines_have_their_length_and_no_tag);
    tcase_add_test(tcase, lines_of_one_byte_are_empty);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(pattern_suite)
