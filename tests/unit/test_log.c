/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/unit.h"

/* A pipe in the place of standard error; its read end. */
static int stderr_read_fd;

static void catch_stderr(void)
{
    int ends[2];

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    (void)close(ends[1]);
    stderr_read_fd = ends[0];
}

/* What lies in the pipe now, as a string. */
static const char *caught(void)
{
    static char text[8192];
    struct pollfd ready = {.fd = stderr_read_fd, .events = POLLIN};
    ssize_t got = 0;

    if (poll(&ready, 1, 0) == 1)
        got = read(stderr_read_fd, text, sizeof(text) - 1);
    ck_assert_int_ge(got, 0);
    text[got] = '\0';
    return text;
}

static size_t fill_stderr_pipe(void)
{
    char block[4096] = {0};
    size_t filled = 0;
    ssize_t written;

    ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
    while ((written = write(STDERR_FILENO, block, sizeof(block))) > 0)
        filled += (size_t)written;
    ck_assert_int_eq(errno, EAGAIN);
    /* the log itself must not lean on a non-blocking descriptor */
    ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, 0), 0);
    return filled;
}

struct record {
    int lines;
    enum prefork_log_level level;
    char text[2048];
};

static void record_line(enum prefork_log_level level, const char *text, void *context)
{
    struct record *const record = context;

    record->lines++;
    record->level = level;
    (void)snprintf(record->text, sizeof(record->text), "%s", text);
    errno = EXDEV; /* a sink may do what it likes to errno */
}

START_TEST(default_line_has_stamp_pid_rank_and_text)
{
    int year, month, day, hour, minute, second, millisecond, end = 0;
    long pid;
    const char *line;

    catch_stderr();
    pfk_log(PREFORK_LOG_WARNING, "worker %d is gone", 7);
    line = caught();
    ck_assert_int_eq(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ prefork[%ld] %n", &year, &month, &day, &hour, &minute,
                            &second, &millisecond, &pid, &end),
                     8);
    ck_assert_int_ge(year, 2024);
    ck_assert_int_eq(pid, (long)getpid());
    ck_assert_str_eq(line + end, "warning: worker 7 is gone\n");
}
END_TEST

START_TEST(lines_below_the_level_are_dropped)
{
    catch_stderr();
    pfk_log(PREFORK_LOG_DEBUG, "not asked for");
    ck_assert_str_eq(caught(), "");
    prefork_log_set_level(PREFORK_LOG_ERROR);
    pfk_log(PREFORK_LOG_WARNING, "not asked for");
    ck_assert_str_eq(caught(), "");
    pfk_log(PREFORK_LOG_ERROR, "asked for");
    ck_assert_ptr_nonnull(strstr(caught(), "error: asked for\n"));
}
END_TEST

START_TEST(overlong_line_is_cut_and_still_ends_in_a_newline)
{
    char long_text[4096];
    const char *line;

    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    catch_stderr();
    pfk_log(PREFORK_LOG_ERROR, "%s", long_text);
    line = caught();
    ck_assert_uint_gt(strlen(line), 500);
    ck_assert_uint_lt(strlen(line), 2000);
    ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
}
END_TEST

START_TEST(full_pipe_drops_the_line_and_does_not_block)
{
    size_t filled, drained = 0;
    char block[4096];

    catch_stderr();
    filled = fill_stderr_pipe();
    pfk_log(PREFORK_LOG_ERROR, "this would block for ever"); /* Check's limit ends a test that blocks */
    while (drained < filled) {
        const ssize_t got = read(stderr_read_fd, block, sizeof(block));
        ck_assert_int_gt(got, 0);
        drained += (size_t)got;
    }
    ck_assert_str_eq(caught(), "");
    pfk_log(PREFORK_LOG_ERROR, "room again");
    ck_assert_ptr_nonnull(strstr(caught(), "room again\n"));
}
END_TEST

START_TEST(pipe_without_a_reader_harms_nobody)
{
    catch_stderr();
    (void)close(stderr_read_fd);
    (void)signal(SIGPIPE, SIG_DFL);
    pfk_log(PREFORK_LOG_ERROR, "nobody reads this");
}
END_TEST

START_TEST(closed_stderr_harms_nobody)
{
    (void)close(STDERR_FILENO);
    errno = EPERM;
    pfk_log(PREFORK_LOG_ERROR, "nobody reads this");
    ck_assert_int_eq(errno, EPERM);
}
END_TEST

START_TEST(sink_gets_level_text_and_context)
{
    struct record record = {0};

    catch_stderr();
    prefork_log_set_sink(record_line, &record);
    pfk_log(PREFORK_LOG_INFO, "%s %d", "ready", 3);
    ck_assert_int_eq(record.lines, 1);
    ck_assert_int_eq(record.level, PREFORK_LOG_INFO);
    ck_assert_str_eq(record.text, "ready 3");
    ck_assert_str_eq(caught(), "");
}
END_TEST

START_TEST(log_keeps_errno_whatever_the_sink_does)
{
    struct record record = {0};

    prefork_log_set_sink(record_line, &record);
    errno = EPERM;
    pfk_log(PREFORK_LOG_INFO, "x");
    ck_assert_int_eq(record.lines, 1);
    ck_assert_int_eq(errno, EPERM);
}
END_TEST

START_TEST(no_sink_restores_the_default)
{
    struct record record = {0};

    catch_stderr();
    prefork_log_set_sink(record_line, &record);
    prefork_log_set_sink(NULL, NULL);
    pfk_log(PREFORK_LOG_INFO, "to standard error");
    ck_assert_int_eq(record.lines, 0);
    ck_assert_ptr_nonnull(strstr(caught(), "info: to standard error\n"));
}
END_TEST

static Suite *log_suite(void)
{
    Suite *const suite = suite_create("log");
    TCase *const line = tcase_create("line");
    TCase *const trouble = tcase_create("trouble");
    TCase *const sink = tcase_create("sink");

    tcase_add_test(line, default_line_has_stamp_pid_rank_and_text);
    tcase_add_test(line, lines_below_the_level_are_dropped);
    tcase_add_test(line, overlong_line_is_cut_and_still_ends_in_a_newline);
    suite_add_tcase(suite, line);
    tcase_add_test(trouble, full_pipe_drops_the_line_and_does_not_block);
    tcase_add_test(trouble, pipe_without_a_reader_harms_nobody);
    tcase_add_test(trouble, closed_stderr_harms_nobody);
    suite_add_tcase(suite, trouble);
    tcase_add_test(sink, sink_gets_level_text_and_context);
    tcase_add_test(sink, log_keeps_errno_whatever_the_sink_does);
    tcase_add_test(sink, no_sink_restores_the_default);
    suite_add_tcase(suite, sink);
    return suite;
}

PFK_UNIT_MAIN(log_suite)
