/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/clock.h>: deadlines.
 *
 * A deadline is a point on CLOCK_MONOTONIC in nanoseconds, so it is the same
 * moment in every process of the machine and no change of the wall clock moves
 * it. Calls that may wait take one. */
#ifndef PREFORK_CLOCK_H
#define PREFORK_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Do not wait: answer from what is there now. */
#define PREFORK_NO_WAIT UINT64_C(0)
/* Wait as long as it takes. */
#define PREFORK_NO_DEADLINE UINT64_MAX

/* Returns CLOCK_MONOTONIC in nanoseconds (clock_gettime(2)). Any thread, any
 * process, async-signal-safe; never fails. */
uint64_t prefork_clock_now_ns(void);

/* Returns the deadline that lies `milliseconds` from now. Any thread, any
 * process, async-signal-safe; never fails. */
uint64_t prefork_deadline_after_ms(uint64_t milliseconds);

#ifdef __cplusplus
}
#endif

#endif
