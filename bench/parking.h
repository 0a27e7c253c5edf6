/* SPDX-License-Identifier: BSD-2-Clause */
/* Where those sleep who found nothing to do. A waker that finds no declared
 * sleeper pays one fence and one load; one that does takes the sleeper's
 * declaration by its own atomic, so that each sleep costs one wake-up call,
 * however many wakers come before the sleeper runs.
 *
 *     waker:    change the truth              sleeper:  declare
 *               fence                                   fence
 *               declared ? take it, token, call         look again: cancel, or wait for a token
 *
 * Either the waker sees the declaration or the sleeper sees the change. */
#ifndef BENCH_PARKING_H
#define BENCH_PARKING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "futex.h"

/* ThreadSanitizer does not model fences and gcc warns of it; nothing here is run under it. */
#if defined(__SANITIZE_THREAD__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

struct parking {
    _Alignas(128) _Atomic uint32_t declared; /* sleepers that no waker has taken yet */
    _Alignas(128) _Atomic uint32_t tokens;   /* for sleepers that were taken */
};

/* Takes one from the count, if there is one. */
static inline bool parking_take_one(_Atomic uint32_t *count)
{
    uint32_t seen = atomic_load_explicit(count, memory_order_relaxed);

    while (seen > 0)
        if (atomic_compare_exchange_weak(count, &seen, seen - 1))
            return true;
    return false;
}

/* After the truth has changed. Returns how many calls it took. */
static inline uint64_t parking_wake(struct parking *parking)
{
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the one in parking_declare */
    if (!parking_take_one(&parking->declared))
        return 0;
    atomic_fetch_add(&parking->tokens, 1);
    futex_wake(&parking->tokens, 1);
    return 1;
}

/* Before the last look; then either parking_sleep or parking_cancel. */
static inline void parking_declare(struct parking *parking)
{
    atomic_fetch_add(&parking->declared, 1);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the one in parking_wake */
}

/* Waits to be taken by a waker. Returns how many calls it took. */
static inline uint64_t parking_sleep(struct parking *parking)
{
    uint64_t calls = 0;

    while (!parking_take_one(&parking->tokens)) {
        futex_wait(&parking->tokens, 0, NULL);
        calls++;
    }
    return calls;
}

/* The last look found something. A waker that has taken us nevertheless owes
 * us a token, which must not stay for another. */
static inline uint64_t parking_cancel(struct parking *parking)
{
    return parking_take_one(&parking->declared) ? 0 : parking_sleep(parking);
}

#endif
