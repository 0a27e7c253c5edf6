/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring of hints; see ring.h. Knows nothing of slots: an index is a number.
 * Keeps I-8. Any participant, any thread; lock-free. */
#include "job/ring.h"

/* An index moves when a ticket divisible by this comes up: cells in a cache line. */
#define RING_STRIDE 8
/* Who walked so far moves the index on: somebody died who should have. */
#define RING_FAR 16
/* An index at rest is never further behind than this, whoever died. */
#define RING_LAG (4 * RING_FAR)

void pfk_ring_init(const struct pfk_ring *ring)
{
    for (uint64_t i = 0; i < pfk_ring_cells(ring); i++)
        pfk_u64_store_relaxed(&ring->cells[i], pfk_ring_cell(0, PFK_RING_EMPTY));
    pfk_u64_store_relaxed(&ring->shm->head, 0);
    pfk_u64_store_relaxed(&ring->shm->tail, 0);
}

/* Moves an index up to `ticket`, unless it is there or somebody else moves it now. */
static void ring_advance(pfk_atomic_u64 *index, uint64_t ticket)
{
    uint64_t seen = pfk_u64_load_relaxed(index);

    if ((int64_t)(ticket - seen) > 0)
        (void)pfk_u64_cas_acq_rel(index, &seen, ticket);
}

static void ring_pass(pfk_atomic_u64 *index, uint64_t ticket)
{
    if (ticket % RING_STRIDE == RING_STRIDE - 1)
        ring_advance(index, ticket + 1);
}

/* The next ticket of a walk that began at `from`. */
static uint64_t ring_walk_on(pfk_atomic_u64 *index, uint64_t *from, uint64_t ticket)
{
    if (PFK_LIKELY(ticket + 1 - *from < RING_FAR))
        return ticket + 1;
    ring_advance(index, ticket + 1);
    *from = pfk_u64_load_acquire(index); /* perhaps far ahead: we may have slept on the way */
    return *from;
}

static bool ring_is_filled(uint64_t cell, uint64_t round)
{
    return pfk_ring_cell_round(cell) > round ||
           (pfk_ring_cell_round(cell) == round && pfk_ring_cell_index(cell) != PFK_RING_EMPTY);
}

enum pfk_ring_put pfk_ring_put(const struct pfk_ring *ring, uint32_t index)
{
    uint64_t from = pfk_u64_load_acquire(&ring->shm->tail), tail = from;

    for (uint32_t step = 0; step < ring->patience; step++) {
        pfk_atomic_u64 *const at = pfk_ring_cell_at(ring, tail);
        const uint64_t round = pfk_ring_round(ring, tail);
        uint64_t cell = pfk_u64_load_acquire(at);

        if (pfk_ring_cell_round(cell) < round)
            return PFK_RING_FULL; /* the last round's entry is still there */
        /* Filling is the publication: it releases the word's state to whoever peeks. */
        if (!ring_is_filled(cell, round) && pfk_u64_cas_acq_rel(at, &cell, pfk_ring_cell(round, index))) {
            ring_pass(&ring->shm->tail, tail);
            return PFK_RING_PUT;
        }
        tail = ring_walk_on(&ring->shm->tail, &from, tail);
    }
    return PFK_RING_BUSY;
}

bool pfk_ring_peek(const struct pfk_ring *ring, struct pfk_ring_entry *entry_out)
{
    uint64_t from = pfk_u64_load_acquire(&ring->shm->head), head = from;

    for (uint32_t step = 0; step < ring->patience; step++) {
        const uint64_t cell = pfk_u64_load_acquire(pfk_ring_cell_at(ring, head));
        const uint64_t round = pfk_ring_round(ring, head);

        if (pfk_ring_cell_round(cell) <= round) {
            entry_out->ticket = head;
            entry_out->cell = cell;
            entry_out->index = pfk_ring_cell_index(cell);
            return pfk_ring_cell_round(cell) == round && entry_out->index != PFK_RING_EMPTY;
        }
        head = ring_walk_on(&ring->shm->head, &from, head);
    }
    return false;
}

bool pfk_ring_holds(const struct pfk_ring *ring, const struct pfk_ring_entry *entry)
{
    return pfk_u64_load_acquire(pfk_ring_cell_at(ring, entry->ticket)) == entry->cell;
}

static uint64_t ring_emptied(uint64_t cell)
{
    return pfk_ring_cell(pfk_ring_cell_round(cell) + 1, PFK_RING_EMPTY);
}

void pfk_ring_remove(const struct pfk_ring *ring, const struct pfk_ring_entry *entry)
{
    uint64_t cell = entry->cell;

    (void)pfk_u64_cas_acq_rel(pfk_ring_cell_at(ring, entry->ticket), &cell, ring_emptied(cell));
    ring_pass(&ring->shm->head, entry->ticket);
}

void pfk_ring_remove_alone(const struct pfk_ring *ring, const struct pfk_ring_entry *entry)
{
    pfk_u64_store_release(pfk_ring_cell_at(ring, entry->ticket), ring_emptied(entry->cell));
    ring_pass(&ring->shm->head, entry->ticket);
}

void pfk_ring_purge(const struct pfk_ring *ring, uint32_t index)
{
    struct pfk_ring_entry entry;

    if (pfk_ring_peek(ring, &entry) && entry.index == index)
        pfk_ring_remove(ring, &entry);
}

uint64_t pfk_ring_first(const struct pfk_ring *ring)
{
    uint64_t head = pfk_u64_load_acquire(&ring->shm->head);

    for (uint64_t step = 0; step < pfk_ring_cells(ring) + RING_LAG; step++, head++)
        if (pfk_ring_cell_round(pfk_u64_load_acquire(pfk_ring_cell_at(ring, head))) <= pfk_ring_round(ring, head))
            break;
    return head;
}

uint64_t pfk_ring_end(const struct pfk_ring *ring)
{
    uint64_t tail = pfk_u64_load_acquire(&ring->shm->tail);

    for (uint64_t step = 0; step < pfk_ring_cells(ring) + RING_LAG; step++, tail++)
        if (!ring_is_filled(pfk_u64_load_acquire(pfk_ring_cell_at(ring, tail)), pfk_ring_round(ring, tail)))
            break;
    return tail;
}

uint64_t pfk_ring_length(const struct pfk_ring *ring)
{
    const uint64_t first = pfk_ring_first(ring), length = pfk_ring_end(ring) - first;

    if (length > UINT64_MAX / 2)
        return 0; /* first was read before somebody moved both on */
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
