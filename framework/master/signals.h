/* SPDX-License-Identifier: BSD-2-Clause */
/* The master's signals become events: SIGTERM, SIGINT, SIGHUP and SIGCHLD are
 * blocked and read from a descriptor; SIGPIPE is blocked and dropped. Before and after, the program's own mask
 * and dispositions hold. */
#ifndef PFK_MASTER_SIGNALS_H
#define PFK_MASTER_SIGNALS_H

#include <signal.h>

#define PFK_SIGNALS_TAKEN 4

struct pfk_signals {
    int fd;                /* readable when a signal is there */
    sigset_t program_mask; /* what the program had blocked */
    struct sigaction program_actions[PFK_SIGNALS_TAKEN];
};

/* `program_mask`: what the program had blocked, when the caller has blocked more since; NULL: what is blocked now.
 * Takes the signals over, whatever the program inherited for them: a SIGCHLD
 * that is ignored would reap children behind the master's back. A request
 * to stop that the kernel hands to another thread of this process is passed on
 * to the calling one, which reads them. 0 or -errno. */
int pfk_signals_take(const sigset_t *program_mask, struct pfk_signals *signals_out);

/* Returns the number of the next signal, or 0 when none is there. */
int pfk_signals_next(const struct pfk_signals *signals);

/* Gives them back. A request to stop that came too late to be read is dropped;
 * it was meant for the pool that has just stopped. */
void pfk_signals_restore(struct pfk_signals *signals);

#endif
