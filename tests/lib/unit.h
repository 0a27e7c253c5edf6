/* SPDX-License-Identifier: BSD-2-Clause */
/* The main program of a Check suite: every case becomes a line of TAP.
 *
 *     static Suite *error_suite(void) { ... }
 *     PFK_UNIT_MAIN(error_suite)
 *
 * Each case runs in a process of its own with Check's limit of 4 s, unless the
 * TCase sets another, times PFK_TEST_TIME_FACTOR. CK_FORK=no runs all cases in
 * one process, for a debugger or valgrind.
 *
 * Each ck_assert writes to a pipe, passed or not, and takes microseconds: count
 * in a loop over bytes, and assert behind it. */
#ifndef PFK_TESTS_LIB_UNIT_H
#define PFK_TESTS_LIB_UNIT_H

#include <check.h>

/* Tags of a TCase (tcase_set_tags): left out where /proc is not mounted, and by
 * `make check-valgrind`. A comment in the output says so. */
#define PFK_UNIT_NEEDS_PROC  "needs-proc"
#define PFK_UNIT_NO_VALGRIND "no-valgrind"
/* The same where a process can't become another user: not root, or root of a user namespace without other users. */
#define PFK_UNIT_NEEDS_ROOT "needs-root"

/* Makes the suite, runs it and prints TAP on standard output. It makes the suite
 * itself, for Check reads the time factor then. Returns the exit status of main:
 * 0 when every case passed. */
int pfk_unit_run(Suite *(*make_suite)(void));

#define PFK_UNIT_MAIN(make_suite)                                                                                      \
    int main(void)                                                                                                     \
    {                                                                                                                  \
        return pfk_unit_run(make_suite);                                                                               \
    }

#endif
