/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/damage.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "master/debts.h"
#include "master/drain.h"
#include "master/state.h"
#include "master/tally.h"

/* A rebuild this long after the last one is a first one again. */
#define DAMAGE_FORGIVEN_NS (60 * PFK_NS_PER_S)

void pfk_damage_declare(struct pfk_master *master, const char *what)
{
    if (master->damaged)
        return;
    master->damaged = true;
    if (master->phase != PFK_PHASE_RUNNING) {
        pfk_log(PREFORK_LOG_ERROR, "the job table is damaged: %s; its jobs are left", what);
        return;
    }
    pfk_log(PREFORK_LOG_ERROR, "the job table is damaged: %s; all workers are killed, its jobs are lost", what);
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        pfk_spawn_kill(&master->nursery.children[i]);
}

static void damage_give_up(struct pfk_master *master, const char *why)
{
    master->given_up = true;
    pfk_drain_request(master, PFK_DRAIN_DAMAGE, why);
}

static void damage_rebuild(struct pfk_master *master, uint64_t now_ns)
{
    const int rc = pfk_table_rebuild(master->settings->worker.table);

    if (rc != 0) {
        damage_give_up(master, prefork_last_error());
        return;
    }
    master->damaged = false;
    master->rebuilds = now_ns >= master->rebuilt_ns + DAMAGE_FORGIVEN_NS ? 1 : master->rebuilds + 1;
    master->rebuilt_ns = now_ns;
    pfk_debts_forget(master);
    pfk_u64_bump_relaxed(&master->settings->tally->rebuilt, 1);
    pfk_log(PREFORK_LOG_WARNING, "the job table was made anew");
}

/* A worker that damages each new table must not keep the master busy: the first is made at once, later ones wait. */
static uint64_t damage_due_ns(const struct pfk_master *master)
{
    return master->rebuilt_ns + pfk_policy_delay_ms(master->rebuilds) * PFK_NS_PER_MS;
}

uint64_t pfk_damage_turn(struct pfk_master *master, uint64_t now_ns)
{
    if (!master->damaged || master->phase != PFK_PHASE_RUNNING || pfk_master_living(master) > 0)
        return PREFORK_NO_DEADLINE;
    if (master->settings->stop_on_damage || master->settings->parent_pid != 0) {
        damage_give_up(master, "the job table is damaged");
        return PREFORK_NO_DEADLINE;
    }
    if (now_ns < damage_due_ns(master))
        return damage_due_ns(master);
    damage_rebuild(master, now_ns);
    return PREFORK_NO_DEADLINE;
}
