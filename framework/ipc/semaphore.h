/* SPDX-License-Identifier: BSD-2-Clause */
/* prefork_semaphore without error texts and checks: for the hot paths of the table. Whoever calls these has
 * initialised the object, or maps what somebody initialised. */
#ifndef PFK_IPC_SEMAPHORE_H
#define PFK_IPC_SEMAPHORE_H

#include <errno.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "prefork/sync.h"

_Static_assert(sizeof(sem_t) <= sizeof(struct prefork_semaphore), "sem_t fits");
_Static_assert(_Alignof(sem_t) <= _Alignof(struct prefork_semaphore), "sem_t is aligned");

/* The C library's object. sem_getvalue takes a pointer to non-const but only reads. */
static inline sem_t *pfk_semaphore_native(const struct prefork_semaphore *semaphore)
{
    return (sem_t *)(uintptr_t)semaphore->opaque;
}

/* 0, or -EINVAL: more than SEM_VALUE_MAX. */
static inline int pfk_semaphore_init(struct prefork_semaphore *semaphore, unsigned value)
{
    return sem_init(pfk_semaphore_native(semaphore), 1, value) == 0 ? 0 : -errno;
}

/* 0, or -EOVERFLOW. Async-signal-safe but for errno. */
static inline int pfk_semaphore_post(struct prefork_semaphore *semaphore)
{
    return PFK_LIKELY(sem_post(pfk_semaphore_native(semaphore)) == 0) ? 0 : -errno;
}

/* A post that trusts nothing in the object. sem_post takes its futex operation from a field of the object (glibc:
 * `private`): whoever may write the segment can turn it into a wait, or into an error at which the C library aborts.
 * So: the value is raised and the wake-up made here, with an operation of our own. The value is the first 32-bit word
 * in glibc with 64-bit atomics and in musl; prefork_table_create refuses a C library where it is not. */
static inline void pfk_semaphore_post_untrusted(struct prefork_semaphore *semaphore)
{
    pfk_atomic_u32 *const value = (pfk_atomic_u32 *)(void *)semaphore->opaque;
    uint32_t seen = pfk_u32_load_relaxed(value);

    for (int i = 0; i < 8 && (seen & INT32_MAX) < INT32_MAX; i++)
        if (pfk_u32_cas_acq_rel(value, &seen, seen + 1))
            break;
    (void)syscall(SYS_futex, value, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* What follows value and sleepers, in glibc with 64-bit atomics and in musl: whether processes share the object. Never
 * written after init. Of an object where it is wrong the C library makes wrong futex calls, and aborts. */
static inline uint32_t pfk_semaphore_constant(const struct prefork_semaphore *semaphore)
{
    return pfk_u32_load_relaxed((const pfk_atomic_u32 *)(const void *)&semaphore->opaque[1]);
}

/* Takes all tokens at once; sem_trywait repeats its compare-and-swap for as long as others change the value. */
static inline void pfk_semaphore_empty_untrusted(struct prefork_semaphore *semaphore)
{
    (void)pfk_u32_exchange_acq_rel((pfk_atomic_u32 *)(void *)semaphore->opaque, 0);
}

/* Whether pfk_semaphore_post_untrusted knows this C library's sem_t: its first word is the value. */
static inline bool pfk_semaphore_is_known(void)
{
    struct prefork_semaphore probe = {{0}};

    return pfk_semaphore_init(&probe, 5) == 0 && pfk_u32_load_relaxed((pfk_atomic_u32 *)(void *)probe.opaque) == 5;
}

/* The value without a call: its low bits are what sem_getvalue would tell, as in pfk_semaphore_post_untrusted. */
static inline bool pfk_semaphore_is_raised(const struct prefork_semaphore *semaphore)
{
    return (pfk_u32_load_relaxed((const pfk_atomic_u32 *)(const void *)semaphore->opaque) & INT32_MAX) != 0;
}

/* Never negative: Linux shows no count of sleepers. */
static inline int pfk_semaphore_value(const struct prefork_semaphore *semaphore)
{
    int value = 0;

    (void)sem_getvalue(pfk_semaphore_native(semaphore), &value);
    return value;
}

/* 0, or -EAGAIN. One compare-and-swap; no system call. */
static inline int pfk_semaphore_try(struct prefork_semaphore *semaphore)
{
    return sem_trywait(pfk_semaphore_native(semaphore)) == 0 ? 0 : -errno;
}

/* As prefork_semaphore_wait: 0, -EAGAIN, -ETIMEDOUT, -EINTR. */
static inline int pfk_semaphore_wait(struct prefork_semaphore *semaphore, uint64_t deadline_ns)
{
    struct timespec at;

    if (deadline_ns == PREFORK_NO_WAIT)
        return pfk_semaphore_try(semaphore);
    if (deadline_ns == PREFORK_NO_DEADLINE)
        return sem_wait(pfk_semaphore_native(semaphore)) == 0 ? 0 : -errno;
    at = pfk_clock_timespec(deadline_ns);
    return sem_clockwait(pfk_semaphore_native(semaphore), CLOCK_MONOTONIC, &at) == 0 ? 0 : -errno;
}

#endif
