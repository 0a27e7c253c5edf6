/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening sockets. Opened once, by the process that will be the master or
 * starts it; inherited by workers, whose I/O threads all accept from them. */
#ifndef PFK_IO_LISTENER_H
#define PFK_IO_LISTENER_H

#include <stdint.h>

/* A bound, listening, non-blocking socket. */
struct pfk_listener;

/* Binds and listens. `address` as prefork_pool_listen has it. A Unix path is
 * replaced when it is a socket that nobody listens on.
 *   -EINVAL      the address can't be read; the text shows the forms
 *   -EADDRINUSE  somebody listens there, or the path is no socket
 *   -ENOMEM, and what socket(2), bind(2) and listen(2) say, with the address */
int pfk_listener_open(const char *address, int backlog, struct pfk_listener **listener_out);

/* Closes the socket. The process that opened it also removes the path of a
 * Unix socket, if that is still the same one; others leave it alone. NULL in
 * *listener is allowed; *listener becomes NULL. */
void pfk_listener_close(struct pfk_listener **listener);

/* Changes the backlog of a socket that listens already; 0 or -errno. */
int pfk_listener_set_backlog(const struct pfk_listener *listener, int backlog);

/* Returns the descriptor that I/O thread `number` (counted over all workers)
 * accepts from; it stays the listener's. All share one, unless the listener has
 * shards: then nobody else accepts from it. */
int pfk_listener_fd(const struct pfk_listener *listener, uint32_t number);

/* Returns the address really bound, a port of 0 replaced, in the form that
 * pfk_listener_open reads. Borrowed until close. */
const char *pfk_listener_address(const struct pfk_listener *listener);

#endif
