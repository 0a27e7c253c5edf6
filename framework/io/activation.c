/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

#define ACTIVATION_FD_FIRST 3
#define ACTIVATION_FDS_MAX  1024

/* What the environment said; guarded by the lock. */
static struct {
    pthread_mutex_t lock;
    pid_t pid; /* whose the descriptors are; 0: not read yet */
    int n_fds;
    bool taken[ACTIVATION_FDS_MAX];
    char *names; /* as it was in the environment; NULL: none */
} activation = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Reads all of `text` as a number up to `greatest`; -1: it is none. */
static long activation_number(const char *text, long greatest)
{
    long number;
    char *end;

    if (text == NULL || text[0] < '0' || text[0] > '9')
        return -1;
    errno = 0;
    number = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && number <= greatest ? number : -1;
}

static void activation_keep_from_children(int n_fds)
{
    for (int fd = ACTIVATION_FD_FIRST; fd < ACTIVATION_FD_FIRST + n_fds; fd++) {
        const int flags = fcntl(fd, F_GETFD);

        if (flags >= 0)
            (void)fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
    }
}

/* Variables for another process are left alone: it may be a child yet to come. */
static int activation_read(void)
{
    const char *const names = getenv("LISTEN_FDNAMES");
    const long n_fds = activation_number(getenv("LISTEN_FDS"), ACTIVATION_FDS_MAX);

    if (activation_number(getenv("LISTEN_PID"), INT32_MAX) != (long)getpid() || n_fds < 0)
        return 0;
    if (names != NULL) {
        activation.names = strdup(names);
        if (activation.names == NULL)
            return pfk_error(ENOMEM, "socket activation: no memory");
    }
    activation.pid = getpid();
    activation.n_fds = (int)n_fds;
    activation_keep_from_children(activation.n_fds);
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return 0;
}

/* Whether the descriptor at `index` has that name. */
static bool activation_is_named(int index, const char *name)
{
    const size_t length = strlen(name);
    const char *at = activation.names;

    for (; at != NULL && index > 0; index--) {
        at = strchr(at, ':');
        at = at != NULL ? at + 1 : NULL;
    }
    return at != NULL && strncmp(at, name, length) == 0 && (at[length] == '\0' || at[length] == ':');
}

static int activation_find(const char *name)
{
    const long fd = activation_number(name, INT32_MAX);

    for (int i = 0; i < activation.n_fds; i++)
        if (!activation.taken[i] && (fd >= 0 ? fd == ACTIVATION_FD_FIRST + i : activation_is_named(i, name)))
            return i;
    return -1;
}

static int activation_refuse(const char *name)
{
    const char *const pid = getenv("LISTEN_PID");

    if (activation.pid != getpid())
        return pfk_error(ENOENT,
                         "fd:%.64s: no socket was handed over to this process: LISTEN_PID is %.20s, the process is %ld",
                         name, pid != NULL ? pid : "not set", (long)getpid());
    return pfk_error(ENOENT,
                     "fd:%.64s: no such socket was handed over, or it is taken; there are %d, from descriptor 3 on, "
                     "named \"%.120s\"",
                     name, activation.n_fds, activation.names != NULL ? activation.names : "");
}

int pfk_activation_take(const char *name, int *fd_out)
{
    int rc = 0, index = -1;

    (void)pthread_mutex_lock(&activation.lock);
    if (activation.pid == 0)
        rc = activation_read();
    if (rc == 0 && activation.pid == getpid())
        index = activation_find(name);
    if (rc == 0 && index < 0)
        rc = activation_refuse(name);
    if (rc == 0) {
        activation.taken[index] = true;
        *fd_out = ACTIVATION_FD_FIRST + index;
    }
    (void)pthread_mutex_unlock(&activation.lock);
    return rc;
}
