/* SPDX-License-Identifier: BSD-2-Clause */
/* futex(2) on a word that processes share. */
#ifndef BENCH_FUTEX_H
#define BENCH_FUTEX_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while the word is `expected`; `timeout` may be NULL. Returns for any
 * reason: the caller looks again. */
static inline void futex_wait(const _Atomic uint32_t *word, uint32_t expected, const struct timespec *timeout)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout, NULL, 0);
}

/* Wakes `count` sleepers at most. */
static inline void futex_wake(const _Atomic uint32_t *word, uint32_t count)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

#endif
