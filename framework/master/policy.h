/* SPDX-License-Identifier: BSD-2-Clause */
/* Decisions of the master as pure functions: no system call, no clock, no
 * memory but their arguments. */
#ifndef PFK_MASTER_POLICY_H
#define PFK_MASTER_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* -- When a dead worker is replaced ------------------------------------------ */

#define PFK_POLICY_DELAY_FIRST_MS 100
#define PFK_POLICY_DELAY_LAST_MS  30000

/* How long to wait after `failures` failures in a row: 0, 100 ms, doubling,
 * 30 s. */
uint64_t pfk_policy_delay_ms(uint32_t failures);

/* A worker's life, as it is judged after its end. */
struct pfk_policy_life {
    bool was_ready;
    bool worked;   /* completed a job or served a connection */
    bool in_order; /* drained and ended with 0 */
};

/* Returns the failures in a row that its seat has now: 0 after a good life,
 * which is to be replaced at once whatever ended it. */
uint32_t pfk_policy_failures(uint32_t failures, const struct pfk_policy_life *life);

/* -- How many forks at most -------------------------------------------------- */

/* Workers tell by themselves that they worked; one that lies must not make the
 * master fork without end. So replacements cost tokens: this many may be made
 * in a burst, and as many each second. */
#define PFK_POLICY_SPAWNS_PER_SECOND 512

struct pfk_policy_budget {
    uint64_t spent_until_ns; /* the moment at which the bucket is full again */
};

/* Takes one token if there is one. */
bool pfk_policy_budget_take(struct pfk_policy_budget *budget, uint64_t now_ns);

/* -- How many workers --------------------------------------------------------- */

#define PFK_POLICY_WORKERS_MAX 1024
#define PFK_POLICY_NO_QUOTA    UINT64_MAX

/* Returns the default number of workers for `cores` that the process may run
 * on and a quota in thousandths of a core, rounded up: at least 1. */
uint32_t pfk_policy_workers(uint32_t cores, uint64_t quota_millicores);

/* Read a cgroup's quota: v2 has "50000 100000" or "max 100000" in one file; v1
 * has two numbers in two. Anything else is PFK_POLICY_NO_QUOTA. */
uint64_t pfk_policy_quota_v2(const char *cpu_max);
uint64_t pfk_policy_quota_v1(const char *quota_us, const char *period_us);

#endif
