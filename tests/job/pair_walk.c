/* SPDX-License-Identifier: BSD-2-Clause */
#include "pair_walk.h"

#include <string.h>

#include "base/compiler.h"
#include "step_living.h"
#include "stepper.h"

enum { A, B };

struct pair_variant {
    const char *name;
    uint32_t slots;
    bool full;             /* the master holds what the victims don't */
    void (*sleeper)(void); /* who else is there; may be NULL */
};

static const struct pair_variant variants[] = {
    {"2 slots", 2, false, NULL},
    {"2 slots, all taken, somebody waits for one", 2, true, living_start_reserver},
    {"3 slots, a worker sleeps", 3, false, living_start_worker},
    {"3 slots, all taken, a loop wants one", 3, true, living_start_room_loop},
};
const uint32_t pair_variants = PFK_COUNT_OF(variants);

static pid_t victims[STAGE_VICTIMS]; /* 0: has ended and is reaped */
static bool pair_was_dropped;        /* the last run came to no verdict */

const char *pair_variant_name(uint32_t variant)
{
    return variants[variant].name;
}

bool pair_is_possible(const struct pair *pair)
{
    uint32_t slots = 0;

    for (uint32_t i = 0; i < STAGE_VICTIMS; i++)
        slots += pair->roles[i]->jobs + pair->roles[i]->slots;
    return slots <= variants[pair->variant].slots;
}

static bool pair_bear(uint32_t victim, const struct pair_role *role)
{
    pair_cast(victim, role);
    victims[victim] = stepper_fork(pair_prepare, pair_act);
    if (victims[victim] < 0) {
        victims[victim] = 0;
        stage_fail("a victim ended before its scene");
        return false;
    }
    if (role->run != NULL)
        role->run();
    return true;
}

/* Both victims stand before their scenes. */
static bool pair_open(const struct pair *pair)
{
    const struct pair_variant *const variant = &variants[pair->variant];
    uint32_t jobs = 0;
    uint64_t held;

    if (!stage_open(variant->slots) || !pair_bear(A, pair->roles[A]) || !pair_bear(B, pair->roles[B]))
        return false;
    if (variant->sleeper != NULL && !variant->full)
        variant->sleeper();
    for (uint32_t i = 0; i < STAGE_VICTIMS; i++)
        for (uint32_t j = 0; j < pair->roles[i]->jobs; j++)
            (void)stage_put_silently(stage_holder, STAGE_FIRST_JOB + jobs++, PREFORK_SUBMIT_DETACHED);
    while (variant->full && prefork_lane_reserve(stage_holder, PREFORK_NO_WAIT, &held) == 0)
        continue;
    if (variant->sleeper != NULL && variant->full)
        variant->sleeper();
    return stage_is_sound();
}

static void pair_kill(uint32_t victim)
{
    if (victims[victim] != 0)
        stepper_kill(victims[victim]);
    victims[victim] = 0;
}

static void pair_drop(void)
{
    pair_kill(A);
    pair_kill(B);
    stage_drop();
}

/* False: something broke, or the victim can't be left where it is. */
static bool pair_note_end(uint32_t victim, enum stepper_end end, bool at_sleep, struct pair_walk *walk)
{
    if (end == STEPPER_ENDED || end == STEPPER_BROKE)
        victims[victim] = 0;
    if (end == STEPPER_BROKE)
        stage_fail("victim %c failed", "AB"[victim]);
    walk->strayed += end == STEPPER_STRAYED || end == STEPPER_ENDED;
    pair_was_dropped = end == STEPPER_SLEEPS && !at_sleep && victim == B; /* a breakpoint stands in its text */
    walk->dropped += pair_was_dropped;
    return end != STEPPER_BROKE && !pair_was_dropped;
}

static bool pair_go(uint32_t victim, const struct stepper_trail *trail, uint32_t place, struct pair_walk *walk)
{
    const enum stepper_end end = stepper_go(victims[victim], trail, place, living_help);

    return pair_note_end(victim, end, place == trail->length, walk);
}

static void pair_record(uint32_t victim, uint32_t max_places, struct stepper_trail *trail_out)
{
    const enum stepper_end end = stepper_record(victims[victim], max_places, living_help, trail_out);

    if (end == STEPPER_ENDED || end == STEPPER_BROKE)
        victims[victim] = 0;
    if (end == STEPPER_BROKE)
        stage_fail("victim %c failed by itself", "AB"[victim]);
}

/* A is dead; B goes on in the end. */
static void pair_close(const struct pair *pair)
{
    const pid_t dead = victims[A];

    pair_kill(A);
    stage_close_accounts(A, dead);
    stage_repair(1);
    living_check_sleepers(STAGE_VICTIM + B);
    if (pair->order == PAIR_B_FIRST_REUSE && stage_is_sound())
        stage_reuse();
    if (victims[B] != 0) {
        stepper_release(victims[B]);
        living_add_victim(B, victims[B]);
    }
    (void)stage_close();
}

static uint32_t pair_first(const struct pair *pair)
{
    return pair->order == PAIR_A_FIRST ? A : B;
}

static void pair_run(const struct pair *pair, const struct stepper_trail *first, uint32_t x,
                     const struct stepper_trail *second, uint32_t y, struct pair_walk *walk)
{
    const uint32_t one = pair_first(pair);

    pair_was_dropped = false;
    walk->runs++;
    if (pair_open(pair) && pair_go(one, first, x, walk) && pair_go(!one, second, y, walk)) {
        pair_close(pair);
        return;
    }
    walk->runs -= pair_was_dropped;
    pair_drop();
}

/* The second's trail, given where the first stands. */
static bool pair_record_second(const struct pair *pair, const struct pair_strides *strides,
                               const struct stepper_trail *first, uint32_t x, struct stepper_trail *second_out,
                               struct pair_walk *walk)
{
    const uint32_t one = pair_first(pair);
    bool recorded = false;

    pair_was_dropped = false;
    if (pair_open(pair) && pair_go(one, first, x, walk)) {
        pair_record(!one, strides->y_end > 0 ? strides->y_end : STEPPER_MAX_PLACES, second_out);
        recorded = stage_is_sound();
    }
    pair_drop();
    return recorded;
}

static void pair_note_failure(struct pair_walk *walk, uint32_t x, uint32_t y)
{
    if (walk->failures++ > 0)
        return;
    walk->failed_x = x;
    walk->failed_y = y;
    memcpy(walk->reason, stage_ledger->reason, sizeof(walk->reason));
}

/* Place 0 is before the scene. */
static uint32_t pair_start(const struct stepper_trail *trail, uint32_t phase)
{
    return stepper_places(trail) > 1 ? 1 + (phase - 1) % (stepper_places(trail) - 1) : 1;
}

static void pair_walk_second(const struct pair *pair, const struct pair_strides *strides, uint64_t max_failures,
                             const struct stepper_trail *first, uint32_t x, struct pair_walk *walk)
{
    struct stepper_trail second = {NULL, 0, false};

    if (!pair_record_second(pair, strides, first, x, &second, walk)) {
        if (!pair_was_dropped)
            pair_note_failure(walk, x, 0);
        return;
    }
    for (uint32_t y = pair_start(&second, strides->y_phase);
         y < stepper_places(&second) && walk->failures < max_failures; y += strides->y_stride) {
        pair_run(pair, first, x, &second, y, walk);
        if (!pair_was_dropped && !stage_is_sound())
            pair_note_failure(walk, x, y);
    }
    stepper_forget(&second);
}

void pair_walk(const struct pair *pair, const struct pair_strides *strides, uint64_t max_failures,
               struct pair_walk *walk)
{
    struct stepper_trail first = {NULL, 0, false};

    if (pair_open(pair))
        pair_record(pair_first(pair), STEPPER_MAX_PLACES, &first);
    if (!stage_is_sound())
        pair_note_failure(walk, 0, 0);
    pair_drop();
    for (uint32_t x = pair_start(&first, strides->x_phase); x < stepper_places(&first) && walk->failures < max_failures;
         x += strides->x_stride)
        pair_walk_second(pair, strides, max_failures, &first, x, walk);
    stepper_forget(&first);
}
