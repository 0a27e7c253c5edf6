/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools that run: jobs from outside, stops of each kind, deaths of each party. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "job/control.h"
#include "pool/pool.h"
#include "prefork.h"
#include "prefork/sync.h"
#include "support.h"

#define WORKERS 2

static struct prefork_pool *pool;
static int descriptor;

/* What handlers and tests share. */
struct shared {
    struct prefork_mutex mutex;
    uint64_t counted;        /* under the mutex */
    pfk_atomic_u32 stuck;    /* handlers that sit in stick */
    pfk_atomic_u32 released; /* 1: they may go on */
};
static struct shared *shared;

static int init_shared(void *region, size_t bytes, void *context)
{
    (void)bytes;
    (void)context;
    return prefork_mutex_init(&((struct shared *)region)->mutex);
}

/* -- Handlers ------------------------------------------------------------------- */

static int echo(struct prefork_job *job, void *context)
{
    size_t length;

    (void)context;
    (void)prefork_job_request(job, &length);
    return prefork_job_reply_request(job, 0, length);
}

static int stick(struct prefork_job *job, void *context)
{
    (void)job;
    (void)context;
    (void)pfk_u32_add_acq_rel(&shared->stuck, 1);
    while (pfk_u32_load_acquire(&shared->released) == 0)
        (void)poll(NULL, 0, 1);
    return 0;
}

static int count(struct prefork_job *job, void *context)
{
    (void)job;
    (void)context;
    if (prefork_mutex_lock(&shared->mutex, PREFORK_NO_DEADLINE) != 0)
        return -EIO;
    shared->counted++;
    return prefork_mutex_unlock(&shared->mutex);
}

static int answer_42(struct prefork_job *job, void *context)
{
    (void)job;
    (void)context;
    return 42;
}

static int fail_with_eproto(struct prefork_job *job, void *context)
{
    (void)job;
    (void)context;
    return -EPROTO;
}

static int die(struct prefork_job *job, void *context)
{
    (void)job;
    (void)context;
    (void)raise(SIGKILL);
    return 0;
}

enum { ECHO, STICK, COUNT, ANSWER_42, FAIL, DIE, HANDLERS };
static const prefork_handler_fn handlers[HANDLERS] = {echo, stick, count, answer_42, fail_with_eproto, die};
static const char *const handler_names[HANDLERS] = {"echo", "stick", "count", "42", "fail", "die"};

/* -- Fixture ---------------------------------------------------------------------- */

static void set_up(void)
{
    void *region;

    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, WORKERS), 0);
    ck_assert_int_eq(prefork_pool_share(pool, sizeof(*shared), init_shared, NULL, &region), 0);
    shared = region;
    for (int i = 0; i < HANDLERS; i++)
        ck_assert_int_eq(prefork_pool_handle(pool, handler_names[i], handlers[i], NULL), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", prefork_protocol_raw("echo")), 0);
}

static void start(void)
{
    ck_assert_msg(prefork_pool_start(pool, &descriptor) == 0, "%s", prefork_last_error());
}

/* Stops the pool in order and looks that its table is whole. */
static void stop_in_order(void)
{
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_msg(prefork_pool_wait(pool, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)) == 0, "%s",
                  prefork_last_error());
    ck_assert_msg(prefork_table_verify(prefork_pool_table(pool)) == 0, "%s", prefork_last_error());
}

static void tear_down(void)
{
    prefork_pool_destroy(&pool);
}

/* -- Jobs from outside --------------------------------------------------------------- */

static struct prefork_lane *open_producer(void)
{
    struct prefork_lane *lane;

    ck_assert_msg(prefork_pool_producer(pool, 0, &lane) == 0, "%s", prefork_last_error());
    return lane;
}

static uint64_t put(struct prefork_lane *lane, uint32_t handler, const char *request)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = strlen(request), .handler = handler};
    uint64_t job;

    ck_assert_int_eq(prefork_lane_put(lane, request, &submission, prefork_deadline_after_ms(SUPPORT_LIMIT_MS), &job),
                     0);
    return job;
}

/* The result is borrowed until the job is collected. */
static struct prefork_result result_of(struct prefork_lane *lane, uint64_t job)
{
    struct prefork_result result;

    ck_assert_msg(prefork_lane_wait(lane, job, prefork_deadline_after_ms(SUPPORT_LIMIT_MS), &result) == 0, "%s",
                  prefork_last_error());
    return result;
}

static int status_of(struct prefork_lane *lane, uint32_t handler)
{
    const uint64_t job = put(lane, handler, "x");
    const int status = result_of(lane, job).status;

    ck_assert_int_eq(prefork_lane_collect(lane, job), 0);
    return status;
}

START_TEST(starter_submits_jobs_and_gets_results)
{
    struct prefork_lane *lane;

    start();
    lane = open_producer();
    for (int i = 0; i < 1000; i++) {
        const uint64_t job = put(lane, ECHO, "hello");
        const struct prefork_result result = result_of(lane, job);

        ck_assert_int_eq(result.status, 0);
        ck_assert_uint_eq(result.reply_bytes, 5);
        ck_assert_int_eq(memcmp(result.reply, "hello", 5), 0);
        ck_assert_int_eq(prefork_lane_collect(lane, job), 0);
    }
    prefork_lane_close(&lane);
    stop_in_order();
}
END_TEST

START_TEST(handlers_answers_become_statuses)
{
    struct prefork_lane *lane;

    start();
    lane = open_producer();
    ck_assert_int_eq(status_of(lane, ECHO), 0);
    ck_assert_int_eq(status_of(lane, FAIL), -EPROTO);
    ck_assert_int_eq(status_of(lane, ANSWER_42), -EINVAL);
    ck_assert_int_eq(status_of(lane, HANDLERS), -ENOENT);
    ck_assert_int_eq(status_of(lane, 65535), -ENOENT);
    prefork_lane_close(&lane);
    stop_in_order();
}
END_TEST

START_TEST(accepted_jobs_run_before_the_end)
{
    const struct prefork_submission detached = {
        .size = sizeof(detached), .handler = COUNT, .flags = PREFORK_SUBMIT_DETACHED};
    struct prefork_lane *lane;
    uint64_t job;

    start();
    lane = open_producer();
    for (int i = 0; i < 500; i++)
        ck_assert_int_eq(prefork_lane_put(lane, "", &detached, prefork_deadline_after_ms(SUPPORT_LIMIT_MS), &job), 0);
    prefork_lane_close(&lane);
    stop_in_order();
    ck_assert_uint_eq(shared->counted, 500);
}
END_TEST

START_TEST(job_that_kills_its_workers_is_given_up)
{
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};
    struct prefork_lane *lane;

    start();
    lane = open_producer();
    ck_assert_int_eq(status_of(lane, DIE), -EOWNERDEAD);
    ck_assert_int_eq(status_of(lane, ECHO), 0);
    prefork_lane_close(&lane);
    stop_in_order(); /* the result is there a moment before it is counted */
    ck_assert_int_eq(prefork_pool_statistics(pool, &statistics), 0);
    ck_assert_uint_eq(statistics.buried, 1);
    ck_assert_uint_eq(statistics.redelivered, 2);
    ck_assert_uint_eq(statistics.workers_lost, 3);
}
END_TEST

/* -- The region --------------------------------------------------------------------- */

START_TEST(region_is_shared_by_all_workers)
{
    enum { JOBS = 400 };
    struct prefork_lane *lane;
    uint64_t jobs[JOBS];

    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 4), 0);
    start();
    lane = open_producer();
    for (int i = 0; i < JOBS; i++)
        jobs[i] = put(lane, COUNT, "");
    for (int i = 0; i < JOBS; i++) {
        ck_assert_int_eq(result_of(lane, jobs[i]).status, 0);
        ck_assert_int_eq(prefork_lane_collect(lane, jobs[i]), 0);
    }
    ck_assert_uint_eq(shared->counted, JOBS);
    prefork_lane_close(&lane);
    stop_in_order();
}
END_TEST

/* -- Stopping ------------------------------------------------------------------------ */

static bool some_are_stuck(void *context)
{
    return pfk_u32_load_acquire(&shared->stuck) >= *(uint32_t *)context;
}

static void start_and_stick(void)
{
    uint32_t one = 1;
    struct prefork_lane *lane;

    start();
    lane = open_producer();
    (void)put(lane, STICK, "");
    ck_assert(support_wait_until(some_are_stuck, &one, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    prefork_lane_close(&lane);
}

START_TEST(descriptor_tells_the_end)
{
    struct pollfd end;

    start();
    end = (struct pollfd){.fd = descriptor, .events = POLLIN};
    ck_assert_int_eq(poll(&end, 1, 0), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_WAIT), -ETIMEDOUT);
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(poll(&end, 1, SUPPORT_LIMIT_MS), 1);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_DEADLINE), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_WAIT), 0);
    ck_assert_int_eq(prefork_pool_stop(pool), -ESRCH);
}
END_TEST

START_TEST(second_stop_kills)
{
    start_and_stick();
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(200)), -ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "lives"));
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_DEADLINE), -ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "second request"));
}
END_TEST

/* The pid of the master, which is this process's only child. */
static pid_t master_pid(void)
{
    char text[32] = "";
    FILE *const children = fopen("/proc/thread-self/children", "re");

    if (children == NULL || fgets(text, sizeof(text), children) == NULL)
        ck_abort_msg("no /proc/thread-self/children");
    (void)fclose(children);
    return (pid_t)atol(text);
}

/* A service manager signals the whole group; the program passes it on. */
START_TEST(signal_and_stop_are_one_wish)
{
    start_and_stick();
    ck_assert_int_eq(kill(master_pid(), SIGTERM), 0);
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(100)), -ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "lives"));
    pfk_u32_store_release(&shared->released, 1);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_DEADLINE), 0);
}
END_TEST

START_TEST(destroy_is_no_second_stop)
{
    start_and_stick();
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(50)), -ETIMEDOUT);
    pfk_u32_store_release(&shared->released, 1);
    pfk_pool_end_started(pool);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_WAIT), 0);
}
END_TEST

START_TEST(two_stops_at_once_kill)
{
    start_and_stick();
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_DEADLINE), -ETIMEDOUT);
}
END_TEST

START_TEST(drain_limit_kills)
{
    uint64_t begun_ns;

    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_DRAIN_MS, 300), 0);
    start_and_stick();
    begun_ns = prefork_clock_now_ns();
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_DEADLINE), -ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "drain limit of 300 ms"));
    ck_assert_uint_ge(prefork_clock_now_ns() - begun_ns, 300 * PFK_NS_PER_MS);
    ck_assert_uint_le(prefork_clock_now_ns() - begun_ns, 10000 * PFK_NS_PER_MS);
}
END_TEST

START_TEST(stop_waits_for_the_job_at_hand)
{
    start_and_stick();
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(50)), -ETIMEDOUT);
    pfk_u32_store_release(&shared->released, 1);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_DEADLINE), 0);
    ck_assert_int_eq(prefork_table_verify(prefork_pool_table(pool)), 0);
}
END_TEST

START_TEST(idle_connection_does_not_hold_up_the_stop)
{
    int fd;

    start();
    fd = support_connect(prefork_pool_address(pool, 0));
    ck_assert_int_ge(fd, 0);
    ck_assert(support_echo(fd, "abc", 3));
    stop_in_order();
    ck_assert_int_eq(read(fd, &(char){0}, 1), 0);
    (void)close(fd);
}
END_TEST

START_TEST(destroy_stops_a_started_pool)
{
    const int before = pfk_test_fds_open();
    pid_t worker;

    start();
    ck_assert(support_wait_ready(pool, WORKERS));
    worker = support_worker_pid(pool, 0);
    prefork_pool_destroy(&pool);
    ck_assert(support_wait_gone(worker, PREFORK_NO_WAIT));
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_lt(pfk_test_fds_open(), before); /* the listener's is gone too */
}
END_TEST

START_TEST(pool_runs_once)
{
    start();
    ck_assert_int_eq(prefork_pool_start(pool, &descriptor), -EBUSY);
    ck_assert_int_eq(prefork_pool_run(pool), -EBUSY);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_SLOTS, 4), -EBUSY);
    ck_assert_int_eq(prefork_pool_handle(pool, "late", echo, NULL), -EBUSY);
    stop_in_order();
    ck_assert_int_eq(prefork_pool_start(pool, &descriptor), -EBUSY);
}
END_TEST

/* -- Deaths --------------------------------------------------------------------------- */

START_TEST(killed_worker_is_replaced_and_serves)
{
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};
    int fd;

    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 1), 0);
    start();
    ck_assert(support_wait_ready(pool, 1));
    for (int i = 0; i < 5; i++) {
        const pid_t worker = support_worker_pid(pool, 0);

        fd = support_connect(prefork_pool_address(pool, 0));
        ck_assert(support_echo(fd, "abc", 3));
        ck_assert_int_eq(kill(worker, SIGKILL), 0);
        ck_assert_int_gt(support_wait_replaced(pool, 0, worker), 0);
        (void)close(fd);
    }
    fd = support_connect(prefork_pool_address(pool, 0));
    ck_assert(support_echo(fd, "abc", 3));
    (void)close(fd);
    ck_assert_int_eq(prefork_pool_statistics(pool, &statistics), 0);
    ck_assert_uint_eq(statistics.workers_forked, 6);
    ck_assert_uint_eq(statistics.workers_lost, 5);
    stop_in_order();
}
END_TEST

START_TEST(terminated_worker_retires_and_is_replaced)
{
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};
    pid_t worker;
    pid_t next;

    start();
    ck_assert(support_wait_ready(pool, WORKERS));
    worker = support_worker_pid(pool, 1);
    ck_assert_int_eq(kill(worker, SIGTERM), 0);
    next = support_wait_replaced(pool, 1, worker);
    ck_assert_int_gt(next, 0);
    ck_assert_int_eq(prefork_pool_statistics(pool, &statistics), 0);
    ck_assert_uint_eq(statistics.workers_lost, 0);
    ck_assert_uint_eq(statistics.workers_forked, WORKERS + 1);
    stop_in_order();
}
END_TEST

START_TEST(job_of_a_killed_worker_is_run_again)
{
    uint32_t one = 1;
    struct prefork_lane *lane;
    uint64_t job;
    struct prefork_result result;

    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 1), 0);
    start();
    lane = open_producer();
    job = put(lane, STICK, "");
    ck_assert(support_wait_until(some_are_stuck, &one, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    ck_assert_int_eq(kill(support_worker_pid(pool, 0), SIGKILL), 0);
    pfk_u32_store_release(&shared->released, 1);
    result = result_of(lane, job);
    ck_assert_int_eq(result.status, 0);
    ck_assert_uint_eq(result.attempts, 2);
    prefork_lane_close(&lane);
    stop_in_order();
}
END_TEST

static void expect_workers_gone(const pid_t *workers, uint64_t limit_ms)
{
    const uint64_t deadline_ns = prefork_deadline_after_ms(limit_ms);

    for (uint32_t i = 0; i < WORKERS; i++)
        ck_assert(support_wait_gone(workers[i], deadline_ns));
}

static void note_workers(pid_t *workers_out)
{
    ck_assert(support_wait_ready(pool, WORKERS));
    for (uint32_t i = 0; i < WORKERS; i++)
        workers_out[i] = support_worker_pid(pool, i);
}

START_TEST(workers_go_when_the_master_is_killed)
{
    pid_t workers[WORKERS];

    start();
    note_workers(workers);
    ck_assert_int_eq(kill(master_pid(), SIGKILL), 0);
    expect_workers_gone(workers, 5000);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_DEADLINE), -EOWNERDEAD);
    ck_assert_int_eq(prefork_pool_stop(pool), -ESRCH);
}
END_TEST

START_TEST(stuck_workers_go_within_5_s_of_the_masters_death)
{
    pid_t workers[WORKERS];

    start_and_stick();
    note_workers(workers);
    ck_assert_int_eq(kill(master_pid(), SIGKILL), 0);
    expect_workers_gone(workers, 10000); /* 5 s, and some for a machine that has no time */
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_DEADLINE), -EOWNERDEAD);
}
END_TEST

START_TEST(pool_stops_when_its_starter_is_killed)
{
    pid_t told[WORKERS + 1];
    int ends[2];
    pid_t starter;

    ck_assert_int_eq(pipe(ends), 0);
    prefork_pool_destroy(&pool);
    starter = fork();
    if (starter == 0) {
        set_up();
        start();
        note_workers(told);
        told[WORKERS] = master_pid();
        (void)put(open_producer(), ECHO, "left behind");
        (void)!write(ends[1], told, sizeof(told));
        (void)raise(SIGKILL);
    }
    (void)close(ends[1]);
    ck_assert_int_eq(read(ends[0], told, sizeof(told)), sizeof(told));
    ck_assert_int_eq(waitpid(starter, NULL, 0), starter);
    expect_workers_gone(told, SUPPORT_LIMIT_MS);
    ck_assert(support_wait_gone(told[WORKERS], prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    (void)close(ends[0]);
}
END_TEST

static Suite *start_suite(void)
{
    Suite *const suite = suite_create("start");
    TCase *const jobs = tcase_create("jobs");
    TCase *const stops = tcase_create("stops");
    TCase *const deaths = tcase_create("deaths");
    TCase *const ancestors = tcase_create("deaths of ancestors");

    tcase_set_timeout(jobs, 20);
    tcase_add_checked_fixture(jobs, set_up, tear_down);
    tcase_add_test(jobs, starter_submits_jobs_and_gets_results);
    tcase_add_test(jobs, handlers_answers_become_statuses);
    tcase_add_test(jobs, accepted_jobs_run_before_the_end);
    tcase_add_test(jobs, job_that_kills_its_workers_is_given_up);
    tcase_add_test(jobs, region_is_shared_by_all_workers);
    suite_add_tcase(suite, jobs);
    tcase_set_timeout(stops, 20);
    tcase_add_checked_fixture(stops, set_up, tear_down);
    tcase_add_test(stops, descriptor_tells_the_end);
    tcase_add_test(stops, second_stop_kills);
    tcase_add_test(stops, signal_and_stop_are_one_wish);
    tcase_add_test(stops, destroy_is_no_second_stop);
    tcase_add_test(stops, two_stops_at_once_kill);
    tcase_add_test(stops, drain_limit_kills);
    tcase_add_test(stops, stop_waits_for_the_job_at_hand);
    tcase_add_test(stops, idle_connection_does_not_hold_up_the_stop);
    tcase_add_test(stops, destroy_stops_a_started_pool);
    tcase_add_test(stops, pool_runs_once);
    suite_add_tcase(suite, stops);
    tcase_set_timeout(deaths, 20);
    tcase_add_checked_fixture(deaths, set_up, tear_down);
    tcase_add_test(deaths, killed_worker_is_replaced_and_serves);
    tcase_add_test(deaths, terminated_worker_retires_and_is_replaced);
    tcase_add_test(deaths, job_of_a_killed_worker_is_run_again);
    suite_add_tcase(suite, deaths);
    tcase_set_timeout(ancestors, 20);
    tcase_add_checked_fixture(ancestors, set_up, tear_down);
    tcase_set_tags(ancestors, PFK_UNIT_NEEDS_PROC); /* which lists their children */
    tcase_add_test(ancestors, workers_go_when_the_master_is_killed);
    tcase_add_test(ancestors, stuck_workers_go_within_5_s_of_the_masters_death);
    tcase_add_test(ancestors, pool_stops_when_its_starter_is_killed);
    suite_add_tcase(suite, ancestors);
    return suite;
}

PFK_UNIT_MAIN(start_suite)
