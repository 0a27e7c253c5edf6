/* SPDX-License-Identifier: BSD-2-Clause */
/* A table that can't be mended: some word of it holds what no participant writes, or repair comes to no end. Then
 * no word of it can be believed. While the pool runs all workers are killed; when none is left the table is made
 * anew, or the pool stops: as PREFORK_POOL_ON_DAMAGE says, and always where the program that started the pool lives
 * on and may have lanes open. A pool that stops anyway just goes on stopping. */
#ifndef PFK_MASTER_DAMAGE_H
#define PFK_MASTER_DAMAGE_H

#include <stdint.h>

struct pfk_master;

/* Takes note of damage; `what` is for the log. */
void pfk_damage_declare(struct pfk_master *master, const char *what);

/* Makes the table anew when it is time. Returns when it wants to be called again. */
uint64_t pfk_damage_turn(struct pfk_master *master, uint64_t now_ns);

#endif
