/* SPDX-License-Identifier: BSD-2-Clause */
/* Repair, state by state: a dead participant's word is set up as each death
 * leaves it, with and without the ring entry it owed; repair runs twice (D-8),
 * the table verifies, the job's fate is the documented one. */
#include "prefork/table.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "job/lane.h"
#include "tests/lib/unit.h"

static struct prefork_table *table;
static struct prefork_lane *submitter, *worker, *survivor;
static struct prefork_repair report;

static void setup(void)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = 4,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = 2,
                                                  .outside_producers = 2,
                                                  .max_attempts = 2};

    ck_assert_int_eq(prefork_table_create(&options, &table), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 0), &submitter), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 0), &worker), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 1), &survivor), 0);
}

static void expect_sound(void)
{
    ck_assert_msg(prefork_table_verify(table) == 0, "%s", prefork_last_error());
}

static void expect_free(uint32_t wanted)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    ck_assert_int_eq(prefork_table_statistics(table, &statistics), 0);
    ck_assert_uint_eq(statistics.free_slots, wanted);
}

/* Declares the lane's thread dead. Its handle must not be used any more. */
static void repair_dead(const struct prefork_lane *lane)
{
    const uint32_t number = lane->number;
    struct prefork_repair again = {.size = sizeof(again)};

    report = (struct prefork_repair){.size = sizeof(report)};
    ck_assert_int_eq(prefork_table_repair(table, &number, 1, &report), 0);
    ck_assert_uint_eq(report.deferred, 0);
    ck_assert_uint_eq(report.suspect, 0);
    expect_sound();
    ck_assert_int_eq(prefork_table_repair(table, &number, 1, &again), 0);
    ck_assert_uint_eq(again.redelivered + again.buried + again.freed + again.detached + again.suspect, 0);
    expect_sound();
}

static uint64_t put(uint32_t flags)
{
    const struct prefork_submission submission = {.size = sizeof(submission), .request_bytes = 4, .flags = flags};
    uint64_t job;

    ck_assert_int_eq(prefork_lane_put(submitter, "work", &submission, PREFORK_NO_WAIT, &job), 0);
    return job;
}

static struct prefork_job *claim(struct prefork_lane *lane)
{
    struct prefork_job *job = NULL;

    ck_assert_int_eq(prefork_lane_claim(lane, PREFORK_NO_WAIT, &job), 0);
    return job;
}

static void move(uint64_t job, uint32_t state, uint32_t owner)
{
    pfk_atomic_u64 *const at = &table->descriptors[pfk_job_index(job)].word;

    pfk_u64_store_relaxed(at, pfk_word_moved(pfk_u64_load_relaxed(at), state, owner));
}

static void forget_entry(struct pfk_ring *ring, uint64_t job)
{
    const uint64_t before = pfk_ring_length(ring);

    pfk_ring_purge(ring, pfk_job_index(job));
    ck_assert_uint_eq(pfk_ring_length(ring), before - 1);
}

static void expect_runs_once(uint64_t id, uint32_t attempt)
{
    struct prefork_job *const job = claim(survivor);
    struct prefork_job *none;

    ck_assert_uint_eq(prefork_job_id(job), id);
    ck_assert_uint_eq(prefork_job_attempt(job), attempt);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
    ck_assert_int_eq(prefork_lane_claim(survivor, PREFORK_NO_WAIT, &none), -EAGAIN);
}

START_TEST(a_claimed_job_is_redelivered_whole)
{
    struct prefork_result result;
    const uint64_t id = put(0);
    size_t length;

    (void)claim(worker);
    repair_dead(worker);
    ck_assert_uint_eq(report.redelivered, 1);
    struct prefork_job *const job = claim(survivor);
    ck_assert_mem_eq(prefork_job_request(job, &length), "work", 4);
    ck_assert_uint_eq(prefork_job_attempt(job), 2);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), 0);
    ck_assert_uint_eq(result.attempts, 2);
    ck_assert_int_eq(prefork_lane_collect(submitter, id), 0);
}
END_TEST

START_TEST(claimed_with_its_leftover_entry)
{
    const uint64_t id = put(PREFORK_SUBMIT_DETACHED);
    pfk_atomic_u64 *const at = &table->descriptors[pfk_job_index(id)].word;

    /* died after the CAS, before the removal */
    pfk_u64_store_relaxed(at, pfk_word_claimed(pfk_u64_load_relaxed(at), worker->number));
    repair_dead(worker);
    ck_assert_uint_eq(report.redelivered, 1);
    expect_runs_once(id, 2);
    expect_free(4);
}
END_TEST

START_TEST(attempts_used_up_tells_the_submitter)
{
    struct prefork_result result;
    const uint64_t id = put(PREFORK_SUBMIT_NOTIFY);
    struct pollfd wake = {.fd = prefork_lane_wake_fd(submitter), .events = POLLIN};

    ck_assert_int_eq(prefork_lane_next(submitter, &result), -EAGAIN);
    (void)claim(worker);
    repair_dead(worker);
    (void)claim(survivor);
    repair_dead(survivor);
    ck_assert_uint_eq(report.buried, 1);
    ck_assert_int_eq(poll(&wake, 1, 0), 1);
    ck_assert_int_eq(prefork_lane_next(submitter, &result), 0);
    ck_assert_uint_eq(result.job, id);
    ck_assert_int_eq(result.status, -EOWNERDEAD);
    ck_assert_uint_eq(result.reply_bytes, 0);
    ck_assert_uint_eq(result.attempts, 2);
    ck_assert_int_eq(prefork_lane_collect(submitter, id), 0);
    expect_free(4);
}
END_TEST

START_TEST(attempts_used_up_frees_a_detached_job)
{
    (void)put(PREFORK_SUBMIT_DETACHED);
    (void)claim(worker);
    repair_dead(worker);
    (void)claim(survivor);
    repair_dead(survivor);
    ck_assert_uint_eq(report.buried, 1);
    expect_free(4);
}
END_TEST

START_TEST(a_dead_submitters_reserved_slot_is_freed)
{
    uint64_t job;

    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &job), 0);
    repair_dead(submitter);
    ck_assert_uint_eq(report.freed, 1);
    expect_free(4);
}
END_TEST

START_TEST(reserved_with_its_leftover_entry)
{
    struct pfk_ring_entry entry;
    pfk_atomic_u64 *at;

    ck_assert(pfk_ring_peek(&table->rings.free_hot, &entry));
    at = &table->descriptors[entry.index].word;
    pfk_u64_store_relaxed(at, pfk_word_reserved(pfk_u64_load_relaxed(at), submitter->number));
    repair_dead(submitter);
    ck_assert_uint_eq(report.freed, 1);
    expect_free(4);
}
END_TEST

START_TEST(queuing_without_its_entry)
{
    const uint64_t id = put(PREFORK_SUBMIT_DETACHED);

    forget_entry(&table->rings.ready, id);
    move(id, PFK_QUEUING, submitter->number);
    repair_dead(submitter);
    expect_runs_once(id, 1);
    expect_free(4);
}
END_TEST

START_TEST(queuing_with_its_entry)
{
    const uint64_t id = put(0);

    move(id, PFK_QUEUING, submitter->number);
    repair_dead(submitter);
    ck_assert_uint_eq(report.detached, 1);
    expect_runs_once(id, 1);
    expect_free(4);
}
END_TEST

START_TEST(handed_back_without_its_entry)
{
    const uint64_t id = put(PREFORK_SUBMIT_DETACHED);

    (void)claim(worker);
    pfk_u32_store_relaxed(&table->descriptors[pfk_job_index(id)].hand_backs, 1);
    move(id, PFK_QUEUING, worker->number);
    repair_dead(worker);
    expect_runs_once(id, 1);
}
END_TEST

START_TEST(freeing_with_its_entry)
{
    const uint64_t first = put(PREFORK_SUBMIT_DETACHED);

    ck_assert_int_eq(prefork_job_complete(claim(worker), 0), 0);
    move(first, PFK_FREEING, worker->number); /* entry put, FREE not yet written */
    repair_dead(worker);
    expect_free(4);
}
END_TEST

START_TEST(freeing_without_its_entry)
{
    const uint64_t id = put(PREFORK_SUBMIT_DETACHED);

    (void)claim(worker);
    move(id, PFK_FREEING, worker->number);
    repair_dead(worker);
    expect_free(4);
}
END_TEST

START_TEST(spare_slots_of_the_dead)
{
    uint64_t jobs[3];

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[i]), 0);
    repair_dead(submitter);
    expect_free(4);
}
END_TEST

START_TEST(what_a_master_left_is_finished_by_the_next)
{
    const uint64_t queuing = put(PREFORK_SUBMIT_DETACHED), freeing = put(PREFORK_SUBMIT_DETACHED);

    (void)claim(worker);
    move(queuing, PFK_QUEUING, PREFORK_LANE_MASTER);
    (void)claim(survivor);
    move(freeing, PFK_FREEING, PREFORK_LANE_MASTER);
    survivor->job.held = false;
    repair_dead(worker);
    expect_runs_once(queuing, 2);
    expect_free(4);
}
END_TEST

START_TEST(a_dead_submitters_jobs_still_run)
{
    const uint64_t ready = put(0);

    repair_dead(submitter);
    ck_assert_uint_eq(report.detached, 1);
    expect_runs_once(ready, 1);
    expect_free(4);
}
END_TEST

START_TEST(a_dead_submitters_running_job_frees_its_slot)
{
    struct prefork_job *job;

    (void)put(0);
    job = claim(survivor);
    repair_dead(submitter);
    ck_assert_uint_eq(report.detached, 1);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
    expect_sound();
    expect_free(4);
}
END_TEST

START_TEST(a_dead_submitters_result_is_dropped)
{
    (void)put(0);
    ck_assert_int_eq(prefork_job_complete(claim(survivor), 0), 0);
    repair_dead(submitter);
    ck_assert_uint_eq(report.freed, 1);
    expect_free(4);
}
END_TEST

START_TEST(submitter_and_worker_dead_together)
{
    const uint32_t dead[] = {submitter->number, worker->number};
    struct prefork_job *none;

    (void)put(0);
    (void)put(0);
    (void)claim(worker);
    report = (struct prefork_repair){.size = sizeof(report)};
    ck_assert_int_eq(prefork_table_repair(table, dead, 2, &report), 0);
    ck_assert_uint_eq(report.redelivered, 1);
    ck_assert_uint_eq(report.detached, 2);
    ck_assert_int_eq(prefork_job_complete(claim(survivor), 0), 0);
    ck_assert_int_eq(prefork_job_complete(claim(survivor), 0), 0);
    ck_assert_int_eq(prefork_lane_claim(survivor, PREFORK_NO_WAIT, &none), -EAGAIN);
    expect_sound();
    expect_free(4);
}
END_TEST

START_TEST(a_late_owner_is_fenced)
{
    struct prefork_job *late;

    (void)put(PREFORK_SUBMIT_DETACHED);
    late = claim(worker);
    repair_dead(worker); /* declared dead, though it lives */
    ck_assert_int_eq(prefork_job_complete(late, 0), -ESTALE);
    expect_sound();
    ck_assert_int_eq(prefork_job_complete(claim(survivor), 0), 0);
    expect_free(4);
}
END_TEST

START_TEST(a_late_owner_is_fenced_while_another_runs_it)
{
    struct prefork_job *late, *second;

    (void)put(PREFORK_SUBMIT_DETACHED);
    late = claim(worker);
    repair_dead(worker);
    second = claim(survivor);
    ck_assert_int_eq(prefork_job_hand_back(late), -ESTALE);
    ck_assert_int_eq(prefork_job_complete(second, 0), 0);
    expect_sound();
}
END_TEST

START_TEST(a_late_owner_does_not_touch_the_result)
{
    struct prefork_result result;
    const uint64_t id = put(0);
    struct prefork_job *const late = claim(worker);

    ck_assert_int_eq(prefork_job_reply_request(late, 0, 4), 0);
    repair_dead(worker);
    ck_assert_int_eq(prefork_job_complete(claim(survivor), -EDOM), 0);
    ck_assert_int_eq(prefork_job_complete(late, 0), -ESTALE);
    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), 0);
    ck_assert_int_eq(result.status, -EDOM);
    ck_assert_uint_eq(result.reply_bytes, 0);
    ck_assert_int_eq(prefork_lane_collect(submitter, id), 0);
}
END_TEST

START_TEST(a_dead_starved_loop_swallows_no_answer)
{
    struct prefork_lane *living;
    struct prefork_result result;
    uint64_t jobs[4];

    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 1), &living), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_reserve(survivor, PREFORK_NO_WAIT, &jobs[i]), 0);
    ck_assert_int_eq(prefork_lane_want_room(submitter), 0);
    repair_dead(submitter);
    ck_assert_int_eq(prefork_lane_want_room(living), 0);
    ck_assert_int_eq(prefork_lane_abandon(survivor, jobs[0]), 0);
    ck_assert_int_eq(prefork_lane_next(living, &result), 1);
}
END_TEST

/* glibc takes the futex operation of sem_post from the object; the master does not. */
START_TEST(scribbled_semaphores_do_not_hold_the_master)
{
    const uint32_t number = worker->number;

    for (uint32_t byte = 0; byte < 256; byte++) {
        memset(&table->work->ready_sem, (int)byte, sizeof(table->work->ready_sem));
        memset(&table->work->room_sem, (int)byte, sizeof(table->work->room_sem));
        memset(&submitter->shm->sem, (int)byte, sizeof(submitter->shm->sem));
        ck_assert_int_eq(prefork_table_repair(table, &number, 1, NULL), 0);
    }
}
END_TEST

START_TEST(every_doorbell_rings)
{
    struct pollfd wake = {.fd = prefork_lane_wake_fd(survivor), .events = POLLIN};
    struct prefork_result result;

    ck_assert_int_eq(prefork_lane_next(survivor, &result), -EAGAIN);
    ck_assert_int_eq(poll(&wake, 1, 0), 0);
    repair_dead(worker);
    ck_assert_int_eq(poll(&wake, 1, 0), 1);
    ck_assert_int_eq(prefork_semaphore_value(&table->work->ready_sem), 1);
    ck_assert_int_eq(prefork_semaphore_value(&table->work->room_sem), 1);
}
END_TEST

START_TEST(lanes_are_reusable_only_after_repair)
{
    const uint32_t number = worker->number;
    struct prefork_lane *again;

    ck_assert_int_eq(prefork_lane_open(table, number, &again), -EBUSY);
    repair_dead(worker);
    ck_assert_int_eq(prefork_lane_open(table, number, &again), 0);
    prefork_lane_close(&again);
}
END_TEST

START_TEST(impossible_words_are_counted_and_left)
{
    const uint32_t number = worker->number, no_lane = table->geometry.lanes + 1;

    pfk_u64_store_relaxed(&table->descriptors[0].word, 0);
    pfk_u64_store_relaxed(&table->descriptors[1].word, UINT64_MAX);
    report = (struct prefork_repair){.size = sizeof(report)};
    ck_assert_int_eq(prefork_table_repair(table, &number, 1, &report), 0);
    ck_assert_uint_eq(report.suspect, 2);
    ck_assert_uint_eq(pfk_u64_load_relaxed(&table->descriptors[1].word), UINT64_MAX);
    ck_assert_int_eq(prefork_table_repair(table, &no_lane, 1, NULL), -EINVAL);
}
END_TEST

static Suite *repair_suite(void)
{
    Suite *const suite = suite_create("repair");
    TCase *const dead = tcase_create("dead");

    tcase_add_checked_fixture(dead, setup, NULL);
    tcase_add_test(dead, a_claimed_job_is_redelivered_whole);
    tcase_add_test(dead, claimed_with_its_leftover_entry);
    tcase_add_test(dead, attempts_used_up_tells_the_submitter);
    tcase_add_test(dead, attempts_used_up_frees_a_detached_job);
    tcase_add_test(dead, a_dead_submitters_reserved_slot_is_freed);
    tcase_add_test(dead, reserved_with_its_leftover_entry);
    tcase_add_test(dead, queuing_without_its_entry);
    tcase_add_test(dead, queuing_with_its_entry);
    tcase_add_test(dead, handed_back_without_its_entry);
    tcase_add_test(dead, freeing_with_its_entry);
    tcase_add_test(dead, freeing_without_its_entry);
    tcase_add_test(dead, spare_slots_of_the_dead);
    tcase_add_test(dead, what_a_master_left_is_finished_by_the_next);
    tcase_add_test(dead, a_dead_submitters_jobs_still_run);
    tcase_add_test(dead, a_dead_submitters_running_job_frees_its_slot);
    tcase_add_test(dead, a_dead_submitters_result_is_dropped);
    tcase_add_test(dead, submitter_and_worker_dead_together);
    tcase_add_test(dead, a_late_owner_is_fenced);
    tcase_add_test(dead, a_late_owner_is_fenced_while_another_runs_it);
    tcase_add_test(dead, a_late_owner_does_not_touch_the_result);
    tcase_add_test(dead, a_dead_starved_loop_swallows_no_answer);
    tcase_add_test(dead, scribbled_semaphores_do_not_hold_the_master);
    tcase_add_test(dead, every_doorbell_rings);
    tcase_add_test(dead, lanes_are_reusable_only_after_repair);
    tcase_add_test(dead, impossible_words_are_counted_and_left);
    suite_add_tcase(suite, dead);
    return suite;
}

PFK_UNIT_MAIN(repair_suite)
