/* SPDX-License-Identifier: BSD-2-Clause */
#include "step_stage.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "ipc/semaphore.h"
#include "step_living.h"

#define STAGE_MASTER  (-1)
#define STAGE_HANG_MS 20000 /* a bound for what should never be */
#define STAGE_REUSES  24

struct stage_ledger *stage_ledger;
struct prefork_table *stage_table;
struct prefork_lane *stage_holder, *stage_runner;
uint32_t stage_time_factor = 1;

static pid_t stage_master;
static int stage_victim = STAGE_MASTER; /* which one this process is */
static uint32_t stage_claimed_by_dead;  /* jobs that died with their workers */

/* -- sleeping without a timeout ------------------------------------------------ */

typedef int stage_clockwait_fn(sem_t *restrict, clockid_t, const struct timespec *restrict);

static stage_clockwait_fn *stage_real_clockwait;

/* The library's second look after about a second would mend what is broken. */
int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict until)
{
    const struct timespec never = {until->tv_sec + 24 * 3600, until->tv_nsec};

    return stage_real_clockwait(sem, clock, &never);
}

/* -- set-up --------------------------------------------------------------------- */

int stage_set_up(void)
{
    const char *const factor = getenv("PFK_TEST_TIME_FACTOR");
    const struct rlimit few = {64, 64};

    if (factor != NULL && strtod(factor, NULL) > 1)
        stage_time_factor = (uint32_t)strtod(factor, NULL);
    stage_master = getpid();
    /* A table's creation counts the open descriptors, with a system call for each possible one. */
    (void)setrlimit(RLIMIT_NOFILE, &few);
    (void)prctl(PR_SET_TIMERSLACK, 1);
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
                                                  .request_bytes = 65536, /* so that the hot ring is small */
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = 1,
                                                  .generations = 1,
                                                  .outside_producers = STAGE_LANES,
                                                  .max_attempts = 3};

    memset((void *)stage_ledger, 0, sizeof(*stage_ledger));
    living_clear();
    stage_claimed_by_dead = 0;
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

bool stage_is_sound(void)
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

uint32_t stage_lane_number(uint32_t outside)
{
    return prefork_table_outside_lane(stage_table, outside);
}

struct prefork_lane *stage_lane(uint32_t outside)
{
    struct prefork_lane *lane;

    stage_expect(prefork_lane_open(stage_table, stage_lane_number(outside), &lane) == 0, "open");
    return lane;
}

struct prefork_lane *stage_be_victim(uint32_t victim)
{
    stage_victim = (int)victim;
    return stage_lane(STAGE_VICTIM + victim);
}

void stage_wait_for(uint32_t outside, enum stage_wait what, uint64_t job)
{
    pfk_u64_store_release(&stage_ledger->waiting[outside].job, job);
    pfk_u32_store_release(&stage_ledger->waiting[outside].what, what);
}

uint64_t stage_reserve(struct prefork_lane *lane)
{
    uint64_t job;

    stage_expect(prefork_lane_reserve(lane, PREFORK_NO_WAIT, &job) == 0, "reserve");
    return job;
}

void stage_submit(struct prefork_lane *lane, uint64_t job, uint32_t number, uint32_t flags)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(number), .flags = flags};
    struct stage_job *const entry = &stage_ledger->jobs[number];
    size_t capacity;

    memcpy(prefork_lane_request_buffer(lane, job, &capacity), &number, sizeof(number));
    pfk_u64_store_release(&entry->submitting, job);
    stage_expect(prefork_lane_submit(lane, job, &submission) == 0, "submit");
    pfk_u32_store_release(&entry->accepted, 1);
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

/* Whether only one job has the number. */
static bool stage_is_once(uint32_t number)
{
    return number != STAGE_QUIT && number != STAGE_CYCLES_JOB;
}

uint32_t stage_run(struct prefork_job *job)
{
    const uint32_t number = stage_number(job);
    struct stage_job *const entry = &stage_ledger->jobs[number];
    size_t capacity;

    if (pfk_u32_exchange_acq_rel(&entry->running, (uint32_t)getpid()) != 0 && stage_is_once(number))
        stage_fail("job %u is run by two at once", number);
    memcpy(prefork_job_reply_buffer(job, &capacity), &number, sizeof(number));
    stage_expect(prefork_job_reply(job, sizeof(number)) == 0, "reply");
    (void)pfk_u32_add_acq_rel(&entry->runs, 1);
    pfk_u32_store_release(&entry->running, 0);
    return number;
}

static void stage_complete_as_victim(struct prefork_job *job, struct stage_job *entry)
{
    if (pfk_u32_load_acquire(&entry->completed_by[stage_victim]) != 0)
        stage_fail("a job was completed twice");
    pfk_u64_store_release(&entry->completing[stage_victim], prefork_job_id(job));
    stage_expect(prefork_job_complete(job, 0) == 0, "complete");
    pfk_u32_store_release(&entry->completed_by[stage_victim], 1);
}

void stage_complete(struct prefork_job *job)
{
    struct stage_job *const entry = &stage_ledger->jobs[stage_number(job)];

    if (stage_victim != STAGE_MASTER) {
        stage_complete_as_victim(job, entry);
        return;
    }
    stage_expect(prefork_job_complete(job, 0) == 0, "complete");
    (void)pfk_u32_add_acq_rel(&entry->completed, 1);
}

bool stage_run_one(void)
{
    struct prefork_job *job;

    if (prefork_lane_claim(stage_runner, PREFORK_NO_WAIT, &job) != 0)
        return false;
    (void)stage_run(job);
    stage_complete(job);
    return true;
}

void stage_poll(struct prefork_lane *lane)
{
    struct pollfd wake = {.fd = prefork_lane_wake_fd(lane), .events = POLLIN};

    stage_expect(poll(&wake, 1, -1) == 1, "poll");
}

uint32_t stage_release_held(void)
{
    const struct pfk_record *held = &stage_holder->newest;

    if (held->state == PFK_RECORD_NONE)
        held = &stage_holder->records[stage_holder->records[stage_table->geometry.slots].next];
    if (held->state != PFK_RECORD_RESERVED)
        return 0;
    stage_expect(prefork_lane_abandon(stage_holder, held->job) == 0, "abandon");
    return 1;
}

/* -- after the death ------------------------------------------------------------------ */

uint64_t stage_word(uint32_t index)
{
    return pfk_u64_load_acquire(&pfk_table_descriptor(stage_table, index)->word);
}

/* Whether the slot still holds that job in that state. */
static bool stage_is_still(uint64_t job, uint32_t state, uint32_t lane)
{
    const uint64_t word = stage_word(pfk_job_index(job));

    return pfk_word_is(word, state, lane) && pfk_word_life(word) == pfk_job_life(job);
}

/* Ids begin with life 1: 0 is none. */
static void stage_close_account(struct stage_job *job, uint32_t victim, bool submits, pid_t pid)
{
    const uint32_t lane = stage_lane_number(STAGE_VICTIM + victim);
    const uint64_t submitting = pfk_u64_load_acquire(&job->submitting);
    const uint64_t completing = pfk_u64_load_acquire(&job->completing[victim]);
    uint32_t runner = (uint32_t)pid;

    (void)pfk_u32_cas_acq_rel(&job->running, &runner, 0);
    if (submits && submitting != 0 && !stage_is_still(submitting, PFK_RESERVED, lane))
        pfk_u32_store_release(&job->accepted, 1);
    if (completing != 0 && !stage_is_still(completing, PFK_CLAIMED, lane))
        pfk_u32_store_release(&job->completed_by[victim], 1);
}

void stage_close_accounts(uint32_t victim, pid_t pid)
{
    const uint32_t first = STAGE_VICTIMS_JOBS + victim * STAGE_VICTIM_JOBS;

    stage_wait_for(STAGE_VICTIM + victim, STAGE_NOTHING, 0);
    for (uint32_t i = 0; i < STAGE_JOBS; i++)
        stage_close_account(&stage_ledger->jobs[i], victim, i >= first && i < first + STAGE_VICTIM_JOBS, pid);
    for (uint32_t i = 0; i < stage_table->geometry.slots; i++)
        stage_claimed_by_dead += pfk_word_is(stage_word(i), PFK_CLAIMED, stage_lane_number(STAGE_VICTIM + victim));
}

void stage_repair(uint32_t n_dead)
{
    struct prefork_repair report = {.size = sizeof(report)};
    uint32_t lanes[2], suspect = 0, passes = 0;

    for (uint32_t i = 0; i < n_dead; i++)
        lanes[i] = stage_lane_number(STAGE_VICTIM + i);
    do {
        if (prefork_table_repair(stage_table, lanes, n_dead, &report) != 0)
            stage_fail("repair: %s", prefork_last_error());
        suspect += report.suspect;
    } while (report.deferred > 0 && ++passes < 100);
    (void)stage_check(report.deferred == 0, "repair never gets done");
    (void)stage_check(suspect == 0, "repair found damage");
}

/* -- checks ------------------------------------------------------------------------------ */

static void stage_check_job(uint32_t number, const struct stage_job *job)
{
    const bool owed = pfk_u32_load_acquire(&job->accepted) != 0 && pfk_u32_load_acquire(&job->buried) == 0;
    const uint32_t runs = pfk_u32_load_acquire(&job->runs);
    uint32_t completed = pfk_u32_load_acquire(&job->completed);

    for (uint32_t i = 0; i < STAGE_VICTIMS; i++)
        completed += pfk_u32_load_acquire(&job->completed_by[i]);
    if (completed != owed || runs < completed || runs > completed + stage_claimed_by_dead)
        stage_fail("job %u: accepted %u, run %u times, completed %u times", number, owed, runs, completed);
}

static void stage_check_ledger(void)
{
    for (uint32_t i = STAGE_FIRST_JOB; i < STAGE_CYCLES_JOB; i++)
        stage_check_job(i, &stage_ledger->jobs[i]);
}

static void stage_check_invariants(void)
{
    const int broken = prefork_table_verify(stage_table);

    if (broken != 0)
        stage_fail("I-%d: %s", broken, prefork_last_error());
}

static void stage_verify(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    stage_check_invariants();
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
    const uint32_t number = STAGE_CYCLES_JOB;
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

static void stage_take_result(struct prefork_lane *lane, uint64_t job, uint32_t flags)
{
    const uint64_t until_ns = prefork_deadline_after_ms(STAGE_HANG_MS * stage_time_factor);
    struct prefork_result result = {.job = 0};
    int rc = 0;

    if (flags == 0)
        rc = prefork_lane_wait(lane, job, until_ns, &result);
    while (flags == PREFORK_SUBMIT_NOTIFY && (rc = prefork_lane_next(lane, &result)) == -EAGAIN)
        stage_poll(lane);
    if (rc != 0 || result.job != job || prefork_lane_collect(lane, job) != 0)
        stage_fail("reuse: %s", prefork_last_error());
}

/* Often enough for every ring to come around, and every slot. Others may be at work. */
void stage_reuse(void)
{
    static const uint32_t flags[] = {PREFORK_SUBMIT_DETACHED, 0, PREFORK_SUBMIT_NOTIFY};
    const uint32_t number = STAGE_CYCLES_JOB;
    struct prefork_lane *lane;
    uint64_t job;

    if (prefork_lane_open(stage_table, stage_lane_number(STAGE_VICTIM), &lane) != 0) {
        stage_fail("%s", prefork_last_error());
        return;
    }
    for (uint32_t i = 0; i < STAGE_REUSES && stage_is_sound(); i++) {
        const struct prefork_submission submission = {
            .size = sizeof(submission), .request_bytes = sizeof(number), .flags = flags[i % 3]};
        const int rc = prefork_lane_put(lane, &number, &submission, PREFORK_NO_WAIT, &job);

        while (stage_run_one())
            continue;
        if (rc == 0 && flags[i % 3] != PREFORK_SUBMIT_DETACHED)
            stage_take_result(lane, job, flags[i % 3]);
    }
    prefork_lane_close(&lane);
}

bool stage_close(void)
{
    if (stage_is_sound())
        living_settle();
    if (stage_is_sound())
        stage_check_invariants(); /* before a lane's close gives back what nobody would have found */
    prefork_lane_close(&stage_holder);
    living_dismiss();
    while (stage_is_sound() && stage_run_one())
        continue;
    if (stage_is_sound())
        stage_check_ledger();
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

void stage_drop(void)
{
    stage_fail("dropped");
    living_dismiss();
    prefork_lane_close(&stage_holder);
    prefork_lane_close(&stage_runner);
    prefork_table_destroy(&stage_table);
}
