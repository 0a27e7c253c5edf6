/* SPDX-License-Identifier: BSD-2-Clause */
#include "syscalls.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The marks. A signal, for the tracer stops at nothing else while it doesn't
 * count; not by raise, which may make more calls. And a call that is none. */
#define SYSCALLS_BEGIN SIGTRAP
#define SYSCALLS_END   (-1)

static bool syscalls_traced;

void pfk_test_syscalls_begin(void)
{
    if (syscalls_traced)
        (void)syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SYSCALLS_BEGIN);
}

void pfk_test_syscalls_end(void)
{
    if (syscalls_traced)
        (void)syscall(SYSCALLS_END);
}

static pid_t syscalls_fork(void (*scene)(void *context), void *context)
{
    const pid_t child = fork();
    int status;

    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(1);
        (void)raise(SIGSTOP);
        syscalls_traced = true;
        scene(context);
        _exit(0);
    }
    if (child < 0)
        return -errno;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        return -EPERM;
    (void)ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(uintptr_t)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
    return child;
}

/* The child stands before a system call, or behind one. 0 or -errno. */
static int syscalls_note(pid_t child, bool *counting, struct pfk_test_syscalls *counts)
{
    struct __ptrace_syscall_info info = {.op = PTRACE_SYSCALL_INFO_NONE};

    if (ptrace(PTRACE_GET_SYSCALL_INFO, child, (void *)sizeof(info), &info) <= 0)
        return -errno;
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
        return 0;
    if ((int)info.entry.nr == SYSCALLS_END) {
        *counting = false;
        return 0;
    }
    counts->all++;
    if (info.entry.nr < PFK_TEST_SYSCALLS)
        counts->of[info.entry.nr]++;
    return 0;
}

/* Follows the child to its end. */
static int syscalls_follow(pid_t child, struct pfk_test_syscalls *counts)
{
    bool counting = false;
    int signal_number = 0;
    int status, rc = 0;

    while (rc == 0) {
        if (ptrace(counting ? PTRACE_SYSCALL : PTRACE_CONT, child, NULL, (void *)(intptr_t)signal_number) != 0)
            return -errno;
        if (waitpid(child, &status, 0) != child)
            return -errno;
        if (!WIFSTOPPED(status))
            return status;
        signal_number = 0;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            rc = syscalls_note(child, &counting, counts);
        else if (WSTOPSIG(status) == SYSCALLS_BEGIN)
            counting = true;
        else
            signal_number = WSTOPSIG(status);
    }
    return rc;
}

int pfk_test_count_syscalls(void (*scene)(void *context), void *context, struct pfk_test_syscalls *counts_out)
{
    const pid_t child = syscalls_fork(scene, context);
    int rc;

    memset(counts_out, 0, sizeof(*counts_out));
    if (child < 0)
        return child;
    rc = syscalls_follow(child, counts_out);
    if (rc < 0) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
    }
    return rc;
}

static void syscalls_make_one(void *context)
{
    (void)context;
    pfk_test_syscalls_begin();
    (void)getppid();
    pfk_test_syscalls_end();
}

bool pfk_test_syscalls_countable(void)
{
    struct pfk_test_syscalls counts;

    return pfk_test_count_syscalls(syscalls_make_one, NULL, &counts) == 0 && counts.all == 1 &&
           counts.of[SYS_getppid] == 1;
}
