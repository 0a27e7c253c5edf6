/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring of hints; see ring.h. Knows nothing of slots: an index is a number.
 * Keeps I-8. Any participant, any thread; lock-free. */
#include "job/ring.h"

void pfk_ring_init(const struct pfk_ring *ring)
{
    for (uint64_t i = 0; i < pfk_ring_cells(ring); i++)
        pfk_u64_store_relaxed(&ring->cells[i], pfk_ring_cell(0, PFK_RING_EMPTY));
    pfk_u64_store_relaxed(&ring->shm->head, 0);
    pfk_u64_store_relaxed(&ring->shm->tail, 0);
}

/* Moves an index on, unless somebody else did: either way it has moved. */
static void ring_advance(pfk_atomic_u64 *index, uint64_t ticket)
{
    (void)pfk_u64_cas_acq_rel(index, &ticket, ticket + 1);
}

enum pfk_ring_put pfk_ring_put(const struct pfk_ring *ring, uint32_t index)
{
    for (uint32_t step = 0; step < ring->patience; step++) {
        const uint64_t tail = pfk_u64_load_acquire(&ring->shm->tail);
        pfk_atomic_u64 *const at = pfk_ring_cell_at(ring, tail);
        uint64_t cell = pfk_u64_load_acquire(at);
        const uint64_t round = pfk_ring_round(ring, tail);

        if (pfk_ring_cell_round(cell) == round && pfk_ring_cell_index(cell) == PFK_RING_EMPTY) {
            /* Filling is the publication: it releases the word's state to whoever peeks. */
            if (pfk_u64_cas_acq_rel(at, &cell, pfk_ring_cell(round, index))) {
                ring_advance(&ring->shm->tail, tail);
                return PFK_RING_PUT;
            }
        } else if (pfk_ring_cell_round(cell) >= round) {
            ring_advance(&ring->shm->tail, tail); /* filled, or consumed already: help a slow or dead one */
        } else if (pfk_u64_load_acquire(&ring->shm->tail) == tail) {
            return PFK_RING_FULL; /* the last round's entry is still there */
        }
    }
    return PFK_RING_BUSY;
}

bool pfk_ring_peek(const struct pfk_ring *ring, struct pfk_ring_entry *entry_out)
{
    for (uint32_t step = 0; step < ring->patience; step++) {
        const uint64_t head = pfk_u64_load_acquire(&ring->shm->head);
        const uint64_t cell = pfk_u64_load_acquire(pfk_ring_cell_at(ring, head));
        const uint64_t round = pfk_ring_round(ring, head);

        if (pfk_ring_cell_round(cell) > round) {
            ring_advance(&ring->shm->head, head); /* removed already: help a slow or dead one */
            continue;
        }
        if (pfk_ring_cell_round(cell) < round || pfk_ring_cell_index(cell) == PFK_RING_EMPTY)
            return false;
        entry_out->ticket = head;
        entry_out->cell = cell;
        entry_out->index = pfk_ring_cell_index(cell);
        return true;
    }
    return false;
}

bool pfk_ring_holds(const struct pfk_ring *ring, const struct pfk_ring_entry *entry)
{
    return pfk_u64_load_acquire(pfk_ring_cell_at(ring, entry->ticket)) == entry->cell;
}

void pfk_ring_remove(const struct pfk_ring *ring, const struct pfk_ring_entry *entry)
{
    uint64_t cell = entry->cell;
    const uint64_t emptied = pfk_ring_cell(pfk_ring_cell_round(cell) + 1, PFK_RING_EMPTY);

    (void)pfk_u64_cas_acq_rel(pfk_ring_cell_at(ring, entry->ticket), &cell, emptied);
    ring_advance(&ring->shm->head, entry->ticket);
}

void pfk_ring_purge(const struct pfk_ring *ring, uint32_t index)
{
    struct pfk_ring_entry entry;

    if (pfk_ring_peek(ring, &entry) && entry.index == index)
        pfk_ring_remove(ring, &entry);
}

uint64_t pfk_ring_length(const struct pfk_ring *ring)
{
    const uint64_t head = pfk_u64_load_acquire(&ring->shm->head);
    const uint64_t tail = pfk_u64_load_acquire(&ring->shm->tail);
    const uint64_t length = tail - head;

    if (length > UINT64_MAX / 2)
        return 0; /* head was read before somebody moved both on */
    return length < pfk_ring_cells(ring) ? length : pfk_ring_cells(ring);
}

void pfk_ring_walk(const struct pfk_ring *ring, void (*visit)(uint32_t index, void *context), void *context)
{
    const uint64_t head = pfk_u64_load_acquire(&ring->shm->head);

    for (uint64_t ticket = head; ticket - head < pfk_ring_cells(ring); ticket++) {
        const uint64_t cell = pfk_u64_load_acquire(pfk_ring_cell_at(ring, ticket));

        if (pfk_ring_cell_index(cell) != PFK_RING_EMPTY)
            visit(pfk_ring_cell_index(cell), context);
    }
}
