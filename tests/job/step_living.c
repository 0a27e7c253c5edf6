/* SPDX-License-Identifier: BSD-2-Clause */
#include "step_living.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "step_stage.h"
#include "stepper.h"

#define HANG_MS 20000 /* a bound for what should never be */
/* Processes are looked at one after the other, so one look at all of them is not
 * enough. Helping too early is harmless; a verdict must be sure. */
#define LOOKS_BEFORE_HELP    2
#define LOOKS_BEFORE_VERDICT 200

enum living_kind { LIVING_WORKER, LIVING_SUBMITTER, LIVING_LOOP, LIVING_RESERVER, LIVING_ROOM_LOOP, LIVING_VICTIM };

struct living {
    enum living_kind kind;
    uint32_t outside; /* its lane */
    uint32_t number;
    int status; /* that its job should end with */
    pid_t pid;
};

static struct living living[STAGE_SURVIVORS + 1];
static uint32_t n_living, n_survivors, help_job;

/* -- survivors ------------------------------------------------------------------------ */

static void living_be_worker(const struct living *me, struct prefork_lane *lane)
{
    uint32_t number;

    do {
        struct prefork_job *job;

        stage_wait_for(me->outside, STAGE_A_JOB, 0);
        stage_expect(prefork_lane_claim(lane, PREFORK_NO_DEADLINE, &job) == 0, "claim");
        stage_wait_for(me->outside, STAGE_NOTHING, 0);
        number = stage_run(job);
        stage_complete(job);
    } while (number != STAGE_QUIT);
}

static void living_check_result(const struct living *me, const struct prefork_result *result)
{
    uint32_t reply = me->number;

    if (me->status == 0 && result->reply_bytes == sizeof(reply))
        memcpy(&reply, result->reply, sizeof(reply));
    stage_expect(result->status == me->status && reply == me->number, "a result is wrong");
}

static void living_be_submitter(const struct living *me, struct prefork_lane *lane)
{
    const uint64_t job = stage_put(lane, me->number, 0);
    struct prefork_result result;

    stage_wait_for(me->outside, STAGE_A_RESULT, job);
    stage_expect(prefork_lane_wait(lane, job, PREFORK_NO_DEADLINE, &result) == 0, "wait");
    living_check_result(me, &result);
    stage_expect(prefork_lane_collect(lane, job) == 0, "collect");
}

static void living_be_loop(const struct living *me, struct prefork_lane *lane)
{
    const uint64_t job = stage_put(lane, me->number, PREFORK_SUBMIT_NOTIFY);
    struct prefork_result result;
    int rc;

    stage_wait_for(me->outside, STAGE_A_RESULT, job);
    while ((rc = prefork_lane_next(lane, &result)) == -EAGAIN)
        stage_poll(lane);
    stage_expect(rc == 0, "next");
    living_check_result(me, &result);
    stage_expect(prefork_lane_collect(lane, result.job) == 0, "collect");
}

static void living_be_reserver(const struct living *me, struct prefork_lane *lane)
{
    uint64_t job;

    stage_wait_for(me->outside, STAGE_ROOM, 0);
    stage_expect(prefork_lane_reserve(lane, PREFORK_NO_DEADLINE, &job) == 0, "reserve");
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

static void living_be_room_loop(const struct living *me, struct prefork_lane *lane)
{
    struct prefork_result result;
    uint64_t job;

    stage_wait_for(me->outside, STAGE_ROOM, 0);
    while (prefork_lane_reserve(lane, PREFORK_NO_WAIT, &job) == -EAGAIN) {
        if (prefork_lane_want_room(lane) == 1)
            continue;
        while (prefork_lane_next(lane, &result) == -EAGAIN)
            stage_poll(lane);
    }
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

static void living_live(const struct living *me)
{
    static void (*const be[])(const struct living *, struct prefork_lane *) = {
        living_be_worker, living_be_submitter, living_be_loop, living_be_reserver, living_be_room_loop};
    struct prefork_lane *lane = stage_lane(me->outside);

    be[me->kind](me, lane);
    prefork_lane_close(&lane);
    _exit(0);
}

/* -- rest and sleep --------------------------------------------------------------------- */

static bool living_all_rest(void)
{
    for (uint32_t i = 0; i < n_living; i++)
        if (!stepper_rests(living[i].pid))
            return false;
    return true;
}

static void living_pause(void)
{
    const struct timespec pause = {0, 20000};

    (void)nanosleep(&pause, NULL);
}

/* Waits until all rest, and did so each of `looks` times. They sleep without a
 * timeout: while the master does nothing, nobody will ever wake them. */
static void living_await_rest(int looks)
{
    const uint64_t until_ns = prefork_clock_now_ns() + HANG_MS * PFK_NS_PER_MS * (uint64_t)stage_time_factor;

    for (int at_rest = 0; at_rest < looks && stage_is_sound(); at_rest = living_all_rest() ? at_rest + 1 : 0) {
        if (prefork_clock_now_ns() > until_ns)
            stage_fail("somebody runs for ever");
        else if (n_living > 0)
            living_pause();
    }
}

static uint32_t living_waits_for(const struct living *who)
{
    return pfk_u32_load_acquire(&stage_ledger->waiting[who->outside].what);
}

static bool living_is_job(uint64_t word)
{
    return pfk_word_state(word) == PFK_READY || pfk_word_state(word) == PFK_QUEUING;
}

/* A slot that nobody has: every state but those of a reservation, a job, a result. */
static bool living_is_room(uint64_t word)
{
    return pfk_word_state(word) != PFK_RESERVED && pfk_word_state(word) != PFK_CLAIMED &&
           pfk_word_state(word) != PFK_DONE && !living_is_job(word);
}

/* Who stands still may owe the entry by which others find the slot. */
static bool living_may_be_owed(uint64_t word, uint32_t still)
{
    return pfk_word_is(word, PFK_QUEUING, still) || pfk_word_is(word, PFK_FREEING, still);
}

static bool living_is_there(bool (*is)(uint64_t word), uint32_t still)
{
    for (uint32_t i = 0; i < stage_table->geometry.slots; i++) {
        const uint64_t word = stage_word(i);

        if (is(word) && !living_may_be_owed(word, still))
            return true;
    }
    return false;
}

static bool living_is_done(uint64_t job)
{
    const uint64_t word = stage_word(pfk_job_index(job));

    return pfk_word_state(word) == PFK_DONE && pfk_word_life(word) == pfk_job_life(job);
}

/* NULL, or what is there although somebody sleeps for it. */
static const char *living_missed(const struct living *who, uint32_t still)
{
    static const char *const sleeper[] = {"the worker sleeps",      "the submitter sleeps",
                                          "the loop sleeps",        "who waits for room sleeps",
                                          "the room's loop sleeps", "the other one sleeps"};

    if (!stepper_is_asleep(who->pid))
        return NULL;
    switch (living_waits_for(who)) {
    case STAGE_A_JOB:
        return living_is_there(living_is_job, still) ? sleeper[who->kind] : NULL;
    case STAGE_ROOM:
        return living_is_there(living_is_room, still) ? sleeper[who->kind] : NULL;
    case STAGE_A_RESULT:
        return living_is_done(pfk_u64_load_acquire(&stage_ledger->waiting[who->outside].job)) ? sleeper[who->kind]
                                                                                              : NULL;
    default:
        return NULL;
    }
}

static const struct living *living_find_missed(uint32_t still)
{
    for (uint32_t i = 0; i < n_living; i++)
        if (living_missed(&living[i], still) != NULL)
            return &living[i];
    return NULL;
}

static void living_check(uint32_t still)
{
    static const char *const what[] = {"", "a job waits", "there is room", "its job is done"};
    const struct living *who = living_find_missed(still);

    if (who == NULL)
        return;
    living_await_rest(LOOKS_BEFORE_VERDICT);
    who = living_find_missed(still);
    if (who != NULL)
        stage_fail("%s on: %s", living_missed(who, still), what[living_waits_for(who)]);
}

void living_check_sleepers(uint32_t still)
{
    living_await_rest(LOOKS_BEFORE_HELP);
    living_check(stage_lane_number(still));
}

/* -- starting --------------------------------------------------------------------------- */

/* What it waits for is said, then the kernel says that it sleeps: between the two nothing else sleeps. */
static void living_await_sleep(const struct living *who)
{
    const uint64_t until_ns = prefork_clock_now_ns() + HANG_MS * PFK_NS_PER_MS * (uint64_t)stage_time_factor;

    while (stage_is_sound() && (living_waits_for(who) == STAGE_NOTHING || !stepper_is_asleep(who->pid))) {
        if (prefork_clock_now_ns() > until_ns)
            stage_fail("the survivor of lane %u never slept", who->outside);
        living_pause();
    }
}

static void living_start(enum living_kind kind, uint32_t number, int status)
{
    struct living *const who = &living[n_living];
    const pid_t master = getpid();

    *who = (struct living){kind, STAGE_FIRST_SURVIVOR + n_survivors, number, status, 0};
    who->pid = fork();
    if (who->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == master)
            living_live(who);
        _exit(1);
    }
    n_living++;
    n_survivors++;
    living_await_sleep(who);
}

void living_start_worker(void)
{
    living_start(LIVING_WORKER, 0, 0);
}

void living_start_submitter(uint32_t number, int status)
{
    living_start(LIVING_SUBMITTER, number, status);
}

void living_start_loop(uint32_t number)
{
    living_start(LIVING_LOOP, number, 0);
}

void living_start_reserver(void)
{
    living_start(LIVING_RESERVER, 0, 0);
}

void living_start_room_loop(void)
{
    living_start(LIVING_ROOM_LOOP, 0, 0);
}

void living_add_victim(uint32_t victim, pid_t pid)
{
    living[n_living++] = (struct living){LIVING_VICTIM, STAGE_VICTIM + victim, 0, 0, pid};
}

/* -- going on ------------------------------------------------------------------------------ */

static bool living_any_waits_for(uint32_t what)
{
    for (uint32_t outside = 0; outside < STAGE_LANES; outside++)
        if (pfk_u32_load_acquire(&stage_ledger->waiting[outside].what) == what)
            return true;
    return false;
}

static bool living_put_job(void)
{
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(help_job), .flags = PREFORK_SUBMIT_DETACHED};
    uint64_t job;

    if (help_job >= STAGE_CYCLES_JOB ||
        prefork_lane_put(stage_holder, &help_job, &submission, PREFORK_NO_WAIT, &job) != 0)
        return false;
    pfk_u32_store_release(&stage_ledger->jobs[help_job++].accepted, 1);
    return true;
}

/* The least that lets somebody go on. */
static bool living_do_something(void)
{
    if (stage_runner->job.held) {
        (void)stage_run(&stage_runner->job);
        stage_complete(&stage_runner->job);
        return true;
    }
    if (stage_run_one())
        return true;
    if (living_any_waits_for(STAGE_ROOM) && stage_release_held() > 0)
        return true;
    return living_any_waits_for(STAGE_A_JOB) && (living_put_job() || (stage_release_held() > 0 && living_put_job()));
}

bool living_help(void)
{
    living_await_rest(LOOKS_BEFORE_HELP);
    return living_do_something();
}

static bool living_all_ended(void)
{
    for (uint32_t i = 0; i < n_living; i++)
        if (living[i].kind != LIVING_WORKER && stepper_is_asleep(living[i].pid))
            return false;
    return true;
}

static bool living_is_at_work(uint64_t word)
{
    return living_is_job(word) || pfk_word_state(word) == PFK_CLAIMED;
}

void living_settle(void)
{
    for (;;) {
        living_await_rest(LOOKS_BEFORE_HELP);
        living_check(PFK_NOBODY);
        if (!stage_is_sound() || (living_all_ended() && !living_is_there(living_is_at_work, PFK_NOBODY)))
            return;
        if (!living_do_something())
            stage_fail("somebody sleeps on, and nothing can be done about it");
    }
}

/* One job for each worker that says so; who takes which does not matter. */
static void living_send_workers_home(void)
{
    const uint32_t quit = STAGE_QUIT;
    const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = sizeof(quit), .flags = PREFORK_SUBMIT_DETACHED};
    uint64_t job;

    for (uint32_t i = 0; i < n_living && stage_is_sound(); i++) {
        if (living[i].kind != LIVING_WORKER)
            continue;
        if (prefork_lane_put(stage_runner, &quit, &submission, PREFORK_NO_WAIT, &job) != 0)
            stage_fail("no slot is free when all is done");
        living_await_rest(LOOKS_BEFORE_HELP);
        living_check(PFK_NOBODY);
    }
}

void living_dismiss(void)
{
    if (stage_is_sound())
        living_send_workers_home();
    for (uint32_t i = 0; i < n_living; i++) {
        int status = 0;

        if (stage_is_sound() && stepper_is_asleep(living[i].pid))
            stage_fail("one who lived on never ends");
        if (!stage_is_sound())
            (void)kill(living[i].pid, SIGKILL);
        (void)waitpid(living[i].pid, &status, 0);
        if (stage_is_sound() && status != 0)
            stage_fail("one who lived on failed");
    }
    living_clear();
}

void living_clear(void)
{
    n_living = n_survivors = 0;
    help_job = STAGE_HELPS_JOBS;
}
