/* SPDX-License-Identifier: BSD-2-Clause */
/* A bounded ring for many producers and many consumers, with the payloads in
 * its cells. Each cell carries a sequence number that says whose turn it is:
 * `ticket` for the producer that holds that ticket, ticket + 1 for its consumer,
 * ticket + cells for the producer one round later.
 *
 * Fast because it trusts: a participant that dies between begin and end stops
 * everybody for ever. That is what the job table is measured against. */
#ifndef BENCH_BARE_RING_H
#define BENCH_BARE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two lines, since processors fetch them in pairs. */
#define BARE_RING_UNIT 128

/* 64 bytes of payload and the number touch two lines in any case. */
struct bare_cell {
    _Alignas(64) _Atomic uint64_t sequence;
    _Alignas(64) uint64_t payload[];
};

struct bare_ring {
    _Alignas(BARE_RING_UNIT) _Atomic uint64_t tail; /* the next producer's ticket */
    _Alignas(BARE_RING_UNIT) _Atomic uint64_t head; /* the next consumer's ticket */
    /* Read only after bare_ring_init. */
    _Alignas(BARE_RING_UNIT) uint64_t mask;
    uint64_t cell_bytes;
    /* The cells follow. */
};

static inline uint64_t bare_ring_cell_bytes(uint64_t payload_bytes)
{
    return (sizeof(struct bare_cell) + payload_bytes + BARE_RING_UNIT - 1) / BARE_RING_UNIT * BARE_RING_UNIT;
}

static inline uint64_t bare_ring_bytes(uint64_t cells, uint64_t payload_bytes)
{
    return sizeof(struct bare_ring) + cells * bare_ring_cell_bytes(payload_bytes);
}

static inline struct bare_cell *bare_ring_cell(struct bare_ring *ring, uint64_t ticket)
{
    return (struct bare_cell *)(void *)((unsigned char *)(ring + 1) + (ticket & ring->mask) * ring->cell_bytes);
}

/* `cells` is a power of two; the memory is zeroed. */
static inline void bare_ring_init(struct bare_ring *ring, uint64_t cells, uint64_t payload_bytes)
{
    ring->mask = cells - 1;
    ring->cell_bytes = bare_ring_cell_bytes(payload_bytes);
    for (uint64_t ticket = 0; ticket < cells; ticket++)
        atomic_store(&bare_ring_cell(ring, ticket)->sequence, ticket);
}

/* Takes the next ticket of `next` whose cell has come to it (+ `turn`: 0 to
 * fill, 1 to empty). Returns NULL when that cell is still another's. */
static inline struct bare_cell *bare_ring_begin(struct bare_ring *ring, _Atomic uint64_t *next, uint64_t turn,
                                                uint64_t *ticket_out)
{
    uint64_t ticket = atomic_load_explicit(next, memory_order_relaxed);

    for (;;) {
        struct bare_cell *const cell = bare_ring_cell(ring, ticket);
        const uint64_t sequence = atomic_load_explicit(&cell->sequence, memory_order_acquire);
        const int64_t ahead = (int64_t)(sequence - (ticket + turn));

        if (ahead < 0)
            return NULL;
        if (ahead > 0) {
            ticket = atomic_load_explicit(next, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(next, &ticket, ticket + 1, memory_order_relaxed,
                                                         memory_order_relaxed)) {
            *ticket_out = ticket;
            return cell;
        }
    }
}

/* Returns a cell to fill, or NULL: full. */
static inline struct bare_cell *bare_ring_begin_push(struct bare_ring *ring, uint64_t *ticket_out)
{
    return bare_ring_begin(ring, &ring->tail, 0, ticket_out);
}

static inline void bare_ring_end_push(struct bare_cell *cell, uint64_t ticket)
{
    atomic_store_explicit(&cell->sequence, ticket + 1, memory_order_release);
}

/* Returns a cell to empty, or NULL: none is full. */
static inline struct bare_cell *bare_ring_begin_pop(struct bare_ring *ring, uint64_t *ticket_out)
{
    return bare_ring_begin(ring, &ring->head, 1, ticket_out);
}

static inline void bare_ring_end_pop(const struct bare_ring *ring, struct bare_cell *cell, uint64_t ticket)
{
    atomic_store_explicit(&cell->sequence, ticket + ring->mask + 1, memory_order_release);
}

#endif
