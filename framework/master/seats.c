/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/seats.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "master/drain.h"
#include "master/state.h"
#include "master/tally.h"
#include "worker/report.h"

/* How often deaths are looked for among workers without a pidfd. */
#define SEATS_LOOK_NS PFK_NS_PER_S
/* A worker has two things to report, once each. */
#define SEATS_REPORTS_MAX 8

static uint64_t seats_sooner(uint64_t one_ns, uint64_t other_ns)
{
    return one_ns < other_ns ? one_ns : other_ns;
}

/* Tells others who sits there; the master itself never reads it back. */
static void seats_publish(const struct pfk_master *master, const struct pfk_child *child)
{
    const struct pfk_seat status = {
        .pid = (int32_t)child->pid,
        .incarnation = child->incarnation,
        .ready = child->ready,
        .started_ns = child->started_ns,
    };
    uint32_t ready = 0;

    pfk_control_set_seat(master->settings->worker.table, child->seat, &status);
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        ready += master->nursery.children[i].pid != 0 && master->nursery.children[i].ready;
    pfk_u32_store_relaxed(&master->settings->tally->ready, ready);
}

/* -- Reports ------------------------------------------------------------------ */

static void seats_take_ready(struct pfk_master *master, struct pfk_child *child)
{
    if (child->ready)
        return;
    child->ready = true;
    seats_publish(master, child);
    pfk_log(PREFORK_LOG_INFO, "worker %u (pid %ld) ready", child->seat, (long)child->pid);
    if (master->ready_told)
        return;
    master->ready_told = true;
    if (master->settings->ready != NULL)
        master->settings->ready(master->settings->context);
}

static void seats_take_report(struct pfk_master *master, struct pfk_child *child, char byte)
{
    if (byte == (char)PFK_REPORT_READY)
        seats_take_ready(master, child);
    else if (byte == (char)PFK_REPORT_DRAINED)
        child->drained = true;
}

/* Reads one bounded piece; false at the end of the pipe, or when it is broken,
 * or for a worker that will not cease: it would keep the master busy. */
static bool seats_read_report(struct pfk_master *master, struct pfk_child *child)
{
    char bytes[16];
    ssize_t got;

    if (child->report_fd < 0)
        return false;
    got = read(child->report_fd, bytes, sizeof(bytes));
    for (ssize_t i = 0; i < got; i++)
        seats_take_report(master, child, bytes[i]);
    child->reports += got > 0 ? (uint32_t)got : 0;
    if (child->reports > SEATS_REPORTS_MAX && child->pid != 0) {
        pfk_log(PREFORK_LOG_WARNING, "worker %u (pid %ld) reports more than there is to tell: killed", child->seat,
                (long)child->pid);
        pfk_spawn_kill(child);
        return false;
    }
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static void seats_on_report(struct ev_loop *loop, struct ev_io *watch, int events)
{
    struct pfk_child *const child = watch->data;

    (void)events;
    if (seats_read_report(child->owner, child))
        return;
    ev_io_stop(loop, watch);
    pfk_fd_close(&child->report_fd);
}

/* -- Death -------------------------------------------------------------------- */

static void seats_log_death(const struct pfk_child *child, int status, bool in_order, uint64_t delay_ms)
{
    char how[64];

    if (in_order) {
        pfk_log(PREFORK_LOG_INFO, "worker %u (pid %ld) has ended", child->seat, (long)child->pid);
        return;
    }
    if (WIFSIGNALED(status))
        (void)snprintf(how, sizeof(how), "was killed by signal %d%s", WTERMSIG(status),
                       WTERMSIG(status) == SIGKILL ? " (by somebody, or out of memory)" : "");
    else
        (void)snprintf(how, sizeof(how), "exited with %d", WEXITSTATUS(status));
    pfk_log(PREFORK_LOG_WARNING, "worker %u (pid %ld) %s after %llu ms; %u failures in a row, next one in %llu ms",
            child->seat, (long)child->pid, how,
            (unsigned long long)((prefork_clock_now_ns() - child->started_ns) / PFK_NS_PER_MS), child->failures,
            (unsigned long long)delay_ms);
}

static void seats_judge_life(struct pfk_master *master, struct pfk_child *child, int status)
{
    const struct pfk_policy_life life = {
        .was_ready = child->ready,
        .worked = pfk_spawn_work(master->settings, child->seat) != child->work_before,
        .in_order = child->drained && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS,
    };
    uint64_t delay_ms;

    if (child->last_resort && life.in_order && !life.worked) {
        master->drained_in_vain = true;
        pfk_log(PREFORK_LOG_ERROR, "jobs that wait can't be claimed: the table was damaged; they are left");
    }
    if (!master->damaged) /* or else it was killed for no fault that is known to be its own */
        child->failures = pfk_policy_failures(child->failures, &life);
    delay_ms = pfk_policy_delay_ms(child->failures);
    child->due_ns = prefork_deadline_after_ms(delay_ms);
    seats_log_death(child, status, life.in_order || child->doomed, delay_ms);
    if (!life.in_order && master->phase == PFK_PHASE_RUNNING)
        pfk_u64_bump_relaxed(&master->settings->tally->lost, 1);
}

static void seats_look_for_death(struct pfk_master *master, struct pfk_child *child)
{
    int status;

    if (!pfk_spawn_reap(child, &status))
        return;
    (void)seats_read_report(master, child); /* its last words */
    ev_io_stop(master->loop, &child->death_watch);
    ev_io_stop(master->loop, &child->report_watch);
    seats_judge_life(master, child, status);
    pfk_spawn_clear(child);
    child->ready = false;
    child->dirty = true;
    seats_publish(master, child);
}

static void seats_on_death(struct ev_loop *loop, struct ev_io *watch, int events)
{
    struct pfk_child *const child = watch->data;

    (void)events;
    seats_look_for_death(child->owner, child);
    if (child->pid == 0)
        return;
    /* Dead, but a debugger has it: the pidfd stays readable until that lets go. */
    ev_io_stop(loop, watch);
    pfk_fd_close(&child->pidfd);
}

void pfk_seats_look_for_deaths(struct pfk_master *master)
{
    for (uint32_t i = 0; i < master->nursery.n_children; i++) {
        struct pfk_child *const child = &master->nursery.children[i];

        if (child->pid != 0 && child->pidfd < 0)
            seats_look_for_death(master, child);
    }
}

/* -- Birth -------------------------------------------------------------------- */

static void seats_watch(struct pfk_master *master, struct pfk_child *child)
{
    ev_io_init(&child->report_watch, seats_on_report, child->report_fd, EV_READ);
    child->report_watch.data = child;
    ev_io_start(master->loop, &child->report_watch);
    if (child->pidfd < 0)
        return;
    ev_io_init(&child->death_watch, seats_on_death, child->pidfd, EV_READ);
    child->death_watch.data = child;
    ev_io_start(master->loop, &child->death_watch);
}

/* One log line for each change of state: it fails, it works again. */
static void seats_note_fork(struct pfk_master *master, int rc)
{
    if (rc != 0 && master->fork_failures == 0)
        pfk_log(PREFORK_LOG_ERROR, "no worker can be made: %s; tried again for as long as it takes",
                prefork_last_error());
    if (rc == 0 && master->fork_failures > 0)
        pfk_log(PREFORK_LOG_INFO, "workers can be made again, after %u failures", master->fork_failures);
    master->fork_failures = rc == 0 ? 0 : master->fork_failures + 1;
    /* From the attempt on, not from the turn: it may have waited for a processor in between. */
    master->fork_due_ns =
        rc == 0 ? 0 : prefork_clock_now_ns() + pfk_policy_delay_ms(master->fork_failures) * PFK_NS_PER_MS;
}

static void seats_fill(struct pfk_master *master, struct pfk_child *child)
{
    const int rc = pfk_spawn_fork(&master->nursery, child);

    seats_note_fork(master, rc);
    if (rc != 0)
        return;
    child->last_resort = master->phase != PFK_PHASE_RUNNING;
    seats_watch(master, child);
    seats_publish(master, child);
}

/* How many workers there should be now. */
static uint32_t seats_wanted(const struct pfk_master *master)
{
    if (master->phase == PFK_PHASE_RUNNING)
        return master->damaged ? 0 : master->nursery.n_children;
    return pfk_drain_wants_worker(master) ? 1 : 0;
}

static uint64_t seats_fill_due(struct pfk_master *master, uint64_t now_ns)
{
    const uint32_t wanted = seats_wanted(master);
    uint32_t living = pfk_master_living(master);
    uint64_t next_ns = PREFORK_NO_DEADLINE;

    for (uint32_t i = 0; i < master->nursery.n_children && living < wanted; i++) {
        struct pfk_child *const child = &master->nursery.children[i];
        const uint64_t due_ns = child->due_ns > master->fork_due_ns ? child->due_ns : master->fork_due_ns;

        if (child->pid != 0 || child->dirty)
            continue;
        if (due_ns > now_ns) {
            next_ns = seats_sooner(next_ns, due_ns);
            continue;
        }
        if (child->incarnation > 0 && !pfk_policy_budget_take(&master->budget, now_ns))
            return seats_sooner(next_ns, now_ns + PFK_MASTER_TICK_NS);
        seats_fill(master, child);
        if (child->pid != 0)
            living++;
        else
            next_ns = seats_sooner(next_ns, master->fork_due_ns);
    }
    return next_ns;
}

static uint64_t seats_kill_late(struct pfk_master *master, uint64_t now_ns)
{
    uint64_t next_ns = PREFORK_NO_DEADLINE;

    for (uint32_t i = 0; i < master->nursery.n_children; i++) {
        struct pfk_child *const child = &master->nursery.children[i];
        const uint64_t limit_ns = child->started_ns + master->settings->ready_ms * PFK_NS_PER_MS;

        if (child->pid == 0 || child->ready || child->doomed)
            continue;
        if (limit_ns > now_ns) {
            next_ns = seats_sooner(next_ns, limit_ns);
            continue;
        }
        pfk_log(PREFORK_LOG_WARNING, "worker %u (pid %ld) was not ready within %llu ms: killed", child->seat,
                (long)child->pid, (unsigned long long)master->settings->ready_ms);
        pfk_spawn_kill(child);
    }
    return next_ns;
}

/* SIGCHLD is a hint that another thread of the program may swallow. */
static uint64_t seats_look_again(const struct pfk_master *master, uint64_t now_ns)
{
    for (uint32_t i = 0; i < master->nursery.n_children; i++)
        if (master->nursery.children[i].pid != 0 && master->nursery.children[i].pidfd < 0)
            return now_ns + SEATS_LOOK_NS;
    return PREFORK_NO_DEADLINE;
}

uint64_t pfk_seats_turn(struct pfk_master *master, uint64_t now_ns)
{
    const uint64_t fill_ns = seats_fill_due(master, now_ns);
    const uint64_t late_ns = seats_kill_late(master, now_ns);

    return seats_sooner(seats_look_again(master, now_ns), seats_sooner(fill_ns, late_ns));
}

/* -- All of them -------------------------------------------------------------- */

int pfk_seats_open(struct pfk_master *master)
{
    struct pfk_nursery *const nursery = &master->nursery;
    int rc;

    nursery->settings = master->settings;
    nursery->signals = &master->signals;
    nursery->n_children = master->settings->workers;
    nursery->children = calloc(nursery->n_children, sizeof(*nursery->children));
    if (nursery->children == NULL)
        return pfk_error_call(ENOMEM, "master");
    for (uint32_t i = 0; i < nursery->n_children; i++)
        nursery->children[i] = (struct pfk_child){.seat = i, .pidfd = -1, .report_fd = -1, .owner = master};
    rc = pfk_fd_pipe(&nursery->life_read_fd, &nursery->life_write_fd);
    if (rc != 0)
        free(nursery->children);
    return rc;
}

void pfk_seats_close(struct pfk_master *master)
{
    pfk_fd_close(&master->nursery.life_read_fd);
    pfk_fd_close(&master->nursery.life_write_fd);
    free(master->nursery.children);
    master->nursery.children = NULL;
}
