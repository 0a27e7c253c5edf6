/* SPDX-License-Identifier: BSD-2-Clause */
/* What the connections of one I/O thread share: its event loop, its lane, its
 * scratch memory, and who is to have a turn.
 *
 * Created and used by one thread, after fork; never the default loop, no
 * signals, no children. Nothing here is visible to other threads.
 *
 * Turns. A connection does a bounded piece of work in a turn. It has one at
 * once when its socket is ready; a completion, a write from elsewhere or work
 * left over puts it into `turns`, which is served once for each round of the
 * loop, before it sleeps.
 *
 * Room. When the table refuses a slot, the connection joins `starved`, a FIFO
 * that is served in order when the lane says that there may be room; nobody
 * overtakes it meanwhile. */
#ifndef PFK_IO_LOOP_H
#define PFK_IO_LOOP_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/completion.h"
#include "io/cork.h"
#include "io/list.h"
#include "io/quota.h"
#include "io/timeout.h"
#include "job/control.h"
#include "prefork/table.h"

/* One read takes up to so many bytes: what a readable socket may cost others. */
#define PFK_LOOP_SCRATCH_BYTES 65536

struct prefork_connection;
struct pfk_outbox;
struct pfk_reply;

/* How long a connection may keep its server waiting; 0: for ever. */
struct pfk_loop_limits {
    uint32_t first_byte_ms;
    uint32_t message_ms;
    uint32_t idle_ms;
    uint32_t write_ms;
};

/* Where the message that is being read will lie as a job. The thread's own from
 * before one read until the message is submitted in it, or it is given back: it
 * outlives no event, so no peer can make it last. If we die, repair frees it. */
struct pfk_loop_slot {
    uint64_t job;
    unsigned char *bytes; /* NULL: there is none */
    size_t filled;        /* all of it is one read */
};

struct pfk_loop {
    struct ev_loop *ev;
    struct prefork_lane *lane; /* borrowed */
    size_t request_bytes;      /* of a slot */
    uint32_t n_handlers;
    bool draining;
    size_t n_connections;
    struct pfk_quota_share *quota; /* borrowed; NULL: peers are not limited */

    struct pfk_timeouts timeouts; /* all connections are members */
    struct pfk_list turns;        /* to be served in this round or the next */
    struct pfk_list starved;      /* waiting for a slot, in order */
    struct pfk_reply *free_replies;
    struct pfk_outbox *free_outboxes;

    struct prefork_connection *current; /* whose turn it is; it alone uses cork */
    bool serving_starved;               /* the turn was given for room */
    bool refused;                       /* the table refused a slot since this was cleared */
    bool room_seen;                     /* look at `starved` again in the next round */
    struct pfk_cork cork;
    unsigned char *scratch;
    struct pfk_loop_slot slot;

    struct pfk_completion completion;
    ev_prepare round; /* serves turns before the loop sleeps */
    ev_idle awake;    /* active while the loop must not sleep */
};

/* Creates the event loop; `lane` must be the calling thread's own.
 * -ENOMEM, -EMFILE. */
int pfk_loop_open(struct pfk_loop *loop, struct prefork_table *table, struct prefork_lane *lane, uint32_t n_handlers);

/* Sets the limits; before the first connection. */
void pfk_loop_limit(struct pfk_loop *loop, const struct pfk_loop_limits *limits);

/* Ends all connections at once and frees everything but the lane. */
void pfk_loop_close(struct pfk_loop *loop);

/* Gives `connection` a turn in this round or the next, if it waits for none. */
void pfk_loop_touch(struct pfk_loop *loop, struct prefork_connection *connection);

/* Lets `connection` wait for a slot, at the end of the FIFO, or at its front
 * when it was there and is refused again. */
void pfk_loop_starve(struct pfk_loop *loop, struct prefork_connection *connection, bool at_front);

/* Gives every connection its last turns: nothing more is read. */
void pfk_loop_drain(struct pfk_loop *loop);

/* Reserves a slot to read into. False: there is none. */
bool pfk_loop_take_slot(struct pfk_loop *loop);

/* Gives it back, if it is still there. */
void pfk_loop_drop_slot(struct pfk_loop *loop);

/* One connection more, or less. */
static inline void pfk_loop_count_open(struct pfk_loop *loop, int by)
{
    loop->n_connections += (size_t)by;
    pfk_lane_publish(loop->lane, PFK_COUNT_CONNECTIONS_NOW, loop->n_connections);
}

/* Adds to a counter of the thread's lane. */
static inline void pfk_loop_count(struct pfk_loop *loop, enum pfk_lane_counter counter, uint64_t by)
{
    pfk_lane_count(loop->lane, counter, by);
}

#endif
