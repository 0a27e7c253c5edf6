/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/spawn.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "job/control.h"
#include "master/pidfd.h"
#include "master/tally.h"

uint32_t pfk_spawn_lanes(const struct pfk_master_settings *settings)
{
    return settings->worker.io_threads + settings->worker.job_threads;
}

uint64_t pfk_spawn_work(const struct pfk_master_settings *settings, uint32_t seat)
{
    const struct prefork_table *const table = settings->worker.table;
    uint64_t work = 0;

    for (uint32_t i = 0; i < pfk_spawn_lanes(settings); i++) {
        const uint32_t lane = prefork_table_worker_lane(table, seat, 0, i);

        work += pfk_table_counter(table, lane, PFK_COUNT_JOBS);
        work += pfk_table_counter(table, lane, PFK_COUNT_CONNECTIONS_SERVED);
        work += pfk_table_counter(table, lane, PFK_COUNT_BYTES_OUT); /* a connection served, though still open */
    }
    return work;
}

/* -- The child's side --------------------------------------------------------- */

/* Closes what belongs to the master alone. Above all the life pipe's write end:
 * while anybody else holds it, no worker learns of the master's death. */
static void spawn_close_masters(const struct pfk_nursery *nursery)
{
    const struct pfk_master_settings *const settings = nursery->settings;
    int life_write_fd = nursery->life_write_fd;
    int signals_fd = nursery->signals->fd;

    pfk_fd_close(&life_write_fd);
    pfk_fd_close(&signals_fd);
    for (uint32_t i = 0; i < nursery->n_children; i++) {
        pfk_fd_close(&nursery->children[i].pidfd);
        pfk_fd_close(&nursery->children[i].report_fd);
    }
    for (uint32_t i = 0; i < settings->attached_producers; i++) {
        int pidfd = nursery->attached[i].pidfd;

        pfk_fd_close(&pidfd);
    }
    for (size_t i = 0; i < settings->n_private_fds; i++) {
        int private_fd = settings->private_fds[i];

        pfk_fd_close(&private_fd);
    }
    (void)munmap(settings->tally, sizeof(*settings->tally));
}

PFK_NORETURN static void spawn_become_worker(const struct pfk_nursery *nursery, uint32_t seat, int report_fd)
{
    struct pfk_worker_options options = nursery->settings->worker;

    spawn_close_masters(nursery);
    options.seat = seat;
    options.life_fd = nursery->life_read_fd;
    options.report_fd = report_fd;
    options.program_mask = nursery->signals->program_mask;
    pfk_worker_main(&options);
}

/* -- The master's side -------------------------------------------------------- */

static void spawn_enter(struct pfk_nursery *nursery, struct pfk_child *child, pid_t pid, int report_fd)
{
    struct pfk_tally_shm *const tally = nursery->settings->tally;

    child->pid = pid;
    child->report_fd = report_fd;
    child->pidfd = pfk_pidfd_open(pid);
    if (child->pidfd < 0)
        child->pidfd = -1;
    child->incarnation++;
    child->reports = 0;
    child->ready = child->drained = child->doomed = false;
    child->started_ns = prefork_clock_now_ns();
    pfk_u64_bump_relaxed(&tally->forked, 1);
}

int pfk_spawn_fork(struct pfk_nursery *nursery, struct pfk_child *child)
{
    sigset_t all;
    sigset_t before;
    int report_read_fd;
    int report_write_fd;
    pid_t pid;
    int rc = pfk_fd_pipe(&report_read_fd, &report_write_fd);

    if (rc != 0)
        return rc;
    /* before the fork: afterwards the worker may be quicker */
    child->work_before = pfk_spawn_work(nursery->settings, child->seat);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0) {
        pfk_fd_close(&report_read_fd);
        spawn_become_worker(nursery, child->seat, report_write_fd);
    }
    rc = pid > 0 ? 0 : pfk_error_call(errno, "fork of a worker");
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    pfk_fd_close(&report_write_fd);
    if (rc == 0)
        spawn_enter(nursery, child, pid, report_read_fd);
    else
        pfk_fd_close(&report_read_fd);
    return rc;
}

bool pfk_spawn_reap(const struct pfk_child *child, int *status_out)
{
    pid_t reaped;

    *status_out = 0;
    do {
        reaped = waitpid(child->pid, status_out, WNOHANG);
    } while (reaped < 0 && errno == EINTR);
    return reaped != 0; /* ECHILD: not ours to reap any more, and gone just the same */
}

void pfk_spawn_clear(struct pfk_child *child)
{
    pfk_fd_close(&child->pidfd);
    pfk_fd_close(&child->report_fd);
    child->pid = 0;
}

void pfk_spawn_signal(const struct pfk_child *child, int signal_number)
{
    if (child->pid != 0)
        (void)pfk_pidfd_signal(child->pidfd, child->pid, signal_number);
}

void pfk_spawn_kill(struct pfk_child *child)
{
    if (child->pid == 0 || child->doomed)
        return;
    child->doomed = true;
    pfk_spawn_signal(child, SIGKILL);
}
