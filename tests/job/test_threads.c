/* SPDX-License-Identifier: BSD-2-Clause */
/* The table with threads in one process, so that ThreadSanitizer sees both
 * sides of each order: producers of all three kinds, workers, plain writes to
 * requests and replies. Semantic: each result must be the one of its request,
 * each job must run exactly once. */
#include "prefork/table.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "tests/lib/unit.h"

#define PRODUCERS 6 /* two of each kind */
#define WORKERS 3
#define JOBS 2000
#define IN_FLIGHT 8

enum kind { WAITED, NOTIFIED, DETACHED };

static struct prefork_table *table;
static pfk_atomic_u32 runs[PRODUCERS * JOBS];
static pfk_atomic_u32 stop;

struct message {
    uint32_t number;
    uint32_t check; /* of the number, so that a torn one is seen */
};

static uint32_t check_of(uint32_t number)
{
    return number * UINT32_C(2654435761);
}

static void submit(struct prefork_lane *lane, uint32_t number, uint32_t flags)
{
    const struct message message = {number, check_of(number)};
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(message), .flags = flags, .user = &runs[number]};
    uint64_t job;

    ck_assert_int_eq(prefork_lane_put(lane, &message, &submission, PREFORK_NO_DEADLINE, &job), 0);
}

static void expect_reply(const struct prefork_result *result)
{
    struct message reply;

    ck_assert_uint_eq(result->reply_bytes, sizeof(reply));
    memcpy(&reply, result->reply, sizeof(reply));
    ck_assert_ptr_eq(result->user, &runs[reply.number]);
    ck_assert_uint_eq(reply.check, ~check_of(reply.number));
}

static void produce_waited(struct prefork_lane *lane, uint32_t first)
{
    for (uint32_t i = 0; i < JOBS; i++) {
        const struct message message = {first + i, check_of(first + i)};
        const struct prefork_submission submission = {
            .size = sizeof(submission), .request_bytes = sizeof(message), .user = &runs[first + i]};
        struct prefork_result result;
        uint64_t job;

        ck_assert_int_eq(prefork_lane_put(lane, &message, &submission, PREFORK_NO_DEADLINE, &job), 0);
        ck_assert_int_eq(prefork_lane_wait(lane, job, PREFORK_NO_DEADLINE, &result), 0);
        expect_reply(&result);
        ck_assert_int_eq(prefork_lane_collect(lane, job), 0);
    }
}

/* An event loop's way: nothing but the eventfd tells it when to go on. */
static void produce_notified(struct prefork_lane *lane, uint32_t first)
{
    struct pollfd wake = {.fd = prefork_lane_wake_fd(lane), .events = POLLIN};
    uint32_t submitted = 0, collected = 0;

    while (collected < JOBS) {
        struct prefork_result result;
        bool full = false;
        int rc;

        while (!full && submitted < JOBS && submitted - collected < IN_FLIGHT) {
            const struct message message = {first + submitted, check_of(first + submitted)};
            const struct prefork_submission submission = {.size = sizeof(submission),
                                                          .request_bytes = sizeof(message),
                                                          .flags = PREFORK_SUBMIT_NOTIFY,
                                                          .user = &runs[first + submitted]};
            uint64_t job;
            rc = prefork_lane_put(lane, &message, &submission, PREFORK_NO_WAIT, &job);

            ck_assert(rc == 0 || rc == -EAGAIN);
            submitted += rc == 0;
            full = rc == -EAGAIN && prefork_lane_want_room(lane) == 0;
        }
        rc = prefork_lane_next(lane, &result);
        if (rc == 0) {
            expect_reply(&result);
            ck_assert_int_eq(prefork_lane_collect(lane, result.job), 0);
            collected++;
        } else if (rc < 0 && (full || submitted == JOBS || submitted - collected == IN_FLIGHT)) {
            ck_assert_msg(poll(&wake, 1, 20000) == 1, "no wake-up: %u submitted, %u collected", submitted, collected);
        }
    }
}

static void *produce(void *arg)
{
    const uint32_t index = *(const uint32_t *)arg;
    struct prefork_lane *lane;

    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, index), &lane), 0);
    switch ((enum kind)(index % 3)) {
    case WAITED:
        produce_waited(lane, index * JOBS);
        break;
    case NOTIFIED:
        produce_notified(lane, index * JOBS);
        break;
    case DETACHED:
        for (uint32_t i = 0; i < JOBS; i++)
            submit(lane, index * JOBS + i, PREFORK_SUBMIT_DETACHED);
        break;
    }
    prefork_lane_close(&lane);
    return NULL;
}

static void serve(struct prefork_job *job)
{
    struct message message;
    size_t length, capacity;
    const void *const request = prefork_job_request(job, &length);

    ck_assert_uint_eq(length, sizeof(message));
    memcpy(&message, request, sizeof(message));
    ck_assert_uint_eq(message.check, check_of(message.number));
    (void)pfk_u32_add_acq_rel(&runs[message.number], 1);
    message.check = ~message.check;
    memcpy(prefork_job_reply_buffer(job, &capacity), &message, sizeof(message));
    ck_assert_int_eq(prefork_job_reply(job, sizeof(message)), 0);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
}

static void *work(void *arg)
{
    struct prefork_lane *const lane = arg;
    struct prefork_job *job;

    while (pfk_u32_load_acquire(&stop) == 0) {
        const int rc = prefork_lane_claim(lane, PREFORK_NO_DEADLINE, &job);

        ck_assert(rc == 0 || rc == -EINTR);
        if (rc != 0)
            continue;
        if (prefork_job_id(job) % 97 == 0 && prefork_job_attempt(job) == 1 && rand() % 2 == 0)
            ck_assert_int_eq(prefork_job_hand_back(job), 0);
        else
            serve(job);
    }
    return NULL;
}

static bool all_free(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    ck_assert_int_eq(prefork_table_statistics(table, &statistics), 0);
    return statistics.free_slots == statistics.slots;
}

/* Interrupts are repeated because a sleeper may have missed the first. */
static void end_workers(struct prefork_lane **lanes, pthread_t *threads)
{
    pfk_u32_store_release(&stop, 1);
    for (int i = 0; i < WORKERS; i++) {
        struct timespec soon;

        do {
            prefork_lane_interrupt(lanes[i]);
            (void)clock_gettime(CLOCK_REALTIME, &soon);
            soon.tv_nsec += 10000000;
            soon.tv_sec += soon.tv_nsec / 1000000000;
            soon.tv_nsec %= 1000000000;
        } while (pthread_timedjoin_np(threads[i], NULL, &soon) != 0);
        prefork_lane_close(&lanes[i]);
    }
}

START_TEST(producers_and_workers)
{
    static uint32_t indexes[PRODUCERS];
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = (uint32_t)_i,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = WORKERS,
                                                  .outside_producers = PRODUCERS};
    pthread_t producers[PRODUCERS], workers[WORKERS];
    struct prefork_lane *lanes[WORKERS];

    ck_assert_int_eq(prefork_table_create(&options, &table), 0);
    for (uint32_t i = 0; i < WORKERS; i++) {
        ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, i), &lanes[i]), 0);
        ck_assert_int_eq(pthread_create(&workers[i], NULL, work, lanes[i]), 0);
    }
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        indexes[i] = i;
        ck_assert_int_eq(pthread_create(&producers[i], NULL, produce, &indexes[i]), 0);
    }
    for (uint32_t i = 0; i < PRODUCERS; i++)
        ck_assert_int_eq(pthread_join(producers[i], NULL), 0);
    while (!all_free())
        (void)sched_yield(); /* detached jobs still run */
    end_workers(lanes, workers);
    for (uint32_t i = 0; i < PRODUCERS * JOBS; i++)
        ck_assert_uint_eq(pfk_u32_load_acquire(&runs[i]), 1);
    ck_assert_msg(prefork_table_verify(table) == 0, "%s", prefork_last_error());
    prefork_table_destroy(&table);
}
END_TEST

static Suite *threads_suite(void)
{
    static const int slots[] = {2, 5, 64};
    Suite *const suite = suite_create("threads");
    TCase *const all = tcase_create("slots");

    tcase_set_timeout(all, 60);
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++)
        tcase_add_loop_test(all, producers_and_workers, slots[i], slots[i] + 1);
    suite_add_tcase(suite, all);
    return suite;
}

PFK_UNIT_MAIN(threads_suite)
