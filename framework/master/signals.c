/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/signals.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/fd.h"

static const int signals_taken[PFK_SIGNALS_TAKEN] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};

static void signals_set(sigset_t *set_out)
{
    (void)sigemptyset(set_out);
    for (size_t i = 0; i < PFK_SIGNALS_TAKEN; i++)
        (void)sigaddset(set_out, signals_taken[i]);
    (void)sigaddset(set_out, SIGPIPE); /* a log line into a pipe that nobody reads must not end the master */
}

int pfk_signals_take(struct pfk_signals *signals_out)
{
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigset_t taken;

    signals_set(&taken);
    signals_out->fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_out->fd < 0)
        return pfk_error_call(errno, "signalfd of the master");
    (void)pthread_sigmask(SIG_BLOCK, &taken, &signals_out->program_mask);
    for (size_t i = 0; i < PFK_SIGNALS_TAKEN; i++)
        (void)sigaction(signals_taken[i], &by_default, &signals_out->program_actions[i]);
    return 0;
}

int pfk_signals_next(const struct pfk_signals *signals)
{
    struct signalfd_siginfo signal;

    if (read(signals->fd, &signal, sizeof(signal)) != (ssize_t)sizeof(signal))
        return 0;
    return (int)signal.ssi_signo;
}

void pfk_signals_restore(struct pfk_signals *signals)
{
    const struct timespec at_once = {0};
    sigset_t requests;

    signals_set(&requests);
    (void)sigdelset(&requests, SIGCHLD); /* it may speak of a child of the program's own */
    while (sigtimedwait(&requests, NULL, &at_once) > 0)
        continue;
    for (size_t i = 0; i < PFK_SIGNALS_TAKEN; i++)
        (void)sigaction(signals_taken[i], &signals->program_actions[i], NULL);
    (void)pthread_sigmask(SIG_SETMASK, &signals->program_mask, NULL);
    pfk_fd_close(&signals->fd);
}
