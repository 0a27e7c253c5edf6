/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/error.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/unit.h"

static int log_lines;
static enum prefork_log_level log_last_level;
static char log_last_text[1024];

static void record_line(enum prefork_log_level level, const char *text, void *context)
{
    ck_assert_ptr_eq(context, &log_lines);
    log_lines++;
    log_last_level = level;
    (void)strncpy(log_last_text, text, sizeof(log_last_text) - 1);
}

static void record_debug_lines(void)
{
    prefork_log_set_sink(record_line, &log_lines);
    prefork_log_set_level(PREFORK_LOG_DEBUG);
}

START_TEST(text_is_empty_before_any_failure)
{
    ck_assert_str_eq(prefork_last_error(), "");
}
END_TEST

START_TEST(failure_returns_negative_code_and_sets_text)
{
    ck_assert_int_eq(pfk_error(EINVAL, "prefork_x: %d is too many; give at most %s", 17, "16"), -EINVAL);
    ck_assert_str_eq(prefork_last_error(), "prefork_x: 17 is too many; give at most 16");
}
END_TEST

START_TEST(failure_keeps_errno)
{
    errno = EPIPE;
    (void)pfk_error(EINVAL, "x");
    ck_assert_int_eq(errno, EPIPE);
}
END_TEST

START_TEST(next_failure_replaces_the_text)
{
    (void)pfk_error(EINVAL, "a rather long first text");
    (void)pfk_error(ENOMEM, "second");
    ck_assert_str_eq(prefork_last_error(), "second");
}
END_TEST

START_TEST(long_text_is_cut_and_terminated)
{
    char long_text[2 * PFK_ERROR_TEXT_BYTES];

    memset(long_text, 'a', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    (void)pfk_error(EINVAL, "%s", long_text);
    ck_assert_uint_eq(strlen(prefork_last_error()), PFK_ERROR_TEXT_BYTES - 1);
}
END_TEST

START_TEST(call_failure_names_call_and_reason)
{
    ck_assert_int_eq(pfk_error_call(ENOENT, "open"), -ENOENT);
    ck_assert_str_eq(prefork_last_error(), "open: No such file or directory");
}
END_TEST

START_TEST(failure_is_logged_at_debug)
{
    record_debug_lines();
    (void)pfk_error(EINVAL, "said once");
    ck_assert_int_eq(log_lines, 1);
    ck_assert_int_eq(log_last_level, PREFORK_LOG_DEBUG);
    ck_assert_str_eq(log_last_text, "said once");
}
END_TEST

START_TEST(routine_outcome_sets_text_but_is_not_logged)
{
    static const int routine[] = {EAGAIN, ETIMEDOUT, EINTR};

    record_debug_lines();
    ck_assert_int_eq(pfk_error(routine[_i], "routine %d", _i), -routine[_i]);
    ck_assert_int_eq(log_lines, 0);
    ck_assert_int_eq(strncmp(prefork_last_error(), "routine", 7), 0);
}
END_TEST

static void *fail_elsewhere(void *text_out)
{
    char *const text = text_out;

    (void)strcpy(text, prefork_last_error());
    (void)pfk_error(EINVAL, "in the other thread");
    (void)strcat(text, prefork_last_error());
    return NULL;
}

START_TEST(each_thread_has_its_own_text)
{
    char other[2 * PFK_ERROR_TEXT_BYTES];
    pthread_t thread;

    (void)pfk_error(EINVAL, "in this thread");
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, other), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_str_eq(other, "in the other thread");
    ck_assert_str_eq(prefork_last_error(), "in this thread");
}
END_TEST

START_TEST(forked_child_starts_with_its_parents_text)
{
    int status;
    pid_t child;

    (void)pfk_error(EINVAL, "before the fork");
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(strcmp(prefork_last_error(), "before the fork") == 0 ? 0 : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

static Suite *error_suite(void)
{
    Suite *const suite = suite_create("error");
    TCase *const text = tcase_create("text");

    tcase_add_test(text, text_is_empty_before_any_failure);
    tcase_add_test(text, failure_returns_negative_code_and_sets_text);
    tcase_add_test(text, failure_keeps_errno);
    tcase_add_test(text, next_failure_replaces_the_text);
    tcase_add_test(text, long_text_is_cut_and_terminated);
    tcase_add_test(text, call_failure_names_call_and_reason);
    tcase_add_test(text, failure_is_logged_at_debug);
    tcase_add_loop_test(text, routine_outcome_sets_text_but_is_not_logged, 0, 3);
    tcase_add_test(text, each_thread_has_its_own_text);
    tcase_add_test(text, forked_child_starts_with_its_parents_text);
    suite_add_tcase(suite, text);
    return suite;
}

PFK_UNIT_MAIN(error_suite)
