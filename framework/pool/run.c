/* SPDX-License-Identifier: BSD-2-Clause */
/* From a pool that is set up to one that serves, and back: assembles the
 * layers. run makes this process the master; start forks one, which tells two
 * things through a pipe: that the first workers are forked, and how it ended. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "job/control.h"
#include "job/store.h"
#include "master/master.h"
#include "master/pidfd.h"
#include "pool/pool.h"

/* What orphans of a durable pool take beside their last jobs. */
#define RUN_ORPHANS_LEAVE_MS 5000

/* -- Before ------------------------------------------------------------------- */

/* Counts this process's threads. Without /proc there is no way to know: 1. */
static unsigned run_count_threads(void)
{
    DIR *const tasks = opendir("/proc/self/task");
    unsigned count = 0;

    if (tasks == NULL)
        return 1;
    for (const struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks))
        count += task->d_name[0] != '.';
    (void)closedir(tasks);
    return count > 0 ? count : 1;
}

static int run_check(const struct prefork_pool *pool, const char *call)
{
    const unsigned threads = run_count_threads();
    int rc = pfk_pool_check_setting(pool, call);

    if (rc != 0)
        return rc;
    if (pool->handlers.n == 0 && pool->n_ports == 0)
        return pfk_error(EINVAL, "%s: nothing to do: the pool has no handler and no listener", call);
    if (pool->options[PREFORK_POOL_IO_THREADS] + pool->options[PREFORK_POOL_JOB_THREADS] == 0)
        return pfk_error(EINVAL, "%s: workers without threads: PREFORK_POOL_IO_THREADS and _JOB_THREADS are both 0",
                         call);
    if (pool->options[PREFORK_POOL_ATTACHED_PRODUCERS] > 0 && !pool->durable)
        return pfk_error(EINVAL,
                         "%s: PREFORK_POOL_ATTACHED_PRODUCERS is %llu, but nobody can find the pool's table; call "
                         "prefork_pool_store",
                         call, (unsigned long long)pool->options[PREFORK_POOL_ATTACHED_PRODUCERS]);
    if (threads > 1 && pool->options[PREFORK_POOL_ALLOW_THREADS] == 0)
        return pfk_error(EBUSY,
                         "%s: %u other threads live, and a fork copies none of them, but their locks; call it "
                         "before they are made, or set PREFORK_POOL_ALLOW_THREADS",
                         call, threads - 1);
    return 0;
}

/* The last master's workers may take as long over the jobs at hand as ours may when they stop. */
static int run_adopt_table(struct prefork_pool *pool, const struct prefork_table_options *options)
{
    const uint64_t orphans_ms = pool->options[PREFORK_POOL_DRAIN_MS] + RUN_ORPHANS_LEAVE_MS;
    struct prefork_table_store store = pool->store;

    if (store.wait_ms == 0)
        store.wait_ms = (uint32_t)orphans_ms;
    return pfk_store_adopt(options, &store, &pool->table, NULL);
}

static int run_create_table(struct prefork_pool *pool)
{
    const uint64_t *const set = pool->options;
    const struct prefork_table_options options = {
        .size = sizeof(options),
        .slots = (uint32_t)set[PREFORK_POOL_SLOTS],
        .request_bytes = (uint32_t)set[PREFORK_POOL_REQUEST_BYTES],
        .reply_bytes = (uint32_t)set[PREFORK_POOL_REPLY_BYTES],
        .max_workers = (uint32_t)set[PREFORK_POOL_WORKERS],
        .threads_per_worker = (uint32_t)(set[PREFORK_POOL_IO_THREADS] + set[PREFORK_POOL_JOB_THREADS]),
        .outside_producers = (uint32_t)set[PREFORK_POOL_OUTSIDE_PRODUCERS],
        .max_attempts = (uint32_t)set[PREFORK_POOL_MAX_ATTEMPTS],
        .attached_producers = (uint32_t)set[PREFORK_POOL_ATTACHED_PRODUCERS],
    };

    return pool->durable ? run_adopt_table(pool, &options) : prefork_table_create(&options, &pool->table);
}

static int run_create_tally(struct prefork_pool *pool)
{
    void *const page = mmap(NULL, sizeof(*pool->tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return pfk_error_call(errno, "mmap of a page");
    pool->tally = page;
    return 0;
}

static int run_create_quota(struct prefork_pool *pool)
{
    const uint64_t n_threads = pool->options[PREFORK_POOL_WORKERS] * pool->options[PREFORK_POOL_IO_THREADS];
    const uint64_t connections_max = pool->options[PREFORK_POOL_CONNECTIONS_PER_PEER];

    if (n_threads == 0 || connections_max == 0)
        return 0;
    return pfk_quota_create((uint32_t)n_threads, (uint32_t)connections_max, &pool->quota);
}

static int run_list_ports(struct prefork_pool *pool)
{
    const uint64_t n_threads = pool->options[PREFORK_POOL_WORKERS] * pool->options[PREFORK_POOL_IO_THREADS];

    pool->io_ports = calloc(pool->n_ports + 1, sizeof(*pool->io_ports));
    if (pool->io_ports == NULL)
        return pfk_error_call(ENOMEM, "prefork_pool_run");
    for (size_t i = 0; i < pool->n_ports; i++) {
        struct pfk_pool_port *const port = &pool->ports[i];
        const uint64_t backlog = port->backlog > 0 ? port->backlog : pool->options[PREFORK_POOL_BACKLOG];
        const int rc = pfk_listener_prepare(port->listener, (int)backlog, (uint32_t)n_threads);

        if (rc != 0)
            return rc;
        pool->io_ports[i] = (struct pfk_io_port){port->listener, &port->protocol};
    }
    return 0;
}

static int run_open_stop(struct prefork_pool *pool)
{
    int fd;
    const int rc = pfk_fd_event(&fd);

    if (rc != 0)
        return rc;
    pfk_u32_store_relaxed(&pool->stop_fd, (uint32_t)fd);
    /* orders the descriptor before it: pairs with prefork_pool_stop */
    pfk_u32_store_release(&pool->serving, 1);
    return 0;
}

static void run_release(struct prefork_pool *pool)
{
    int stop_fd = (int)pfk_u32_load_relaxed(&pool->stop_fd);

    pfk_u32_store_release(&pool->serving, 0);
    pfk_u32_store_relaxed(&pool->stop_fd, (uint32_t)-1);
    pfk_fd_close(&stop_fd);
    prefork_table_destroy(&pool->table);
    if (pool->tally != NULL)
        (void)munmap(pool->tally, sizeof(*pool->tally));
    pool->tally = NULL;
    pfk_quota_destroy(&pool->quota);
    free(pool->io_ports);
    pool->io_ports = NULL;
}

/* Everything that both ways need before a process is forked. On failure the
 * pool is as before, to be set up otherwise and tried again. */
static int run_prepare(struct prefork_pool *pool, const char *call)
{
    int rc = run_check(pool, call);

    if (rc == 0)
        rc = pfk_fd_open_standard();
    if (rc != 0)
        return rc;
    (void)prefork_segment_remove_strays(); /* what it can't remove harms nobody here; it logs */
    rc = run_create_table(pool);
    if (rc == 0)
        rc = run_create_tally(pool);
    if (rc == 0)
        rc = run_create_quota(pool);
    if (rc == 0)
        rc = run_list_ports(pool);
    if (rc == 0)
        rc = run_open_stop(pool);
    if (rc != 0)
        run_release(pool);
    return rc;
}

/* -- The master --------------------------------------------------------------- */

static void run_tell_ready(void *context)
{
    struct prefork_pool *const pool = context;

    if (pool->ready != NULL)
        pool->ready(pool, pool->ready_context);
}

static struct pfk_master_settings run_settings(struct prefork_pool *pool)
{
    return (struct pfk_master_settings){
        .worker =
            {
                .table = pool->table,
                .handlers = &pool->handlers,
                .ports = pool->io_ports,
                .n_ports = pool->n_ports,
                .user = pool->has_user ? &pool->user : NULL,
                .io_threads = (uint32_t)pool->options[PREFORK_POOL_IO_THREADS],
                .seats = (uint32_t)pool->options[PREFORK_POOL_WORKERS],
                .connections_max = (uint32_t)pool->options[PREFORK_POOL_CONNECTIONS],
                .quota = pool->quota,
                .limits = {.first_byte_ms = (uint32_t)pool->options[PREFORK_POOL_FIRST_BYTE_MS],
                           .message_ms = (uint32_t)pool->options[PREFORK_POOL_MESSAGE_MS],
                           .idle_ms = (uint32_t)pool->options[PREFORK_POOL_IDLE_MS],
                           .write_ms = (uint32_t)pool->options[PREFORK_POOL_WRITE_MS]},
                .job_threads = (uint32_t)pool->options[PREFORK_POOL_JOB_THREADS],
                .drain_ms = pool->options[PREFORK_POOL_DRAIN_MS],
                .durable = pool->durable,
            },
        .workers = (uint32_t)pool->options[PREFORK_POOL_WORKERS],
        .outside_producers = (uint32_t)pool->options[PREFORK_POOL_OUTSIDE_PRODUCERS],
        .attached_producers = (uint32_t)pool->options[PREFORK_POOL_ATTACHED_PRODUCERS],
        .drain_ms = pool->options[PREFORK_POOL_DRAIN_MS],
        .ready_ms = pool->options[PREFORK_POOL_READY_MS],
        .stop_on_damage = pool->options[PREFORK_POOL_ON_DAMAGE] == PREFORK_DAMAGE_STOP,
        .stop_fd = (int)pfk_u32_load_relaxed(&pool->stop_fd),
        .parent_pidfd = -1,
        .tally = pool->tally,
        .ready = run_tell_ready,
        .context = pool,
    };
}

PFK_EXPORT int prefork_pool_run(struct prefork_pool *pool)
{
    struct pfk_master_settings settings;
    int stop_fd;
    int rc = run_prepare(pool, "prefork_pool_run");

    if (rc != 0)
        return rc;
    pfk_store_open_gate(pool->table);
    pool->stage = PFK_POOL_RUNNING;
    settings = run_settings(pool);
    stop_fd = settings.stop_fd;
    settings.private_fds = &stop_fd;
    settings.n_private_fds = 1;
    rc = pfk_master_run(&settings);
    pfk_store_resign(pool->table); /* the next one may come while this process goes on */
    pfk_u32_store_release(&pool->serving, 0);
    pool->stage = PFK_POOL_ENDED;
    return rc;
}

/* -- Start -------------------------------------------------------------------- */

/* What the master tells its starter: first that it serves, then how it ended.
 * Shorter than PIPE_BUF, so it is written whole or not at all. */
struct run_word {
    int32_t result;
    int32_t last; /* 1: the master ends with this */
    char text[256];
};

/* The master's side of start. */
struct run_starter {
    struct prefork_pool *pool;
    int word_fd;
    int parent_pidfd;
    pid_t parent_pid;
    sigset_t program_mask;
};

static void run_say(int word_fd, int result, bool last)
{
    struct run_word word = {.result = result, .last = last};

    (void)snprintf(word.text, sizeof(word.text), "%s", result != 0 ? prefork_last_error() : "");
    while (write(word_fd, &word, sizeof(word)) < 0 && errno == EINTR)
        continue; /* any other failure: the starter is gone */
}

static void run_tell_started(void *context)
{
    const struct run_starter *const starter = context;

    run_say(starter->word_fd, 0, false);
}

static void run_tell_starter_ready(void *context)
{
    const struct run_starter *const starter = context;

    run_tell_ready(starter->pool);
}

PFK_NORETURN static void run_be_started_master(struct run_starter *starter)
{
    struct prefork_pool *const pool = starter->pool;
    struct pfk_master_settings settings = run_settings(pool);
    const int private_fds[] = {starter->word_fd, starter->parent_pidfd, settings.stop_fd};
    int rc;

    pool->owner_pid = getpid();
    pool->stage = PFK_POOL_RUNNING;
    settings.parent_pidfd = starter->parent_pidfd;
    settings.parent_pid = starter->parent_pid;
    settings.program_mask = &starter->program_mask;
    settings.private_fds = private_fds;
    settings.n_private_fds = PFK_COUNT_OF(private_fds);
    settings.started = run_tell_started;
    settings.ready = run_tell_starter_ready;
    settings.context = starter;
    rc = pfk_store_succeed(pool->table, starter->parent_pid);
    if (rc == 0)
        rc = pfk_master_run(&settings);
    run_say(starter->word_fd, rc, true);
    _exit(rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Waits for the master's next word. 0; -EOWNERDEAD when it will say nothing
 * any more; -ETIMEDOUT, -EINTR. */
static int run_hear(const struct prefork_pool *pool, uint64_t deadline_ns, struct run_word *word_out)
{
    struct pollfd word_ready = {.fd = pool->end_fd, .events = POLLIN};
    int ready;

    do {
        ready = poll(&word_ready, 1, pfk_clock_poll_ms(deadline_ns));
    } while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return pfk_error(ETIMEDOUT, "prefork_pool_wait: the master (pid %ld) lives", (long)pool->master_pid);
    if (ready < 0)
        return pfk_error_call(errno, "poll of the master's end");
    if (read(pool->end_fd, word_out, sizeof(*word_out)) != (ssize_t)sizeof(*word_out))
        return pfk_error(EOWNERDEAD, "the master (pid %ld) was killed", (long)pool->master_pid);
    word_out->text[sizeof(word_out->text) - 1] = '\0';
    return 0;
}

/* The master has ended, or is about to: takes its result and reaps it. */
static void run_end(struct prefork_pool *pool, int result, const char *text)
{
    pfk_u32_store_release(&pool->serving, 0);
    pool->stage = PFK_POOL_ENDED;
    pool->result = result;
    (void)snprintf(pool->result_text, sizeof(pool->result_text), "%s", text);
    while (waitpid(pool->master_pid, NULL, 0) < 0 && errno == EINTR)
        continue; /* ECHILD: the program reaps all children, or ignores SIGCHLD */
    pool->master_pid = 0;
}

static int run_result(const struct prefork_pool *pool)
{
    return pool->result == 0 ? 0 : pfk_error(-pool->result, "%s", pool->result_text);
}

static int run_fork_master(struct prefork_pool *pool, struct run_starter *starter)
{
    sigset_t all;
    pid_t pid;
    int rc;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &starter->program_mask);
    pid = fork();
    if (pid == 0) {
        pfk_fd_close(&pool->end_fd);
        run_be_started_master(starter);
    }
    rc = pid > 0 ? 0 : pfk_error_call(errno, "fork of the master");
    (void)pthread_sigmask(SIG_SETMASK, &starter->program_mask, NULL);
    pool->master_pid = pid > 0 ? pid : 0;
    return rc;
}

/* In the starter: hears that the first workers are forked. */
static int run_await_started(struct prefork_pool *pool)
{
    struct run_word word;
    const int rc = run_hear(pool, PREFORK_NO_DEADLINE, &word);

    if (rc == 0 && word.last == 0)
        return 0;
    run_end(pool, rc != 0 ? rc : word.result, rc != 0 ? prefork_last_error() : word.text);
    return run_result(pool);
}

PFK_EXPORT int prefork_pool_start(struct prefork_pool *pool, int *descriptor_out)
{
    struct run_starter starter = {.pool = pool, .word_fd = -1, .parent_pidfd = -1};
    int rc = run_prepare(pool, "prefork_pool_start");

    if (rc != 0)
        return rc;
    rc = pfk_fd_pipe(&pool->end_fd, &starter.word_fd);
    if (rc != 0)
        goto fail_pipe;
    starter.parent_pid = getpid();
    starter.parent_pidfd = pfk_pidfd_open(starter.parent_pid); /* before the fork: the number can't be reused yet */
    rc = run_fork_master(pool, &starter);
    pfk_fd_close(&starter.word_fd);
    pfk_fd_close(&starter.parent_pidfd);
    if (rc != 0)
        goto fail_fork;
    pool->stage = PFK_POOL_STARTED;
    pfk_store_resign(pool->table); /* to the child; until it has begun the gate keeps others out */
    /* From here on a producer: the control segment is the master's to write. */
    rc = pfk_control_enter_child(pool->table);
    if (rc == 0)
        rc = run_await_started(pool);
    pfk_store_open_gate(pool->table);
    *descriptor_out = pool->end_fd;
    return rc;
fail_fork:
    pfk_fd_close(&pool->end_fd);
fail_pipe:
    run_release(pool);
    return rc;
}

/* -- Stop and wait ------------------------------------------------------------ */

PFK_EXPORT int prefork_pool_stop(struct prefork_pool *pool)
{
    const int saved_errno = errno;
    int rc = -ESRCH;

    if (pool->owner_pid != getpid())
        return -ECHILD;
    if (pfk_u32_load_acquire(&pool->serving) != 0) {
        pfk_u32_store_relaxed(&pool->stop_asked, 1);
        rc = pfk_fd_event_signal((int)pfk_u32_load_relaxed(&pool->stop_fd));
    }
    errno = saved_errno;
    return rc;
}

PFK_EXPORT int prefork_pool_wait(struct prefork_pool *pool, uint64_t deadline_ns)
{
    struct run_word word;
    int rc = pfk_pool_check_owner(pool, "prefork_pool_wait");

    if (rc != 0)
        return rc;
    if (pool->end_fd < 0)
        return pfk_error(ESRCH, "prefork_pool_wait: the pool was not started");
    if (pool->stage == PFK_POOL_ENDED)
        return run_result(pool);
    do {
        rc = run_hear(pool, deadline_ns, &word);
    } while (rc == 0 && word.last == 0); /* a start that failed half-way has left the first word unread */
    if (rc == -EOWNERDEAD)
        run_end(pool, rc, prefork_last_error());
    else if (rc == 0)
        run_end(pool, word.result, word.text);
    return rc != 0 ? rc : run_result(pool);
}

PFK_EXPORT int prefork_pool_producer(struct prefork_pool *pool, uint32_t index, struct prefork_lane **lane_out)
{
    const int rc = pfk_pool_check_owner(pool, "prefork_pool_producer");

    if (rc != 0)
        return rc;
    if (pool->stage != PFK_POOL_STARTED)
        return pfk_error(ESRCH, "prefork_pool_producer: the pool was not started");
    if (index >= pool->options[PREFORK_POOL_OUTSIDE_PRODUCERS])
        return pfk_error(EINVAL,
                         "prefork_pool_producer: there is no producer %u; PREFORK_POOL_OUTSIDE_PRODUCERS is %llu",
                         index, (unsigned long long)pool->options[PREFORK_POOL_OUTSIDE_PRODUCERS]);
    return prefork_lane_open(pool->table, prefork_table_outside_lane(pool->table, index), lane_out);
}

void pfk_pool_end_started(struct prefork_pool *pool)
{
    if (pool->stage != PFK_POOL_STARTED)
        return;
    /* Where the program has asked already, asking again would mean: at once. */
    if (pfk_u32_load_relaxed(&pool->stop_asked) == 0)
        (void)prefork_pool_stop(pool);
    /* The master keeps the limit and ends by itself. */
    (void)prefork_pool_wait(pool, PREFORK_NO_DEADLINE);
}
