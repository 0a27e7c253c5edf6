/* SPDX-License-Identifier: BSD-2-Clause */
/* What lies where in the two segments of a table.
 *
 *     control segment          work segment
 *     +-----------------+      +------------------------------+
 *     | control         |      | work: header, parking        |
 *     | seats[workers]  |      | rings: free_hot, free_cold,  |
 *     +-----------------+      |        ready; then the cells |
 *       written by the         | lanes[lanes], each followed  |
 *       master only            |        by its mailbox        |
 *                              | descriptors[slots]           |
 *                              | payloads[slots]: request,    |
 *                              |        reply                 |
 *                              +------------------------------+
 *
 * Offsets only, no addresses. Each process computes the offsets from its own,
 * private copy of the geometry; the copies in the segments are for strangers
 * and for verify. */
#ifndef PFK_JOB_LAYOUT_H
#define PFK_JOB_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "job/ring.h"
#include "prefork/sync.h"
#include "prefork/table.h"

#define PFK_CONTROL_MAGIC UINT64_C(0x70726b666374726c) /* "prkfctrl" */
#define PFK_WORK_MAGIC UINT64_C(0x70726b66776f726b)    /* "prkfwork" */
#define PFK_LAYOUT_VERSION UINT32_C(4)

#define PFK_MAILBOX_ORDER 8 /* 256 hints; an overflow sets `rescan`, so any size is right */
#define PFK_MAGAZINE_PLACES 512
#define PFK_LANES_MAX 4096
#define PFK_LOG2_BUCKETS 32
#define PFK_COUNTERS 24

/* The private, checked copy of a table's geometry. */
struct pfk_geometry {
    uint32_t slots;
    uint32_t request_bytes;
    uint32_t reply_bytes;
    uint32_t workers;
    uint32_t threads;
    uint32_t generations;
    uint32_t outside;
    uint32_t attached;
    uint32_t max_attempts;
    uint32_t lanes; /* numbered 1 … lanes */
    uint32_t hot_order, cold_order;
};

/* Written once by the creator, before anybody else maps the segment; the magic
 * last, with release. Read by strangers (store.c) and by verify, by participants
 * never. If the creator dies here: no magic, nobody uses it. */
struct pfk_geometry_shm {
    pfk_atomic_u64 magic;
    pfk_atomic_u32 version;
    pfk_atomic_u32 fingerprint; /* of the structs' sizes: catches what nobody versioned */
    pfk_atomic_u32 slots;
    pfk_atomic_u32 request_bytes;
    pfk_atomic_u32 reply_bytes;
    pfk_atomic_u32 workers;
    pfk_atomic_u32 threads;
    pfk_atomic_u32 generations;
    pfk_atomic_u32 outside;
    pfk_atomic_u32 attached;
    pfk_atomic_u32 max_attempts;
    pfk_atomic_u32 lanes;
};

/* field                    | writer | readers | order   | if the master dies here
 * phase                    | master | all     | release | workers see the life pipe end anyway
 * redelivered … suspect    | master | all     | relaxed | a statistic is short by one pass */
struct pfk_control_shm {
    struct pfk_geometry_shm geometry;
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u32 phase;
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u64 redelivered;
    pfk_atomic_u64 buried;
    pfk_atomic_u64 repairs;
    pfk_atomic_u64 suspect;
};

/* field | writer | readers       | order   | if the master dies here
 * all   | master | tools, tests  | relaxed | mixed old and new: a hint for people */
struct pfk_seat_shm {
    PFK_ALIGNED(PFK_CACHE_LINE) pfk_atomic_u64 started_ns;
    pfk_atomic_u32 pid;
    pfk_atomic_u32 incarnation;
    pfk_atomic_u32 generation;
    pfk_atomic_u32 ready;
};

/* field      | writer                     | readers          | order                        | if a writer dies here
 * ready_sem  | submitters post, claimers  | both             | fence on either side (park.h) | a token is lost or in
 *            | take                       |                  |                              | excess: repair posts
 * room_sem   | who frees posts, reservers | both             | the same                     | the same
 *            | take                       |                  |                              |
 * starved    | reservers set it before    | who frees a slot | fence on either side         | repair sets it and wakes
 *            | they sleep; freers clear   |                  |                              |
 * open_lanes | lanes at open and close,   | who looks for a  | acq_rel                      | a bit too many: one look
 *            | repair                     | spare slot       |                              | in vain
 * epoch      | each master, once, when it | family, when it  | seq_cst fence on either side | the next one counts on
 *            | takes a named table over   | opens a lane     | (store.c, lane.c)            | from there */
struct pfk_work_shm {
    struct pfk_geometry_shm geometry;
    pfk_atomic_u32 epoch;
    PFK_ALIGNED(PFK_CACHE_PAIR) struct prefork_semaphore ready_sem;
    PFK_ALIGNED(PFK_CACHE_PAIR) struct prefork_semaphore room_sem;
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u32 starved;
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u64 open_lanes[PFK_LANES_MAX / 64];
    struct pfk_ring_shm free_hot;
    struct pfk_ring_shm free_cold;
    struct pfk_ring_shm ready;
};

/* field  | writer                  | readers       | order                     | if a writer dies here
 * top    | the lane, after the     | who looks for | release; the word's CAS   | a hint at a slot that is not
 *        | hint, before the word   | a spare slot  | follows                   | SPARE: passed over
 * bottom | who found all before it | the same, and | relaxed, after the words  | behind: more to look at
 *        | stale, or took it       | the lane      |                           |
 * hints  | the lane, over stale    | the same      | relaxed, before `top`     | the words tell which are true
 *        | ones                    |               |                           | */
struct pfk_magazine_shm {
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u64 top;
    PFK_ALIGNED(PFK_CACHE_LINE) pfk_atomic_u64 bottom;
    PFK_ALIGNED(PFK_CACHE_LINE) pfk_atomic_u64 hints[PFK_MAGAZINE_PLACES]; /* job ids */
};

/* field      | writer                  | readers          | order                     | if a writer dies here
 * sem        | completers post, the    | both             | fence on either side      | repair posts
 *            | lane takes              |                  |                           |
 * in_use     | the lane: 0->1 by CAS   | openers, verify  | acq_rel                   | stays 1: "dirty", nobody
 *            | at open, 0 at close;    |                  |                           | opens the lane until
 *            | master: 0 after repair  |                  |                           | repair has paid its debts
 * pid        | the lane, at open       | tools            | relaxed                   | advisory, never signalled
 * process,   | the lane, at open, in   | master           | relaxed, after in_use     | still 0, or the dead one's:
 * pid_space  | a named table           |                  |                           | only asked after (store.c)
 * armed      | the lane sets it before | completers       | fence on either side      | repair sets rescan and
 *            | its loop sleeps;        |                  | (mailbox.h)               | writes the eventfd
 *            | completers clear it     |                  |                           |
 * rescan     | completers (mailbox     | the lane         | acq_rel                   | still set: one vain scan
 *            | full), repair; the lane |                  |                           |
 *            | clears                  |                  |                           |
 * starved    | the lane sets it, who   | who frees a slot | fence on either side      | repair writes the eventfd
 *            | wakes it clears         |                  |                           |
 * mailbox    | completers put, the     | the lane         | ring.h                    | ring.h; a hint too few:
 *            | lane removes            |                  |                           | repair sets rescan
 * magazine   | struct pfk_magazine_shm |                  |                           |
 * counters,  | the lane                | all              | relaxed                   | short by one event
 * log2 arrays|                         |                  |                           | */
struct pfk_lane_shm {
    PFK_ALIGNED(PFK_CACHE_PAIR) struct prefork_semaphore sem;
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u32 in_use;
    pfk_atomic_u32 pid;
    pfk_atomic_u32 armed;
    pfk_atomic_u32 rescan;
    pfk_atomic_u32 starved;
    pfk_atomic_u64 process;   /* as ipc/process.h has it; 0: nobody */
    pfk_atomic_u64 pid_space; /* the pid namespace it counts in */
    struct pfk_magazine_shm magazine;
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u64 counters[PFK_COUNTERS];
    pfk_atomic_u64 waited_log2_ns[PFK_LOG2_BUCKETS];
    pfk_atomic_u64 ran_log2_ns[PFK_LOG2_BUCKETS];
    struct pfk_ring_shm mailbox;
    pfk_atomic_u64 mailbox_cells[1 << PFK_MAILBOX_ORDER];
};

/* One cache line. Plain fields are relaxed atomics since the master reads them
 * at odd moments; they are ordered by the word's compare-and-swaps, and each
 * has one writer at a time, named by the word.
 *
 * field         | writer                       | readers               | if a writer dies here
 * word          | word.h, and the states in    | all                   | every value is a whole state
 *               | docs/ARCHITECTURE.md         |                       |
 * submitter     | the reserver, while RESERVED | completers, master    | master trusts it from QUEUING on
 * handler,      | the submitter, while         | claimers              | never read before QUEUING
 * request_bytes | RESERVED                     |                       |
 * submitted_ns  | the same (0: not stamped)    | claimers              | the same
 * submitter_cpu | as handler (spin.h)          | claimers              | the same
 * worker_cpu    | as reply_offset (spin.h)     | the submitter         | the same
 * hand_backs    | 0 while RESERVED; the owner  | claimers, master      | counted without the hand-back:
 *               | before it hands back         |                       | one attempt more is allowed
 * claimed_ns    | the owner, while CLAIMED     | the owner             | overwritten at the next claim
 * reply_offset, | the owner, while CLAIMED;    | the submitter, once   | overwritten at the next attempt
 * reply_bytes,  | the master, taking over from | DONE                  |
 * status        | a dead owner                 |                       | */
struct pfk_descriptor_shm {
    PFK_ALIGNED(PFK_CACHE_LINE) pfk_atomic_u64 word;
    pfk_atomic_u64 submitted_ns;
    pfk_atomic_u64 claimed_ns;
    pfk_atomic_u32 submitter;
    pfk_atomic_u32 handler;
    pfk_atomic_u32 request_bytes;
    pfk_atomic_u32 reply_offset; /* from the start of the request region */
    pfk_atomic_u32 reply_bytes;
    pfk_atomic_u32 status; /* an int32_t */
    pfk_atomic_u32 hand_backs;
    pfk_atomic_u32 submitter_cpu;
    pfk_atomic_u32 worker_cpu;
};

_Static_assert(sizeof(struct pfk_descriptor_shm) == PFK_CACHE_LINE, "one descriptor is one cache line");

/* Where the parts of the work segment begin, and how long it is. */
struct pfk_layout {
    size_t hot_cells, cold_cells, ready_cells;
    size_t lanes;
    size_t descriptors;
    size_t payloads;
    size_t work_bytes;
    size_t control_bytes;
};

/* Fills in the geometry from what the caller asks for; 0, or -EINVAL with the
 * text naming the option. */
int pfk_layout_geometry(const struct prefork_table_options *options, struct pfk_geometry *geometry_out);

/* Writes the geometry into a segment, the magic last. */
void pfk_layout_publish(struct pfk_geometry_shm *shm, const struct pfk_geometry *geometry, uint64_t magic);

/* What a segment says of its geometry, as options. Unchecked: what of it is
 * possible is pfk_layout_geometry's to say. */
void pfk_layout_read(const struct pfk_geometry_shm *shm, struct prefork_table_options *options_out);

/* The first field in which a segment differs from a geometry. */
struct pfk_layout_difference {
    const char *name;
    uint32_t found, wanted;
};

bool pfk_layout_differs(const struct pfk_geometry_shm *shm, const struct pfk_geometry *geometry,
                        struct pfk_layout_difference *difference_out);

/* Computes the offsets; 0, or -EINVAL when the table exceeds the address space. */
int pfk_layout_compute(const struct pfk_geometry *geometry, struct pfk_layout *layout_out);

static inline size_t pfk_geometry_payload_bytes(const struct pfk_geometry *geometry)
{
    return (size_t)geometry->request_bytes + geometry->reply_bytes;
}

#endif
