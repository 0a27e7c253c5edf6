/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/ev.h>: libev, for programs that have or want its loop. The only
 * header that shows it. */
#ifndef PREFORK_EV_H
#define PREFORK_EV_H

#include <ev.h>

#include <prefork.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Returns the loop of the connection's home thread, for timers and watchers of
 * a protocol's own; they belong to that thread. Never NULL. */
struct ev_loop *prefork_connection_loop(const struct prefork_connection *connection);

/* A lane whose completions arrive in a loop. */
struct prefork_ev_lane;

/* Is given each result as it comes, on the loop's thread; the library collects
 * the job when it returns (unless the callback has collected or detached it).
 * After each wake-up it is called once with `room` 1 and `result` NULL: if
 * prefork_lane_want_room was called, a slot may be free now. It may end the
 * watch. */
typedef void (*prefork_ev_result_fn)(const struct prefork_result *result, int room, void *context);

/* Watches `lane` in `loop`; both must be the calling thread's and outlive the
 * watch, which prefork_ev_lane_unwatch ends. prefork_lane_next must not be
 * called meanwhile. Jobs are given out in batches of up to 64, between which
 * other watchers of the loop are served. -ENOMEM; -ECHILD. */
int prefork_ev_lane_watch(struct ev_loop *loop, struct prefork_lane *lane, prefork_ev_result_fn result,
                          void *context, struct prefork_ev_lane **watch_out);

/* Ends the watch; no callback comes afterwards. Allowed within its callback.
 * NULL in *watch is allowed; *watch becomes NULL. */
void prefork_ev_lane_unwatch(struct prefork_ev_lane **watch);

#ifdef __cplusplus
}
#endif

#endif
