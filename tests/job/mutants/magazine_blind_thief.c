/* SPDX-License-Identifier: BSD-2-Clause */
/* Who takes from another's magazine does not compare the word. */
#include "job/lane.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "thief without comparing",
                              .role_a = "abandon",
                              .role_b = "submit",
                              .variant = 1,
                              .order = 1,
                              .x_stride = 61,
                              .y_stride = 3};

static bool mutant_cas(bool blind, pfk_atomic_u64 *at, uint64_t *seen, uint64_t word)
{
    if (!blind)
        return pfk_u64_cas_acq_rel(at, seen, word);
    pfk_u64_store_release(at, word);
    return true;
}

/* The taker's compare-and-swap is the one that names `table`, not a lane's. */
#define pfk_u64_cas_acq_rel(at, seen, word) mutant_cas(__builtin_strstr(#at, "(table, index)") != NULL, at, seen, word)
#include "../../../framework/job/magazine.c"
