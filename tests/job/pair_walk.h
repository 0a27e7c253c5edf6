/* SPDX-License-Identifier: BSD-2-Clause */
/* Two victims on one table: A is killed while B stands still in the middle of
 * something, and goes on after the repair. */
#ifndef PAIR_WALK_H
#define PAIR_WALK_H

#include "pair_roles.h"
#include "step_stage.h"

enum pair_order {
    PAIR_B_FIRST,      /* B stands, A comes and dies */
    PAIR_A_FIRST,      /* A stands, B comes and stands, A dies */
    PAIR_B_FIRST_REUSE /* as the first; and the slots are used again and again before B goes on */
};

struct pair {
    const struct pair_role *roles[STAGE_VICTIMS]; /* of A, of B */
    uint32_t variant;                             /* below pair_variants */
    enum pair_order order;
};

extern const uint32_t pair_variants;
const char *pair_variant_name(uint32_t variant);

/* Whether the roles find what they need in that variant's table. */
bool pair_is_possible(const struct pair *pair);

struct pair_walk {
    uint64_t runs;    /* deaths of A */
    uint64_t strayed; /* of them, not exactly at the place that was meant */
    uint64_t
        dropped; /* not counted as runs: a process slept where none should, so that nothing could be done with it */
    uint64_t failures;
    uint32_t failed_x, failed_y; /* of the first failure: instructions of who goes first, of the second */
    char reason[sizeof(((struct stage_ledger *)NULL)->reason)];
};

/* Who goes first stands after `x_phase`, + `x_stride` ... instructions (a phase
 * beyond the scene begins anew); for each of them the second, likewise. Ends at
 * `max_failures`. Adds to *walk. */
struct pair_strides {
    uint32_t x_stride, x_phase, y_stride, y_phase;
    uint32_t y_end; /* the second goes less far than this; 0: all the way */
};
void pair_walk(const struct pair *pair, const struct pair_strides *strides, uint64_t max_failures,
               struct pair_walk *walk);

#endif
