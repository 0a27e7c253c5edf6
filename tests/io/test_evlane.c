/* SPDX-License-Identifier: BSD-2-Clause */
/* A lane in the loop of somebody else's program. */
#include "prefork/ev.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "base/fd.h"
#include "stage.h"

static struct stage stage;
static struct ev_loop *loop;
static struct prefork_lane *producer;
static struct prefork_ev_lane *watch;
static int fds_before;

static unsigned results, rooms, room_calls_left;

static void open_all(void)
{
    fds_before = pfk_test_fds_open();
    stage_open(&stage, 256, 64, 64);
    loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ck_assert_ptr_nonnull(loop);
    ck_assert_int_eq(prefork_lane_open(stage.table, prefork_table_outside_lane(stage.table, 0), &producer), 0);
}

static void close_all(void)
{
    prefork_ev_lane_unwatch(&watch);
    prefork_lane_close(&producer);
    ev_loop_destroy(loop);
    stage_close(&stage);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static void submit(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct prefork_submission submission = {
            .size = sizeof(submission), .request_bytes = 2, .flags = PREFORK_SUBMIT_NOTIFY, .user = &results};
        uint64_t job;

        ck_assert_int_eq(prefork_lane_put(producer, "hi", &submission, PREFORK_NO_WAIT, &job), 0);
    }
}

static void on_result(const struct prefork_result *result, int room, void *context)
{
    ck_assert_ptr_eq(context, &stage);
    if (result == NULL) {
        ck_assert_int_eq(room, 1);
        rooms++;
        return;
    }
    ck_assert_int_eq(room, 0);
    ck_assert_ptr_eq(result->user, &results);
    ck_assert_uint_eq(result->reply_bytes, 2);
    ck_assert_mem_eq(result->reply, "hi", 2);
    results++;
}

static void run_until(const unsigned *value, unsigned at_least)
{
    const uint64_t deadline_ns = prefork_deadline_after_ms(10000);

    while (*value < at_least) {
        ck_assert(prefork_clock_now_ns() < deadline_ns);
        ev_run(loop, EVRUN_NOWAIT);
    }
}

START_TEST(results_arrive_and_are_collected)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    submit(100);
    ck_assert_uint_eq(stage_work(&stage), 100); /* complete before the watch begins */
    ck_assert_int_eq(prefork_ev_lane_watch(loop, producer, on_result, &stage, &watch), 0);
    run_until(&results, 100);
    for (int i = 0; i < 5; i++)
        ev_run(loop, EVRUN_NOWAIT);
    submit(150);
    ck_assert_uint_eq(stage_work(&stage), 150);
    run_until(&results, 250);
    ck_assert_int_eq(prefork_table_statistics(stage.table, &statistics), 0);
    ck_assert_uint_eq(statistics.free_slots, statistics.slots);
    ck_assert_uint_ge(rooms, 2);
}
END_TEST

START_TEST(room_is_told)
{
    uint64_t jobs[256], refused;

    for (int i = 0; i < 256; i++)
        ck_assert_int_eq(prefork_lane_reserve(stage.workers[0], PREFORK_NO_WAIT, &jobs[i]), 0);
    ck_assert_int_eq(prefork_ev_lane_watch(loop, producer, on_result, &stage, &watch), 0);
    for (int i = 0; i < 5; i++)
        ev_run(loop, EVRUN_NOWAIT);
    ck_assert_int_eq(prefork_lane_reserve(producer, PREFORK_NO_WAIT, &refused), -EAGAIN);
    ck_assert_int_eq(prefork_lane_want_room(producer), 0);
    rooms = 0;
    ev_run(loop, EVRUN_NOWAIT);
    ck_assert_uint_eq(rooms, 0);
    for (int i = 0; i < 256; i++)
        ck_assert_int_eq(prefork_lane_abandon(stage.workers[0], jobs[i]), 0);
    run_until(&rooms, 1);
}
END_TEST

/* Who was to write the eventfd was stopped or killed just before: the loop
 * looks by itself. */
START_TEST(a_wake_up_that_never_comes_is_not_waited_for)
{
    const uint64_t deadline_ns = prefork_deadline_after_ms(10000);

    ck_assert_int_eq(prefork_ev_lane_watch(loop, producer, on_result, &stage, &watch), 0);
    submit(1);
    for (int i = 0; i < 5; i++)
        ev_run(loop, EVRUN_NOWAIT);
    ck_assert_uint_eq(stage_work(&stage), 1);
    pfk_fd_event_clear(prefork_lane_wake_fd(producer));
    while (results == 0) {
        ck_assert(prefork_clock_now_ns() < deadline_ns);
        ev_run(loop, EVRUN_ONCE); /* sleeps until the timer */
    }
}
END_TEST

/* Ends the watch at the first result, or when it is told of room. */
static void end_watch(const struct prefork_result *result, int room, void *context)
{
    (void)context;
    if (room_calls_left > 0 && result != NULL)
        return;
    ck_assert_ptr_nonnull(watch);
    prefork_ev_lane_unwatch(&watch);
    ck_assert_ptr_null(watch);
    results += result != NULL;
    rooms += (unsigned)room;
}

START_TEST(a_watch_may_be_ended_within_its_callback)
{
    room_calls_left = (unsigned)_i;
    ck_assert_int_eq(prefork_ev_lane_watch(loop, producer, end_watch, NULL, &watch), 0);
    submit(3);
    ck_assert_uint_eq(stage_work(&stage), 3);
    run_until(_i == 0 ? &results : &rooms, 1);
    for (int i = 0; i < 5; i++)
        ev_run(loop, EVRUN_NOWAIT);
    ck_assert_uint_eq(results + rooms, 1);
}
END_TEST

START_TEST(a_lane_of_the_parent_is_refused)
{
    int status = -1;
    const pid_t child = fork();

    if (child == 0)
        _exit(prefork_ev_lane_watch(loop, producer, on_result, &stage, &watch) == -ECHILD && watch == NULL ? 0 : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    prefork_ev_lane_unwatch(&watch);
}
END_TEST

static Suite *evlane_suite(void)
{
    Suite *suite = suite_create("evlane");
    TCase *cases = tcase_create("watch");

    tcase_set_timeout(cases, 30);
    tcase_add_checked_fixture(cases, open_all, close_all);
    tcase_add_test(cases, results_arrive_and_are_collected);
    tcase_add_test(cases, room_is_told);
    tcase_add_test(cases, a_wake_up_that_never_comes_is_not_waited_for);
    tcase_add_loop_test(cases, a_watch_may_be_ended_within_its_callback, 0, 2);
    tcase_add_test(cases, a_lane_of_the_parent_is_refused);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(evlane_suite)
