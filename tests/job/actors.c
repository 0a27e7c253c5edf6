/* SPDX-License-Identifier: BSD-2-Clause */
#include "actors.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static int actors_the_key;
static char actors_path[512], actors_program[512];

void actors_set_up(void)
{
    const char *const folder = getenv("TMPDIR"), *const build = getenv("PFK_BUILDDIR");
    uint32_t bits;

    ck_assert_int_eq(getrandom(&bits, sizeof(bits), 0), sizeof(bits));
    actors_the_key = (int)(0x51000000u | (bits & 0xffffffu));
    (void)snprintf(actors_path, sizeof(actors_path), "%s/lock.%x", folder != NULL ? folder : "/tmp", bits);
    (void)snprintf(actors_program, sizeof(actors_program), "%s/tests/job/actor", build != NULL ? build : ".");
    (void)signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

void actors_tear_down(void)
{
    const int id = shmget(actors_the_key, 0, 0);

    if (id >= 0)
        ck_assert_int_eq(shmctl(id, IPC_RMID, NULL), 0);
    (void)unlink(actors_path);
}

int actors_key(void)
{
    return actors_the_key;
}

const char *actors_lock_path(void)
{
    return actors_path;
}

/* Above what the actor gives to its commands' and answers' descriptors. */
static void actors_pipe(int *read_fd_out, int *write_fd_out)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    *read_fd_out = fcntl(ends[0], F_DUPFD_CLOEXEC, 10);
    *write_fd_out = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
    ck_assert(*read_fd_out >= 0 && *write_fd_out >= 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

void actor_start(struct actor *actor)
{
    int commands, answers, child_commands, child_answers;
    char key[16];

    memset(actor, 0, sizeof(*actor));
    actors_pipe(&commands, &actor->commands_fd);
    actors_pipe(&actor->answers_fd, &answers);
    actors_pipe(&child_commands, &actor->child_commands_fd);
    actors_pipe(&actor->child_answers_fd, &child_answers);
    (void)snprintf(key, sizeof(key), "0x%x", (unsigned)actors_the_key);
    actor->pid = fork();
    ck_assert_int_ge(actor->pid, 0);
    if (actor->pid == 0) {
        (void)dup2(commands, 0);
        (void)dup2(answers, 1);
        (void)dup2(child_commands, 3);
        (void)dup2(child_answers, 4);
        (void)execl(actors_program, actors_program, key, actors_path, (char *)NULL);
        _exit(127);
    }
    (void)close(commands);
    (void)close(answers);
    (void)close(child_commands);
    (void)close(child_answers);
}

void actor_tell(struct actor *actor, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    (void)vdprintf(actor->commands_fd, format, values);
    va_end(values);
    (void)dprintf(actor->commands_fd, "\n");
}

int actor_hear(struct actor *actor)
{
    char line[sizeof(actor->text)];
    size_t length = 0;
    int at = 0;

    while (length < sizeof(line) - 1 && read(actor->answers_fd, line + length, 1) == 1)
        if (line[length++] == '\n')
            break;
    if (length == 0)
        return -ESRCH;
    line[length - 1] = '\0';
    ck_assert_int_eq(sscanf(line, "%d %lld %n", &actor->result, &actor->value, &at), 2);
    (void)snprintf(actor->text, sizeof(actor->text), "%s", line + at);
    return actor->result;
}

int actor_do(struct actor *actor, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    (void)vdprintf(actor->commands_fd, format, values);
    va_end(values);
    (void)dprintf(actor->commands_fd, "\n");
    return actor_hear(actor);
}

void actor_fork(struct actor *parent, struct actor *child_out)
{
    memset(child_out, 0, sizeof(*child_out));
    ck_assert_int_eq(actor_do(parent, "fork"), 0);
    child_out->pid = (pid_t)parent->value;
    child_out->commands_fd = parent->child_commands_fd;
    child_out->answers_fd = parent->child_answers_fd;
    child_out->child_commands_fd = child_out->child_answers_fd = -1;
    parent->child_commands_fd = parent->child_answers_fd = -1;
    ck_assert_int_eq(actor_hear(child_out), 0); /* its side of the fork */
}

static void actor_close(struct actor *actor)
{
    const int fds[] = {actor->commands_fd, actor->answers_fd, actor->child_commands_fd, actor->child_answers_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    actor->commands_fd = actor->answers_fd = actor->child_commands_fd = actor->child_answers_fd = -1;
}

/* A child of an actor that lives is the actor's to reap: then its zombie is as good as gone. */
static void actor_await_end(struct actor *actor)
{
    siginfo_t info;

    if (waitid(P_PID, (id_t)actor->pid, &info, WEXITED) != 0)
        while (actor_hear(actor) != -ESRCH)
            continue;
    actor->pid = 0;
}

void actor_kill(struct actor *actor)
{
    if (actor->pid == 0)
        return;
    ck_assert_int_eq(kill(actor->pid, SIGKILL), 0);
    actor_await_end(actor);
    actor_close(actor);
}

void actor_end(struct actor *actor)
{
    if (actor->pid == 0)
        return;
    (void)close(actor->commands_fd);
    actor->commands_fd = -1;
    actor_await_end(actor);
    actor_close(actor);
}
