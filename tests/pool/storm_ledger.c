/* SPDX-License-Identifier: BSD-2-Clause */
#include "storm_ledger.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "prefork/clock.h"

size_t storm_ledger_bytes(uint32_t n_cells)
{
    return sizeof(struct storm_ledger) + n_cells * sizeof(struct storm_cell);
}

static struct storm_cell *ledger_cell(struct storm_ledger *ledger, uint32_t ticket)
{
    if (ticket < ledger->n_cells)
        return &ledger->cells[ticket];
    (void)pfk_u32_add_acq_rel(&ledger->wrong_tickets, 1);
    return NULL;
}

bool storm_ledger_intend(struct storm_ledger *ledger, uint32_t ticket)
{
    struct storm_cell *const cell = ledger_cell(ledger, ticket);

    if (cell != NULL)
        pfk_u32_store_relaxed(&cell->intended, 1);
    return cell != NULL;
}

void storm_ledger_accept(struct storm_ledger *ledger, uint32_t ticket)
{
    pfk_u32_store_relaxed(&ledger->cells[ticket].accepted, 1);
}

/* A predecessor that left its pid must be gone: the master reaps before it
 * gives a job to another. Where others reap it may be seen for a while; if it
 * was not dead it comes to its end and finds the job taken. */
static bool ledger_lives(const struct storm_ledger *ledger, uint32_t pid)
{
    const uint64_t until_ns = prefork_deadline_after_ms(ledger->patience_ms);
    const struct timespec pause = {.tv_nsec = 1000000};

    while (kill((pid_t)pid, 0) == 0 || errno != ESRCH) {
        if (prefork_clock_now_ns() >= until_ns)
            return true;
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

bool storm_ledger_start(struct storm_ledger *ledger, uint32_t ticket)
{
    struct storm_cell *const cell = ledger_cell(ledger, ticket);
    uint32_t before;

    if (cell == NULL)
        return false;
    before = pfk_u32_exchange_acq_rel(&cell->running, (uint32_t)getpid());
    if (before != 0 && ledger_lives(ledger, before))
        (void)pfk_u32_add_acq_rel(&ledger->two_owners, 1);
    pfk_u32_bump_relaxed(&cell->starts, 1);
    return true;
}

void storm_ledger_end(struct storm_ledger *ledger, uint32_t ticket)
{
    struct storm_cell *const cell = &ledger->cells[ticket];

    pfk_u32_bump_relaxed(&cell->ends, 1);
    if (pfk_u32_exchange_acq_rel(&cell->running, 0) != (uint32_t)getpid())
        (void)pfk_u32_add_acq_rel(&ledger->two_owners, 1);
}

struct storm_sums storm_ledger_sums(const struct storm_ledger *ledger)
{
    struct storm_sums sums = {0};

    for (uint32_t i = 0; i < ledger->n_cells; i++) {
        const struct storm_cell *const cell = &ledger->cells[i];
        const uint32_t starts = pfk_u32_load_relaxed(&cell->starts);
        const bool intended = pfk_u32_load_relaxed(&cell->intended) != 0;
        const bool accepted = pfk_u32_load_relaxed(&cell->accepted) != 0;

        sums.intended += intended;
        sums.accepted += accepted;
        sums.lost += accepted && pfk_u32_load_relaxed(&cell->ends) == 0;
        sums.starts += starts;
        sums.repeated += starts > 1 ? starts - 1 : 0;
        sums.uninvited += starts > 0 && !intended;
    }
    return sums;
}
