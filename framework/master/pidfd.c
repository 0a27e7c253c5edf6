/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/pidfd.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

int pfk_pidfd_open(pid_t pid)
{
    const long fd = syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by definition */

    return fd >= 0 ? (int)fd : -errno;
}

int pfk_pidfd_signal(int pidfd, pid_t pid, int signal_number)
{
    if (pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, signal_number, NULL, 0) == 0)
        return 0;
    if (pidfd >= 0 && errno != ENOSYS && errno != EPERM)
        return errno == ESRCH ? 0 : -errno;
    /* The number is the child's until the caller reaps it. */
    if (kill(pid, signal_number) == 0 || errno == ESRCH)
        return 0;
    return -errno;
}
