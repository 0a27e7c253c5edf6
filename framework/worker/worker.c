/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker's main thread. It runs no user code, so it stays able to act
 * whatever handlers and protocols do. The stages go one way:
 *
 *     SERVING -> DRAINING -> DRAINED -> FINISHING -> _exit
 *
 * worker_advance takes them, from the phase that the master has set and from
 * what the threads have come to; signals and wake-ups only make it look. */
#include "worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "job/control.h"
#include "worker/jobthread.h"
#include "worker/report.h"

/* How often job threads are woken again until they have ended. */
#define WORKER_HURRY_MS 10
/* How often the phase is looked at while its next value is awaited, should the
 * signal have been lost. */
#define WORKER_PHASE_MS 1000

enum worker_stage { WORKER_SERVING, WORKER_DRAINING, WORKER_DRAINED, WORKER_FINISHING };

struct worker {
    const struct pfk_worker_options *options;
    enum worker_stage stage;
    bool told;               /* SIGTERM has come */
    bool orphan;             /* the master is gone */
    uint64_t deadline_ns;    /* of an orphan, or of one that retires alone */
    uint64_t io_deadline_ns; /* of a durable pool's orphan: its connections are given up */
    int signal_fd;
    int progress_fd; /* an eventfd: some thread has drained or ended */
    uint32_t n_io_threads;
    uint32_t n_job_threads;
    struct pfk_iothread *io_threads[PFK_WORKER_IO_THREADS_MAX];
    struct pfk_jobthread *job_threads[PFK_WORKER_JOB_THREADS_MAX];
};

/* -- Signals ---------------------------------------------------------------- */

/* Threads inherit a mask that blocks everything but what the kernel raises for
 * an instruction of the thread itself: those must meet their handler, e.g. one
 * that prints a backtrace. */
static void worker_block_signals_for_threads(void)
{
    static const int raised_by_instructions[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};
    sigset_t blocked;

    (void)sigfillset(&blocked);
    for (size_t i = 0; i < PFK_COUNT_OF(raised_by_instructions); i++)
        (void)sigdelset(&blocked, raised_by_instructions[i]);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}

/* The main thread takes other signals as the program had it. SIGINT and SIGHUP
 * of a terminal reach the whole process group: the master decides what they
 * mean, so workers leave SIGINT pending. SIGHUP is the master's word that it has
 * repaired the table; one too many is a look in vain. */
static void worker_set_signals_for_main(const sigset_t *program_mask)
{
    sigset_t blocked = *program_mask;

    (void)sigaddset(&blocked, SIGTERM);
    (void)sigaddset(&blocked, SIGINT);
    (void)sigaddset(&blocked, SIGHUP);
    (void)sigaddset(&blocked, SIGCHLD);
    (void)sigaddset(&blocked, SIGPIPE);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}

static int worker_open_signal_fd(int *fd_out)
{
    sigset_t taken;

    (void)sigemptyset(&taken);
    (void)sigaddset(&taken, SIGTERM);
    (void)sigaddset(&taken, SIGHUP);
    *fd_out = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    return *fd_out >= 0 ? 0 : pfk_error_call(errno, "signalfd of a worker");
}

/* After a death loops may wait for what the dead one owed. Each worker wakes its
 * own, and the producers': for these any worker will do. */
static void worker_wake_loops(const struct worker *worker)
{
    const struct pfk_worker_options *const options = worker->options;
    uint32_t lane;

    for (uint32_t i = 0; i < options->io_threads; i++)
        pfk_table_ring_loop(options->table, prefork_table_worker_lane(options->table, options->seat, 0, i));
    for (uint32_t i = 0; (lane = prefork_table_outside_lane(options->table, i)) != 0; i++)
        pfk_table_ring_loop(options->table, lane);
}

static void worker_read_signals(struct worker *worker)
{
    struct signalfd_siginfo signal;
    bool told = false, repaired = false;

    while (read(worker->signal_fd, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
        told = told || signal.ssi_signo == SIGTERM;
        repaired = repaired || signal.ssi_signo == SIGHUP;
    }
    if (repaired)
        worker_wake_loops(worker);
    if (told && !worker->told)
        worker->deadline_ns = prefork_deadline_after_ms(worker->options->drain_ms);
    worker->told = worker->told || told;
}

/* -- Threads ---------------------------------------------------------------- */

static uint32_t worker_lane(const struct worker *worker, uint32_t thread)
{
    return prefork_table_worker_lane(worker->options->table, worker->options->seat, 0, thread);
}

static int worker_start_io_threads(struct worker *worker)
{
    const struct pfk_worker_options *const options = worker->options;
    struct pfk_io_options io = {
        .table = options->table,
        .n_handlers = options->handlers->n,
        .limits = options->limits,
        .family = {.seats = options->seats, .threads_per_seat = options->io_threads},
        .connections_max = options->connections_max,
        .quota = options->quota,
        .ports = options->ports,
        .n_ports = options->n_ports,
        .drained_fd = worker->progress_fd,
    };

    for (uint32_t i = 0; i < options->io_threads; i++) {
        int rc;

        io.lane = worker_lane(worker, i);
        io.number = options->seat * options->io_threads + i;
        rc = pfk_iothread_start(&io, &worker->io_threads[i]);
        if (rc != 0)
            return rc;
        worker->n_io_threads++;
    }
    return 0;
}

static int worker_start_job_threads(struct worker *worker)
{
    const struct pfk_worker_options *const options = worker->options;
    struct pfk_jobthread_options job = {
        .table = options->table,
        .handlers = options->handlers,
        .ended_fd = worker->progress_fd,
    };

    for (uint32_t i = 0; i < options->job_threads; i++) {
        int rc;

        job.lane = worker_lane(worker, options->io_threads + i);
        rc = pfk_jobthread_start(&job, &worker->job_threads[i]);
        if (rc != 0)
            return rc;
        worker->n_job_threads++;
    }
    return 0;
}

static bool worker_io_drained(const struct worker *worker)
{
    for (uint32_t i = 0; i < worker->n_io_threads; i++)
        if (!pfk_iothread_drained(worker->io_threads[i]))
            return false;
    return true;
}

static bool worker_jobs_ended(const struct worker *worker)
{
    for (uint32_t i = 0; i < worker->n_job_threads; i++)
        if (!pfk_jobthread_ended(worker->job_threads[i]))
            return false;
    return true;
}

/* -- Stages ----------------------------------------------------------------- */

static void worker_report(const struct worker *worker, enum pfk_report what)
{
    const char byte = (char)what;

    while (write(worker->options->report_fd, &byte, 1) < 0 && errno == EINTR)
        continue; /* any other failure: the master is gone, and the life pipe says so */
}

PFK_NORETURN static void worker_end(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->n_io_threads; i++)
        pfk_iothread_stop(&worker->io_threads[i]);
    for (uint32_t i = 0; i < worker->n_job_threads; i++)
        pfk_jobthread_join(&worker->job_threads[i]);
    _exit(EXIT_SUCCESS);
}

static void worker_drain(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->n_io_threads; i++)
        pfk_iothread_drain(worker->io_threads[i]);
    worker->stage = WORKER_DRAINING;
}

/* An orphan of a durable pool: what it does not claim runs under the next
 * master, who waits for it to leave. */
static bool worker_leaves_rest(const struct worker *worker)
{
    return worker->orphan && worker->options->durable;
}

/* While the pool drains, this worker's job threads go on: connections of other
 * workers may wait for what they run. */
static bool worker_may_finish(const struct worker *worker, enum pfk_phase phase)
{
    if (worker_leaves_rest(worker))
        return worker->stage >= WORKER_DRAINING;
    return worker->stage >= WORKER_DRAINED && (worker->orphan || phase != PFK_PHASE_DRAINING);
}

/* Connections that wait for jobs which nobody claims any more are not waited for. */
static bool worker_has_finished(const struct worker *worker)
{
    if (worker->stage != WORKER_FINISHING || !worker_jobs_ended(worker))
        return false;
    return !worker_leaves_rest(worker) || worker_io_drained(worker) || prefork_clock_now_ns() >= worker->io_deadline_ns;
}

static void worker_finish(struct worker *worker, enum pfk_phase phase)
{
    const bool run_empty = phase == PFK_PHASE_FINISHING && !worker->orphan && !worker->options->durable;

    for (uint32_t i = 0; i < worker->n_job_threads; i++)
        pfk_jobthread_finish(worker->job_threads[i], run_empty ? PFK_JOBTHREAD_TABLE_EMPTY : PFK_JOBTHREAD_AFTER_JOB);
    worker->stage = WORKER_FINISHING;
}

/* Takes as many steps as are due. */
static void worker_advance(struct worker *worker)
{
    const enum pfk_phase phase = pfk_control_phase(worker->options->table);

    if (worker->stage == WORKER_SERVING && (worker->told || worker->orphan || phase != PFK_PHASE_RUNNING))
        worker_drain(worker);
    if (worker->stage == WORKER_DRAINING && worker_io_drained(worker)) {
        worker_report(worker, PFK_REPORT_DRAINED);
        worker->stage = WORKER_DRAINED;
    }
    if (worker_may_finish(worker, phase))
        worker_finish(worker, phase);
    if (worker_has_finished(worker))
        worker_end(worker);
}

static int worker_wait_ms(const struct worker *worker)
{
    static const int longest_ms[] = {
        [WORKER_SERVING] = -1,
        [WORKER_DRAINING] = WORKER_PHASE_MS,
        [WORKER_DRAINED] = WORKER_PHASE_MS,
        [WORKER_FINISHING] = WORKER_HURRY_MS,
    };
    const int longest = longest_ms[worker->stage];
    const int left = pfk_clock_poll_ms(worker->deadline_ns);

    if (left < 0)
        return longest;
    return longest >= 0 && longest < left ? longest : left;
}

static void worker_see_orphaned(struct worker *worker)
{
    const uint64_t limit_ms = worker->options->durable ? worker->options->drain_ms : PFK_WORKER_ORPHAN_MS;

    pfk_log(PREFORK_LOG_WARNING, "worker %u: the master is gone; ends within %llu ms", worker->options->seat,
            (unsigned long long)limit_ms);
    worker->orphan = true;
    worker->deadline_ns = prefork_deadline_after_ms(limit_ms);
    worker->io_deadline_ns = prefork_deadline_after_ms(PFK_WORKER_ORPHAN_IO_MS);
}

/* While the pool stops, the limit is the master's. */
static void worker_keep_deadline(struct worker *worker)
{
    if (prefork_clock_now_ns() < worker->deadline_ns)
        return;
    if (worker->orphan || pfk_control_phase(worker->options->table) == PFK_PHASE_RUNNING)
        _exit(EXIT_FAILURE);
    worker->deadline_ns = PREFORK_NO_DEADLINE;
}

static void worker_wait(struct worker *worker)
{
    enum { SIGNALS, PROGRESS, LIFE, SOURCES };
    struct pollfd sources[SOURCES] = {
        [SIGNALS] = {.fd = worker->signal_fd, .events = POLLIN},
        [PROGRESS] = {.fd = worker->progress_fd, .events = POLLIN},
        /* poll passes over a negative descriptor: the end is told once */
        [LIFE] = {.fd = worker->orphan ? -1 : worker->options->life_fd, .events = POLLIN},
    };

    if (poll(sources, SOURCES, worker_wait_ms(worker)) > 0) {
        if (sources[PROGRESS].revents != 0)
            pfk_fd_event_clear(worker->progress_fd);
        if (sources[SIGNALS].revents != 0)
            worker_read_signals(worker);
        if (sources[LIFE].revents != 0)
            worker_see_orphaned(worker);
    }
    worker_keep_deadline(worker);
}

/* -- Birth ------------------------------------------------------------------ */

/* Before any code of the program's runs here. The control segment first: only its owner may attach it, and once
 * it is attached for reading only, nobody else can make it writable again. */
static int worker_lay_down_rights(const struct pfk_worker_options *options)
{
    const int rc = pfk_control_enter_child(options->table);

    pfk_quota_keep_from_children(options->quota);
    return rc != 0 || options->user == NULL ? rc : pfk_user_become(options->user);
}

static int worker_start(struct worker *worker)
{
    int rc = worker_lay_down_rights(worker->options);

    if (rc == 0)
        rc = worker_open_signal_fd(&worker->signal_fd);
    if (rc == 0)
        rc = pfk_fd_event(&worker->progress_fd);
    if (rc != 0)
        return rc;
    worker_block_signals_for_threads();
    rc = worker_start_job_threads(worker);
    if (rc == 0)
        rc = worker_start_io_threads(worker);
    worker_set_signals_for_main(&worker->options->program_mask);
    return rc;
}

void pfk_worker_main(const struct pfk_worker_options *options)
{
    struct worker worker = {.options = options, .deadline_ns = PREFORK_NO_DEADLINE};

    if (worker_start(&worker) != 0) {
        pfk_log(PREFORK_LOG_ERROR, "worker %u can't start: %s", options->seat, prefork_last_error());
        _exit(EXIT_FAILURE);
    }
    worker_report(&worker, PFK_REPORT_READY);
    for (;;) {
        worker_advance(&worker);
        worker_wait(&worker);
    }
}
