/* SPDX-License-Identifier: BSD-2-Clause */
/* A claimer whose compare-and-swap fails takes the entry for stale. It fails
 * when a submitter sets a flag meanwhile, or repair settles the word: that takes
 * another one who stands between the load and the compare-and-swap. */
#include "job/table.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "failed compare-and-swap taken for stale",
                              .role_a = "wait",
                              .role_b = "work-others",
                              .variant = 0,
                              .order = 0,
                              .x_stride = 2,
                              .y_stride = 1,
                              .y_end = 2};

/* In pfk_take `ring` and `entry` are at hand. */
#define pfk_u64_cas_acq_rel(at, expected, desired)                                                                     \
    (pfk_u64_cas_acq_rel(at, expected, desired) || (pfk_ring_remove(ring, &entry), false))
#include "job/take.h"
#undef pfk_u64_cas_acq_rel
#include "../../../framework/job/claim.c"
