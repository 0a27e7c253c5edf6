/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/debts.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "master/state.h"

/* Passes over a table that nobody else touches: one is enough, unless the
 * table was damaged. */
#define DEBTS_PASSES_ALONE_MAX 16

int pfk_debts_open(struct pfk_master *master)
{
    const struct pfk_master_settings *const settings = master->settings;
    const size_t lanes = (size_t)settings->workers * pfk_spawn_lanes(settings) + settings->outside_producers;

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
    return n;
}

static void debts_clean(struct pfk_master *master)
{
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        master->nursery.children[i].dirty = false;
    master->parent_dirty = false;
}

static void debts_log(const struct prefork_repair *repair)
{
    if (repair->buried > 0)
        pfk_log(PREFORK_LOG_ERROR, "%u jobs given up: as many workers as PREFORK_POOL_MAX_ATTEMPTS died with each",
                repair->buried);
    if (repair->suspect > 0)
        pfk_log(PREFORK_LOG_ERROR, "%u words of the job table hold what no participant writes: it was damaged",
                repair->suspect);
}

uint64_t pfk_debts_turn(struct pfk_master *master, uint64_t now_ns)
{
    struct prefork_repair repair = {.size = sizeof(repair)};
    const uint32_t n = debts_collect_lanes(master);
    int rc;

    if (n == 0)
        return PREFORK_NO_DEADLINE;
    if (pfk_master_living(master) == 0)
        master->passes_alone++;
    rc = prefork_table_repair(master->settings->worker.table, master->lanes, n, &repair);
    if (rc != 0) {
        pfk_log(PREFORK_LOG_ERROR, "the lanes of the dead can't be repaired: %s", prefork_last_error());
        debts_clean(master); /* it will not go better the next time; their lanes tell when they are opened */
        return PREFORK_NO_DEADLINE;
    }
    debts_log(&repair);
    if (repair.deferred != 0)
        return now_ns + PFK_MASTER_TICK_NS;
    debts_clean(master);
    master->passes_alone = 0;
    return PREFORK_NO_DEADLINE;
}

bool pfk_debts_settled(const struct pfk_master *master)
{
    if (master->passes_alone >= DEBTS_PASSES_ALONE_MAX)
        return true;
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        if (master->nursery.children[i].dirty)
            return false;
    return !master->parent_dirty;
}
