/* SPDX-License-Identifier: BSD-2-Clause */
/* The phases of a run: opening in batches, the measured part, the end. */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load_clock.h"
#include "load_connection.h"

/* Connections that the server may not have accepted yet: half of the smallest
 * listen backlog in use (128), so that its queue never overflows. */
#define OPENING_AT_ONCE 64

/* After a refused connect, or a full queue. */
#define RETRY_PAUSE_S 0.02

struct load {
    struct load_shared shared;
    struct load_connection *connections;
    ev_prepare advance;
    ev_timer retry, end, stall, progress;
    uint64_t running_since_ns;
    uint64_t answered_before; /* shared.answered when the measured part began */
    uint64_t cpu_before_ns;
    uint64_t told_ns, told_answered; /* of the last progress line */
    bool stalled;
};

static bool load_wants_more(const struct load *load)
{
    for (uint32_t i = 0; i < load->shared.options->connections; i++)
        if (load->connections[i].state != LOAD_DONE && load->connections[i].quota > load->connections[i].begun)
            return true;
    return false;
}

/* Returns 0 when there is nothing to read, too. */
static int load_read_cpu(const struct load_options *options, uint64_t *ns_out)
{
    return options->cpu_target_count == 0 ? 0
                                          : cpu_time_read_ns(options->cpu_targets, options->cpu_target_count, ns_out);
}

/* Every connection is open and was served: from here on it is measured, unless
 * the opening messages were all there are. */
static void load_begin_running(struct load *load)
{
    struct load_shared *shared = &load->shared;
    const struct load_options *options = shared->options;

    if (load_wants_more(load)) {
        load->running_since_ns = load_clock_ns();
        load->answered_before = shared->answered;
        histogram_clear(&shared->result->latency_ns);
        (void)load_read_cpu(options, &load->cpu_before_ns); /* else the earlier reading stands */
    }
    shared->phase = LOAD_RUNNING;
    if (options->duration_ns != 0)
        ev_timer_start(shared->loop, &load->end);
    for (uint32_t i = 0; i < options->connections; i++)
        load_connection_send(&load->connections[i]);
}

/* Runs before each sleep of the loop, so that no callback of a connection opens
 * or ends another one under the hands of a third. */
static void load_advance(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct load *load = watcher->data;
    struct load_shared *shared = &load->shared;

    (void)events;
    while (shared->opening < OPENING_AT_ONCE && shared->wait != NULL && !shared->wait_paused)
        load_connection_open_first(shared);
    if (shared->wait_paused && !ev_is_active(&load->retry)) {
        ev_timer_set(&load->retry, RETRY_PAUSE_S, 0.);
        ev_timer_start(loop, &load->retry);
    }
    if (shared->phase == LOAD_OPENING && shared->never_opened == 0)
        load_begin_running(load);
    if (shared->unfinished == 0)
        ev_break(loop, EVBREAK_ALL);
}

static void load_retry(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    ((struct load *)watcher->data)->shared.wait_paused = false;
}

static void load_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct load *load = watcher->data;

    (void)loop;
    (void)events;
    load->shared.phase = LOAD_STOPPING;
    for (uint32_t i = 0; i < load->shared.options->connections; i++)
        load_connection_stop(&load->connections[i]);
}

static void load_check_stall(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct load *load = watcher->data;

    (void)events;
    if (load_clock_ns() - load->shared.progress_ns < load->shared.options->stall_ns)
        return;
    load->stalled = true;
    ev_break(loop, EVBREAK_ALL);
}

static void load_tell_progress(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct load *load = watcher->data;
    const struct load_shared *shared = &load->shared;
    const uint64_t now_ns = load_clock_ns();
    const uint64_t answered = shared->answered - load->told_answered;

    (void)loop;
    (void)events;
    (void)fprintf(stderr,
                  "\r%4.0f s  %" PRIu64 " messages  %.0f/s  %" PRIu32 " connections at work  %" PRIu64 " errors ",
                  (double)(now_ns - load->running_since_ns) / (double)NS_PER_S, shared->answered,
                  (double)answered * (double)NS_PER_S / (double)(now_ns - load->told_ns), shared->unfinished,
                  shared->result->error_sum);
    load->told_ns = now_ns;
    load->told_answered = shared->answered;
}

/* Connections that are still at work when the loop has ended hang. */
static void load_give_up_the_rest(struct load *load)
{
    struct load_result *result = load->shared.result;
    const uint64_t missing_before = result->missing;
    const uint32_t hanging = load->shared.unfinished;

    if (!load->stalled)
        return;
    for (uint32_t i = 0; i < load->shared.options->connections; i++)
        load_connection_give_up(&load->connections[i]);
    result->errors[LOAD_ERROR_STALLED] += hanging;
    result->error_sum += hanging;
    (void)fprintf(stderr, "no progress for %.3g s: %" PRIu64 " replies missing on %" PRIu32 " connections\n",
                  (double)load->shared.options->stall_ns / (double)NS_PER_S, result->missing - missing_before, hanging);
}

static void load_sum_up(struct load *load)
{
    const struct load_options *options = load->shared.options;
    struct load_result *result = load->shared.result;
    uint64_t end_ns = load_clock_ns(), cpu_ns = 0;

    /* Without the wait for what never came. */
    if (load->stalled)
        end_ns = load->shared.progress_ns;
    result->measured_ns = end_ns > load->running_since_ns ? end_ns - load->running_since_ns : 0;
    result->measured_messages = load->shared.answered - load->answered_before;
    result->cpu_known = options->cpu_target_count > 0 && load_read_cpu(options, &cpu_ns) == 0;
    result->cpu_ns = result->cpu_known && cpu_ns > load->cpu_before_ns ? cpu_ns - load->cpu_before_ns : 0;
    for (uint32_t i = 0; i < options->connections; i++) {
        result->messages += load->connections[i].received_bytes / options->message_bytes;
        result->bytes += load->connections[i].received_bytes;
    }
    tag_count_sort(&result->workers);
}

static void load_init_watchers(struct load *load)
{
    const struct load_options *options = load->shared.options;
    struct ev_loop *loop = load->shared.loop;
    const double stall_s = (double)options->stall_ns / (double)NS_PER_S;

    ev_prepare_init(&load->advance, load_advance);
    ev_timer_init(&load->retry, load_retry, RETRY_PAUSE_S, 0.);
    ev_timer_init(&load->end, load_end, (double)options->duration_ns / (double)NS_PER_S, 0.);
    ev_timer_init(&load->stall, load_check_stall, stall_s / 8, stall_s / 8);
    ev_timer_init(&load->progress, load_tell_progress, 1., 1.);
    load->advance.data = load->retry.data = load->end.data = load->stall.data = load->progress.data = load;
    ev_prepare_start(loop, &load->advance);
    ev_timer_start(loop, &load->stall);
    if (options->progress)
        ev_timer_start(loop, &load->progress);
}

static void load_stop_watchers(struct load *load)
{
    struct ev_loop *loop = load->shared.loop;

    ev_prepare_stop(loop, &load->advance);
    ev_timer_stop(loop, &load->retry);
    ev_timer_stop(loop, &load->end);
    ev_timer_stop(loop, &load->stall);
    ev_timer_stop(loop, &load->progress);
    if (load->shared.options->progress)
        (void)fprintf(stderr, "\r%79s\r", "");
}

/* Shares the messages out evenly, the remainder among the first connections. */
static uint64_t load_quota(const struct load_options *options, uint32_t number)
{
    if (options->messages == 0)
        return LOAD_NO_QUOTA;
    return options->messages / options->connections + (number < options->messages % options->connections);
}

static int load_init_connections(struct load *load)
{
    const struct load_options *options = load->shared.options;
    int rc = 0;

    load->connections = calloc(options->connections, sizeof(*load->connections));
    if (load->connections == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < options->connections; i++)
        rc = load_connection_init(&load->connections[i], &load->shared, i, load_quota(options, i));
    return rc;
}

static int load_init(struct load *load, const struct load_options *options, struct load_result *result)
{
    struct load_shared *shared = &load->shared;

    shared->options = options;
    shared->result = result;
    shared->wait_end = &shared->wait;
    shared->never_opened = shared->unfinished = options->connections;
    shared->progress_ns = load->running_since_ns = load->told_ns = load_clock_ns();
    shared->loop = ev_loop_new(EVFLAG_AUTO);
    if (shared->loop == NULL || load_init_connections(load) != 0) {
        (void)fprintf(stderr, "no memory for %" PRIu32 " connections of depth %" PRIu32 "\n", options->connections,
                      options->depth);
        return -ENOMEM;
    }
    return load_read_cpu(options, &load->cpu_before_ns);
}

static void load_destroy(struct load *load)
{
    for (uint32_t i = 0; load->connections != NULL && i < load->shared.options->connections; i++)
        if (load->connections[i].shared != NULL)
            load_connection_destroy(&load->connections[i]);
    free(load->connections);
    if (load->shared.loop != NULL)
        ev_loop_destroy(load->shared.loop);
    free(load);
}

int load_run(const struct load_options *options, struct load_result *result_out)
{
    struct load *load = calloc(1, sizeof(*load));
    int rc;

    if (load == NULL)
        return -ENOMEM;
    memset(result_out, 0, sizeof(*result_out));
    rc = load_init(load, options, result_out);
    if (rc == 0) {
        load_init_watchers(load);
        (void)ev_run(load->shared.loop, 0);
        load_stop_watchers(load);
        load_give_up_the_rest(load);
        load_sum_up(load);
    }
    load_destroy(load);
    return rc;
}

const char *load_error_name(enum load_error kind)
{
    static const char *const names[LOAD_ERROR_KINDS] = {
        [LOAD_ERROR_CONNECT] = "connect", [LOAD_ERROR_RESET] = "reset", [LOAD_ERROR_SHORT] = "short",
        [LOAD_ERROR_WRONG] = "wrong",     [LOAD_ERROR_EXTRA] = "extra", [LOAD_ERROR_STALLED] = "stalled",
    };

    return names[kind];
}
