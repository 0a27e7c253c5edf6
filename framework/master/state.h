/* SPDX-License-Identifier: BSD-2-Clause */
/* The master's private state, shared by the files of this layer. Nothing of it
 * lies in shared memory. Each part has one file that changes it. */
#ifndef PFK_MASTER_STATE_H
#define PFK_MASTER_STATE_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "job/control.h"
#include "master/attached.h"
#include "master/drain.h"
#include "master/policy.h"
#include "master/signals.h"
#include "master/spawn.h"

struct pfk_master {
    const struct pfk_master_settings *settings;
    struct ev_loop *loop;
    struct pfk_signals signals;

    /* seats.c */
    struct pfk_nursery nursery;
    struct pfk_policy_budget budget;
    uint32_t fork_failures; /* in a row */
    uint64_t fork_due_ns;   /* no fork before */
    bool ready_told;

    /* debts.c */
    uint32_t *lanes; /* room for the numbers of all lanes that can be in debt */
    bool parent_dead;
    bool parent_dirty;      /* the outside producers' lanes wait for repair */
    uint32_t deferrals;     /* repairs in a row that left something to do */
    uint64_t repair_due_ns; /* no repair before */

    /* damage.c */
    bool damaged;      /* no word of the table is believed any more */
    bool given_up;     /* the pool stops because of it */
    uint32_t rebuilds; /* in a row */
    uint64_t rebuilt_ns;

    /* attached.c; debts.c forgets the dead once they are repaired */
    struct pfk_attached *attached;
    uint32_t *attached_dead; /* lanes */
    uint32_t n_attached_dead;
    uint64_t attached_due_ns;

    /* drain.c */
    enum pfk_phase phase;
    uint32_t stop_requests[PFK_DRAIN_SOURCES];
    uint64_t drain_deadline_ns;
    uint32_t killed;      /* workers, to end the drain */
    bool hasty;           /* a second request, not the limit, ended the drain */
    bool drained_in_vain; /* a worker forked for the jobs that were left found none that can be claimed */
};

#define PFK_MASTER_TICK_NS (10 * UINT64_C(1000000))

/* How many workers live. */
static inline uint32_t pfk_master_living(const struct pfk_master *master)
{
    uint32_t living = 0;

    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        living += master->nursery.children[i].pid != 0;
    return living;
}

#endif
