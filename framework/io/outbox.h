/* SPDX-License-Identifier: BSD-2-Clause */
/* The outbox of a connection: what will be sent, in order. An entry is a job
 * in flight, a reply that lies in its slot, a failure to be answered, bytes in
 * private memory, or a piece of a file.
 *
 * A slot's stay never depends on the peer (D-21): a reply at the head is sent
 * from its slot at once, and what the kernel does not take is copied to
 * `unsent`. Jobs find their entry by the private `user` pointer; an entry is
 * good for a result only if it runs and bears the job's id, so that the result
 * of a connection that is gone meets nobody (D-19). A datagram's answer waits in
 * `unsent` until all of it is there. Nothing here fails the connection directly:
 * on an error its phase becomes GONE. */
#ifndef PFK_IO_OUTBOX_H
#define PFK_IO_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "io/connection.h"

/* Exists while there is something in it. */
struct pfk_outbox {
    struct pfk_list replies;   /* in the order in which they will be sent; replies.next alone while spare */
    struct pfk_list flight;    /* unordered only: jobs whose replies have no place yet */
    struct pfk_buffer *unsent; /* to be sent before them; the kernel took no more */
    size_t bytes;              /* private bytes in `replies`, with what they cost */
};

/* Submits a message as a job and gives its reply a place. The errors of
 * prefork_connection_submit. */
int pfk_outbox_submit(struct prefork_connection *connection, uint32_t handler, const void *message, size_t length);

/* Sends bytes, or puts them behind the replies of earlier messages. The errors
 * of prefork_connection_write. */
int pfk_outbox_write(struct prefork_connection *connection, const void *data, size_t length);

/* Sends bytes of a file, or gives them such a place; closes `fd` in any case.
 * The errors of prefork_connection_send_file. */
int pfk_outbox_send_file(struct prefork_connection *connection, int fd, off_t offset, size_t length);

/* Hands a result to its entry and asks for a turn of its connection. */
void pfk_outbox_complete(struct pfk_loop *loop, const struct prefork_result *result);

/* Sends what is ready; calls `failed` for failures whose turn it is. `writable`
 * says that the kernel takes bytes again. */
void pfk_outbox_flush(struct prefork_connection *connection, bool writable);

/* Forgets all that is in it; jobs in flight are detached. */
void pfk_outbox_close(struct prefork_connection *connection);

/* Whether nothing will be sent any more, and how much waits in private memory. */
bool pfk_outbox_empty(const struct prefork_connection *connection);
size_t pfk_outbox_waiting_bytes(const struct prefork_connection *connection);

/* Whether it goes on when the kernel takes bytes again. */
bool pfk_outbox_stalled(const struct prefork_connection *connection);

/* Frees the entries and outboxes that a loop keeps for later use: as many as
 * were in use at once. */
void pfk_outbox_free_spare(struct pfk_loop *loop);

#endif
