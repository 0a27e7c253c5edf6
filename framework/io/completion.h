/* SPDX-License-Identifier: BSD-2-Clause */
/* A lane whose completions arrive in a loop: the mechanism behind I/O threads
 * and prefork_ev_lane. Watches the lane's eventfd, takes what is complete in
 * bounded batches, and comes back in the next round for the rest, so that
 * sockets are served in between. While the lane waits for something it looks
 * once a second by itself: whoever was about to write the eventfd may have been
 * stopped. The loop's thread only; it is the lane's. */
#ifndef PFK_IO_COMPLETION_H
#define PFK_IO_COMPLETION_H

#include <ev.h>
#include <stdbool.h>

#include "prefork/table.h"

struct pfk_completion;

/* Is given a complete job, which the receiver collects or detaches. */
typedef void (*pfk_completion_result_fn)(struct pfk_completion *completion, const struct prefork_result *result);

/* Is told that a batch has ended; a slot may be free. */
typedef void (*pfk_completion_batch_fn)(struct pfk_completion *completion);

/* Is told that a watch that was stopped within its callbacks has left them. */
typedef void (*pfk_completion_ended_fn)(struct pfk_completion *completion);

struct pfk_completion {
    struct ev_loop *loop;
    struct prefork_lane *lane;
    pfk_completion_result_fn result;
    pfk_completion_batch_fn batch;
    pfk_completion_ended_fn ended; /* NULL: never stopped within its callbacks */
    ev_io wake;
    ev_prepare again; /* both active while a batch was cut short */
    ev_idle awake;
    ev_prepare before_sleep;
    ev_timer look; /* active while the lane waits for something */
    bool in_batch;
    bool stopped;
};

/* Starts watching; `completion` belongs to the caller and stays where it is.
 * -ECHILD: the lane belongs to the parent process. */
int pfk_completion_start(struct pfk_completion *completion, struct ev_loop *loop, struct prefork_lane *lane,
                         pfk_completion_result_fn result, pfk_completion_batch_fn batch, pfk_completion_ended_fn ended);

/* Ends it, also from within its callbacks; none comes afterwards. Returns
 * whether `completion` may be freed now; if not, `ended` is called then. */
bool pfk_completion_stop(struct pfk_completion *completion);

#endif
