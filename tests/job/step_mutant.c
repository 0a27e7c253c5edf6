/* SPDX-License-Identifier: BSD-2-Clause */
/* Lets the mutant that it is linked with run where its fault must show. Speaks TAP. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "mutant.h"
#include "pair_walk.h"
#include "step_walk.h"
#include "stepper.h"

#define STRIDE 2 /* the narrowest fault is open for some five instructions */

struct caught {
    bool is;
    uint64_t kills;
    uint64_t x, y;
    char reason[sizeof(((struct stage_ledger *)NULL)->reason)];
};

static void play_kill(struct caught *caught_out)
{
    struct walk walk;

    walk_scene(step_scene(mutant.scene), STRIDE, 1, 1, &walk);
    *caught_out = (struct caught){.is = walk.failures > 0, .kills = walk.kills, .x = walk.failed_at};
    memcpy(caught_out->reason, walk.reason, sizeof(walk.reason));
}

static void play_pair(struct caught *caught_out)
{
    const struct pair pair = {
        {pair_role(mutant.role_a), pair_role(mutant.role_b)}, mutant.variant, (enum pair_order)mutant.order};
    const struct pair_strides strides = {mutant.x_stride, 1, mutant.y_stride, 1, mutant.y_end};
    struct pair_walk walk;

    memset(&walk, 0, sizeof(walk));
    pair_walk(&pair, &strides, 1, &walk);
    *caught_out = (struct caught){.is = walk.failures > 0, .kills = walk.runs, .x = walk.failed_x, .y = walk.failed_y};
    memcpy(caught_out->reason, walk.reason, sizeof(walk.reason));
}

int main(void)
{
    const uint64_t began_ns = prefork_clock_now_ns();
    const char *const missing = stepper_missing();
    struct caught caught;

    setvbuf(stdout, NULL, _IONBF, 0);
    walk_on_one_processor();
    if (missing != NULL) {
        printf("1..0 # SKIP %s\n", missing);
        return 0;
    }
    if (stage_set_up() != 0) {
        printf("Bail out! no memory\n");
        return 1;
    }
    printf("1..1\n");
    if (mutant.scene != NULL)
        play_kill(&caught);
    else
        play_pair(&caught);
    if (caught.is)
        printf("ok 1 - mutant: %s: caught by the %lluth kill, at instruction %llu/%llu: %s\n", mutant.name,
               (unsigned long long)caught.kills, (unsigned long long)caught.x, (unsigned long long)caught.y,
               caught.reason);
    else
        printf("not ok 1 - mutant: %s: not caught by %llu kills\n", mutant.name, (unsigned long long)caught.kills);
    printf("# %.1f s\n", (double)(prefork_clock_now_ns() - began_ns) / 1e9);
    stage_tear_down();
    return caught.is ? 0 : 1;
}
