/* SPDX-License-Identifier: BSD-2-Clause */
/* Many connections in one thread: each sends a message, wants exactly its bytes
 * back, and sends the next. A connection may fall only when it was condemned:
 * then it is opened again and its unanswered message sent again. */
#ifndef PFK_TESTS_POOL_STORM_CLIENT_H
#define PFK_TESTS_POOL_STORM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "storm_victim.h"

#define STORM_MESSAGE_MAX 1024

/* The beginning of each message; pseudo-random bytes follow. */
struct storm_message {
    uint32_t bytes; /* of the whole message */
    uint32_t ticket;
};

struct storm_client;

struct storm_tally {
    uint64_t answered;
    uint64_t resent;
    uint64_t fallen;       /* connections that were condemned, and fell */
    uint64_t wrongly_fell; /* that were not */
    uint64_t wrong_bytes;  /* replies that were not the request */
};

/* Opens `n` connections. Ends the program when it can't. */
struct storm_client *storm_client_open(const char *address, unsigned n, uint32_t n_tickets);
void storm_client_close(struct storm_client *client);

/* Serves events until `done` says so, or the deadline; whether it said so. */
typedef bool storm_done_fn(struct storm_client *client, void *context);
bool storm_client_serve(struct storm_client *client, storm_done_fn *done, void *context, uint64_t deadline_ns);

/* Condemns the connections whose ports the victim has. */
void storm_client_condemn(struct storm_client *client, const struct storm_victim *victim);

/* Connections condemned that have not fallen yet. */
unsigned storm_client_condemned(const struct storm_client *client);

/* Connections that have had no answer yet: some worker may not have accepted
 * them yet. */
unsigned storm_client_fresh(const struct storm_client *client);

/* From here on nothing new is sent; messages under way are still awaited. */
void storm_client_wind_up(struct storm_client *client);
unsigned storm_client_waiting(const struct storm_client *client);

const struct storm_tally *storm_client_tally(const struct storm_client *client);

#endif
