/* SPDX-License-Identifier: BSD-2-Clause */
/* The public face of the semaphore: what ipc/semaphore.h does, with checks and texts for what is not routine. */
#include "ipc/semaphore.h"

#include <limits.h>

#include "base/error.h"
#include "ipc/sync_mark.h"

#define SEMAPHORE_MARK UINT64_C(0x70666b2073656d31) /* "pfk sem1" */

static int semaphore_refuse(const char *call)
{
    return pfk_error(EINVAL, "%s: the semaphore was not initialised, was destroyed, or was overwritten", call);
}

PFK_EXPORT int prefork_semaphore_init(struct prefork_semaphore *semaphore, unsigned value)
{
    if (pfk_semaphore_init(semaphore, value) != 0)
        return pfk_error(EINVAL, "prefork_semaphore_init: %u tokens; at most %d", value, SEM_VALUE_MAX);
    pfk_sync_mark_set(semaphore->opaque, SEMAPHORE_MARK);
    return 0;
}

PFK_EXPORT int prefork_semaphore_destroy(struct prefork_semaphore *semaphore)
{
    if (!pfk_sync_mark_is(semaphore->opaque, SEMAPHORE_MARK))
        return semaphore_refuse("prefork_semaphore_destroy");
    pfk_sync_mark_set(semaphore->opaque, 0);
    (void)sem_destroy(pfk_semaphore_native(semaphore)); /* does nothing on Linux and can't fail */
    return 0;
}

PFK_EXPORT int prefork_semaphore_post(struct prefork_semaphore *semaphore)
{
    const int saved_errno = errno;
    const int rc = pfk_semaphore_post(semaphore);

    errno = saved_errno; /* for signal handlers; no text either, for the same reason */
    return rc;
}

PFK_EXPORT int prefork_semaphore_wait(struct prefork_semaphore *semaphore, uint64_t deadline_ns)
{
    if (PFK_UNLIKELY(!pfk_sync_mark_is(semaphore->opaque, SEMAPHORE_MARK)))
        return semaphore_refuse("prefork_semaphore_wait");
    return pfk_semaphore_wait(semaphore, deadline_ns);
}

PFK_EXPORT int prefork_semaphore_value(const struct prefork_semaphore *semaphore)
{
    return pfk_semaphore_value(semaphore);
}
