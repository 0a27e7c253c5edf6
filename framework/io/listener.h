/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening sockets, and sockets that receive datagrams. Opened once, by the
 * process that will be the master or starts it; inherited by workers.
 *
 * One socket is shared by all I/O threads, or, with shards, each of them has one
 * of its own, among which the kernel spreads what arrives. All shards are the
 * master's, so a worker that dies loses none of the connections that wait; those
 * of its shards wait until its seat is filled again. */
#ifndef PFK_IO_LISTENER_H
#define PFK_IO_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "io/unix_path.h"

/* A bound, non-blocking socket, or several; listening unless for datagrams. */
struct pfk_listener;

struct pfk_listener_options {
    int backlog;
    bool sharded;
    struct pfk_unix_rights rights; /* of a path only */
};

/* Binds and listens. `address` as prefork_pool_listen has it; the options are
 * borrowed for the call. A Unix path is replaced when it is a socket that nobody
 * listens on. Shards beyond the first are opened by pfk_listener_prepare.
 *   -EINVAL      the address can't be read, or can't have one of the options
 *   -EADDRINUSE  somebody listens there, or the path is no socket
 *   -ENOMEM, errors of pfk_unix_path_listen and pfk_activation_take, and what
 *   socket(2), bind(2) and listen(2) say, with the address */
int pfk_listener_open(const char *address, const struct pfk_listener_options *options,
                      struct pfk_listener **listener_out);

/* Before workers are forked: changes the backlog, and has just so many shards as
 * there are I/O threads, if it is sharded. What is there already stays; of shards
 * in excess the waiting connections are reset. 0 or -errno. */
int pfk_listener_prepare(struct pfk_listener *listener, int backlog, uint32_t n_threads);

/* Closes the sockets. The process that opened a Unix socket also removes its
 * path, if that is still the same one; others leave it alone. A socket that was
 * handed over stays what it is for whoever handed it over. NULL in *listener is
 * allowed; *listener becomes NULL. */
void pfk_listener_close(struct pfk_listener **listener);

/* Returns the descriptor that I/O thread `number` (counted over all workers)
 * accepts from; it stays the listener's. All share one, unless the listener has
 * shards: then nobody else accepts from it. */
int pfk_listener_fd(const struct pfk_listener *listener, uint32_t number);

/* Whether each I/O thread has a socket of its own. */
bool pfk_listener_is_sharded(const struct pfk_listener *listener);

/* Whether it receives datagrams instead of connections. */
bool pfk_listener_is_datagram(const struct pfk_listener *listener);

/* Returns the address really bound, a port of 0 replaced, in the form that
 * pfk_listener_open reads. Borrowed until close. */
const char *pfk_listener_address(const struct pfk_listener *listener);

#endif
