/* SPDX-License-Identifier: BSD-2-Clause */
/* A job is nobody's, READY, before its entry is in the ring. */
#include "job/lane.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "READY before the entry",
                              .scene = "submits what it has reserved; a worker sleeps"};

static bool mutant_put_ready(struct prefork_lane *lane, uint32_t index)
{
    pfk_atomic_u64 *const at = &pfk_table_descriptor(lane->table, index)->word;

    pfk_u64_store_release(at, pfk_word_moved(pfk_u64_load_relaxed(at), PFK_READY, PFK_NOBODY));
    return pfk_rings_put_ready(&lane->rings, index);
}

#define pfk_rings_put_ready(rings, index) mutant_put_ready(lane, index)
#include "../../../framework/job/submit.c"
