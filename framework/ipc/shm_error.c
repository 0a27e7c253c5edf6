/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel answers a refused shmget with few codes for many causes: EINVAL for a segment that exists but is
 * smaller and for a size over the limit, ENOSPC for either of two limits. This file looks again and tells which.
 * All numbers come from shmctl, so it works where /proc is not mounted. */
#include "ipc/shm_error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include "base/error.h"

struct shm_error_limits {
    struct shminfo allowed;
    struct shm_info used;
};

/* The C library declares one structure for all of shmctl's commands. */
static bool shm_error_read_limits(struct shm_error_limits *limits)
{
    return shmctl(0, IPC_INFO, (struct shmid_ds *)(void *)&limits->allowed) >= 0 &&
           shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&limits->used) >= 0;
}

/* The owner of the segment under `key`, without any right to it. */
static bool shm_error_owner_of(int key, int *id_out, unsigned *uid_out)
{
    struct shm_info used;
    struct shmid_ds state;
    const int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&used);

    for (int index = 0; index <= last; index++) {
        const int id = shmctl(index, SHM_STAT_ANY, &state);

        if (id >= 0 && state.shm_perm.__key == key) {
            *id_out = id;
            *uid_out = state.shm_perm.uid;
            return true;
        }
    }
    return false;
}

static int shm_error_invalid(int key, size_t bytes)
{
    struct shm_error_limits limits;
    struct shmid_ds state;
    const int id = key == IPC_PRIVATE ? -1 : shmget(key, 0, 0);

    if (id >= 0 && shmctl(id, IPC_STAT, &state) == 0 && state.shm_segsz < bytes)
        return pfk_error(
            EINVAL,
            "shmget: the segment under key 0x%x (id %d) has %zu bytes, %zu are wanted; if nobody needs it: "
            "ipcrm -m %d",
            (unsigned)key, id, state.shm_segsz, bytes, id);
    if (shm_error_read_limits(&limits) && bytes > limits.allowed.shmmax)
        return pfk_error(EINVAL, "shmget: %zu bytes are more than kernel.shmmax = %lu; sysctl -w kernel.shmmax=%zu",
                         bytes, limits.allowed.shmmax, bytes);
    return pfk_error(EINVAL,
                     "shmget: key 0x%x, %zu bytes: the kernel takes neither limit nor existing segment as the "
                     "reason",
                     (unsigned)key, bytes);
}

static int shm_error_space(size_t bytes)
{
    struct shm_error_limits limits;
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    const unsigned long pages = (unsigned long)(bytes / page_bytes + (bytes % page_bytes != 0));

    if (!shm_error_read_limits(&limits))
        return pfk_error(ENOSPC, "shmget: %zu bytes: kernel.shmmni or kernel.shmall is used up; see ipcs -lm", bytes);
    if (limits.used.shm_tot > limits.allowed.shmall || pages > limits.allowed.shmall - limits.used.shm_tot)
        return pfk_error(ENOSPC,
                         "shmget: %lu pages are wanted, kernel.shmall = %lu and %lu are in use; sysctl -w "
                         "kernel.shmall=%lu, or remove segments (ipcs -m, ipcrm -m)",
                         pages, limits.allowed.shmall, limits.used.shm_tot, limits.used.shm_tot + pages);
    return pfk_error(ENOSPC,
                     "shmget: kernel.shmmni = %lu segments and %d exist; sysctl -w kernel.shmmni=%d, or remove "
                     "segments (ipcs -m, ipcrm -m)",
                     limits.allowed.shmmni, limits.used.used_ids, limits.used.used_ids + 1);
}

static int shm_error_access(int key)
{
    int id;
    unsigned uid;

    if (shm_error_owner_of(key, &id, &uid))
        return pfk_error(EACCES,
                         "shmget: the segment under key 0x%x (id %d) belongs to uid %u, this is uid %u; take another "
                         "key, or as its owner: ipcrm -m %d",
                         (unsigned)key, id, uid, (unsigned)geteuid(), id);
    return pfk_error(EACCES, "shmget: the segment under key 0x%x is not open to uid %u; take another key",
                     (unsigned)key, (unsigned)geteuid());
}

static int shm_error_exists(int key)
{
    const int id = shmget(key, 0, 0);

    return pfk_error(EEXIST,
                     "shmget: key 0x%x is in use by segment id %d; take another key, or if nobody needs it: "
                     "ipcrm -m %d",
                     (unsigned)key, id, id);
}

int pfk_shm_error_get(int code, int key, size_t bytes)
{
    switch (code) {
    case EINVAL:
        return shm_error_invalid(key, bytes);
    case ENOSPC:
        return shm_error_space(bytes);
    case EACCES:
        return shm_error_access(key);
    case EEXIST:
        return shm_error_exists(key);
    case ENOENT:
        return pfk_error(ENOENT, "shmget: no segment under key 0x%x; start what makes it, or see ipcs -m",
                         (unsigned)key);
    case ENOMEM:
        return pfk_error(ENOMEM,
                         "shmget: no memory for %zu bytes; ask for less, or free memory (vm.overcommit_memory, the "
                         "memory limit of the control group)",
                         bytes);
    case EPERM:
    case ENOSYS:
        return pfk_error(code, "shmget: refused by the kernel or a seccomp filter; System V shared memory is "
                               "indispensable here");
    default:
        return pfk_error_call(code, "shmget");
    }
}

int pfk_shm_error_id(int code, const char *call, int id)
{
    switch (code) {
    case EINVAL:
    case EIDRM:
        return pfk_error(EIDRM, "%s: segment id %d was removed; open it again by its key, or make a new one", call, id);
    case EACCES:
        return pfk_error(EACCES, "%s: uid %u may not access segment id %d so; see its mode and owner in ipcs -m", call,
                         (unsigned)geteuid(), id);
    case EPERM:
        return pfk_error(EPERM, "%s: only owner, creator or root may change segment id %d; this is uid %u", call, id,
                         (unsigned)geteuid());
    case ENOMEM:
        return pfk_error(ENOMEM, "%s: no address space for segment id %d; raise RLIMIT_AS (ulimit -v)", call, id);
    default:
        return pfk_error_call(code, call);
    }
}
