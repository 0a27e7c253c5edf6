/* SPDX-License-Identifier: BSD-2-Clause */
/* kill_storm [KILLS [SEED]]: random SIGKILLs, SIGSTOPs and SIGCONTs of workers
 * and producers, ledger kept outside of the table, on tables of several sizes.
 * Speaks TAP.
 *
 * Four workers, four producers (waiting, in an event loop, detached, taking all
 * the room there is). After each death: waitpid, repair, a new process in the
 * same seat; before half of the repairs another master is killed in the middle
 * of its own. From time to time all end in order: then every accepted job has
 * run, none was run by two at once, none was completed twice, nobody hung,
 * verify is silent, all slots are free; and all begin anew on the same table. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "job/control.h"
#include "prefork/table.h"

enum { WORKERS = 4, PRODUCERS = 4, SEATS = WORKERS + PRODUCERS, IN_FLIGHT = 6 };
#define MAX_JOBS       UINT32_C(16000000) /* of each producer in one storm; pages come with use */
#define HANG_MS        30000
#define KILLS_IN_ROUND 100
#define MOST_STOPPED   (SEATS / 2)
#define GREED          64 /* slots that one producer holds at most */

/* One job's page in the ledger. Written by processes that die: each field alone
 * is enough for what is concluded from it. */
struct entry {
    pfk_atomic_u32 accepted;  /* submit returned */
    pfk_atomic_u32 running;   /* pid of the worker in the handler, 0 */
    pfk_atomic_u32 runs;      /* handlers that reached their end */
    pfk_atomic_u32 completed; /* complete returned 0 */
};

struct ledger {
    pfk_atomic_u32 stop;             /* 1: producers end; 2: workers too, once the table is empty */
    pfk_atomic_u32 failed;           /* a child saw a breach; it has printed which */
    pfk_atomic_u32 doubled;          /* jobs met while another ran them */
    pfk_atomic_u32 next[PRODUCERS];  /* the producer's next job */
    pfk_atomic_u32 current[WORKERS]; /* job in the worker's hands, plus 1 */
    struct entry jobs[PRODUCERS][MAX_JOBS];
};

static struct ledger *ledger;
static struct prefork_table *table;
static pid_t pids[SEATS];
static bool stopped[SEATS];
static uint32_t n_stopped;

/* What a storm did. */
struct toll {
    uint32_t kills, stops, killed_repairs, rounds, accepted;
};
static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void breach(const char *format, ...)
{
    char line[256];
    va_list values;
    int length;

    va_start(values, format);
    length = vsnprintf(line, sizeof(line), format, values);
    va_end(values);
    (void)dprintf(STDOUT_FILENO, "# %.*s\n", length, line);
    pfk_u32_store_release(&ledger->failed, 1);
}

static void expect(bool holds, const char *what)
{
    if (holds)
        return;
    breach("%s: %s", what, prefork_last_error());
    _exit(1);
}

/* -- workers ------------------------------------------------------------------------ */

struct request {
    uint32_t producer, number, check;
};

static void run(uint32_t seat, struct prefork_job *job)
{
    struct request request;
    struct entry *entry;
    size_t length, capacity;

    memcpy(&request, prefork_job_request(job, &length), sizeof(request));
    expect(length == sizeof(request) && request.producer < PRODUCERS && request.number < MAX_JOBS &&
               request.check == (request.producer ^ request.number),
           "a request is not whole");
    entry = &ledger->jobs[request.producer][request.number];
    pfk_u32_store_release(&ledger->current[seat], request.producer * MAX_JOBS + request.number + 1);
    if (pfk_u32_exchange_acq_rel(&entry->running, (uint32_t)getpid()) != 0)
        (void)pfk_u32_add_acq_rel(&ledger->doubled, 1);
    memcpy(prefork_job_reply_buffer(job, &capacity), &request, sizeof(request));
    expect(prefork_job_reply(job, sizeof(request)) == 0, "reply");
    (void)pfk_u32_add_acq_rel(&entry->runs, 1);
    pfk_u32_store_release(&entry->running, 0);
    pfk_u32_store_release(&ledger->current[seat], 0);
    expect(prefork_job_complete(job, 0) == 0, "complete");
    (void)pfk_u32_add_acq_rel(&entry->completed, 1);
}

static bool table_is_empty(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    (void)prefork_table_statistics(table, &statistics);
    return statistics.free_slots == statistics.slots;
}

static void work(uint32_t seat)
{
    struct prefork_lane *lane;
    struct prefork_job *job;

    expect(prefork_lane_open(table, prefork_table_worker_lane(table, seat, 0, 0), &lane) == 0, "open");
    while (pfk_u32_load_acquire(&ledger->stop) < 2 || !table_is_empty()) {
        const int rc = prefork_lane_claim(lane, prefork_deadline_after_ms(200), &job);

        expect(rc == 0 || rc == -ETIMEDOUT, "claim");
        if (rc == 0)
            run(seat, job);
    }
    prefork_lane_close(&lane);
}

/* -- producers ------------------------------------------------------------------------ */

static bool next_request(uint32_t producer, struct request *request_out)
{
    const uint32_t number = pfk_u32_add_acq_rel(&ledger->next[producer], 1);

    if (number >= MAX_JOBS || pfk_u32_load_acquire(&ledger->stop) != 0)
        return false;
    *request_out = (struct request){producer, number, producer ^ number};
    return true;
}

static int submit(struct prefork_lane *lane, const struct request *request, uint32_t flags, uint64_t deadline_ns,
                  uint64_t *job_out)
{
    struct entry *const entry = &ledger->jobs[request->producer][request->number];
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(*request), .flags = flags, .user = entry};
    const int rc = prefork_lane_put(lane, request, &submission, deadline_ns, job_out);

    if (rc == 0)
        pfk_u32_store_release(&entry->accepted, 1);
    return rc;
}

static void check_result(const struct prefork_result *result)
{
    const struct entry *const entry = result->user;
    struct request reply;

    expect(result->status == 0 && result->reply_bytes == sizeof(reply), "a result is wrong");
    memcpy(&reply, result->reply, sizeof(reply));
    expect(entry == &ledger->jobs[reply.producer][reply.number], "a reply is another job's");
    expect(pfk_u32_load_acquire(&entry->runs) >= 1, "a result came before the job ran");
}

static void produce_waited(struct prefork_lane *lane, uint32_t producer)
{
    struct request request;
    struct prefork_result result;
    uint64_t job;

    while (next_request(producer, &request)) {
        expect(submit(lane, &request, 0, prefork_deadline_after_ms(HANG_MS), &job) == 0, "submit hangs");
        expect(prefork_lane_wait(lane, job, prefork_deadline_after_ms(HANG_MS), &result) == 0, "wait hangs");
        check_result(&result);
        expect(prefork_lane_collect(lane, job) == 0, "collect");
    }
}

static void produce_detached(struct prefork_lane *lane, uint32_t producer)
{
    struct request request;
    uint64_t job;

    while (next_request(producer, &request))
        expect(submit(lane, &request, PREFORK_SUBMIT_DETACHED, prefork_deadline_after_ms(HANG_MS), &job) == 0,
               "submit hangs");
}

/* Takes what room there is, waiting for the first slot, then uses it or gives it back. */
static void produce_greedily(struct prefork_lane *lane, uint32_t producer)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(struct request), .flags = PREFORK_SUBMIT_DETACHED};
    struct request request;

    while (next_request(producer, &request)) {
        uint64_t jobs[GREED];
        size_t held = 1, capacity;

        expect(prefork_lane_reserve(lane, prefork_deadline_after_ms(HANG_MS), &jobs[0]) == 0, "reserve hangs");
        while (held < GREED && prefork_lane_reserve(lane, PREFORK_NO_WAIT, &jobs[held]) == 0)
            held++;
        while (held-- > 1)
            expect(prefork_lane_abandon(lane, jobs[held]) == 0, "abandon");
        memcpy(prefork_lane_request_buffer(lane, jobs[0], &capacity), &request, sizeof(request));
        expect(prefork_lane_submit(lane, jobs[0], &submission) == 0, "submit");
        pfk_u32_store_release(&ledger->jobs[producer][request.number].accepted, 1);
    }
}

/* Without a timeout in between: only the eventfd says when to go on. */
static void produce_notified(struct prefork_lane *lane, uint32_t producer)
{
    struct pollfd wake = {.fd = prefork_lane_wake_fd(lane), .events = POLLIN};
    struct request request;
    bool pending = next_request(producer, &request), more = pending;
    uint32_t in_flight = 0;

    while (more || in_flight > 0) {
        struct prefork_result result;
        bool full = false;
        int rc;

        while (!full && more && in_flight < IN_FLIGHT) {
            uint64_t job;
            rc = submit(lane, &request, PREFORK_SUBMIT_NOTIFY, PREFORK_NO_WAIT, &job);

            expect(rc == 0 || rc == -EAGAIN, "submit");
            if (rc == 0) {
                in_flight++;
                more = next_request(producer, &request);
            } else {
                full = prefork_lane_want_room(lane) == 0;
            }
        }
        rc = prefork_lane_next(lane, &result);
        if (rc == 0) {
            check_result(&result);
            expect(prefork_lane_collect(lane, result.job) == 0, "collect");
            in_flight--;
        } else if (rc < 0 && (full || !more || in_flight == IN_FLIGHT)) {
            expect(poll(&wake, 1, HANG_MS) == 1, "the loop hangs");
        }
    }
}

static void produce(uint32_t producer)
{
    struct prefork_lane *lane;

    expect(prefork_lane_open(table, prefork_table_outside_lane(table, producer), &lane) == 0, "open");
    switch (producer) {
    case 0:
        produce_waited(lane, producer);
        break;
    case 1:
        produce_notified(lane, producer);
        break;
    case 2:
        produce_detached(lane, producer);
        break;
    default:
        produce_greedily(lane, producer);
        break;
    }
    prefork_lane_close(&lane);
}

/* -- the master ------------------------------------------------------------------------- */

static void spawn(uint32_t seat)
{
    const pid_t master = getpid(), child = fork();

    if (child < 0) {
        breach("fork: %s", strerror(errno));
        exit(1);
    }
    if (child > 0) {
        pids[seat] = child;
        return;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != master)
        _exit(1);
    expect(pfk_control_enter_child(table) == 0, "enter_child");
    if (seat < WORKERS)
        work(seat);
    else
        produce(seat - WORKERS);
    _exit(0);
}

static uint32_t lane_of(uint32_t seat)
{
    return seat < WORKERS ? prefork_table_worker_lane(table, seat, 0, 0)
                          : prefork_table_outside_lane(table, seat - WORKERS);
}

/* A dead worker runs nothing any more: so says waitpid, before repair. */
static void strike_from_ledger(uint32_t seat, pid_t dead)
{
    uint32_t job, pid = (uint32_t)dead;

    if (seat >= WORKERS)
        return;
    job = pfk_u32_exchange_acq_rel(&ledger->current[seat], 0);
    if (job != 0)
        (void)pfk_u32_cas_acq_rel(&ledger->jobs[(job - 1) / MAX_JOBS][(job - 1) % MAX_JOBS].running, &pid, 0);
}

static void repair(const uint32_t *lanes, uint32_t n_lanes)
{
    struct prefork_repair report = {.size = sizeof(report)};

    do {
        expect(prefork_table_repair(table, lanes, n_lanes, &report) == 0, "repair");
        expect(report.suspect == 0 && report.buried == 0, "repair found damage");
    } while (report.deferred > 0);
}

/* The storm's rhythm, not a synchronisation. */
static void pause_randomly(uint32_t most_us)
{
    const struct timespec pause = {0, (long)(random_next() % most_us) * 1000};

    (void)nanosleep(&pause, NULL);
}

/* Another master repairs, over and over, and is killed in it. */
static void repair_and_die(const uint32_t *lanes, uint32_t n_lanes)
{
    const pid_t master = getpid(), child = fork();
    int status;

    expect(child >= 0, "fork");
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == master)
            (void)prefork_table_repair(table, lanes, n_lanes, NULL);
        _exit(1);
    }
    pause_randomly(300);
    (void)kill(child, SIGKILL);
    expect(waitpid(child, &status, 0) == child && WIFSIGNALED(status), "a repair ended by itself");
}

/* Kills one or two at once, as random says. */
static void kill_some(struct toll *toll)
{
    const uint32_t n = random_next() % 4 == 0 ? 2 : 1, first = (uint32_t)(random_next() % SEATS);
    uint32_t lanes[2];

    for (uint32_t i = 0; i < n; i++)
        (void)kill(pids[(first + i * 3) % SEATS], SIGKILL);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t seat = (first + i * 3) % SEATS;
        int status;

        expect(waitpid(pids[seat], &status, 0) == pids[seat], "waitpid");
        if (!WIFSIGNALED(status))
            breach("seat %u ended by itself with %d", seat, status);
        n_stopped -= stopped[seat];
        stopped[seat] = false;
        strike_from_ledger(seat, pids[seat]);
        lanes[i] = lane_of(seat);
    }
    toll->kills += n;
    if (random_next() % 2 == 0) {
        repair_and_die(lanes, n);
        toll->killed_repairs++;
    }
    repair(lanes, n);
    for (uint32_t i = 0; i < n; i++)
        spawn((first + i * 3) % SEATS);
}

/* Stops one, or lets one go on that is stopped. */
static void stop_or_continue_one(struct toll *toll)
{
    const uint32_t seat = (uint32_t)(random_next() % SEATS);

    if (!stopped[seat] && n_stopped == MOST_STOPPED)
        return;
    (void)kill(pids[seat], stopped[seat] ? SIGCONT : SIGSTOP);
    toll->stops += !stopped[seat];
    n_stopped += stopped[seat] ? UINT32_MAX : 1;
    stopped[seat] = !stopped[seat];
}

static void continue_all(void)
{
    for (uint32_t seat = 0; seat < SEATS; seat++)
        if (stopped[seat])
            (void)kill(pids[seat], SIGCONT);
    memset(stopped, 0, sizeof(stopped));
    n_stopped = 0;
}

static void reap(uint32_t from, uint32_t to)
{
    for (uint32_t seat = from; seat < to; seat++) {
        int status = 0;

        expect(waitpid(pids[seat], &status, 0) == pids[seat], "waitpid");
        if (status != 0)
            breach("seat %u ended with status %x", seat, status);
    }
}

static void check_ledger(uint32_t *accepted_out)
{
    uint32_t accepted = 0, lost = 0, twice = 0;

    for (uint32_t producer = 0; producer < PRODUCERS; producer++)
        for (uint32_t i = 0; i < MAX_JOBS && i < pfk_u32_load_acquire(&ledger->next[producer]); i++) {
            const struct entry *const entry = &ledger->jobs[producer][i];

            accepted += pfk_u32_load_acquire(&entry->accepted);
            lost += pfk_u32_load_acquire(&entry->accepted) != 0 && pfk_u32_load_acquire(&entry->runs) == 0;
            twice += pfk_u32_load_acquire(&entry->completed) > 1;
        }
    if (lost != 0 || twice != 0 || pfk_u32_load_acquire(&ledger->doubled) != 0)
        breach("%u lost, %u completed twice, %u run by two at once", lost, twice,
               pfk_u32_load_acquire(&ledger->doubled));
    *accepted_out = accepted;
}

static void open_ledger(void)
{
    ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ledger == MAP_FAILED) {
        printf("Bail out! no memory for the ledger\n");
        exit(1);
    }
}

static bool close_ledger(void)
{
    const bool sound = pfk_u32_load_acquire(&ledger->failed) == 0;

    (void)munmap(ledger, sizeof(*ledger));
    return sound;
}

static bool is_sound(void)
{
    return pfk_u32_load_acquire(&ledger->failed) == 0;
}

/* All come, are struck, and go; then the table is at rest. */
static void storm_round(struct toll *toll, uint32_t kills)
{
    pfk_u32_store_release(&ledger->stop, 0);
    for (uint32_t seat = 0; seat < SEATS; seat++)
        spawn(seat);
    while (toll->kills < kills && is_sound()) {
        pause_randomly(2000);
        stop_or_continue_one(toll);
        kill_some(toll);
    }
    continue_all();
    pfk_u32_store_release(&ledger->stop, 1);
    reap(WORKERS, SEATS);
    pfk_u32_store_release(&ledger->stop, 2);
    reap(0, WORKERS);
    check_ledger(&toll->accepted);
    if (prefork_table_verify(table) != 0)
        breach("%s", prefork_last_error());
    if (!table_is_empty())
        breach("not all slots are free");
    toll->rounds++;
}

static bool storm(uint32_t slots, uint32_t kills, struct toll *toll_out)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = slots,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .max_workers = WORKERS,
                                                  .threads_per_worker = 1,
                                                  .generations = 1,
                                                  .outside_producers = PRODUCERS,
                                                  .max_attempts = 254};

    memset(toll_out, 0, sizeof(*toll_out));
    open_ledger();
    expect(prefork_table_create(&options, &table) == 0, "create");
    while (toll_out->kills < kills && is_sound()) {
        const uint32_t more = kills - toll_out->kills;

        storm_round(toll_out, toll_out->kills + (more < KILLS_IN_ROUND ? more : KILLS_IN_ROUND));
    }
    prefork_table_destroy(&table);
    return close_ledger();
}

int main(int argc, char **argv)
{
    static const uint32_t slots[] = {2, 4, 16, 1024};
    const uint32_t kills = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 200;
    bool sound = true;

    random_state = argc > 2 ? strtoull(argv[2], NULL, 0) : prefork_clock_now_ns() | 1;
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("1..%zu\n# %u kills each, seed %llu\n", PFK_COUNT_OF(slots), kills, (unsigned long long)random_state);
    for (size_t i = 0; i < PFK_COUNT_OF(slots) && sound; i++) {
        struct toll toll;

        sound = storm(slots[i], kills, &toll);
        printf("%sok %zu - %u slots: %u jobs accepted under %u kills and %u stops, %u repairs were killed, %u times at "
               "rest\n",
               sound ? "" : "not ", i + 1, slots[i], toll.accepted, toll.kills, toll.stops, toll.killed_repairs,
               toll.rounds);
    }
    return sound ? 0 : 1;
}
