/* SPDX-License-Identifier: BSD-2-Clause */
/* A process's private view of a table. Made by the creator, inherited by its
 * children: every bound in it is private, no bound is read from the segments. */
#ifndef PFK_JOB_TABLE_H
#define PFK_JOB_TABLE_H

#include "job/control.h"
#include "job/layout.h"
#include "job/word.h"
#include "prefork/segment.h"

struct prefork_table {
    struct pfk_geometry geometry;
    struct prefork_segment *control_segment;
    struct prefork_segment *work_segment;
    struct pfk_control_shm *control;
    struct pfk_work_shm *work;
    struct pfk_lane_shm *lanes; /* lane 1 is lanes[0] */
    struct pfk_descriptor_shm *descriptors;
    unsigned char *payloads;
    struct pfk_ring free_hot, free_cold, ready;
    int *wake_fds; /* wake_fds[lane], an eventfd each; [0] is unused */
};

static inline struct pfk_descriptor_shm *pfk_table_descriptor(const struct prefork_table *table, uint32_t index)
{
    return &table->descriptors[index];
}

static inline unsigned char *pfk_table_payload(const struct prefork_table *table, uint32_t index)
{
    return table->payloads + (size_t)index * pfk_geometry_payload_bytes(&table->geometry);
}

static inline bool pfk_table_is_lane(const struct prefork_table *table, uint32_t number)
{
    return number >= 1 && number <= table->geometry.lanes;
}

/* `number` must be a lane. */
static inline struct pfk_lane_shm *pfk_table_lane(const struct prefork_table *table, uint32_t number)
{
    return &table->lanes[number - 1];
}

/* The lane's mailbox as a ring. */
struct pfk_ring pfk_table_mailbox(const struct prefork_table *table, uint32_t number);

/* Puts the entry that a FREEING slot of `owner` owes into a free ring and makes
 * it FREE. False when the ring kept moving: the slot stays FREEING. `owner` is
 * the caller's lane; only the owner may call it, and only once. */
bool pfk_table_settle_free(const struct prefork_table *table, uint32_t index, uint32_t owner);

/* The same for a QUEUING slot: into the ready ring, READY. */
bool pfk_table_settle_ready(const struct prefork_table *table, uint32_t index, uint32_t owner);

/* Only the second half of the two above: the entry is there already. */
void pfk_table_settle(const struct prefork_table *table, uint32_t index, uint32_t from, uint32_t to, uint32_t owner);

/* Wakes one who waits for a free slot, if anybody does. True if one was woken. */
bool pfk_table_wake_room(const struct prefork_table *table);

/* Whether a free ring has an entry. */
bool pfk_table_has_room(const struct prefork_table *table);

/* Tells the submitter of a job that is DONE, as the word's flags ask for. True
 * if a system call woke somebody. `submitter` is checked here. */
bool pfk_table_announce(const struct prefork_table *table, uint32_t index, uint32_t submitter, uint32_t flags);

#endif
