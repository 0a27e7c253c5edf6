/* SPDX-License-Identifier: BSD-2-Clause */
#include "step_walk.h"

#include <sched.h>
#include <string.h>

#include "stepper.h"

static void call(void (*function)(void))
{
    if (function != NULL)
        function();
}

static void (*walk_wake)(void);

/* The first time that the victim sleeps the scene wakes it; then others do, or it
 * hangs, unless the scene has more to do. */
static bool walk_when_asleep(void)
{
    void (*const wake)(void) = walk_wake;

    scene_wake_again = NULL;
    call(wake);
    walk_wake = scene_wake_again;
    return stage_is_sound();
}

/* The victim before its scene; -1: it isn't there. */
static pid_t walk_open(const struct scene *scene)
{
    pid_t victim;

    if (scene->slots > 0 && !stage_open(scene->slots))
        return -1;
    call(scene->arrange);
    victim = stepper_fork(scene->prepare, scene->act);
    if (victim < 0)
        stage_fail("the victim ended before its scene");
    else
        call(scene->arrange_late);
    walk_wake = scene->when_asleep;
    return victim;
}

static void walk_close(const struct scene *scene, pid_t victim)
{
    if (scene->slots == 0) {
        scene->inspect(victim);
        return;
    }
    stage_close_accounts(0, victim);
    stage_repair(scene->n_dead);
    (void)stage_close();
}

static void walk_expect(pid_t victim, enum stepper_end end, enum stepper_end expected)
{
    if (end == expected)
        return;
    stage_fail(end == STEPPER_SLEEPS ? "the victim sleeps on" : "the victim failed");
    if (end == STEPPER_SLEEPS || end == STEPPER_STANDS || end == STEPPER_STRAYED)
        stepper_kill(victim);
}

/* The whole scene, nobody is killed; the trail of it. */
static void walk_record(const struct scene *scene, struct stepper_trail *trail_out)
{
    const pid_t victim = walk_open(scene);

    *trail_out = (struct stepper_trail){NULL, 0, false};
    if (victim < 0)
        return;
    walk_expect(victim, stepper_record(victim, STEPPER_MAX_PLACES, walk_when_asleep, trail_out), STEPPER_ENDED);
    walk_close(scene, victim);
}

/* One death after so many instructions; false: the victim has left the trail. */
static bool walk_kill_at(const struct scene *scene, const struct stepper_trail *trail, uint32_t place)
{
    const pid_t victim = walk_open(scene);
    const enum stepper_end end = victim < 0 ? STEPPER_BROKE : stepper_go(victim, trail, place, walk_when_asleep);

    if (end == STEPPER_STANDS || end == STEPPER_STRAYED)
        stepper_kill(victim);
    else if (end != STEPPER_ENDED)
        walk_expect(victim, end, STEPPER_STANDS);
    walk_close(scene, victim);
    return end == STEPPER_STANDS;
}

static void walk_kill_after(const struct scene *scene, uint64_t steps)
{
    const pid_t victim = walk_open(scene);
    uint64_t walked;
    const enum stepper_end end = victim < 0 ? STEPPER_BROKE : stepper_walk(victim, steps, walk_when_asleep, &walked);

    if (end == STEPPER_STANDS)
        stepper_kill(victim);
    else if (end != STEPPER_ENDED)
        walk_expect(victim, end, STEPPER_STANDS);
    walk_close(scene, victim);
}

static void walk_note(struct walk *walk, uint64_t at)
{
    if (stage_is_sound() || walk->failures++ > 0)
        return;
    walk->failed_at = at;
    memcpy(walk->reason, stage_ledger->reason, sizeof(walk->reason));
}

static void walk_clear_ledger(void)
{
    memset((void *)stage_ledger, 0, sizeof(*stage_ledger));
}

void walk_scene(const struct scene *scene, uint64_t stride, uint64_t phase, uint64_t max_failures,
                struct walk *walk_out)
{
    struct stepper_trail trail;

    memset(walk_out, 0, sizeof(*walk_out));
    walk_clear_ledger();
    walk_record(scene, &trail);
    walk_note(walk_out, 0);
    walk_out->instructions = trail.length;
    for (uint64_t at = phase; at < trail.length && walk_out->failures < max_failures; at += stride) {
        walk_clear_ledger();
        walk_out->kills++;
        if (!walk_kill_at(scene, &trail, (uint32_t)at) && stage_is_sound()) {
            walk_out->strayed++; /* others take part in the scene, and were quicker or slower */
            walk_kill_after(scene, at);
        }
        walk_note(walk_out, at);
    }
    stepper_forget(&trail);
}

void walk_on_one_processor(void)
{
    const int here = sched_getcpu();
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)(here > 0 ? here : 0), &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
}
