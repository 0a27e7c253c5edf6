/* SPDX-License-Identifier: BSD-2-Clause */
/* The claim / handler / complete loop. Knows nothing of connections, phases and
 * the master: its owner tells it when to end. */
#include "worker/jobthread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"

struct pfk_jobthread {
    struct pfk_jobthread_options options;
    pthread_t thread;
    /* Written by the owner, read by the thread before each claim. Pairs with
     * the interrupt that follows the store: a thread that missed the value is
     * woken to read it again. */
    pfk_atomic_u32 end;
    /* Set by the thread with release when it is done with its lane; the owner's
     * acquire then orders the join after it. */
    pfk_atomic_u32 ended;
    /* Guards `lane` between the owner's interrupt and the thread's close. */
    pthread_mutex_t lock;
    struct prefork_lane *lane;
    /* start waits for the thread's word whether its lane is open. */
    sem_t opened;
    int open_result;
};

/* Claims a job, or says -EAGAIN when the thread is to end. */
static int jobthread_claim(struct pfk_jobthread *thread, struct prefork_job **job_out)
{
    for (;;) {
        const uint32_t end = pfk_u32_load_acquire(&thread->end);
        int rc;

        if (end == PFK_JOBTHREAD_AFTER_JOB)
            return -EAGAIN;
        rc = prefork_lane_claim(thread->lane, end == PFK_JOBTHREAD_NEVER ? PREFORK_NO_DEADLINE : PREFORK_NO_WAIT,
                                job_out);
        if (rc != -EINTR)
            return rc;
    }
}

static void jobthread_serve(struct pfk_jobthread *thread)
{
    struct prefork_job *job;
    int rc;

    while ((rc = jobthread_claim(thread, &job)) == 0)
        (void)prefork_job_complete(job, pfk_handler_run(thread->options.handlers, job));
    if (rc == -EAGAIN)
        return;
    /* A handler that forked and came back in the child ends here (-ECHILD), as
     * does a worker whose lane was damaged: the master replaces it. */
    if (rc != -ECHILD)
        pfk_log(PREFORK_LOG_ERROR, "a job thread can't claim, the worker ends: %s", prefork_last_error());
    _exit(EXIT_FAILURE);
}

static void jobthread_leave(struct pfk_jobthread *thread)
{
    struct prefork_lane *lane;

    (void)pthread_mutex_lock(&thread->lock);
    lane = thread->lane;
    thread->lane = NULL;
    (void)pthread_mutex_unlock(&thread->lock);
    prefork_lane_close(&lane);
    pfk_u32_store_release(&thread->ended, 1);
    (void)pfk_fd_event_signal(thread->options.ended_fd);
}

/* A job thread that is woken on the processor of the I/O thread that woke it
 * would take that away from it, for one job, and sleep again: two switches and
 * two futex calls a job. As SCHED_BATCH it waits until the I/O thread sleeps or
 * its time is up, and finds all that it has submitted; on an idle processor it
 * runs at once, as ever. A policy that somebody chose is kept, and where this is
 * forbidden all is as before, but slower. */
static void jobthread_give_way(void)
{
    const struct sched_param none = {.sched_priority = 0};

    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

static void *jobthread_main(void *argument)
{
    struct pfk_jobthread *const thread = argument;
    const int rc = prefork_lane_open(thread->options.table, thread->options.lane, &thread->lane);

    thread->open_result = rc;
    (void)sem_post(&thread->opened);
    if (rc != 0)
        return NULL;
    jobthread_give_way();
    jobthread_serve(thread);
    jobthread_leave(thread);
    return NULL;
}

static void jobthread_free(struct pfk_jobthread **thread)
{
    (void)pthread_mutex_destroy(&(*thread)->lock);
    (void)sem_destroy(&(*thread)->opened);
    free(*thread);
    *thread = NULL;
}

static int jobthread_wait_opened(struct pfk_jobthread *thread)
{
    while (sem_wait(&thread->opened) != 0 && errno == EINTR)
        continue;
    if (thread->open_result == 0)
        return 0;
    (void)pthread_join(thread->thread, NULL);
    return pfk_error(-thread->open_result, "job thread: lane %u can't be opened (errno %d)", thread->options.lane,
                     -thread->open_result);
}

int pfk_jobthread_start(const struct pfk_jobthread_options *options, struct pfk_jobthread **thread_out)
{
    struct pfk_jobthread *thread = calloc(1, sizeof(*thread));
    int rc;

    if (thread == NULL)
        return pfk_error_call(ENOMEM, "job thread");
    thread->options = *options;
    (void)pthread_mutex_init(&thread->lock, NULL);
    (void)sem_init(&thread->opened, 0, 0);
    rc = pthread_create(&thread->thread, NULL, jobthread_main, thread);
    if (rc != 0)
        rc = pfk_error_call(rc, "pthread_create of a job thread");
    else
        rc = jobthread_wait_opened(thread);
    if (rc != 0)
        jobthread_free(&thread);
    *thread_out = thread;
    return rc;
}

void pfk_jobthread_finish(struct pfk_jobthread *thread, enum pfk_jobthread_end end)
{
    pfk_u32_store_release(&thread->end, (uint32_t)end);
    (void)pthread_mutex_lock(&thread->lock);
    if (thread->lane != NULL)
        prefork_lane_interrupt(thread->lane);
    (void)pthread_mutex_unlock(&thread->lock);
}

bool pfk_jobthread_ended(const struct pfk_jobthread *thread)
{
    return pfk_u32_load_acquire(&thread->ended) != 0;
}

void pfk_jobthread_join(struct pfk_jobthread **thread)
{
    if (*thread == NULL)
        return;
    (void)pthread_join((*thread)->thread, NULL);
    jobthread_free(thread);
}
