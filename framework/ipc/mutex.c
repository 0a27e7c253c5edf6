/* SPDX-License-Identifier: BSD-2-Clause */
/* The robust mutex. All of it is the C library's; this file chooses the attributes, turns deadlines into its calls
 * and says what its codes mean. The mark costs one compare and catches a mutex in zeroed memory. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "ipc/sync_mark.h"
#include "prefork/sync.h"

#define MUTEX_MARK UINT64_C(0x70666b206d757431) /* "pfk mut1" */

_Static_assert(sizeof(pthread_mutex_t) <= PFK_SYNC_MARK_ROOM, "pthread_mutex_t leaves room for the mark");
_Static_assert(_Alignof(pthread_mutex_t) <= _Alignof(struct prefork_mutex), "pthread_mutex_t is aligned");

static pthread_mutex_t *mutex_native(struct prefork_mutex *mutex)
{
    return (pthread_mutex_t *)(void *)mutex->opaque;
}

static int mutex_refuse(const char *call)
{
    return pfk_error(EINVAL, "%s: the mutex was not initialised, was destroyed, or was overwritten", call);
}

static int mutex_set_attributes(pthread_mutexattr_t *attributes)
{
    int code = pthread_mutexattr_setpshared(attributes, PTHREAD_PROCESS_SHARED);

    if (code == 0)
        code = pthread_mutexattr_setrobust(attributes, PTHREAD_MUTEX_ROBUST);
    if (code == 0)
        code = pthread_mutexattr_settype(attributes, PTHREAD_MUTEX_ERRORCHECK);
    return code;
}

PFK_EXPORT int prefork_mutex_init(struct prefork_mutex *mutex)
{
    pthread_mutexattr_t attributes;
    int code = pthread_mutexattr_init(&attributes);

    if (code != 0)
        return pfk_error_call(code, "pthread_mutexattr_init");
    code = mutex_set_attributes(&attributes);
    if (code == 0)
        code = pthread_mutex_init(mutex_native(mutex), &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    if (code != 0)
        return pfk_error_call(code, "pthread_mutex_init, robust and process-shared");
    pfk_sync_mark_set(mutex->opaque, MUTEX_MARK);
    return 0;
}

/* The C library destroys a locked robust mutex without a word, and its owner would later unlock freed memory. So it is
 * locked first; what a dead owner left of it does not matter any more. */
PFK_EXPORT int prefork_mutex_destroy(struct prefork_mutex *mutex)
{
    int code;

    if (!pfk_sync_mark_is(mutex->opaque, MUTEX_MARK))
        return mutex_refuse("prefork_mutex_destroy");
    code = pthread_mutex_trylock(mutex_native(mutex));
    if (code == EBUSY || code == EDEADLK)
        return pfk_error(EBUSY, "prefork_mutex_destroy: the mutex is locked; unlock it first");
    pfk_sync_mark_set(mutex->opaque, 0);
    if (code != ENOTRECOVERABLE)
        (void)pthread_mutex_unlock(mutex_native(mutex)); /* it must leave this thread's list of robust mutexes */
    (void)pthread_mutex_destroy(mutex_native(mutex));
    return 0;
}

static int mutex_lock_native(pthread_mutex_t *native, uint64_t deadline_ns)
{
    struct timespec at;

    if (deadline_ns == PREFORK_NO_WAIT)
        return pthread_mutex_trylock(native);
    if (deadline_ns == PREFORK_NO_DEADLINE)
        return pthread_mutex_lock(native);
    at = pfk_clock_timespec(deadline_ns);
    return pthread_mutex_clocklock(native, CLOCK_MONOTONIC, &at);
}

PFK_EXPORT int prefork_mutex_lock(struct prefork_mutex *mutex, uint64_t deadline_ns)
{
    int code;

    if (PFK_UNLIKELY(!pfk_sync_mark_is(mutex->opaque, MUTEX_MARK)))
        return mutex_refuse("prefork_mutex_lock");
    code = mutex_lock_native(mutex_native(mutex), deadline_ns);
    switch (code) {
    case 0:
        return 0;
    case EBUSY:
        return -EAGAIN;
    case ETIMEDOUT:
        return -ETIMEDOUT;
    case EOWNERDEAD:
        return pfk_error(EOWNERDEAD, "prefork_mutex_lock: locked, but its owner died holding it; repair the data, then "
                                     "call prefork_mutex_consistent");
    case ENOTRECOVERABLE:
        return pfk_error(ENOTRECOVERABLE, "prefork_mutex_lock: its owner died and the next one unlocked it without "
                                          "prefork_mutex_consistent; initialise it and its data anew");
    case EDEADLK:
        return pfk_error(EDEADLK, "prefork_mutex_lock: this thread holds it already");
    default:
        return pfk_error_call(code, "pthread_mutex_lock");
    }
}

PFK_EXPORT int prefork_mutex_consistent(struct prefork_mutex *mutex)
{
    if (!pfk_sync_mark_is(mutex->opaque, MUTEX_MARK))
        return mutex_refuse("prefork_mutex_consistent");
    if (pthread_mutex_consistent(mutex_native(mutex)) != 0)
        return pfk_error(EINVAL, "prefork_mutex_consistent: no owner of it died; call it only after -EOWNERDEAD");
    return 0;
}

PFK_EXPORT int prefork_mutex_unlock(struct prefork_mutex *mutex)
{
    int code;

    if (PFK_UNLIKELY(!pfk_sync_mark_is(mutex->opaque, MUTEX_MARK)))
        return mutex_refuse("prefork_mutex_unlock");
    code = pthread_mutex_unlock(mutex_native(mutex));
    if (PFK_LIKELY(code == 0))
        return 0;
    return pfk_error(code, "prefork_mutex_unlock: this thread does not hold it");
}
