/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring of hints; see ring.h. Knows nothing of slots: an index is a number.
 * Keeps I-8. Any participant, any thread; lock-free. */
#include "job/ring.h"

/* Who walked so far moves the index on: somebody died who should have. */
#define RING_FAR (2 * PFK_RING_STRIDE)
/* An index at rest is never further behind than this, whoever died. */
#define RING_LAG (4 * RING_FAR)

void pfk_ring_init(const struct pfk_ring *ring)
{
    for (uint64_t i = 0; i < pfk_ring_cells(ring); i++)
        pfk_u64_store_relaxed(&ring->cells[i], pfk_ring_cell(0, PFK_RING_EMPTY));
    pfk_u64_store_relaxed(&ring->shm->head, 0);
    pfk_u64_store_relaxed(&ring->shm->tail, 0);
}

void pfk_ring_advance(pfk_atomic_u64 *index, uint64_t ticket)
{
    uint64_t seen = pfk_u64_load_relaxed(index);

    if ((int64_t)(ticket - seen) > 0)
        (void)pfk_u64_cas_acq_rel(index, &seen, ticket);
}

/* The next ticket of a walk that began at `from`. */
static uint64_t ring_walk_on(pfk_atomic_u64 *index, uint64_t *from, uint64_t ticket)
{
    if (ticket + 1 - *from < RING_FAR)
        return ticket + 1;
    pfk_ring_advance(index, ticket + 1);
    *from = pfk_u64_load_acquire(index); /* perhaps far ahead: we may have slept on the way */
    return *from;
}

enum pfk_ring_put pfk_ring_put_far(struct pfk_ring *ring, uint32_t index)
{
    uint64_t from = pfk_u64_load_acquire(&ring->shm->tail), tail = from;

    for (uint32_t step = 0; step < ring->patience; step++) {
        pfk_atomic_u64 *const at = pfk_ring_cell_at(ring, tail);
        const uint64_t empty = pfk_ring_emptiness(ring, tail);
        uint64_t cell = pfk_u64_load_acquire(at);

        if (!pfk_ring_is_of_round(cell, empty))
            return PFK_RING_FULL; /* the last round's entry is still there */
        if (cell == empty && pfk_u64_cas_acq_rel(at, &cell, empty - PFK_RING_EMPTY + index)) {
            ring->tail_seen = tail + 1;
            if (pfk_ring_ends_line(tail))
                pfk_ring_advance(&ring->shm->tail, tail + 1);
            return PFK_RING_PUT;
        }
        tail = ring_walk_on(&ring->shm->tail, &from, tail);
    }
    ring->gave_up = true;
    return PFK_RING_BUSY;
}

bool pfk_ring_peek_far(struct pfk_ring *ring)
{
    uint64_t from = pfk_u64_load_acquire(&ring->shm->head), head = from;

    for (uint32_t step = 0; step < ring->patience; step++) {
        pfk_atomic_u64 *const at = pfk_ring_cell_at(ring, head);
        const uint64_t empty = pfk_ring_emptiness(ring, head), cell = pfk_u64_load_acquire(at);

        if (!pfk_ring_is_consumed(cell, empty)) {
            ring->found = (struct pfk_ring_entry){at, head, cell, pfk_ring_cell_index(cell)};
            ring->head_seen = head;
            return cell != empty && pfk_ring_is_of_round(cell, empty);
        }
        head = ring_walk_on(&ring->shm->head, &from, head);
    }
    ring->gave_up = true;
    return false;
}

void pfk_ring_purge(struct pfk_ring *ring, uint32_t index)
{
    struct pfk_ring_entry entry;

    if (pfk_ring_peek(ring, &entry) && entry.index == index)
        pfk_ring_remove(ring, &entry);
}

uint64_t pfk_ring_first(const struct pfk_ring *ring)
{
    uint64_t head = pfk_u64_load_acquire(&ring->shm->head);

    for (uint64_t step = 0; step < pfk_ring_cells(ring) + RING_LAG; step++, head++)
        if (!pfk_ring_is_consumed(pfk_u64_load_acquire(pfk_ring_cell_at(ring, head)), pfk_ring_emptiness(ring, head)))
            break;
    return head;
}

uint64_t pfk_ring_end(const struct pfk_ring *ring)
{
    uint64_t tail = pfk_u64_load_acquire(&ring->shm->tail);

    for (uint64_t step = 0; step < pfk_ring_cells(ring) + RING_LAG; step++, tail++) {
        const uint64_t cell = pfk_u64_load_acquire(pfk_ring_cell_at(ring, tail)),
                       empty = pfk_ring_emptiness(ring, tail);

        if (cell == empty || !pfk_ring_is_of_round(cell, empty))
            break;
    }
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
