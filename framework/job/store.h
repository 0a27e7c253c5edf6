/* SPDX-License-Identifier: BSD-2-Clause */
/* What makes a table durable: its work segment has a key, and a lock file tells who of its participants lives.
 *
 *     byte 0         the master, as long as it is one
 *     byte 1         the gate: who is becoming the master, or removes the table
 *     byte 2         shared by all processes that came by key; alone by who removes the table
 *     byte 16+lane   the lane's holder
 *
 * A lane is taken byte first, then in_use; it is left in_use first, then the byte. So a lane in use whose byte is free
 * has lost its holder. Who judges that takes the byte itself and keeps it until the lane is repaired: nobody opens it
 * meanwhile. One thing can't be seen by the lock, a holder that dropped it by closing another descriptor of the file:
 * hence a lane is condemned only if the process recorded in it is gone, too.
 *
 * Only the work segment is named. Control segment and eventfds are each master's own. */
#ifndef PFK_JOB_STORE_H
#define PFK_JOB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "job/table.h"

#define PFK_STORE_LANES (PFK_OWNER_MASK + 1)

/* Private to the process; children inherit a copy. */
struct pfk_store {
    struct pfk_byte_lock *locks;
    uint32_t epoch;     /* of the master whose family this process is */
    uint64_t pid_space; /* the pid namespace of this process; 0: not known */
    /* Lanes of the dead, whose bytes the master holds until they are repaired. */
    uint64_t condemned[PFK_STORE_LANES / 64];
};

/* -- opening ------------------------------------------------------------------- */

/* Checks what a caller asks for and fills in defaults, save for wait_ms; 0 or -EINVAL. lock_path stays the caller's. */
int pfk_store_check(const struct prefork_table_store *given, const char *call, struct prefork_table_store *store_out);

/* How its segment is found, judged, or made. */
struct prefork_segment_options pfk_store_segment_options(const struct prefork_table_store *asked, size_t bytes);

/* Opens the lock file, and makes it if `create`. Errors of pfk_byte_lock_open. */
int pfk_store_open(const struct prefork_table_store *asked, bool create, struct pfk_store **store_out);

/* Drops the locks of this process and closes the lock file; NULL in *store is fine. */
void pfk_store_close(struct pfk_store **store);

/* Takes the gate, then the master's byte. 0, or -EBUSY naming who was quicker. */
int pfk_store_take_mastery(const struct pfk_store *store, const char *call);

/* The bytes of a process that came by key: -EBUSY while the table is removed. */
int pfk_store_take_part(const struct pfk_store *store, const char *call);

/* Makes sure that nobody else takes part, and that nobody comes. 0, or -EBUSY naming who does. */
int pfk_store_take_all(const struct pfk_store *store, const char *call);

/* Sleeps a little, in a loop that waits for others' locks. */
void pfk_store_pause(void);

/* -- for lane.c and repair.c; they do nothing in a table without a store ------- */

/* Locks the byte of a lane. 0, or -EBUSY naming who holds it. */
int pfk_store_lock_lane(const struct prefork_table *table, uint32_t number);
void pfk_store_unlock_lane(const struct prefork_table *table, uint32_t number);

/* Records the process in a lane that it has just taken. 0, or -ESTALE: the lane is the family's and another master has
 * taken the table over; the lane must be left again. */
int pfk_store_enter_lane(const struct prefork_table *table, uint32_t number);

/* Lets go of a lane that was condemned and is repaired now. Master only. */
void pfk_store_release_lane(const struct prefork_table *table, uint32_t number);

/* -- for the master ---------------------------------------------------------------- */

/* prefork_table_adopt, but the gate stays locked, so that no other master comes while this process hands its part to
 * a child of its own: */
int pfk_store_adopt(const struct prefork_table_options *options, const struct prefork_table_store *store,
                    struct prefork_table **table_out, struct prefork_adoption *adoption_out);

/* Opens the gate. */
void pfk_store_open_gate(const struct prefork_table *table);

/* The parent's side of handing over: stops being the master; the gate stays locked. */
void pfk_store_resign(const struct prefork_table *table);

/* The child's side: becomes the master once `parent_pid` has resigned or died. 0, or -EBUSY: another one was quicker,
 * which takes a parent that died. Nothing to do without a store: 0. */
int pfk_store_succeed(const struct prefork_table *table, pid_t parent_pid);

enum pfk_store_lane { PFK_STORE_LANE_FREE, PFK_STORE_LANE_LIVES, PFK_STORE_LANE_DEAD };

/* Judges a lane. A dead one's byte is held by this process from here on, until the lane is repaired. *pid_out: of a
 * living holder, 0 when it can't be seen from here. */
enum pfk_store_lane pfk_store_judge_lane(const struct prefork_table *table, uint32_t number, pid_t *pid_out);

/* The pid of the living holder of an attached lane, from the kernel; 0: the lane is free, its holder is dead, or can't
 * be seen from here. */
pid_t pfk_store_lane_holder(const struct prefork_table *table, uint32_t number);

#endif
