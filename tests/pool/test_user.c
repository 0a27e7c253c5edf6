/* SPDX-License-Identifier: BSD-2-Clause */
/* Workers of another user: what such a worker tries against its master fails, and the pool works as ever. The
 * attempts are made by a handler, inside a worker; its status is the errno that the attempt came to, so 0 means that
 * it succeeded. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/unit.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "job/table.h"
#include "master/pidfd.h"
#include "pool/pool.h"
#include "prefork.h"
#include "support.h"

#define WORKERS 2
#define USER    "65534:65534"

static struct prefork_pool *pool;
static struct prefork_lane *lane;

/* -- What a worker tries ---------------------------------------------------------- */

static int outcome(long result)
{
    return result >= 0 ? 0 : -errno;
}

static void *control(void)
{
    return prefork_segment_address(pool->table->control_segment);
}

static int control_id(void)
{
    return prefork_segment_id(pool->table->control_segment);
}

static int attach_control(void)
{
    return outcome((intptr_t)shmat(control_id(), NULL, 0));
}

static int attach_control_for_reading(void)
{
    return outcome((intptr_t)shmat(control_id(), NULL, SHM_RDONLY));
}

static int attach_work(void)
{
    return outcome((intptr_t)shmat(prefork_segment_id(pool->table->work_segment), NULL, 0));
}

static int make_control_writable(void)
{
    return outcome(mprotect(control(), 4096, PROT_READ | PROT_WRITE));
}

static int punch_control(void)
{
    return outcome(madvise(control(), 4096, MADV_REMOVE));
}

static int remove_control(void)
{
    return outcome(shmctl(control_id(), IPC_RMID, NULL));
}

static int give_control_away(void)
{
    struct shmid_ds state = {.shm_perm = {.uid = getuid(), .gid = getgid(), .mode = 0666}};

    return outcome(shmctl(control_id(), IPC_SET, &state));
}

static int open_proc_file(pid_t pid, const char *file, int flags)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, file);
    return open(path, flags | O_CLOEXEC);
}

/* The kernel lets a debugger write read-only private pages through this file, but not shared ones. */
static int write_control_through_proc(void)
{
    int fd;
    ssize_t written;

    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    fd = open_proc_file(getpid(), "mem", O_RDWR);
    if (fd < 0)
        return -EIO; /* as good */
    written = pwrite(fd, "x", 1, (off_t)(uintptr_t)control());
    return outcome(written);
}

static int open_masters_memory(void)
{
    return outcome(open_proc_file(getppid(), "mem", O_RDWR));
}

static int write_masters_memory(void)
{
    char byte = 0;
    const struct iovec here = {&byte, 1}, there = {control(), 1};

    return outcome(process_vm_writev(getppid(), &here, 1, &there, 1, 0));
}

static int trace_master(void)
{
    return outcome(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int trace_neighbour(void)
{
    pid_t other = 0;

    for (uint32_t seat = 0; seat < WORKERS; seat++) {
        struct pfk_seat there;

        pfk_control_seat(pool->table, seat, &there);
        if (there.pid != getpid())
            other = there.pid;
    }
    return outcome(ptrace(PTRACE_ATTACH, other, NULL, NULL));
}

static int take_masters_descriptor(void)
{
    const int pidfd = pfk_pidfd_open(getppid());

    return pidfd < 0 ? pidfd : outcome(syscall(SYS_pidfd_getfd, pidfd, 0, 0));
}

static int signal_master(void)
{
    return outcome(kill(getppid(), SIGTERM));
}

static int slow_master(void)
{
    return outcome(setpriority(PRIO_PROCESS, (id_t)getppid(), 19));
}

static int limit_master(void)
{
    const struct rlimit nothing = {0, 0};

    return outcome(prlimit(getppid(), RLIMIT_NOFILE, &nothing, NULL));
}

static int become_root(void)
{
    return outcome(setresuid(0, 0, 0));
}

static int take_groups(void)
{
    return outcome(setgroups(0, NULL));
}

/* Who holds it hides the master's death from the other workers. */
static int take_life_pipe(void)
{
    struct stat state;
    int opened = -EACCES;

    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    for (int fd = 3; fd < 256; fd++) {
        char path[64];

        if (fstat(fd, &state) != 0 || !S_ISFIFO(state.st_mode) || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
            continue;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) >= 0)
            opened = 0;
    }
    return opened;
}

static const struct attempt {
    const char *name;
    int (*try)(void);
    int expected;
} attempts[] = {
#define NOT_BY_VALGRIND 4u /* these first ones, which it does by itself or does not know */
    {"attach the control segment for writing", attach_control, -EACCES},
    {"attach it for reading: workers have it by inheritance", attach_control_for_reading, -EACCES},
    {"attach the work segment anew", attach_work, -EACCES},
    {"take a descriptor of the master's", take_masters_descriptor, -EPERM},
    {"make the control segment writable", make_control_writable, -EACCES},
    {"punch a hole into it", punch_control, -EACCES},
    {"remove it", remove_control, -EPERM},
    {"change its owner", give_control_away, -EPERM},
    {"open the master's memory", open_masters_memory, -EACCES},
    {"write the master's memory", write_masters_memory, -EPERM},
    {"trace the master", trace_master, -EPERM},
    {"trace another worker", trace_neighbour, -EPERM},
    {"signal the master", signal_master, -EPERM},
    {"slow the master down", slow_master, -EPERM},
    {"limit the master", limit_master, -EPERM},
    {"become root", become_root, -EPERM},
    {"change groups", take_groups, -EPERM},
    /* These two make their worker dumpable. */
    {"write the control segment through /proc/self/mem", write_control_through_proc, -EIO},
    {"hold the life pipe open", take_life_pipe, -EACCES},
};

static int attempt(struct prefork_job *job, void *context)
{
    size_t length;
    const uint8_t *const number = prefork_job_request(job, &length);

    (void)context;
    return attempts[*number].try();
}

/* 0, or which of the expectations failed. */
static int tell_identity(struct prefork_job *job, void *context)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    uid_t uids[3];
    gid_t gids[3];

    (void)job;
    (void)context;
    (void)getresuid(&uids[0], &uids[1], &uids[2]);
    (void)getresgid(&gids[0], &gids[1], &gids[2]);
    for (int i = 0; i < 3; i++)
        if (uids[i] != 65534 || gids[i] != 65534)
            return -1;
    if (getgroups(0, NULL) != 0)
        return -2;
    if (syscall(SYS_capget, &header, sets) != 0)
        return -3;
    for (size_t i = 0; i < PFK_COUNT_OF(sets); i++)
        if ((sets[i].permitted | sets[i].effective | sets[i].inheritable) != 0)
            return -4;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return -5;
    return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : -6;
}

static int echo(struct prefork_job *job, void *context)
{
    size_t length;

    (void)context;
    (void)prefork_job_request(job, &length);
    return prefork_job_reply_request(job, 0, length);
}

static int die(struct prefork_job *job, void *context)
{
    (void)context;
    if (prefork_job_attempt(job) == 1)
        (void)raise(SIGKILL);
    return 0;
}

static int stick(struct prefork_job *job, void *context)
{
    (void)job;
    (void)context;
    while (pause() != 0)
        continue;
    return 0;
}

/* -- Fixture ---------------------------------------------------------------------- */

static char socket_address[128];

static void set_up(void)
{
    const char *const directory = getenv("TMPDIR");
    int descriptor;

    (void)snprintf(socket_address, sizeof(socket_address), "unix:%s/user.sock", directory != NULL ? directory : ".");
    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, WORKERS), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_DRAIN_MS, 500), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "attempt", attempt, NULL), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "identity", tell_identity, NULL), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "echo", echo, NULL), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "die", die, NULL), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "stick", stick, NULL), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", prefork_protocol_raw("echo")), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, socket_address, prefork_protocol_raw("echo")), 0);
    ck_assert_msg(prefork_pool_user(pool, USER) == 0, "%s", prefork_last_error());
    ck_assert_msg(prefork_pool_start(pool, &descriptor) == 0, "%s", prefork_last_error());
    ck_assert(support_wait_ready(pool, WORKERS));
    ck_assert_int_eq(prefork_pool_producer(pool, 0, &lane), 0);
}

static void stop(int expected)
{
    prefork_lane_close(&lane);
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)), expected);
    prefork_pool_destroy(&pool);
}

static int run_job(const char *handler, uint8_t request)
{
    const struct prefork_submission submission = {.size = sizeof(submission),
                                                  .request_bytes = 1,
                                                  .handler = (uint32_t)prefork_pool_handler_number(pool, handler)};
    const uint64_t deadline_ns = prefork_deadline_after_ms(SUPPORT_LIMIT_MS);
    struct prefork_result result;
    uint64_t job;

    ck_assert_int_eq(prefork_lane_put(lane, &request, &submission, deadline_ns, &job), 0);
    ck_assert_msg(prefork_lane_wait(lane, job, deadline_ns, &result) == 0, "%s", prefork_last_error());
    ck_assert_int_eq(prefork_lane_collect(lane, job), 0);
    return result.status;
}

static void expect_service(const char *address)
{
    const int fd = support_connect(address);

    ck_assert_int_ge(fd, 0);
    ck_assert(support_echo(fd, "0123456789", 10));
    (void)close(fd);
}

/* -- Cases ------------------------------------------------------------------------ */

START_TEST(a_worker_is_the_user_and_nothing_more)
{
    set_up();
    ck_assert_int_eq(run_job("identity", 0), 0);
    stop(0);
}
END_TEST

static void expect_failures(size_t from, size_t end)
{
    set_up();
    for (size_t i = from; i < end; i++) {
        const int status = run_job("attempt", (uint8_t)i);

        ck_assert_msg(status == attempts[i].expected, "to %s came to %d, not %d", attempts[i].name, status,
                      attempts[i].expected);
    }
    stop(0);
}

START_TEST(no_segment_is_attached_no_descriptor_taken)
{
    expect_failures(0, NOT_BY_VALGRIND);
}
END_TEST

START_TEST(every_attempt_on_the_master_fails)
{
    expect_failures(NOT_BY_VALGRIND, PFK_COUNT_OF(attempts));
}
END_TEST

START_TEST(it_serves_over_tcp_and_unix)
{
    set_up();
    expect_service(prefork_pool_address(pool, 0));
    expect_service(socket_address);
    stop(0);
}
END_TEST

START_TEST(a_killed_workers_job_is_run_again_and_its_seat_filled)
{
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};

    set_up();
    ck_assert_int_eq(run_job("die", 0), 0);
    ck_assert(support_wait_ready(pool, WORKERS));
    ck_assert_int_eq(prefork_pool_statistics(pool, &statistics), 0);
    ck_assert_uint_eq(statistics.redelivered, 1);
    ck_assert_uint_ge(statistics.workers_forked, WORKERS + 1);
    for (int i = 0; i < 8; i++) /* the new one, too */
        ck_assert_int_eq(run_job("identity", 0), 0);
    expect_service(socket_address);
    stop(0);
}
END_TEST

START_TEST(the_master_can_end_a_worker_that_does_not_end)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = 1, .flags = PREFORK_SUBMIT_DETACHED, .handler = 4};
    uint64_t job;

    set_up();
    ck_assert_int_eq(prefork_pool_handler_number(pool, "stick"), 4);
    ck_assert_int_eq(prefork_lane_put(lane, "x", &submission, PREFORK_NO_WAIT, &job), 0);
    stop(-ETIMEDOUT);
}
END_TEST

/* The groups of a user of the database are those that the database has. */
START_TEST(a_name_brings_its_groups)
{
    struct pfk_user user;
    struct passwd *entry;

    ck_assert_int_eq(pfk_user_find("nobody", &user), 0);
    entry = getpwnam("nobody");
    ck_assert_ptr_nonnull(entry);
    ck_assert_uint_eq(user.uid, entry->pw_uid);
    ck_assert_uint_eq(user.gid, entry->pw_gid);
    ck_assert_uint_ge(user.n_groups, 1);
    ck_assert_uint_eq(user.groups[0], entry->pw_gid);
    pfk_user_free(&user);
}
END_TEST

START_TEST(what_is_no_user_is_refused)
{
    static const struct {
        const char *text;
        int expected;
    } refused[] = {
        {NULL, -EINVAL},           {"", -EINVAL},
        {"root", -EINVAL},         {"0:65534", -EINVAL},
        {"no such user", -ENOENT}, {"65534", -ENOENT},
        {"65534:", -ENOENT},       {":65534", -ENOENT},
        {"-1:65534", -ENOENT},     {"1:-1", -ENOENT},
        {"4294967295:1", -ENOENT}, {"1:99999999999999999999", -ENOENT},
        {"1: 1", -ENOENT},         {"1:4294967295", -ENOENT},
    };

    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    for (size_t i = 0; i < PFK_COUNT_OF(refused); i++)
        ck_assert_msg(prefork_pool_user(pool, refused[i].text) == refused[i].expected, "%s: %s", refused[i].text,
                      prefork_last_error());
    prefork_pool_destroy(&pool);
}
END_TEST

/* In a child that is no longer root. */
START_TEST(without_privileges_it_is_refused_with_the_remedy)
{
    const pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int rc;

        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
            _exit(2);
        if (prefork_pool_create(&pool) != 0)
            _exit(3);
        rc = prefork_pool_user(pool, "54321:54321");
        _exit(rc == -EPERM && strstr(prefork_last_error(), "start as root") != NULL ? 0 : 4);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* A worker that can't become the user ends, and says why. */
START_TEST(a_worker_that_stays_root_does_not_serve)
{
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};
    int descriptor;

    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, 1), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "echo", echo, NULL), 0);
    ck_assert_int_eq(prefork_pool_user(pool, USER), 0);
    pool->user.uid = (uid_t)-1; /* setresuid leaves it then */
    ck_assert_int_eq(prefork_pool_start(pool, &descriptor), 0);
    do { /* two deaths tell: one with which the pool began, and its successor's */
        (void)poll(NULL, 0, 1);
        ck_assert_int_eq(prefork_pool_statistics(pool, &statistics), 0);
    } while (statistics.workers_lost < 2);
    ck_assert_uint_eq(statistics.workers_ready, 0);
    ck_assert_int_eq(prefork_pool_stop(pool), 0);
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)), 0);
    prefork_pool_destroy(&pool);
}
END_TEST

static Suite *user_suite(void)
{
    Suite *const suite = suite_create("user");
    TCase *const workers = tcase_create("workers");
    TCase *const by_the_kernel = tcase_create("by the kernel");
    TCase *const found = tcase_create("found");
    TCase *const anybody = tcase_create("anybody");

    tcase_set_timeout(workers, 30);
    tcase_set_tags(workers, PFK_UNIT_NEEDS_ROOT);
    tcase_add_test(workers, a_worker_is_the_user_and_nothing_more);
    tcase_add_test(workers, every_attempt_on_the_master_fails);
    tcase_add_test(workers, it_serves_over_tcp_and_unix);
    tcase_add_test(workers, a_killed_workers_job_is_run_again_and_its_seat_filled);
    tcase_add_test(workers, the_master_can_end_a_worker_that_does_not_end);
    tcase_add_test(workers, a_worker_that_stays_root_does_not_serve);
    suite_add_tcase(suite, workers);
    tcase_set_timeout(by_the_kernel, 30);
    tcase_set_tags(by_the_kernel, PFK_UNIT_NEEDS_ROOT " " PFK_UNIT_NO_VALGRIND);
    tcase_add_test(by_the_kernel, no_segment_is_attached_no_descriptor_taken);
    suite_add_tcase(suite, by_the_kernel);
    tcase_set_tags(found, PFK_UNIT_NEEDS_ROOT);
    tcase_add_test(found, a_name_brings_its_groups);
    tcase_add_test(found, what_is_no_user_is_refused);
    suite_add_tcase(suite, found);
    tcase_add_test(anybody, without_privileges_it_is_refused_with_the_remedy);
    suite_add_tcase(suite, anybody);
    return suite;
}

PFK_UNIT_MAIN(user_suite)
