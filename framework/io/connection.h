/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection: bytes in, messages, jobs, replies, bytes out.
 *
 * Belongs to the I/O thread whose loop it is in. An idle connection owns its
 * struct and its descriptor, no buffers. It is freed at the end of a turn or
 * event of its own and nowhere else, so that callbacks may close, write and
 * fail as they like.
 *
 *     OPEN ──EOF of the peer, drain──▶ ENDING ──all answered─┐
 *      │                                 │                   ▼
 *      ├──close, failure──────────────▶ CLOSING ──flushed─▶ LINGERING ──EOF, time──▶ GONE
 *      └──reset, no memory, stop (from any phase)──────────────────────────────────▶ GONE */
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
#include "prefork.h"

/* Reading stops while so much waits to be sent. */
#define PFK_CONNECTION_HIGH_WATER_BYTES 262144

enum pfk_phase_of_connection {
    PFK_CONNECTION_OPEN,      /* reads and answers */
    PFK_CONNECTION_ENDING,    /* reads no more; answers what has arrived */
    PFK_CONNECTION_CLOSING,   /* takes no more messages; flushes */
    PFK_CONNECTION_LINGERING, /* has said its last; discards what still comes, so that no reset
                                 destroys replies that the peer has not read yet */
    PFK_CONNECTION_GONE       /* to be freed at the end of the turn */
};

/* What keeps a message from being taken. */
enum pfk_refusal { PFK_REFUSAL_NONE, PFK_REFUSAL_IN_FLIGHT, PFK_REFUSAL_ROOM };

struct prefork_connection {
    struct pfk_loop *loop;
    const struct pfk_protocol *protocol;
    struct pfk_buffer *input;  /* arrived, no whole message yet, or one that must wait */
    struct pfk_buffer *unsent; /* to be sent before the outbox; the kernel took no more */
    struct pfk_list outbox;    /* replies in the order in which they will be sent */
    struct pfk_list flight;    /* unordered only: jobs whose replies have no place yet */
    size_t outbox_bytes;       /* private bytes in the outbox, with what they cost */
    size_t scanned;            /* bytes of input that `frame` has seen in vain; for its own use */
    void *user;
    struct pfk_proxied *proxied;   /* NULL: speaks for itself */
    struct pfk_datagram *datagram; /* not NULL: it is one, and the watchers have no socket */
    double linger_until;
    uint32_t in_flight; /* jobs that hold a slot */
    uint8_t phase;      /* enum pfk_phase_of_connection */
    uint8_t refusal;    /* enum pfk_refusal, of the last submit */
    bool incomplete;    /* input holds no whole message: reading helps */
    bool peer_ended;    /* end of file was read: nothing can be lost by closing */
    bool answering;     /* in `failed`: what is written takes the failed reply's place */
    bool begun;         /* `opened` was called, so `closed` will be */
    bool served;        /* at least one reply was written */
    ev_io readable;
    ev_io writable;
    struct pfk_list all_link;
    struct pfk_list turn_link;
    struct pfk_list wait_link; /* in loop->starved, or loop->lingering */
};

/* Takes a connected non-blocking socket over, which it closes in any case; the
 * connection ends by itself. -ENOMEM. */
int pfk_connection_open(struct pfk_loop *loop, int fd, const struct pfk_protocol *protocol);

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
