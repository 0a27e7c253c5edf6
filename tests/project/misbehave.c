/* SPDX-License-Identifier: BSD-2-Clause */
/* Does, one at a time, what build-aux/run-test must notice in a test. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/leak.h"

static void must(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(EXIT_FAILURE);
}

static int make_segment(void)
{
    const int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

    must(id >= 0, "shmget");
    return id;
}

static void leave_segment(void)
{
    (void)make_segment();
}

static void remove_segment(void)
{
    must(shmctl(make_segment(), IPC_RMID, NULL) == 0, "shmctl");
}

/* For the self-test of run-test only: prints the number, so that it can be removed. */
static void print_segment(void)
{
    printf("%d\n", make_segment());
}

static void leave_semaphores(void)
{
    const int id = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);

    must(id >= 0, "semget");
    must(semctl(id, 1, SETVAL, 1) == 0, "semctl");
}

/* Forks; the child goes its own way in a session of its own. */
static int become_orphan(void)
{
    const pid_t child = fork();

    must(child >= 0, "fork");
    if (child > 0)
        return 0;
    must(setsid() >= 0, "setsid");
    return 1;
}

static void wait_for_ever(void)
{
    (void)signal(SIGTERM, SIG_IGN);
    for (;;)
        (void)pause();
}

/* An orphan that has closed the test's output, as a daemon does. */
static void leave_process(void)
{
    if (!become_orphan())
        return;
    (void)close(STDOUT_FILENO);
    (void)close(STDERR_FILENO);
    wait_for_ever();
}

/* An orphan with a child of its own; both hold the test's output open. */
static void leave_family(void)
{
    if (!become_orphan())
        return;
    (void)become_orphan();
    wait_for_ever();
}

/* The maker is an orphan that is gone when the test has ended: nobody but a
 * subreaper ever hears of its pid. */
static void leave_segment_of_orphan(void)
{
    int ends[2];
    char byte;

    must(pipe(ends) == 0, "pipe");
    if (become_orphan()) {
        (void)make_segment();
        _exit(EXIT_SUCCESS);
    }
    (void)close(ends[1]);
    (void)!read(ends[0], &byte, 1); /* until the orphan has ended */
}

static void hang(void)
{
    printf("not the end of a line");
    (void)fflush(stdout);
    (void)become_orphan();
    wait_for_ever();
}

static void fail_a_point(void)
{
    puts("not ok 2 - told by itself");
    exit(EXIT_FAILURE);
}

static void say_on_stderr(void)
{
    fputs("not ok - said aside\nunfinished", stderr);
}

static void count_fds(void)
{
    printf("# %d descriptors\n", pfk_test_fds_open());
}

static void exit_3(void)
{
    exit(3);
}

static void behave(void)
{
}

static const struct {
    const char *name;
    void (*act)(void);
} acts[] = {
    {"behave", behave},
    {"exit-3", exit_3},
    {"abort", abort},
    {"fail-a-point", fail_a_point},
    {"say-on-stderr", say_on_stderr},
    {"count-fds", count_fds},
    {"leave-segment", leave_segment},
    {"leave-segment-of-orphan", leave_segment_of_orphan},
    {"remove-segment", remove_segment},
    {"print-segment", print_segment},
    {"leave-semaphores", leave_semaphores},
    {"leave-process", leave_process},
    {"leave-family", leave_family},
    {"hang", hang},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < sizeof(acts) / sizeof(acts[0]); i++) {
        if (strcmp(argv[1], acts[i].name) != 0)
            continue;
        if (acts[i].act != print_segment)
            puts("ok 1 - it ran");
        (void)fflush(stdout);
        acts[i].act();
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "usage: misbehave ACT\n");
    return 2;
}
