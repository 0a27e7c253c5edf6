/* SPDX-License-Identifier: BSD-2-Clause */
/* RUNNING -> DRAINING (connections are finished) -> FINISHING (no one submits
 * any more, the table is run empty) -> the loop ends. At the limit, and at a
 * second request, whoever is left is killed. */
#include "master/drain.h"

#include <errno.h>
#include <signal.h>

#include "base/error.h"
#include "base/log.h"
#include "master/debts.h"
#include "master/state.h"

static void drain_set_phase(struct pfk_master *master, enum pfk_phase phase)
{
    master->phase = phase;
    pfk_control_set_phase(master->settings->worker.table, phase);
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        pfk_spawn_signal(&master->nursery.children[i], SIGTERM);
}

static void drain_kill(struct pfk_master *master)
{
    for (uint32_t i = 0; i < master->nursery.n_children; i++) {
        if (master->nursery.children[i].pid == 0 || master->nursery.children[i].doomed)
            continue;
        master->killed++;
        pfk_spawn_kill(&master->nursery.children[i]);
    }
}

void pfk_drain_request(struct pfk_master *master, enum pfk_drain_source source, const char *why)
{
    master->stop_requests[source]++;
    if (master->phase == PFK_PHASE_RUNNING) {
        pfk_log(PREFORK_LOG_INFO, "stopping: %s", why);
        master->drain_deadline_ns = prefork_deadline_after_ms(master->settings->drain_ms);
        drain_set_phase(master, PFK_PHASE_DRAINING);
    } else if (master->stop_requests[source] >= 2 && !master->hasty) {
        pfk_log(PREFORK_LOG_WARNING, "stopping at once: %s", why);
        master->hasty = true;
        drain_kill(master);
    }
}

static bool drain_all_drained(const struct pfk_master *master)
{
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        if (master->nursery.children[i].pid != 0 && !master->nursery.children[i].drained)
            return false;
    return true;
}

static bool drain_over(const struct pfk_master *master)
{
    return pfk_master_living(master) == 0 && pfk_debts_settled(master) && !pfk_drain_wants_worker(master);
}

uint64_t pfk_drain_turn(struct pfk_master *master, uint64_t now_ns)
{
    if (master->phase == PFK_PHASE_RUNNING)
        return PREFORK_NO_DEADLINE;
    if (now_ns >= master->drain_deadline_ns)
        drain_kill(master);
    if (master->phase == PFK_PHASE_DRAINING && drain_all_drained(master))
        drain_set_phase(master, PFK_PHASE_FINISHING);
    if (drain_over(master))
        ev_break(master->loop, EVBREAK_ALL);
    return now_ns < master->drain_deadline_ns ? master->drain_deadline_ns : PREFORK_NO_DEADLINE;
}

/* How many accepted jobs wait for a worker. */
static uint32_t drain_jobs_left(const struct pfk_master *master)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    if (master->settings->worker.job_threads == 0 ||
        prefork_table_statistics(master->settings->worker.table, &statistics) != 0)
        return 0;
    return statistics.ready_slots;
}

bool pfk_drain_wants_worker(const struct pfk_master *master)
{
    if (master->killed > 0 || master->hasty || master->drained_in_vain || master->damaged ||
        master->settings->worker.durable)
        return false;
    if (prefork_clock_now_ns() >= master->drain_deadline_ns || pfk_master_living(master) > 0)
        return false;
    return drain_jobs_left(master) > 0;
}

static int drain_result_unkilled(const struct pfk_master *master)
{
    const uint32_t left = drain_jobs_left(master);

    if (left == 0 || master->settings->worker.durable || prefork_clock_now_ns() < master->drain_deadline_ns)
        return 0;
    return pfk_error(ETIMEDOUT,
                     "prefork_pool_run: %u jobs were left at the drain limit of %llu ms (PREFORK_POOL_DRAIN_MS), "
                     "their workers died",
                     left, (unsigned long long)master->settings->drain_ms);
}

static int drain_result_damaged(const struct pfk_master *master)
{
    return pfk_error(ENOTRECOVERABLE,
                     "prefork_pool_run: the job table was damaged%s; jobs may be lost: look for a handler that writes "
                     "outside of its buffers, and run the pool again",
                     master->given_up ? ", the pool was stopped" : " when the pool stopped");
}

int pfk_drain_result(const struct pfk_master *master)
{
    if (master->given_up || (master->damaged && master->killed == 0))
        return drain_result_damaged(master);
    if (master->killed == 0)
        return drain_result_unkilled(master);
    if (master->hasty)
        return pfk_error(ETIMEDOUT, "prefork_pool_run: a second request to stop came, %u workers were killed",
                         master->killed);
    return pfk_error(ETIMEDOUT,
                     "prefork_pool_run: %u workers were killed at the drain limit of %llu ms (PREFORK_POOL_DRAIN_MS)",
                     master->killed, (unsigned long long)master->settings->drain_ms);
}
