/* SPDX-License-Identifier: BSD-2-Clause */
/* The ready ring's head moves on before the cell is emptied. */
#include "job/table.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "head before cell",
                              .scene = "claims, runs, completes a detached job; a worker sleeps"};

static void mutant_remove(struct pfk_ring *ring, const struct pfk_ring_entry *entry)
{
    pfk_ring_advance(&ring->shm->head, entry->ticket + 1);
    pfk_ring_remove(ring, entry);
}

#define pfk_ring_remove mutant_remove
#include "job/take.h"
#undef pfk_ring_remove
#include "../../../framework/job/claim.c"
