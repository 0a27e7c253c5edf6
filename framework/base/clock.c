/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"

#include <limits.h>

#include "base/compiler.h"

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec now = {0};

    (void)clock_gettime(clock, &now); /* fails only for a clock that Linux lacks */
    return (uint64_t)now.tv_sec * PFK_NS_PER_S + (uint64_t)now.tv_nsec;
}

PFK_EXPORT uint64_t prefork_clock_now_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

PFK_EXPORT uint64_t prefork_deadline_after_ms(uint64_t milliseconds)
{
    const uint64_t now_ns = prefork_clock_now_ns();

    if (milliseconds >= (PREFORK_NO_DEADLINE - now_ns) / PFK_NS_PER_MS)
        return PREFORK_NO_DEADLINE;
    return now_ns + milliseconds * PFK_NS_PER_MS;
}

uint64_t pfk_clock_coarse_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC_COARSE);
}

struct timespec pfk_clock_timespec(uint64_t deadline_ns)
{
    const uint64_t seconds = deadline_ns / PFK_NS_PER_S;
    struct timespec at;

    at.tv_sec = seconds > (uint64_t)LONG_MAX ? (time_t)LONG_MAX : (time_t)seconds;
    at.tv_nsec = (long)(deadline_ns % PFK_NS_PER_S);
    return at;
}

int pfk_clock_poll_ms(uint64_t deadline_ns)
{
    uint64_t now_ns, rest_ms;

    if (deadline_ns == PREFORK_NO_DEADLINE)
        return -1;
    now_ns = prefork_clock_now_ns();
    if (deadline_ns <= now_ns)
        return 0;
    rest_ms = (deadline_ns - now_ns + PFK_NS_PER_MS - 1) / PFK_NS_PER_MS;
    return rest_ms > (uint64_t)INT_MAX ? INT_MAX : (int)rest_ms;
}
