/* SPDX-License-Identifier: BSD-2-Clause */
/* A victim: a child that is taken through a scene one machine instruction at a
 * time, and killed, or left standing, where the caller likes.
 *
 * Single steps are slow (a debug exception, and two switches of process), so
 * the way through a scene is walked once and written down, the trail; whoever
 * wants to get to a place again goes there by breakpoints, in few strides. */
#ifndef STEPPER_H
#define STEPPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Whether this machine lets us do it: x86-64 (single steps break the exclusive
 * monitor of other machines), ptrace permitted, /proc there. NULL, or why not. */
const char *stepper_missing(void);

/* Forks the victim, which calls `prepare`, then stands still before `scene`,
 * after which it exits with 0. Returns its pid, or -1: it ended in `prepare`. */
pid_t stepper_fork(void (*prepare)(void), void (*scene)(void));

enum stepper_end {
    STEPPER_STANDS, /* where it should */
    STEPPER_ENDED,  /* the scene is over; the victim is reaped */
    STEPPER_BROKE,  /* it ended otherwise; reaped */
    STEPPER_SLEEPS, /* nobody wakes it; it is not stopped, a wake-up would let it go on */
    STEPPER_STRAYED /* it is not where the trail says; it stands somewhere */
};

/* Asked again and again while the victim sleeps in the kernel: may wake it.
 * False: it shall sleep on, the walk ends. NULL is false at once. */
typedef bool stepper_asleep_fn(void);

/* Walks the victim `steps` instructions on. A system call is one. */
enum stepper_end stepper_walk(pid_t victim, uint64_t steps, stepper_asleep_fn *when_asleep, uint64_t *walked_out);

/* A place is a number of instructions from the start of the scene. */
struct stepper_place {
    uint64_t instruction, stack; /* registers */
    uint32_t cost;               /* strides from the start */
    uint32_t from;               /* the place before the last stride */
};

enum { STEPPER_MAX_PLACES = 1 << 17 };

struct stepper_trail {
    struct stepper_place *places;
    uint32_t length; /* places 0 ... length - 1; the victim's end, or its sleep, comes after the last */
    bool sleeps;     /* it is a sleep: `length` is a place too */
};

static inline uint32_t stepper_places(const struct stepper_trail *trail)
{
    return trail->length + trail->sleeps;
}

/* Walks the victim to the end of its scene, until it sleeps, or until it has
 * come by so many places, and writes the trail. */
enum stepper_end stepper_record(pid_t victim, uint32_t max_places, stepper_asleep_fn *when_asleep,
                                struct stepper_trail *trail_out);
void stepper_forget(struct stepper_trail *trail);

/* Takes a victim that stands before its scene to a place of the trail, or, to
 * trail->length, to its end or its sleep. */
enum stepper_end stepper_go(pid_t victim, const struct stepper_trail *trail, uint32_t place,
                            stepper_asleep_fn *when_asleep);

/* Lets the victim run; it is not stepped any more, but still the caller's child. */
void stepper_release(pid_t victim);

/* Kills the victim where it is, and reaps it. */
void stepper_kill(pid_t victim);

/* Whether the process sleeps in the kernel, so says the kernel; or, for the
 * second, has ended and is not reaped yet. */
bool stepper_is_asleep(pid_t pid);
bool stepper_rests(pid_t pid);

#endif
