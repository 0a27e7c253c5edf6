/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/signals.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
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

/* Who reads the signals. Written before the handler is installed. */
static pid_t signals_reader_process;
static pid_t signals_reader_thread;

/* Runs only on a thread that does not block the signal: one of the program's
 * own, or in a child that it has forked by itself, which wants the default. */
static void signals_pass_on(int number)
{
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    const int saved_errno = errno;

    if (getpid() == signals_reader_process) {
        (void)syscall(SYS_tgkill, signals_reader_process, signals_reader_thread, number);
    } else {
        (void)sigaction(number, &by_default, NULL);
        (void)raise(number); /* comes when this handler returns */
    }
    errno = saved_errno;
}

/* Of a caller that has blocked more than the program had: the rest is let go. */
static void signals_return_mask(const sigset_t *program_mask, const sigset_t *taken, struct pfk_signals *signals)
{
    sigset_t blocked;

    signals->program_mask = *program_mask;
    (void)sigorset(&blocked, program_mask, taken);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}

int pfk_signals_take(const sigset_t *program_mask, struct pfk_signals *signals_out)
{
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    const struct sigaction pass_on = {.sa_handler = signals_pass_on, .sa_flags = SA_RESTART};
    sigset_t taken;

    signals_reader_process = getpid();
    signals_reader_thread = (pid_t)syscall(SYS_gettid);

    signals_set(&taken);
    signals_out->fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_out->fd < 0)
        return pfk_error_call(errno, "signalfd of the master");
    (void)pthread_sigmask(SIG_BLOCK, &taken, &signals_out->program_mask);
    for (size_t i = 0; i < PFK_SIGNALS_TAKEN; i++)
        (void)sigaction(signals_taken[i], signals_taken[i] == SIGCHLD ? &by_default : &pass_on,
                        &signals_out->program_actions[i]);
    if (program_mask != NULL)
        signals_return_mask(program_mask, &taken, signals_out);
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
