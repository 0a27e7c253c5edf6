/* SPDX-License-Identifier: BSD-2-Clause */
/* How many connections a pool has, and how many of one peer: over the limit they
 * are closed at once, and no death takes anything of the limit away. */
#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "job/table.h"
#include "pool/pool.h"
#include "support.h"

enum { WORKERS = 2, IO_THREADS = 2, LIMIT = 8 };

static struct prefork_pool *pool;
static int clients[4 * LIMIT];
static unsigned n_clients;
static uint64_t wanted; /* by the condition below */

static int echo_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

static void start_workers(uint64_t workers, uint64_t io_threads, enum prefork_pool_option option, uint64_t limit)
{
    static struct prefork_protocol protocol;
    int fd;

    protocol = *prefork_protocol_raw("none");
    protocol.handler = NULL;
    protocol.message = echo_inline;
    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, workers), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_IO_THREADS, io_threads), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_JOB_THREADS, 0), 0);
    ck_assert_int_eq(prefork_pool_set(pool, option, limit), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", &protocol), 0);
    ck_assert_int_eq(prefork_pool_start(pool, &fd), 0);
    ck_assert(support_wait_ready(pool, (uint32_t)workers));
}

static void start(enum prefork_pool_option option)
{
    start_workers(WORKERS, IO_THREADS, option, LIMIT);
}

static void end(void)
{
    while (n_clients > 0)
        (void)close(clients[--n_clients]);
    prefork_pool_destroy(&pool);
}

static struct prefork_pool_statistics statistics(void)
{
    struct prefork_pool_statistics now = {.size = sizeof(now)};

    ck_assert_int_eq(prefork_pool_statistics(pool, &now), 0);
    return now;
}

static bool has_wanted(void *context)
{
    (void)context;
    return statistics().connections_now == wanted;
}

static void wait_until_open(uint64_t n)
{
    wanted = n;
    ck_assert(support_wait_until(has_wanted, NULL, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
}

/* A client with the address 127.0.0.`host`, kept if it was served. */
static bool serves(uint8_t host)
{
    const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u | host)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_port = htons((uint16_t)strtoul(strrchr(prefork_pool_address(pool, 0), ':') + 1, NULL, 10));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&from, sizeof(from)), 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    if (support_echo(fd, "a", 1)) {
        clients[n_clients++] = fd;
        return true;
    }
    (void)close(fd);
    return false;
}

static void fill(uint8_t host)
{
    for (int i = 0; i < LIMIT; i++)
        ck_assert(serves(host));
    ck_assert(!serves(host));
}

/* Closes the client that was served last; waits until the pool knows. */
static void leave(void)
{
    const uint64_t open = statistics().connections_now;

    (void)close(clients[--n_clients]);
    wait_until_open(open - 1);
}

static void kill_worker(uint32_t seat)
{
    const pid_t pid = support_worker_pid(pool, seat);

    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_gt(support_wait_replaced(pool, seat, pid), 0);
}

/* All workers die one by one, with all that they had. */
static void kill_workers(void)
{
    for (uint32_t seat = 0; seat < WORKERS; seat++)
        kill_worker(seat);
    while (n_clients > 0)
        (void)close(clients[--n_clients]);
    wait_until_open(0);
}

START_TEST(a_pool_has_so_many)
{
    start(PREFORK_POOL_CONNECTIONS);
    fill(1);
    ck_assert(!serves(2));
    ck_assert_uint_eq(statistics().connections_refused, 2);
    ck_assert_uint_eq(statistics().connections_now, LIMIT);
    leave();
    ck_assert(serves(2));
    ck_assert(!serves(2));
    kill_workers();
    fill(3);
    end();
}
END_TEST

START_TEST(a_peer_has_so_many)
{
    start(PREFORK_POOL_CONNECTIONS_PER_PEER);
    fill(1);
    fill(2);
    ck_assert_uint_eq(statistics().connections_refused, 2);
    leave();
    ck_assert(!serves(1));
    ck_assert(serves(2));
    ck_assert(!serves(2));
    kill_workers();
    fill(1);
    fill(2);
    end();
}
END_TEST

/* What one worker had is free, what the others have is not. */
START_TEST(the_living_keep_theirs)
{
    uint64_t left;
    unsigned served = 0;

    start(PREFORK_POOL_CONNECTIONS_PER_PEER);
    fill(1);
    kill_worker(0);
    for (unsigned i = 0; i < LIMIT; i++) { /* the dead one's clients have seen the end */
        char byte;

        if (recv(clients[i], &byte, 1, MSG_DONTWAIT) == 0)
            served++;
    }
    left = statistics().connections_now;
    ck_assert_uint_eq(left + served, LIMIT);
    for (unsigned i = 0; i < served; i++)
        ck_assert(serves(1));
    ck_assert(!serves(1));
    end();
}
END_TEST

/* A worker that is out of its mind writes into all lanes, and dies. */
static void scribble_over_counts(void)
{
    struct prefork_table *const table = pool->table;

    for (uint32_t lane = 1; lane <= table->geometry.lanes; lane++)
        pfk_u64_store_relaxed(&pfk_table_lane(table, lane)->counters[PFK_COUNT_CONNECTIONS_NOW], UINT32_MAX);
}

static bool serves_again(void *context)
{
    (void)context;
    return serves(1);
}

START_TEST(a_limit_outlives_a_lie)
{
    start(PREFORK_POOL_CONNECTIONS);
    fill(1);
    leave();
    scribble_over_counts();
    ck_assert(!serves(1));
    kill_worker(0);
    ck_assert(support_wait_until(serves_again, NULL, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    end();
}
END_TEST

/* All its threads: one that still runs would take a connection with it. */
static bool is_stopped(void *context)
{
    const pid_t pid = *(const pid_t *)context;
    char path[64];
    bool stopped = true;
    DIR *tasks;
    struct dirent *task;

    (void)snprintf(path, sizeof(path), "/proc/%ld/task", (long)pid);
    tasks = opendir(path);
    while (tasks != NULL && (task = readdir(tasks)) != NULL) {
        char state = 'T';
        FILE *status;

        (void)snprintf(path, sizeof(path), "/proc/%ld/task/%.16s/stat", (long)pid, task->d_name);
        status = task->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (status == NULL)
            continue;
        if (fscanf(status, "%*d (%*[^)]) %c", &state) == 1 && state != 'T')
            stopped = false;
        (void)fclose(status);
    }
    if (tasks != NULL)
        (void)closedir(tasks);
    return stopped;
}

/* One yields to a worker that is stopped: it takes a moment, no more. */
START_TEST(a_stopped_worker_is_not_waited_for)
{
    enum { CLIENTS = 100 };
    int crowd[CLIENTS];
    uint64_t worst_ns = 0;
    pid_t pid;

    start_workers(2, 1, PREFORK_POOL_CONNECTIONS, 0);
    pid = support_worker_pid(pool, 0);
    ck_assert_int_eq(kill(pid, SIGSTOP), 0);
    ck_assert(support_wait_until(is_stopped, &pid, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    for (int i = 0; i < CLIENTS; i++) {
        const uint64_t since_ns = prefork_clock_now_ns();
        uint64_t took_ns;

        crowd[i] = support_connect(prefork_pool_address(pool, 0));
        ck_assert_int_ge(crowd[i], 0);
        ck_assert(support_echo(crowd[i], "a", 1));
        took_ns = prefork_clock_now_ns() - since_ns;
        worst_ns = took_ns > worst_ns ? took_ns : worst_ns;
    }
    printf("# the slowest of %d in %.1f ms\n", CLIENTS, (double)worst_ns / 1e6);
    ck_assert_uint_lt(worst_ns, UINT64_C(2000000000)); /* 2 ms on a machine at rest */
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    for (int i = 0; i < CLIENTS; i++)
        (void)close(crowd[i]);
    end();
}
END_TEST

/* -- No descriptors left ---------------------------------------------------- */

static pfk_atomic_u32 *lines_logged; /* in the workers, while counted */

static void count_line(enum prefork_log_level level, const char *text, void *context)
{
    (void)level;
    (void)context;
    if (strstr(text, "accept") != NULL)
        (void)pfk_u32_add_acq_rel(lines_logged, 1);
}

static uint64_t worker_cpu_ns(pid_t pid)
{
    struct timespec used;
    clockid_t clock;

    ck_assert_int_eq(clock_getcpuclockid(pid, &clock), 0);
    ck_assert_int_eq(clock_gettime(clock, &used), 0);
    return (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
}

static int connect_one(void)
{
    const int fd = support_connect(prefork_pool_address(pool, 0));

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(send(fd, "a", 1, MSG_NOSIGNAL), 1);
    return fd;
}

/* Whether it gets its answer; else it was turned away. */
static bool is_answered(int fd)
{
    char byte;

    return recv(fd, &byte, 1, 0) == 1;
}

/* A worker that may have a few descriptors more than it has, and 200 clients. */
START_TEST(without_descriptors_it_rests)
{
    enum { CLIENTS = 200, MORE = 20 };
    struct rlimit few = {.rlim_max = RLIM_INFINITY};
    int crowd[CLIENTS], kept = -1, late;
    unsigned answered = 0;
    uint64_t used_ns, since_ns;
    pid_t pid;

    lines_logged = mmap(NULL, sizeof(*lines_logged), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(lines_logged, MAP_FAILED);
    prefork_log_set_sink(count_line, NULL);
    start_workers(1, 1, PREFORK_POOL_CONNECTIONS, 0);
    pid = support_worker_pid(pool, 0);
    ck_assert_int_eq(prlimit(pid, RLIMIT_NOFILE, NULL, &few), 0);
    few.rlim_cur = (rlim_t)pfk_test_fds_open() + MORE;
    ck_assert_int_eq(prlimit(pid, RLIMIT_NOFILE, &few, NULL), 0);

    since_ns = prefork_clock_now_ns();
    for (int i = 0; i < CLIENTS; i++)
        crowd[i] = connect_one();
    for (int i = 0; i < CLIENTS; i++) {
        if (!is_answered(crowd[i]))
            continue;
        answered++;
        if (kept >= 0)
            continue;
        kept = crowd[i];
        crowd[i] = -1;
    }
    printf("# %u of %d answered, the rest turned away within %.0f ms\n", answered, CLIENTS,
           (double)(prefork_clock_now_ns() - since_ns) / 1e6);
    ck_assert_uint_ge(answered, 5);
    ck_assert_uint_lt(answered, CLIENTS);

    late = connect_one(); /* keeps the shortage up; will be turned away */
    used_ns = worker_cpu_ns(pid);
    since_ns = prefork_clock_now_ns();
    for (int i = 0; i < 10; i++) {
        (void)poll(NULL, 0, 100);
        ck_assert(!is_answered(late));
        (void)close(late);
        late = connect_one();
    }
    used_ns = worker_cpu_ns(pid) - used_ns;
    printf("# %.2f ms of CPU time in %.0f ms of shortage\n", (double)used_ns / 1e6,
           (double)(prefork_clock_now_ns() - since_ns) / 1e6);
    ck_assert_uint_lt(used_ns, (prefork_clock_now_ns() - since_ns) / 100);
    ck_assert_uint_le(pfk_u32_load_acquire(lines_logged), 1 + (prefork_clock_now_ns() - since_ns) / 1000000000);
    ck_assert_uint_gt(statistics().accept_errors, 0);
    ck_assert_uint_gt(statistics().connections_refused, 0);

    ck_assert(!is_answered(late));
    (void)close(late);
    since_ns = prefork_clock_now_ns();
    (void)close(kept); /* room for one */
    do {
        late = connect_one();
        if (is_answered(late))
            break;
        (void)close(late); /* turned away just before */
    } while (prefork_clock_now_ns() - since_ns < UINT64_C(5000000000));
    printf("# served again %.1f ms after a close\n", (double)(prefork_clock_now_ns() - since_ns) / 1e6);
    ck_assert_uint_lt(prefork_clock_now_ns() - since_ns, UINT64_C(2000000000)); /* 100 ms on a machine at rest */
    (void)close(late);
    for (int i = 0; i < CLIENTS; i++)
        if (crowd[i] >= 0)
            (void)close(crowd[i]);
    end();
    prefork_log_set_sink(NULL, NULL);
}
END_TEST

static Suite *limits_suite(void)
{
    Suite *const suite = suite_create("limits");
    TCase *const all = tcase_create("limits");
    TCase *const shortage = tcase_create("shortage");

    suite_add_tcase(suite, all);
    tcase_set_timeout(all, 60);
    tcase_add_test(all, a_pool_has_so_many);
    tcase_add_test(all, a_peer_has_so_many);
    tcase_add_test(all, the_living_keep_theirs);
    tcase_add_test(all, a_limit_outlives_a_lie);
    tcase_add_test(all, a_stopped_worker_is_not_waited_for);
    suite_add_tcase(suite, shortage);
    tcase_set_timeout(shortage, 60);
    tcase_set_tags(shortage, PFK_UNIT_NO_VALGRIND);
    tcase_add_test(shortage, without_descriptors_it_rests);
    return suite;
}

PFK_UNIT_MAIN(limits_suite)
