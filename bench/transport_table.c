/* SPDX-License-Identifier: BSD-2-Clause */
/* The job table, through its public calls. */
#include "transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <prefork/table.h>

#include "handoff_payload.h"

struct table_queue {
    struct shape shape;
    struct prefork_table *table;
};

struct table_end {
    const struct table_queue *queue;
    struct prefork_lane *lane;
    struct prefork_submission submission; /* of a producer */
    uint64_t job;                         /* the one being written */
    uint64_t *awaited;                    /* of a producer: `window` jobs in the order of submission */
    uint64_t sent, taken;
    struct prefork_job *claimed; /* of a worker */
};

__attribute__((noreturn)) static void table_fail(const char *call)
{
    (void)fprintf(stderr, "handoff: table: %s: %s\n", call, prefork_last_error());
    exit(EXIT_FAILURE);
}

static const char *table_refuses(const struct shape *shape)
{
    (void)shape;
    return NULL;
}

/* A slot holds its reply until that is collected: if all producers reserve while
 * they hold all slots, none gets one. */
static uint32_t table_max_window(const struct shape *shape)
{
    return 1 + (shape->slots - 1) / shape->producers;
}

static void *table_create(const struct shape *shape)
{
    struct table_queue *const queue = transport_allocate("table", sizeof(*queue));
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = shape->slots,
                                                  .request_bytes = shape->bytes,
                                                  .reply_bytes = shape->window > 0 ? shape->bytes : 1,
                                                  .max_workers = shape->workers,
                                                  .threads_per_worker = 1,
                                                  .generations = 1,
                                                  .outside_producers = shape->producers};

    queue->shape = *shape;
    if (prefork_table_create(&options, &queue->table) != 0)
        table_fail("prefork_table_create");
    return queue;
}

static void table_destroy(void *handle)
{
    struct table_queue *const queue = handle;

    prefork_table_destroy(&queue->table);
    free(queue);
}

/* Sleeps and wake-ups: a few of the sleeps end before they reach the kernel. */
static uint64_t table_futex_calls(void *handle)
{
    const struct table_queue *const queue = handle;
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    if (prefork_table_statistics(queue->table, &statistics) != 0)
        table_fail("prefork_table_statistics");
    return statistics.slept + statistics.woken;
}

static struct table_end *table_open(void *handle, uint32_t lane)
{
    struct table_end *const end = transport_allocate("table", sizeof(*end));

    end->queue = handle;
    if (prefork_lane_open(end->queue->table, lane, &end->lane) != 0)
        table_fail("prefork_lane_open");
    return end;
}

static void *table_open_producer(void *handle, uint32_t index)
{
    const struct table_queue *const queue = handle;
    struct table_end *const end = table_open(handle, prefork_table_outside_lane(queue->table, index));

    end->submission = (struct prefork_submission){.size = sizeof(end->submission),
                                                  .request_bytes = queue->shape.bytes,
                                                  .flags = queue->shape.window > 0 ? 0 : PREFORK_SUBMIT_DETACHED};
    if (queue->shape.window > 0)
        end->awaited = transport_allocate("table", queue->shape.window * sizeof(end->awaited[0]));
    return end;
}

static void *table_open_worker(void *handle, uint32_t index)
{
    const struct table_queue *const queue = handle;

    return table_open(handle, prefork_table_worker_lane(queue->table, index, 0, 0));
}

static void table_close(void *handle)
{
    struct table_end *const end = handle;

    prefork_lane_close(&end->lane);
    free(end->awaited);
    free(end);
}

/* -- the producer ---------------------------------------------------------- */

static uint64_t *table_begin_request(void *handle)
{
    struct table_end *const end = handle;
    size_t capacity;

    if (prefork_lane_reserve(end->lane, PREFORK_NO_DEADLINE, &end->job) != 0)
        table_fail("prefork_lane_reserve");
    return prefork_lane_request_buffer(end->lane, end->job, &capacity);
}

static void table_send_request(void *handle)
{
    struct table_end *const end = handle;

    if (prefork_lane_submit(end->lane, end->job, &end->submission) != 0)
        table_fail("prefork_lane_submit");
    if (end->awaited != NULL)
        end->awaited[end->sent++ % end->queue->shape.window] = end->job;
}

static void table_send_stop(void *handle)
{
    struct table_end *const end = handle;

    *table_begin_request(end) = PAYLOAD_STOP;
    end->submission.flags = PREFORK_SUBMIT_DETACHED;
    if (prefork_lane_submit(end->lane, end->job, &end->submission) != 0)
        table_fail("prefork_lane_submit");
}

static const uint64_t *table_take_reply(void *handle)
{
    struct table_end *const end = handle;
    struct prefork_result result;

    if (prefork_lane_wait(end->lane, end->awaited[end->taken % end->queue->shape.window], PREFORK_NO_DEADLINE,
                          &result) != 0)
        table_fail("prefork_lane_wait");
    return result.reply;
}

static void table_end_reply(void *handle)
{
    struct table_end *const end = handle;

    if (prefork_lane_collect(end->lane, end->awaited[end->taken++ % end->queue->shape.window]) != 0)
        table_fail("prefork_lane_collect");
}

/* -- the worker ------------------------------------------------------------ */

static const uint64_t *table_take_request(void *handle)
{
    struct table_end *const end = handle;
    size_t length;

    if (prefork_lane_claim(end->lane, PREFORK_NO_DEADLINE, &end->claimed) != 0)
        table_fail("prefork_lane_claim");
    return prefork_job_request(end->claimed, &length);
}

static void table_end_request(void *handle)
{
    struct table_end *const end = handle;

    if (prefork_job_complete(end->claimed, 0) != 0)
        table_fail("prefork_job_complete");
}

static uint64_t *table_begin_reply(void *handle, uint32_t producer)
{
    struct table_end *const end = handle;
    size_t capacity;

    (void)producer; /* the table knows */
    return prefork_job_reply_buffer(end->claimed, &capacity);
}

static void table_send_reply(void *handle)
{
    struct table_end *const end = handle;

    if (prefork_job_reply(end->claimed, end->queue->shape.bytes) != 0)
        table_fail("prefork_job_reply");
    table_end_request(end);
}

const struct transport transport_table = {
    .name = "table",
    .refuses = table_refuses,
    .max_window = table_max_window,
    .create = table_create,
    .destroy = table_destroy,
    .futex_calls = table_futex_calls,
    .open_producer = table_open_producer,
    .close_producer = table_close,
    .begin_request = table_begin_request,
    .send_request = table_send_request,
    .send_stop = table_send_stop,
    .take_reply = table_take_reply,
    .end_reply = table_end_reply,
    .open_worker = table_open_worker,
    .close_worker = table_close,
    .take_request = table_take_request,
    .end_request = table_end_request,
    .begin_reply = table_begin_reply,
    .send_reply = table_send_reply,
};
