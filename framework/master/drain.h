/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a pool, graceful or not. The phase in the control segment is the
 * truth, SIGTERM the hint to look at it. */
#ifndef PFK_MASTER_DRAIN_H
#define PFK_MASTER_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

struct pfk_master;

/* Who asked. Each is counted for itself: a service manager, or a terminal, that
 * signals the whole group reaches the master and the program that started it,
 * and the program passes it on by prefork_pool_stop. That is one wish. */
enum pfk_drain_source { PFK_DRAIN_SIGNAL, PFK_DRAIN_CALL, PFK_DRAIN_PARENT, PFK_DRAIN_DAMAGE, PFK_DRAIN_SOURCES };

/* One request to stop; the second one of the same source kills. */
void pfk_drain_request(struct pfk_master *master, enum pfk_drain_source source, const char *why);

/* Takes the phase forward when all workers are there; ends the loop when
 * nothing is left. Returns when it wants to be called again. */
uint64_t pfk_drain_turn(struct pfk_master *master, uint64_t now_ns);

/* Whether a pool that drains needs a worker once more: all have died, and
 * accepted jobs are left. */
bool pfk_drain_wants_worker(const struct pfk_master *master);

/* What pfk_master_run returns after the loop has ended. */
int pfk_drain_result(const struct pfk_master *master);

#endif
