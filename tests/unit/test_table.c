/* SPDX-License-Identifier: BSD-2-Clause */
/* The table from one thread: every call, its results, its refusals. */
#include "prefork/table.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "job/lane.h"
#include "tests/lib/unit.h"

static struct prefork_table *table;
static struct prefork_lane *submitter, *worker;

static void setup_slots(uint32_t slots)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = slots,
                                                  .request_bytes = 128,
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = 2,
                                                  .generations = 1,
                                                  .outside_producers = 2,
                                                  .max_attempts = 2};

    ck_assert_int_eq(prefork_table_create(&options, &table), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 0), &submitter), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 0), &worker), 0);
}

static void setup(void)
{
    setup_slots(4);
}

static void expect_sound(void)
{
    const int broken = prefork_table_verify(table);

    ck_assert_msg(broken == 0, "%s", prefork_last_error());
}

static void teardown(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    prefork_lane_close(&submitter);
    prefork_lane_close(&worker);
    expect_sound();
    ck_assert_int_eq(prefork_table_statistics(table, &statistics), 0);
    ck_assert_uint_eq(statistics.free_slots + statistics.ready_slots, statistics.slots);
    prefork_table_destroy(&table);
    ck_assert_ptr_null(table);
}

static uint64_t put_flags(const char *request, uint32_t flags, void *user)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = strlen(request), .handler = 7, .flags = flags, .user = user};
    uint64_t job = 0;

    ck_assert_int_eq(prefork_lane_put(submitter, request, &submission, PREFORK_NO_WAIT, &job), 0);
    return job;
}

static uint64_t put(const char *request)
{
    return put_flags(request, 0, NULL);
}

static struct prefork_job *claim(void)
{
    struct prefork_job *job = NULL;

    ck_assert_int_eq(prefork_lane_claim(worker, PREFORK_NO_WAIT, &job), 0);
    return job;
}

static void serve(const char *reply)
{
    struct prefork_job *const job = claim();
    size_t capacity;

    memcpy(prefork_job_reply_buffer(job, &capacity), reply, strlen(reply));
    ck_assert_int_eq(prefork_job_reply(job, strlen(reply)), 0);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
}

START_TEST(a_job_goes_round)
{
    struct prefork_result result;
    int user;
    const uint64_t id = put_flags("hello", 0, &user);
    struct prefork_job *const job = claim();
    size_t length, capacity;

    ck_assert_mem_eq(prefork_job_request(job, &length), "hello", 5);
    ck_assert_uint_eq(length, 5);
    ck_assert_uint_eq(prefork_job_id(job), id);
    ck_assert_uint_eq(prefork_job_attempt(job), 1);
    ck_assert_uint_eq(prefork_job_handler(job), 7);
    memcpy(prefork_job_reply_buffer(job, &capacity), "HELLO!", 6);
    ck_assert_uint_eq(capacity, 64);
    ck_assert_int_eq(prefork_job_reply(job, 6), 0);
    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), -EAGAIN);
    ck_assert_int_eq(prefork_lane_collect(submitter, id), -EBUSY);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_DEADLINE, &result), 0);
    ck_assert_uint_eq(result.job, id);
    ck_assert_ptr_eq(result.user, &user);
    ck_assert_uint_eq(result.reply_bytes, 6);
    ck_assert_mem_eq(result.reply, "HELLO!", 6);
    ck_assert_int_eq(result.status, 0);
    ck_assert_uint_eq(result.attempts, 1);
    ck_assert_int_eq(prefork_lane_collect(submitter, id), 0);
    ck_assert_int_eq(prefork_lane_collect(submitter, id), -EINVAL);
}
END_TEST

START_TEST(jobs_are_claimed_in_order)
{
    const uint64_t first = put("1"), second = put("2");

    ck_assert_uint_eq(prefork_job_id(claim()), first);
    ck_assert_int_eq(prefork_job_complete(&worker->job, 0), 0);
    ck_assert_uint_eq(prefork_job_id(claim()), second);
    ck_assert_int_eq(prefork_job_complete(&worker->job, -EIO), 0);
}
END_TEST

START_TEST(a_reply_may_point_into_the_request)
{
    struct prefork_result result;
    const uint64_t id = put("abcdef");
    struct prefork_job *const job = claim();

    ck_assert_int_eq(prefork_job_reply_request(job, 5, 2), -EINVAL);
    ck_assert_int_eq(prefork_job_reply_request(job, SIZE_MAX, 2), -EINVAL);
    ck_assert_int_eq(prefork_job_reply_request(job, 2, 4), 0);
    ck_assert_int_eq(prefork_job_reply(job, 65), -EMSGSIZE);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), 0);
    ck_assert_mem_eq(result.reply, "cdef", 4);
    ck_assert_uint_eq(result.reply_bytes, 4);
}
END_TEST

START_TEST(a_status_reaches_the_submitter)
{
    struct prefork_result result;
    const uint64_t id = put("x");

    ck_assert_int_eq(prefork_job_complete(claim(), 1), -EINVAL);
    ck_assert_int_eq(prefork_job_complete(&worker->job, -EDOM), 0);
    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), 0);
    ck_assert_int_eq(result.status, -EDOM);
    ck_assert_uint_eq(result.reply_bytes, 0);
}
END_TEST

START_TEST(a_full_table_refuses_or_waits)
{
    uint64_t jobs[4], more;

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &more), -EAGAIN);
    ck_assert_int_eq(prefork_lane_reserve(submitter, prefork_deadline_after_ms(1), &more), -ETIMEDOUT);
    ck_assert_int_eq(prefork_lane_want_room(submitter), 0);
    ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[2]), 0);
    ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[2]), -EINVAL);
    struct pollfd wake = {.fd = prefork_lane_wake_fd(submitter), .events = POLLIN};
    ck_assert_int_eq(poll(&wake, 1, 0), 1);
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &more), 0);
    ck_assert_uint_ne(more, jobs[2]);
}
END_TEST

static uint32_t slots_in_state(uint32_t state)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < table->geometry.slots; i++)
        n += pfk_word_state(pfk_u64_load_relaxed(&table->descriptors[i].word)) == state;
    return n;
}

START_TEST(a_collected_slot_is_reserved_again_by_the_same_lane)
{
    const uint64_t job = put("x");
    struct prefork_result result;
    uint64_t again;

    serve("y");
    ck_assert_int_eq(prefork_lane_wait(submitter, job, PREFORK_NO_WAIT, &result), 0);
    ck_assert_int_eq(prefork_lane_collect(submitter, job), 0);
    ck_assert_uint_eq(slots_in_state(PFK_SPARE), 1);
    expect_sound();
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &again), 0);
    ck_assert_uint_eq(pfk_job_index(again), pfk_job_index(job));
    ck_assert_uint_eq(slots_in_state(PFK_SPARE), 0);
    ck_assert_int_eq(prefork_lane_abandon(submitter, again), 0);
}
END_TEST

/* Nothing is hoarded: a table of 4 slots takes 4 jobs, whoever freed them. */
START_TEST(spare_slots_are_anybodys)
{
    struct prefork_lane *other;
    uint64_t jobs[4], more;

    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 1), &other), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[i]), 0);
    ck_assert_uint_eq(slots_in_state(PFK_SPARE), 4);
    ck_assert_int_eq(prefork_lane_want_room(other), 1);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(prefork_lane_reserve(other, PREFORK_NO_WAIT, &jobs[i]), 0);
        expect_sound(); /* what is left is still found, though `bottom` was told */
    }
    ck_assert_int_eq(prefork_lane_reserve(other, PREFORK_NO_WAIT, &more), -EAGAIN);
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &more), -EAGAIN);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_abandon(other, jobs[i]), 0);
    expect_sound();
    prefork_lane_close(&other);
    ck_assert_uint_eq(slots_in_state(PFK_SPARE), 0);
    expect_sound();
}
END_TEST

/* Who never collects finds the slots with the worker that frees its jobs. */
START_TEST(detached_jobs_come_back_without_a_ring)
{
    struct pfk_ring_entry entry;

    for (int i = 0; i < 4 * 3; i++) {
        (void)put_flags("x", PREFORK_SUBMIT_DETACHED, NULL);
        serve("");
    }
    ck_assert_uint_eq(slots_in_state(PFK_SPARE), 4);
    ck_assert(!pfk_ring_peek(&table->rings.free_hot, &entry));
    ck_assert_uint_eq(pfk_ring_end(&table->rings.free_hot), 4);
    expect_sound();
}
END_TEST

/* A worker is stopped in the midst of completing: its hint is there and the slot is not spare yet. Whoever looks then
 * must find the slot later. */
START_TEST(a_hint_that_is_there_too_early_is_not_passed_over)
{
    struct prefork_lane *other;
    uint64_t jobs[3], more;
    pfk_atomic_u64 *at;

    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 1), &other), 0);
    (void)put_flags("x", PREFORK_SUBMIT_DETACHED, NULL);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    at = &pfk_table_descriptor(table, claim()->index)->word;
    pfk_u64_store_relaxed(&worker->shm->magazine.hints[worker->magazine.top % PFK_MAGAZINE_PLACES],
                          prefork_job_id(&worker->job));
    pfk_u64_store_release(&worker->shm->magazine.top, ++worker->magazine.top);
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &more), -EAGAIN);
    ck_assert_int_eq(prefork_lane_reserve(other, PREFORK_NO_WAIT, &more), -EAGAIN);
    ck_assert_int_eq(prefork_lane_want_room(submitter), 0);
    pfk_u64_store_release(at, pfk_word_moved(pfk_u64_load_acquire(at), PFK_SPARE, worker->number));
    worker->job.held = false;
    ck_assert_int_eq(prefork_lane_want_room(submitter), 1);
    ck_assert_int_eq(prefork_lane_reserve(other, PREFORK_NO_WAIT, &more), 0);
    prefork_lane_close(&other);
}
END_TEST

/* The same with spare slots behind it: whoever takes these tells nobody that all before them is stale. */
START_TEST(what_is_taken_behind_a_pending_hint_hides_nothing)
{
    enum { SLOTS = 64 };
    struct prefork_lane *other;
    uint64_t jobs[SLOTS], more;
    pfk_atomic_u64 *at;

    teardown();
    setup_slots(SLOTS);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 1), &other), 0);
    for (int i = 0; i < SLOTS; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    pfk_u64_store_relaxed(&submitter->shm->magazine.hints[submitter->magazine.top % PFK_MAGAZINE_PLACES], jobs[0]);
    pfk_u64_store_release(&submitter->shm->magazine.top, ++submitter->magazine.top);
    for (int i = 1; i < SLOTS; i++)
        ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[i]), 0);
    for (int i = 1; i < SLOTS; i++)
        ck_assert_int_eq(prefork_lane_reserve(i % 2 == 0 ? other : submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    ck_assert_int_eq(prefork_lane_reserve(other, PREFORK_NO_WAIT, &more), -EAGAIN);
    at = &pfk_table_descriptor(table, pfk_job_index(jobs[0]))->word;
    pfk_u64_store_release(at, pfk_word_moved(pfk_u64_load_acquire(at), PFK_SPARE, submitter->number));
    expect_sound();
    ck_assert_int_eq(prefork_lane_reserve(other, PREFORK_NO_WAIT, &more), 0);
    ck_assert_uint_eq(pfk_job_index(more), pfk_job_index(jobs[0]));
    prefork_lane_close(&other);
}
END_TEST

/* Who meets a slot in a ring looks at the freer's magazine from then on, but not at all that others took out of it. */
START_TEST(who_follows_a_freer_begins_where_others_have_got_to)
{
    enum { ROUNDS = 100 };
    struct prefork_lane *other;
    uint64_t job;

    for (int i = 0; i < ROUNDS; i++) {
        (void)put_flags("x", PREFORK_SUBMIT_DETACHED, NULL);
        serve("");
    }
    prefork_lane_close(&worker); /* its slots go to the rings */
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 0), &worker), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 1), &other), 0);
    ck_assert_int_eq(prefork_lane_reserve(other, PREFORK_NO_WAIT, &job), 0);
    ck_assert_uint_eq(other->magazine.source.lane, worker->number);
    ck_assert_uint_le(worker->magazine.top - other->magazine.source.ticket, 32);
    prefork_lane_close(&other);
}
END_TEST

/* Who remembers how far it has looked in a lane's magazine is right about the next holder of that lane, too. */
START_TEST(the_next_holder_of_a_lane_hides_nothing)
{
    enum { SLOTS = 64, HELD = 60, ROUNDS = 24 };
    uint64_t held[HELD], job;

    prefork_lane_close(&submitter);
    prefork_lane_close(&worker);
    prefork_table_destroy(&table);
    setup_slots(SLOTS);
    for (int i = 0; i < HELD; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &held[i]), 0);
    for (int i = 0; i < ROUNDS; i++) {
        (void)put_flags("x", PREFORK_SUBMIT_DETACHED, NULL);
        serve("");
    }
    prefork_lane_close(&worker);
    for (int i = 0; i < HELD; i++)
        ck_assert_int_eq(prefork_lane_abandon(submitter, held[i]), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 0), &worker), 0);
    for (int i = 0; i < SLOTS; i++)
        (void)put_flags("x", PREFORK_SUBMIT_DETACHED, NULL);
    for (int i = 0; i < SLOTS; i++)
        serve("");
    for (int i = 0; i < SLOTS; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &job), 0);
}
END_TEST

START_TEST(a_full_magazine_overflows_into_the_free_rings)
{
    uint64_t jobs[2 * PFK_MAGAZINE_PLACES];

    prefork_lane_close(&submitter);
    prefork_lane_close(&worker);
    prefork_table_destroy(&table);
    setup_slots(2 * PFK_MAGAZINE_PLACES);
    for (int i = 0; i < _i; i++) { /* so that `bottom` lags by some tickets, or by none */
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[0]), 0);
        ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[0]), 0);
    }
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 2 * PFK_MAGAZINE_PLACES; i++)
            ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
        for (uint32_t i = 0; i < 2 * PFK_MAGAZINE_PLACES; i++)
            ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[i]), 0);
        ck_assert_uint_eq(slots_in_state(PFK_SPARE), PFK_MAGAZINE_PLACES);
        expect_sound();
    }
}
END_TEST

START_TEST(an_answer_about_room_is_not_swallowed)
{
    struct pollfd wake = {.fd = prefork_lane_wake_fd(submitter), .events = POLLIN};
    struct prefork_result result;
    uint64_t jobs[4];

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    ck_assert_int_eq(prefork_lane_want_room(submitter), 0);
    ck_assert_int_eq(prefork_lane_next(submitter, &result), -EAGAIN);
    ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[0]), 0);
    ck_assert_int_eq(prefork_lane_next(submitter, &result), 1);
    ck_assert_int_eq(prefork_lane_next(submitter, &result), -EAGAIN);
    ck_assert_int_eq(poll(&wake, 1, 0), 0);
}
END_TEST

START_TEST(an_answer_about_room_reaches_all_loops)
{
    struct prefork_lane *other;
    struct prefork_result result;
    uint64_t jobs[4];

    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 1), &other), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    ck_assert_int_eq(prefork_lane_want_room(submitter), 0);
    ck_assert_int_eq(prefork_lane_want_room(other), 0);
    ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[0]), 0);
    ck_assert_int_eq(prefork_lane_next(other, &result), 1);
    ck_assert_int_eq(prefork_lane_next(submitter, &result), 1);
    prefork_lane_close(&other);
}
END_TEST

START_TEST(oversize_is_refused_before_a_byte_is_written)
{
    char request[129] = {0};
    struct prefork_submission submission = {.size = sizeof(submission), .request_bytes = 129};
    uint64_t job;
    size_t capacity;
    unsigned char *buffer;

    ck_assert_int_eq(prefork_lane_put(submitter, request, &submission, PREFORK_NO_WAIT, &job), -EMSGSIZE);
    ck_assert_str_eq(prefork_last_error(),
                     "prefork_lane_put: a request of 129 bytes; this table's slots take 128: create it with a greater "
                     "request_bytes");
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &job), 0);
    buffer = prefork_lane_request_buffer(submitter, job, &capacity);
    ck_assert_uint_eq(capacity, 128);
    buffer[0] = 1;
    submission.request_bytes = SIZE_MAX;
    ck_assert_int_eq(prefork_lane_submit(submitter, job, &submission), -EMSGSIZE);
    submission.request_bytes = 128;
    ck_assert_int_eq(prefork_lane_submit(submitter, job, &submission), 0);
    ck_assert_int_eq(prefork_lane_submit(submitter, job, &submission), -EINVAL);
    ck_assert_ptr_null(prefork_lane_request_buffer(submitter, job, &capacity));
}
END_TEST

START_TEST(a_detached_job_frees_its_slot)
{
    const uint64_t id = put_flags("x", PREFORK_SUBMIT_DETACHED, NULL);
    struct prefork_result result;
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), -EINVAL);
    ck_assert_int_eq(prefork_job_complete(claim(), 0), 0);
    ck_assert_int_eq(prefork_table_statistics(table, &statistics), 0);
    ck_assert_uint_eq(statistics.free_slots, 4);
    ck_assert_uint_eq(statistics.completed, 1);
    expect_sound();
}
END_TEST

START_TEST(detach_drops_the_interest_in_every_state)
{
    const uint64_t ready = put("1"), running = put("2"), done = put("3");

    ck_assert_int_eq(prefork_lane_detach(submitter, ready), 0);
    ck_assert_int_eq(prefork_job_complete(claim(), 0), 0);
    (void)claim();
    ck_assert_int_eq(prefork_lane_detach(submitter, running), 0);
    ck_assert_int_eq(prefork_job_complete(&worker->job, 0), 0);
    serve("ok");
    ck_assert_int_eq(prefork_lane_detach(submitter, done), 0);
    ck_assert_int_eq(prefork_lane_detach(submitter, done), -EINVAL);
    expect_sound();
}
END_TEST

START_TEST(completions_come_through_the_eventfd)
{
    struct pollfd wake = {.fd = prefork_lane_wake_fd(submitter), .events = POLLIN};
    struct prefork_result result;
    int user;
    const uint64_t id = put_flags("x", PREFORK_SUBMIT_NOTIFY, &user);

    ck_assert_int_eq(prefork_lane_next(submitter, &result), -EAGAIN);
    ck_assert_int_eq(poll(&wake, 1, 0), 0);
    serve("y");
    ck_assert_int_eq(poll(&wake, 1, 0), 1);
    ck_assert_int_eq(prefork_lane_next(submitter, &result), 0);
    ck_assert_uint_eq(result.job, id);
    ck_assert_ptr_eq(result.user, &user);
    ck_assert_int_eq(prefork_lane_next(submitter, &result), -EAGAIN);
    ck_assert_int_eq(poll(&wake, 1, 0), 0);
    ck_assert_int_eq(prefork_lane_collect(submitter, id), 0);
}
END_TEST

START_TEST(each_of_several_reserved_jobs_keeps_what_goes_with_it)
{
    const uint32_t flags[4] = {PREFORK_SUBMIT_NOTIFY, 0, PREFORK_SUBMIT_NOTIFY, 0};
    struct prefork_result result;
    uint64_t jobs[4];
    size_t capacity;

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    for (int i = 0; i < 4; i++) {
        const int at = (i + _i) % 4;
        const struct prefork_submission submission = {
            .size = sizeof(submission), .flags = flags[at], .user = &jobs[at]};

        ck_assert_ptr_nonnull(prefork_lane_request_buffer(submitter, jobs[at], &capacity));
        ck_assert_int_eq(prefork_lane_wait(submitter, jobs[at], PREFORK_NO_WAIT, &result), -EINVAL);
        ck_assert_int_eq(prefork_lane_submit(submitter, jobs[at], &submission), 0);
        ck_assert_ptr_null(prefork_lane_request_buffer(submitter, jobs[at], &capacity));
        ck_assert_int_eq(prefork_lane_submit(submitter, jobs[at], &submission), -EINVAL);
        serve("y");
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(prefork_lane_wait(submitter, jobs[i], PREFORK_NO_WAIT, &result), 0);
        ck_assert_ptr_eq(result.user, &jobs[i]);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(prefork_lane_next(submitter, &result), 0);
        ck_assert(result.user == &jobs[0] || result.user == &jobs[2]);
    }
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_collect(submitter, jobs[i]), 0);
    ck_assert(!pfk_lane_expects(submitter));
}
END_TEST

static void expect_not_reserved(uint64_t job)
{
    const struct prefork_submission submission = {.size = sizeof(submission), .flags = PREFORK_SUBMIT_DETACHED};
    struct prefork_result result;
    size_t capacity;

    ck_assert_ptr_null(prefork_lane_request_buffer(submitter, job, &capacity));
    ck_assert_int_eq(prefork_lane_submit(submitter, job, &submission), -EINVAL);
    ck_assert_int_eq(prefork_lane_abandon(submitter, job), -EINVAL);
    ck_assert_int_eq(prefork_lane_wait(submitter, job, PREFORK_NO_WAIT, &result), -EINVAL);
    ck_assert_int_eq(prefork_lane_detach(submitter, job), -EINVAL);
    ck_assert_int_eq(prefork_lane_collect(submitter, job), -EINVAL);
}

START_TEST(only_what_is_reserved_is_submitted)
{
    struct prefork_lane *other;
    uint64_t job;

    expect_not_reserved(0);
    expect_not_reserved(UINT64_MAX);
    ck_assert(!pfk_lane_expects(submitter));
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &job), 0);
    ck_assert(pfk_lane_expects(submitter));
    expect_not_reserved(0);
    expect_not_reserved(pfk_job_index(job));
    ck_assert_int_eq(prefork_lane_abandon(submitter, job), 0);
    ck_assert(!pfk_lane_expects(submitter));
    expect_not_reserved(job);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 1), &other), 0);
    ck_assert_int_eq(prefork_lane_reserve(other, PREFORK_NO_WAIT, &job), 0);
    expect_not_reserved(job);
    prefork_lane_close(&other);
}
END_TEST

/* Of a damaged table: the slot comes again while we hold it, in a later life or in the same one. */
START_TEST(a_slot_that_is_given_twice_leaves_the_list_whole)
{
    uint64_t jobs[3], word;
    pfk_atomic_u64 *at;

    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[0]), 0);
    at = &pfk_table_descriptor(table, pfk_job_index(jobs[0]))->word;
    word = pfk_word(PFK_SPARE, 0, 0, submitter->number, pfk_job_life(jobs[0]) - (uint64_t)_i);
    pfk_u64_store_relaxed(&submitter->shm->magazine.hints[0], pfk_job_id(word, pfk_job_index(jobs[0])));
    pfk_u64_store_release(&submitter->shm->magazine.top, ++submitter->magazine.top);
    pfk_u64_store_release(at, word);
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[1]), 0);
    ck_assert_uint_eq(jobs[1], pfk_job_id(pfk_u64_load_relaxed(at), pfk_job_index(jobs[0])));
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[2]), 0);
    ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[1]), 0);
    ck_assert_int_ne(prefork_lane_abandon(submitter, jobs[0]), 0);
    ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[2]), 0);
}
END_TEST

/* The job that it would look at next is collected, and its slot used again. */
START_TEST(a_rescan_misses_nothing_that_is_collected_meanwhile)
{
    struct prefork_result result;
    struct pfk_ring_entry entry;
    uint64_t jobs[4];

    for (int i = 0; i < 4; i++)
        jobs[i] = put_flags("x", PREFORK_SUBMIT_NOTIFY, NULL);
    for (int i = 0; i < 4; i++)
        serve("y");
    while (pfk_ring_peek(&submitter->mailbox, &entry))
        pfk_ring_remove_alone(&submitter->mailbox, &entry);
    pfk_u32_store_release(&submitter->shm->rescan, 1);
    ck_assert_int_eq(prefork_lane_next(submitter, &result), 0);
    ck_assert_uint_eq(result.job, jobs[0]);
    ck_assert_int_eq(prefork_lane_collect(submitter, jobs[1]), 0);
    ck_assert_uint_eq(pfk_job_index(put_flags("x", PREFORK_SUBMIT_NOTIFY, NULL)), pfk_job_index(jobs[1]));
    for (int i = 2; i < 4; i++) {
        ck_assert_int_eq(prefork_lane_next(submitter, &result), 0);
        ck_assert_uint_eq(result.job, jobs[i]);
    }
    ck_assert_int_eq(prefork_lane_next(submitter, &result), -EAGAIN);
}
END_TEST

START_TEST(an_overflowing_mailbox_loses_nothing)
{
    enum { JOBS = 1000 };
    struct prefork_result result;
    int given = 0;

    teardown();
    setup_slots(1024);
    for (int i = 0; i < JOBS; i++)
        (void)put_flags("x", PREFORK_SUBMIT_NOTIFY, NULL);
    for (int i = 0; i < JOBS; i++)
        serve("y");
    while (prefork_lane_next(submitter, &result) == 0) {
        given++;
        ck_assert_int_eq(prefork_lane_collect(submitter, result.job), 0);
    }
    ck_assert_int_eq(given, JOBS);
}
END_TEST

START_TEST(hand_back_is_no_attempt)
{
    struct prefork_result result;
    const uint64_t id = put("x");

    for (int i = 0; i < 600; i++) {
        struct prefork_job *const job = claim();

        ck_assert_uint_eq(prefork_job_attempt(job), 1);
        ck_assert_int_eq(prefork_job_hand_back(job), 0);
        expect_sound();
    }
    serve("y");
    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), 0);
    ck_assert_uint_eq(result.attempts, 1);
}
END_TEST

START_TEST(a_lane_holds_one_job)
{
    struct prefork_job *job;

    (void)put("1");
    (void)put("2");
    (void)claim();
    ck_assert_int_eq(prefork_lane_claim(worker, PREFORK_NO_WAIT, &job), -EBUSY);
    ck_assert_int_eq(prefork_job_complete(&worker->job, 0), 0);
    serve("y");
    ck_assert_int_eq(prefork_lane_claim(worker, PREFORK_NO_WAIT, &job), -EAGAIN);
    ck_assert_int_eq(prefork_lane_claim(worker, prefork_deadline_after_ms(1), &job), -ETIMEDOUT);
}
END_TEST

START_TEST(an_interrupt_ends_each_wait)
{
    struct prefork_job *job;
    struct prefork_result result;
    uint64_t id, jobs[4];

    prefork_lane_interrupt(worker);
    ck_assert_int_eq(prefork_lane_claim(worker, PREFORK_NO_DEADLINE, &job), -EINTR);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
    prefork_lane_interrupt(submitter);
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_DEADLINE, &id), -EINTR);
    ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[0]), 0);
    id = put("x");
    prefork_lane_interrupt(submitter);
    ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_DEADLINE, &result), -EINTR);
}
END_TEST

START_TEST(lanes_are_exclusive)
{
    struct prefork_lane *lane;

    ck_assert_int_eq(prefork_lane_open(table, prefork_lane_number(submitter), &lane), -EBUSY);
    ck_assert_int_eq(prefork_lane_open(table, 0, &lane), -EINVAL);
    ck_assert_int_eq(prefork_lane_open(table, PREFORK_LANE_MASTER, &lane), -EINVAL);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_lanes(table) + 1, &lane), -EINVAL);
    ck_assert_uint_eq(prefork_table_worker_lane(table, 1, 0, 0), 0);
    ck_assert_uint_eq(prefork_table_worker_lane(table, 0, 0, 2), 0);
    ck_assert_uint_eq(prefork_table_outside_lane(table, 2), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 1), &lane), 0);
    prefork_lane_close(&lane);
    prefork_lane_close(&lane);
}
END_TEST

START_TEST(closing_a_lane_leaves_nothing_of_it)
{
    uint64_t reserved;

    (void)put("ready");
    (void)put("claimed");
    (void)claim();
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &reserved), 0);
    prefork_lane_close(&submitter);
    prefork_lane_close(&worker);
    expect_sound();
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 1), &worker), 0);
    serve("1");
    serve("2");
}
END_TEST

START_TEST(a_child_cannot_use_the_parents_lane)
{
    int status;
    pid_t child;
    struct prefork_job *held;

    (void)put("held");
    held = claim();
    child = fork();

    if (child == 0) {
        uint64_t job;
        struct prefork_job *claimed;
        const int ok = prefork_job_complete(held, 0) == -ECHILD && prefork_job_hand_back(held) == -ECHILD &&
                       prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &job) == -ECHILD &&
                       prefork_lane_claim(worker, PREFORK_NO_WAIT, &claimed) == -ECHILD &&
                       prefork_lane_wake_fd(submitter) == -ECHILD;

        prefork_lane_close(&submitter);
        _exit(ok && submitter == NULL ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)put("still the parent's");
}
END_TEST

START_TEST(options_are_checked_and_named)
{
    struct prefork_table *none = NULL;
    struct prefork_table_options options = {.size = sizeof(options), .slots = 1};

    ck_assert_int_eq(prefork_table_create(&options, &none), -EINVAL);
    ck_assert_str_eq(prefork_last_error(), "prefork_table_create: slots is 1; choose 2 to 1048576");
    options = (struct prefork_table_options){.size = sizeof(options), .max_attempts = 255};
    ck_assert_int_eq(prefork_table_create(&options, &none), -EINVAL);
    options = (struct prefork_table_options){
        .size = sizeof(options), .max_workers = 1024, .threads_per_worker = 4, .generations = 1};
    ck_assert_int_eq(prefork_table_create(&options, &none), -EINVAL);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "4098 lanes; a table has at most 4094"));
    options = (struct prefork_table_options){.size = 4};
    ck_assert_int_eq(prefork_table_create(&options, &none), -EINVAL);
    ck_assert_ptr_null(none);
    ck_assert_int_eq(prefork_table_create(NULL, &none), 0);
    ck_assert_uint_eq(prefork_table_request_bytes(none), 8192);
    ck_assert_int_eq(prefork_table_verify(none), 0);
    prefork_table_destroy(&none);
}
END_TEST

/* Where one job at a time goes round, always in one slot, its 2^36 lives are used up within a day. */
START_TEST(a_slot_has_a_life_after_its_last)
{
    uint64_t jobs[4], more;

    for (uint32_t i = 0; i < 4; i++)
        pfk_u64_store_relaxed(&table->descriptors[i].word,
                              pfk_word(PFK_FREE, 0, 0, PFK_NOBODY, PFK_LIFE_MASK - (uint64_t)_i));
    for (int round = 0; round < 3; round++) { /* out of the ring, then out of the magazine */
        for (int i = 0; i < 4; i++) {
            ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &jobs[i]), 0);
            ck_assert_uint_ne(jobs[i], 0);
        }
        ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &more), -EAGAIN);
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(prefork_lane_abandon(submitter, jobs[i]), 0);
    }
}
END_TEST

START_TEST(slots_are_used_for_ever)
{
    for (int i = 0; i < 10000; i++) {
        const uint64_t id = put("x");
        struct prefork_result result;

        serve("y");
        ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), 0);
        ck_assert_int_eq(prefork_lane_collect(submitter, id), 0);
    }
    expect_sound();
}
END_TEST

static Suite *table_suite(void)
{
    Suite *const suite = suite_create("table");
    TCase *const one = tcase_create("one thread");

    tcase_add_checked_fixture(one, setup, teardown);
    tcase_add_test(one, a_collected_slot_is_reserved_again_by_the_same_lane);
    tcase_add_test(one, spare_slots_are_anybodys);
    tcase_add_test(one, detached_jobs_come_back_without_a_ring);
    tcase_add_test(one, a_hint_that_is_there_too_early_is_not_passed_over);
    tcase_add_test(one, what_is_taken_behind_a_pending_hint_hides_nothing);
    tcase_add_test(one, who_follows_a_freer_begins_where_others_have_got_to);
    tcase_add_test(one, the_next_holder_of_a_lane_hides_nothing);
    tcase_add_loop_test(one, a_full_magazine_overflows_into_the_free_rings, 0, 3);
    tcase_add_test(one, a_job_goes_round);
    tcase_add_test(one, jobs_are_claimed_in_order);
    tcase_add_test(one, a_reply_may_point_into_the_request);
    tcase_add_test(one, a_status_reaches_the_submitter);
    tcase_add_test(one, a_full_table_refuses_or_waits);
    tcase_add_test(one, an_answer_about_room_is_not_swallowed);
    tcase_add_test(one, an_answer_about_room_reaches_all_loops);
    tcase_add_test(one, oversize_is_refused_before_a_byte_is_written);
    tcase_add_test(one, a_detached_job_frees_its_slot);
    tcase_add_test(one, detach_drops_the_interest_in_every_state);
    tcase_add_test(one, completions_come_through_the_eventfd);
    tcase_add_loop_test(one, each_of_several_reserved_jobs_keeps_what_goes_with_it, 0, 4);
    tcase_add_test(one, only_what_is_reserved_is_submitted);
    tcase_add_loop_test(one, a_slot_that_is_given_twice_leaves_the_list_whole, 0, 2);
    tcase_add_test(one, a_rescan_misses_nothing_that_is_collected_meanwhile);
    tcase_add_test(one, an_overflowing_mailbox_loses_nothing);
    tcase_add_test(one, hand_back_is_no_attempt);
    tcase_add_test(one, a_lane_holds_one_job);
    tcase_add_test(one, an_interrupt_ends_each_wait);
    tcase_add_test(one, lanes_are_exclusive);
    tcase_add_test(one, closing_a_lane_leaves_nothing_of_it);
    tcase_add_test(one, a_child_cannot_use_the_parents_lane);
    tcase_add_test(one, options_are_checked_and_named);
    tcase_add_loop_test(one, a_slot_has_a_life_after_its_last, 0, 2);
    tcase_add_test(one, slots_are_used_for_ever);
    suite_add_tcase(suite, one);
    return suite;
}

PFK_UNIT_MAIN(table_suite)
