/* SPDX-License-Identifier: BSD-2-Clause */
#include "stepper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* How often a victim that does not come back from its step is looked at. */
#define LOOK_EVERY_US        200
#define LOOKS_BEFORE_HANGING 100000

#define BREAKPOINT UINT64_C(0xcc) /* int3 */
/* In strides of a breakpoint: on virtual machines a debug exception goes through the hypervisor. */
#define COST_OF_STEP 5

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
    const char *state;
    ssize_t length;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return '?';
    length = read(fd, line, sizeof(line) - 1);
    (void)close(fd);
    line[length > 0 ? length : 0] = '\0';
    state = strrchr(line, ')');
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

/* Waits for the victim to stop or end; STEPPER_STANDS: it stands. */
static enum stepper_end stepper_await(pid_t victim, stepper_asleep_fn *when_asleep)
{
    int status;

    for (int looks = 0; waitpid(victim, &status, 0) != victim; looks++) {
        bool go_on = true;

        if (errno != EINTR)
            return STEPPER_BROKE;
        if (!stepper_is_asleep(victim))
            continue;
        if (when_asleep != NULL) {
            stepper_watch(0); /* what is called has system calls of its own */
            go_on = when_asleep();
            stepper_watch(LOOK_EVERY_US);
        }
        if (when_asleep == NULL || !go_on || looks > LOOKS_BEFORE_HANGING)
            return STEPPER_SLEEPS;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return STEPPER_ENDED;
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP)
        return STEPPER_STANDS;
    if (WIFSTOPPED(status))
        stepper_kill(victim);
    return STEPPER_BROKE;
}

static enum stepper_end stepper_step(pid_t victim, stepper_asleep_fn *when_asleep)
{
    if (ptrace(PTRACE_SINGLESTEP, victim, NULL, NULL) != 0)
        return STEPPER_BROKE;
    return stepper_await(victim, when_asleep);
}

enum stepper_end stepper_walk(pid_t victim, uint64_t steps, stepper_asleep_fn *when_asleep, uint64_t *walked_out)
{
    enum stepper_end end = STEPPER_STANDS;

    stepper_watch(LOOK_EVERY_US);
    for (*walked_out = 0; *walked_out < steps && end == STEPPER_STANDS; ++*walked_out)
        end = stepper_step(victim, when_asleep);
    stepper_watch(0);
    return end;
}

/* -- trails ------------------------------------------------------------------------ */

#ifdef __x86_64__

static struct stepper_place stepper_where(pid_t victim)
{
    struct user_regs_struct registers;

    memset(&registers, 0, sizeof(registers));
    (void)ptrace(PTRACE_GETREGS, victim, NULL, &registers);
    return (struct stepper_place){registers.rip, registers.rsp, 0, 0};
}

static void stepper_move_to(pid_t victim, uint64_t instruction)
{
    (void)ptrace(PTRACE_POKEUSER, victim, (void *)offsetof(struct user, regs.rip), (void *)(uintptr_t)instruction);
}

/* A victim is our fork: its text is ours. */
static uint64_t stepper_text(uint64_t instruction)
{
    uint64_t text;

    memcpy(&text, (const void *)(uintptr_t)instruction, sizeof(text));
    return text;
}

static void stepper_set_text(pid_t victim, uint64_t instruction, uint64_t text)
{
    (void)ptrace(PTRACE_POKETEXT, victim, (void *)(uintptr_t)instruction, (void *)(uintptr_t)text);
}

/* Runs the victim until it comes by `instruction`. */
static enum stepper_end stepper_run_to(pid_t victim, uint64_t instruction, stepper_asleep_fn *when_asleep)
{
    const uint64_t text = stepper_text(instruction);
    enum stepper_end end;

    stepper_set_text(victim, instruction, (text & ~UINT64_C(0xff)) | BREAKPOINT);
    if (ptrace(PTRACE_CONT, victim, NULL, NULL) != 0)
        return STEPPER_BROKE;
    end = stepper_await(victim, when_asleep);
    if (end != STEPPER_STANDS)
        return end;
    stepper_set_text(victim, instruction, text);
    stepper_move_to(victim, stepper_where(victim).instruction - 1);
    return STEPPER_STANDS;
}

#else

static struct stepper_place stepper_where(pid_t victim)
{
    (void)victim;
    return (struct stepper_place){0, 0, 0, 0};
}

static enum stepper_end stepper_run_to(pid_t victim, uint64_t instruction, stepper_asleep_fn *when_asleep)
{
    (void)instruction;
    return stepper_step(victim, when_asleep);
}

#endif

/* The cheapest stride to a place: from where no place in between has the same
 * instruction, so that the first breakpoint hit is the right one. */
static void stepper_find_way(struct stepper_place *places, uint32_t place)
{
    struct stepper_place *const here = &places[place];
    uint32_t from = place - 1;

    here->from = from;
    here->cost = places[from].cost + COST_OF_STEP;
    for (;; from--) {
        if (places[from].instruction == here->instruction)
            return; /* coming from there we would not leave it */
        if (places[from].cost + 1 < here->cost) {
            here->from = from;
            here->cost = places[from].cost + 1;
        }
        if (from == 0)
            return;
    }
}

enum stepper_end stepper_record(pid_t victim, uint32_t max_places, stepper_asleep_fn *when_asleep,
                                struct stepper_trail *trail_out)
{
    struct stepper_place *const places = calloc(max_places, sizeof(*places));
    enum stepper_end end = STEPPER_STANDS;

    if (places == NULL)
        abort();
    *trail_out = (struct stepper_trail){places, 1, false};
    places[0] = stepper_where(victim);
    stepper_watch(LOOK_EVERY_US);
    while (trail_out->length < max_places && (end = stepper_step(victim, when_asleep)) == STEPPER_STANDS)
        places[trail_out->length++] = stepper_where(victim);
    stepper_watch(0);
    trail_out->sleeps = end == STEPPER_SLEEPS;
    for (uint32_t i = 1; i < trail_out->length; i++)
        stepper_find_way(places, i);
    return end;
}

void stepper_forget(struct stepper_trail *trail)
{
    free(trail->places);
    *trail = (struct stepper_trail){NULL, 0, false};
}

static enum stepper_end stepper_stride(pid_t victim, const struct stepper_trail *trail, uint32_t place,
                                       stepper_asleep_fn *when_asleep)
{
    const struct stepper_place *const places = trail->places, *const to = &places[place];

    if (places[to->from].instruction == to->instruction)
        return stepper_step(victim, when_asleep); /* it stands on the breakpoint already */
    return stepper_run_to(victim, to->instruction, when_asleep);
}

/* Way back to front, then gone front to back. */
static enum stepper_end stepper_go_far(pid_t victim, const struct stepper_trail *trail, uint32_t place,
                                       stepper_asleep_fn *when_asleep)
{
    static uint32_t way[STEPPER_MAX_PLACES];
    enum stepper_end end = STEPPER_STANDS;
    uint32_t strides = 0;

    for (uint32_t at = place; at != 0; at = trail->places[at].from)
        way[strides++] = at;
    while (strides > 0 && end == STEPPER_STANDS)
        end = stepper_stride(victim, trail, way[--strides], when_asleep);
    return end;
}

static bool stepper_is_at(pid_t victim, const struct stepper_place *place)
{
    const struct stepper_place here = stepper_where(victim);

    return here.instruction == place->instruction && here.stack == place->stack;
}

enum stepper_end stepper_go(pid_t victim, const struct stepper_trail *trail, uint32_t place,
                            stepper_asleep_fn *when_asleep)
{
    enum stepper_end end;

    stepper_watch(LOOK_EVERY_US);
    if (place < trail->length)
        end = stepper_go_far(victim, trail, place, when_asleep);
    else
        end = ptrace(PTRACE_CONT, victim, NULL, NULL) == 0 ? stepper_await(victim, when_asleep) : STEPPER_BROKE;
    stepper_watch(0);
    if (end == STEPPER_STANDS && (place >= trail->length || !stepper_is_at(victim, &trail->places[place])))
        return STEPPER_STRAYED;
    return end;
}

void stepper_release(pid_t victim)
{
    (void)ptrace(PTRACE_DETACH, victim, NULL, NULL); /* fails on one that sleeps: it runs on, traced */
}

void stepper_kill(pid_t victim)
{
    int status;

    (void)kill(victim, SIGKILL);
    while (waitpid(victim, &status, 0) == victim && WIFSTOPPED(status))
        continue;
}
