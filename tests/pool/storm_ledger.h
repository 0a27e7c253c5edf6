/* SPDX-License-Identifier: BSD-2-Clause */
/* The kill storm's ledger: what became of each message, kept outside the job
 * table, in the pool's shared region. Each message that a client sends, a
 * repeated one included, has a ticket of its own, and each ticket a cell. */
#ifndef PFK_TESTS_POOL_STORM_LEDGER_H
#define PFK_TESTS_POOL_STORM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

/* field    | writer                  | readers        | order   | if the owner dies here
 * intended | home I/O thread         | test, at the end | relaxed | the job may or may not be accepted
 * accepted | home I/O thread         | test, at the end | relaxed | intended, but not known to be accepted
 * running  | job thread that has it  | next job thread | acq_rel | stays, with the pid of the dead
 * starts   | job thread that has it  | test, at the end | relaxed | a start more than the table counts claims
 * ends     | job thread that has it  | test, at the end | relaxed | one less; the job is started again */
struct storm_cell {
    pfk_atomic_u32 intended;
    pfk_atomic_u32 accepted;
    pfk_atomic_u32 running; /* pid; 0: nobody */
    pfk_atomic_u32 starts;
    pfk_atomic_u32 ends;
};

struct storm_ledger {
    pfk_atomic_u32 two_owners;    /* starts while another living process ran the job */
    pfk_atomic_u32 wrong_tickets; /* requests that no client has sent */
    uint32_t n_cells;
    uint32_t patience_ms; /* how long a dead predecessor may still be seen, where it is not reaped first; 0 */
    struct storm_cell cells[];
};

size_t storm_ledger_bytes(uint32_t n_cells);

/* In I/O threads: before and after the submit. False: no such ticket. */
bool storm_ledger_intend(struct storm_ledger *ledger, uint32_t ticket);
void storm_ledger_accept(struct storm_ledger *ledger, uint32_t ticket);

/* In handlers. False: no such ticket. */
bool storm_ledger_start(struct storm_ledger *ledger, uint32_t ticket);
void storm_ledger_end(struct storm_ledger *ledger, uint32_t ticket);

/* What the ledger adds up to. */
struct storm_sums {
    uint64_t intended;
    uint64_t accepted;
    uint64_t lost; /* accepted, but never run to the end */
    uint64_t starts;
    uint64_t repeated;  /* starts beyond the first of a job */
    uint64_t uninvited; /* started, but never intended */
};

struct storm_sums storm_ledger_sums(const struct storm_ledger *ledger);

#endif
