/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/completion.h"

#include "job/control.h"

/* Completions taken before others in the loop are served. */
#define COMPLETION_BATCH 64
/* How long a wake-up is trusted to come. */
#define COMPLETION_LOOK_S 1.

static void completion_pause(struct pfk_completion *completion)
{
    ev_prepare_stop(completion->loop, &completion->again);
    ev_idle_stop(completion->loop, &completion->awake);
}

/* The lane may have more, and its eventfd need not say so again. */
static void completion_continue(struct pfk_completion *completion)
{
    ev_prepare_start(completion->loop, &completion->again);
    ev_idle_start(completion->loop, &completion->awake);
}

/* Returns what the lane said last: 0 when the batch was cut short. */
static int completion_take(struct pfk_completion *completion)
{
    struct prefork_result result;
    int rc = 0;

    for (int taken = 0; taken < COMPLETION_BATCH && !completion->stopped; taken++) {
        rc = prefork_lane_next(completion->lane, &result);
        if (rc != 0)
            break;
        completion->result(completion, &result);
    }
    return rc;
}

static void completion_take_batch(struct pfk_completion *completion)
{
    completion->in_batch = true;
    if (completion_take(completion) != 0)
        completion_pause(completion);
    else if (!completion->stopped)
        completion_continue(completion);
    if (!completion->stopped)
        completion->batch(completion);
    completion->in_batch = false;
    if (completion->stopped)
        completion->ended(completion);
}

static void completion_on_wake(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    completion_take_batch(watcher->data);
}

static void completion_on_again(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)loop;
    (void)events;
    completion_take_batch(watcher->data);
}

static void completion_on_idle(struct ev_loop *loop, ev_idle *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void completion_on_look(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct pfk_completion *completion = watcher->data;

    (void)events;
    if (pfk_lane_expects(completion->lane))
        completion_take_batch(completion); /* may end the watch */
    else
        ev_timer_stop(loop, watcher);
}

static void completion_before_sleep(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct pfk_completion *completion = watcher->data;

    (void)events;
    if (!ev_is_active(&completion->look) && pfk_lane_expects(completion->lane))
        ev_timer_again(loop, &completion->look);
}

int pfk_completion_start(struct pfk_completion *completion, struct ev_loop *loop, struct prefork_lane *lane,
                         pfk_completion_result_fn result, pfk_completion_batch_fn batch, pfk_completion_ended_fn ended)
{
    const int fd = prefork_lane_wake_fd(lane);

    if (fd < 0)
        return fd;
    completion->loop = loop;
    completion->lane = lane;
    completion->result = result;
    completion->batch = batch;
    completion->ended = ended;
    completion->in_batch = false;
    completion->stopped = false;
    ev_io_init(&completion->wake, completion_on_wake, fd, EV_READ);
    ev_prepare_init(&completion->again, completion_on_again);
    ev_idle_init(&completion->awake, completion_on_idle);
    ev_prepare_init(&completion->before_sleep, completion_before_sleep);
    ev_timer_init(&completion->look, completion_on_look, COMPLETION_LOOK_S, COMPLETION_LOOK_S);
    ev_set_priority(&completion->again, EV_MAXPRI); /* a batch may ask for what other prepare watchers do */
    completion->wake.data = completion;
    completion->again.data = completion;
    completion->before_sleep.data = completion;
    completion->look.data = completion;
    ev_io_start(loop, &completion->wake);
    ev_prepare_start(loop, &completion->before_sleep);
    completion_continue(completion); /* what came before the watch began */
    return 0;
}

bool pfk_completion_stop(struct pfk_completion *completion)
{
    completion->stopped = true;
    ev_io_stop(completion->loop, &completion->wake);
    ev_prepare_stop(completion->loop, &completion->before_sleep);
    ev_timer_stop(completion->loop, &completion->look);
    completion_pause(completion);
    return !completion->in_batch;
}
