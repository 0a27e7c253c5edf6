/* SPDX-License-Identifier: BSD-2-Clause */
/* The master in its own process: signals, bad surroundings, workers that can't
 * live. Each test forks a process that calls prefork_pool_run, and watches it. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "prefork.h"
#include "support.h"

/* Shared by the test, the master and the workers. */
struct scene {
    pfk_atomic_u32 forks;       /* calls of fork by the master, as the hook below counts them */
    pfk_atomic_u64 fork_ns[64]; /* when */
    pfk_atomic_u32 cured;       /* 1: workers live from here on */
    char address[256];
    int32_t worker_pid;
    int32_t policy; /* with which the last job ran */
};
static struct scene *scene;
static int told_fds[2]; /* the master writes a byte once it is ready */
static pid_t master_pid;

static struct prefork_pool *pool;

static int echo(struct prefork_job *job, void *context)
{
    size_t length;

    (void)context;
    scene->policy = sched_getscheduler(0);
    (void)prefork_job_request(job, &length);
    return prefork_job_reply_request(job, 0, length);
}

static void tell_ready(struct prefork_pool *ready_pool, void *context)
{
    (void)context;
    (void)snprintf(scene->address, sizeof(scene->address), "%s", prefork_pool_address(ready_pool, 0));
    scene->worker_pid = support_worker_pid(ready_pool, 0);
    ck_assert_int_eq(write(told_fds[1], "r", 1), 1);
}

static void make_pool(void)
{
    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 1), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "echo", echo, NULL), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", prefork_protocol_raw("echo")), 0);
    ck_assert_int_eq(prefork_pool_on_ready(pool, tell_ready, NULL), 0);
}

static void set_up(void)
{
    scene = mmap(NULL, sizeof(*scene), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(scene, MAP_FAILED);
    ck_assert_int_eq(pipe(told_fds), 0);
}

/* Forks a process that prepares itself and runs a pool. It ends with 0 when run
 * returned `expected` and the table is whole. */
static void run_in_child(void (*prepare)(void), int expected)
{
    master_pid = fork();
    ck_assert_int_ge(master_pid, 0);
    if (master_pid == 0) {
        int rc;

        make_pool();
        if (prepare != NULL)
            prepare();
        rc = prefork_pool_run(pool);
        if (rc == expected && prefork_table_verify(prefork_pool_table(pool)) != 0)
            rc = 1;
        prefork_pool_destroy(&pool);
        _exit(rc == expected ? 0 : 1);
    }
}

static bool hear_ready(void)
{
    struct pollfd told = {.fd = told_fds[0], .events = POLLIN};
    char byte;

    return poll(&told, 1, SUPPORT_LIMIT_MS) == 1 && read(told_fds[0], &byte, 1) == 1;
}

static void expect_service(void)
{
    const int fd = support_connect(scene->address);

    ck_assert_int_ge(fd, 0);
    ck_assert(support_echo(fd, "0123456789", 10));
    (void)close(fd);
}

static void expect_end(int wanted_status)
{
    int status;

    ck_assert_int_eq(waitpid(master_pid, &status, 0), master_pid);
    ck_assert_int_eq(status, wanted_status);
}

static void expect_service_and_end(int stop_signal)
{
    ck_assert(hear_ready());
    expect_service();
    ck_assert_int_eq(kill(master_pid, stop_signal), 0);
    expect_end(0);
}

/* -- Signals ------------------------------------------------------------------------ */

START_TEST(sigterm_stops_in_order)
{
    run_in_child(NULL, 0);
    expect_service_and_end(SIGTERM);
}
END_TEST

START_TEST(job_threads_give_way)
{
    run_in_child(NULL, 0);
    expect_service_and_end(SIGTERM);
    ck_assert_int_eq(scene->policy, SCHED_BATCH);
}
END_TEST

static void choose_idle(void)
{
    ck_assert_int_eq(sched_setscheduler(0, SCHED_IDLE, &(const struct sched_param){.sched_priority = 0}), 0);
}

START_TEST(a_chosen_policy_is_kept)
{
    run_in_child(choose_idle, 0);
    expect_service_and_end(SIGTERM);
    ck_assert_int_eq(scene->policy, SCHED_IDLE);
}
END_TEST

START_TEST(sigint_stops_in_order)
{
    run_in_child(NULL, 0);
    expect_service_and_end(SIGINT);
}
END_TEST

static void inherit_bad_signals(void)
{
    sigset_t blocked;

    (void)sigfillset(&blocked);
    (void)sigprocmask(SIG_SETMASK, &blocked, NULL);
    (void)signal(SIGCHLD, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
}

START_TEST(ignored_and_blocked_signals_do_no_harm)
{
    run_in_child(inherit_bad_signals, 0);
    ck_assert(hear_ready());
    expect_service();
    ck_assert_int_eq(kill(scene->worker_pid, SIGKILL), 0);
    expect_service();
    ck_assert_int_eq(kill(master_pid, SIGTERM), 0);
    expect_end(0);
}
END_TEST

static void on_signal(int number)
{
    (void)number;
}

static void *stop_soon(void *context)
{
    sigset_t blocked;

    (void)context;
    (void)sigfillset(&blocked);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    while (prefork_pool_stop(pool) == -ESRCH)
        (void)poll(NULL, 0, 1);
    return NULL;
}

/* In one process: what run changed is as before. */
START_TEST(run_restores_signals_and_stop_comes_from_a_thread)
{
    const struct sigaction mine = {.sa_handler = on_signal};
    struct sigaction after;
    sigset_t mask_before;
    sigset_t mask_after;
    pthread_t thread;

    make_pool();
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_ALLOW_THREADS, 1), 0);
    (void)sigaction(SIGTERM, &mine, NULL);
    (void)sigaction(SIGCHLD, &mine, NULL);
    (void)sigprocmask(SIG_SETMASK, NULL, &mask_before);
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    ck_assert_msg(prefork_pool_run(pool) == 0, "%s", prefork_last_error());
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    (void)sigaction(SIGTERM, NULL, &after);
    ck_assert(after.sa_handler == on_signal);
    (void)sigaction(SIGCHLD, NULL, &after);
    ck_assert(after.sa_handler == on_signal);
    (void)sigprocmask(SIG_SETMASK, NULL, &mask_after);
    for (int number = 1; number < SIGRTMAX; number++)
        ck_assert_int_eq(sigismember(&mask_before, number), sigismember(&mask_after, number));
    ck_assert_int_eq(prefork_pool_stop(pool), -ESRCH);
    prefork_pool_destroy(&pool);
}
END_TEST

START_TEST(run_and_destroy_leave_no_descriptor)
{
    const int before = pfk_test_fds_open();
    pthread_t thread;

    make_pool();
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_ALLOW_THREADS, 1), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    ck_assert_int_eq(prefork_pool_run(pool), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    prefork_pool_destroy(&pool);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

START_TEST(child_of_the_programs_own_is_left_to_it)
{
    const pid_t mine = fork();
    pthread_t thread;
    int status;

    if (mine == 0)
        _exit(7);
    make_pool();
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_ALLOW_THREADS, 1), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    ck_assert_int_eq(prefork_pool_run(pool), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(waitpid(mine, &status, 0), mine);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
    prefork_pool_destroy(&pool);
}
END_TEST

/* -- Surroundings --------------------------------------------------------------------- */

static void close_standard(void)
{
    (void)close(0);
    (void)close(1);
    (void)close(2);
}

START_TEST(closed_standard_streams_do_no_harm)
{
    run_in_child(close_standard, 0);
    expect_service_and_end(SIGTERM);
}
END_TEST

/* Makes the pidfd calls fail, as old kernels and some containers do. */
static void forbid_pidfds(uint32_t error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_send_signal, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error & SECCOMP_RET_DATA)),
    };
    const struct sock_fprog program = {.len = PFK_COUNT_OF(filter), .filter = filter};

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void forbid_pidfds_enosys(void)
{
    forbid_pidfds(ENOSYS);
}

static void forbid_pidfds_eperm(void)
{
    forbid_pidfds(EPERM);
}

static void serve_without_pidfds(void (*prepare)(void))
{
    run_in_child(prepare, 0);
    ck_assert(hear_ready());
    expect_service();
    ck_assert_int_eq(kill(scene->worker_pid, SIGKILL), 0);
    expect_service();
    ck_assert_int_eq(kill(master_pid, SIGTERM), 0);
    expect_end(0);
}

START_TEST(kernel_without_pidfds_is_served)
{
    serve_without_pidfds(forbid_pidfds_enosys);
}
END_TEST

START_TEST(container_that_forbids_pidfds_is_served)
{
    serve_without_pidfds(forbid_pidfds_eperm);
}
END_TEST

START_TEST(too_few_descriptors_are_told_with_the_number)
{
    struct rlimit limit;
    const int before = pfk_test_fds_open();

    make_pool();
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 100), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 16; /* the soft one: valgrind lets nobody change the other */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(prefork_pool_run(pool), -EMFILE);
    prefork_pool_destroy(&pool);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

/* -- Workers that can't live ------------------------------------------------------------- */

static pid_t hooked_pid;    /* the master: only its forks are meant */
static pid_t forbidden_pid; /* may not fork until scene->cured */

static void note_fork(void)
{
    const uint32_t n = pfk_u32_add_acq_rel(&scene->forks, 1);

    if (n < PFK_COUNT_OF(scene->fork_ns))
        pfk_u64_store_relaxed(&scene->fork_ns[n], prefork_clock_now_ns());
}

/* Stands in front of libc's: the library's calls come here too. */
pid_t fork(void)
{
    pid_t (*real_fork)(void);

    *(void **)&real_fork = dlsym(RTLD_NEXT, "fork");
    if (getpid() != hooked_pid)
        return real_fork();
    note_fork();
    if (hooked_pid != forbidden_pid || pfk_u32_load_acquire(&scene->cured) != 0)
        return real_fork();
    errno = EAGAIN;
    return -1;
}

static void die_in_child(void)
{
    if (getppid() == hooked_pid && pfk_u32_load_acquire(&scene->cured) == 0)
        _exit(EXIT_FAILURE);
}

static void hang_in_child(void)
{
    while (getppid() == hooked_pid && pfk_u32_load_acquire(&scene->cured) == 0)
        (void)poll(NULL, 0, 1000);
}

static void hook_death(void)
{
    hooked_pid = getpid();
    ck_assert_int_eq(pthread_atfork(NULL, NULL, die_in_child), 0);
}

/* Short, but long enough for a cured worker where everything is slower. */
static uint64_t ready_ms(void)
{
    const char *const factor = getenv("PFK_TEST_TIME_FACTOR");

    return factor == NULL ? 100 : (uint64_t)(100 * strtod(factor, NULL));
}

static void hook_hang(void)
{
    hooked_pid = getpid();
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_READY_MS, ready_ms()), 0);
    ck_assert_int_eq(pthread_atfork(NULL, NULL, hang_in_child), 0);
}

static bool five_forks(void *context)
{
    (void)context;
    return pfk_u32_load_acquire(&scene->forks) >= 5;
}

/* Rounded down; the master counts from the turn in which it forked, a moment earlier. */
static uint64_t gap_ms(uint32_t n)
{
    return (pfk_u64_load_relaxed(&scene->fork_ns[n + 1]) - pfk_u64_load_relaxed(&scene->fork_ns[n])) / PFK_NS_PER_MS;
}

START_TEST(worker_that_dies_at_once_is_made_ever_more_rarely)
{
    run_in_child(hook_death, 0);
    ck_assert(support_wait_until(five_forks, NULL, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_uint_ge(gap_ms(i) + 1, UINT64_C(100) << i);
    pfk_u32_store_release(&scene->cured, 1);
    expect_service_and_end(SIGTERM);
}
END_TEST

START_TEST(worker_that_is_never_ready_is_killed_and_made_again)
{
    run_in_child(hook_hang, 0);
    ck_assert(support_wait_until(five_forks, NULL, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    ck_assert_uint_ge(gap_ms(0), ready_ms() + 100); /* so long to be ready, and 100 ms to wait */
    pfk_u32_store_release(&scene->cured, 1);
    expect_service_and_end(SIGTERM);
}
END_TEST

static void forbid_processes(void)
{
    hooked_pid = forbidden_pid = getpid();
}

START_TEST(master_that_may_not_fork_tries_ever_more_rarely)
{
    run_in_child(forbid_processes, 0);
    ck_assert(support_wait_until(five_forks, NULL, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_uint_ge(gap_ms(i) + 1, UINT64_C(100) << i);
    pfk_u32_store_release(&scene->cured, 1);
    expect_service_and_end(SIGTERM);
}
END_TEST

static Suite *run_suite(void)
{
    Suite *const suite = suite_create("run");
    TCase *const tcase = tcase_create("run");

    tcase_set_timeout(tcase, 20);
    tcase_add_checked_fixture(tcase, set_up, NULL);
    tcase_add_test(tcase, sigterm_stops_in_order);
    tcase_add_test(tcase, sigint_stops_in_order);
    tcase_add_test(tcase, job_threads_give_way);
    tcase_add_test(tcase, a_chosen_policy_is_kept);
    tcase_add_test(tcase, ignored_and_blocked_signals_do_no_harm);
    tcase_add_test(tcase, run_restores_signals_and_stop_comes_from_a_thread);
    tcase_add_test(tcase, run_and_destroy_leave_no_descriptor);
    tcase_add_test(tcase, child_of_the_programs_own_is_left_to_it);
    tcase_add_test(tcase, closed_standard_streams_do_no_harm);
    tcase_add_test(tcase, kernel_without_pidfds_is_served);
    tcase_add_test(tcase, container_that_forbids_pidfds_is_served);
    tcase_add_test(tcase, too_few_descriptors_are_told_with_the_number);
    tcase_add_test(tcase, worker_that_dies_at_once_is_made_ever_more_rarely);
    tcase_add_test(tcase, worker_that_is_never_ready_is_killed_and_made_again);
    tcase_add_test(tcase, master_that_may_not_fork_tries_ever_more_rarely);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(run_suite)
