/* SPDX-License-Identifier: BSD-2-Clause */
#include "stepper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* How often a victim that does not come back from its step is looked at. */
#define LOOK_EVERY_US        1000
#define LOOKS_BEFORE_HANGING 20000

static void stepper_say_nothing(void)
{
}

const char *stepper_missing(void)
{
#ifdef __x86_64__
    uint64_t walked;
    pid_t probe;

    if (access("/proc/self/stat", R_OK) != 0)
        return "/proc is not mounted";
    probe = stepper_fork(stepper_say_nothing, stepper_say_nothing);
    if (probe < 0)
        return "ptrace is not permitted";
    if (stepper_walk(probe, 1, NULL, &walked) != STEPPER_STANDS)
        return "ptrace can't take single steps";
    stepper_kill(probe);
    return NULL;
#else
    return "single steps through load-exclusive and store-exclusive never arrive";
#endif
}

pid_t stepper_fork(void (*prepare)(void), void (*scene)(void))
{
    const pid_t victim = fork();
    int status;

    if (victim == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(1);
        prepare();
        (void)raise(SIGSTOP);
        scene();
        _exit(0);
    }
    if (victim < 0 || waitpid(victim, &status, 0) != victim || !WIFSTOPPED(status))
        return -1;
    (void)ptrace(PTRACE_SETOPTIONS, victim, NULL, (void *)(uintptr_t)PTRACE_O_EXITKILL);
    return victim;
}

/* The letter in /proc/PID/stat, "pid (name) S ..."; '?' when there is none. */
static char stepper_state(pid_t pid)
{
    char path[64], line[256];
    const char *state = NULL;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return '?';
    if (fgets(line, sizeof(line), file) != NULL)
        state = strrchr(line, ')');
    (void)fclose(file);
    return state != NULL && state[1] == ' ' ? state[2] : '?';
}

bool stepper_is_asleep(pid_t pid)
{
    return stepper_state(pid) == 'S';
}

bool stepper_rests(pid_t pid)
{
    const char state = stepper_state(pid);

    return state == 'S' || state == 'Z';
}

static void stepper_interrupt(int number)
{
    (void)number; /* only to get waitpid out */
}

/* SIGALRM again and again, without SA_RESTART: so that waiting for a victim
 * costs no polling, and one that sleeps is noticed all the same. */
static void stepper_watch(long every_us)
{
    const struct itimerval timer = {{0, every_us}, {0, every_us}};
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = stepper_interrupt;
    (void)sigaction(SIGALRM, &action, NULL);
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

/* Waits for the end of a step; false: it hangs. */
static bool stepper_await(pid_t victim, void (**when_asleep)(void), int *status_out)
{
    for (int looks = 0; waitpid(victim, status_out, 0) != victim; looks++) {
        void (*const call)(void) = *when_asleep;

        if (errno != EINTR || looks > LOOKS_BEFORE_HANGING)
            return false;
        if (call == NULL || !stepper_is_asleep(victim))
            continue;
        *when_asleep = NULL;
        stepper_watch(0); /* what is called has system calls of its own */
        call();
        stepper_watch(LOOK_EVERY_US);
    }
    return true;
}

enum stepper_end stepper_walk(pid_t victim, uint64_t steps, void (*when_asleep)(void), uint64_t *walked_out)
{
    enum stepper_end end = STEPPER_STANDS;
    int status = 0;

    stepper_watch(LOOK_EVERY_US);
    for (*walked_out = 0; *walked_out < steps && end == STEPPER_STANDS; ++*walked_out) {
        if (ptrace(PTRACE_SINGLESTEP, victim, NULL, NULL) != 0 || !stepper_await(victim, &when_asleep, &status))
            end = STEPPER_HANGS;
        else if (!WIFSTOPPED(status))
            end = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? STEPPER_ENDED : STEPPER_BROKE;
        else if (WSTOPSIG(status) != SIGTRAP)
            end = STEPPER_BROKE;
    }
    stepper_watch(0);
    if (end == STEPPER_HANGS || (end == STEPPER_BROKE && WIFSTOPPED(status)))
        stepper_kill(victim);
    return end;
}

void stepper_kill(pid_t victim)
{
    int status;

    (void)kill(victim, SIGKILL);
    while (waitpid(victim, &status, 0) == victim && WIFSTOPPED(status))
        continue;
}
