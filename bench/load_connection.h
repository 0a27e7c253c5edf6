/* SPDX-License-Identifier: BSD-2-Clause */
/* One client connection of the load generator.
 *
 * It sends its stream as far as depth and quota allow, reads at the same time,
 * compares each byte, half-closes after its last message and expects exactly
 * the rest and the end. Offsets count the bytes of its stream without tags. A
 * connection that fell starts again at its first message that was not answered
 * in full. */
#ifndef BENCH_LOAD_CONNECTION_H
#define BENCH_LOAD_CONNECTION_H

#include <ev.h>

#include "load.h"
#include "pattern.h"

/* What is read or written in one call. */
#define LOAD_BUFFER_BYTES ((size_t)256 * 1024)

#define LOAD_NO_QUOTA UINT64_MAX

enum load_phase {
    LOAD_OPENING, /* each connection has one message answered, as soon as it is open */
    LOAD_RUNNING, /* all are open: the measured part */
    LOAD_STOPPING /* the time is over: what was begun is finished */
};

struct load_connection;

/* What all connections of a run have in common. */
struct load_shared {
    const struct load_options *options;
    struct load_result *result;
    struct ev_loop *loop;
    enum load_phase phase;
    uint32_t opening;      /* connections of which the server may not know yet */
    uint32_t never_opened; /* connections that were not served once so far */
    uint32_t unfinished;
    uint64_t progress_ns;         /* when the last new reply byte came */
    uint64_t answered;            /* messages, of all connections */
    struct load_connection *wait; /* first and last of those that are to be opened */
    struct load_connection **wait_end;
    bool wait_paused; /* a connect failed just now: a timer ends the pause */
    unsigned char buffer[LOAD_BUFFER_BYTES];
};

enum load_connection_state { LOAD_WAITING, LOAD_CONNECTING, LOAD_OPEN, LOAD_DONE };

struct load_connection {
    struct load_shared *shared;
    struct load_connection *next_waiting;
    uint32_t number;
    enum load_connection_state state;
    bool opening;     /* counted in shared->opening */
    bool was_opened;  /* no longer counted in shared->never_opened */
    bool half_closed; /* the server was told that nothing more comes */
    struct pattern pattern;
    struct reply_tag tag;
    uint64_t quota;          /* messages to send, or LOAD_NO_QUOTA */
    uint64_t sent_bytes;     /* stream offset of the next byte to write */
    uint64_t received_bytes; /* stream offset of the next byte to read */
    uint64_t verified_bytes; /* the highest that received_bytes ever was */
    uint64_t begun;          /* messages of which a byte was ever written */
    uint64_t *begun_ns;      /* when, for the last options->depth of them */
    ev_io reader, writer;
};

/* Takes over the zeroed connection number `number` and lets it wait to be
 * opened. Returns 0 or -ENOMEM. */
int load_connection_init(struct load_connection *connection, struct load_shared *shared, uint32_t number,
                         uint64_t quota);

/* Closes what is open and frees what init took. */
void load_connection_destroy(struct load_connection *connection);

/* Opens the connection that waits first. */
void load_connection_open_first(struct load_shared *shared);

/* Sends what the phase allows now. No effect unless it is open. */
void load_connection_send(struct load_connection *connection);

/* Begins no further message; what was begun is finished. */
void load_connection_stop(struct load_connection *connection);

/* Ends a connection that will not get further and counts what is missing. */
void load_connection_give_up(struct load_connection *connection);

#endif
