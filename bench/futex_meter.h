/* SPDX-License-Identifier: BSD-2-Clause */
/* How often this process calls futex(2), as the kernel counts it: also the
 * calls that the C library makes. Needs root or a permissive kernel, and makes
 * every system call of the machine slower while it is open. */
#ifndef BENCH_FUTEX_METER_H
#define BENCH_FUTEX_METER_H

#include <stdint.h>

/* Starts counting. Returns a descriptor for futex_meter_read, which the caller
 * closes; or -errno: the kernel has no such tracepoint, or does not allow it. */
int futex_meter_open(void);

/* Returns the calls since futex_meter_open. */
uint64_t futex_meter_read(int meter_fd);

#endif
