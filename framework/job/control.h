/* SPDX-License-Identifier: BSD-2-Clause */
/* The control segment: what only the master writes and everybody may read.
 * Workers map it read-only. Also the counters that the layers above keep in
 * their lanes. */
#ifndef PFK_JOB_CONTROL_H
#define PFK_JOB_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "prefork/table.h"

/* What the master asks of all workers; it only ever grows. */
enum pfk_phase {
    PFK_PHASE_RUNNING = 0,
    PFK_PHASE_DRAINING = 1,  /* accept and read nothing new; finish what is in flight */
    PFK_PHASE_FINISHING = 2, /* nobody submits any more; run the table empty and leave */
};

/* A worker's seat as the master tells it to others. */
struct pfk_seat {
    int32_t pid;          /* 0: empty */
    uint32_t incarnation; /* how often it was filled */
    uint32_t generation;
    uint32_t ready;      /* 1 once it said so */
    uint64_t started_ns; /* CLOCK_MONOTONIC */
};

/* Master only. */
void pfk_control_set_phase(struct prefork_table *table, enum pfk_phase phase);
void pfk_control_set_seat(struct prefork_table *table, uint32_t seat, const struct pfk_seat *status);

/* From here on a repair in this process signals no eventfd: whoever shares the
 * descriptor can fill it and make it block, and so hold up who writes. After
 * each repair somebody else calls pfk_table_ring_loop for each lane. */
void pfk_table_leave_loops(struct prefork_table *table);

/* Wakes the loop of a lane that is in use, whatever it waits for. Any
 * participant; may block when the eventfd was tampered with. */
void pfk_table_ring_loop(const struct prefork_table *table, uint32_t lane);

/* Whether somebody who is no worker may be at work in the table: a lane of a
 * producer is open, or the table is durable and anybody may come. A hint. */
bool pfk_table_has_producers(const struct prefork_table *table);

/* Makes a damaged table anew, in place, as it was when it was created. The
 * master only, when no participant lives: lanes that are open somewhere are so
 * no more.
 *   -ENOTSUP  the table is durable
 *   -EINVAL   a limit of the C library on semaphores */
int pfk_table_rebuild(struct prefork_table *table);

/* Anybody. A seat is read field by field: a hint for people and tests. */
enum pfk_phase pfk_control_phase(const struct prefork_table *table);
void pfk_control_seat(const struct prefork_table *table, uint32_t seat, struct pfk_seat *status_out);

/* Makes this process, a child, a participant that is not the master: its
 * mapping of the control segment becomes read-only, and children that it may
 * fork get no mapping of the table at all. 0 or -errno. */
int pfk_control_enter_child(struct prefork_table *table);

/* Whether the lane has jobs that it has not collected, or asked for room: then
 * its loop must not sleep for ever. The lane's thread only. */
bool pfk_lane_expects(const struct prefork_lane *lane);

/* Counters of a lane beyond those of the table itself; cumulative, never reset,
 * written by the lane's thread only. */
enum pfk_lane_counter {
    PFK_COUNT_CONNECTIONS,        /* accepted */
    PFK_COUNT_CONNECTIONS_SERVED, /* closed after at least one reply was written */
    PFK_COUNT_BYTES_IN,
    PFK_COUNT_BYTES_OUT,
    PFK_COUNT_ACCEPT_ERRORS,
    PFK_COUNT_DATAGRAMS,         /* handed over */
    PFK_COUNT_DATAGRAMS_DROPPED, /* too long or empty, or a reply that could not be sent */
    PFK_COUNT_CONNECTIONS_TIMED_OUT,
    PFK_COUNT_CONNECTIONS_REFUSED, /* closed at once: over a limit, or no descriptor was left */
    PFK_COUNT_CONNECTIONS_NOW,     /* open now; published */
    PFK_COUNT_CONNECTIONS_TAKEN,   /* accepted, as io/load.h counts them; published */
    PFK_COUNT_JOBS,                /* completed by this lane; kept by the table */
    PFK_LANE_COUNTERS
};

void pfk_lane_count(struct prefork_lane *lane, enum pfk_lane_counter counter, uint64_t by);

/* Sets a counter that tells how things are now. Good while the lane is open:
 * what a dead one had published is forgotten when its lane has been repaired. */
void pfk_lane_publish(struct prefork_lane *lane, enum pfk_lane_counter counter, uint64_t value);

/* Whether somebody has the lane open, or died with it. */
bool pfk_table_lane_open(const struct prefork_table *table, uint32_t lane);

/* The sum of what the open lanes have published. */
uint64_t pfk_table_published_sum(const struct prefork_table *table, enum pfk_lane_counter counter);

/* Reads one lane's counter (a hint: whoever may write the table may lie). */
uint64_t pfk_table_counter(const struct prefork_table *table, uint32_t lane, enum pfk_lane_counter counter);
/* The sum over all lanes. */
uint64_t pfk_table_counter_sum(const struct prefork_table *table, enum pfk_lane_counter counter);

#endif
