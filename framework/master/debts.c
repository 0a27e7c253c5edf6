/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/debts.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "master/damage.h"
#include "master/state.h"

/* A slot is deferred when it moved under the master's hands time and again. A
 * living participant does that once in a lifetime, not pass after pass: so many
 * passes in a row, over 0.63 s, mean a damaged table, or one that is being
 * damaged. The waits are one tick, two, four, ... */
#define DEBTS_DEFERRALS_MAX 7

int pfk_debts_open(struct pfk_master *master)
{
    const struct pfk_master_settings *const settings = master->settings;
    const size_t lanes = (size_t)settings->workers * pfk_spawn_lanes(settings) + settings->outside_producers +
                         settings->attached_producers;

    master->lanes = calloc(lanes + 1, sizeof(*master->lanes));
    return master->lanes != NULL ? 0 : pfk_error_call(ENOMEM, "master");
}

void pfk_debts_close(struct pfk_master *master)
{
    free(master->lanes);
    master->lanes = NULL;
}

static uint32_t debts_collect_lanes(struct pfk_master *master)
{
    const struct pfk_master_settings *const settings = master->settings;
    uint32_t n = 0;

    for (uint32_t i = 0; i < master->nursery.n_children; i++) {
        if (!master->nursery.children[i].dirty)
            continue;
        for (uint32_t thread = 0; thread < pfk_spawn_lanes(settings); thread++)
            master->lanes[n++] = prefork_table_worker_lane(settings->worker.table, i, 0, thread);
    }
    if (master->parent_dirty)
        for (uint32_t i = 0; i < settings->outside_producers; i++)
            master->lanes[n++] = prefork_table_outside_lane(settings->worker.table, i);
    for (uint32_t i = 0; i < master->n_attached_dead; i++)
        master->lanes[n++] = master->attached_dead[i];
    return n;
}

void pfk_debts_forget(struct pfk_master *master)
{
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        master->nursery.children[i].dirty = false;
    master->parent_dirty = false;
    master->deferrals = 0;
    master->n_attached_dead = 0;
}

/* The master writes to no eventfd: whoever shares the descriptor can have filled
 * it and made it block. A worker's main thread does it for the worker's own
 * loops and the producers'; SIGHUP tells it, and a signal never blocks. */
static void debts_wake_loops(const struct pfk_master *master)
{
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        pfk_spawn_signal(&master->nursery.children[i], SIGHUP);
}

/* While nobody is alive a repaired table is at rest and can be judged as a whole. Producers may be at work in it: in
 * the program that started the pool, on other threads of this one, or, in a durable one, anywhere. */
static bool debts_are_alone(const struct pfk_master *master)
{
    return pfk_master_living(master) == 0 && master->settings->parent_pid == 0 &&
           !pfk_table_has_producers(master->settings->worker.table);
}

static void debts_judge(struct pfk_master *master, const struct prefork_repair *repair)
{
    if (repair->suspect > 0)
        pfk_damage_declare(master, "words hold what no participant writes");
    else if (repair->deferred > 0 && master->deferrals >= DEBTS_DEFERRALS_MAX)
        pfk_damage_declare(master, "repair comes to no end");
    else if (repair->deferred == 0 && debts_are_alone(master) &&
             prefork_table_verify(master->settings->worker.table) > 0)
        pfk_damage_declare(master, prefork_last_error());
}

static uint64_t debts_take_note(struct pfk_master *master, const struct prefork_repair *repair, uint64_t ended_ns)
{
    if (repair->buried > 0)
        pfk_log(PREFORK_LOG_ERROR, "%u jobs given up: as many workers as PREFORK_POOL_MAX_ATTEMPTS died with each",
                repair->buried);
    if (repair->deferred == 0)
        pfk_debts_forget(master);
    else
        master->deferrals++;
    debts_judge(master, repair);
    if (master->damaged || repair->deferred == 0)
        return PREFORK_NO_DEADLINE;
    master->repair_due_ns = ended_ns + (PFK_MASTER_TICK_NS << (master->deferrals - 1));
    return master->repair_due_ns;
}

uint64_t pfk_debts_turn(struct pfk_master *master, uint64_t now_ns)
{
    struct prefork_repair repair = {.size = sizeof(repair)};
    const uint32_t n = debts_collect_lanes(master);
    uint64_t ended_ns;

    if (n == 0 || master->damaged)
        return PREFORK_NO_DEADLINE;
    if (now_ns < master->repair_due_ns)
        return master->repair_due_ns;
    if (prefork_table_repair(master->settings->worker.table, master->lanes, n, &repair) != 0) {
        pfk_log(PREFORK_LOG_ERROR, "the lanes of the dead can't be repaired: %s", prefork_last_error());
        pfk_debts_forget(master); /* it will not go better the next time; their lanes tell when they are opened */
        return PREFORK_NO_DEADLINE;
    }
    debts_wake_loops(master);
    ended_ns = prefork_clock_now_ns();
    /* However fast workers die, repairs take no more than half of a processor. */
    master->repair_due_ns = ended_ns + (ended_ns - now_ns);
    return debts_take_note(master, &repair, ended_ns);
}

bool pfk_debts_settled(const struct pfk_master *master)
{
    if (master->damaged)
        return true;
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        if (master->nursery.children[i].dirty)
            return false;
    return !master->parent_dirty && master->n_attached_dead == 0;
}
