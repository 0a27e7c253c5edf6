/* SPDX-License-Identifier: BSD-2-Clause */
/* Processor time of other processes, from /proc. The kernel tells it in clock
 * ticks (10 ms), so a measurement should last a second or more. */
#ifndef BENCH_CPU_TIME_H
#define BENCH_CPU_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cpu_target {
    pid_t pid;
    bool with_descendants; /* its children too, and theirs, and those it has reaped */
};

/* Sums user and system time of the targets. Returns 0, or -errno (-ESRCH: a
 * target does not exist) after saying so on stderr. */
int cpu_time_read_ns(const struct cpu_target *targets, size_t count, uint64_t *ns_out);

#endif
