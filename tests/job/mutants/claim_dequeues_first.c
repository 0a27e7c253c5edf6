/* SPDX-License-Identifier: BSD-2-Clause */
/* An entry is taken from the ready ring before its job is claimed. */
#include "job/table.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "dequeue before claim",
                              .scene = "claims, runs, completes a detached job; a worker sleeps"};

static bool mutant_peek(struct pfk_ring *ring, struct pfk_ring_entry *entry_out)
{
    if (!pfk_ring_peek(ring, entry_out))
        return false;
    pfk_ring_remove(ring, entry_out);
    return true;
}

/* In pfk_take this is the fault. */
#define pfk_ring_peek                mutant_peek
#define pfk_ring_holds(entry)        ((void)(entry), true)
#define pfk_ring_remove(ring, entry) ((void)(ring), (void)(entry))
#include "job/take.h"
#undef pfk_ring_peek
#undef pfk_ring_holds
#undef pfk_ring_remove
#include "../../../framework/job/claim.c"
