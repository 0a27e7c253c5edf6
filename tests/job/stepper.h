/* SPDX-License-Identifier: BSD-2-Clause */
/* A victim: a child that is taken through a scene one machine instruction at a
 * time, and killed where the caller likes. */
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
    STEPPER_STANDS, /* after that many instructions */
    STEPPER_ENDED,  /* the scene is over; the victim is reaped */
    STEPPER_BROKE,  /* it ended otherwise; reaped */
    STEPPER_HANGS   /* it sleeps and nobody wakes it */
};

/* Walks the victim `steps` instructions on. A system call is one. The first
 * time that it sleeps `when_asleep` is called (may be NULL: then it hangs). */
enum stepper_end stepper_walk(pid_t victim, uint64_t steps, void (*when_asleep)(void), uint64_t *walked_out);

/* Kills the victim where it stands, and reaps it. */
void stepper_kill(pid_t victim);

/* Whether the process sleeps in the kernel, so says the kernel; or, for the
 * second, has ended and is not reaped yet. */
bool stepper_is_asleep(pid_t pid);
bool stepper_rests(pid_t pid);

#endif
