/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection: bytes in, messages, jobs, replies, bytes out.
 *
 * Belongs to the I/O thread whose loop it is in. An idle connection owns its
 * struct and its descriptor, no buffers. It is freed at the end of a turn or
 * event of its own and nowhere else, so that callbacks may close, write and
 * fail as they like.
 *
 *     OPEN ──EOF of the peer, drain──▶ ENDING ──all answered──┐
 *      │                                 │                    ▼
 *      ├──close, failure, message late▶ CLOSING ──flushed─▶ LINGERING ──EOF, time──▶ GONE
 *      └──reset, no memory, stop, time (from any phase)─────────────────────────────▶ GONE
 *
 * pfk_connection_enter is the only one who writes the phase; what is possible in
 * each phase, and what may follow, stands in one table above it. */
#ifndef PFK_IO_CONNECTION_H
#define PFK_IO_CONNECTION_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/buffer.h"
#include "io/datagram.h"
#include "io/list.h"
#include "io/loop.h"
#include "io/protocol.h"
#include "io/timeout.h"
#include "prefork.h"

/* Reading stops when so much waits to be sent, and goes on when no more than
 * the lower mark does. */
#define PFK_CONNECTION_HIGH_WATER_BYTES 262144
#define PFK_CONNECTION_LOW_WATER_BYTES  65536

enum pfk_phase_of_connection {
    PFK_CONNECTION_OPEN,      /* reads and answers */
    PFK_CONNECTION_ENDING,    /* reads no more; answers what has arrived */
    PFK_CONNECTION_CLOSING,   /* takes no more messages; flushes */
    PFK_CONNECTION_LINGERING, /* has said its last; discards what still comes, so that no reset
                                 destroys replies that the peer has not read yet */
    PFK_CONNECTION_GONE,      /* to be freed at the end of the turn */
    PFK_CONNECTION_PHASES
};

/* What keeps a message from being taken. */
enum pfk_refusal { PFK_REFUSAL_NONE, PFK_REFUSAL_IN_FLIGHT, PFK_REFUSAL_ROOM };

/* Kept small, for most connections of most servers are idle: what exists only
 * while something is pending lies elsewhere. */
struct prefork_connection {
    struct pfk_loop *loop;
    const struct pfk_protocol *protocol;
    struct pfk_buffer *input;      /* arrived, no whole message yet, or one that must wait */
    struct pfk_outbox *outbox;     /* NULL: nothing waits to be sent, and no job is in flight */
    struct pfk_proxied *proxied;   /* NULL: speaks for itself */
    struct pfk_datagram *datagram; /* not NULL: it is one, and the watcher has no socket */
    ev_io watcher;                 /* for reading, writing, both or neither; its `data` is the user's pointer */
    struct pfk_timeout timeout;
    struct pfk_list turn_link;
    struct pfk_list wait_link; /* in loop->starved */
    uint32_t peer;             /* as pfk_quota_peer has it; PFK_QUOTA_NOBODY: it was not counted */
    uint32_t scanned;          /* bytes of input that `frame` has seen in vain; for its own use */
    uint16_t in_flight;        /* jobs that hold a slot */
    uint8_t phase;             /* enum pfk_phase_of_connection */
    uint8_t refusal;           /* enum pfk_refusal, of the last submit */
    bool incomplete : 1;       /* input holds no whole message: reading helps */
    bool peer_ended : 1;       /* end of file was read: nothing can be lost by closing */
    bool answering : 1;        /* in `failed`: what is written takes the failed reply's place */
    bool begun : 1;            /* `opened` was called, so `closed` will be */
    bool heard : 1;            /* at least one byte was read */
    bool served : 1;           /* at least one reply was written */
    bool moved : 1;            /* the kernel took bytes in this turn */
    bool full : 1;             /* the high water mark was reached, and the low one not yet again */
    bool lengthy : 1;          /* the last message came alone, and is worth to be read into a slot */
};

/* Takes a connected non-blocking socket over, which it closes in any case; and
 * the place that `peer` was given by the loop's quota, which it gives back. The
 * connection ends by itself. -ENOMEM. */
int pfk_connection_open(struct pfk_loop *loop, int fd, uint32_t peer, const struct pfk_protocol *protocol);

/* Takes a datagram over, whose `length` bytes lie in the loop's scratch memory,
 * and gives it its turn; it ends by itself, perhaps before this returns, by
 * pfk_receiver_end. Until then *connection_out is valid. -ENOMEM: it has ended. */
int pfk_connection_open_datagram(struct pfk_loop *loop, struct pfk_datagram *datagram,
                                 const struct pfk_protocol *protocol, size_t length,
                                 struct prefork_connection **connection_out);

/* How many messages a connection may take in one turn. */
#define PFK_CONNECTION_TURN_MESSAGES 64
/* And when slots are short, before the next one that waits has its turn. */
#define PFK_CONNECTION_STARVED_MESSAGES 4

/* Sends what is ready, takes up to `messages` messages that have arrived, and
 * ends the connection when it is time. May free it. */
void pfk_connection_turn(struct prefork_connection *connection, unsigned messages);

/* Goes into `phase`, which must be one that may follow; or stays in it. */
void pfk_connection_enter(struct prefork_connection *connection, enum pfk_phase_of_connection phase);

/* Its time limit is over: it ends, or begins another limit. May free it. */
void pfk_connection_expire(struct prefork_connection *connection);

/* The connection reads no more: ENDING, at its next turn. */
void pfk_connection_drain(struct prefork_connection *connection);

/* Frees the connection now: its jobs are detached, its socket is closed. Not
 * from within its callbacks. */
void pfk_connection_abort(struct prefork_connection *connection);

/* The longest message that a job can carry. */
static inline size_t pfk_connection_capacity(const struct prefork_connection *connection)
{
    return connection->loop->request_bytes;
}

#endif
