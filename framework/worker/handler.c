/* SPDX-License-Identifier: BSD-2-Clause */
/* Names to functions. Knows nothing of threads, lanes and processes. The number
 * in a job comes from shared memory, so it is checked before it indexes. */
#include "worker/handler.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"

int pfk_handler_add(struct pfk_handler_set *set, const char *name, prefork_handler_fn run, void *context)
{
    struct pfk_handler *handler;

    if (name == NULL || name[0] == '\0' || strlen(name) >= PFK_HANDLER_NAME_BYTES)
        return pfk_error(EINVAL, "prefork_pool_handle: a handler's name has 1 to %d bytes", PFK_HANDLER_NAME_BYTES - 1);
    if (run == NULL)
        return pfk_error(EINVAL, "prefork_pool_handle: \"%s\" has no function", name);
    if (pfk_handler_find(set, name) >= 0)
        return pfk_error(EEXIST, "prefork_pool_handle: \"%s\" is the name of a handler already", name);
    if (set->n == PFK_HANDLER_MAX)
        return pfk_error(ENOSPC, "prefork_pool_handle: \"%s\" would be handler %d, a pool has at most %d", name,
                         PFK_HANDLER_MAX + 1, PFK_HANDLER_MAX);
    handler = &set->handlers[set->n++];
    memcpy(handler->name, name, strlen(name) + 1);
    handler->run = run;
    handler->context = context;
    return 0;
}

int pfk_handler_find(const struct pfk_handler_set *set, const char *name)
{
    for (uint32_t i = 0; i < set->n; i++)
        if (strcmp(set->handlers[i].name, name) == 0)
            return (int)i;
    return -ENOENT;
}

static int handler_refuse_status(struct pfk_handler *handler, int status)
{
    if (pfk_u32_exchange_acq_rel(&handler->complained, 1) == 0)
        pfk_log(PREFORK_LOG_WARNING,
                "handler \"%s\" returned %d; it must return 0 or a negative code: the submitter sees -EINVAL",
                handler->name, status);
    return -EINVAL;
}

int pfk_handler_run(struct pfk_handler_set *set, struct prefork_job *job)
{
    const uint32_t number = prefork_job_handler(job);
    int status;

    if (number >= set->n)
        return -ENOENT;
    status = set->handlers[number].run(job, set->handlers[number].context);
    return status <= 0 ? status : handler_refuse_status(&set->handlers[number], status);
}
