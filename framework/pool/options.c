/* SPDX-License-Identifier: BSD-2-Clause */
/* The options: one list has their names, ranges and defaults. */
#include <errno.h>

#include "base/error.h"
#include "master/cpu.h"
#include "worker/worker.h"
#include "pool/pool.h"

/* name, least, greatest, default; WORKERS' default is asked of the machine */
#define OPTIONS(X)                                                                                                     \
    X(WORKERS, 1, 1024, 0)                                                                                             \
    X(IO_THREADS, 0, PFK_WORKER_IO_THREADS_MAX, 1)                                                                     \
    X(JOB_THREADS, 0, PFK_WORKER_JOB_THREADS_MAX, 2)                                                                   \
    X(SLOTS, 2, 1048576, 1024)                                                                                         \
    X(REQUEST_BYTES, 1, UINT64_C(1) << 30, 8192)                                                                       \
    X(REPLY_BYTES, 1, UINT64_C(1) << 30, 8192)                                                                         \
    X(MAX_ATTEMPTS, 1, 254, 3)                                                                                         \
    X(OUTSIDE_PRODUCERS, 1, 1024, 1)                                                                                   \
    X(DRAIN_MS, 0, 86400000, 30000)                                                                                    \
    X(READY_MS, 1, 86400000, 30000)                                                                                    \
    X(BACKLOG, 1, 65535, 4096)                                                                                         \
    X(ALLOW_THREADS, 0, 1, 0)                                                                                          \
    X(ON_DAMAGE, 0, 1, PREFORK_DAMAGE_REBUILD)                                                                         \
    X(ATTACHED_PRODUCERS, 0, 1024, 0)                                                                                  \
    X(CONNECTIONS, 0, UINT32_MAX, 0)                                                                                   \
    X(CONNECTIONS_PER_PEER, 0, 65535, 0)                                                                               \
    X(FIRST_BYTE_MS, 0, 86400000, 60000)                                                                               \
    X(MESSAGE_MS, 0, 86400000, 60000)                                                                                  \
    X(IDLE_MS, 0, 86400000, 75000)                                                                                     \
    X(WRITE_MS, 0, 86400000, 60000)

struct option {
    const char *name;
    uint64_t least;
    uint64_t greatest;
    uint64_t initial;
};

#define OPTIONS_ENTRY(name, least, greatest, initial)                                                                  \
    [PREFORK_POOL_##name] = {"PREFORK_POOL_" #name, least, greatest, initial},
static const struct option options_known[PFK_POOL_OPTIONS_MAX + 1] = {OPTIONS(OPTIONS_ENTRY)};

static const struct option *options_find(enum prefork_pool_option option)
{
    const unsigned number = (unsigned)option;

    return number >= 1 && number <= PFK_POOL_OPTIONS_MAX ? &options_known[number] : NULL;
}

void pfk_pool_set_defaults(struct prefork_pool *pool)
{
    for (unsigned i = 1; i <= PFK_POOL_OPTIONS_MAX; i++)
        pool->options[i] = options_known[i].initial;
    pool->options[PREFORK_POOL_WORKERS] = pfk_cpu_workers();
}

PFK_EXPORT int prefork_pool_set(struct prefork_pool *pool, enum prefork_pool_option option, uint64_t value)
{
    const struct option *const known = options_find(option);
    const int rc = pfk_pool_check_setting(pool, "prefork_pool_set");

    if (rc != 0)
        return rc;
    if (known == NULL)
        return pfk_error(EINVAL, "prefork_pool_set: there is no option %d", (int)option);
    if (value < known->least || value > known->greatest)
        return pfk_error(EINVAL, "prefork_pool_set: %s is %llu, it must be from %llu to %llu", known->name,
                         (unsigned long long)value, (unsigned long long)known->least,
                         (unsigned long long)known->greatest);
    pool->options[option] = value;
    return 0;
}

PFK_EXPORT int prefork_pool_get(const struct prefork_pool *pool, enum prefork_pool_option option, uint64_t *value_out)
{
    if (options_find(option) == NULL)
        return pfk_error(EINVAL, "prefork_pool_get: there is no option %d", (int)option);
    *value_out = pool->options[option];
    return 0;
}
