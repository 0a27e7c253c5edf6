/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring of hints, with each half-done step that a death can leave. */
#include "job/ring.h"

#include <stdlib.h>

#include "tests/lib/unit.h"

#define CELLS 8

static struct pfk_ring_shm shm;
static pfk_atomic_u64 cells[CELLS];
static struct pfk_ring ring;

static void setup(void)
{
    ring = pfk_ring_view(&shm, cells, PFK_RING_ORDER_MIN, 1000);
    pfk_ring_init(&ring);
}

static void expect_take(uint32_t index)
{
    struct pfk_ring_entry entry;

    ck_assert(pfk_ring_peek(&ring, &entry));
    ck_assert_uint_eq(entry.index, index);
    ck_assert(pfk_ring_holds(&entry));
    pfk_ring_remove(&ring, &entry);
    ck_assert(!pfk_ring_holds(&entry));
}

static void expect_empty(void)
{
    struct pfk_ring_entry entry;

    ck_assert(!pfk_ring_peek(&ring, &entry));
    ck_assert_uint_eq(pfk_ring_length(&ring), 0);
}

START_TEST(first_in_first_out_for_many_rounds)
{
    for (uint32_t i = 0; i < 1000; i++) {
        for (uint32_t j = 0; j < CELLS; j++)
            ck_assert_int_eq(pfk_ring_put(&ring, i + j), PFK_RING_PUT);
        ck_assert_int_eq(pfk_ring_put(&ring, 9999), PFK_RING_FULL);
        ck_assert_uint_eq(pfk_ring_length(&ring), CELLS);
        for (uint32_t j = 0; j < CELLS; j++)
            expect_take(i + j);
        expect_empty();
    }
}
END_TEST

/* As `rounds` times CELLS puts and removals would have left it. */
static void skip_rounds(uint64_t rounds)
{
    for (uint64_t i = 0; i < CELLS; i++)
        pfk_u64_store_relaxed(&cells[i], pfk_ring_cell(rounds, PFK_RING_EMPTY));
    pfk_u64_store_relaxed(&shm.head, rounds * CELLS);
    pfk_u64_store_relaxed(&shm.tail, rounds * CELLS);
    ring.head_seen = ring.tail_seen = rounds * CELLS;
}

/* A small and busy table is there within weeks. */
START_TEST(rounds_begin_anew)
{
    skip_rounds((UINT64_C(1) << 40) - 3);
    for (uint32_t i = 0; i < 6; i++) {
        for (uint32_t j = 0; j < CELLS; j++)
            ck_assert_int_eq(pfk_ring_put(&ring, i + j), PFK_RING_PUT);
        ck_assert_int_eq(pfk_ring_put(&ring, 9999), PFK_RING_FULL);
        ck_assert_uint_eq(pfk_ring_length(&ring), CELLS);
        for (uint32_t j = 0; j < CELLS; j++)
            expect_take(i + j);
        expect_empty();
    }
    skip_rounds((UINT64_C(1) << 40) - 3);
    for (uint32_t i = 0; i < 6 * CELLS; i++) {
        ck_assert_int_eq(pfk_ring_put(&ring, i), PFK_RING_PUT);
        expect_take(i);
        expect_empty();
    }
}
END_TEST

START_TEST(a_tail_left_behind_is_helped)
{
    ck_assert_int_eq(pfk_ring_put(&ring, 1), PFK_RING_PUT);
    pfk_u64_store_relaxed(&shm.tail, 0); /* died after the cell, before the tail */
    ck_assert_int_eq(pfk_ring_put(&ring, 2), PFK_RING_PUT);
    expect_take(1);
    expect_take(2);
    expect_empty();
}
END_TEST

START_TEST(an_entry_consumed_before_the_tail_moved)
{
    ck_assert_int_eq(pfk_ring_put(&ring, 1), PFK_RING_PUT);
    pfk_u64_store_relaxed(&shm.tail, 0);
    expect_take(1); /* head is now ahead of tail */
    ck_assert_uint_eq(pfk_ring_length(&ring), 0);
    ck_assert_int_eq(pfk_ring_put(&ring, 2), PFK_RING_PUT);
    expect_take(2);
    expect_empty();
}
END_TEST

START_TEST(a_head_left_behind_is_helped)
{
    ck_assert_int_eq(pfk_ring_put(&ring, 1), PFK_RING_PUT);
    ck_assert_int_eq(pfk_ring_put(&ring, 2), PFK_RING_PUT);
    expect_take(1);
    pfk_u64_store_relaxed(&shm.head, 0); /* died after the cell, before the head */
    expect_take(2);
    expect_empty();
}
END_TEST

/* Whoever should have moved an index on dies, each time. */
START_TEST(indices_left_far_behind_are_moved_on)
{
    uint64_t head = 0, tail = 0;

    for (uint32_t i = 0; i < 100 * CELLS; i++) {
        ck_assert_int_eq(pfk_ring_put(&ring, i % CELLS), PFK_RING_PUT);
        if (pfk_u64_load_relaxed(&shm.tail) == tail + 8)
            pfk_u64_store_relaxed(&shm.tail, tail);
        else
            tail = pfk_u64_load_relaxed(&shm.tail);
        expect_take(i % CELLS);
        if (pfk_u64_load_relaxed(&shm.head) == head + 8)
            pfk_u64_store_relaxed(&shm.head, head);
        else
            head = pfk_u64_load_relaxed(&shm.head);
        ck_assert_uint_eq(pfk_ring_length(&ring), 0);
    }
    ck_assert_uint_lt(100 * CELLS - head, 64);
    ck_assert_uint_lt(100 * CELLS - tail, 64);
}
END_TEST

/* Who has not used the ring before finds head far behind. */
START_TEST(a_fresh_view_finds_the_oldest_entry)
{
    struct pfk_ring_entry entry = {NULL, 0, 0, 0};
    struct pfk_ring fresh;

    for (uint32_t i = 0; i < CELLS + 4; i++) {
        ck_assert_int_eq(pfk_ring_put(&ring, i), PFK_RING_PUT);
        expect_take(i);
    }
    ck_assert_int_eq(pfk_ring_put(&ring, 5), PFK_RING_PUT);
    pfk_u64_store_relaxed(&shm.head, 0);
    fresh = pfk_ring_view(&shm, cells, PFK_RING_ORDER_MIN, 2);
    ck_assert(!pfk_ring_peek(&fresh, &entry)); /* patience ran out */
    ck_assert(fresh.gave_up);
    fresh = pfk_ring_view(&shm, cells, PFK_RING_ORDER_MIN, 1000);
    ck_assert(pfk_ring_peek(&fresh, &entry));
    ck_assert_ptr_eq(entry.at, &cells[4]);
    ck_assert_uint_eq(entry.ticket, CELLS + 4);
    ck_assert_uint_eq(entry.index, 5);
    ck_assert(pfk_ring_holds(&entry));
    pfk_ring_remove(&fresh, &entry);
    expect_empty();
}
END_TEST

START_TEST(remove_takes_no_later_entry)
{
    struct pfk_ring_entry old;

    ck_assert_int_eq(pfk_ring_put(&ring, 1), PFK_RING_PUT);
    ck_assert(pfk_ring_peek(&ring, &old));
    expect_take(1);
    for (uint32_t i = 0; i < CELLS; i++)
        ck_assert_int_eq(pfk_ring_put(&ring, 1), PFK_RING_PUT); /* the same slot in the same cell, a round later */
    pfk_ring_remove(&ring, &old);
    ck_assert_uint_eq(pfk_ring_length(&ring), CELLS);
}
END_TEST

START_TEST(purge_takes_only_the_named)
{
    ck_assert_int_eq(pfk_ring_put(&ring, 1), PFK_RING_PUT);
    pfk_ring_purge(&ring, 2);
    ck_assert_uint_eq(pfk_ring_length(&ring), 1);
    pfk_ring_purge(&ring, 1);
    expect_empty();
    pfk_ring_purge(&ring, 1);
}
END_TEST

START_TEST(any_contents_end_in_bounded_time)
{
    srand(1);
    for (int i = 0; i < 10000; i++) {
        struct pfk_ring_entry entry;

        for (int j = 0; j < CELLS; j++)
            pfk_u64_store_relaxed(&cells[j], (uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand());
        pfk_u64_store_relaxed(&shm.head, (uint64_t)rand() << 32 ^ (uint64_t)rand());
        pfk_u64_store_relaxed(&shm.tail, (uint64_t)rand() << 32 ^ (uint64_t)rand());
        (void)pfk_ring_put(&ring, 3);
        if (pfk_ring_peek(&ring, &entry))
            pfk_ring_remove(&ring, &entry);
        (void)pfk_ring_length(&ring);
    }
}
END_TEST

static Suite *ring_suite(void)
{
    Suite *const suite = suite_create("ring");
    TCase *const one = tcase_create("ring");

    tcase_add_checked_fixture(one, setup, NULL);
    tcase_add_test(one, first_in_first_out_for_many_rounds);
    tcase_add_test(one, rounds_begin_anew);
    tcase_add_test(one, a_tail_left_behind_is_helped);
    tcase_add_test(one, an_entry_consumed_before_the_tail_moved);
    tcase_add_test(one, a_head_left_behind_is_helped);
    tcase_add_test(one, indices_left_far_behind_are_moved_on);
    tcase_add_test(one, a_fresh_view_finds_the_oldest_entry);
    tcase_add_test(one, remove_takes_no_later_entry);
    tcase_add_test(one, purge_takes_only_the_named);
    tcase_add_test(one, any_contents_end_in_bounded_time);
    suite_add_tcase(suite, one);
    return suite;
}

PFK_UNIT_MAIN(ring_suite)
