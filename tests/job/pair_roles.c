/* SPDX-License-Identifier: BSD-2-Clause */
#include "pair_roles.h"

#include <errno.h>
#include <string.h>

#include "base/compiler.h"
#include "step_stage.h"

/* The victim's; in the master, of the victim that is born next. */
static uint32_t me;
static const struct pair_role *role;
static struct prefork_lane *lane;
static uint64_t job;
static uint32_t next_number;

void pair_cast(uint32_t victim, const struct pair_role *as)
{
    me = victim;
    role = as;
}

void pair_prepare(void)
{
    lane = stage_be_victim(me);
    next_number = STAGE_VICTIMS_JOBS + me * STAGE_VICTIM_JOBS;
    if (role->prepare != NULL)
        role->prepare();
}

void pair_act(void)
{
    role->act();
    prefork_lane_close(&lane);
}

static void wait_for(enum stage_wait what)
{
    stage_wait_for(STAGE_VICTIM + me, what, job);
}

/* -- steps ---------------------------------------------------------------------- */

static void reserve(void)
{
    wait_for(STAGE_ROOM);
    stage_expect(prefork_lane_reserve(lane, PREFORK_NO_DEADLINE, &job) == 0, "reserve");
    wait_for(STAGE_NOTHING);
}

static void submit(uint32_t flags)
{
    stage_submit(lane, job, next_number++, flags);
}

static void wait_and_collect(void)
{
    struct prefork_result result;

    wait_for(STAGE_A_RESULT);
    stage_expect(prefork_lane_wait(lane, job, PREFORK_NO_DEADLINE, &result) == 0, "wait");
    wait_for(STAGE_NOTHING);
    stage_expect(result.status == 0, "a job failed");
    stage_expect(prefork_lane_collect(lane, job) == 0, "collect");
}

static void find_and_collect(void)
{
    struct prefork_result result;
    int rc;

    wait_for(STAGE_A_RESULT);
    while ((rc = prefork_lane_next(lane, &result)) == -EAGAIN)
        stage_poll(lane);
    wait_for(STAGE_NOTHING);
    stage_expect(rc == 0 && result.job == job && result.status == 0, "next");
    stage_expect(prefork_lane_collect(lane, job) == 0, "collect");
}

static void work(uint64_t deadline_ns)
{
    struct prefork_job *claimed;
    int rc;

    wait_for(deadline_ns != PREFORK_NO_WAIT ? STAGE_A_JOB : STAGE_NOTHING);
    rc = prefork_lane_claim(lane, deadline_ns, &claimed);
    wait_for(STAGE_NOTHING);
    stage_expect(rc == 0 || (rc == -EAGAIN && deadline_ns == PREFORK_NO_WAIT), "claim");
    if (rc != 0)
        return;
    (void)stage_run(claimed);
    stage_complete(claimed);
}

/* -- roles ---------------------------------------------------------------------- */

static void prepare_reserved(void)
{
    job = stage_reserve(lane);
}

static void prepare_waited(void)
{
    job = stage_reserve(lane);
    submit(0);
}

static void finish_held(void)
{
    if (!stage_runner->job.held)
        return;
    (void)stage_run(&stage_runner->job);
    stage_complete(&stage_runner->job);
}

static void run_for_victim(void)
{
    finish_held();
    stage_expect(stage_run_one(), "claim");
}

/* The master runs it later. */
static void claim_for_victim(void)
{
    finish_held();
    (void)stage_claim(stage_runner);
}

static void act_submit(void)
{
    reserve();
    submit(PREFORK_SUBMIT_DETACHED);
}

static void act_submit_reserved(void)
{
    submit(PREFORK_SUBMIT_DETACHED);
}

static void act_call(void)
{
    reserve();
    submit(0);
    wait_and_collect();
}

static void act_loop(void)
{
    reserve();
    submit(PREFORK_SUBMIT_NOTIFY);
    find_and_collect();
}

static void act_work(void)
{
    work(PREFORK_NO_DEADLINE);
}

static void act_hand_back(void)
{
    struct prefork_job *claimed;

    wait_for(STAGE_A_JOB);
    stage_expect(prefork_lane_claim(lane, PREFORK_NO_DEADLINE, &claimed) == 0, "claim");
    wait_for(STAGE_NOTHING);
    stage_expect(prefork_job_hand_back(claimed) == 0, "hand back");
}

static void act_collect(void)
{
    wait_and_collect();
}

static void act_detach(void)
{
    stage_expect(prefork_lane_detach(lane, job) == 0, "detach");
}

static void act_abandon(void)
{
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

/* All by itself, and what is freed is taken again. */
static void act_cycle(void)
{
    for (int i = 0; i < 2; i++) {
        reserve();
        submit(0);
        work(PREFORK_NO_WAIT);
        wait_and_collect();
    }
}

static void act_cycle_detached(void)
{
    for (int i = 0; i < 2; i++) {
        reserve();
        submit(PREFORK_SUBMIT_DETACHED);
        work(PREFORK_NO_WAIT);
    }
}

static void act_reserve_twice(void)
{
    reserve();
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
    reserve();
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

static void act_room_loop(void)
{
    struct prefork_result result;

    wait_for(STAGE_ROOM);
    while (prefork_lane_reserve(lane, PREFORK_NO_WAIT, &job) == -EAGAIN) {
        if (prefork_lane_want_room(lane) == 1)
            continue;
        while (prefork_lane_next(lane, &result) == -EAGAIN)
            stage_poll(lane);
    }
    wait_for(STAGE_NOTHING);
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

const struct pair_role pair_roles[] = {
    {"submit", 0, 0, NULL, act_submit, NULL},
    {"submit-reserved", 0, 1, prepare_reserved, act_submit_reserved, NULL},
    {"call", 0, 0, NULL, act_call, NULL},
    {"loop", 0, 0, NULL, act_loop, NULL},
    {"work", 1, 0, NULL, act_work, NULL},
    {"work-others", 0, 0, NULL, act_work, NULL},
    {"hand-back", 1, 0, NULL, act_hand_back, NULL},
    {"collect", 0, 1, prepare_waited, act_collect, run_for_victim},
    {"wait", 0, 1, prepare_waited, act_collect, NULL},
    {"detach", 0, 1, prepare_waited, act_detach, claim_for_victim},
    {"abandon", 0, 1, prepare_reserved, act_abandon, NULL},
    {"cycle", 0, 0, NULL, act_cycle, NULL},
    {"cycle-detached", 0, 0, NULL, act_cycle_detached, NULL},
    {"reserve-twice", 0, 0, NULL, act_reserve_twice, NULL},
    {"room-loop", 0, 0, NULL, act_room_loop, NULL},
};
const size_t pair_role_count = PFK_COUNT_OF(pair_roles);

const struct pair_role *pair_role(const char *name)
{
    for (size_t i = 0; i < pair_role_count; i++)
        if (strcmp(pair_roles[i].name, name) == 0)
            return &pair_roles[i];
    return NULL;
}
