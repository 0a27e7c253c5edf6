/* SPDX-License-Identifier: BSD-2-Clause */
/* The header of a named segment: what lies behind it and who owns it. */
#ifndef PFK_IPC_HEADER_H
#define PFK_IPC_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "ipc/process.h"
#include "prefork/segment.h"

/* "pfkseg" and the version of this header. */
#define PFK_HEADER_MAGIC UINT64_C(0x70666b7365670001)

/* The first bytes of a named segment.
 *
 * field         | writer             | readers      | order                              | if the writer dies here
 * --------------+--------------------+--------------+------------------------------------+------------------------
 * owner         | creator; who takes | judge, taker | first of all, relaxed; later CAS   | judged dead by it
 * world         | creator; who takes | judge        | before owner's CAS (see _take)     | harmless: see _take
 * version …     | creator, once      | judge        | before magic                       | magic stays 0
 * (user area)   | initialiser        | all          | before magic                       | magic stays 0
 * magic         | creator; who       | judge,       | release, last; read with acquire   | 0 and a dead owner:
 *               | replaces           | joiner       |                                    | unfinished, never used
 *
 * owner lies before everything because a segment without magic is given up only when its creator is dead. */
struct pfk_header_shm {
    pfk_atomic_u64 magic;
    pfk_atomic_u64 owner; /* as pfk_process_self */
    pfk_atomic_u64 boot_id[2];
    pfk_atomic_u64 pid_namespace;
    pfk_atomic_u64 bytes; /* user area */
    pfk_atomic_u64 fingerprint;
    pfk_atomic_u32 version;
    pfk_atomic_u32 unused;
    pfk_atomic_u64 reserved[8];
};

/* The user area starts here, on a pair of cache lines of its own. */
#define PFK_HEADER_BYTES PFK_CACHE_PAIR
_Static_assert(sizeof(struct pfk_header_shm) == PFK_HEADER_BYTES, "layout of the header");
_Static_assert(offsetof(struct pfk_header_shm, version) == 56, "layout of the header");

/* What a header said, each word loaded once. */
struct pfk_header {
    uint64_t magic;
    uint64_t owner;
    struct pfk_process_world world;
    uint64_t bytes;
    uint64_t fingerprint;
    uint32_t version;
};

/* Says who makes the segment; the first write to it. */
void pfk_header_begin(struct pfk_header_shm *header);

/* Says what lies in it and then, with the magic, that it may be used. */
void pfk_header_finish(struct pfk_header_shm *header, const struct prefork_segment_layout *layout, size_t bytes);

/* The magic is read first, with acquire; without it only `owner` and `world` mean anything. */
void pfk_header_read(const struct pfk_header_shm *header, struct pfk_header *header_out);

/* Makes the caller the owner if `owner` is still who is named there; of several that try, one succeeds. */
bool pfk_header_take(struct pfk_header_shm *header, uint64_t owner);

/* For who joins, after it has attached: may it be used, still? Pairs with pfk_header_retire. */
bool pfk_header_is_finished(const struct pfk_header_shm *header);

/* For the owner, before it removes the segment: nobody joins from now on; who has attached and found it finished
 * before shows in the count of mappings that is read after this. */
void pfk_header_retire(struct pfk_header_shm *header);

/* Undoes pfk_header_retire, and pfk_header_take: `owner` is named again. */
void pfk_header_revive(struct pfk_header_shm *header, uint64_t owner);

#endif
