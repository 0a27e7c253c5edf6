/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts each system call that a piece of code makes, whoever makes it: the
 * library, libev or libc. The code runs in a child that is traced by ptrace. */
#ifndef PFK_TESTS_LIB_SYSCALLS_H
#define PFK_TESTS_LIB_SYSCALLS_H

#include <stdbool.h>

#define PFK_TEST_SYSCALLS 1024

struct pfk_test_syscalls {
    unsigned all;
    unsigned of[PFK_TEST_SYSCALLS]; /* by SYS_* */
};

/* Runs `scene` in a child and counts what it does between the marks. 0; -errno:
 * ptrace can't do it here; or the wait status of a child that did not end well. */
int pfk_test_count_syscalls(void (*scene)(void *context), void *context, struct pfk_test_syscalls *counts_out);

/* Whether that can be done here; tried, not guessed. */
bool pfk_test_syscalls_countable(void);

/* The marks: what the thread of the scene does from here on, and up to there.
 * Elsewhere than in a scene they do nothing. */
void pfk_test_syscalls_begin(void);
void pfk_test_syscalls_end(void);

#endif
