/* SPDX-License-Identifier: BSD-2-Clause */
#include "step_stage.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
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

#include "base/clock.h"
#include "stepper.h"

#define STAGE_HANG_MS       20000 /* a bound for what should never be */
#define STAGE_LOOKS_AT_REST 200
#define STAGE_QUIT          UINT32_C(0) /* the number of the job that sends workers home */

enum stage_kind { STAGE_WORKER, STAGE_SUBMITTER, STAGE_LOOP, STAGE_RESERVER, STAGE_ROOM_LOOP };

struct stage_survivor {
    enum stage_kind kind;
    uint32_t seat, number;
    int status; /* that its job should end with */
    pid_t pid;
};

struct stage_ledger *stage_ledger;
struct prefork_table *stage_table;
struct prefork_lane *stage_holder, *stage_runner;
struct stage_calls stage_calls;
bool stage_victim_leaves;

static struct stage_survivor survivors[STAGE_SURVIVORS];
static uint32_t n_survivors;
static uint64_t hang_ns;
static pid_t stage_master;

/* -- sleeping without a timeout ------------------------------------------------ */

typedef int stage_clockwait_fn(sem_t *restrict, clockid_t, const struct timespec *restrict);

static stage_clockwait_fn *stage_real_clockwait;
static bool stage_sleeps_for_ever;

int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict until)
{
    return stage_sleeps_for_ever ? sem_wait(sem) : stage_real_clockwait(sem, clock, until);
}

/* -- set-up --------------------------------------------------------------------- */

int stage_set_up(void)
{
    const char *const factor = getenv("PFK_TEST_TIME_FACTOR");
    const double times = factor != NULL ? strtod(factor, NULL) : 1;

    stage_master = getpid();
    hang_ns = (uint64_t)(STAGE_HANG_MS * (times > 1 ? times : 1)) * PFK_NS_PER_MS;
    *(void **)&stage_real_clockwait = dlsym(RTLD_NEXT, "sem_clockwait");
    stage_ledger = mmap(NULL, sizeof(*stage_ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return stage_real_clockwait != NULL && stage_ledger != MAP_FAILED ? 0 : -1;
}

void stage_tear_down(void)
{
    (void)munmap(stage_ledger, sizeof(*stage_ledger));
}

bool stage_open(uint32_t slots)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = slots,
                                                  .request_bytes = 64,
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = 1,
                                                  .generations = 1,
                                                  .outside_producers = STAGE_LANES,
                                                  .max_attempts = 3};

    memset((void *)stage_ledger, 0, sizeof(*stage_ledger));
    n_survivors = 0;
    if (prefork_table_create(&options, &stage_table) != 0) {
        stage_fail("%s", prefork_last_error());
        return false;
    }
    stage_holder = stage_lane(STAGE_HOLDER);
    stage_runner = stage_lane(STAGE_RUNNER);
    return true;
}

void stage_fail(const char *format, ...)
{
    va_list values;

    if (pfk_u32_exchange_acq_rel(&stage_ledger->failed, 1) != 0)
        return;
    va_start(values, format);
    (void)vsnprintf(stage_ledger->reason, sizeof(stage_ledger->reason), format, values);
    va_end(values);
}

static bool stage_is_sound(void)
{
    return pfk_u32_load_acquire(&stage_ledger->failed) == 0;
}

void stage_expect(bool holds, const char *what)
{
    if (holds)
        return;
    stage_fail("%s: %s", what, prefork_last_error());
    if (getpid() == stage_master)
        printf("Bail out! %s\n", stage_ledger->reason);
    _exit(1);
}

static bool stage_check(bool holds, const char *what)
{
    if (!holds)
        stage_fail("%s", what);
    return holds;
}

/* -- what participants do ---------------------------------------------------------- */

static uint32_t stage_lane_number(uint32_t outside)
{
    return prefork_table_outside_lane(stage_table, outside);
}

struct prefork_lane *stage_lane(uint32_t outside)
{
    struct prefork_lane *lane;

    stage_expect(prefork_lane_open(stage_table, stage_lane_number(outside), &lane) == 0, "open");
    return lane;
}

uint64_t stage_reserve(struct prefork_lane *lane)
{
    uint64_t job;

    stage_expect(prefork_lane_reserve(lane, PREFORK_NO_WAIT, &job) == 0, "reserve");
    return job;
}

uint64_t stage_put(struct prefork_lane *lane, uint32_t number, uint32_t flags)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(number), .flags = flags};
    uint64_t job;

    stage_expect(prefork_lane_put(lane, &number, &submission, PREFORK_NO_WAIT, &job) == 0, "put");
    pfk_u32_store_release(&stage_ledger->jobs[number].accepted, 1);
    return job;
}

uint64_t stage_put_silently(struct prefork_lane *lane, uint32_t number, uint32_t flags)
{
    struct prefork_semaphore *const sem = &stage_table->work->ready_sem;
    uint64_t job;

    (void)pfk_u32_add_acq_rel((pfk_atomic_u32 *)(void *)sem->opaque, 1); /* no system call, nobody wakes */
    job = stage_put(lane, number, flags);
    stage_expect(pfk_semaphore_try(sem) == 0, "a token went");
    return job;
}

struct prefork_job *stage_claim(struct prefork_lane *lane)
{
    struct prefork_job *job;

    stage_expect(prefork_lane_claim(lane, PREFORK_NO_WAIT, &job) == 0, "claim");
    return job;
}

static uint32_t stage_number(const struct prefork_job *job)
{
    uint32_t number;
    size_t length;

    memcpy(&number, prefork_job_request(job, &length), sizeof(number));
    stage_expect(length == sizeof(number) && number < STAGE_JOBS, "a request is not whole");
    return number;
}

void stage_run(struct prefork_job *job)
{
    const uint32_t number = stage_number(job);
    struct stage_job *const entry = &stage_ledger->jobs[number];
    size_t capacity;

    if (pfk_u32_exchange_acq_rel(&entry->running, (uint32_t)getpid()) != 0)
        stage_fail("job %u is run by two at once", number);
    memcpy(prefork_job_reply_buffer(job, &capacity), &number, sizeof(number));
    stage_expect(prefork_job_reply(job, sizeof(number)) == 0, "reply");
    (void)pfk_u32_add_acq_rel(&entry->runs, 1);
    pfk_u32_store_release(&entry->running, 0);
}

void stage_complete(struct prefork_job *job)
{
    const uint32_t number = stage_number(job);

    if (stage_victim_leaves)
        pfk_u32_store_release(&stage_ledger->completing, number);
    stage_expect(prefork_job_complete(job, 0) == 0, "complete");
    if (!stage_victim_leaves)
        (void)pfk_u32_add_acq_rel(&stage_ledger->jobs[number].completed, 1);
}

static void stage_check_result(const struct prefork_result *result, uint32_t number, int status)
{
    uint32_t reply = number;

    if (status == 0 && result->reply_bytes == sizeof(reply))
        memcpy(&reply, result->reply, sizeof(reply));
    stage_expect(result->status == status && reply == number, "a result is wrong");
}

/* -- survivors --------------------------------------------------------------------- */

static void stage_nap(const struct stage_survivor *me)
{
    pfk_u32_store_release(&stage_ledger->napping[me->seat], 1);
}

static void stage_answer(const struct stage_survivor *me)
{
    pfk_u32_store_release(&stage_ledger->answered[me->seat], 1);
}

static void stage_be_worker(const struct stage_survivor *me, struct prefork_lane *lane)
{
    uint32_t number;

    do {
        struct prefork_job *job;

        stage_nap(me);
        stage_expect(prefork_lane_claim(lane, PREFORK_NO_DEADLINE, &job) == 0, "claim");
        number = stage_number(job);
        stage_run(job);
        stage_complete(job);
    } while (number != STAGE_QUIT);
}

static void stage_be_submitter(const struct stage_survivor *me, struct prefork_lane *lane)
{
    const uint64_t job = stage_put(lane, me->number, 0);
    struct prefork_result result;

    stage_nap(me);
    stage_expect(prefork_lane_wait(lane, job, PREFORK_NO_DEADLINE, &result) == 0, "wait");
    stage_check_result(&result, me->number, me->status);
    stage_expect(prefork_lane_collect(lane, job) == 0, "collect");
    stage_answer(me);
}

static void stage_poll(const struct stage_survivor *me, struct prefork_lane *lane)
{
    struct pollfd wake = {.fd = prefork_lane_wake_fd(lane), .events = POLLIN};

    stage_nap(me);
    stage_expect(poll(&wake, 1, -1) == 1, "poll");
}

static void stage_be_loop(const struct stage_survivor *me, struct prefork_lane *lane)
{
    struct prefork_result result;
    int rc;

    (void)stage_put(lane, me->number, PREFORK_SUBMIT_NOTIFY);
    while ((rc = prefork_lane_next(lane, &result)) == -EAGAIN)
        stage_poll(me, lane);
    stage_expect(rc == 0, "next");
    stage_check_result(&result, me->number, me->status);
    stage_expect(prefork_lane_collect(lane, result.job) == 0, "collect");
    stage_answer(me);
}

static void stage_be_reserver(const struct stage_survivor *me, struct prefork_lane *lane)
{
    uint64_t job;

    stage_nap(me);
    stage_expect(prefork_lane_reserve(lane, PREFORK_NO_DEADLINE, &job) == 0, "reserve");
    stage_answer(me);
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

static void stage_be_room_loop(const struct stage_survivor *me, struct prefork_lane *lane)
{
    struct prefork_result result;
    uint64_t job;

    while (prefork_lane_reserve(lane, PREFORK_NO_WAIT, &job) == -EAGAIN) {
        if (prefork_lane_want_room(lane) == 1)
            continue;
        while (prefork_lane_next(lane, &result) == -EAGAIN)
            stage_poll(me, lane);
    }
    stage_answer(me);
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

static void stage_survive(const struct stage_survivor *me)
{
    static void (*const be[])(const struct stage_survivor *, struct prefork_lane *) = {
        stage_be_worker, stage_be_submitter, stage_be_loop, stage_be_reserver, stage_be_room_loop};
    struct prefork_lane *lane;

    stage_sleeps_for_ever = true;
    lane = stage_lane(STAGE_FIRST_SURVIVOR + me->seat);
    be[me->kind](me, lane);
    prefork_lane_close(&lane);
    _exit(0);
}

/* Whether every survivor sleeps or has ended. They sleep without a timeout, so
 * while the master does nothing nobody will ever wake them. */
static bool stage_all_rest(void)
{
    for (uint32_t i = 0; i < n_survivors; i++)
        if (!stepper_rests(survivors[i].pid))
            return false;
    return true;
}

/* Waits for the state; false when it will never come: all rest, and did so each
 * time (one look is not enough, they are looked at one after the other), or
 * time has run out. */
static bool stage_await(bool (*holds)(const struct stage_survivor *), const struct stage_survivor *of)
{
    const struct timespec pause = {0, 50000};
    const uint64_t until_ns = prefork_clock_now_ns() + hang_ns;
    int at_rest = 0;

    while (!holds(of)) {
        at_rest = stage_all_rest() ? at_rest + 1 : 0;
        if (at_rest > STAGE_LOOKS_AT_REST || prefork_clock_now_ns() > until_ns || !stage_is_sound())
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

/* The flag, then the kernel's word: between the two nothing else sleeps. */
static bool stage_sleeps(const struct stage_survivor *survivor)
{
    return pfk_u32_load_acquire(&stage_ledger->napping[survivor->seat]) != 0 && stepper_is_asleep(survivor->pid);
}

static void stage_start(enum stage_kind kind, uint32_t number, int status)
{
    struct stage_survivor *const survivor = &survivors[n_survivors];
    const pid_t master = getpid();

    *survivor = (struct stage_survivor){kind, n_survivors, number, status, 0};
    survivor->pid = fork();
    if (survivor->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == master)
            stage_survive(survivor);
        _exit(1);
    }
    n_survivors++;
    if (!stage_await(stage_sleeps, survivor))
        stage_fail("survivor %u never slept", survivor->seat);
}

void stage_start_worker(void)
{
    stage_start(STAGE_WORKER, 0, 0);
}

void stage_start_submitter(uint32_t number, int status)
{
    stage_start(STAGE_SUBMITTER, number, status);
}

void stage_start_loop(uint32_t number)
{
    stage_start(STAGE_LOOP, number, 0);
}

void stage_start_reserver(void)
{
    stage_start(STAGE_RESERVER, 0, 0);
}

void stage_start_room_loop(void)
{
    stage_start(STAGE_ROOM_LOOP, 0, 0);
}

/* -- after the death ------------------------------------------------------------------ */

static uint64_t stage_word(uint32_t index)
{
    return pfk_u64_load_acquire(&pfk_table_descriptor(stage_table, index)->word);
}

/* How many jobs the dead victim holds. */
static uint32_t stage_count_claimed(void)
{
    uint32_t claimed = 0;

    for (uint32_t i = 0; i < stage_table->geometry.slots; i++)
        claimed += pfk_word_is(stage_word(i), PFK_CLAIMED, stage_lane_number(STAGE_VICTIM));
    return claimed;
}

/* What the victim did last is told by the words: whether its reservation became
 * a job, whether its job is complete. */
static void stage_close_accounts(uint32_t claimed)
{
    const uint64_t reserved = pfk_u64_load_acquire(&stage_ledger->reserved);
    const uint32_t completing = pfk_u32_load_acquire(&stage_ledger->completing);

    for (uint32_t i = 0; i < STAGE_JOBS; i++)
        if (claimed > 0)
            pfk_u32_store_release(&stage_ledger->jobs[i].running, 0);
    if (reserved != 0) {
        const uint64_t word = stage_word(pfk_job_index(reserved));

        if (pfk_word_life(word) != pfk_job_life(reserved) || pfk_word_state(word) != PFK_RESERVED)
            pfk_u32_store_release(&stage_ledger->jobs[pfk_u32_load_acquire(&stage_ledger->reserved_number)].accepted,
                                  1);
    }
    if (completing != 0 && claimed == 0)
        (void)pfk_u32_add_acq_rel(&stage_ledger->jobs[completing].completed, 1);
}

static void stage_repair(uint32_t n_dead)
{
    struct prefork_repair report = {.size = sizeof(report)};
    uint32_t lanes[2], suspect = 0, passes = 0;

    for (uint32_t i = 0; i < n_dead; i++)
        lanes[i] = stage_lane_number(STAGE_VICTIM + i);
    do {
        if (stage_calls.repair(stage_table, lanes, n_dead, &report) != 0)
            stage_fail("repair: %s", prefork_last_error());
        suspect += report.suspect;
    } while (report.deferred > 0 && ++passes < 100);
    (void)stage_check(report.deferred == 0, "repair never gets done");
    (void)stage_check(suspect == 0, "repair found damage");
}

static bool stage_no_job_waits(const struct stage_survivor *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < stage_table->geometry.slots; i++) {
        const uint32_t state = pfk_word_state(stage_word(i));

        if (state == PFK_READY || state == PFK_QUEUING || state == PFK_CLAIMED)
            return false;
    }
    return true;
}

static bool stage_is_answered(const struct stage_survivor *survivor)
{
    return pfk_u32_load_acquire(&stage_ledger->answered[survivor->seat]) != 0;
}

static bool stage_has_worker(void)
{
    for (uint32_t i = 0; i < n_survivors; i++)
        if (survivors[i].kind == STAGE_WORKER)
            return true;
    return false;
}

static void stage_run_all(void)
{
    struct prefork_job *job;

    if (stage_runner->job.held) {
        stage_run(&stage_runner->job);
        stage_complete(&stage_runner->job);
    }
    while (prefork_lane_claim(stage_runner, PREFORK_NO_WAIT, &job) == 0) {
        stage_run(job);
        stage_complete(job);
    }
}

/* Nothing that wakes anybody is done here before those who should be awake by
 * now have answered. */
static void stage_await_survivors(void)
{
    static const char *const missed[] = {"", "a submitter sleeps on", "a loop sleeps on: its job is done",
                                         "who waits for room sleeps on", "a loop sleeps on: there is room"};

    if (stage_runner->job.held || !stage_has_worker())
        stage_run_all();
    if (stage_has_worker() && !stage_await(stage_no_job_waits, NULL))
        stage_fail("a job waits and the worker sleeps on");
    for (uint32_t i = 0; i < n_survivors; i++)
        if (survivors[i].kind != STAGE_WORKER && !stage_await(stage_is_answered, &survivors[i]))
            stage_fail("%s", missed[survivors[i].kind]);
}

/* Everybody goes home, workers by a job that says so. */
static void stage_dismiss(void)
{
    const bool failed = pfk_u32_load_acquire(&stage_ledger->failed) != 0;

    for (uint32_t i = 0; i < n_survivors; i++) {
        int status = 0;

        if (failed)
            (void)kill(survivors[i].pid, SIGKILL);
        else if (survivors[i].kind == STAGE_WORKER)
            (void)stage_put(stage_runner, STAGE_QUIT, PREFORK_SUBMIT_DETACHED);
        (void)waitpid(survivors[i].pid, &status, 0);
        if (!failed)
            (void)stage_check(status == 0, "a survivor failed");
    }
}

static void stage_check_ledger(uint32_t claimed)
{
    for (uint32_t i = 1; i < STAGE_JOBS; i++) {
        const struct stage_job *const job = &stage_ledger->jobs[i];
        const uint32_t owed =
            pfk_u32_load_acquire(&job->accepted) != 0 && pfk_u32_load_acquire(&job->buried) == 0 ? 1 : 0;
        const uint32_t completed = pfk_u32_load_acquire(&job->completed), runs = pfk_u32_load_acquire(&job->runs);

        if (completed != owed || runs < completed || runs > completed + claimed)
            stage_fail("job %u: accepted %u, run %u times, completed %u times", i, owed, runs, completed);
    }
}

static void stage_verify(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    const int broken = prefork_table_verify(stage_table);

    if (broken != 0)
        stage_fail("I-%d: %s", broken, prefork_last_error());
    (void)prefork_table_statistics(stage_table, &statistics);
    if (statistics.free_slots != statistics.slots)
        stage_fail("%u of %u slots are free", statistics.free_slots, statistics.slots);
}

static void stage_reserve_all(struct prefork_lane *lane)
{
    uint64_t jobs[STAGE_MAX_SLOTS], none;
    const uint32_t slots = stage_table->geometry.slots;
    uint32_t got = 0;

    while (got < slots && prefork_lane_reserve(lane, PREFORK_NO_WAIT, &jobs[got]) == 0)
        got++;
    (void)stage_check(got == slots, "not all slots can be reserved");
    (void)stage_check(prefork_lane_reserve(lane, PREFORK_NO_WAIT, &none) == -EAGAIN, "a slot too many");
    while (got > 0)
        (void)prefork_lane_abandon(lane, jobs[--got]);
}

static void stage_cycle(struct prefork_lane *lane, uint32_t flags)
{
    const uint32_t number = STAGE_JOBS - 1;
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(number), .flags = flags};
    struct prefork_result result;
    struct prefork_job *claimed;
    uint64_t job;
    bool done = prefork_lane_put(lane, &number, &submission, PREFORK_NO_WAIT, &job) == 0 &&
                prefork_lane_claim(stage_runner, PREFORK_NO_WAIT, &claimed) == 0 &&
                prefork_job_complete(claimed, 0) == 0;

    if (done && flags == 0)
        done = prefork_lane_wait(lane, job, PREFORK_NO_WAIT, &result) == 0;
    else if (done && flags == PREFORK_SUBMIT_NOTIFY)
        done = prefork_lane_next(lane, &result) == 0 && result.job == job;
    if (done && flags != PREFORK_SUBMIT_DETACHED)
        done = prefork_lane_collect(lane, job) == 0;
    if (!done)
        stage_fail("life does not go on: %s", prefork_last_error());
}

/* The dead lane is opened again and the table works as ever. */
static void stage_go_on(void)
{
    struct prefork_lane *lane;

    if (prefork_lane_open(stage_table, stage_lane_number(STAGE_VICTIM), &lane) != 0) {
        stage_fail("%s", prefork_last_error());
        return;
    }
    stage_reserve_all(lane);
    for (uint32_t i = 0; i <= stage_table->geometry.slots; i++) {
        stage_cycle(lane, 0);
        stage_cycle(lane, PREFORK_SUBMIT_NOTIFY);
        stage_cycle(lane, PREFORK_SUBMIT_DETACHED);
    }
    prefork_lane_close(&lane);
}

bool stage_close(uint32_t n_dead)
{
    const uint32_t claimed = stage_count_claimed();

    stage_close_accounts(claimed);
    stage_repair(n_dead);
    if (stage_is_sound())
        stage_await_survivors();
    prefork_lane_close(&stage_holder);
    stage_dismiss();
    if (stage_is_sound())
        stage_run_all();
    if (stage_is_sound())
        stage_check_ledger(claimed);
    if (stage_is_sound())
        stage_verify();
    if (stage_is_sound())
        stage_go_on();
    prefork_lane_close(&stage_runner);
    if (stage_is_sound())
        stage_verify();
    prefork_table_destroy(&stage_table);
    return stage_is_sound();
}
