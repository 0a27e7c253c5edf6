/* SPDX-License-Identifier: BSD-2-Clause */
/* Who a process is, so that another can tell later whether it still runs. A pid alone does not do: it comes back
 * after some 32,000 forks. */
#ifndef PFK_IPC_PROCESS_H
#define PFK_IPC_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum pfk_process_state { PFK_PROCESS_UNKNOWN = -1, PFK_PROCESS_DEAD = 0, PFK_PROCESS_RUNS = 1 };

/* Where pids and start times are counted from. Zero: not known (no /proc). */
struct pfk_process_world {
    uint64_t boot_id[2];
    uint64_t pid_namespace;
};

/* pid and start time in one word, so that it changes in one atomic step: pid:22 (Linux has none above 2^22),
 * start:42 in clock ticks since boot, 0 if not known. Never 0 for a process. */
#define PFK_PROCESS_PID_BITS 22
#define PFK_PROCESS_NOBODY   UINT64_C(0)

static inline pid_t pfk_process_pid(uint64_t process)
{
    return (pid_t)(process & ((UINT64_C(1) << PFK_PROCESS_PID_BITS) - 1));
}

static inline uint64_t pfk_process_start_ticks(uint64_t process)
{
    return process >> PFK_PROCESS_PID_BITS;
}

/* The calling process. */
uint64_t pfk_process_self(void);

/* The pid namespace of the calling process; 0: not known. */
uint64_t pfk_process_pid_space(void);

/* The world of the calling process. */
struct pfk_process_world pfk_process_here(void);

/* Does any process run under this pid? A zombie does not run. UNKNOWN for pid 0, which the kernel shows for a process
 * of another pid namespace. */
enum pfk_process_state pfk_process_runs(pid_t pid);

/* Does that very process, recorded in `world`, still run? UNKNOWN if the pid exists but its start time can't be
 * compared, or if it was recorded in another pid namespace. */
enum pfk_process_state pfk_process_still_runs(uint64_t process, const struct pfk_process_world *world);

#endif
