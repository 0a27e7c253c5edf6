/* SPDX-License-Identifier: BSD-2-Clause */
#include "../../bench/histogram.h"

#include <stdlib.h>

#include "../lib/unit.h"

static struct histogram histogram; /* 30 KiB: rather not on the stack */

static void expect_close(uint64_t value, uint64_t exact)
{
    ck_assert_uint_ge(value, exact);
    ck_assert_uint_le(value, exact + exact / 64);
}

START_TEST(empty_one_has_percentile_zero)
{
    histogram_clear(&histogram);
    ck_assert_uint_eq(histogram_percentile(&histogram, 50), 0);
}
END_TEST

START_TEST(single_value_is_every_percentile)
{
    histogram_clear(&histogram);
    histogram_record(&histogram, 123456789);
    ck_assert_uint_eq(histogram_percentile(&histogram, 0.1), 123456789);
    ck_assert_uint_eq(histogram_percentile(&histogram, 100), 123456789);
}
END_TEST

START_TEST(small_values_are_exact)
{
    histogram_clear(&histogram);
    for (uint64_t value = 1; value <= 100; value++)
        histogram_record(&histogram, value);
    for (uint64_t percent = 1; percent <= 100; percent++)
        ck_assert_uint_eq(histogram_percentile(&histogram, (double)percent), percent);
}
END_TEST

START_TEST(each_magnitude_is_within_its_error)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        const uint64_t value = (UINT64_C(1) << bit) + (UINT64_C(1) << bit) / 3;

        histogram_clear(&histogram);
        histogram_record(&histogram, value);
        histogram_record(&histogram, UINT64_MAX);
        expect_close(histogram_percentile(&histogram, 50), value);
        ck_assert_uint_eq(histogram_percentile(&histogram, 100), UINT64_MAX);
    }
}
END_TEST

START_TEST(uniform_values_give_uniform_percentiles)
{
    histogram_clear(&histogram);
    for (uint64_t value = 1; value <= 1000000; value++)
        histogram_record(&histogram, value);
    expect_close(histogram_percentile(&histogram, 50), 500000);
    expect_close(histogram_percentile(&histogram, 99), 990000);
    expect_close(histogram_percentile(&histogram, 99.9), 999000);
    ck_assert_uint_eq(histogram.max, 1000000);
    ck_assert_uint_eq(histogram.total, 1000000);
}
END_TEST

static Suite *histogram_suite(void)
{
    Suite *suite = suite_create("histogram");
    TCase *tcase = tcase_create("all");

    tcase_add_test(tcase, empty_one_has_percentile_zero);
    tcase_add_test(tcase, single_value_is_every_percentile);
    tcase_add_test(tcase, small_values_are_exact);
    tcase_add_test(tcase, each_magnitude_is_within_its_error);
    tcase_add_test(tcase, uniform_values_give_uniform_percentiles);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(histogram_suite)
