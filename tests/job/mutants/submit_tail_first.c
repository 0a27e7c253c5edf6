/* SPDX-License-Identifier: BSD-2-Clause */
/* The ready ring's tail moves on before the cell is filled: reserve, then publish. */
#include "job/table.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "tail before cell", .scene = "submits what it has reserved; a worker sleeps"};

static bool mutant_put_ready(struct pfk_rings *rings, uint32_t index)
{
    const struct pfk_ring *const ring = &rings->ready;
    const uint64_t tail = pfk_ring_end(ring);

    pfk_u64_store_release(&ring->shm->tail, tail + 1);
    pfk_u64_store_release(pfk_ring_cell_at(ring, tail), pfk_ring_cell(pfk_ring_round(ring, tail), index));
    return true;
}

#define pfk_rings_put_ready mutant_put_ready
#include "../../../framework/job/submit.c"
