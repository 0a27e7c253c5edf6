/* SPDX-License-Identifier: BSD-2-Clause */
/* Whatever lies in the work segment, those who only look at it or mend it come to an end, in bounded time, and
 * harm nothing else: repair, verify and statistics on every field at its edges, on random, old and torn images,
 * and on rings that lead them on. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "ipc/semaphore.h"
#include "job/control.h"
#include "job/lane.h"
#include "tests/lib/unit.h"

#define SLOTS  8
#define IMAGES 2000

static struct prefork_table *table;
static struct prefork_lane *submitter, *worker, *survivor;
static unsigned char *work;
static size_t judged_bytes; /* of the work segment: all but the payloads, which nobody here reads */

static void make_table(const struct prefork_table_options *options)
{
    ck_assert_msg(prefork_table_create(options, &table) == 0, "%s", prefork_last_error());
    work = prefork_segment_address(table->work_segment);
    judged_bytes = (size_t)(table->payloads - work);
}

static void set_up(void)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = SLOTS,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = 2,
                                                  .generations = 1,
                                                  .outside_producers = 2,
                                                  .max_attempts = 2};

    make_table(&options);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 0), &submitter), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 0), &worker), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 1), &survivor), 0);
}

static uint64_t put(uint32_t flags)
{
    const struct prefork_submission submission = {.size = sizeof(submission), .request_bytes = 4, .flags = flags};
    uint64_t job;

    ck_assert_int_eq(prefork_lane_put(submitter, "work", &submission, PREFORK_NO_WAIT, &job), 0);
    return job;
}

static void claim(struct prefork_lane *lane, bool complete)
{
    struct prefork_job *job;

    ck_assert_int_eq(prefork_lane_claim(lane, PREFORK_NO_WAIT, &job), 0);
    if (complete)
        ck_assert_int_eq(prefork_job_complete(job, 0), 0);
}

/* Slots in all states: waited for, collected, running, waiting, reserved. */
static void fill_table(void)
{
    struct prefork_result result;
    uint64_t collected, reserved;

    collected = put(0);
    claim(survivor, true);
    ck_assert_int_eq(prefork_lane_wait(submitter, collected, PREFORK_NO_WAIT, &result), 0);
    ck_assert_int_eq(prefork_lane_collect(submitter, collected), 0);
    (void)put(PREFORK_SUBMIT_NOTIFY);
    claim(survivor, true);
    (void)put(0);
    claim(worker, false);
    (void)put(PREFORK_SUBMIT_DETACHED);
    ck_assert_int_eq(prefork_lane_reserve(submitter, PREFORK_NO_WAIT, &reserved), 0);
}

static unsigned char *copy_work(void)
{
    unsigned char *const copy = malloc(judged_bytes);

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, work, judged_bytes);
    return copy;
}

static bool statistics_are_bounded(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    return prefork_table_statistics(table, &statistics) == 0 &&
           statistics.free_slots + statistics.reserved_slots + statistics.ready_slots + statistics.claimed_slots +
                   statistics.done_slots <=
               table->geometry.slots;
}

static bool repair_is_bounded(void)
{
    const uint32_t dead[] = {worker->number, submitter->number};
    struct prefork_repair report = {.size = sizeof(report)};

    return prefork_table_repair(table, dead, PFK_COUNT_OF(dead), &report) == 0 &&
           report.deferred <= table->geometry.slots && report.redelivered <= table->geometry.slots;
}

static bool verify_is_bounded(void)
{
    const int broken = prefork_table_verify(table);

    return broken >= 0 && broken <= 64;
}

/* Twice: the second time on what the first repair made of it. */
static bool all_come_to_an_end(void)
{
    for (int i = 0; i < 2; i++)
        if (!statistics_are_bounded() || !verify_is_bounded() || !repair_is_bounded())
            return false;
    return true;
}

/* -- Edges ------------------------------------------------------------------------ */

static const uint64_t edges[] = {0,
                                 1,
                                 2,
                                 SLOTS - 1,
                                 SLOTS,
                                 SLOTS + 1,
                                 4,
                                 5,
                                 6,
                                 0xff,
                                 0xfff,
                                 0x7fffffff,
                                 0x80000000,
                                 UINT32_MAX - 1,
                                 UINT32_MAX,
                                 INT64_MAX,
                                 (uint64_t)INT64_MIN,
                                 UINT64_MAX - 1,
                                 UINT64_MAX,
                                 UINT64_C(0xffffff),
                                 UINT64_C(0xfffffffffffffff8)};

static void poke(size_t at, uint64_t value, size_t width)
{
    memcpy(work + at, &value, width); /* little or big end first, an edge is an edge */
}

static size_t try_edges(const unsigned char *whole, size_t width)
{
    size_t failures = 0;

    for (size_t at = 0; at + width <= judged_bytes; at += width)
        for (size_t i = 0; i < PFK_COUNT_OF(edges); i++) {
            memcpy(work, whole, judged_bytes);
            poke(at, edges[i], width);
            failures += !all_come_to_an_end();
        }
    return failures;
}

START_TEST(every_32_bit_field_at_its_edges)
{
    unsigned char *whole;

    fill_table();
    whole = copy_work();
    ck_assert_uint_eq(try_edges(whole, sizeof(uint32_t)), 0);
    free(whole);
}
END_TEST

START_TEST(every_64_bit_field_at_its_edges)
{
    unsigned char *whole;

    fill_table();
    whole = copy_work();
    ck_assert_uint_eq(try_edges(whole, sizeof(uint64_t)), 0);
    free(whole);
}
END_TEST

/* Each word in each state of each lane, with all flags and attempts at the edges. */
START_TEST(every_state_of_every_owner)
{
    unsigned char *whole;
    size_t failures = 0;

    fill_table();
    whole = copy_work();
    for (uint32_t state = 0; state < 16; state++)
        for (uint32_t owner = 0; owner <= table->geometry.lanes + 1; owner++)
            for (uint32_t flags = 0; flags < 16; flags++)
                for (uint32_t attempt = 0; attempt < 4; attempt++) {
                    memcpy(work, whole, judged_bytes);
                    for (uint32_t i = 0; i < SLOTS; i++)
                        pfk_u64_store_relaxed(&table->descriptors[i].word,
                                              pfk_word(state, flags, attempt * 85, owner, UINT64_MAX));
                    failures += !all_come_to_an_end();
                }
    ck_assert_uint_eq(failures, 0);
    free(whole);
}
END_TEST

/* -- Images ----------------------------------------------------------------------- */

static void fill_randomly(void)
{
    for (size_t at = 0; at < judged_bytes; at += sizeof(uint32_t)) {
        const uint32_t number = (uint32_t)random() << 1 ^ (uint32_t)random();

        memcpy(work + at, &number, sizeof(number));
    }
}

/* Some random piece is replaced by the same piece of another image. */
static void replay_a_piece(const unsigned char *other)
{
    const size_t at = (size_t)random() % judged_bytes, length = (size_t)random() % (judged_bytes - at);

    memcpy(work + at, other + at, length);
}

START_TEST(random_torn_and_old_images)
{
    unsigned char *empty = copy_work(), *full;
    size_t failures = 0;

    fill_table();
    full = copy_work();
    srandom(1);
    for (int i = 0; i < IMAGES; i++) {
        switch (i % 4) {
        case 0:
            fill_randomly();
            break;
        case 1:
            memset(work, i % 8 == 1 ? 0 : 0xff, judged_bytes);
            break;
        case 2:
            memcpy(work, full, judged_bytes);
            replay_a_piece(empty);
            break;
        default: /* on what the last one has left */
            replay_a_piece(i % 8 == 3 ? full : empty);
        }
        failures += !all_come_to_an_end();
    }
    ck_assert_uint_eq(failures, 0);
    free(full);
    free(empty);
}
END_TEST

/* -- What leads the master on ------------------------------------------------------ */

static uint64_t cpu_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * PFK_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Every cell says that its round is over: who looks for an entry, or for an empty cell, walks on and on. */
static void make_endless(const struct pfk_ring *ring)
{
    for (uint64_t i = 0; i < pfk_ring_cells(ring); i++)
        pfk_u64_store_relaxed(&ring->cells[i], UINT64_MAX);
}

static void expect_cheap_pass(uint32_t state, uint64_t limit_ns)
{
    const uint32_t dead = prefork_table_worker_lane(table, 0, 0, 0);
    struct prefork_repair report = {.size = sizeof(report)};
    uint64_t began_ns;

    make_endless(&table->rings.free_hot);
    make_endless(&table->rings.free_cold);
    make_endless(&table->rings.ready);
    for (uint32_t i = 0; i < table->geometry.slots; i++)
        pfk_u64_store_relaxed(&table->descriptors[i].word, pfk_word(state, PFK_WAIT, 1, dead, 1));
    began_ns = cpu_ns();
    ck_assert_int_eq(prefork_table_repair(table, &dead, 1, &report), 0);
    ck_assert_uint_eq(report.deferred + report.suspect + report.buried, table->geometry.slots);
    ck_assert_uint_lt(cpu_ns() - began_ns, limit_ns);
}

/* With the full patience for each slot it took 3 to 8 seconds of processor time; it takes some hundredths. */
START_TEST(endless_rings_cost_a_pass_little)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = 262144,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .max_workers = 256,
                                                  .threads_per_worker = 3,
                                                  .generations = 1};

    make_table(&options);
    for (uint32_t state = PFK_FREE; state <= PFK_LAST_STATE; state++)
        expect_cheap_pass(state, PFK_NS_PER_S);
}
END_TEST

/* Each DONE word may name a waiter; each lane is woken once for all of them. */
START_TEST(many_waiters_named_cost_one_wake_each)
{
    const uint32_t dead = worker->number;
    const struct prefork_semaphore *const sem = &submitter->shm->sem;

    for (uint32_t i = 0; i < SLOTS; i++) {
        pfk_u64_store_relaxed(&table->descriptors[i].word, pfk_word(PFK_DONE, PFK_WAIT, 1, PFK_NOBODY, 1));
        pfk_u32_store_relaxed(&table->descriptors[i].submitter, submitter->number);
    }
    ck_assert_int_eq(prefork_table_repair(table, &dead, 1, NULL), 0);
    ck_assert_int_eq(pfk_semaphore_value(sem), 1);
}
END_TEST

/* The C library aborts whoever sleeps on such a semaphore, and the next one, and so on. */
START_TEST(a_semaphore_that_kills_is_damage)
{
    const uint32_t dead = worker->number;
    struct prefork_semaphore *const semaphores[] = {&table->work->ready_sem, &table->work->room_sem,
                                                    &table->lanes[0].sem, &submitter->shm->sem};

    for (uint32_t i = 0; i < PFK_COUNT_OF(semaphores); i++) {
        struct prefork_repair report = {.size = sizeof(report)};

        ck_assert_int_eq(prefork_table_repair(table, &dead, 1, &report), 0);
        ck_assert_uint_eq(report.suspect, i);
        semaphores[i]->opaque[1] ^= 0x5555;
        ck_assert_int_eq(prefork_table_repair(table, &dead, 1, &report), 0);
        ck_assert_uint_eq(report.suspect, i + 1);
    }
}
END_TEST

/* A full eventfd that was made blocking would hold whoever writes to it: this test would reach its time limit. */
START_TEST(the_pools_master_writes_to_no_eventfd)
{
    const uint64_t full = UINT64_MAX - 1;
    const uint32_t dead = worker->number;

    for (uint32_t number = 1; number <= table->geometry.lanes; number++) {
        ck_assert_int_eq(write(table->wake_fds[number], &full, sizeof(full)), sizeof(full));
        ck_assert_int_eq(fcntl(table->wake_fds[number], F_SETFL, 0), 0);
    }
    pfk_table_leave_loops(table);
    ck_assert_int_eq(prefork_table_repair(table, &dead, 1, NULL), 0);
}
END_TEST

/* -- Made anew --------------------------------------------------------------------- */

static void expect_use(void)
{
    struct prefork_job *job;
    struct prefork_result result;

    for (int i = 0; i < 3 * SLOTS; i++) {
        const uint64_t id = put(0);

        ck_assert_int_eq(prefork_lane_claim(survivor, PREFORK_NO_WAIT, &job), 0);
        ck_assert_int_eq(prefork_job_complete(job, 0), 0);
        ck_assert_int_eq(prefork_lane_wait(submitter, id, PREFORK_NO_WAIT, &result), 0);
        ck_assert_int_eq(prefork_lane_collect(submitter, id), 0);
    }
}

START_TEST(a_rebuilt_table_is_as_new)
{
    const uint64_t full = UINT64_MAX - 1;
    const uint32_t number = survivor->number;
    struct pollfd wake = {.fd = table->wake_fds[number], .events = POLLIN};

    fill_table();
    ck_assert_int_eq(write(wake.fd, &full, sizeof(full)), sizeof(full));
    ck_assert_int_eq(fcntl(wake.fd, F_SETFL, 0), 0);
    memset(work, 0xff, judged_bytes);
    ck_assert_int_eq(pfk_table_rebuild(table), 0);
    ck_assert_msg(prefork_table_verify(table) == 0, "%s", prefork_last_error());
    ck_assert_int_eq(poll(&wake, 1, 0), 0);
    ck_assert_int_eq(fcntl(wake.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    /* the handles of old are nobody's: as if their processes had died */
    ck_assert_int_eq(prefork_lane_open(table, number, &survivor), 0);
    ck_assert_int_eq(prefork_lane_open(table, prefork_table_outside_lane(table, 0), &submitter), 0);
    expect_use();
    prefork_lane_close(&survivor);
    prefork_lane_close(&submitter);
    ck_assert_msg(prefork_table_verify(table) == 0, "%s", prefork_last_error());
}
END_TEST

static Suite *hostile_suite(void)
{
    Suite *const suite = suite_create("hostile");
    TCase *const small = tcase_create("small");
    TCase *const large = tcase_create("large");

    tcase_add_checked_fixture(small, set_up, NULL);
    tcase_set_timeout(small, 30);
    tcase_set_tags(small, PFK_UNIT_NO_VALGRIND); /* a million passes */
    tcase_add_test(small, every_32_bit_field_at_its_edges);
    tcase_add_test(small, every_64_bit_field_at_its_edges);
    tcase_add_test(small, every_state_of_every_owner);
    tcase_add_test(small, random_torn_and_old_images);
    tcase_add_test(small, many_waiters_named_cost_one_wake_each);
    tcase_add_test(small, a_semaphore_that_kills_is_damage);
    tcase_add_test(small, the_pools_master_writes_to_no_eventfd);
    tcase_add_test(small, a_rebuilt_table_is_as_new);
    suite_add_tcase(suite, small);
    tcase_set_timeout(large, 30);
    tcase_set_tags(large, PFK_UNIT_NO_VALGRIND); /* it measures time */
    tcase_add_test(large, endless_rings_cost_a_pass_little);
    suite_add_tcase(suite, large);
    return suite;
}

PFK_UNIT_MAIN(hostile_suite)
