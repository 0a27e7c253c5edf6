/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums the lanes' counters. Reads only, takes no lock, trusts nothing: a
 * damaged segment gives strange numbers and no other harm. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "job/lane.h"

static uint64_t statistics_sum(const struct prefork_table *table, uint32_t counter)
{
    uint64_t sum = 0;

    for (uint32_t lane = 1; lane <= table->geometry.lanes; lane++)
        sum += pfk_u64_load_relaxed(&pfk_table_lane(table, lane)->counters[counter]);
    return sum;
}

static void statistics_add_latencies(const struct prefork_table *table, struct prefork_statistics *statistics)
{
    for (uint32_t lane = 1; lane <= table->geometry.lanes; lane++) {
        const struct pfk_lane_shm *const shm = pfk_table_lane(table, lane);

        for (uint32_t bucket = 0; bucket < PFK_LOG2_BUCKETS; bucket++) {
            statistics->waited_log2_ns[bucket] += pfk_u64_load_relaxed(&shm->waited_log2_ns[bucket]);
            statistics->ran_log2_ns[bucket] += pfk_u64_load_relaxed(&shm->ran_log2_ns[bucket]);
        }
    }
}

static void statistics_count_slot(uint64_t word, struct prefork_statistics *statistics)
{
    switch (pfk_word_state(word)) {
    case PFK_FREE:
    case PFK_FREEING:
    case PFK_SPARE:
        statistics->free_slots++;
        break;
    case PFK_RESERVED:
        statistics->reserved_slots++;
        break;
    case PFK_QUEUING:
    case PFK_READY:
        statistics->ready_slots++;
        break;
    case PFK_CLAIMED:
        statistics->claimed_slots++;
        break;
    case PFK_DONE:
        statistics->done_slots++;
        break;
    default: /* damaged; verify tells more */
        break;
    }
}

static void statistics_add_repairs(const struct pfk_control_shm *control, struct prefork_statistics *statistics)
{
    statistics->redelivered = pfk_u64_load_relaxed(&control->redelivered);
    statistics->buried = pfk_u64_load_relaxed(&control->buried);
    statistics->repairs = pfk_u64_load_relaxed(&control->repairs);
    statistics->suspect = pfk_u64_load_relaxed(&control->suspect);
}

PFK_EXPORT int prefork_table_statistics(const struct prefork_table *table, struct prefork_statistics *statistics_out)
{
    struct prefork_statistics sums = {.size = statistics_out->size};

    if (statistics_out->size < sizeof(sums.size))
        return pfk_error(EINVAL, "prefork_table_statistics: size is %zu; set it to sizeof(struct prefork_statistics)",
                         statistics_out->size);
    sums.submitted = statistics_sum(table, PFK_COUNT_SUBMITTED);
    sums.claimed = statistics_sum(table, PFK_COUNT_CLAIMED);
    sums.completed = statistics_sum(table, PFK_COUNT_JOBS);
    sums.failed = statistics_sum(table, PFK_COUNT_FAILED);
    sums.handed_back = statistics_sum(table, PFK_COUNT_HANDED_BACK);
    sums.collected = statistics_sum(table, PFK_COUNT_COLLECTED);
    sums.refused = statistics_sum(table, PFK_COUNT_REFUSED);
    sums.slept = statistics_sum(table, PFK_COUNT_SLEPT);
    sums.woken = statistics_sum(table, PFK_COUNT_WOKEN);
    if (table->control != NULL)
        statistics_add_repairs(table->control, &sums);
    sums.slots = table->geometry.slots;
    for (uint32_t i = 0; i < table->geometry.slots; i++)
        statistics_count_slot(pfk_u64_load_relaxed(&pfk_table_descriptor(table, i)->word), &sums);
    statistics_add_latencies(table, &sums);
    memcpy(statistics_out, &sums, statistics_out->size < sizeof(sums) ? statistics_out->size : sizeof(sums));
    return 0;
}
