/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/ev.h>: a lane in the loop of somebody else's program. */
#include "prefork/ev.h"

#include <errno.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/error.h"
#include "io/completion.h"
#include "io/connection.h"

struct prefork_ev_lane {
    struct pfk_completion completion;
    prefork_ev_result_fn result;
    void *context;
};

static struct prefork_ev_lane *evlane_of(struct pfk_completion *completion)
{
    return pfk_container_of(completion, struct prefork_ev_lane, completion);
}

static void evlane_on_result(struct pfk_completion *completion, const struct prefork_result *result)
{
    const uint64_t job = result->job;

    evlane_of(completion)->result(result, 0, evlane_of(completion)->context);
    (void)prefork_lane_collect(completion->lane, job); /* -EINVAL when the callback has done it */
}

static void evlane_on_batch(struct pfk_completion *completion)
{
    evlane_of(completion)->result(NULL, 1, evlane_of(completion)->context);
}

static void evlane_on_ended(struct pfk_completion *completion)
{
    free(evlane_of(completion));
}

PFK_EXPORT int prefork_ev_lane_watch(struct ev_loop *loop, struct prefork_lane *lane, prefork_ev_result_fn result,
                                     void *context, struct prefork_ev_lane **watch_out)
{
    struct prefork_ev_lane *watch = calloc(1, sizeof(*watch));
    int rc;

    *watch_out = NULL;
    if (watch == NULL)
        return pfk_error(ENOMEM, "prefork_ev_lane_watch: no memory");
    watch->result = result;
    watch->context = context;
    rc = pfk_completion_start(&watch->completion, loop, lane, evlane_on_result, evlane_on_batch, evlane_on_ended);
    if (rc != 0) {
        free(watch);
        return rc;
    }
    *watch_out = watch;
    return 0;
}

PFK_EXPORT void prefork_ev_lane_unwatch(struct prefork_ev_lane **watch)
{
    struct prefork_ev_lane *ending = *watch;

    *watch = NULL;
    if (ending != NULL && pfk_completion_stop(&ending->completion))
        free(ending);
}

PFK_EXPORT struct ev_loop *prefork_connection_loop(const struct prefork_connection *connection)
{
    return connection->loop->ev;
}
