/* SPDX-License-Identifier: BSD-2-Clause */
/* What the dead have left in the table: repaired once for all that were reaped
 * together, again and ever later while slots are deferred; if that comes to no
 * end the table is damaged. */
#ifndef PFK_MASTER_DEBTS_H
#define PFK_MASTER_DEBTS_H

#include <stdbool.h>
#include <stdint.h>

struct pfk_master;

/* Allocates what the turns need. 0 or -ENOMEM. */
int pfk_debts_open(struct pfk_master *master);
void pfk_debts_close(struct pfk_master *master);

/* Repairs what there is to repair. Returns when it wants to be called again. */
uint64_t pfk_debts_turn(struct pfk_master *master, uint64_t now_ns);

/* No debt is left: the table was made anew. */
void pfk_debts_forget(struct pfk_master *master);

/* Whether every debt is paid, or has to be left since the table is damaged. */
bool pfk_debts_settled(const struct pfk_master *master);

#endif
