/* SPDX-License-Identifier: BSD-2-Clause */
/* Who leaves a connection to others, and who never does. */
#include "io/load.h"

#include <stdlib.h>

#include "../lib/unit.h"
#include "base/compiler.h"
#include "job/control.h"

enum { SEATS = 4 };

static const struct pfk_load_family family = {.seats = SEATS, .threads_per_seat = 1};
static struct prefork_table *table;
static struct prefork_lane *lanes[SEATS];
static struct pfk_load loads[SEATS];

static void open_thread(uint32_t number)
{
    ck_assert_int_eq(prefork_lane_open(table, pfk_load_lane(table, &family, number), &lanes[number]), 0);
    pfk_lane_publish(lanes[number], PFK_COUNT_CONNECTIONS_NOW, 0);
    pfk_load_open(&loads[number], table, lanes[number], &family, number);
}

static void set_up(void)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = 16,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .max_workers = SEATS,
                                                  .threads_per_worker = 1};

    ck_assert_int_eq(prefork_table_create(&options, &table), 0);
    open_thread(0);
}

static void tear_down(void)
{
    for (uint32_t i = 0; i < SEATS; i++)
        prefork_lane_close(&lanes[i]);
    prefork_table_destroy(&table);
}

static void take(uint32_t number, unsigned connections)
{
    while (connections-- > 0)
        pfk_load_take(&loads[number]);
}

START_TEST(who_is_alone_never_yields)
{
    take(0, 10000);
    ck_assert(!pfk_load_yields(&loads[0], 10000));
}
END_TEST

START_TEST(many_long_ones_yield)
{
    for (uint32_t i = 1; i < SEATS; i++)
        open_thread(i);
    ck_assert(!pfk_load_yields(&loads[0], 1));
    ck_assert(pfk_load_yields(&loads[0], 50));
    for (uint32_t i = 1; i < SEATS; i++)
        pfk_lane_publish(lanes[i], PFK_COUNT_CONNECTIONS_NOW, 50);
    ck_assert(!pfk_load_yields(&loads[0], 50));
    ck_assert(!pfk_load_yields(&loads[0], 0));
}
END_TEST

START_TEST(many_short_ones_yield)
{
    for (uint32_t i = 1; i < SEATS; i++)
        open_thread(i);
    take(0, 100);
    ck_assert(pfk_load_yields(&loads[0], 1));
    ck_assert(!pfk_load_yields(&loads[1], 1));
    for (uint32_t i = 1; i < SEATS; i++)
        take(i, 100);
    ck_assert(!pfk_load_yields(&loads[0], 1));
}
END_TEST

/* Who has taken many in the past owes nothing to those who join. */
START_TEST(who_joins_begins_at_the_average)
{
    open_thread(1);
    take(0, 5000);
    take(1, 5000);
    open_thread(2);
    ck_assert(!pfk_load_yields(&loads[0], 1));
    ck_assert(!pfk_load_yields(&loads[2], 1));
}
END_TEST

/* Who was stopped for long owes its share of what came lately, no more. */
START_TEST(who_fell_behind_catches_up_a_little)
{
    for (uint32_t i = 1; i < SEATS; i++)
        open_thread(i);
    for (uint32_t i = 0; i < SEATS; i++)
        take(i, i == 1 ? 0 : 10 * PFK_LOAD_MEMORY);
    ck_assert(!pfk_load_yields(&loads[1], 1));
    take(1, PFK_LOAD_MEMORY);
    ck_assert(!pfk_load_yields(&loads[1], 1));
    take(1, PFK_LOAD_MEMORY);
    ck_assert(pfk_load_yields(&loads[1], 1));
}
END_TEST

/* Numbers that make no sense, and what they leave behind with who saw them. */
START_TEST(a_lie_passes)
{
    static const uint64_t lies[] = {UINT64_MAX - 50, UINT64_MAX / 3, UINT64_C(1) << 63, 1000};
    unsigned yields = 0;

    for (uint32_t i = 1; i < SEATS; i++)
        open_thread(i);
    for (size_t lie = 0; lie < PFK_COUNT_OF(lies); lie++) {
        pfk_lane_publish(lanes[3], PFK_COUNT_CONNECTIONS_TAKEN, lies[lie]);
        for (uint32_t i = 0; i < 3 * 1000; i++) {
            (void)pfk_load_yields(&loads[i % 3], 1);
            take(i % 3, 1);
        }
        prefork_lane_close(&lanes[3]);
        open_thread(3);
        for (uint32_t i = 0; i < SEATS * 1000; i++) { /* they find together, */
            (void)pfk_load_yields(&loads[i % SEATS], 1);
            take(i % SEATS, pfk_load_yields(&loads[i % SEATS], 1) ? 0 : 1);
        }
        for (uint32_t i = 0; i < SEATS * 100; i++) { /* and are together */
            yields += pfk_load_yields(&loads[i % SEATS], 1);
            take(i % SEATS, 1);
        }
        ck_assert_msg(yields == 0, "after lie %zu: %u", lie, yields);
    }
}
END_TEST

/* What a thread had published is still in its lane when that is free again. */
START_TEST(connections_of_the_gone_are_none)
{
    open_thread(1);
    pfk_lane_publish(lanes[0], PFK_COUNT_CONNECTIONS_NOW, 3);
    pfk_lane_publish(lanes[1], PFK_COUNT_CONNECTIONS_NOW, 5);
    ck_assert_uint_eq(pfk_load_connections(&loads[0]), 8);
    prefork_lane_close(&lanes[1]);
    ck_assert_uint_eq(pfk_load_connections(&loads[0]), 3);
}
END_TEST

static Suite *load_suite(void)
{
    Suite *const suite = suite_create("load");
    TCase *const all = tcase_create("load");

    suite_add_tcase(suite, all);
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, who_is_alone_never_yields);
    tcase_add_test(all, many_long_ones_yield);
    tcase_add_test(all, many_short_ones_yield);
    tcase_add_test(all, who_joins_begins_at_the_average);
    tcase_add_test(all, who_fell_behind_catches_up_a_little);
    tcase_add_test(all, connections_of_the_gone_are_none);
    tcase_add_test(all, a_lie_passes);
    return suite;
}

PFK_UNIT_MAIN(load_suite)
