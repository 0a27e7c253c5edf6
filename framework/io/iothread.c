/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread around a loop. The creating thread speaks to it through one word
 * and an eventfd that tells the loop to look at it; both outlive the thread. */
#include "io/iothread.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/error.h"
#include "base/fd.h"
#include "io/acceptor.h"
#include "io/loop.h"
#include "io/receiver.h"

enum iothread_wish { IOTHREAD_RUN, IOTHREAD_DRAIN, IOTHREAD_STOP };

struct pfk_iothread {
    struct pfk_io_options options; /* ports: a copy of our own */
    pthread_t thread;
    pfk_atomic_u32 wish;    /* enum iothread_wish, set by the creator before it signals wish_fd */
    pfk_atomic_u32 drained; /* 1: set by the thread when no connection is left */
    int wish_fd;
    /* Written by the thread before it posts started, read by the creator after. */
    sem_t started;
    int start_rc;
    char start_error[PFK_ERROR_TEXT_BYTES];
    /* The thread's own. */
    struct prefork_lane *lane;
    struct pfk_loop loop;
    struct pfk_quota_share quota;
    struct pfk_acceptor acceptor;
    struct pfk_receiver receiver;
    ev_io wish_watcher;
    ev_prepare drain_check;
};

/* -- The thread ------------------------------------------------------------- */

static void iothread_on_round_of_drain(struct ev_loop *ev, ev_prepare *watcher, int events)
{
    struct pfk_iothread *thread = watcher->data;

    (void)events;
    if (thread->loop.n_connections > 0)
        return;
    ev_prepare_stop(ev, watcher);
    pfk_u32_store_release(&thread->drained, 1); /* pairs with pfk_iothread_drained */
    if (thread->options.drained_fd >= 0)
        (void)pfk_fd_event_signal(thread->options.drained_fd);
}

static void iothread_drain(struct pfk_iothread *thread)
{
    if (thread->loop.draining)
        return;
    pfk_acceptor_stop(&thread->acceptor);
    pfk_receiver_stop(&thread->receiver);
    pfk_loop_drain(&thread->loop);
    ev_prepare_start(thread->loop.ev, &thread->drain_check);
}

static void iothread_on_wish(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct pfk_iothread *thread = watcher->data;
    uint32_t wish;

    (void)events;
    pfk_fd_event_clear(thread->wish_fd);
    wish = pfk_u32_load_acquire(&thread->wish); /* after the clear: a later wish signals again */
    if (wish == IOTHREAD_DRAIN)
        iothread_drain(thread);
    else if (wish == IOTHREAD_STOP)
        ev_break(ev, EVBREAK_ALL);
}

static void iothread_watch(struct pfk_iothread *thread)
{
    ev_io_init(&thread->wish_watcher, iothread_on_wish, thread->wish_fd, EV_READ);
    ev_prepare_init(&thread->drain_check, iothread_on_round_of_drain);
    ev_set_priority(&thread->drain_check, EV_MINPRI); /* after the loop's own round */
    thread->wish_watcher.data = thread;
    thread->drain_check.data = thread;
    ev_io_start(thread->loop.ev, &thread->wish_watcher);
}

static int iothread_open_quota(struct pfk_iothread *thread)
{
    const struct pfk_io_options *options = &thread->options;

    thread->loop.quota = &thread->quota;
    return pfk_quota_open(&thread->quota, options->quota, options->table, &options->family, options->number);
}

static int iothread_open(struct pfk_iothread *thread)
{
    const struct pfk_io_options *options = &thread->options;
    int rc = prefork_lane_open(options->table, options->lane, &thread->lane);

    if (rc == 0)
        rc = pfk_loop_open(&thread->loop, options->table, thread->lane, options->n_handlers);
    if (rc == 0)
        pfk_loop_limit(&thread->loop, &options->limits);
    if (rc == 0 && options->quota != NULL)
        rc = iothread_open_quota(thread);
    if (rc == 0)
        rc = pfk_acceptor_start(&thread->acceptor, &thread->loop, options);
    if (rc == 0)
        rc = pfk_receiver_start(&thread->receiver, &thread->loop, options->ports, options->n_ports, options->number);
    if (rc == 0)
        iothread_watch(thread);
    return rc;
}

static void iothread_close(struct pfk_iothread *thread)
{
    pfk_acceptor_stop(&thread->acceptor);
    pfk_receiver_stop(&thread->receiver);
    pfk_loop_close(&thread->loop);
    pfk_quota_close(&thread->quota);
    pfk_receiver_close(&thread->receiver);
    prefork_lane_close(&thread->lane);
}

static void *iothread_main(void *argument)
{
    struct pfk_iothread *thread = argument;
    const int rc = iothread_open(thread);

    (void)pthread_setname_np(pthread_self(), "prefork-io");
    thread->start_rc = rc;
    if (rc != 0)
        (void)snprintf(thread->start_error, sizeof(thread->start_error), "%s", prefork_last_error());
    (void)sem_post(&thread->started);
    if (rc == 0)
        ev_run(thread->loop.ev, 0);
    iothread_close(thread);
    return NULL;
}

/* -- Its creator ------------------------------------------------------------ */

static void iothread_free(struct pfk_iothread *thread)
{
    pfk_fd_close(&thread->wish_fd);
    (void)sem_destroy(&thread->started);
    free((void *)(uintptr_t)thread->options.ports);
    free(thread);
}

static int iothread_copy_ports(struct pfk_iothread *thread)
{
    const size_t bytes = thread->options.n_ports * sizeof(struct pfk_io_port);
    struct pfk_io_port *ports = malloc(bytes > 0 ? bytes : 1);

    if (ports != NULL && bytes > 0)
        memcpy(ports, thread->options.ports, bytes);
    thread->options.ports = ports;
    return ports != NULL ? 0 : pfk_error(ENOMEM, "I/O thread: no memory");
}

static int iothread_create(struct pfk_iothread *thread)
{
    const int rc = pthread_create(&thread->thread, NULL, iothread_main, thread);

    if (rc != 0)
        return pfk_error(rc, "I/O thread: pthread_create: no thread; the limit is ulimit -u, or the cgroup's pids.max");
    while (sem_wait(&thread->started) != 0)
        continue; /* EINTR is the only failure of a valid semaphore */
    if (thread->start_rc == 0)
        return 0;
    (void)pthread_join(thread->thread, NULL);
    return pfk_error(-thread->start_rc, "%s", thread->start_error);
}

int pfk_iothread_start(const struct pfk_io_options *options, struct pfk_iothread **thread_out)
{
    struct pfk_iothread *thread = calloc(1, sizeof(*thread));
    int rc;

    *thread_out = NULL;
    if (thread == NULL)
        return pfk_error(ENOMEM, "I/O thread: no memory");
    thread->options = *options;
    thread->wish_fd = -1;
    (void)sem_init(&thread->started, 0, 0);
    rc = iothread_copy_ports(thread);
    if (rc == 0)
        rc = pfk_fd_event(&thread->wish_fd);
    if (rc == 0)
        rc = iothread_create(thread);
    if (rc != 0) {
        iothread_free(thread);
        return rc;
    }
    *thread_out = thread;
    return 0;
}

static void iothread_wish(struct pfk_iothread *thread, enum iothread_wish wish)
{
    pfk_u32_store_release(&thread->wish, wish);
    (void)pfk_fd_event_signal(thread->wish_fd);
}

void pfk_iothread_drain(struct pfk_iothread *thread)
{
    iothread_wish(thread, IOTHREAD_DRAIN);
}

bool pfk_iothread_drained(const struct pfk_iothread *thread)
{
    return pfk_u32_load_acquire(&thread->drained) != 0;
}

void pfk_iothread_stop(struct pfk_iothread **thread)
{
    if (*thread == NULL)
        return;
    iothread_wish(*thread, IOTHREAD_STOP);
    (void)pthread_join((*thread)->thread, NULL);
    iothread_free(*thread);
    *thread = NULL;
}
