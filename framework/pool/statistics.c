/* SPDX-License-Identifier: BSD-2-Clause */
/* What a pool tells of itself. Callers pass the size of the struct that they
 * were compiled with; an older, shorter one gets what fits. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "job/control.h"
#include "pool/pool.h"

/* Workers have no mapping of the master's counts. */
static int statistics_check(const struct prefork_pool *pool, const char *call)
{
    const int rc = pfk_pool_check_owner(pool, call);

    if (rc != 0)
        return rc;
    if (pool->table == NULL)
        return pfk_error(ESRCH, "%s: the pool never ran", call);
    return 0;
}

/* Copies `full` to what the caller has room for, and keeps its size field. */
static int statistics_give(void *to, size_t size, const void *full, size_t full_size, const char *call)
{
    if (size < sizeof(size_t) || size > full_size)
        return pfk_error(EINVAL, "%s: size is %zu; set it to the sizeof of the struct, %zu here", call, size,
                         full_size);
    memcpy((char *)to + sizeof(size_t), (const char *)full + sizeof(size_t), size - sizeof(size_t));
    return 0;
}

PFK_EXPORT int prefork_pool_statistics(const struct prefork_pool *pool, struct prefork_pool_statistics *statistics_out)
{
    const char *const call = "prefork_pool_statistics";
    struct prefork_statistics table = {.size = sizeof(table)};
    struct prefork_pool_statistics full = {.size = sizeof(full)};
    int rc = statistics_check(pool, call);

    if (rc == 0)
        rc = prefork_table_statistics(pool->table, &table);
    if (rc != 0)
        return rc;
    full.connections = pfk_table_counter_sum(pool->table, PFK_COUNT_CONNECTIONS);
    full.bytes_in = pfk_table_counter_sum(pool->table, PFK_COUNT_BYTES_IN);
    full.bytes_out = pfk_table_counter_sum(pool->table, PFK_COUNT_BYTES_OUT);
    full.datagrams = pfk_table_counter_sum(pool->table, PFK_COUNT_DATAGRAMS);
    full.datagrams_dropped = pfk_table_counter_sum(pool->table, PFK_COUNT_DATAGRAMS_DROPPED);
    full.connections_timed_out = pfk_table_counter_sum(pool->table, PFK_COUNT_CONNECTIONS_TIMED_OUT);
    full.connections_refused = pfk_table_counter_sum(pool->table, PFK_COUNT_CONNECTIONS_REFUSED);
    full.connections_now = pfk_table_published_sum(pool->table, PFK_COUNT_CONNECTIONS_NOW);
    full.accept_errors = pfk_table_counter_sum(pool->table, PFK_COUNT_ACCEPT_ERRORS);
    full.jobs = table.completed;
    full.redelivered = table.redelivered;
    full.buried = table.buried;
    full.workers_forked = pfk_u64_load_relaxed(&pool->tally->forked);
    full.workers_lost = pfk_u64_load_relaxed(&pool->tally->lost);
    full.rebuilds = pfk_u64_load_relaxed(&pool->tally->rebuilt);
    full.workers_ready = pfk_u32_load_relaxed(&pool->tally->ready);
    return statistics_give(statistics_out, statistics_out->size, &full, sizeof(full), call);
}

PFK_EXPORT int prefork_pool_worker(const struct prefork_pool *pool, uint32_t seat,
                                   struct prefork_worker_status *status_out)
{
    const char *const call = "prefork_pool_worker";
    struct prefork_worker_status full = {.size = sizeof(full)};
    struct pfk_seat status;
    const int rc = statistics_check(pool, call);

    if (rc != 0)
        return rc;
    if (seat >= pool->options[PREFORK_POOL_WORKERS])
        return pfk_error(ENOENT, "%s: there is no seat %u, they are numbered from 0 to %llu", call, seat,
                         (unsigned long long)pool->options[PREFORK_POOL_WORKERS] - 1);
    pfk_control_seat(pool->table, seat, &status);
    full.pid = status.pid;
    full.incarnation = status.incarnation;
    full.ready = status.ready;
    full.first_lane = prefork_table_worker_lane(pool->table, seat, 0, 0);
    full.lanes = (uint32_t)(pool->options[PREFORK_POOL_IO_THREADS] + pool->options[PREFORK_POOL_JOB_THREADS]);
    return statistics_give(status_out, status_out->size, &full, sizeof(full), call);
}

PFK_EXPORT struct prefork_table *prefork_pool_table(struct prefork_pool *pool)
{
    return pool->table;
}
