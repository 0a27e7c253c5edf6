/* SPDX-License-Identifier: BSD-2-Clause */
/* Clocks: the only caller of clock_gettime for anything that decides. */
#ifndef PFK_BASE_CLOCK_H
#define PFK_BASE_CLOCK_H

#include <stdbool.h>
#include <time.h>

#include "prefork/clock.h"

#define PFK_NS_PER_US UINT64_C(1000)
#define PFK_NS_PER_MS UINT64_C(1000000)
#define PFK_NS_PER_S UINT64_C(1000000000)

/* The same clock in the resolution of the kernel's tick, at a quarter of the
 * price: for deadlines, never for latencies. */
uint64_t pfk_clock_coarse_ns(void);

/* Whether a deadline has passed; for PREFORK_NO_DEADLINE without reading the clock. */
static inline bool pfk_clock_is_over(uint64_t deadline_ns)
{
    return deadline_ns != PREFORK_NO_DEADLINE && prefork_clock_now_ns() >= deadline_ns;
}

/* A deadline as the timespec that the *_clock* calls of libc take. Deadlines
 * beyond what time_t holds are cut to it. */
struct timespec pfk_clock_timespec(uint64_t deadline_ns);

/* Milliseconds from now until the deadline, rounded up, for poll(2): 0 when it
 * has passed, -1 when there is none. */
int pfk_clock_poll_ms(uint64_t deadline_ns);

#endif
