/* SPDX-License-Identifier: BSD-2-Clause */
/* A job table that a worker has damaged: it is noticed, and has an end. And what one worker may do to hold up or busy
 * its master, one by one; tests/pool/hostile does all of it at random. The worker's deeds are done by handlers. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/unit.h"
#include "base/clock.h"
#include "job/table.h"
#include "prefork.h"
#include "support.h"

static struct prefork_pool *pool;
static pid_t master_pid;
static int told_fds[2];
static struct scene {
    char address[128];
    uint64_t rebuilds;
} * scene;

/* -- Deeds ------------------------------------------------------------------------ */

static void die(void)
{
    (void)raise(SIGKILL);
}

static unsigned char *work(size_t *bytes_out)
{
    struct prefork_segment *const segment = prefork_pool_table(pool)->work_segment;

    *bytes_out = prefork_segment_bytes(segment);
    return prefork_segment_address(segment);
}

static void wipe_and_die(void)
{
    size_t bytes;
    unsigned char *const at = work(&bytes);

    memset(at, 0, bytes);
    die();
}

/* All words look right, but no entry leads to a slot any more: only verify, when nobody lives, can tell. */
static void lose_entries_and_die(void)
{
    const struct prefork_table *const table = prefork_pool_table(pool);

    pfk_ring_init(&table->rings.free_hot);
    pfk_ring_init(&table->rings.free_cold);
    die();
}

/* Repair has a slot to free and no ring that takes it. */
static void fill_rings_and_die(void)
{
    const struct prefork_table *const table = prefork_pool_table(pool);
    const struct pfk_ring *const rings[] = {&table->rings.free_hot, &table->rings.free_cold, &table->rings.ready};

    for (size_t i = 0; i < PFK_COUNT_OF(rings); i++)
        for (uint64_t cell = 0; cell < pfk_ring_cells(rings[i]); cell++)
            pfk_u64_store_relaxed(&rings[i]->cells[cell], UINT64_MAX);
    die();
}

static void tamper_and_die(void)
{
    const struct prefork_table *const table = prefork_pool_table(pool);
    const uint64_t full = UINT64_MAX - 1;

    for (uint32_t lane = 1; lane <= table->geometry.lanes; lane++) {
        (void)fcntl(table->wake_fds[lane], F_SETFL, O_NONBLOCK);
        (void)!write(table->wake_fds[lane], &full, sizeof(full));
        (void)fcntl(table->wake_fds[lane], F_SETFL, 0);
    }
    die();
}

/* Writes on until the master ends it. */
static void flood(void)
{
    char noise[4096];
    struct stat state;

    memset(noise, 'R', sizeof(noise));
    for (;;)
        for (int fd = 3; fd < 256; fd++)
            if (fstat(fd, &state) == 0 && S_ISFIFO(state.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
                (void)!write(fd, noise, sizeof(noise));
}

static const struct deed {
    char order;
    void (*act)(void);
} deeds[] = {
    {'w', wipe_and_die}, {'l', lose_entries_and_die}, {'r', fill_rings_and_die}, {'t', tamper_and_die}, {'f', flood},
};

static int act(struct prefork_job *job, void *context)
{
    size_t length;
    const char *const order = prefork_job_request(job, &length);

    (void)context;
    for (size_t i = 0; i < PFK_COUNT_OF(deeds); i++)
        if (*order == deeds[i].order)
            deeds[i].act();
    return prefork_job_reply_request(job, 0, length);
}

/* -- Pools ------------------------------------------------------------------------ */

static void make_pool(uint64_t workers, enum prefork_damage on_damage)
{
    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_WORKERS, workers), 0);
    ck_assert_int_eq(prefork_pool_set(pool, PREFORK_POOL_ON_DAMAGE, on_damage), 0);
    ck_assert_int_eq(prefork_pool_handle(pool, "act", act, NULL), 0);
    ck_assert_int_eq(prefork_pool_listen(pool, "tcp:127.0.0.1:0", prefork_protocol_raw("act")), 0);
}

static void tell_ready(struct prefork_pool *ready_pool, void *context)
{
    (void)context;
    (void)snprintf(scene->address, sizeof(scene->address), "%s", prefork_pool_address(ready_pool, 0));
    (void)!write(told_fds[1], "r", 1);
}

static void set_up(void)
{
    scene = mmap(NULL, sizeof(*scene), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(scene, MAP_FAILED);
    ck_assert_int_eq(pipe2(told_fds, O_CLOEXEC | O_NONBLOCK), 0);
}

/* A master of its own, which ends with 0 when run returned `expected`. */
static void run_pool(uint64_t workers, enum prefork_damage on_damage, int expected)
{
    struct pollfd told = {.fd = told_fds[0], .events = POLLIN};

    master_pid = fork();
    ck_assert_int_ge(master_pid, 0);
    if (master_pid == 0) {
        struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};
        int rc;

        make_pool(workers, on_damage);
        ck_assert_int_eq(prefork_pool_on_ready(pool, tell_ready, NULL), 0);
        rc = prefork_pool_run(pool);
        (void)prefork_pool_statistics(pool, &statistics);
        scene->rebuilds = statistics.rebuilds;
        if (rc != expected)
            fprintf(stderr, "run came to %d: %s\n", rc, prefork_last_error());
        prefork_pool_destroy(&pool);
        _exit(rc == expected ? 0 : 1);
    }
    ck_assert_int_eq(poll(&told, 1, SUPPORT_LIMIT_MS), 1);
}

static void order(char what)
{
    const int fd = support_connect(scene->address);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, &what, 1), 1);
    (void)support_echo(fd, "", 0);
    /* the connection falls with its worker */
    (void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, SUPPORT_LIMIT_MS);
    (void)close(fd);
}

static bool serves(void *context)
{
    const int fd = support_connect(scene->address);
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    char byte = 'e';
    bool served;

    (void)context;
    if (fd < 0)
        return false;
    served = send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && poll(&answer, 1, 500) == 1 && read(fd, &byte, 1) == 1;
    (void)close(fd);
    return served;
}

static void expect_service(void)
{
    ck_assert(support_wait_until(serves, NULL, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
}

static uint64_t master_cpu_ns(void)
{
    struct timespec used = {0};
    clockid_t clock;

    ck_assert_int_eq(clock_getcpuclockid(master_pid, &clock), 0);
    ck_assert_int_eq(clock_gettime(clock, &used), 0);
    return (uint64_t)used.tv_sec * PFK_NS_PER_S + (uint64_t)used.tv_nsec;
}

static void expect_end(void)
{
    int status;

    ck_assert(support_wait_gone(master_pid, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    ck_assert_int_eq(waitpid(master_pid, &status, 0), master_pid);
    ck_assert_int_eq(status, 0);
}

static void stop_and_expect_rebuilds(uint64_t wanted)
{
    ck_assert_int_eq(kill(master_pid, SIGTERM), 0);
    expect_end();
    ck_assert_uint_eq(scene->rebuilds, wanted);
}

/* -- Cases ------------------------------------------------------------------------ */

START_TEST(wiped_table_is_made_anew)
{
    run_pool(3, PREFORK_DAMAGE_REBUILD, 0);
    order('w');
    expect_service();
    stop_and_expect_rebuilds(1);
}
END_TEST

START_TEST(table_that_repair_cannot_bring_to_rest_is_made_anew)
{
    run_pool(3, PREFORK_DAMAGE_REBUILD, 0);
    order('r');
    expect_service();
    stop_and_expect_rebuilds(1);
}
END_TEST

START_TEST(broken_table_of_a_lonely_master_is_made_anew)
{
    run_pool(1, PREFORK_DAMAGE_REBUILD, 0);
    order('l');
    expect_service();
    stop_and_expect_rebuilds(1);
}
END_TEST

START_TEST(a_mere_death_makes_nothing_anew)
{
    run_pool(1, PREFORK_DAMAGE_REBUILD, 0);
    expect_service();
    order('t'); /* it tampers with descriptors only */
    expect_service();
    stop_and_expect_rebuilds(0);
}
END_TEST

START_TEST(pool_stops_if_that_was_asked_for)
{
    run_pool(3, PREFORK_DAMAGE_STOP, -ENOTRECOVERABLE);
    order('w');
    expect_end();
    ck_assert_uint_eq(scene->rebuilds, 0);
}
END_TEST

START_TEST(started_pool_stops)
{
    int descriptor;

    make_pool(2, PREFORK_DAMAGE_REBUILD);
    ck_assert_int_eq(prefork_pool_start(pool, &descriptor), 0);
    (void)snprintf(scene->address, sizeof(scene->address), "%s", prefork_pool_address(pool, 0));
    order('w');
    ck_assert_int_eq(prefork_pool_wait(pool, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)), -ENOTRECOVERABLE);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "was damaged"));
    prefork_pool_destroy(&pool);
}
END_TEST

/* Full eventfds that block hold neither the master, nor the next workers that open the lanes. */
START_TEST(tampered_eventfds_hold_nobody)
{
    run_pool(2, PREFORK_DAMAGE_REBUILD, 0);
    for (int i = 0; i < 3; i++) {
        order('t');
        expect_service();
    }
    stop_and_expect_rebuilds(0);
}
END_TEST

START_TEST(flood_of_reports_ends_the_worker)
{
    uint64_t cpu_ns;

    run_pool(2, PREFORK_DAMAGE_REBUILD, 0);
    cpu_ns = master_cpu_ns();
    order('f'); /* returns when the worker is gone */
    ck_assert_uint_lt(master_cpu_ns() - cpu_ns, 500 * PFK_NS_PER_MS);
    stop_and_expect_rebuilds(0);
}
END_TEST

static Suite *damage_suite(void)
{
    Suite *const suite = suite_create("damage");
    TCase *const damage = tcase_create("damage");
    TCase *const hold = tcase_create("hold");

    tcase_add_checked_fixture(damage, set_up, NULL);
    tcase_set_timeout(damage, 30);
    tcase_add_test(damage, wiped_table_is_made_anew);
    tcase_add_test(damage, table_that_repair_cannot_bring_to_rest_is_made_anew);
    tcase_add_test(damage, broken_table_of_a_lonely_master_is_made_anew);
    tcase_add_test(damage, a_mere_death_makes_nothing_anew);
    tcase_add_test(damage, pool_stops_if_that_was_asked_for);
    tcase_add_test(damage, started_pool_stops);
    suite_add_tcase(suite, damage);
    tcase_add_checked_fixture(hold, set_up, NULL);
    tcase_set_timeout(hold, 30);
    tcase_add_test(hold, tampered_eventfds_hold_nobody);
    tcase_add_test(hold, flood_of_reports_ends_the_worker);
    suite_add_tcase(suite, hold);
    return suite;
}

PFK_UNIT_MAIN(damage_suite)
