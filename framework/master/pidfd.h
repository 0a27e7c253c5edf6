/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes by descriptor: a number that is never given to another process. */
#ifndef PFK_MASTER_PIDFD_H
#define PFK_MASTER_PIDFD_H

#include <sys/types.h>

/* Returns a close-on-exec descriptor that is readable once the process has
 * ended, or -errno; -ENOSYS and -EPERM where the kernel or a filter has no such
 * thing. Sets no text: callers have another way. */
int pfk_pidfd_open(pid_t pid);

/* Sends a signal to a child that was not reaped yet: by `pidfd`, or by `pid`
 * when `pidfd` is -1 or its call is forbidden. A child that ended already is
 * no failure. 0 or -errno. */
int pfk_pidfd_signal(int pidfd, pid_t pid, int signal_number);

#endif
