/* SPDX-License-Identifier: BSD-2-Clause */
/* A pool before it runs: options, handlers, listeners, and what is refused. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "prefork.h"

static struct prefork_pool *pool;

static void set_up(void)
{
    ck_assert_int_eq(prefork_pool_create(&pool), 0);
}

static void tear_down(void)
{
    prefork_pool_destroy(&pool);
    ck_assert_ptr_null(pool);
}

static int do_nothing(struct prefork_job *job, void *context)
{
    (void)job;
    (void)context;
    return 0;
}

START_TEST(defaults_are_told)
{
    static const struct {
        enum prefork_pool_option option;
        uint64_t value;
    } defaults[] = {
        {PREFORK_POOL_IO_THREADS, 1},        {PREFORK_POOL_JOB_THREADS, 2},    {PREFORK_POOL_SLOTS, 1024},
        {PREFORK_POOL_REQUEST_BYTES, 8192},  {PREFORK_POOL_REPLY_BYTES, 8192}, {PREFORK_POOL_MAX_ATTEMPTS, 3},
        {PREFORK_POOL_OUTSIDE_PRODUCERS, 1}, {PREFORK_POOL_DRAIN_MS, 30000},   {PREFORK_POOL_READY_MS, 30000},
        {PREFORK_POOL_BACKLOG, 4096},        {PREFORK_POOL_ALLOW_THREADS, 0},
    };
    uint64_t value;

    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
        ck_assert_int_eq(prefork_pool_get(pool, defaults[i].option, &value), 0);
        ck_assert_uint_eq(value, defaults[i].value);
    }
    ck_assert_int_eq(prefork_pool_get(pool, PREFORK_POOL_WORKERS, &value), 0);
    ck_assert_uint_ge(value, 1);
    ck_assert_uint_le(value, (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
}
END_TEST

START_TEST(option_out_of_range_is_refused_with_the_range)
{
    uint64_t value;

    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 1025), -EINVAL);
    ck_assert_str_eq(prefork_last_error(), "prefork_pool_set: PREFORK_POOL_WORKERS is 1025, it must be from 1 to 1024");
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_SLOTS, 1), -EINVAL);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_SLOTS, 2), 0);
    ck_assert_int_eq(prefork_pool_get(pool, PREFORK_POOL_SLOTS, &value), 0);
    ck_assert_uint_eq(value, 2);
}
END_TEST

START_TEST(unknown_option_is_refused)
{
    uint64_t value;

    ck_assert_int_eq(prefork_pool_set(pool, (enum prefork_pool_option)0, 1), -EINVAL);
    ck_assert_int_eq(prefork_pool_set(pool, (enum prefork_pool_option)99, 1), -EINVAL);
    ck_assert_str_eq(prefork_last_error(), "prefork_pool_set: there is no option 99");
    ck_assert_int_eq(prefork_pool_get(pool, (enum prefork_pool_option)99, &value), -EINVAL);
}
END_TEST

START_TEST(handlers_are_numbered_by_name)
{
    ck_assert_int_eq(prefork_pool_handle(pool, "one", do_nothing, NULL), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "two", do_nothing, NULL), 0);
    ck_assert_int_eq(prefork_pool_handler_number(pool, "one"), 0);
    ck_assert_int_eq(prefork_pool_handler_number(pool, "two"), 1);
    ck_assert_int_eq(prefork_pool_handler_number(pool, "three"), -ENOENT);
    ck_assert_int_eq(prefork_pool_handler_number(pool, NULL), -ENOENT);
}
END_TEST

START_TEST(bad_handlers_are_refused)
{
    char name[65];

    memset(name, 'n', sizeof(name) - 1);
    name[64] = '\0';
    ck_assert_int_eq(prefork_pool_handle(pool, "one", do_nothing, NULL), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "one", do_nothing, NULL), -EEXIST);
    ck_assert_int_eq(prefork_pool_handle(pool, "", do_nothing, NULL), -EINVAL);
    ck_assert_int_eq(prefork_pool_handle(pool, NULL, do_nothing, NULL), -EINVAL);
    ck_assert_int_eq(prefork_pool_handle(pool, "null", NULL, NULL), -EINVAL);
    ck_assert_int_eq(prefork_pool_handle(pool, name, do_nothing, NULL), -EINVAL);
    name[63] = '\0';
    ck_assert_int_eq(prefork_pool_handle(pool, name, do_nothing, NULL), 0);
}
END_TEST

START_TEST(handler_65_is_refused)
{
    char name[] = "00";

    for (int i = 0; i < 64; i++) {
        name[0] = (char)('0' + i / 8);
        name[1] = (char)('0' + i % 8);
        ck_assert_int_eq(prefork_pool_handle(pool, name, do_nothing, NULL), 0);
    }
    ck_assert_int_eq(prefork_pool_handle(pool, "more", do_nothing, NULL), -ENOSPC);
}
END_TEST

START_TEST(listen_tells_the_real_address)
{
    ck_assert_int_eq(prefork_pool_handle(pool, "echo", do_nothing, NULL), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", prefork_protocol_raw("echo")), 0);
    ck_assert_int_eq(strncmp(prefork_pool_address(pool, 0), "tcp:127.0.0.1:", 14), 0);
    ck_assert_int_gt(atoi(prefork_pool_address(pool, 0) + 14), 0);
    ck_assert_ptr_null(prefork_pool_address(pool, 1));
}
END_TEST

START_TEST(bad_listens_are_refused)
{
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", prefork_protocol_raw("nobody")), -EINVAL);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "\"nobody\""));
    ck_assert_int_eq(prefork_pool_handle(pool, "echo", do_nothing, NULL), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", NULL), -EINVAL);
    ck_assert_int_eq(prefork_pool_listen(pool, "here", prefork_protocol_raw("echo")), -EINVAL);
    ck_assert_ptr_null(prefork_pool_address(pool, 0));
}
END_TEST

START_TEST(nothing_to_do_is_refused)
{
    int descriptor;

    ck_assert_int_eq(prefork_pool_run(pool), -EINVAL);
    ck_assert_int_eq(prefork_pool_start(pool, &descriptor), -EINVAL);
    ck_assert_int_eq(prefork_pool_handle(pool, "one", do_nothing, NULL), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_IO_THREADS, 0), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_JOB_THREADS, 0), 0);
    ck_assert_int_eq(prefork_pool_run(pool), -EINVAL);
}
END_TEST

START_TEST(what_needs_a_running_pool_says_so)
{
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};
    struct prefork_worker_status worker = {.size = sizeof(worker)};
    struct prefork_lane *lane;

    ck_assert_int_eq(prefork_pool_stop(pool), -ESRCH);
    ck_assert_int_eq(prefork_pool_wait(pool, PREFORK_NO_WAIT), -ESRCH);
    ck_assert_int_eq(prefork_pool_statistics(pool, &statistics), -ESRCH);
    ck_assert_int_eq(prefork_pool_worker(pool, 0, &worker), -ESRCH);
    ck_assert_int_eq(prefork_pool_producer(pool, 0, &lane), -ESRCH);
    ck_assert_ptr_null(prefork_pool_table(pool));
}
END_TEST

static void *wait_for_end(void *context)
{
    char byte;

    ck_assert_int_eq(read(*(int *)context, &byte, 1), 0);
    return NULL;
}

START_TEST(other_threads_are_refused_by_number)
{
    pthread_t thread;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "one", do_nothing, NULL), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_end, &ends[0]), 0);
    ck_assert_int_eq(prefork_pool_run(pool), -EBUSY);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "1 other threads"));
    (void)close(ends[1]);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    (void)close(ends[0]);
}
END_TEST

START_TEST(forked_child_is_refused)
{
    struct prefork_lane *lane;
    const pid_t child = fork();
    int status;

    if (child == 0) {
        int rc = prefork_pool_set(pool, PREFORK_POOL_SLOTS, 4) == -ECHILD;

        rc = rc && prefork_pool_run(pool) == -ECHILD;
        rc = rc && prefork_pool_stop(pool) == -ECHILD;
        rc = rc && prefork_pool_wait(pool, PREFORK_NO_WAIT) == -ECHILD;
        rc = rc && prefork_pool_producer(pool, 0, &lane) == -ECHILD;
        prefork_pool_destroy(&pool);
        _exit(rc && pool == NULL ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

static int fill(void *region, size_t bytes, void *context)
{
    memset(region, 'f', bytes);
    return *(int *)context;
}

START_TEST(region_is_made_once_and_initialised)
{
    int rc = 0;
    void *region;

    ck_assert_int_eq(prefork_pool_share(pool, 0, NULL, NULL, &region), -EINVAL);
    ck_assert_int_eq(prefork_pool_share(pool, 100, fill, &rc, &region), 0);
    ck_assert_int_eq(((char *)region)[99], 'f');
    ck_assert_int_eq(prefork_pool_share(pool, 100, NULL, NULL, &region), -EEXIST);
}
END_TEST

START_TEST(region_is_given_up_when_its_initialiser_fails)
{
    int rc = -ENOTTY;
    void *region;

    ck_assert_int_eq(prefork_pool_share(pool, 100, fill, &rc, &region), -ENOTTY);
    rc = 0;
    ck_assert_int_eq(prefork_pool_share(pool, 100, fill, &rc, &region), 0);
}
END_TEST

START_TEST(destroy_leaves_no_descriptor)
{
    const int before = pfk_test_fds_open();
    struct prefork_pool *other;
    void *region;

    ck_assert_int_eq(prefork_pool_create(&other), 0);
    ck_assert_int_eq(prefork_pool_handle(other, "echo", do_nothing, NULL), 0);
    ck_assert_int_eq(prefork_pool_listen(other, "tcp:127.0.0.1:0", prefork_protocol_raw("echo")), 0);
    ck_assert_int_eq(prefork_pool_share(other, 100, NULL, NULL, &region), 0);
    prefork_pool_destroy(&other);
    prefork_pool_destroy(&other);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

static Suite *options_suite(void)
{
    Suite *const suite = suite_create("options");
    TCase *const tcase = tcase_create("options");
    TCase *const threads = tcase_create("threads");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, defaults_are_told);
    tcase_add_test(tcase, option_out_of_range_is_refused_with_the_range);
    tcase_add_test(tcase, unknown_option_is_refused);
    tcase_add_test(tcase, handlers_are_numbered_by_name);
    tcase_add_test(tcase, bad_handlers_are_refused);
    tcase_add_test(tcase, handler_65_is_refused);
    tcase_add_test(tcase, listen_tells_the_real_address);
    tcase_add_test(tcase, bad_listens_are_refused);
    tcase_add_test(tcase, nothing_to_do_is_refused);
    tcase_add_test(tcase, what_needs_a_running_pool_says_so);
    tcase_add_test(tcase, forked_child_is_refused);
    tcase_add_test(tcase, region_is_made_once_and_initialised);
    tcase_add_test(tcase, region_is_given_up_when_its_initialiser_fails);
    tcase_add_test(tcase, destroy_leaves_no_descriptor);
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(threads, set_up, tear_down);
    tcase_set_tags(threads, PFK_UNIT_NEEDS_PROC); /* which counts the threads */
    tcase_add_test(threads, other_threads_are_refused_by_number);
    suite_add_tcase(suite, threads);
    return suite;
}

PFK_UNIT_MAIN(options_suite)
