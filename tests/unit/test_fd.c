/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"

#include "prefork/error.h"

static bool is_cloexec(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

static bool is_nonblocking(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

static bool is_readable(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    return poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN) != 0;
}

static bool is_dev_null(int fd)
{
    struct stat null_stat, fd_stat;

    return stat("/dev/null", &null_stat) == 0 && fstat(fd, &fd_stat) == 0 && S_ISCHR(fd_stat.st_mode) &&
           fd_stat.st_rdev == null_stat.st_rdev;
}

static struct rlimit limit_before;

/* No descriptor can be opened until allow_descriptors, which a sanitizer needs
 * for what it does at the end. */
static void forbid_descriptors(void)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit_before), 0);
    limit = limit_before;
    limit.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void allow_descriptors(void)
{
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit_before), 0);
}

START_TEST(close_frees_the_number_and_forgets_it)
{
    int fd = open("/dev/null", O_RDONLY);
    const int number = fd;

    ck_assert_int_ge(fd, 0);
    pfk_fd_close(&fd);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(fcntl(number, F_GETFD), -1);
}
END_TEST

START_TEST(close_of_nothing_is_nothing_and_keeps_errno)
{
    const int before = pfk_test_fds_open();
    int fd = -1;

    errno = EPERM;
    pfk_fd_close(&fd);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

START_TEST(close_that_fails_keeps_errno)
{
    int fd = 1000000; /* above any descriptor here, so close fails with EBADF */

    errno = EPERM;
    pfk_fd_close(&fd);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(errno, EPERM);
}
END_TEST

START_TEST(pipe_ends_are_connected_cloexec_and_nonblocking)
{
    const int before = pfk_test_fds_open();
    int read_end = -1, write_end = -1;
    char byte = 0;

    ck_assert_int_eq(pfk_fd_pipe(&read_end, &write_end), 0);
    ck_assert(is_cloexec(read_end) && is_cloexec(write_end));
    ck_assert(is_nonblocking(read_end) && is_nonblocking(write_end));
    ck_assert_int_eq(write(write_end, "x", 1), 1);
    ck_assert_int_eq(read(read_end, &byte, 1), 1);
    ck_assert_int_eq(byte, 'x');
    pfk_fd_close(&read_end);
    pfk_fd_close(&write_end);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

START_TEST(pipe_without_descriptors_says_so)
{
    int read_end = -1, write_end = -1, rc;

    forbid_descriptors();
    rc = pfk_fd_pipe(&read_end, &write_end);
    allow_descriptors();
    ck_assert_int_eq(rc, -EMFILE);
    ck_assert_str_eq(prefork_last_error(), "pipe2: Too many open files");
    ck_assert_int_eq(read_end, -1);
    ck_assert_int_eq(write_end, -1);
}
END_TEST

START_TEST(event_begins_clear_and_is_set_until_cleared)
{
    int fd = -1;

    ck_assert_int_eq(pfk_fd_event(&fd), 0);
    ck_assert(is_cloexec(fd) && is_nonblocking(fd));
    ck_assert(!is_readable(fd));
    ck_assert_int_eq(pfk_fd_event_signal(fd), 0);
    ck_assert_int_eq(pfk_fd_event_signal(fd), 0);
    ck_assert(is_readable(fd));
    pfk_fd_event_clear(fd);
    ck_assert(!is_readable(fd));
    pfk_fd_event_clear(fd); /* and clearing a clear one does not block */
    pfk_fd_close(&fd);
}
END_TEST

START_TEST(event_that_is_full_is_signalled_all_the_same)
{
    const uint64_t nearly = UINT64_MAX - 1; /* the highest value that an eventfd takes */
    int fd = -1;

    ck_assert_int_eq(pfk_fd_event(&fd), 0);
    ck_assert_int_eq(write(fd, &nearly, sizeof(nearly)), (int)sizeof(nearly));
    ck_assert_int_eq(pfk_fd_event_signal(fd), 0);
    ck_assert(is_readable(fd));
    pfk_fd_event_clear(fd);
    ck_assert(!is_readable(fd));
    pfk_fd_close(&fd);
}
END_TEST

START_TEST(event_signal_tells_a_real_failure)
{
    ck_assert_int_eq(pfk_fd_event_signal(-1), -EBADF);
}
END_TEST

START_TEST(event_without_descriptors_says_so)
{
    int fd = -1, rc;

    forbid_descriptors();
    rc = pfk_fd_event(&fd);
    allow_descriptors();
    ck_assert_int_eq(rc, -EMFILE);
    ck_assert_str_eq(prefork_last_error(), "eventfd: Too many open files");
    ck_assert_int_eq(fd, -1);
}
END_TEST

/* _i is the set of standard descriptors to close, as bits. */
START_TEST(closed_standard_descriptors_are_filled_and_open_ones_left)
{
    int replaced, kept;

    for (int fd = 0; fd < 3; fd++)
        if ((_i & (1 << fd)) != 0)
            (void)close(fd);
    replaced = pfk_fd_open_standard();
    kept = open("/dev/null", O_RDONLY);
    ck_assert_int_eq(replaced, 0);
    ck_assert_int_gt(kept, 2); /* the next descriptor is no standard one */
    for (int fd = 0; fd < 3; fd++) {
        ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
        if ((_i & (1 << fd)) != 0) {
            ck_assert(is_dev_null(fd));
            ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
            ck_assert(!is_cloexec(fd)); /* or the next exec would open the gap again */
        }
    }
}
END_TEST

START_TEST(standard_descriptor_that_cannot_be_filled_is_told)
{
    int rc;

    (void)close(STDIN_FILENO);
    forbid_descriptors();
    rc = pfk_fd_open_standard();
    allow_descriptors();
    ck_assert_int_eq(rc, -EMFILE);
    ck_assert_str_eq(prefork_last_error(), "open /dev/null: descriptor 0 is closed and could not be filled");
}
END_TEST

START_TEST(limit_is_the_soft_one)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 77;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_eq(pfk_fd_limit(), 77);
}
END_TEST

static Suite *fd_suite(void)
{
    Suite *const suite = suite_create("fd");
    TCase *const closing = tcase_create("close");
    TCase *const pipes = tcase_create("pipe");
    TCase *const events = tcase_create("event");
    TCase *const standard = tcase_create("standard");

    tcase_add_test(closing, close_frees_the_number_and_forgets_it);
    tcase_add_test(closing, close_of_nothing_is_nothing_and_keeps_errno);
    tcase_add_test(closing, close_that_fails_keeps_errno);
    suite_add_tcase(suite, closing);
    tcase_add_test(pipes, pipe_ends_are_connected_cloexec_and_nonblocking);
    tcase_add_test(pipes, pipe_without_descriptors_says_so);
    suite_add_tcase(suite, pipes);
    tcase_add_test(events, event_begins_clear_and_is_set_until_cleared);
    tcase_add_test(events, event_that_is_full_is_signalled_all_the_same);
    tcase_add_test(events, event_signal_tells_a_real_failure);
    tcase_add_test(events, event_without_descriptors_says_so);
    suite_add_tcase(suite, events);
    tcase_add_loop_test(standard, closed_standard_descriptors_are_filled_and_open_ones_left, 0, 8);
    tcase_add_test(standard, standard_descriptor_that_cannot_be_filled_is_told);
    tcase_add_test(standard, limit_is_the_soft_one);
    suite_add_tcase(suite, standard);
    return suite;
}

PFK_UNIT_MAIN(fd_suite)
