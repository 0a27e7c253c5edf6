/* SPDX-License-Identifier: BSD-2-Clause */
/* step_kill [STRIDE [PHASE [ROLE]]]: SIGKILL at machine instructions. Speaks TAP.
 *
 * For each role a victim is brought k instructions into its scene and killed,
 * k = PHASE, PHASE + STRIDE ... until the scene is over; STRIDE 1 is every
 * instruction, a system call being one. After each death the master repairs.
 * Then: survivors that slept in the kernel, with no timeout, must have been
 * woken; every accepted job is completed once, nothing else is; verify finds
 * nothing; all slots are free and can be reserved; the dead lane is opened again
 * and works. The ledger lies outside of the table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "step_scenes.h"
#include "step_stage.h"
#include "step_walk.h"
#include "stepper.h"

#define STRIDE_OF_CHECK 17
#define MAX_FAILURES    3 /* of one role */

static uint64_t kills;

static bool play_role(size_t number, const struct scene *scene, uint64_t stride, uint64_t phase)
{
    const uint64_t began_ns = prefork_clock_now_ns();
    struct walk walk;

    if (stride > 1 && scene->coarser > 1)
        stride *= scene->coarser;
    walk_scene(scene, stride, phase, MAX_FAILURES, &walk);
    kills += walk.kills;
    printf("%sok %zu - %s: K=%llu, %llu kills, %llu of them step by step, %llu failures, %.1f s\n",
           walk.failures > 0 ? "not " : "", number, scene->name, (unsigned long long)walk.instructions,
           (unsigned long long)walk.kills, (unsigned long long)walk.strayed, (unsigned long long)walk.failures,
           (double)(prefork_clock_now_ns() - began_ns) / 1e9);
    if (walk.failures > 0)
        printf("# at instruction %llu: %s\n", (unsigned long long)walk.failed_at, walk.reason);
    return walk.failures == 0;
}

static bool play_all(uint64_t stride, uint64_t phase, const char *only)
{
    size_t number = 0;
    bool sound = true;

    printf("1..%zu\n", only != NULL ? 1 : step_scene_count);
    for (size_t i = 0; i < step_scene_count; i++)
        if (only == NULL || strcmp(only, step_scenes[i].name) == 0)
            sound = play_role(++number, &step_scenes[i], stride, phase) && sound;
    printf("# %llu kills; %u strays of killed creators were removed\n", (unsigned long long)kills, step_strays);
    return sound;
}

int main(int argc, char **argv)
{
    const uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 0) : STRIDE_OF_CHECK;
    const uint64_t phase =
        argc > 2 ? strtoull(argv[2], NULL, 0) : prefork_clock_now_ns() / 1000 % (stride + !stride) + 1;
    const char *const missing = stepper_missing();
    bool sound;

    setvbuf(stdout, NULL, _IONBF, 0);
    walk_on_one_processor();
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
