/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/policy.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

/* -- When a dead worker is replaced ------------------------------------------ */

uint64_t pfk_policy_delay_ms(uint32_t failures)
{
    uint64_t delay = PFK_POLICY_DELAY_FIRST_MS;

    if (failures == 0)
        return 0;
    while (--failures > 0 && delay < PFK_POLICY_DELAY_LAST_MS)
        delay *= 2;
    return delay < PFK_POLICY_DELAY_LAST_MS ? delay : PFK_POLICY_DELAY_LAST_MS;
}

uint32_t pfk_policy_failures(uint32_t failures, const struct pfk_policy_life *life)
{
    if (life->in_order || (life->was_ready && life->worked))
        return 0;
    return failures < UINT32_MAX ? failures + 1 : failures;
}

/* -- How many forks at most -------------------------------------------------- */

bool pfk_policy_budget_take(struct pfk_policy_budget *budget, uint64_t now_ns)
{
    const uint64_t token_ns = PFK_NS_PER_S / PFK_POLICY_SPAWNS_PER_SECOND;
    const uint64_t full_ns = token_ns * PFK_POLICY_SPAWNS_PER_SECOND;
    const uint64_t from_ns = budget->spent_until_ns > now_ns ? budget->spent_until_ns : now_ns;

    if (from_ns + token_ns > now_ns + full_ns)
        return false;
    budget->spent_until_ns = from_ns + token_ns;
    return true;
}

/* -- How many workers --------------------------------------------------------- */

uint32_t pfk_policy_workers(uint32_t cores, uint64_t quota_millicores)
{
    uint64_t workers = cores;

    if (quota_millicores != PFK_POLICY_NO_QUOTA && (quota_millicores - 1) / 1000 + 1 < workers)
        workers = (quota_millicores - 1) / 1000 + 1;
    if (workers < 1)
        workers = 1;
    return workers > PFK_POLICY_WORKERS_MAX ? PFK_POLICY_WORKERS_MAX : (uint32_t)workers;
}

/* Reads a positive number and returns what follows it; NULL when there is none. */
static const char *policy_positive(const char *text, uint64_t *number_out)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (end == text || errno != 0 || number <= 0)
        return NULL;
    *number_out = (uint64_t)number;
    return end;
}

static uint64_t policy_quota(uint64_t quota_us, uint64_t period_us)
{
    uint64_t millicores;

    if (quota_us > UINT64_MAX / 1000)
        return PFK_POLICY_NO_QUOTA;
    millicores = quota_us * 1000 / period_us;
    return millicores > 0 ? millicores : 1;
}

uint64_t pfk_policy_quota_v2(const char *cpu_max)
{
    uint64_t quota_us;
    uint64_t period_us;
    const char *const rest = policy_positive(cpu_max, &quota_us);

    if (rest == NULL || policy_positive(rest, &period_us) == NULL)
        return PFK_POLICY_NO_QUOTA;
    return policy_quota(quota_us, period_us);
}

uint64_t pfk_policy_quota_v1(const char *quota_text, const char *period_text)
{
    uint64_t quota_us;
    uint64_t period_us;

    if (policy_positive(quota_text, &quota_us) == NULL || policy_positive(period_text, &period_us) == NULL)
        return PFK_POLICY_NO_QUOTA;
    return policy_quota(quota_us, period_us);
}
