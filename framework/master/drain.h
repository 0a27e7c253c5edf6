/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a pool, graceful or not. The phase in the control segment is the
 * truth, SIGTERM the hint to look at it. */
#ifndef PFK_MASTER_DRAIN_H
#define PFK_MASTER_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

struct pfk_master;

/* One request to stop; the second one kills. */
void pfk_drain_request(struct pfk_master *master, const char *why);

/* Takes the phase forward when all workers are there; ends the loop when
 * nothing is left. Returns when it wants to be called again. */
uint64_t pfk_drain_turn(struct pfk_master *master, uint64_t now_ns);

/* Whether a pool that drains needs a worker once more: all have died, and
 * accepted jobs are left. */
bool pfk_drain_wants_worker(const struct pfk_master *master);

/* What pfk_master_run returns after the loop has ended. */
int pfk_drain_result(const struct pfk_master *master);

#endif
