/* SPDX-License-Identifier: BSD-2-Clause */
/* A ring of hints: slot numbers that say "look at this slot" and may be wrong.
 *
 * The cells alone are the truth. head and tail only say where to begin to look:
 * no later than the oldest entry, and no later than the first cell to fill.
 * They are moved on once in a cache line of cells, so that most puts and
 * removals are one compare-and-swap; who dies or is stopped between two
 * instructions leaves an index behind, never a wedge, and whoever has to walk
 * far moves it on. An entry is never taken out before the slot's word forbids
 * it: consumers peek, compare-and-swap the word, then remove. Thus nobody ever
 * holds the only copy of a hint in a register.
 *
 * cell = round:40 | index:24, where the index of an empty cell is all ones.
 * Ticket t names cell t & mask in round t >> order. Cells are filled in the
 * order of their tickets and emptied in that order. */
#ifndef PFK_JOB_RING_H
#define PFK_JOB_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/compiler.h"

/* field | writer      | readers | order                              | if a writer dies here
 * head  | who removed | all     | acq_rel after the cell was emptied | behind: others walk, and move it on
 * tail  | who put     | all     | acq_rel after the cell was filled  | behind: others walk, and move it on
 * cells | put, remove | all     | filled acq_rel, read acquire       | either state is whole */
struct pfk_ring_shm {
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u64 head;
    PFK_ALIGNED(PFK_CACHE_PAIR) pfk_atomic_u64 tail;
};

/* What peek saw: exact enough that remove never takes a later entry. */
struct pfk_ring_entry {
    pfk_atomic_u64 *at;
    uint64_t ticket;
    uint64_t cell;
    uint32_t index; /* unchecked: the caller compares it with its private slot count */
};

/* A thread's view: the bounds are private and never read from the segment. Each
 * thread that puts or removes has its own, since it remembers where it was. */
struct pfk_ring {
    struct pfk_ring_shm *shm;
    pfk_atomic_u64 *cells;
    uint64_t mask;      /* the number of cells, less one */
    uint32_t order;     /* its log2, PFK_RING_ORDER_MIN at least */
    uint32_t patience;  /* steps of one call before it gives up on a ring that keeps moving */
    uint64_t head_seen; /* all tickets before it were removed */
    uint64_t tail_seen; /* all tickets before it were put */
    bool gave_up;       /* patience ran out; for who asks */
    struct pfk_ring_entry found; /* by pfk_ring_peek_far; here, for a local one would have to be in memory always */
};

/* An index moves on where a line of so many cells ends; no ring is smaller. */
#define PFK_RING_STRIDE    8
#define PFK_RING_ORDER_MIN 3

enum pfk_ring_put {
    PFK_RING_PUT,
    PFK_RING_FULL,
    PFK_RING_BUSY /* patience ran out: a damaged segment, or a stampede */
};

/* -- cells, tickets and rounds ----------------------------------------------- */

#define PFK_RING_EMPTY UINT32_C(0xffffff)

static inline uint64_t pfk_ring_cell(uint64_t round, uint32_t index)
{
    return round << 24 | index;
}

static inline uint64_t pfk_ring_cell_round(uint64_t cell)
{
    return cell >> 24;
}

static inline uint32_t pfk_ring_cell_index(uint64_t cell)
{
    return (uint32_t)(cell & PFK_RING_EMPTY);
}

static inline uint64_t pfk_ring_cells(const struct pfk_ring *ring)
{
    return ring->mask + 1;
}

static inline pfk_atomic_u64 *pfk_ring_cell_at(const struct pfk_ring *ring, uint64_t ticket)
{
    return &ring->cells[ticket & ring->mask];
}

/* Rounds have 40 bits and begin anew after that: they are compared by their
 * difference. */
static inline uint64_t pfk_ring_round(const struct pfk_ring *ring, uint64_t ticket)
{
    return ticket >> ring->order & ((UINT64_C(1) << 40) - 1);
}

/* The cell of a ticket while nothing was put there: less means that the last
 * round's entry is still there, more that it was consumed already; of a full
 * cell the round is the same and the index less. */
static inline uint64_t pfk_ring_emptiness(const struct pfk_ring *ring, uint64_t ticket)
{
    return pfk_ring_cell(pfk_ring_round(ring, ticket), PFK_RING_EMPTY);
}

static inline bool pfk_ring_is_of_round(uint64_t cell, uint64_t emptiness)
{
    return (int64_t)(cell - (emptiness - PFK_RING_EMPTY)) >= 0;
}

static inline bool pfk_ring_is_consumed(uint64_t cell, uint64_t emptiness)
{
    return (int64_t)(cell - emptiness) > 0;
}

static inline bool pfk_ring_ends_line(uint64_t ticket)
{
    return ticket % PFK_RING_STRIDE == PFK_RING_STRIDE - 1;
}

static inline uint64_t pfk_ring_later(uint64_t ticket, uint64_t other)
{
    return ticket > other ? ticket : other;
}

/* A view of the 2^order cells. */
static inline struct pfk_ring pfk_ring_view(struct pfk_ring_shm *shm, pfk_atomic_u64 *cells, uint32_t order,
                                            uint32_t patience)
{
    return (struct pfk_ring){
        .shm = shm, .cells = cells, .mask = (UINT64_C(1) << order) - 1, .order = order, .patience = patience};
}

/* -- the operations ------------------------------------------------------------ */

/* Makes the ring empty. Before anybody else maps it. */
void pfk_ring_init(const struct pfk_ring *ring);

/* Moves an index up to `ticket`, unless it is there or somebody else moves it now. */
void pfk_ring_advance(pfk_atomic_u64 *index, uint64_t ticket);

/* What the two functions below do when the first line of cells does not tell. */
enum pfk_ring_put pfk_ring_put_far(struct pfk_ring *ring, uint32_t index);
bool pfk_ring_peek_far(struct pfk_ring *ring);

/* Appends a hint. Any participant. When it returns PFK_RING_PUT, a
 * read-modify-write of the calling thread has published the hint
 * (pfk_fence_after_rmw). */
static inline enum pfk_ring_put pfk_ring_put(struct pfk_ring *ring, uint32_t index)
{
    uint64_t tail = pfk_ring_later(pfk_u64_load_acquire(&ring->shm->tail), ring->tail_seen);
    const uint64_t empty = pfk_ring_emptiness(ring, tail); /* of the whole line */

    for (;; tail++) {
        pfk_atomic_u64 *const at = pfk_ring_cell_at(ring, tail);
        uint64_t cell = pfk_u64_load_acquire(at);

        /* Filling is the publication: it releases the word's state to whoever peeks. */
        if (cell == empty && pfk_u64_cas_acq_rel(at, &cell, empty - PFK_RING_EMPTY + index)) {
            ring->tail_seen = tail + 1;
            if (PFK_UNLIKELY(pfk_ring_ends_line(tail)))
                pfk_ring_advance(&ring->shm->tail, tail + 1);
            return PFK_RING_PUT;
        }
        if (PFK_UNLIKELY(!pfk_ring_is_of_round(cell, empty) || pfk_ring_ends_line(tail)))
            return pfk_ring_put_far(ring, index);
    }
}

/* Looks at the oldest entry; false when there is none. */
static inline bool pfk_ring_peek(struct pfk_ring *ring, struct pfk_ring_entry *entry_out)
{
    uint64_t head = pfk_ring_later(pfk_u64_load_acquire(&ring->shm->head), ring->head_seen);
    const uint64_t empty = pfk_ring_emptiness(ring, head); /* of the whole line */

    for (;; head++) {
        pfk_atomic_u64 *const at = pfk_ring_cell_at(ring, head);
        const uint64_t cell = pfk_u64_load_acquire(at);

        if (!pfk_ring_is_consumed(cell, empty)) {
            entry_out->at = at;
            entry_out->ticket = head;
            entry_out->cell = cell;
            entry_out->index = pfk_ring_cell_index(cell);
            return cell != empty && PFK_LIKELY(pfk_ring_is_of_round(cell, empty));
        }
        if (PFK_UNLIKELY(pfk_ring_ends_line(head))) {
            const bool found = pfk_ring_peek_far(ring);

            *entry_out = ring->found;
            return found;
        }
    }
}

/* Whether the entry is still where it was seen. */
static inline bool pfk_ring_holds(const struct pfk_ring_entry *entry)
{
    return pfk_u64_load_acquire(entry->at) == entry->cell;
}

static inline uint64_t pfk_ring_emptied(uint64_t cell)
{
    return pfk_ring_cell(pfk_ring_cell_round(cell) + 1, PFK_RING_EMPTY);
}

/* Removes exactly this entry; harmless when somebody else already did. */
static inline void pfk_ring_remove(struct pfk_ring *ring, const struct pfk_ring_entry *entry)
{
    uint64_t cell = entry->cell;

    (void)pfk_u64_cas_acq_rel(entry->at, &cell, pfk_ring_emptied(cell));
    ring->head_seen = entry->ticket + 1;
    if (PFK_UNLIKELY(pfk_ring_ends_line(entry->ticket)))
        pfk_ring_advance(&ring->shm->head, entry->ticket + 1);
}

/* The same for a ring that only the calling thread removes from. */
static inline void pfk_ring_remove_alone(struct pfk_ring *ring, const struct pfk_ring_entry *entry)
{
    pfk_u64_store_release(entry->at, pfk_ring_emptied(entry->cell));
    ring->head_seen = entry->ticket + 1;
    if (PFK_UNLIKELY(pfk_ring_ends_line(entry->ticket)))
        pfk_ring_advance(&ring->shm->head, entry->ticket + 1);
}

/* Removes the oldest entry if it names `index`: a dead claimer's leftover. */
void pfk_ring_purge(struct pfk_ring *ring, uint32_t index);

/* The ticket of the oldest entry, or of the next one when there is none; and
 * the ticket that the next entry will get. Exact on a ring at rest. */
uint64_t pfk_ring_first(const struct pfk_ring *ring);
uint64_t pfk_ring_end(const struct pfk_ring *ring);

/* Entries now, roughly: a gauge. */
uint64_t pfk_ring_length(const struct pfk_ring *ring);

/* Calls `visit` for the index of each entry, oldest first; bounded by the
 * number of cells. */
void pfk_ring_walk(const struct pfk_ring *ring, void (*visit)(uint32_t index, void *context), void *context);

#endif
