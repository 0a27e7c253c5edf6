/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "io/connection.h"
#include "io/outbox.h"

/* How long a connection that has said all waits for its peer to end. */
#define LOOP_LINGER_MS 2000
/* Connections that get a turn for room in one round. */
#define LOOP_STARVED_BATCH 64

/* -- Turns ------------------------------------------------------------------ */

void pfk_loop_touch(struct pfk_loop *loop, struct prefork_connection *connection)
{
    if (!pfk_list_linked(&connection->turn_link))
        pfk_list_append(&loop->turns, &connection->turn_link);
}

/* Those that ask for another turn meanwhile get it in the next round. */
static void loop_serve_turns(struct pfk_loop *loop)
{
    struct pfk_list due;

    pfk_list_take(&loop->turns, &due);
    while (!pfk_list_empty(&due))
        pfk_connection_turn(pfk_list_entry(due.next, struct prefork_connection, turn_link),
                            PFK_CONNECTION_TURN_MESSAGES);
}

/* -- Room ------------------------------------------------------------------- */

static void loop_ask_for_room(struct pfk_loop *loop)
{
    if (prefork_lane_want_room(loop->lane) > 0)
        loop->room_seen = true;
}

void pfk_loop_starve(struct pfk_loop *loop, struct prefork_connection *connection, bool at_front)
{
    if (pfk_list_linked(&connection->wait_link))
        return;
    if (at_front)
        pfk_list_prepend(&loop->starved, &connection->wait_link);
    else
        pfk_list_append(&loop->starved, &connection->wait_link);
}

static void loop_serve_starved(struct pfk_loop *loop)
{
    loop->room_seen = false;
    loop->serving_starved = true;
    loop->refused = false;
    for (int served = 0; served < LOOP_STARVED_BATCH && !loop->refused && !pfk_list_empty(&loop->starved); served++) {
        struct pfk_list *first = loop->starved.next;

        pfk_list_remove(first);
        pfk_connection_turn(pfk_list_entry(first, struct prefork_connection, wait_link),
                            PFK_CONNECTION_STARVED_MESSAGES);
    }
    loop->serving_starved = false;
    if (!loop->refused && !pfk_list_empty(&loop->starved))
        loop->room_seen = true;
}

/* -- A slot to read into ----------------------------------------------------- */

/* Those who wait for a slot have the first right to it. */
bool pfk_loop_take_slot(struct pfk_loop *loop)
{
    struct pfk_loop_slot *const slot = &loop->slot;
    size_t capacity;

    if (!pfk_list_empty(&loop->starved) || prefork_lane_reserve(loop->lane, PREFORK_NO_WAIT, &slot->job) != 0)
        return false;
    slot->bytes = prefork_lane_request_buffer(loop->lane, slot->job, &capacity);
    slot->filled = 0;
    return true;
}

void pfk_loop_drop_slot(struct pfk_loop *loop)
{
    if (loop->slot.bytes == NULL)
        return;
    loop->slot.bytes = NULL;
    (void)prefork_lane_abandon(loop->lane, loop->slot.job);
}

/* -- Rounds ----------------------------------------------------------------- */

static void loop_stay_awake(struct pfk_loop *loop, bool awake)
{
    if (awake)
        ev_idle_start(loop->ev, &loop->awake);
    else
        ev_idle_stop(loop->ev, &loop->awake);
}

/* Before the loop sleeps. While somebody is starved, either the lane was asked
 * for a wake-up after the last refusal, or the loop does not sleep. */
static void loop_on_round(struct ev_loop *ev, ev_prepare *watcher, int events)
{
    struct pfk_loop *loop = watcher->data;

    (void)ev;
    (void)events;
    loop_serve_turns(loop);
    if (!pfk_list_empty(&loop->starved)) {
        if (loop->room_seen)
            loop_serve_starved(loop);
        if (loop->refused) {
            loop->refused = false;
            loop_ask_for_room(loop);
        }
    }
    loop_stay_awake(loop, !pfk_list_empty(&loop->turns) || (loop->room_seen && !pfk_list_empty(&loop->starved)));
}

static void loop_on_idle(struct ev_loop *ev, ev_idle *watcher, int events)
{
    (void)ev;
    (void)watcher;
    (void)events;
}

static void loop_on_result(struct pfk_completion *completion, const struct prefork_result *result)
{
    pfk_outbox_complete(pfk_container_of(completion, struct pfk_loop, completion), result);
}

static void loop_on_batch(struct pfk_completion *completion)
{
    struct pfk_loop *loop = pfk_container_of(completion, struct pfk_loop, completion);

    loop->room_seen = true;
    loop_serve_turns(loop);
}

/* -- Time limits ------------------------------------------------------------ */

static struct prefork_connection *loop_member(struct pfk_timeout *timeout)
{
    return pfk_container_of(timeout, struct prefork_connection, timeout);
}

static void loop_on_expired(struct pfk_timeout *timeout)
{
    pfk_connection_expire(loop_member(timeout));
}

/* -- Beginning and end ------------------------------------------------------ */

static void loop_init_watchers(struct pfk_loop *loop)
{
    ev_prepare_init(&loop->round, loop_on_round);
    ev_idle_init(&loop->awake, loop_on_idle);
    loop->round.data = loop;
    ev_prepare_start(loop->ev, &loop->round);
}

static int loop_open_memory(struct pfk_loop *loop)
{
    loop->scratch = malloc(PFK_LOOP_SCRATCH_BYTES);
    if (loop->scratch == NULL)
        return pfk_error(ENOMEM, "I/O thread: no memory for what is read");
    return pfk_cork_open(&loop->cork);
}

int pfk_loop_open(struct pfk_loop *loop, struct prefork_table *table, struct prefork_lane *lane, uint32_t n_handlers)
{
    int rc;

    memset(loop, 0, sizeof(*loop));
    loop->lane = lane;
    loop->request_bytes = prefork_table_request_bytes(table);
    loop->n_handlers = n_handlers;
    pfk_lane_publish(lane, PFK_COUNT_CONNECTIONS_NOW, 0); /* as a predecessor left it */
    pfk_list_init(&loop->turns);
    pfk_list_init(&loop->starved);
    errno = 0;
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (loop->ev == NULL)
        return pfk_error(errno != 0 ? errno : ENOMEM, "I/O thread: no event loop; is a descriptor left (ulimit -n)?");
    pfk_timeouts_open(&loop->timeouts, loop->ev, loop_on_expired);
    loop->timeouts.length_ms[PFK_TIMEOUT_LINGER] = LOOP_LINGER_MS;
    rc = loop_open_memory(loop);
    if (rc == 0)
        rc = pfk_completion_start(&loop->completion, loop->ev, lane, loop_on_result, loop_on_batch, NULL);
    if (rc == 0)
        loop_init_watchers(loop);
    else
        pfk_loop_close(loop);
    return rc;
}

void pfk_loop_limit(struct pfk_loop *loop, const struct pfk_loop_limits *limits)
{
    uint32_t *const length_ms = loop->timeouts.length_ms;

    length_ms[PFK_TIMEOUT_FIRST_BYTE] = limits->first_byte_ms;
    length_ms[PFK_TIMEOUT_MESSAGE] = limits->message_ms;
    length_ms[PFK_TIMEOUT_IDLE] = limits->idle_ms;
    length_ms[PFK_TIMEOUT_WRITE] = limits->write_ms;
}

void pfk_loop_close(struct pfk_loop *loop)
{
    if (loop->ev == NULL)
        return;
    for (unsigned kind = 0; kind < PFK_TIMEOUT_KINDS; kind++)
        while (!pfk_list_empty(&loop->timeouts.members[kind]))
            pfk_connection_abort(
                loop_member(pfk_list_entry(loop->timeouts.members[kind].next, struct pfk_timeout, link)));
    pfk_timeouts_close(&loop->timeouts);
    pfk_outbox_free_spare(loop);
    ev_loop_destroy(loop->ev);
    loop->ev = NULL;
    free(loop->scratch);
    pfk_cork_close(&loop->cork);
}

void pfk_loop_drain(struct pfk_loop *loop)
{
    loop->draining = true;
    for (unsigned kind = 0; kind < PFK_TIMEOUT_KINDS; kind++) {
        struct pfk_list *const members = &loop->timeouts.members[kind];

        for (struct pfk_list *at = members->next; at != members; at = at->next)
            pfk_connection_drain(loop_member(pfk_list_entry(at, struct pfk_timeout, link)));
    }
}
