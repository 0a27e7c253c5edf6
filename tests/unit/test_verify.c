/* SPDX-License-Identifier: BSD-2-Clause */
/* For each numbered invariant: a sound table is damaged in just that way, and
 * verify must name that number and no other. */
#include "prefork/table.h"

#include <stdio.h>
#include <string.h>

#include "job/lane.h"
#include "tests/lib/unit.h"

/* The scene: slot by slot a FREE, a READY, a CLAIMED, a DONE and a RESERVED one
 * (and three more FREE ones), at rest. */
static struct prefork_table *table;
static struct prefork_lane *submitter, *worker;
static uint32_t free_slot, ready_slot, claimed_slot, done_slot;

static uint32_t scene_put(void)
{
    const struct prefork_submission submission = {.size = sizeof(submission), .request_bytes = 1};
    uint64_t job;

    ck_assert_int_eq(prefork_lane_put(submitter, "x", &submission, PREFORK_NO_WAIT, &job), 0);
    return pfk_job_index(job);
}

static void scene_find_free(void)
{
    for (uint32_t i = 0; i < table->geometry.slots; i++)
        if (pfk_word_state(pfk_u64_load_relaxed(&table->descriptors[i].word)) == PFK_FREE)
            free_slot = i;
}

static void setup(void)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = 8,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = 2,
                                                  .max_attempts = 3};
    struct prefork_job *job;
    uint64_t reserved;

    ck_assert_int_eq(prefork_table_create(&options, &table), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 0), &submitter), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 0), &worker), 0);
    done_slot = scene_put();
    claimed_slot = scene_put();
    ready_slot = scene_put();
    ck_assert_int_eq(prefork_lane_claim(worker, PREFORK_NO_WAIT, &job), 0);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
    ck_assert_int_eq(prefork_lane_claim(worker, PREFORK_NO_WAIT, &job), 0);
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &reserved), 0);
    scene_find_free();
    ck_assert_msg(prefork_table_verify(table) == 0, "%s", prefork_last_error());
}

static void teardown(void)
{
    prefork_table_destroy(&table); /* the lanes go with the process: the table is damaged */
}

static void expect(int number)
{
    char name[8];
    const int broken = prefork_table_verify(table);

    ck_assert_msg(broken == number, "I-%d expected, I-%d found: %s", number, broken, prefork_last_error());
    (void)snprintf(name, sizeof(name), "I-%d:", number);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), name));
}

static pfk_atomic_u64 *word_of(uint32_t slot)
{
    return &table->descriptors[slot].word;
}

static void move(uint32_t slot, uint32_t state, uint32_t owner)
{
    pfk_u64_store_relaxed(word_of(slot), pfk_word_moved(pfk_u64_load_relaxed(word_of(slot)), state, owner));
}

static void drop_head_entry(struct pfk_ring *ring)
{
    struct pfk_ring_entry entry;

    ck_assert(pfk_ring_peek(ring, &entry));
    pfk_ring_remove(ring, &entry);
}

START_TEST(i_1_geometry)
{
    pfk_u32_store_relaxed(&table->work->geometry.slots, 9);
    expect(1);
    pfk_u32_store_relaxed(&table->work->geometry.slots, 8);
    pfk_u64_store_relaxed(&table->control->geometry.magic, 0);
    expect(1);
    pfk_u64_store_relaxed(&table->control->geometry.magic, PFK_CONTROL_MAGIC);
    pfk_u32_store_relaxed(&table->control->geometry.version, PFK_LAYOUT_VERSION + 1);
    expect(1);
}
END_TEST

START_TEST(i_2_unknown_state_or_flag)
{
    const uint64_t word = pfk_u64_load_relaxed(word_of(claimed_slot));

    pfk_u64_store_relaxed(word_of(claimed_slot), 0);
    expect(2);
    pfk_u64_store_relaxed(word_of(claimed_slot), UINT64_MAX);
    expect(2);
    pfk_u64_store_relaxed(word_of(claimed_slot), pfk_word_flagged(word, 8));
    expect(2);
}
END_TEST

START_TEST(i_3_owner_does_not_fit_state)
{
    move(done_slot, PFK_DONE, 2);
    expect(3);
    move(done_slot, PFK_DONE, PFK_NOBODY);
    move(claimed_slot, PFK_CLAIMED, PFK_NOBODY);
    expect(3);
    move(claimed_slot, PFK_CLAIMED, 4095);
    expect(3);
}
END_TEST

START_TEST(i_4_unpaid_debt)
{
    ck_assert_int_eq(pfk_word_state(pfk_u64_load_relaxed(&table->descriptors[ready_slot].word)), PFK_QUEUING);
    drop_head_entry(&table->rings.ready);
    expect(4);
    ck_assert_int_eq(pfk_ring_put(&table->rings.ready, ready_slot), PFK_RING_PUT);
    ck_assert_int_eq(prefork_table_verify(table), 0);
    move(claimed_slot, PFK_FREEING, 2);
    expect(4);
}
END_TEST

START_TEST(i_5_free_without_entry_or_with_two)
{
    drop_head_entry(&table->rings.free_hot);
    expect(5);
}
END_TEST

START_TEST(i_5_free_with_two_entries)
{
    ck_assert_int_eq(pfk_ring_put(&table->rings.free_cold, free_slot), PFK_RING_PUT);
    expect(5);
}
END_TEST

START_TEST(i_6_ready_without_entry)
{
    move(ready_slot, PFK_READY, PFK_NOBODY);
    ck_assert_int_eq(prefork_table_verify(table), 0);
    drop_head_entry(&table->rings.ready);
    expect(6);
}
END_TEST

START_TEST(i_6_ready_with_two_entries)
{
    ck_assert_int_eq(pfk_ring_put(&table->rings.ready, ready_slot), PFK_RING_PUT);
    expect(6);
}
END_TEST

START_TEST(i_7_entry_of_a_slot_that_has_none)
{
    ck_assert_int_eq(pfk_ring_put(&table->rings.free_cold, claimed_slot), PFK_RING_PUT);
    expect(7);
}
END_TEST

START_TEST(i_7_entry_in_the_wrong_ring)
{
    ck_assert_int_eq(pfk_ring_put(&table->rings.free_cold, ready_slot), PFK_RING_PUT);
    expect(7);
}
END_TEST

START_TEST(i_8_ring_out_of_shape)
{
    const uint64_t head = pfk_u64_load_relaxed(&table->rings.ready.shm->head);

    pfk_u64_store_relaxed(&table->rings.ready.shm->head, head + 64);
    expect(8);
    pfk_u64_store_relaxed(&table->rings.ready.shm->head, head);
    pfk_u64_store_relaxed(&table->rings.ready.cells[7], pfk_ring_cell(5, PFK_RING_EMPTY));
    expect(8);
}
END_TEST

/* How far indices lag depends on who died where; they must never be ahead. */
START_TEST(i_8_holds_while_indices_lag)
{
    const uint64_t first = pfk_ring_first(&table->rings.ready), end = pfk_ring_end(&table->rings.ready);

    ck_assert_uint_eq(first, 2);
    ck_assert_uint_eq(end, 3);
    pfk_u64_store_relaxed(&table->rings.ready.shm->head, first);
    pfk_u64_store_relaxed(&table->rings.ready.shm->tail, end);
    ck_assert_int_eq(prefork_table_verify(table), 0);
    pfk_u64_store_relaxed(&table->rings.ready.shm->head, 0);
    pfk_u64_store_relaxed(&table->rings.ready.shm->tail, 1);
    ck_assert_int_eq(prefork_table_verify(table), 0);
    pfk_u64_store_relaxed(&table->rings.ready.shm->tail, end + 1);
    expect(8);
    pfk_u64_store_relaxed(&table->rings.ready.shm->tail, end);
    pfk_u64_store_relaxed(&table->rings.ready.shm->head, first + 1);
    expect(8);
}
END_TEST

START_TEST(i_9_entry_of_no_slot)
{
    ck_assert_int_eq(pfk_ring_put(&table->rings.ready, 8), PFK_RING_PUT);
    expect(9);
}
END_TEST

START_TEST(i_10_submitter_is_no_lane)
{
    pfk_u32_store_relaxed(&table->descriptors[ready_slot].submitter, 0);
    expect(10);
    pfk_u32_store_relaxed(&table->descriptors[ready_slot].submitter, table->geometry.lanes + 1);
    expect(10);
}
END_TEST

START_TEST(i_11_lengths)
{
    pfk_u32_store_relaxed(&table->descriptors[ready_slot].request_bytes, 65);
    expect(11);
    pfk_u32_store_relaxed(&table->descriptors[ready_slot].request_bytes, 1);
    pfk_u32_store_relaxed(&table->descriptors[done_slot].reply_offset, 128);
    pfk_u32_store_relaxed(&table->descriptors[done_slot].reply_bytes, 1);
    expect(11);
    pfk_u32_store_relaxed(&table->descriptors[done_slot].reply_bytes, UINT32_MAX);
    expect(11);
}
END_TEST

START_TEST(i_12_attempts)
{
    pfk_u32_store_relaxed(&table->descriptors[claimed_slot].hand_backs, 1);
    expect(12);
    pfk_u32_store_relaxed(&table->descriptors[claimed_slot].hand_backs, 0);
    pfk_u32_store_relaxed(&table->descriptors[ready_slot].hand_backs, 253); /* 0 - 253 = 3 attempts */
    expect(12);
}
END_TEST

START_TEST(i_13_holder_is_gone)
{
    pfk_u32_store_relaxed(&worker->shm->in_use, 0);
    expect(13);
    pfk_u32_store_relaxed(&worker->shm->in_use, 1);
    pfk_u32_store_relaxed(&submitter->shm->in_use, 0);
    expect(13);
}
END_TEST

START_TEST(i_14_sleeper_with_mail)
{
    struct pfk_ring mailbox = pfk_table_mailbox(table, submitter->number);

    pfk_u32_store_relaxed(&submitter->shm->armed, 1);
    ck_assert_int_eq(prefork_table_verify(table), 0);
    pfk_u32_store_relaxed(&submitter->shm->rescan, 1);
    expect(14);
    pfk_u32_store_relaxed(&submitter->shm->rescan, 0);
    ck_assert_int_eq(pfk_ring_put(&mailbox, done_slot), PFK_RING_PUT);
    expect(14);
}
END_TEST

START_TEST(i_15_spare_without_hint)
{
    const uint64_t job = pfk_job_id(pfk_u64_load_relaxed(&table->descriptors[done_slot].word), done_slot);

    ck_assert_int_eq(prefork_lane_collect(submitter, job), 0);
    ck_assert_int_eq(pfk_word_state(pfk_u64_load_relaxed(&table->descriptors[done_slot].word)), PFK_SPARE);
    ck_assert_int_eq(prefork_table_verify(table), 0);
    pfk_u64_store_relaxed(&submitter->shm->magazine.hints[0], UINT64_MAX);
    expect(15);
}
END_TEST

/* Whatever bytes lie there, verify ends and stays within its bounds. */
START_TEST(random_bytes_are_survived)
{
    unsigned char *const bytes = prefork_segment_address(table->work_segment);
    const size_t n = prefork_segment_bytes(table->work_segment);
    uint64_t random = 88172645463325252u;

    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < n; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes[i] = (unsigned char)random;
        }
        /* keep the geometry, so that the deeper checks are reached as well */
        if (round % 2 == 0)
            memset(bytes + sizeof(struct pfk_geometry_shm), round, 4096);
        ck_assert_int_gt(prefork_table_verify(table), 0);
    }
}
END_TEST

static Suite *verify_suite(void)
{
    Suite *const suite = suite_create("verify");
    TCase *const damage = tcase_create("damage");

    tcase_add_checked_fixture(damage, setup, teardown);
    tcase_add_test(damage, i_1_geometry);
    tcase_add_test(damage, i_2_unknown_state_or_flag);
    tcase_add_test(damage, i_3_owner_does_not_fit_state);
    tcase_add_test(damage, i_4_unpaid_debt);
    tcase_add_test(damage, i_5_free_without_entry_or_with_two);
    tcase_add_test(damage, i_5_free_with_two_entries);
    tcase_add_test(damage, i_6_ready_without_entry);
    tcase_add_test(damage, i_6_ready_with_two_entries);
    tcase_add_test(damage, i_7_entry_of_a_slot_that_has_none);
    tcase_add_test(damage, i_7_entry_in_the_wrong_ring);
    tcase_add_test(damage, i_8_ring_out_of_shape);
    tcase_add_test(damage, i_8_holds_while_indices_lag);
    tcase_add_test(damage, i_9_entry_of_no_slot);
    tcase_add_test(damage, i_10_submitter_is_no_lane);
    tcase_add_test(damage, i_11_lengths);
    tcase_add_test(damage, i_12_attempts);
    tcase_add_test(damage, i_13_holder_is_gone);
    tcase_add_test(damage, i_14_sleeper_with_mail);
    tcase_add_test(damage, i_15_spare_without_hint);
    tcase_add_test(damage, random_bytes_are_survived);
    suite_add_tcase(suite, damage);
    return suite;
}

PFK_UNIT_MAIN(verify_suite)
