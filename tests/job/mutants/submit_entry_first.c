/* SPDX-License-Identifier: BSD-2-Clause */
/* A job's entry is in the ring before the word says that there is a job: who
 * looks in between takes it for stale. */
#include "job/lane.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "entry before the word",
                              .role_a = "work-others",
                              .role_b = "submit-reserved",
                              .variant = 2,
                              .order = 0,
                              .x_stride = 2,
                              .y_stride = 1,
                              .y_end = 2};

static void mutant_store(struct prefork_lane *lane, pfk_atomic_u64 *at, uint64_t word)
{
    uint32_t index = 0;

    while (&pfk_table_descriptor(lane->table, index)->word != at)
        index++;
    (void)pfk_rings_put_ready(&lane->rings, index);
    pfk_u64_store_release(at, word);
}

#define pfk_u64_store_release(at, word)   mutant_store(lane, at, word)
#define pfk_rings_put_ready(rings, index) ((void)(rings), (void)(index), true)
#include "../../../framework/job/submit.c"
