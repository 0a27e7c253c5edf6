/* SPDX-License-Identifier: BSD-2-Clause */
/* The scenes of durable tables: each has a key and a lock file of its own, and a harness that is now the next master,
 * now the present one. What they need beside a victim they fork themselves. */
#ifndef STEP_DURABLE_H
#define STEP_DURABLE_H

/* The victim makes a durable table; then the next master comes. */
void durable_arrange_nothing(void);
void durable_prepare_creation(void);
void durable_inspect_creation(int victim);

/* The victim adopts what a master left who died with debts, while a stranger sleeps over its job; then comes another.
 */
void durable_arrange_debts(void);
void durable_prepare_adoption(void);
void durable_inspect_adoption(int victim);

void durable_act_adopt(void);

/* The victim is a stranger: attaches, takes a lane, submits, waits, collects, leaves. A worker sleeps. */
void durable_arrange_master(void);
void durable_prepare_stranger(void);
void durable_act_stranger(void);
void durable_inspect_stranger(int victim);

#endif
