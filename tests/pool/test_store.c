/* SPDX-License-Identifier: BSD-2-Clause */
/* Durable pools, master after master: what is refused, and by which words; what orphans do with their clients; workers
 * of another user. Every master is a process of its own, which calls run. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/unit.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "job/layout.h"
#include "prefork.h"
#include "support.h"
#include "worker/worker.h"

#define USER       "65534:65534"
#define TEXT_BYTES 256

/* What a test and all masters and workers share. */
struct board {
    pfk_atomic_u32 ready; /* masters that have a worker ready */
    pfk_atomic_u32 begun; /* jobs that a handler has begun */
    pfk_atomic_u32 ended;
    pfk_atomic_u32 released; /* 1: they may end */
    pfk_atomic_u32 uid;      /* of the last that began */
    pid_t worker;            /* of the last master that is ready */
    char address[TEXT_BYTES];
    char text[TEXT_BYTES]; /* why the last master could not be one */
};

/* What a master differs in. */
struct wishes {
    uint32_t slots, max_attempts;
    const char *user;
};

static struct board *board;
static struct prefork_table_store store;
static char lock_path[TEXT_BYTES];
static pid_t master;

/* -- A master ----------------------------------------------------------------------------- */

static int stick(struct prefork_job *job, void *context)
{
    size_t length;

    (void)context;
    (void)prefork_job_request(job, &length);
    pfk_u32_store_release(&board->uid, (uint32_t)getuid());
    (void)pfk_u32_add_acq_rel(&board->begun, 1);
    while (pfk_u32_load_acquire(&board->released) == 0)
        (void)poll(NULL, 0, 1);
    (void)pfk_u32_add_acq_rel(&board->ended, 1);
    return prefork_job_reply_request(job, 0, length);
}

static void tell_ready(struct prefork_pool *pool, void *context)
{
    (void)context;
    board->worker = support_worker_pid(pool, 0);
    (void)snprintf(board->address, sizeof(board->address), "%s", prefork_pool_address(pool, 0));
    (void)pfk_u32_add_acq_rel(&board->ready, 1);
}

static int set_pool_up(struct prefork_pool *pool, const struct wishes *wishes)
{
    int rc = prefork_pool_set(pool, PREFORK_POOL_WORKERS, 1);

    if (rc == 0)
        rc = prefork_pool_set(pool, PREFORK_POOL_JOB_THREADS, 1);
    if (rc == 0)
        rc = prefork_pool_set(pool, PREFORK_POOL_SLOTS, wishes->slots);
    if (rc == 0)
        rc = prefork_pool_set(pool, PREFORK_POOL_MAX_ATTEMPTS, wishes->max_attempts);
    if (rc == 0)
        rc = prefork_pool_handle(pool, "stick", stick, NULL);
    if (rc == 0)
        rc = prefork_pool_listen(pool, "tcp:127.0.0.1:0", prefork_protocol_raw("stick"));
    if (rc == 0)
        rc = prefork_pool_on_ready(pool, tell_ready, NULL);
    if (rc == 0 && wishes->user != NULL)
        rc = prefork_pool_user(pool, wishes->user);
    return rc != 0 ? rc : prefork_pool_store(pool, &store);
}

static int reign(const struct wishes *wishes)
{
    struct prefork_pool *pool;
    int rc = prefork_pool_create(&pool);

    if (rc != 0)
        return rc;
    rc = set_pool_up(pool, wishes);
    if (rc == 0)
        rc = prefork_pool_run(pool);
    if (rc != 0)
        (void)snprintf(board->text, sizeof(board->text), "%s", prefork_last_error());
    prefork_pool_destroy(&pool);
    return rc;
}

static pid_t start_master(const struct wishes *wishes)
{
    const pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid > 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(-reign(wishes));
}

static bool is_ready(void *context)
{
    return pfk_u32_load_acquire(&board->ready) >= *(uint32_t *)context;
}

static bool has_begun(void *context)
{
    return pfk_u32_load_acquire(&board->begun) >= *(uint32_t *)context;
}

static bool has_ended(void *context)
{
    return pfk_u32_load_acquire(&board->ended) >= *(uint32_t *)context;
}

static bool a_job_waits(void *context)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    const struct prefork_table *const table = *(struct prefork_table **)context;

    return prefork_table_statistics(table, &statistics) == 0 && statistics.ready_slots > 0;
}

static void await_waiting_job(void)
{
    struct prefork_table *table;

    ck_assert_msg(prefork_table_attach(&store, &table) == 0, "%s", prefork_last_error());
    ck_assert(support_wait_until(a_job_waits, &table, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    prefork_table_destroy(&table); /* masters that are forked from here on must not inherit it */
}

static void await(support_condition_fn *condition, uint32_t times)
{
    ck_assert_msg(support_wait_until(condition, &times, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)), "%s",
                  board->text);
}

static const struct wishes usual = {.slots = 16, .max_attempts = 3, .user = NULL};

/* A master that serves. */
static void begin_reign(const struct wishes *wishes)
{
    const uint32_t ready = pfk_u32_load_acquire(&board->ready);

    board->text[0] = '\0';
    master = start_master(wishes);
    await(is_ready, ready + 1);
}

/* The errno with which run ended. */
static int end_of(pid_t pid)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "a master ended with status %x", (unsigned)status);
    return WEXITSTATUS(status);
}

static void end_reign(void)
{
    ck_assert_int_eq(kill(master, SIGTERM), 0);
    ck_assert_int_eq(end_of(master), 0);
    master = 0;
}

static void kill_master(void)
{
    ck_assert_int_eq(kill(master, SIGKILL), 0);
    ck_assert_int_eq(waitpid(master, NULL, 0), master);
    master = 0;
}

static void expect_refusal(const struct wishes *wishes, int code, const char *text)
{
    ck_assert_int_eq(end_of(start_master(wishes)), code);
    ck_assert_msg(strstr(board->text, text) != NULL, "%s", board->text);
}

/* -- Fixture ------------------------------------------------------------------------------ */

static void set_up(void)
{
    const char *const folder = getenv("TMPDIR");

    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(board != MAP_FAILED);
    (void)snprintf(lock_path, sizeof(lock_path), "%s/store.%ld", folder != NULL ? folder : "/tmp", (long)getpid());
    store = (struct prefork_table_store){
        .size = sizeof(store), .key = 0x54000000 | (int)(getpid() & 0xffffff), .lock_path = lock_path};
}

static void tear_down(void)
{
    pfk_u32_store_release(&board->released, 1);
    if (master != 0)
        end_reign();
    ck_assert_msg(prefork_table_remove(&store) == 0, "%s", prefork_last_error());
    (void)unlink(lock_path);
    (void)munmap(board, sizeof(*board));
}

/* -- A client ------------------------------------------------------------------------------ */

static int connect_client(void)
{
    const int fd = support_connect(board->address);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static int ask(const char *request)
{
    const int fd = connect_client();

    ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    return fd;
}

/* What comes until the connection ends; closes it. */
static void expect_last_words(int fd, const char *expected)
{
    char words[64] = "";
    size_t length = 0;
    ssize_t n = 1;

    while (n > 0 && length < sizeof(words) - 1) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};

        ck_assert_msg(poll(&readable, 1, SUPPORT_LIMIT_MS) == 1, "the connection hangs after \"%s\"", words);
        n = recv(fd, words + length, sizeof(words) - 1 - length, 0);
        length += n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);
    ck_assert_str_eq(words, expected);
}

static void expect_service(void)
{
    const int fd = connect_client();

    pfk_u32_store_release(&board->released, 1);
    ck_assert(support_echo(fd, "0123456789", 10));
    (void)close(fd);
}

/* -- What is refused --------------------------------------------------------------------------- */

START_TEST(a_store_that_is_none_is_refused)
{
    struct prefork_table_store wrong = store;
    struct prefork_pool *pool;
    char path[TEXT_BYTES];

    ck_assert_int_eq(prefork_pool_create(&pool), 0);
    ck_assert_int_eq(prefork_pool_store(pool, NULL), -EINVAL);
    wrong.size = 0;
    ck_assert_int_eq(prefork_pool_store(pool, &wrong), -EINVAL);
    wrong = store;
    wrong.lock_path = NULL;
    ck_assert_int_eq(prefork_pool_store(pool, &wrong), -EINVAL);
    wrong.lock_path = "";
    ck_assert_int_eq(prefork_pool_store(pool, &wrong), -EINVAL);
    wrong = store;
    wrong.mode = 04600;
    ck_assert_int_eq(prefork_pool_store(pool, &wrong), -EINVAL);
    wrong = store;
    wrong.key = 0; /* is looked at when the pool runs */
    wrong.lock_path = memcpy(path, lock_path, sizeof(path));
    ck_assert_int_eq(prefork_pool_store(pool, &wrong), 0);
    memset(path, 'x', sizeof(path) - 1); /* it was copied */
    ck_assert_int_eq(prefork_pool_handle(pool, "stick", stick, NULL), 0);
    ck_assert_int_eq(prefork_pool_run(pool), -EINVAL);
    ck_assert_msg(strstr(prefork_last_error(), "key") != NULL, "%s", prefork_last_error());
    ck_assert_int_eq(access(lock_path, F_OK), 0);
    prefork_pool_destroy(&pool);
    begin_reign(&usual); /* the lock that the failure took is free */
    expect_service();
}
END_TEST

START_TEST(a_second_master_is_refused_and_told_of_the_first)
{
    char first[32];

    begin_reign(&usual);
    (void)snprintf(first, sizeof(first), "process %ld is ", (long)master);
    expect_refusal(&usual, EBUSY, first);
    expect_service();
}
END_TEST

START_TEST(a_table_of_other_options_is_refused)
{
    const struct wishes larger = {.slots = 1024, .max_attempts = 3}, more = {.slots = 16, .max_attempts = 4};

    begin_reign(&usual);
    end_reign();
    expect_refusal(&larger, EMSGSIZE, "prefork_table_remove");
    expect_refusal(&more, EPROTO, "max_attempts 3, here it is 4");
    begin_reign(&usual);
    expect_service();
}
END_TEST

/* The version in the segment; the kernel finds it by the key. */
static void set_version(uint32_t version)
{
    const int id = shmget(store.key, 0, 0);
    struct pfk_geometry_shm *const geometry = shmat(id, NULL, 0);

    ck_assert_int_ge(id, 0);
    pfk_u32_store_relaxed(&geometry->version, version);
    ck_assert_int_eq(shmdt(geometry), 0);
}

START_TEST(a_table_of_another_version_is_refused)
{
    begin_reign(&usual);
    end_reign();
    set_version(PFK_LAYOUT_VERSION + 1);
    expect_refusal(&usual, EPROTO, "a table with version ");
    set_version(PFK_LAYOUT_VERSION);
    begin_reign(&usual);
    expect_service();
}
END_TEST

/* -- Orphans with clients --------------------------------------------------------------------------- */

/* Of three clients: the job of one is at hand, that of another waits, the third is idle. Returns when the orphan has
 * ended; the next master has had to wait for that. */
static void leave_an_orphan(const struct wishes *wishes)
{
    int at_hand, waiting, idle;
    pid_t orphan, next;

    begin_reign(wishes);
    orphan = board->worker;
    idle = connect_client(); /* is accepted before the next one */
    at_hand = ask("at hand");
    await(has_begun, 1);
    waiting = ask("waiting");
    await_waiting_job();
    kill_master();
    next = start_master(wishes);
    expect_last_words(idle, ""); /* at once: no job holds it up */
    ck_assert_uint_eq(pfk_u32_load_acquire(&board->ready), 1);
    pfk_u32_store_release(&board->released, 1);
    expect_last_words(at_hand, "at hand");
    expect_last_words(waiting, "");
    master = next;
    await(is_ready, 2);
    ck_assert(support_wait_gone(orphan, prefork_deadline_after_ms(0)));
}

START_TEST(an_orphan_answers_for_the_job_at_hand)
{
    leave_an_orphan(&usual);
    await(has_ended, 2); /* what waited runs under the next master, though nobody waits for it any more */
    expect_service();
    ck_assert_uint_eq(pfk_u32_load_acquire(&board->begun), 3); /* each once */
    end_reign();
}
END_TEST

/* The reply counts as in hand with its job, however long that takes. */
START_TEST(an_orphan_answers_for_a_long_job)
{
    int client;

    begin_reign(&usual);
    client = ask("long");
    await(has_begun, 1);
    kill_master();
    (void)poll(NULL, 0, PFK_WORKER_ORPHAN_IO_MS + 200); /* it shall take so long */
    pfk_u32_store_release(&board->released, 1);
    expect_last_words(client, "long");
    ck_assert(support_wait_gone(board->worker, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
}
END_TEST

/* Master and worker are killed: the client learns of it, the job runs again. */
START_TEST(a_job_whose_worker_died_with_the_master_runs_again)
{
    int client;

    begin_reign(&usual);
    client = ask("again");
    await(has_begun, 1);
    ck_assert_int_eq(kill(master, SIGSTOP), 0); /* or it makes another worker */
    ck_assert_int_eq(kill(board->worker, SIGKILL), 0);
    kill_master();
    expect_last_words(client, "");
    begin_reign(&usual);
    pfk_u32_store_release(&board->released, 1);
    await(has_begun, 2);
    await(has_ended, 1);
    end_reign();
}
END_TEST

/* -- Workers of another user --------------------------------------------------------------------------- */

static const struct wishes as_another = {.slots = 16, .max_attempts = 3, .user = USER};

START_TEST(another_users_orphans_are_waited_for)
{
    leave_an_orphan(&as_another);
    ck_assert_uint_eq(pfk_u32_load_acquire(&board->uid), 65534);
    await(has_ended, 2);
    expect_service();
    end_reign();
}
END_TEST

/* One's seat is filled, and the lane's byte of the lock file with it. */
START_TEST(another_users_worker_that_died_is_replaced)
{
    int client;

    begin_reign(&as_another);
    client = ask("again");
    await(has_begun, 1);
    ck_assert_int_eq(kill(board->worker, SIGKILL), 0);
    expect_last_words(client, "");
    await(has_begun, 2);
    expect_service();
    await(has_ended, 2);
    end_reign();
}
END_TEST

static Suite *store_suite(void)
{
    Suite *const suite = suite_create("store");
    TCase *const refused = tcase_create("refused");
    TCase *const orphans = tcase_create("orphans");
    TCase *const users = tcase_create("users");

    tcase_add_checked_fixture(refused, set_up, tear_down);
    tcase_set_timeout(refused, 30);
    tcase_add_test(refused, a_store_that_is_none_is_refused);
    tcase_add_test(refused, a_second_master_is_refused_and_told_of_the_first);
    tcase_add_test(refused, a_table_of_other_options_is_refused);
    tcase_add_test(refused, a_table_of_another_version_is_refused);
    suite_add_tcase(suite, refused);
    tcase_add_checked_fixture(orphans, set_up, tear_down);
    tcase_set_timeout(orphans, 60);
    tcase_add_test(orphans, an_orphan_answers_for_the_job_at_hand);
    tcase_add_test(orphans, an_orphan_answers_for_a_long_job);
    tcase_add_test(orphans, a_job_whose_worker_died_with_the_master_runs_again);
    suite_add_tcase(suite, orphans);
    tcase_add_checked_fixture(users, set_up, tear_down);
    tcase_set_timeout(users, 60);
    tcase_set_tags(users, PFK_UNIT_NEEDS_ROOT);
    tcase_add_test(users, another_users_orphans_are_waited_for);
    tcase_add_test(users, another_users_worker_that_died_is_replaced);
    suite_add_tcase(suite, users);
    return suite;
}

PFK_UNIT_MAIN(store_suite)
