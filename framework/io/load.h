/* SPDX-License-Identifier: BSD-2-Clause */
/* How busy the I/O threads of all workers are, as each publishes it in its lane,
 * and whether one of them should leave a waiting connection to the others. A
 * hint made of hints: whoever may write the table may lie, and the most that
 * comes of it is that connections are accepted a moment later or, where the pool
 * has a limit, refused, until each thread has published its own numbers again.
 *
 * Two numbers are compared with the average. First the connections that are open:
 * they tell of long ones. Among threads that have about as many, those that were
 * accepted: they tell of short ones, of which hardly any is open at any moment.
 * The second number does not reach into the past: who joins begins at the
 * average, and who fell behind (stopped, or busy with long ones) catches up with
 * PFK_LOAD_MEMORY connections at most. */
#ifndef PFK_IO_LOAD_H
#define PFK_IO_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "prefork/table.h"

#define PFK_LOAD_MEMORY 128

/* The family of I/O threads; threads are numbered through, seat by seat. */
struct pfk_load_family {
    uint32_t seats;            /* 0: the thread is alone */
    uint32_t threads_per_seat; /* I/O threads */
};

/* The lane of a thread of the family. */
uint32_t pfk_load_lane(const struct prefork_table *table, const struct pfk_load_family *family, uint32_t number);

struct pfk_load {
    struct prefork_table *table; /* borrowed */
    struct prefork_lane *lane;   /* the thread's own; borrowed */
    struct pfk_load_family family;
    uint32_t number; /* of the thread in its family */
    uint64_t taken;  /* connections accepted, as compared with others */
};

/* Joins the family at its average. */
void pfk_load_open(struct pfk_load *load, struct prefork_table *table, struct prefork_lane *lane,
                   const struct pfk_load_family *family, uint32_t number);

/* Whether this thread, which has `n_connections`, is busy enough to let others
 * go first. Whoever is told so must not wait for long: the others may be stopped. */
bool pfk_load_yields(struct pfk_load *load, uint64_t n_connections);

/* Counts a connection that it accepted. */
void pfk_load_take(struct pfk_load *load);

/* The connections of the whole family: each publishes its own. Other lanes are
 * not looked at: nobody would write over what somebody had left there. */
uint64_t pfk_load_connections(const struct pfk_load *load);

#endif
