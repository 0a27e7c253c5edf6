/* SPDX-License-Identifier: BSD-2-Clause */
/* The seats: who sits there, who is late, when an empty one is filled again. */
#ifndef PFK_MASTER_SEATS_H
#define PFK_MASTER_SEATS_H

#include <stdint.h>

struct pfk_master;

/* Makes the seats, all empty. 0, -ENOMEM or what pipe2(2) says. */
int pfk_seats_open(struct pfk_master *master);

/* Frees them; every worker was reaped. */
void pfk_seats_close(struct pfk_master *master);

/* Fills empty seats that are due and kills workers that are not ready in time.
 * Returns when it wants to be called again. */
uint64_t pfk_seats_turn(struct pfk_master *master, uint64_t now_ns);

/* Looks which workers have ended among those that have no pidfd. */
void pfk_seats_look_for_deaths(struct pfk_master *master);

#endif
