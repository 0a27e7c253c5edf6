/* SPDX-License-Identifier: BSD-2-Clause */
/* What the compiler is asked for beyond C11. */
#ifndef PFK_BASE_COMPILER_H
#define PFK_BASE_COMPILER_H

#include <stddef.h>

#define PFK_EXPORT __attribute__((visibility("default")))
#define PFK_PRINTF(format_at, values_at) __attribute__((format(printf, format_at, values_at)))
#define PFK_UNUSED __attribute__((unused))
#define PFK_NORETURN __attribute__((noreturn))
#define PFK_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define PFK_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
/* Stays a function of its own, so that its callers' usual way needs no room on the stack. */
#define PFK_RARELY_CALLED __attribute__((noinline))
/* Wants the cache line soon; any address will do. */
#define PFK_PREFETCH(address) __builtin_prefetch(address)

/* One cache line: the unit in which cores exchange memory. */
#define PFK_CACHE_LINE 64
/* Two lines: the prefetcher of common x86-64 cores fetches lines in pairs, so
 * counters that different cores write lie this far apart. */
#define PFK_CACHE_PAIR 128

#define PFK_ALIGNED(bytes) __attribute__((aligned(bytes)))

#define PFK_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define pfk_container_of(pointer, type, member) \
    ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

#endif
