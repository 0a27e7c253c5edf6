/* SPDX-License-Identifier: BSD-2-Clause */
/* How much processor this process may use. */
#ifndef PFK_MASTER_CPU_H
#define PFK_MASTER_CPU_H

#include <stdint.h>

/* Returns the default number of workers: the cores of the affinity mask, or
 * fewer when the cgroup has a quota (version 2 first, 1 second). Without /proc
 * or /sys there is no quota. Never fails, never 0. */
uint32_t pfk_cpu_workers(void);

#endif
