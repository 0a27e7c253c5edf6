/* SPDX-License-Identifier: BSD-2-Clause */
/* The master's decisions, as a table of inputs and outputs. */
#include "master/policy.h"

#include "base/clock.h"
#include "base/compiler.h"
#include "../lib/unit.h"

START_TEST(delay_doubles_from_100_ms_to_30_s)
{
    static const uint64_t expected_ms[] = {0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};

    for (uint32_t failures = 0; failures < PFK_COUNT_OF(expected_ms); failures++)
        ck_assert_uint_eq(pfk_policy_delay_ms(failures), expected_ms[failures]);
    ck_assert_uint_eq(pfk_policy_delay_ms(UINT32_MAX), 30000);
}
END_TEST

START_TEST(good_life_resets_failures)
{
    const struct pfk_policy_life worked = {.was_ready = true, .worked = true};
    const struct pfk_policy_life retired = {.was_ready = true, .in_order = true};

    ck_assert_uint_eq(pfk_policy_failures(7, &worked), 0);
    ck_assert_uint_eq(pfk_policy_failures(7, &retired), 0);
}
END_TEST

START_TEST(bad_life_counts)
{
    const struct pfk_policy_life idle = {.was_ready = true};
    const struct pfk_policy_life never_ready = {.worked = true};

    ck_assert_uint_eq(pfk_policy_failures(0, &idle), 1);
    ck_assert_uint_eq(pfk_policy_failures(4, &never_ready), 5);
    ck_assert_uint_eq(pfk_policy_failures(UINT32_MAX, &idle), UINT32_MAX);
}
END_TEST

static uint32_t take_all(struct pfk_policy_budget *budget, uint64_t now_ns)
{
    uint32_t taken = 0;

    while (taken < 10 * PFK_POLICY_SPAWNS_PER_SECOND && pfk_policy_budget_take(budget, now_ns))
        taken++;
    return taken;
}

START_TEST(budget_bounds_burst_and_rate)
{
    struct pfk_policy_budget budget = {0};
    uint64_t now_ns = 5 * PFK_NS_PER_S;
    uint32_t in_ten_seconds = 0;

    ck_assert_uint_eq(take_all(&budget, now_ns), PFK_POLICY_SPAWNS_PER_SECOND);
    for (int i = 0; i < 1000; i++) {
        now_ns += 10 * PFK_NS_PER_MS;
        in_ten_seconds += take_all(&budget, now_ns);
    }
    ck_assert_uint_le(in_ten_seconds, 10 * PFK_POLICY_SPAWNS_PER_SECOND + 1);
    ck_assert_uint_ge(in_ten_seconds, 10 * PFK_POLICY_SPAWNS_PER_SECOND - 1);
    now_ns += 3600 * PFK_NS_PER_S;
    ck_assert_uint_eq(take_all(&budget, now_ns), PFK_POLICY_SPAWNS_PER_SECOND);
}
END_TEST

START_TEST(workers_follow_cores_and_quota)
{
    ck_assert_uint_eq(pfk_policy_workers(8, PFK_POLICY_NO_QUOTA), 8);
    ck_assert_uint_eq(pfk_policy_workers(8, 2500), 3);
    ck_assert_uint_eq(pfk_policy_workers(8, 2000), 2);
    ck_assert_uint_eq(pfk_policy_workers(8, 500), 1);
    ck_assert_uint_eq(pfk_policy_workers(8, 1), 1);
    ck_assert_uint_eq(pfk_policy_workers(2, 64000), 2);
    ck_assert_uint_eq(pfk_policy_workers(0, PFK_POLICY_NO_QUOTA), 1);
    ck_assert_uint_eq(pfk_policy_workers(4096, PFK_POLICY_NO_QUOTA), PFK_POLICY_WORKERS_MAX);
}
END_TEST

START_TEST(quota_v2_is_read)
{
    ck_assert_uint_eq(pfk_policy_quota_v2("50000 100000\n"), 500);
    ck_assert_uint_eq(pfk_policy_quota_v2("250000 100000\n"), 2500);
    ck_assert_uint_eq(pfk_policy_quota_v2("1 1000000\n"), 1);
    ck_assert_uint_eq(pfk_policy_quota_v2("max 100000\n"), PFK_POLICY_NO_QUOTA);
    ck_assert_uint_eq(pfk_policy_quota_v2(""), PFK_POLICY_NO_QUOTA);
    ck_assert_uint_eq(pfk_policy_quota_v2("50000"), PFK_POLICY_NO_QUOTA);
    ck_assert_uint_eq(pfk_policy_quota_v2("50000 0"), PFK_POLICY_NO_QUOTA);
    ck_assert_uint_eq(pfk_policy_quota_v2("-1 100000"), PFK_POLICY_NO_QUOTA);
    ck_assert_uint_eq(pfk_policy_quota_v2("99999999999999999999 1"), PFK_POLICY_NO_QUOTA);
}
END_TEST

START_TEST(quota_v1_is_read)
{
    ck_assert_uint_eq(pfk_policy_quota_v1("150000\n", "100000\n"), 1500);
    ck_assert_uint_eq(pfk_policy_quota_v1("-1\n", "100000\n"), PFK_POLICY_NO_QUOTA);
    ck_assert_uint_eq(pfk_policy_quota_v1("150000\n", "0\n"), PFK_POLICY_NO_QUOTA);
    ck_assert_uint_eq(pfk_policy_quota_v1("x", "y"), PFK_POLICY_NO_QUOTA);
}
END_TEST

static Suite *policy_suite(void)
{
    Suite *const suite = suite_create("policy");
    TCase *const tcase = tcase_create("policy");

    tcase_add_test(tcase, delay_doubles_from_100_ms_to_30_s);
    tcase_add_test(tcase, good_life_resets_failures);
    tcase_add_test(tcase, bad_life_counts);
    tcase_add_test(tcase, budget_bounds_burst_and_rate);
    tcase_add_test(tcase, workers_follow_cores_and_quota);
    tcase_add_test(tcase, quota_v2_is_read);
    tcase_add_test(tcase, quota_v1_is_read);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(policy_suite)
