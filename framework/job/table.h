/* SPDX-License-Identifier: BSD-2-Clause */
/* A process's private view of a table. Made by the creator, inherited by its
 * children: every bound in it is private, no bound is read from the segments. */
#ifndef PFK_JOB_TABLE_H
#define PFK_JOB_TABLE_H

#include "job/control.h"
#include "job/layout.h"
#include "job/word.h"
#include "prefork/segment.h"

/* A thread's view of the table's rings. */
struct pfk_rings {
    struct pfk_ring free_hot, free_cold, ready;
};

struct prefork_table {
    struct pfk_geometry geometry;
    struct prefork_segment *control_segment;
    struct prefork_segment *work_segment;
    struct pfk_control_shm *control;
    struct pfk_work_shm *work;
    struct pfk_lane_shm *lanes; /* lane 1 is lanes[0] */
    struct pfk_descriptor_shm *descriptors;
    unsigned char *payloads;
    size_t payload_bytes;   /* of a slot: request and reply */
    struct pfk_rings rings; /* to copy from, and to look at */
    int *wake_fds; /* wake_fds[lane], an eventfd each, -1 for attached lanes; [0] is unused. NULL in a process that
                      came by key, as is `control` */
    struct pfk_store *store; /* of a named table; else NULL */
    bool leaves_loops; /* repair wakes no loops: somebody else does */
};

/* Whether this process came by key: no control segment, no eventfds. */
static inline bool pfk_table_is_attached(const struct prefork_table *table)
{
    return table->wake_fds == NULL;
}

/* The steps of making one; what a caller did not get to, prefork_table_destroy
 * undoes. 0 or -errno. prepare: what is the family's alone (geometry, control
 * segment, eventfds). map: sets the pointers, the segments being attached. init:
 * fills zeroed segments, the magic last. */
int pfk_table_prepare(struct prefork_table *table, const struct prefork_table_options *options,
                      struct pfk_layout *layout_out);
void pfk_table_map(struct prefork_table *table, const struct pfk_layout *layout);
int pfk_table_init(struct prefork_table *table);

static inline struct pfk_descriptor_shm *pfk_table_descriptor(const struct prefork_table *table, uint32_t index)
{
    return &table->descriptors[index];
}

static inline unsigned char *pfk_table_payload(const struct prefork_table *table, uint32_t index)
{
    return table->payloads + index * table->payload_bytes;
}

static inline bool pfk_table_is_lane(const struct prefork_table *table, uint32_t number)
{
    return number >= 1 && number <= table->geometry.lanes;
}

/* Whether the lane is kept for processes that come by key. */
static inline bool pfk_table_is_attached_lane(const struct prefork_table *table, uint32_t number)
{
    const uint32_t first = PREFORK_LANE_MASTER + 1 + table->geometry.outside;

    return number >= first && number - first < table->geometry.attached;
}

/* `number` must be a lane. */
static inline struct pfk_lane_shm *pfk_table_lane(const struct prefork_table *table, uint32_t number)
{
    return &table->lanes[number - 1];
}

/* The lane's mailbox as a ring. */
struct pfk_ring pfk_table_mailbox(const struct prefork_table *table, uint32_t number);

/* Puts the entry that a FREEING slot owes into a free ring. Only its owner (for
 * a dead one the master) calls it, and once. False when the ring kept moving:
 * the debt stays. True: a read-modify-write of this thread published it. */
static inline bool pfk_rings_put_free(struct pfk_rings *rings, uint32_t index)
{
    return PFK_LIKELY(pfk_ring_put(&rings->free_hot, index) == PFK_RING_PUT) ||
           pfk_ring_put(&rings->free_cold, index) == PFK_RING_PUT;
}

/* The same for a QUEUING slot and the ready ring. */
static inline bool pfk_rings_put_ready(struct pfk_rings *rings, uint32_t index)
{
    return PFK_LIKELY(pfk_ring_put(&rings->ready, index) == PFK_RING_PUT);
}

/* Wakes those who wait for a free slot. */
bool pfk_table_wake_starved(const struct prefork_table *table);

/* The same if anybody does; after a read-modify-write of this thread that made
 * one free. True if one was woken. */
static inline bool pfk_table_wake_room(const struct prefork_table *table)
{
    pfk_fence_after_rmw(); /* the free slot, then `starved`; pairs with the fence of who sets it */
    return PFK_UNLIKELY(pfk_u32_load_relaxed(&table->work->starved) != 0) && pfk_table_wake_starved(table);
}

/* Before a claimer sleeps: wakes the loops that a process that came by key could
 * not wake by itself when it freed a slot. */
void pfk_table_run_errand(const struct prefork_table *table, struct pfk_rings *rings);

/* Whether some slot is free: in a free ring, or in somebody's magazine. */
bool pfk_table_has_room(const struct prefork_table *table, struct pfk_rings *rings);

/* Tells the submitter of a job that is DONE, as the word's flags ask for. True
 * if a system call woke somebody. `submitter` is checked here. */
bool pfk_table_announce(const struct prefork_table *table, uint32_t index, uint32_t submitter, uint32_t flags);

#endif
