/* SPDX-License-Identifier: BSD-2-Clause */
#include "step_durable.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "prefork/error.h"
#include "step_stage.h"
#include "stepper.h"

enum { DURABLE_SLOTS = 4, DURABLE_DETACHED = 1, DURABLE_CLAIMED = 2, DURABLE_STRANGERS = 3, DURABLE_LAST = 4 };
#define DURABLE_QUIT          UINT32_C(0)
#define DURABLE_LIMIT_MS      20000
#define DURABLE_LOOKS_AT_REST 200 /* so often in a row it is no passing sleep */

static struct prefork_table_store store = {.size = sizeof(store), .wait_ms = DURABLE_LIMIT_MS};
static struct prefork_table *table; /* the harness's while it is the master; a child's own */
static struct prefork_lane *lane;
static pid_t survivor; /* a stranger, or a worker */

/* -- what everybody does -------------------------------------------------------- */

static int durable_adopt(struct prefork_adoption *adoption)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = DURABLE_SLOTS,
                                                  .request_bytes = 65536, /* so that the hot ring is small */
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = 1,
                                                  .generations = 1,
                                                  .outside_producers = 2,
                                                  .attached_producers = 1};

    return prefork_table_adopt(&options, &store, &table, adoption);
}

static int durable_open(uint32_t outside)
{
    return prefork_lane_open(table, prefork_table_outside_lane(table, outside), &lane);
}

static uint64_t durable_put(uint32_t number, uint32_t flags)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(number), .flags = flags};
    uint64_t job = 0;

    stage_expect(prefork_lane_put(lane, &number, &submission, PREFORK_NO_WAIT, &job) == 0, "put");
    pfk_u32_store_release(&stage_ledger->jobs[number].accepted, 1);
    return job;
}

static uint32_t durable_run(struct prefork_job *job)
{
    uint32_t number;
    size_t length;

    memcpy(&number, prefork_job_request(job, &length), sizeof(number));
    stage_expect(length == sizeof(number) && number < STAGE_JOBS, "a request is not whole");
    if (pfk_u32_exchange_acq_rel(&stage_ledger->jobs[number].running, 1) != 0)
        stage_fail("job %u is run by two at once", number);
    (void)pfk_u32_add_acq_rel(&stage_ledger->jobs[number].completed, 1);
    pfk_u32_store_release(&stage_ledger->jobs[number].running, 0);
    stage_expect(prefork_job_complete(job, 0) == 0, "complete");
    return number;
}

static void durable_wait(uint64_t job)
{
    struct prefork_result result;

    stage_expect(prefork_lane_wait(lane, job, PREFORK_NO_DEADLINE, &result) == 0, "wait");
    stage_expect(prefork_lane_collect(lane, job) == 0, "collect");
}

/* In a child that ends with its harness. */
static pid_t durable_fork(void)
{
    const pid_t harness = getpid(), child = fork();

    if (child != 0)
        return child;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != harness)
        _exit(1);
    return 0;
}

/* -- the harness ------------------------------------------------------------------ */

/* No store is open between two scenes: each makes its own. */
void durable_arrange_nothing(void)
{
    static char path[512];
    static unsigned scenes;
    const char *const folder = getenv("TMPDIR");

    (void)snprintf(path, sizeof(path), "%s/step.%ld", folder != NULL ? folder : "/tmp", (long)getpid());
    store.lock_path = path;
    store.key = (int)(0x53000000u | ((unsigned)getpid() << 8 & 0xffff00u) | (scenes++ & 0xffu));
    survivor = 0;
    memset((void *)stage_ledger->jobs, 0, sizeof(stage_ledger->jobs));
    prefork_log_set_level(PREFORK_LOG_WARNING); /* a line for each master would be a line for each kill */
}

static void durable_clear(void)
{
    if (survivor > 0 && pfk_u32_load_acquire(&stage_ledger->failed) != 0)
        (void)kill(survivor, SIGKILL);
    if (survivor > 0) {
        int status = 1;

        (void)waitpid(survivor, &status, 0);
        if (status != 0)
            stage_fail("a survivor failed");
    }
    prefork_lane_close(&lane);
    prefork_table_destroy(&table);
    if (prefork_table_remove(&store) != 0)
        stage_fail("remove: %s", prefork_last_error());
    (void)unlink(store.lock_path);
}

static void durable_check_rest(void)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    const int broken = prefork_table_verify(table);

    if (broken != 0)
        stage_fail("I-%d: %s", broken, prefork_last_error());
    (void)prefork_table_statistics(table, &statistics);
    if (statistics.free_slots != statistics.slots)
        stage_fail("%u of %u slots are free", statistics.free_slots, statistics.slots);
}

/* Runs all that waits and then one more, as the master's only worker. */
static void durable_run_all(void)
{
    struct prefork_job *job;

    (void)durable_put(DURABLE_LAST, PREFORK_SUBMIT_DETACHED);
    while (prefork_lane_claim(lane, PREFORK_NO_WAIT, &job) == 0)
        (void)durable_run(job);
}

static void durable_check_ledger(void)
{
    for (uint32_t i = 1; i < STAGE_JOBS; i++) {
        const struct stage_job *const job = &stage_ledger->jobs[i];

        if (pfk_u32_load_acquire(&job->completed) != pfk_u32_load_acquire(&job->accepted))
            stage_fail("job %u: accepted %u, completed %u times", i, pfk_u32_load_acquire(&job->accepted),
                       pfk_u32_load_acquire(&job->completed));
    }
}

/* Whatever the victim has left: the next master comes. */
static bool durable_succeed(void)
{
    if (durable_adopt(NULL) == 0 && durable_open(0) == 0)
        return true;
    stage_fail("the next master: %s", prefork_last_error());
    return false;
}

/* -- creation ----------------------------------------------------------------------- */

/* What the C library does at a first allocation would hide how long the scene is. */
void durable_prepare_creation(void)
{
    free(malloc(1));
}

void durable_act_adopt(void)
{
    stage_expect(durable_adopt(NULL) == 0, "adopt");
}

void durable_inspect_creation(int victim)
{
    (void)victim;
    if (durable_succeed()) {
        durable_run_all();
        prefork_lane_close(&lane);
        durable_check_rest();
        durable_check_ledger();
    }
    durable_clear();
    (void)prefork_segment_remove_strays(); /* of the victim's control segment */
}

/* -- adoption ------------------------------------------------------------------------- */

/* A master that dies holding a job, a reservation, and results that nobody will collect. */
static void durable_die_with_debts(void)
{
    struct prefork_lane *submitter;
    struct prefork_job *job;
    uint64_t reserved;

    stage_expect(durable_adopt(NULL) == 0 && durable_open(0) == 0, "adopt");
    submitter = lane;
    (void)durable_put(DURABLE_CLAIMED, 0);
    stage_expect(durable_open(1) == 0, "open");
    stage_expect(prefork_lane_claim(lane, PREFORK_NO_WAIT, &job) == 0, "claim");
    lane = submitter;
    (void)durable_put(DURABLE_DETACHED, PREFORK_SUBMIT_DETACHED);
    stage_expect(prefork_lane_reserve(lane, PREFORK_NO_WAIT, &reserved) == 0, "reserve");
    _exit(0);
}

/* A producer that lives on, asleep over its job: nothing but its completion wakes it. */
static void durable_be_stranger(void)
{
    stage_expect(prefork_table_attach(&store, &table) == 0, "attach");
    stage_expect(prefork_table_open_attached_lane(table, &lane) == 0, "open");
    durable_wait(durable_put(DURABLE_STRANGERS, 0));
    prefork_lane_close(&lane);
    prefork_table_destroy(&table);
    _exit(0);
}

/* Looks at a child until a state was seen so often in a row; false: not in time. */
static bool durable_await_state(pid_t child, bool (*is)(pid_t pid), int looks)
{
    const struct timespec pause = {0, 50000};
    const uint64_t until_ns = prefork_deadline_after_ms((uint64_t)DURABLE_LIMIT_MS * stage_time_factor);

    for (int seen = 0; seen < looks; seen = is(child) ? seen + 1 : 0) {
        if (prefork_clock_now_ns() > until_ns)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

static bool durable_await_sleep(pid_t child)
{
    return durable_await_state(child, stepper_is_asleep, 3);
}

static bool durable_await_end(pid_t child)
{
    return durable_await_state(child, stepper_rests, DURABLE_LOOKS_AT_REST) && !stepper_is_asleep(child);
}

static void durable_start(void (*be)(void))
{
    survivor = durable_fork();
    if (survivor == 0)
        be();
    if (!durable_await_sleep(survivor))
        stage_fail("a survivor never slept");
}

void durable_arrange_debts(void)
{
    pid_t child;
    int status = 1;

    durable_arrange_nothing();
    child = durable_fork();
    if (child == 0)
        durable_die_with_debts();
    stage_expect(waitpid(child, &status, 0) == child && status == 0, "the last master could not die");
    durable_start(durable_be_stranger);
}

void durable_prepare_adoption(void)
{
    durable_prepare_creation();
}

void durable_inspect_adoption(int victim)
{
    (void)victim;
    if (durable_succeed()) {
        durable_run_all();
        if (!durable_await_end(survivor))
            stage_fail("the stranger sleeps over its result");
        prefork_lane_close(&lane);
        durable_check_rest();
        durable_check_ledger();
    }
    durable_clear();
    (void)prefork_segment_remove_strays();
}

/* -- a stranger --------------------------------------------------------------------------- */

static void durable_be_worker(void)
{
    struct prefork_job *job;
    uint32_t number;

    stage_expect(durable_open(1) == 0, "open");
    do {
        stage_expect(prefork_lane_claim(lane, PREFORK_NO_DEADLINE, &job) == 0, "claim");
        number = durable_run(job);
    } while (number != DURABLE_QUIT);
    prefork_lane_close(&lane);
    prefork_table_destroy(&table);
    _exit(0);
}

void durable_arrange_master(void)
{
    durable_arrange_nothing();
    stage_expect(durable_adopt(NULL) == 0, "adopt");
    durable_start(durable_be_worker);
    stage_expect(durable_open(0) == 0, "open");
}

/* A child of the master becomes a stranger by closing what it has inherited. */
void durable_prepare_stranger(void)
{
    prefork_table_destroy(&table);
}

/* The job is accepted once its word has left RESERVED, which nobody but the table can tell: the ledger learns only what
 * must be, and what may be. */
void durable_act_stranger(void)
{
    const uint32_t number = DURABLE_STRANGERS;
    const struct prefork_submission submission = {.size = sizeof(submission), .request_bytes = sizeof(number)};
    uint64_t job;

    stage_expect(prefork_table_attach(&store, &table) == 0, "attach");
    stage_expect(prefork_table_open_attached_lane(table, &lane) == 0, "open");
    stage_expect(prefork_lane_put(lane, &number, &submission, PREFORK_NO_WAIT, &job) == 0, "put");
    pfk_u32_store_release(&stage_ledger->jobs[number].accepted, 1);
    durable_wait(job);
    prefork_lane_close(&lane);
    prefork_table_destroy(&table);
}

static void durable_repair_dead(void)
{
    struct prefork_repair repair = {.size = sizeof(repair)};
    uint32_t dead[2];
    int n, passes = 0;

    do {
        n = prefork_table_look_for_dead(table, dead, 2);
        if (n < 0 || (n > 0 && prefork_table_repair(table, dead, (uint32_t)n, &repair) != 0))
            stage_fail("repair: %s", prefork_last_error());
    } while (n > 0 && ++passes < 100);
    if (n > 0 || repair.suspect > 0)
        stage_fail("repair does not come to an end, or found damage");
}

/* The lane that the dead one had is had again by another. */
static void durable_check_lane(void)
{
    const pid_t child = durable_fork();
    int status = 1;

    if (child == 0) {
        prefork_table_destroy(&table);
        stage_expect(prefork_table_attach(&store, &table) == 0, "attach");
        stage_expect(prefork_table_open_attached_lane(table, &lane) == 0, "open");
        prefork_lane_close(&lane);
        prefork_table_destroy(&table);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        stage_fail("the dead one's lane can't be had");
}

/* Sleeps have no timeout here, so it is asked for. */
static void durable_await_job(uint64_t job)
{
    const struct timespec pause = {0, 50000};
    const uint64_t until_ns = prefork_deadline_after_ms((uint64_t)DURABLE_LIMIT_MS * stage_time_factor);
    struct prefork_result result;
    int rc;

    while ((rc = prefork_lane_wait(lane, job, PREFORK_NO_WAIT, &result)) == -EAGAIN &&
           prefork_clock_now_ns() < until_ns)
        (void)nanosleep(&pause, NULL);
    if (rc != 0 || prefork_lane_collect(lane, job) != 0)
        stage_fail("the worker sleeps over a job");
}

void durable_inspect_stranger(int victim)
{
    const struct stage_job *const strangers = &stage_ledger->jobs[DURABLE_STRANGERS];

    (void)victim;
    durable_repair_dead();
    durable_await_job(durable_put(DURABLE_LAST, 0));
    (void)durable_put(DURABLE_QUIT, PREFORK_SUBMIT_DETACHED);
    if (!durable_await_end(survivor))
        stage_fail("the worker sleeps over a job");
    if (pfk_u32_load_acquire(&strangers->completed) == 1) /* it may have died between the word and the ledger */
        pfk_u32_store_release(&stage_ledger->jobs[DURABLE_STRANGERS].accepted, 1);
    durable_check_ledger();
    durable_check_lane();
    prefork_lane_close(&lane);
    durable_check_rest();
    durable_clear();
}
