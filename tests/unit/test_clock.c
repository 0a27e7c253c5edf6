/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "../lib/unit.h"

START_TEST(now_is_the_monotonic_clock_and_never_goes_back)
{
    struct timespec before, after;
    uint64_t last_ns = 0;

    ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &before), 0);
    for (int i = 0; i < 1000; i++) {
        const uint64_t now_ns = prefork_clock_now_ns();
        ck_assert_uint_ge(now_ns, last_ns);
        last_ns = now_ns;
    }
    ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &after), 0);
    ck_assert_uint_ge(last_ns, (uint64_t)before.tv_sec * PFK_NS_PER_S + (uint64_t)before.tv_nsec);
    ck_assert_uint_le(last_ns, (uint64_t)after.tv_sec * PFK_NS_PER_S + (uint64_t)after.tv_nsec);
}
END_TEST

START_TEST(coarse_clock_is_behind_by_ticks_only)
{
    const uint64_t coarse_ns = pfk_clock_coarse_ns();
    const uint64_t fine_ns = prefork_clock_now_ns();

    ck_assert_uint_le(coarse_ns, fine_ns);
    ck_assert_uint_lt(fine_ns - coarse_ns, PFK_NS_PER_S); /* a tick is 10 ms at most; the rest is for a busy machine */
}
END_TEST

START_TEST(deadline_lies_that_far_ahead)
{
    const uint64_t before_ns = prefork_clock_now_ns();
    const uint64_t deadline_ns = prefork_deadline_after_ms(1500);
    const uint64_t after_ns = prefork_clock_now_ns();

    ck_assert_uint_ge(deadline_ns, before_ns + 1500 * PFK_NS_PER_MS);
    ck_assert_uint_le(deadline_ns, after_ns + 1500 * PFK_NS_PER_MS);
}
END_TEST

START_TEST(deadline_of_nothing_is_now)
{
    const uint64_t before_ns = prefork_clock_now_ns();

    ck_assert_uint_ge(prefork_deadline_after_ms(0), before_ns);
    ck_assert_uint_le(prefork_deadline_after_ms(0), prefork_clock_now_ns());
}
END_TEST

START_TEST(deadline_beyond_the_clock_is_none)
{
    static const uint64_t far[] = {UINT64_MAX, UINT64_MAX / 2, UINT64_MAX / PFK_NS_PER_MS,
                                   UINT64_MAX / PFK_NS_PER_MS + 1};

    ck_assert_uint_eq(prefork_deadline_after_ms(far[_i]), PREFORK_NO_DEADLINE);
}
END_TEST

START_TEST(far_deadline_does_not_wrap)
{
    const uint64_t century_ms = UINT64_C(100) * 365 * 24 * 3600 * 1000;

    ck_assert_uint_gt(prefork_deadline_after_ms(century_ms), prefork_clock_now_ns());
    ck_assert_uint_lt(prefork_deadline_after_ms(century_ms), PREFORK_NO_DEADLINE);
}
END_TEST

START_TEST(timespec_has_seconds_and_rest)
{
    const struct timespec at = pfk_clock_timespec(UINT64_C(12) * PFK_NS_PER_S + 345678901);

    ck_assert_int_eq(at.tv_sec, 12);
    ck_assert_int_eq(at.tv_nsec, 345678901);
}
END_TEST

START_TEST(timespec_of_any_deadline_is_valid)
{
    static const uint64_t deadlines[] = {0, 1, PFK_NS_PER_S - 1, PFK_NS_PER_S, UINT64_MAX - 1, PREFORK_NO_DEADLINE};
    const struct timespec at = pfk_clock_timespec(deadlines[_i]);

    ck_assert_int_ge(at.tv_sec, 0);
    ck_assert_int_ge(at.tv_nsec, 0);
    ck_assert_int_lt(at.tv_nsec, 1000000000);
}
END_TEST

START_TEST(poll_time_of_no_deadline_is_for_ever)
{
    ck_assert_int_eq(pfk_clock_poll_ms(PREFORK_NO_DEADLINE), -1);
}
END_TEST

START_TEST(poll_time_of_a_passed_deadline_is_none)
{
    ck_assert_int_eq(pfk_clock_poll_ms(PREFORK_NO_WAIT), 0);
    ck_assert_int_eq(pfk_clock_poll_ms(prefork_clock_now_ns()), 0);
}
END_TEST

START_TEST(poll_time_is_rounded_up)
{
    /* half a millisecond left would else be polled for without waiting, in a spin */
    int poll_ms = 0;

    for (int tries = 0; tries < 1000 && poll_ms == 0; tries++) /* a busy machine may let the time pass */
        poll_ms = pfk_clock_poll_ms(prefork_clock_now_ns() + PFK_NS_PER_MS / 2);
    ck_assert_int_eq(poll_ms, 1);
}
END_TEST

START_TEST(poll_time_is_what_is_left)
{
    const int poll_ms = pfk_clock_poll_ms(prefork_deadline_after_ms(100000));

    ck_assert_int_le(poll_ms, 100000);
    ck_assert_int_gt(poll_ms, 90000);
}
END_TEST

START_TEST(poll_time_of_a_far_deadline_is_cut_to_an_int)
{
    ck_assert_int_eq(pfk_clock_poll_ms(PREFORK_NO_DEADLINE - 1), INT_MAX);
}
END_TEST

static Suite *clock_suite(void)
{
    Suite *const suite = suite_create("clock");
    TCase *const now = tcase_create("now");
    TCase *const deadline = tcase_create("deadline");

    tcase_add_test(now, now_is_the_monotonic_clock_and_never_goes_back);
    tcase_add_test(now, coarse_clock_is_behind_by_ticks_only);
    suite_add_tcase(suite, now);
    tcase_add_test(deadline, deadline_lies_that_far_ahead);
    tcase_add_test(deadline, deadline_of_nothing_is_now);
    tcase_add_loop_test(deadline, deadline_beyond_the_clock_is_none, 0, 4);
    tcase_add_test(deadline, far_deadline_does_not_wrap);
    tcase_add_test(deadline, timespec_has_seconds_and_rest);
    tcase_add_loop_test(deadline, timespec_of_any_deadline_is_valid, 0, 6);
    tcase_add_test(deadline, poll_time_of_no_deadline_is_for_ever);
    tcase_add_test(deadline, poll_time_of_a_passed_deadline_is_none);
    tcase_add_test(deadline, poll_time_is_rounded_up);
    tcase_add_test(deadline, poll_time_is_what_is_left);
    tcase_add_test(deadline, poll_time_of_a_far_deadline_is_cut_to_an_int);
    suite_add_tcase(suite, deadline);
    return suite;
}

PFK_UNIT_MAIN(clock_suite)
