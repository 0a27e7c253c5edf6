/* SPDX-License-Identifier: BSD-2-Clause */
/* The last word of a semaphore or mutex tells whether it was initialised: to lock zeroed memory would seem to work,
 * but neither across processes nor after a death. It guards against mistakes, not against hostile writers. */
#ifndef PFK_IPC_SYNC_MARK_H
#define PFK_IPC_SYNC_MARK_H

#include <stdbool.h>
#include <stdint.h>

#define PFK_SYNC_MARK_WORD 7
/* What is left of the object for the C library. */
#define PFK_SYNC_MARK_ROOM (PFK_SYNC_MARK_WORD * sizeof(uint64_t))

static inline void pfk_sync_mark_set(uint64_t *opaque, uint64_t mark)
{
    *(volatile uint64_t *)&opaque[PFK_SYNC_MARK_WORD] = mark;
}

static inline bool pfk_sync_mark_is(const uint64_t *opaque, uint64_t mark)
{
    return opaque[PFK_SYNC_MARK_WORD] == mark;
}

#endif
