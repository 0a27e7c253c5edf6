/* SPDX-License-Identifier: BSD-2-Clause */
#include "step_scenes.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"
#include "prefork/segment.h"
#include "step_durable.h"
#include "step_living.h"
#include "step_stage.h"

/* The victim's. */
static struct prefork_lane *lane;
static struct prefork_job *claimed;
static uint64_t job;

static void open_lane(void)
{
    lane = stage_be_victim(0);
}

static void hold_one(void)
{
    (void)stage_reserve(stage_holder);
}

static void hold_two(void)
{
    hold_one();
    hold_one();
}

static void run_one(void)
{
    stage_expect(stage_run_one(), "claim");
}

/* -- submitting ------------------------------------------------------------------- */

static const uint32_t number = STAGE_VICTIMS_JOBS;

static void reserve_one(void)
{
    job = stage_reserve(lane);
}

static void submit_one(uint32_t flags)
{
    stage_submit(lane, job, number, flags);
}

static void prepare_reserved_for_one(void)
{
    open_lane();
    reserve_one();
}

static void act_submit_reserved(void)
{
    submit_one(PREFORK_SUBMIT_DETACHED);
}

static void act_submit(void)
{
    reserve_one();
    submit_one(PREFORK_SUBMIT_DETACHED);
}

static void act_submit_and_wait(void)
{
    struct prefork_result result;

    reserve_one();
    submit_one(0);
    stage_expect(prefork_lane_wait(lane, job, PREFORK_NO_DEADLINE, &result) == 0, "wait");
    stage_expect(prefork_lane_collect(lane, job) == 0, "collect");
}

/* -- collecting --------------------------------------------------------------------- */

static void prepare_waited(void)
{
    open_lane();
    job = stage_put(lane, 1, 0);
}

static void prepare_notified(void)
{
    open_lane();
    job = stage_put(lane, 1, PREFORK_SUBMIT_NOTIFY);
}

static void late_done_reserver(void)
{
    run_one();
    living_start_reserver();
}

static void late_done_room_loop(void)
{
    run_one();
    living_start_room_loop();
}

static void act_collect(void)
{
    struct prefork_result result;

    stage_expect(prefork_lane_wait(lane, job, PREFORK_NO_DEADLINE, &result) == 0, "wait");
    stage_expect(prefork_lane_collect(lane, job) == 0, "collect");
}

static void act_next(void)
{
    struct prefork_result result;

    stage_expect(prefork_lane_next(lane, &result) == 0, "next");
    stage_expect(prefork_lane_collect(lane, result.job) == 0, "collect");
    stage_expect(prefork_lane_next(lane, &result) == -EAGAIN, "next");
}

static void late_running_reserver(void)
{
    (void)stage_claim(stage_runner);
    living_start_reserver();
}

static void act_detach(void)
{
    stage_expect(prefork_lane_detach(lane, job) == 0, "detach");
}

/* -- working ---------------------------------------------------------------------------- */

static void claim_one(uint64_t deadline_ns)
{
    stage_expect(prefork_lane_claim(lane, deadline_ns, &claimed) == 0, "claim");
}

static void prepare_claimed(void)
{
    open_lane();
    claim_one(PREFORK_NO_WAIT);
}

static void prepare_run(void)
{
    prepare_claimed();
    (void)stage_run(claimed);
}

static void arrange_worker_and_job(void)
{
    living_start_worker();
    (void)stage_put_silently(stage_holder, 1, PREFORK_SUBMIT_DETACHED);
}

static void arrange_worker(void)
{
    living_start_worker();
}

static void arrange_submitter(void)
{
    living_start_submitter(1, 0);
}

static void arrange_loop(void)
{
    living_start_loop(1);
}

static void arrange_full_with_job(void)
{
    hold_one();
    (void)stage_put(stage_holder, 1, PREFORK_SUBMIT_DETACHED);
}

static void act_work(void)
{
    claim_one(PREFORK_NO_DEADLINE);
    (void)stage_run(claimed);
    stage_complete(claimed);
}

static void act_complete(void)
{
    stage_complete(claimed);
}

static void act_hand_back(void)
{
    stage_expect(prefork_job_hand_back(claimed) == 0, "hand back");
}

/* Another worker sleeps behind the victim; two jobs, but one token at first. */
void (*scene_wake_again)(void);

static uint32_t extra_number;

static bool is_work_left(void)
{
    struct prefork_statistics now = {.size = sizeof(now)};

    stage_expect(prefork_table_statistics(stage_table, &now) == 0, "statistics");
    return now.ready_slots + now.claimed_slots > 0;
}

/* On a busy machine the other worker may have been quicker and run both jobs:
 * then the victim rightly sleeps again, and gets another one. While work is left
 * it sleeps wrongly, and nothing is done about it. */
static void wake_victim_again(void)
{
    scene_wake_again = wake_victim_again;
    if (!is_work_left() && extra_number < STAGE_CYCLES_JOB)
        (void)stage_put(stage_holder, extra_number++, PREFORK_SUBMIT_DETACHED);
}

static void wake_workers(void)
{
    extra_number = 20;
    scene_wake_again = wake_victim_again;
    living_start_worker();
    (void)stage_put(stage_holder, 1, PREFORK_SUBMIT_DETACHED);
    (void)stage_put(stage_holder, 2, PREFORK_SUBMIT_DETACHED);
}

/* -- room ----------------------------------------------------------------------------------- */

static void prepare_reserved(void)
{
    open_lane();
    job = stage_reserve(lane);
}

static void act_abandon(void)
{
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

static void act_reserve(void)
{
    stage_expect(prefork_lane_reserve(lane, PREFORK_NO_DEADLINE, &job) == 0, "reserve");
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

static void release_held(void)
{
    while (stage_release_held() > 0)
        continue;
}

/* Another one sleeps behind the victim; two slots, but one token at first. */
static void make_room(void)
{
    living_start_reserver();
    release_held();
}

static void act_want_room(void)
{
    struct pollfd wake = {.fd = prefork_lane_wake_fd(lane), .events = POLLIN};
    struct prefork_result result;

    while (prefork_lane_reserve(lane, PREFORK_NO_WAIT, &job) != 0) {
        if (prefork_lane_want_room(lane) == 1)
            continue;
        while (prefork_lane_next(lane, &result) == -EAGAIN)
            (void)poll(&wake, 1, -1);
    }
    stage_expect(prefork_lane_abandon(lane, job) == 0, "abandon");
}

static void make_room_for_loops(void)
{
    living_start_room_loop();
    living_start_reserver();
    release_held();
}

/* -- lanes --------------------------------------------------------------------------------------- */

static void prepare_nothing(void)
{
}

static void act_open_and_close(void)
{
    open_lane();
    prefork_lane_close(&lane);
}

static void prepare_debts(void)
{
    prepare_claimed();
    job = stage_reserve(lane);
    (void)stage_put_silently(lane, 2, 0);
}

static void late_full_reserver(void)
{
    hold_one();
    living_start_reserver();
}

static void act_close(void)
{
    prefork_lane_close(&lane);
}

/* -- a table ------------------------------------------------------------------------------------- */

uint32_t step_strays;

static void act_create(void)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = 2,
                                                  .request_bytes = 65536, /* so that the hot ring is small */
                                                  .reply_bytes = 64,
                                                  .threads_per_worker = 1,
                                                  .generations = 1};
    struct prefork_table *table;

    stage_expect(prefork_table_create(&options, &table) == 0, "create");
    prefork_table_destroy(&table);
}

/* All of a table that could outlive its creator: what table_create does at first. */
static void act_create_segments(void)
{
    struct prefork_segment *control, *work;

    stage_expect(prefork_segment_create_private(448, &control) == 0, "create_private");
    stage_expect(prefork_segment_create_private(4096, &work) == 0, "create_private");
    prefork_segment_close(&work);
    prefork_segment_close(&control);
}

/* What the C library does once in a process, at its first allocation, is done
 * before the scene: it would hide how long the scene is. */
static void prepare_segments(void)
{
    act_create_segments();
}

static void prepare_create(void)
{
    act_create();
}

static uint32_t count_segments_of(int creator)
{
    struct shm_info used;
    struct shmid_ds state;
    const int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&used);
    uint32_t found = 0;

    for (int index = 0; index <= last; index++)
        found += shmctl(index, SHM_STAT, &state) >= 0 && state.shm_cpid == creator;
    return found;
}

static void inspect_segments(int victim)
{
    const uint32_t left = count_segments_of(victim);

    step_strays += left;
    if (left > 1)
        stage_fail("%u segments are left", left);
    if (prefork_segment_remove_strays() < 0)
        stage_fail("remove_strays: %s", prefork_last_error());
    if (count_segments_of(victim) != 0)
        stage_fail("a stray is not removed");
}

/* -- the master in its repair ---------------------------------------------------------------------- */

static struct prefork_lane *other;

static pfk_atomic_u64 *word_of(uint64_t id)
{
    return &pfk_table_descriptor(stage_table, pfk_job_index(id))->word;
}

/* Moves a word as the dead one would have, and nothing else. */
static void move(uint64_t id, uint32_t state, uint32_t owner)
{
    pfk_atomic_u64 *const at = word_of(id);

    pfk_u64_store_release(at, pfk_word_moved(pfk_u64_load_acquire(at), state, owner));
}

/* Runs `die` in a process that ends without a word. */
static void let_die(void (*die)(void))
{
    const pid_t child = fork();
    int status = 1;

    if (child == 0) {
        lane = stage_lane(STAGE_VICTIM);
        other = stage_lane(STAGE_OTHER_DEAD);
        die();
        _exit(0);
    }
    stage_expect(waitpid(child, &status, 0) == child && status == 0, "the dead could not die");
}

/* One slot in each state of a dead owner, its entry not in the ring, or removed. */
static void die_without_entries(void)
{
    move(stage_reserve(lane), PFK_FREEING, lane->number);
    (void)stage_reserve(lane);
    (void)stage_put_silently(lane, 1, 0);
    (void)stage_claim(lane);
    job = stage_put_silently(other, 2, 0);
    move(job, PFK_QUEUING, other->number);
    pfk_ring_purge(&stage_table->rings.ready, pfk_job_index(job));
}

/* The same, the entry in the ring, or left at its head. */
static void die_with_entries(void)
{
    const uint64_t first = stage_put_silently(other, 1, 0), second = stage_put_silently(lane, 2, 0);
    struct pfk_ring_entry entry;

    pfk_u64_store_release(word_of(first), pfk_word_claimed(pfk_u64_load_acquire(word_of(first)), lane->number));
    move(second, PFK_QUEUING, lane->number);
    stage_expect(pfk_ring_peek(&stage_table->rings.free_hot, &entry), "a free entry");
    pfk_u64_store_release(word_of(entry.index),
                          pfk_word_reserved(pfk_u64_load_acquire(word_of(entry.index)), lane->number));
    move(3, PFK_FREEING, other->number); /* slot 3 of 4, the last in the ring */
}

/* Completes what it claims as far as DONE: nobody is told. */
static void die_before_telling(uint32_t which)
{
    struct pfk_descriptor_shm *const descriptor = pfk_table_descriptor(stage_table, stage_claim(lane)->index);

    (void)stage_run(&lane->job);
    pfk_u32_store_relaxed(&descriptor->reply_offset, lane->job.reply_offset);
    pfk_u32_store_relaxed(&descriptor->reply_bytes, lane->job.reply_bytes);
    pfk_u32_store_relaxed(&descriptor->status, 0);
    move(prefork_job_id(&lane->job), PFK_DONE, PFK_NOBODY);
    (void)pfk_u32_add_acq_rel(&stage_ledger->jobs[which].completed, 1);
    lane->job.held = false;
}

static void die_with_results(void)
{
    pfk_atomic_u64 *at;
    uint64_t word;

    die_before_telling(1);
    die_before_telling(2);
    at = word_of(prefork_job_id(stage_claim(lane))); /* the third time, by its word */
    lane->job.held = false;
    word = pfk_u64_load_acquire(at);
    pfk_u64_store_release(at, pfk_word(PFK_CLAIMED, pfk_word_flags(word), 3, lane->number, pfk_word_life(word)));
    pfk_u32_store_release(&stage_ledger->jobs[3].buried, 1);
    (void)stage_put(other, 4, 0);
    die_before_telling(4);
}

static void arrange_without_entries(void)
{
    living_start_worker();
    let_die(die_without_entries);
    living_start_reserver();
}

static void arrange_with_entries(void)
{
    living_start_worker();
    let_die(die_with_entries);
}

static void arrange_results(void)
{
    living_start_submitter(1, 0);
    living_start_loop(2);
    living_start_submitter(3, -EOWNERDEAD);
    let_die(die_with_results);
    living_start_reserver();
}

static void act_repair(void)
{
    const uint32_t lanes[] = {prefork_table_outside_lane(stage_table, STAGE_VICTIM),
                              prefork_table_outside_lane(stage_table, STAGE_OTHER_DEAD)};

    stage_expect(prefork_table_repair(stage_table, lanes, 2, NULL) == 0, "repair");
}

/* -- all of them ------------------------------------------------------------------------------------ */

const struct scene step_scenes[] = {
    {"submits a detached job; a worker sleeps", 2, 1, arrange_worker, open_lane, NULL, act_submit, NULL, NULL, 0},
    {"submits what it has reserved; a worker sleeps", 2, 1, arrange_worker, prepare_reserved_for_one, NULL,
     act_submit_reserved, NULL, NULL, 0},
    {"submits, waits, collects", 2, 1, NULL, open_lane, NULL, act_submit_and_wait, run_one, NULL, 0},
    {"claims, runs, completes a detached job; a worker sleeps", 2, 1, arrange_worker_and_job, open_lane, NULL, act_work,
     NULL, NULL, 0},
    {"completes; the submitter sleeps", 2, 1, arrange_submitter, prepare_run, NULL, act_complete, NULL, NULL, 0},
    {"completes; the submitter's loop polls", 2, 1, arrange_loop, prepare_run, NULL, act_complete, NULL, NULL, 0},
    {"completes a detached job; one waits for room", 2, 1, arrange_full_with_job, prepare_run, living_start_reserver,
     act_complete, NULL, NULL, 0},
    {"completes a detached job; a loop wants room", 2, 1, arrange_full_with_job, prepare_run, living_start_room_loop,
     act_complete, NULL, NULL, 0},
    {"is woken, claims, runs, completes; a worker sleeps", 4, 1, NULL, open_lane, NULL, act_work, wake_workers, NULL,
     0},
    {"hands back; a worker sleeps", 2, 1, arrange_worker_and_job, prepare_claimed, NULL, act_hand_back, NULL, NULL, 0},
    {"collects a result; one waits for room", 2, 1, hold_one, prepare_waited, late_done_reserver, act_collect, NULL,
     NULL, 0},
    {"collects a result; a loop wants room", 2, 1, hold_one, prepare_waited, late_done_room_loop, act_collect, NULL,
     NULL, 0},
    {"takes a result from its mailbox; one waits for room", 2, 1, hold_one, prepare_notified, late_done_reserver,
     act_next, NULL, NULL, 0},
    {"detaches a running job; one waits for room", 2, 1, hold_one, prepare_waited, late_running_reserver, act_detach,
     NULL, NULL, 0},
    {"abandons; one waits for room", 2, 1, hold_one, prepare_reserved, living_start_reserver, act_abandon, NULL, NULL,
     0},
    {"abandons; a loop wants room", 2, 1, hold_one, prepare_reserved, living_start_room_loop, act_abandon, NULL, NULL,
     0},
    {"waits for room, is woken; one waits for room", 2, 1, hold_two, open_lane, NULL, act_reserve, make_room, NULL, 0},
    {"wants room in a loop; a loop and a sleeper too", 2, 1, hold_two, open_lane, NULL, act_want_room,
     make_room_for_loops, NULL, 0},
    {"opens and closes a lane", 2, 1, NULL, prepare_nothing, NULL, act_open_and_close, NULL, NULL, 0},
    {"closes a lane with debts; all sleep", 4, 1, arrange_worker_and_job, prepare_debts, late_full_reserver, act_close,
     NULL, NULL, 0},
    {"creates and closes a table's segments", 0, 0, NULL, prepare_segments, NULL, act_create_segments, NULL,
     inspect_segments, 0},
    {"creates and destroys a table", 0, 0, NULL, prepare_create, NULL, act_create, NULL, inspect_segments, 0},
    {"makes a durable table", 0, 0, durable_arrange_nothing, durable_prepare_creation, NULL, durable_act_adopt, NULL,
     durable_inspect_creation, 16},
    {"adopts a durable table; a stranger sleeps", 0, 0, durable_arrange_debts, durable_prepare_adoption, NULL,
     durable_act_adopt, NULL, durable_inspect_adoption, 16},
    {"attaches, submits, waits, leaves; a worker sleeps", 0, 0, durable_arrange_master, durable_prepare_stranger, NULL,
     durable_act_stranger, NULL, durable_inspect_stranger, 8},
    {"repairs: entries missing", 4, 2, arrange_without_entries, prepare_nothing, NULL, act_repair, NULL, NULL, 0},
    {"repairs: entries there", 4, 2, arrange_with_entries, prepare_nothing, NULL, act_repair, NULL, NULL, 0},
    {"repairs: results not told", 4, 2, arrange_results, prepare_nothing, NULL, act_repair, NULL, NULL, 0},
};
const size_t step_scene_count = PFK_COUNT_OF(step_scenes);

const struct scene *step_scene(const char *name)
{
    for (size_t i = 0; i < step_scene_count; i++)
        if (strcmp(step_scenes[i].name, name) == 0)
            return &step_scenes[i];
    return NULL;
}
