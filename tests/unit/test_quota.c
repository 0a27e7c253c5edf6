/* SPDX-License-Identifier: BSD-2-Clause */
/* Who counts as one peer, what several threads sum up to, and how seldom
 * strangers are mistaken for each other. */
#include "io/quota.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "../lib/unit.h"

enum { SEATS = 2, THREADS = 2, LIMIT = 3 };

static const struct pfk_load_family family = {.seats = SEATS, .threads_per_seat = THREADS};
static struct prefork_table *table;
static struct pfk_quota *quota;
static struct prefork_lane *lanes[SEATS * THREADS];
static struct pfk_quota_share shares[SEATS * THREADS];

static void open_thread(uint32_t number)
{
    ck_assert_int_eq(prefork_lane_open(table, pfk_load_lane(table, &family, number), &lanes[number]), 0);
    ck_assert_int_eq(pfk_quota_open(&shares[number], quota, table, &family, number), 0);
}

/* Its counts stay in the table. */
static void close_thread(uint32_t number)
{
    pfk_quota_close(&shares[number]);
    prefork_lane_close(&lanes[number]);
}

static void set_up(void)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = 16,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .max_workers = SEATS,
                                                  .threads_per_worker = THREADS};

    ck_assert_int_eq(prefork_table_create(&options, &table), 0);
    ck_assert_int_eq(pfk_quota_create(SEATS * THREADS, LIMIT, &quota), 0);
    for (uint32_t i = 0; i < SEATS * THREADS; i++)
        open_thread(i);
}

static void tear_down(void)
{
    for (uint32_t i = 0; i < SEATS * THREADS; i++)
        close_thread(i);
    pfk_quota_destroy(&quota);
    ck_assert_ptr_null(quota);
    prefork_table_destroy(&table);
}

static uint32_t peer(const char *text)
{
    struct pfk_address address;

    ck_assert_int_eq(pfk_address_parse(text, &address), 0);
    return pfk_quota_peer(&shares[0], &address);
}

START_TEST(an_address_or_a_64_is_a_peer)
{
    const uint32_t one = peer("tcp:10.0.0.1:80");

    ck_assert_uint_eq(one, peer("tcp:10.0.0.1:81"));
    ck_assert_uint_eq(one, peer("tcp:[::ffff:10.0.0.1]:80"));
    ck_assert_uint_ne(one, peer("tcp:10.0.0.2:80"));
    ck_assert_uint_eq(peer("tcp:[2001:db8:1:2::1]:80"), peer("tcp:[2001:db8:1:2:ffff::]:80"));
    ck_assert_uint_ne(peer("tcp:[2001:db8:1:2::1]:80"), peer("tcp:[2001:db8:1:3::1]:80"));
    ck_assert_uint_eq(peer("unix:/tmp/socket"), PFK_QUOTA_NOBODY);
}
END_TEST

START_TEST(all_threads_count)
{
    const uint32_t one = peer("tcp:10.0.0.1:80");
    const uint32_t other = peer("tcp:10.0.0.2:80");

    for (uint32_t i = 0; i < LIMIT; i++)
        ck_assert(pfk_quota_admit(&shares[i], one));
    ck_assert(!pfk_quota_admit(&shares[0], one));
    ck_assert(!pfk_quota_admit(&shares[3], one));
    ck_assert(pfk_quota_admit(&shares[3], other));
    pfk_quota_release(&shares[1], one);
    ck_assert(pfk_quota_admit(&shares[3], one));
    ck_assert(!pfk_quota_admit(&shares[1], one));
}
END_TEST

START_TEST(who_is_gone_has_nothing)
{
    const uint32_t one = peer("tcp:10.0.0.1:80");

    for (int i = 0; i < LIMIT; i++)
        ck_assert(pfk_quota_admit(&shares[0], one));
    ck_assert(!pfk_quota_admit(&shares[1], one));
    close_thread(0);
    ck_assert(pfk_quota_admit(&shares[1], one));
    open_thread(0);
    ck_assert(pfk_quota_admit(&shares[1], one));
    ck_assert(pfk_quota_admit(&shares[0], one));
    ck_assert(!pfk_quota_admit(&shares[0], one));
}
END_TEST

/* Each of many peers may have its connections beside all others: 2,000 peers in
 * two rows of 16,384 share both cells with a chance of about 2 % each. */
START_TEST(strangers_are_told_apart)
{
    enum { PEERS = 2000 };
    unsigned refused = 0;

    for (uint32_t i = 0; i < PEERS * LIMIT; i++) {
        struct pfk_address address = {.type = SOCK_STREAM};
        const in_addr_t host = htonl(0x0a000000u + i % PEERS);

        pfk_address_set_inet(&address, AF_INET, &host, 0);
        refused += !pfk_quota_admit(&shares[i % 4], pfk_quota_peer(&shares[0], &address));
    }
    ck_assert_uint_lt(refused, PEERS * LIMIT / 10);
}
END_TEST

static Suite *quota_suite(void)
{
    Suite *const suite = suite_create("quota");
    TCase *const all = tcase_create("quota");

    suite_add_tcase(suite, all);
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, an_address_or_a_64_is_a_peer);
    tcase_add_test(all, all_threads_count);
    tcase_add_test(all, who_is_gone_has_nothing);
    tcase_add_test(all, strangers_are_told_apart);
    return suite;
}

PFK_UNIT_MAIN(quota_suite)
