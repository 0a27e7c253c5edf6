/* SPDX-License-Identifier: BSD-2-Clause */
/* A storm of SIGKILLs over the masters of a durable pool: durable_storm [KILLS [SEED]]. Speaks TAP.
 *
 * Producers that are nobody's children here attach by key and submit without end; some wait for each result. Again and
 * again the master is killed, alone or with all its workers, in the midst of work or while it adopts what its
 * predecessor left, or it is stopped; the next one comes at once, sometimes two race. Producers are killed, too. In the
 * end every accepted job has run, none was run by two at once, the table is whole and empty, and nothing is left but
 * the segment, which is removed. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "prefork.h"
#include "storm_ledger.h"

enum { WORKERS = 2, JOB_THREADS = 2, PRODUCERS = 4, LANES = PRODUCERS + 1, SLOTS = 32 };
enum { SHORT_KILLS = 24, ENDS_PER_KILL = 40, LIMIT_MS = 20000 };
#define TICKETS (UINT32_C(1) << 23) /* pages come with use */

/* What all processes here share, beside the ledger. */
struct board {
    pfk_atomic_u32 stop;        /* 1: producers end */
    pfk_atomic_u32 next_ticket; /* of all producers */
    pfk_atomic_u32 ends;        /* jobs that ran to their end */
    pfk_atomic_u32 served;      /* masters that had a worker ready */
    pfk_atomic_u32 wrong;       /* replies or results that are wrong */
};

static struct board *board;
static struct storm_ledger *ledger;
static struct prefork_table_store store = {.size = sizeof(store)};
static char lock_path[512];
static pid_t producers[PRODUCERS], master;
static uint64_t random_state, limit_ms = LIMIT_MS;
static unsigned points;
static bool failed;

static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16) % n;
}

static void sleep_us(uint32_t us)
{
    const struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

    (void)nanosleep(&pause, NULL);
}

static void point(bool ok, const char *what)
{
    failed = failed || !ok;
    printf("%sok %u - %s\n", ok ? "" : "not ", ++points, what);
}

static void complain(const char *what)
{
    (void)pfk_u32_add_acq_rel(&board->wrong, 1);
    (void)dprintf(STDOUT_FILENO, "# %s: %s\n", what, prefork_last_error());
}

/* -- a master ------------------------------------------------------------------ */

/* Mostly short; one in 64 is long enough to outlive its master by far. */
static int echo(struct prefork_job *job, void *context)
{
    size_t length, capacity;
    uint32_t ticket;

    (void)context;
    memcpy(&ticket, prefork_job_request(job, &length), sizeof(ticket));
    if (length != sizeof(ticket) || !storm_ledger_start(ledger, ticket))
        return -EPROTO;
    sleep_us(ticket % 64 == 0 ? 10000 : ticket % 200);
    memcpy(prefork_job_reply_buffer(job, &capacity), &ticket, sizeof(ticket));
    storm_ledger_end(ledger, ticket);
    (void)pfk_u32_add_acq_rel(&board->ends, 1);
    return prefork_job_reply(job, sizeof(ticket));
}

static void tell_served(struct prefork_pool *pool, void *context)
{
    (void)pool;
    (void)context;
    (void)pfk_u32_add_acq_rel(&board->served, 1);
}

static int set_up(struct prefork_pool *pool)
{
    static const struct {
        enum prefork_pool_option option;
        uint64_t value;
    } options[] = {
        {PREFORK_POOL_WORKERS, WORKERS},  {PREFORK_POOL_IO_THREADS, 0},   {PREFORK_POOL_JOB_THREADS, JOB_THREADS},
        {PREFORK_POOL_SLOTS, SLOTS},      {PREFORK_POOL_REPLY_BYTES, 64}, {PREFORK_POOL_REQUEST_BYTES, 64},
        {PREFORK_POOL_MAX_ATTEMPTS, 254}, {PREFORK_POOL_DRAIN_MS, 60000}, {PREFORK_POOL_ATTACHED_PRODUCERS, LANES},
    };
    int rc = prefork_pool_store(pool, &store);

    for (size_t i = 0; i < PFK_COUNT_OF(options) && rc == 0; i++)
        rc = prefork_pool_set(pool, options[i].option, options[i].value);
    if (rc == 0)
        rc = prefork_pool_handle(pool, "echo", echo, NULL);
    return rc == 0 ? prefork_pool_on_ready(pool, tell_served, NULL) : rc;
}

/* As the caller of run, or as its starter: then another process is the master. */
static int serve(bool starts)
{
    struct prefork_pool *pool;
    int descriptor;
    int rc = prefork_pool_create(&pool);

    if (rc == 0)
        rc = set_up(pool);
    if (rc == 0 && !starts)
        rc = prefork_pool_run(pool);
    if (rc == 0 && starts)
        rc = prefork_pool_start(pool, &descriptor);
    if (rc == 0 && starts)
        rc = prefork_pool_wait(pool, PREFORK_NO_DEADLINE);
    if (rc != 0 && rc != -EBUSY)
        complain("a master failed");
    prefork_pool_destroy(&pool);
    return rc;
}

/* In a process group of its own, with its workers. */
static pid_t start_master(bool starts)
{
    const pid_t pid = fork();

    if (pid == 0) {
        int rc;

        (void)setpgid(0, 0);
        rc = serve(starts);
        _exit(rc == 0 ? EXIT_SUCCESS : rc == -EBUSY ? EBUSY : EXIT_FAILURE);
    }
    (void)setpgid(pid, pid); /* whoever of the two is first */
    return pid;
}

/* -- a producer ------------------------------------------------------------------- */

static bool open_lane(struct prefork_table *table, struct prefork_lane **lane_out)
{
    int rc;

    while ((rc = prefork_table_open_attached_lane(table, lane_out)) == -EBUSY &&
           pfk_u32_load_acquire(&board->stop) == 0)
        sleep_us(1000); /* a predecessor's lane waits for its repair */
    if (rc != 0 && rc != -EBUSY)
        complain("a lane can't be opened");
    return rc == 0;
}

static void await_result(struct prefork_lane *lane, uint64_t job, uint32_t ticket)
{
    struct prefork_result result;
    uint32_t reply = ~ticket;
    int rc;

    do {
        rc = prefork_lane_wait(lane, job, prefork_deadline_after_ms(1000), &result);
    } while (rc == -ETIMEDOUT); /* there may be no master for a while */
    if (rc == 0 && result.reply_bytes == sizeof(reply))
        memcpy(&reply, result.reply, sizeof(reply));
    if (rc != 0 || reply != ticket || prefork_lane_collect(lane, job) != 0)
        complain("a result is wrong");
}

static void submit_one(struct prefork_lane *lane, uint32_t ticket, bool waits)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(ticket), .flags = waits ? 0 : PREFORK_SUBMIT_DETACHED};
    uint64_t job;
    int rc;

    (void)storm_ledger_intend(ledger, ticket);
    do {
        rc = prefork_lane_put(lane, &ticket, &submission, prefork_deadline_after_ms(1000), &job);
    } while (rc == -ETIMEDOUT && pfk_u32_load_acquire(&board->stop) == 0);
    if (rc == 0)
        storm_ledger_accept(ledger, ticket);
    else if (rc != -ETIMEDOUT)
        complain("a submit failed");
    if (rc == 0 && waits)
        await_result(lane, job, ticket);
}

static void produce(uint32_t which)
{
    struct prefork_table *table;
    struct prefork_lane *lane;

    if (prefork_table_attach(&store, &table) != 0) {
        complain("a producer can't attach");
        return;
    }
    if (open_lane(table, &lane)) {
        while (pfk_u32_load_acquire(&board->stop) == 0) {
            const uint32_t ticket = pfk_u32_add_acq_rel(&board->next_ticket, 1);

            if (ticket >= TICKETS)
                break;
            submit_one(lane, ticket, which % 2 == 0);
        }
        prefork_lane_close(&lane);
    }
    prefork_table_destroy(&table);
}

static void start_producer(uint32_t which)
{
    producers[which] = fork();
    if (producers[which] != 0)
        return;
    produce(which);
    _exit(EXIT_SUCCESS);
}

/* -- waiting, and reaping whoever ends ----------------------------------------------- */

static uint32_t refused; /* masters that gave way to another */

static void note_end(pid_t pid, int status)
{
    if (pid == master)
        master = 0;
    for (uint32_t i = 0; i < PRODUCERS; i++)
        if (producers[i] == pid)
            producers[i] = 0;
    refused += WIFEXITED(status) && WEXITSTATUS(status) == EBUSY;
}

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        note_end(pid, status);
}

typedef bool condition_fn(uint32_t wanted);

static bool await(condition_fn *holds, uint32_t wanted)
{
    const uint64_t until_ns = prefork_deadline_after_ms(limit_ms);

    for (;;) {
        reap();
        if (holds(wanted))
            return true;
        if (prefork_clock_now_ns() >= until_ns)
            return false;
        sleep_us(200);
    }
}

static bool ends_reached(uint32_t wanted)
{
    return pfk_u32_load_acquire(&board->ends) >= wanted;
}

static bool served_reached(uint32_t wanted)
{
    return pfk_u32_load_acquire(&board->served) >= wanted || master == 0;
}

static bool master_gone(uint32_t unused)
{
    (void)unused;
    return master == 0;
}

static bool producers_gone(uint32_t unused)
{
    bool gone = true;

    (void)unused;
    for (uint32_t i = 0; i < PRODUCERS; i++)
        gone = gone && producers[i] == 0;
    return gone;
}

/* -- the storm --------------------------------------------------------------------------- */

enum how { ALONE, ALL, ORPHANS_TOO, TWO_RACE, WHILE_ADOPTING, STARTED, STOPPED, HOWS };

static uint32_t times[HOWS];

/* A new master that serves, tried again while predecessors hold it up. */
static bool begin_reign(bool starts)
{
    const uint64_t until_ns = prefork_deadline_after_ms(limit_ms);

    do {
        const uint32_t served = pfk_u32_load_acquire(&board->served);

        master = start_master(starts);
        if (!await(served_reached, served + 1))
            return false;
        if (master != 0)
            return true;
    } while (prefork_clock_now_ns() < until_ns);
    return false;
}

static void kill_now(pid_t pid)
{
    if (pid != 0)
        (void)kill(pid, SIGKILL);
}

/* Two at once: one of them gives way. (Both do while a killed starter's master is still stopping.) */
static bool race(void)
{
    const pid_t one = start_master(false), other = start_master(false);
    const uint64_t until_ns = prefork_deadline_after_ms(limit_ms);
    int status;

    for (;;) {
        for (int i = 0; i < 2; i++) {
            const pid_t loser = i == 0 ? one : other;

            if (waitpid(loser, &status, WNOHANG) != loser)
                continue;
            note_end(loser, status);
            master = loser == one ? other : one;
            return WIFEXITED(status) && WEXITSTATUS(status) == EBUSY;
        }
        if (prefork_clock_now_ns() >= until_ns)
            return false;
        sleep_us(200);
    }
}

static bool replace_master(enum how how)
{
    const pid_t group = master;
    const uint32_t served = pfk_u32_load_acquire(&board->served);

    times[how]++;
    if (how == STOPPED || how == STARTED) {
        (void)kill(group,
                   how == STOPPED ? SIGTERM : SIGKILL); /* STARTED: the starter dies, its master stops in order */
        return await(master_gone, 0) && begin_reign(how == STOPPED && random_below(2) == 0);
    }
    kill_now(how == ALL ? -group : group);
    if (!await(master_gone, 0))
        return false;
    if (how == TWO_RACE)
        return race() && await(served_reached, served + 1) && (master != 0 || begin_reign(false));
    if (how == WHILE_ADOPTING) {
        master = start_master(false);
        sleep_us(random_below(8000));
        kill_now(-master);
        if (!await(master_gone, 0))
            return false;
    }
    if (how == ORPHANS_TOO) {
        master = start_master(false);
        sleep_us(random_below(3000));
        (void)kill(-group, SIGKILL);
        return await(served_reached, served + 1) && (master != 0 || begin_reign(false));
    }
    return begin_reign(random_below(4) == 0);
}

static bool kill_a_producer(void)
{
    const uint32_t which = random_below(PRODUCERS);

    kill_now(producers[which]);
    while (producers[which] != 0) {
        reap();
        sleep_us(100);
    }
    start_producer(which);
    return true;
}

static const char *rage(uint32_t kills)
{
    enum how how_last = HOWS;

    if (!begin_reign(false))
        return "the first master does not serve";
    for (uint32_t i = 0; i < PRODUCERS; i++)
        start_producer(i);
    for (uint32_t i = 0; i < kills && pfk_u32_load_acquire(&board->wrong) == 0; i++) {
        static char fault[96];
        const enum how how = (enum how)random_below(HOWS), last = how_last;
        how_last = how;

        if (!await(ends_reached, pfk_u32_load_acquire(&board->ends) + ENDS_PER_KILL)) {
            (void)snprintf(fault, sizeof(fault), "no job runs any more before kill %u, after way %d; master %ld", i,
                           (int)last, (long)master);
            return fault;
        }
        if (random_below(3) == 0)
            (void)kill_a_producer();
        if (!replace_master(how)) {
            (void)snprintf(fault, sizeof(fault), "kill %u, way %d: no master comes after it", i, (int)how);
            return fault;
        }
    }
    return NULL;
}

/* -- the verdict ------------------------------------------------------------------------------ */

/* In a process of its own: this one has no store open, so that its children may. */
static bool in_a_process(bool (*holds)(void))
{
    const pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(holds() ? EXIT_SUCCESS : EXIT_FAILURE);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool table_empties(void)
{
    const uint64_t until_ns = prefork_deadline_after_ms(limit_ms);
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    struct prefork_table *table;

    if (prefork_table_attach(&store, &table) != 0)
        return false;
    do {
        (void)prefork_table_statistics(table, &statistics);
        sleep_us(1000);
    } while (statistics.free_slots != statistics.slots && prefork_clock_now_ns() < until_ns);
    prefork_table_destroy(&table);
    return statistics.free_slots == statistics.slots;
}

/* A starter that is told to stop dies of it, and its master, another process, stops after that. */
static bool no_master_is_left(void)
{
    const uint64_t until_ns = prefork_deadline_after_ms(limit_ms);
    struct prefork_table *table;
    int pid, rc;

    if (prefork_table_attach(&store, &table) != 0)
        return false;
    while ((rc = prefork_table_master(table, &pid)) == 0 && prefork_clock_now_ns() < until_ns)
        sleep_us(1000);
    prefork_table_destroy(&table);
    return rc == -ESRCH;
}

static bool table_is_whole(void)
{
    struct prefork_table *table;
    int broken;

    if (prefork_table_attach(&store, &table) != 0)
        return false;
    broken = prefork_table_verify(table);
    if (broken != 0)
        (void)dprintf(STDOUT_FILENO, "# I-%d: %s\n", broken, prefork_last_error());
    prefork_table_destroy(&table);
    return broken == 0;
}

static bool table_is_removed(void)
{
    const int rc = prefork_table_remove(&store);

    if (rc != 0)
        (void)dprintf(STDOUT_FILENO, "# %s\n", prefork_last_error());
    return rc == 0;
}

static void judge(const char *fault)
{
    struct storm_sums sums;

    if (fault != NULL)
        printf("# %s\n", fault);
    point(fault == NULL, "there is always a next master");
    pfk_u32_store_release(&board->stop, 1);
    point(await(producers_gone, 0), "producers come to their end");
    point(in_a_process(table_empties), "what was accepted is run");
    if (master != 0)
        (void)kill(master, SIGTERM);
    point(await(master_gone, 0) && in_a_process(no_master_is_left), "the last master stops");
    point(in_a_process(table_is_whole), "the table is whole");
    point(in_a_process(table_is_removed), "the table is removed");
    sums = storm_ledger_sums(ledger);
    printf("# %" PRIu64 " accepted, %" PRIu64 " started, %" PRIu64 " again, %" PRIu64
           " lost; killed alone %u, with all "
           "%u, orphans too %u, race %u, while adopting %u, its starter %u; stopped %u; %u masters gave way\n",
           sums.accepted, sums.starts, sums.repeated, sums.lost, times[ALONE], times[ALL], times[ORPHANS_TOO],
           times[TWO_RACE], times[WHILE_ADOPTING], times[STARTED], times[STOPPED], refused);
    point(sums.lost == 0, "no accepted job was lost");
    point(pfk_u32_load_relaxed(&ledger->two_owners) == 0, "no job was run by two at once");
    point(sums.uninvited == 0 && pfk_u32_load_relaxed(&ledger->wrong_tickets) == 0, "no job came from nowhere");
    point(pfk_u32_load_acquire(&board->wrong) == 0, "every result was right");
}

/* Whatever a failure has left is not left to others. */
static void clean_up(void)
{
    for (uint32_t i = 0; i < PRODUCERS; i++)
        kill_now(producers[i]);
    if (master != 0)
        kill_now(-master);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    if (failed)
        (void)in_a_process(table_is_removed);
    (void)unlink(lock_path);
}

static void *share(size_t bytes)
{
    void *const at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED) {
        printf("Bail out! no memory for the ledger\n");
        exit(EXIT_FAILURE);
    }
    return at;
}

static void open_stage(void)
{
    const char *const folder = getenv("TMPDIR"), *const factor = getenv("PFK_TEST_TIME_FACTOR");
    const double times_longer = factor != NULL ? strtod(factor, NULL) : 1;

    if (times_longer > 1)
        limit_ms = (uint64_t)(LIMIT_MS * times_longer);
    (void)snprintf(lock_path, sizeof(lock_path), "%s/durable_storm.%ld", folder != NULL ? folder : "/tmp",
                   (long)getpid());
    store.lock_path = lock_path;
    store.key = (int)(0x52000000u | ((uint32_t)getpid() & 0xffffffu));
    board = share(sizeof(*board));
    ledger = share(storm_ledger_bytes(TICKETS));
    ledger->n_cells = TICKETS;
    ledger->patience_ms = 2000;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans are reaped here */
}

int main(int argc, char **argv)
{
    const uint32_t kills = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : SHORT_KILLS;

    random_state = argc > 2 ? strtoull(argv[2], NULL, 0) : prefork_clock_now_ns() | 1;
    setvbuf(stdout, NULL, _IONBF, 0);
    prefork_log_set_level(PREFORK_LOG_ERROR);
    printf("# %u kills, seed %" PRIu64 "\n", kills, random_state);
    open_stage();
    judge(rage(kills));
    clean_up();
    printf("1..%u\n", points);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
