/* SPDX-License-Identifier: BSD-2-Clause */
/* Looking for a while before sleeping. Being woken costs two system calls and
 * often the wake-up of an idle processor; a partner at work on another one is
 * quicker. A partner on our own processor can do nothing while we look, so who
 * last ran there is not awaited; and looking that did not pay is tried more and
 * more rarely, so crowded machines soon stop it.
 *
 * The partner's processor is a hint that travels in the slot: the submitter's
 * with the job, the worker's with the result. */
#ifndef PFK_JOB_SPIN_H
#define PFK_JOB_SPIN_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"

/* More than to be woken on a processor that went idle: of two that wait for each
 * other so, one finds the other awake, and both stay so. */
#define PFK_SPIN_NS (100 * UINT64_C(1000))
/* Looks between two readings of the clock. */
#define PFK_SPIN_LOOKS 16
/* After so many failures in a row only one wait in 2^7 is tried. */
#define PFK_SPIN_FAILURES_MAX 7

/* Of one thread. */
struct pfk_spin {
    uint32_t own_cpu;     /* where we ran lately, + 1; 0: not known */
    uint32_t partner_cpu; /* where the last partner ran, + 1; 0: not known */
    uint32_t failures;    /* in a row */
    uint32_t skips;       /* waits that are not tried */
};

/* Asks where we are. On slow paths only: a thread seldom moves otherwise. */
static inline void pfk_spin_locate(struct pfk_spin *spin)
{
    spin->own_cpu = (uint32_t)(sched_getcpu() + 1);
}

/* Whether to look for a while, now that there is something to wait for. */
static inline bool pfk_spin_is_due(struct pfk_spin *spin)
{
    pfk_spin_locate(spin);
    if (spin->partner_cpu == 0 || spin->own_cpu == 0 || spin->partner_cpu == spin->own_cpu)
        return false;
    if (spin->skips == 0)
        return true;
    spin->skips--;
    return false;
}

static inline void pfk_spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Looks until `look` returns true, for a while or until the deadline; tells
 * whether it did. Never sleeps. */
static inline bool pfk_spin_until(struct pfk_spin *spin, uint64_t deadline_ns, bool (*look)(void *context),
                                  void *context)
{
    uint64_t end_ns = prefork_clock_now_ns() + PFK_SPIN_NS;

    if (end_ns > deadline_ns)
        end_ns = deadline_ns;
    do {
        for (int i = 0; i < PFK_SPIN_LOOKS; i++) {
            if (look(context)) {
                spin->failures = 0;
                return true;
            }
            pfk_spin_pause();
        }
    } while (prefork_clock_now_ns() < end_ns);
    if (spin->failures < PFK_SPIN_FAILURES_MAX)
        spin->failures++;
    spin->skips = (UINT32_C(1) << spin->failures) - 1;
    return false;
}

#endif
