/* SPDX-License-Identifier: BSD-2-Clause */
/* The only file that includes <stdatomic.h>. Each operation names its order,
 * so that a reader of the callers sees what is ordered and what is not.
 *
 * All of them work on memory that other processes map; that is sound because
 * the operations are lock-free (asserted below, and refused by configure
 * otherwise): a lock-free atomic is address-free. C11, 7.17.5. */
#ifndef PFK_BASE_ATOMIC_H
#define PFK_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "32-bit atomics must be lock-free");
_Static_assert(sizeof(_Atomic uint64_t) == 8, "a shared 64-bit word has 8 bytes");

typedef _Atomic uint64_t pfk_atomic_u64;
typedef _Atomic uint32_t pfk_atomic_u32;

#define PFK_ATOMIC_DEFINE(width)                                                                             \
    static inline uint##width##_t pfk_u##width##_load_relaxed(const pfk_atomic_u##width *from)               \
    {                                                                                                        \
        return atomic_load_explicit(from, memory_order_relaxed);                                             \
    }                                                                                                        \
    static inline uint##width##_t pfk_u##width##_load_acquire(const pfk_atomic_u##width *from)               \
    {                                                                                                        \
        return atomic_load_explicit(from, memory_order_acquire);                                             \
    }                                                                                                        \
    static inline void pfk_u##width##_store_relaxed(pfk_atomic_u##width *to, uint##width##_t value)          \
    {                                                                                                        \
        atomic_store_explicit(to, value, memory_order_relaxed);                                              \
    }                                                                                                        \
    static inline void pfk_u##width##_store_release(pfk_atomic_u##width *to, uint##width##_t value)          \
    {                                                                                                        \
        atomic_store_explicit(to, value, memory_order_release);                                              \
    }                                                                                                        \
    /* Strong. On failure *expected holds what was found, read with acquire. */                             \
    static inline bool pfk_u##width##_cas_acq_rel(pfk_atomic_u##width *at, uint##width##_t *expected,        \
                                                  uint##width##_t desired)                                   \
    {                                                                                                        \
        return atomic_compare_exchange_strong_explicit(at, expected, desired, memory_order_acq_rel,          \
                                                       memory_order_acquire);                                \
    }                                                                                                        \
    static inline uint##width##_t pfk_u##width##_exchange_acq_rel(pfk_atomic_u##width *at,                   \
                                                                  uint##width##_t value)                     \
    {                                                                                                        \
        return atomic_exchange_explicit(at, value, memory_order_acq_rel);                                    \
    }                                                                                                        \
    static inline uint##width##_t pfk_u##width##_or_acq_rel(pfk_atomic_u##width *at, uint##width##_t bits)   \
    {                                                                                                        \
        return atomic_fetch_or_explicit(at, bits, memory_order_acq_rel);                                     \
    }                                                                                                        \
    static inline uint##width##_t pfk_u##width##_and_acq_rel(pfk_atomic_u##width *at, uint##width##_t bits)  \
    {                                                                                                        \
        return atomic_fetch_and_explicit(at, bits, memory_order_acq_rel);                                    \
    }                                                                                                        \
    static inline uint##width##_t pfk_u##width##_add_acq_rel(pfk_atomic_u##width *at, uint##width##_t value) \
    {                                                                                                        \
        return atomic_fetch_add_explicit(at, value, memory_order_acq_rel);                                   \
    }                                                                                                        \
    static inline uint##width##_t pfk_u##width##_sub_acq_rel(pfk_atomic_u##width *at, uint##width##_t value) \
    {                                                                                                        \
        return atomic_fetch_sub_explicit(at, value, memory_order_acq_rel);                                   \
    }                                                                                                        \
    /* For a counter with one writer: a plain load and store, no lock prefix. */                            \
    static inline void pfk_u##width##_bump_relaxed(pfk_atomic_u##width *counter, uint##width##_t by)         \
    {                                                                                                        \
        pfk_u##width##_store_relaxed(counter, pfk_u##width##_load_relaxed(counter) + by);                    \
    }

PFK_ATOMIC_DEFINE(32)
PFK_ATOMIC_DEFINE(64)

#undef PFK_ATOMIC_DEFINE

#if defined(__SANITIZE_THREAD__)
#define PFK_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PFK_THREAD_SANITIZER 1
#endif
#endif

/* Orders every access before it against every access after it, in one total
 * order of all such fences. ThreadSanitizer does not model fences, so under it
 * a seq_cst read-modify-write of a word that all threads share stands in. */
static inline void pfk_fence_seq_cst(void)
{
#ifdef PFK_THREAD_SANITIZER
    extern pfk_atomic_u32 pfk_fence_stand_in;
    atomic_fetch_add_explicit(&pfk_fence_stand_in, 1, memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* The same between a read-modify-write of this thread, which went before, and
 * what comes after. On x86 a locked instruction is a fence already, so nothing
 * but the compiler has to be held back. */
static inline void pfk_fence_after_rmw(void)
{
#if (defined(__x86_64__) || defined(__i386__)) && !defined(PFK_THREAD_SANITIZER)
    atomic_signal_fence(memory_order_seq_cst);
#else
    pfk_fence_seq_cst();
#endif
}

#endif
