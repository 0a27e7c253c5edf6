/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments that can't be left behind, and the one way in which one is: a process killed between shmget and IPC_RMID.
 * Such a stray has never held data, is attached by nobody, and its key says that it is ours to remove. */
#include <errno.h>
#include <stdbool.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/log.h"
#include "ipc/process.h"
#include "ipc/segment.h"
#include "ipc/shm_error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define PRIVATE_SEGMENT_MODE 0600u
/* 2^16 keys and at most a few in use at once: the second try is rare, the last one never comes by chance. */
#define PRIVATE_SEGMENT_TRIES 256

static int private_segment_random_key(void)
{
    uint16_t number;

    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != (ssize_t)sizeof(number))
        number = (uint16_t)(prefork_clock_now_ns() ^ (uint64_t)getpid()); /* keys need to differ, not to be secret */
    return (int)(PFK_SEGMENT_PRIVATE_PREFIX | number);
}

static int private_segment_make(size_t bytes, struct prefork_segment **segment_out)
{
    int rc = -EEXIST;

    for (int attempt = 0; attempt < PRIVATE_SEGMENT_TRIES && rc == -EEXIST; attempt++)
        rc = pfk_segment_make(private_segment_random_key(), bytes, PRIVATE_SEGMENT_MODE, segment_out);
    return rc;
}

/* Where the kernel can't do it in one call, the pages are written one by one; then
 * want of memory is a signal, as it would have been later. */
int pfk_segment_populate(void *address, size_t bytes)
{
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    volatile unsigned char *byte = address;

    if (madvise(address, bytes, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL)
        return pfk_error(ENOMEM,
                         "madvise MADV_POPULATE_WRITE: no memory for %zu bytes (errno %d); ask for less, or raise the "
                         "memory limit of the control group",
                         bytes, errno);
    for (size_t at = 0; at < bytes; at += page_bytes)
        byte[at] = 0;
    return 0;
}

PFK_EXPORT int prefork_segment_create_private(size_t bytes, struct prefork_segment **segment_out)
{
    struct prefork_segment *segment;
    int rc = private_segment_make(bytes, &segment);

    if (rc != 0)
        return rc;
    rc = prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE);
    if (shmctl(segment->id, IPC_RMID, NULL) != 0 && rc == 0) /* also if it could not be attached */
        rc = pfk_shm_error_id(errno, "shmctl IPC_RMID", segment->id);
    if (rc == 0)
        rc = pfk_segment_populate(segment->mapping, bytes);
    if (rc != 0) {
        prefork_segment_close(&segment);
        return rc;
    }
    *segment_out = segment;
    return 0;
}

static bool private_segment_is_stray(const struct shmid_ds *state)
{
    const struct ipc_perm *perm = &state->shm_perm;
    const uid_t uid = geteuid();

    return ((uint32_t)perm->__key & PFK_SEGMENT_PRIVATE_MASK) == PFK_SEGMENT_PRIVATE_PREFIX && perm->uid == uid &&
           perm->cuid == uid && (perm->mode & 0777u) == PRIVATE_SEGMENT_MODE && state->shm_nattch == 0 &&
           pfk_process_runs(state->shm_cpid) == PFK_PROCESS_DEAD;
}

PFK_EXPORT int prefork_segment_remove_strays(void)
{
    struct shm_info used;
    struct shmid_ds state;
    const int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&used);
    int removed = 0;

    if (last < 0)
        return pfk_error_call(errno, "shmctl SHM_INFO");
    for (int index = 0; index <= last; index++) {
        const int id = shmctl(index, SHM_STAT, &state); /* fails for unused places and for what we may not read */

        if (id < 0 || !private_segment_is_stray(&state) || shmctl(id, IPC_RMID, NULL) != 0)
            continue;
        pfk_log(PREFORK_LOG_INFO, "removed stray segment id %d (key 0x%x, %zu bytes) of process %ld, which is dead", id,
                (unsigned)state.shm_perm.__key, state.shm_segsz, (long)state.shm_cpid);
        removed++;
    }
    return removed;
}
