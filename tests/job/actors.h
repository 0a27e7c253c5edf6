/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes that are told, one line at a time, what to do with a durable table: see actor.c for the commands. */
#ifndef ACTORS_H
#define ACTORS_H

#include <stdbool.h>
#include <sys/types.h>

struct actor {
    pid_t pid; /* 0: none, or killed */
    int commands_fd, answers_fd;
    int child_commands_fd, child_answers_fd; /* of the child it may fork; -1: taken */
    int result;
    long long value;
    char text[600];
};

/* A key and a lock file of the test's own. The calling process becomes the reaper of actors' children. */
void actors_set_up(void);

/* Removes lock file and, if there is one, segment. Every actor is dead. */
void actors_tear_down(void);

int actors_key(void);
const char *actors_lock_path(void);

/* Starts one: executes a new program image. */
void actor_start(struct actor *actor);

/* Tells it, hears its answer and returns the result; -ESRCH: it died. */
int actor_do(struct actor *actor, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Only tells it; actor_hear waits for the answer. */
void actor_tell(struct actor *actor, const char *format, ...) __attribute__((format(printf, 2, 3)));
int actor_hear(struct actor *actor);

/* Has it fork a child. */
void actor_fork(struct actor *parent, struct actor *child_out);

/* Kills it and waits until it is gone. */
void actor_kill(struct actor *actor);

/* Lets it come to its end and waits for that. */
void actor_end(struct actor *actor);

#endif
