/* SPDX-License-Identifier: BSD-2-Clause */
/* step_pair [X_STRIDE Y_STRIDE [PHASE [ROLE_A ROLE_B [VARIANT ORDER [X Y]]]]]:
 * frozen pairs. Speaks TAP.
 *
 * Victims A and B play a role each on one small table. One goes first, X
 * instructions into its scene, and stands; the other goes Y instructions into
 * its own; A is killed; the master repairs; B goes on to its end. VARIANT says
 * how large the table is and who else is there, ORDER who goes first (0: B,
 * 1: A, 2: B, and the slots are used over and over before it goes on). Then all
 * is checked as in step_kill, B being a survivor.
 *
 * Without arguments one in six of all pairs meets, in one variant and order;
 * which, PHASE chooses. With strides all meet, in all of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pair_walk.h"
#include "step_walk.h"
#include "stepper.h"

#define STRIDE_OF_CHECK 61 /* of the second; the first stands at one place */
#define PAIRS_OF_CHECK  6  /* one in so many meets at all */
#define ONCE            (UINT32_MAX / 2)
#define MAX_FAILURES    3 /* of one role */

enum { ORDERS = 3 };

struct plan {
    uint32_t x_stride, y_stride;
    uint64_t phase;
    bool all; /* pairs, in all variants and orders */
    const char *only[STAGE_VICTIMS];
    long only_variant, only_order; /* -1: any */
    uint32_t x, y;                 /* a single run; 0: all */
};

/* Mixes the phase with what varies, so that it means another place everywhere. */
static uint32_t plan_number(const struct plan *plan, uint64_t what, uint32_t below)
{
    uint64_t mixed = (plan->phase + what) * UINT64_C(0x9e3779b97f4a7c15);

    mixed ^= mixed >> 32;
    return (uint32_t)(mixed % below);
}

static bool plan_has(const struct plan *plan, size_t a, size_t b, uint32_t variant, uint32_t order)
{
    if ((plan->only_variant >= 0 && plan->only_variant != (long)variant) ||
        (plan->only_order >= 0 && plan->only_order != (long)order))
        return false;
    return plan->all || plan_number(plan, a * pair_role_count + b, pair_variants * ORDERS * PAIRS_OF_CHECK) ==
                            variant * ORDERS + order;
}

static struct pair_strides plan_strides(const struct plan *plan, uint64_t what)
{
    if (plan->x > 0)
        return (struct pair_strides){ONCE, plan->x, ONCE, plan->y, plan->y + 1};
    return (struct pair_strides){plan->x_stride, 1 + plan_number(plan, what, plan->x_stride), plan->y_stride,
                                 1 + plan_number(plan, ~what, plan->y_stride), 0};
}

static void say_failure(const struct pair *pair, const struct pair_walk *walk)
{
    printf("# A: %s, B: %s, variant %u (%s), order %d, x %u, y %u: %s\n", pair->roles[0]->name, pair->roles[1]->name,
           pair->variant, pair_variant_name(pair->variant), (int)pair->order, walk->failed_x, walk->failed_y,
           walk->reason);
}

static void play_pair(const struct plan *plan, size_t a, size_t b, struct pair_walk *walk)
{
    for (uint32_t variant = 0; variant < pair_variants; variant++)
        for (uint32_t order = 0; order < ORDERS; order++) {
            const struct pair pair = {{&pair_roles[a], &pair_roles[b]}, variant, (enum pair_order)order};
            const struct pair_strides strides =
                plan_strides(plan, ((a * pair_role_count + b) * pair_variants + variant) * ORDERS + order);
            const uint64_t failures = walk->failures;

            if (!plan_has(plan, a, b, variant, order) || !pair_is_possible(&pair) || failures >= MAX_FAILURES)
                continue;
            pair_walk(&pair, &strides, failures + 1, walk);
            if (walk->failures > failures)
                say_failure(&pair, walk);
        }
}

static bool is_wanted(const char *only, size_t role)
{
    return only == NULL || strcmp(only, pair_roles[role].name) == 0;
}

/* A in one role, B in each. */
static bool play_role(const struct plan *plan, size_t number, size_t a, uint64_t *runs)
{
    const uint64_t began_ns = prefork_clock_now_ns();
    struct pair_walk walk;
    double took_ms;

    memset(&walk, 0, sizeof(walk));
    for (size_t b = 0; b < pair_role_count; b++)
        if (is_wanted(plan->only[1], b))
            play_pair(plan, a, b, &walk);
    took_ms = (double)(prefork_clock_now_ns() - began_ns) / 1e6;
    *runs += walk.runs;
    printf("%sok %zu - A: %s: %llu runs, %llu not quite there, %llu without a verdict, %llu failures, %.1f s, %.1f ms "
           "each\n",
           walk.failures > 0 ? "not " : "", number, pair_roles[a].name, (unsigned long long)walk.runs,
           (unsigned long long)walk.strayed, (unsigned long long)walk.dropped, (unsigned long long)walk.failures,
           took_ms / 1e3, walk.runs > 0 ? took_ms / (double)walk.runs : 0);
    return walk.failures == 0;
}

static bool play_all(const struct plan *plan)
{
    const uint64_t began_ns = prefork_clock_now_ns();
    uint64_t runs = 0;
    size_t number = 0;
    bool sound = true;

    printf("1..%zu\n", plan->only[0] != NULL ? 1 : pair_role_count);
    for (size_t a = 0; a < pair_role_count; a++)
        if (is_wanted(plan->only[0], a))
            sound = play_role(plan, ++number, a, &runs) && sound;
    printf("# %llu runs in %.1f s\n", (unsigned long long)runs, (double)(prefork_clock_now_ns() - began_ns) / 1e9);
    return sound;
}

static bool read_plan(int argc, char **argv, struct plan *plan_out)
{
    *plan_out = (struct plan){
        ONCE, STRIDE_OF_CHECK, prefork_clock_now_ns() / 1000 % 1000000, argc > 2, {NULL, NULL}, -1, -1, 0, 0};
    if (argc > 2) {
        plan_out->x_stride = (uint32_t)strtoul(argv[1], NULL, 0);
        plan_out->y_stride = (uint32_t)strtoul(argv[2], NULL, 0);
    }
    if (argc > 3)
        plan_out->phase = strtoull(argv[3], NULL, 0);
    for (int i = 0; i < STAGE_VICTIMS && argc > 5; i++) {
        plan_out->only[i] = argv[4 + i];
        if (pair_role(argv[4 + i]) == NULL)
            return false;
    }
    if (argc > 7) {
        plan_out->only_variant = strtol(argv[6], NULL, 0);
        plan_out->only_order = strtol(argv[7], NULL, 0);
    }
    if (argc > 9) {
        plan_out->x = (uint32_t)strtoul(argv[8], NULL, 0);
        plan_out->y = (uint32_t)strtoul(argv[9], NULL, 0);
    }
    return plan_out->x_stride > 0 && plan_out->y_stride > 0 && argc != 2 && argc != 5 && argc != 7 && argc != 9;
}

int main(int argc, char **argv)
{
    const char *const missing = stepper_missing();
    struct plan plan;
    bool sound;

    setvbuf(stdout, NULL, _IONBF, 0);
    walk_on_one_processor();
    if (missing != NULL) {
        printf("1..0 # SKIP %s\n", missing);
        return 0;
    }
    if (!read_plan(argc, argv, &plan) || stage_set_up() != 0) {
        printf("Bail out! usage: step_pair [X_STRIDE Y_STRIDE [PHASE [ROLE_A ROLE_B [VARIANT ORDER [X Y]]]]]\n");
        return 1;
    }
    printf("# strides %u and %u, phase %llu\n", plan.x_stride, plan.y_stride, (unsigned long long)plan.phase);
    sound = play_all(&plan);
    stage_tear_down();
    return sound ? 0 : 1;
}
