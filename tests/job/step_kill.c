/* SPDX-License-Identifier: BSD-2-Clause */
/* step_kill [STRIDE [PHASE [ROLE]]]: SIGKILL at machine instructions. Speaks TAP.
 *
 * For each role a victim is walked k instructions into its scene and killed,
 * k = PHASE, PHASE + STRIDE ... until the scene is over; STRIDE 1 is every
 * instruction (but for the coarser role that says so), a system call being one. After each death the master repairs.
 * Then: survivors that slept in the kernel, with no timeout, must have been
 * woken; every accepted job is completed once, nothing else is; verify finds
 * nothing; all slots are free and can be reserved; the dead lane is opened again
 * and works. The ledger lies outside of the table.
 *
 * Then the mutants: versions of the code with a known fault, each of which the
 * same checks must catch. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "mutants.h"
#include "step_scenes.h"
#include "step_stage.h"
#include "stepper.h"

#define STRIDE_OF_CHECK   37
#define STRIDE_OF_MUTANTS 2 /* the narrowest fault is open for some five instructions */
#define MAX_FAILURES      3 /* of one role */

struct walk {
    uint64_t points;       /* kills */
    uint64_t instructions; /* of the whole scene */
    uint64_t failures, failed_at;
    char reason[sizeof(((struct stage_ledger *)NULL)->reason)];
};

struct mutant {
    const char *name;
    struct stage_calls calls;
    const char *scene;
};

static const struct stage_calls real_calls = {prefork_table_repair, prefork_lane_claim, prefork_lane_submit};

/* Each with a role in which it must show. */
static const struct mutant mutants[] = {
    {"repair posts nothing",
     {mutant_repair_without_posts, prefork_lane_claim, prefork_lane_submit},
     "submits what it has reserved; a worker sleeps"},
    {"repair wakes no loop",
     {mutant_repair_without_loops, prefork_lane_claim, prefork_lane_submit},
     "completes; the submitter's loop polls"},
    {"repair puts no ready entry",
     {mutant_repair_without_ready_entry, prefork_lane_claim, prefork_lane_submit},
     "submits what it has reserved; a worker sleeps"},
    {"repair puts no free entry",
     {mutant_repair_without_free_entry, prefork_lane_claim, prefork_lane_submit},
     "abandons; one waits for room"},
    {"repair purges nothing",
     {mutant_repair_without_purge, prefork_lane_claim, prefork_lane_submit},
     "submits a detached job; a worker sleeps"},
    {"dequeue before claim",
     {prefork_table_repair, mutant_claim_dequeues_first, prefork_lane_submit},
     "claims, runs, completes a detached job; a worker sleeps"},
    {"tail before cell",
     {prefork_table_repair, prefork_lane_claim, mutant_submit_tail_first},
     "submits what it has reserved; a worker sleeps"},
    {"READY before the entry",
     {prefork_table_repair, prefork_lane_claim, mutant_submit_ready_first},
     "submits what it has reserved; a worker sleeps"},
};

static void call(void (*function)(void))
{
    if (function != NULL)
        function();
}

/* One death, after `steps` instructions. True: the scene was over before. */
static bool play(const struct scene *scene, uint64_t steps, uint64_t *walked_out)
{
    enum stepper_end end;
    pid_t victim;

    *walked_out = 0;
    if (scene->slots > 0 && !stage_open(scene->slots))
        return true;
    call(scene->arrange);
    victim = stepper_fork(scene->prepare, scene->act);
    if (victim < 0) {
        stage_fail("the victim ended before its scene");
        end = STEPPER_BROKE;
    } else {
        call(scene->arrange_late);
        end = stepper_walk(victim, steps, scene->when_asleep, walked_out);
        if (end == STEPPER_STANDS)
            stepper_kill(victim);
        else if (end != STEPPER_ENDED)
            stage_fail(end == STEPPER_HANGS ? "the victim sleeps on" : "the victim failed");
    }
    if (scene->slots > 0)
        (void)stage_close(scene->n_dead);
    else
        scene->inspect(victim);
    return end != STEPPER_STANDS;
}

/* Scenes in which others take part vary a little. One that ends well before its
 * last kill point has become shorter, and what lies behind was never tried. */
static void check_length(uint64_t steps, uint64_t stride, uint64_t walked)
{
    const uint64_t tried = steps > stride ? steps - stride : 0;

    if (walked + 64 + tried / 8 < tried)
        stage_fail("the scene ends after %llu instructions, but lasted for %llu before", (unsigned long long)walked,
                   (unsigned long long)tried);
}

static void note_failure(struct walk *walk, uint64_t at)
{
    if (walk->failures++ > 0)
        return;
    walk->failed_at = at;
    memcpy(walk->reason, stage_ledger->reason, sizeof(walk->reason));
}

static void walk_scene(const struct scene *scene, uint64_t stride, uint64_t phase, uint64_t max_failures,
                       struct walk *walk_out)
{
    bool over = false;

    memset(walk_out, 0, sizeof(*walk_out));
    for (uint64_t steps = phase; !over && walk_out->failures < max_failures; steps += stride) {
        uint64_t walked;

        memset((void *)stage_ledger, 0, sizeof(*stage_ledger));
        over = play(scene, steps, &walked);
        walk_out->points += !over;
        walk_out->instructions = walked;
        if (over)
            check_length(steps, stride, walked);
        if (pfk_u32_load_acquire(&stage_ledger->failed) != 0)
            note_failure(walk_out, steps);
    }
}

static bool play_role(size_t number, const struct scene *scene, uint64_t stride, uint64_t phase)
{
    const uint64_t began_ns = prefork_clock_now_ns();
    struct walk walk;

    stage_calls = real_calls;
    if (scene->coarser > 1)
        stride *= scene->coarser;
    walk_scene(scene, stride, phase, MAX_FAILURES, &walk);
    printf("%sok %zu - %s: K=%llu, %llu kills, %llu failures, %.1f s\n", walk.failures > 0 ? "not " : "", number,
           scene->name, (unsigned long long)walk.instructions, (unsigned long long)walk.points,
           (unsigned long long)walk.failures, (double)(prefork_clock_now_ns() - began_ns) / 1e9);
    if (walk.failures > 0)
        printf("# at instruction %llu: %s\n", (unsigned long long)walk.failed_at, walk.reason);
    return walk.failures == 0;
}

static bool play_mutant(size_t number, const struct mutant *mutant)
{
    struct walk walk;

    stage_calls = mutant->calls;
    walk_scene(step_scene(mutant->scene), STRIDE_OF_MUTANTS, 1, 1, &walk);
    printf("%sok %zu - mutant: %s: ", walk.failures > 0 ? "" : "not ", number, mutant->name);
    if (walk.failures > 0)
        printf("caught at instruction %llu: %s\n", (unsigned long long)walk.failed_at, walk.reason);
    else
        printf("not caught by %llu kills\n", (unsigned long long)walk.points);
    return walk.failures > 0;
}

static bool play_all(uint64_t stride, uint64_t phase, const char *only)
{
    size_t number = 0;
    bool sound = true;

    printf("1..%zu\n", only != NULL ? 1 : step_scene_count + PFK_COUNT_OF(mutants));
    for (size_t i = 0; i < step_scene_count; i++)
        if (only == NULL || strcmp(only, step_scenes[i].name) == 0)
            sound = play_role(++number, &step_scenes[i], stride, phase) && sound;
    printf("# %u strays of killed creators were removed\n", step_strays);
    for (size_t i = 0; only == NULL && i < PFK_COUNT_OF(mutants); i++)
        sound = play_mutant(++number, &mutants[i]) && sound;
    return sound;
}

/* The victim and who walks it take turns: on one processor a turn costs a tenth. */
static void stay_on_one_processor(void)
{
    const int here = sched_getcpu();
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)(here > 0 ? here : 0), &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
}

int main(int argc, char **argv)
{
    const uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 0) : STRIDE_OF_CHECK;
    const uint64_t phase =
        argc > 2 ? strtoull(argv[2], NULL, 0) : prefork_clock_now_ns() / 1000 % (stride + !stride) + 1;
    const char *const missing = stepper_missing();
    bool sound;

    setvbuf(stdout, NULL, _IONBF, 0);
    stay_on_one_processor();
    if (missing != NULL) {
        printf("1..0 # SKIP %s\n", missing);
        return 0;
    }
    if (stride == 0 || phase == 0 || (argc > 3 && step_scene(argv[3]) == NULL) || stage_set_up() != 0) {
        printf("Bail out! usage: step_kill [STRIDE [PHASE [ROLE]]]\n");
        return 1;
    }
    printf("# stride %llu, phase %llu\n", (unsigned long long)stride, (unsigned long long)phase);
    sound = play_all(stride, phase, argc > 3 ? argv[3] : NULL);
    stage_tear_down();
    return sound ? 0 : 1;
}
