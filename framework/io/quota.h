/* SPDX-License-Identifier: BSD-2-Clause */
/* How many connections one peer may have in the whole pool. A peer is an IPv4
 * address, or the first 64 bits of an IPv6 address: whoever has one of those has
 * all of them. Others (Unix sockets) are not limited.
 *
 * Every I/O thread counts its own connections, in private memory, and publishes
 * the counts in cells of a shared table, each of which it alone writes. A
 * peer's count is the sum of its cells over the threads whose lanes are open.
 * So a death leaks nothing, wherever it comes: the dead one's cells count no
 * more when its lanes have been repaired, and the next one in its place
 * overwrites them before it accepts. The master reads nothing of it.
 *
 * Peers are told apart by a salted hash, into two rows of cells; the row that
 * says less is believed. Where two peers have the same cell, that row's count is
 * that of both; a peer is refused too early only when it shares both its cells
 * with others who fill them. The salt is secret and the pool's own, so nobody
 * can choose addresses that do so to somebody else.
 *
 * Whoever may write the table may lie: then peers are refused who should not be,
 * or are not limited. Nothing else depends on the cells.
 *
 * field | writer                        | readers         | order   | if the writer dies here
 * cells | the I/O thread of the column  | all I/O threads | relaxed | read until its lane is repaired */
#ifndef PFK_IO_QUOTA_H
#define PFK_IO_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "io/address.h"
#include "io/load.h"

#define PFK_QUOTA_NOBODY 0u /* a peer that is not limited */

struct pfk_quota;

/* One I/O thread's part. */
struct pfk_quota_share {
    const struct pfk_quota *quota; /* borrowed */
    const struct prefork_table *table;
    struct pfk_load_family family;
    uint32_t number;  /* of the thread in its family */
    uint32_t *counts; /* its own, by cell of a column */
};

/* Makes the shared table, for so many threads and up to `connections_max` of
 * each peer; before the fork. -ENOMEM. */
int pfk_quota_create(uint32_t threads, uint32_t connections_max, struct pfk_quota **quota_out);

/* Unmaps it in this process. NULL in *quota is allowed; *quota becomes NULL. */
void pfk_quota_destroy(struct pfk_quota **quota);

/* Children that this process forks from here on have no mapping of it. */
void pfk_quota_keep_from_children(const struct pfk_quota *quota);

/* Begins with no connections; the thread's lane must be open. -ENOMEM. */
int pfk_quota_open(struct pfk_quota_share *share, const struct pfk_quota *quota, const struct prefork_table *table,
                   const struct pfk_load_family *family, uint32_t number);

/* Ends it, when the thread has no connections any more; may be called again. */
void pfk_quota_close(struct pfk_quota_share *share);

/* The number by which a peer goes below; PFK_QUOTA_NOBODY: it is not limited. */
uint32_t pfk_quota_peer(const struct pfk_quota_share *share, const struct pfk_address *peer);

/* Counts a connection of `peer`, unless it has as many as it may: false. */
bool pfk_quota_admit(struct pfk_quota_share *share, uint32_t peer);

/* One that was admitted has ended. */
void pfk_quota_release(struct pfk_quota_share *share, uint32_t peer);

#endif
