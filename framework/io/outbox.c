/* SPDX-License-Identifier: BSD-2-Clause */
/* Everything that leaves a connection passes here. Knows neither phases beyond
 * GONE nor how messages are cut. */
#include "io/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/fd.h"
#include "io/receiver.h"

/* Replies that one sendmsg gathers. */
#define OUTBOX_GATHER 32
_Static_assert(OUTBOX_GATHER > 1 + PFK_CORK_PIECES, "unsent bytes, the cork, and a reply");
/* Bytes of files that a connection sends before others have their turn. */
#define OUTBOX_FILE_TURN_BYTES 1048576
/* What a file that waits counts for in private bytes: a few of them, each a
 * descriptor, stop the reading. */
#define OUTBOX_FILE_COST_BYTES (PFK_CONNECTION_HIGH_WATER_BYTES / 4)

enum outbox_state {
    OUTBOX_RUNNING, /* a job in flight */
    OUTBOX_READY,   /* its reply lies in the slot */
    OUTBOX_FAILED,  /* it failed; its slot is collected already */
    OUTBOX_BYTES,   /* private */
    OUTBOX_FILE     /* of a descriptor */
};

struct pfk_reply {
    struct pfk_list link; /* in outbox or flight; link.next alone while spare */
    struct prefork_connection *connection;
    uint64_t job;
    const void *data;         /* READY: borrowed from the slot */
    size_t length;            /* READY; FILE: what is left */
    struct pfk_buffer *bytes; /* BYTES */
    off_t offset;             /* FILE: of what is left */
    int fd;                   /* FILE */
    enum outbox_state state;
    int status; /* FAILED */
};

/* -- The outbox ------------------------------------------------------------- */

/* Gives the connection an outbox if it has none. */
static int outbox_open(struct prefork_connection *connection)
{
    struct pfk_loop *const loop = connection->loop;
    struct pfk_outbox *outbox = connection->outbox != NULL ? connection->outbox : loop->free_outboxes;

    if (connection->outbox != NULL)
        return 0;
    if (outbox != NULL)
        loop->free_outboxes =
            outbox->replies.next == NULL ? NULL : pfk_list_entry(outbox->replies.next, struct pfk_outbox, replies);
    else
        outbox = malloc(sizeof(*outbox));
    if (outbox == NULL)
        return pfk_error(ENOMEM, "connection: no memory for an outbox");
    *outbox = (struct pfk_outbox){.unsent = NULL};
    pfk_list_init(&outbox->replies);
    pfk_list_init(&outbox->flight);
    connection->outbox = outbox;
    return 0;
}

/* An outbox with nothing in it goes back to the loop. */
static void outbox_leave(struct prefork_connection *connection)
{
    struct pfk_loop *const loop = connection->loop;
    struct pfk_outbox *const outbox = connection->outbox;

    if (outbox == NULL || outbox->unsent != NULL || !pfk_list_empty(&outbox->replies) ||
        !pfk_list_empty(&outbox->flight))
        return;
    outbox->replies.next = loop->free_outboxes == NULL ? NULL : &loop->free_outboxes->replies;
    loop->free_outboxes = outbox;
    connection->outbox = NULL;
}

static size_t outbox_unsent_bytes(const struct prefork_connection *connection)
{
    return connection->outbox == NULL ? 0 : pfk_buffer_length(connection->outbox->unsent);
}

/* -- Entries ---------------------------------------------------------------- */

static struct pfk_reply *outbox_take_entry(struct prefork_connection *connection, enum outbox_state state)
{
    struct pfk_reply *entry = connection->loop->free_replies;

    if (outbox_open(connection) != 0)
        return NULL;
    if (entry != NULL) {
        connection->loop->free_replies =
            entry->link.next == NULL ? NULL : pfk_list_entry(entry->link.next, struct pfk_reply, link);
    } else {
        entry = malloc(sizeof(*entry));
        if (entry == NULL) {
            (void)pfk_error(ENOMEM, "connection: no memory for a reply's place");
            return NULL;
        }
    }
    memset(entry, 0, sizeof(*entry));
    pfk_list_init(&entry->link);
    entry->connection = connection;
    entry->state = state;
    return entry;
}

/* The entry's memory stays readable: a late result looks at state and job. */
static void outbox_spare_entry(struct pfk_loop *loop, struct pfk_reply *entry)
{
    entry->connection = NULL;
    entry->job = 0;
    entry->link.next = loop->free_replies == NULL ? NULL : &loop->free_replies->link;
    loop->free_replies = entry;
}

static void outbox_collect(struct prefork_connection *connection, const struct pfk_reply *entry)
{
    (void)prefork_lane_collect(connection->loop->lane, entry->job);
    connection->in_flight--;
    connection->loop->room_seen = true;
}

static size_t outbox_cost(const struct pfk_reply *entry)
{
    return entry->state == OUTBOX_FILE ? OUTBOX_FILE_COST_BYTES : sizeof(*entry) + pfk_buffer_length(entry->bytes);
}

/* Takes an entry out and gives back what it holds. */
static void outbox_release(struct prefork_connection *connection, struct pfk_reply *entry)
{
    pfk_list_remove(&entry->link);
    switch (entry->state) {
    case OUTBOX_RUNNING:
        (void)prefork_lane_detach(connection->loop->lane, entry->job);
        connection->in_flight--;
        break;
    case OUTBOX_READY:
        outbox_collect(connection, entry);
        break;
    case OUTBOX_BYTES:
        connection->outbox->bytes -= outbox_cost(entry);
        pfk_buffer_free(&entry->bytes);
        break;
    case OUTBOX_FILE:
        connection->outbox->bytes -= outbox_cost(entry);
        pfk_fd_close(&entry->fd);
        break;
    case OUTBOX_FAILED:
        break;
    }
    outbox_spare_entry(connection->loop, entry);
}

static struct pfk_reply *outbox_head(const struct prefork_connection *connection)
{
    const struct pfk_outbox *const outbox = connection->outbox;

    return outbox == NULL || pfk_list_empty(&outbox->replies)
               ? NULL
               : pfk_list_entry(outbox->replies.next, struct pfk_reply, link);
}

static bool outbox_is_ready(const struct pfk_reply *entry)
{
    return entry != NULL && (entry->state == OUTBOX_READY || entry->state == OUTBOX_BYTES);
}

static size_t outbox_entry_bytes(const struct pfk_reply *entry, const void **data_out)
{
    if (entry->state == OUTBOX_BYTES) {
        *data_out = pfk_buffer_data(entry->bytes);
        return pfk_buffer_length(entry->bytes);
    }
    *data_out = entry->data;
    return entry->length;
}

/* -- Sending ---------------------------------------------------------------- */

/* Makes sure that a turn ends what is begun here. */
static void outbox_touch(struct prefork_connection *connection)
{
    if (connection->loop->current != connection)
        pfk_loop_touch(connection->loop, connection);
}

static void outbox_lose(struct prefork_connection *connection)
{
    pfk_connection_enter(connection, PFK_CONNECTION_GONE);
    outbox_touch(connection);
}

static void outbox_keep(struct prefork_connection *connection, const void *data, size_t length)
{
    if (connection->phase == PFK_CONNECTION_GONE || length == 0)
        return;
    if (outbox_open(connection) != 0 || pfk_buffer_append(&connection->outbox->unsent, data, length) != 0)
        outbox_lose(connection);
}

static size_t outbox_corked(const struct prefork_connection *connection)
{
    return connection->loop->current == connection ? connection->loop->cork.length : 0;
}

/* What sendmsg or sendfile returned: how much the kernel took; 0 when it takes
 * none now, or the peer is gone. */
static size_t outbox_count_sent(struct prefork_connection *connection, ssize_t sent)
{
    if (sent >= 0) {
        pfk_loop_count(connection->loop, PFK_COUNT_BYTES_OUT, (uint64_t)sent);
        connection->served = true;
        connection->moved = true;
        return (size_t)sent;
    }
    if (errno != EAGAIN) /* ENOBUFS too: such a socket may be writable all the time, and trying again would spin */
        outbox_lose(connection);
    return 0;
}

/* `flags`: MSG_MORE or 0. */
static size_t outbox_send(struct prefork_connection *connection, struct iovec *pieces, size_t n_pieces, int flags)
{
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = n_pieces};
    ssize_t sent;

    if (connection->datagram != NULL) {
        connection->served = true;
        return pfk_receiver_reply(connection->datagram, pieces, n_pieces);
    }
    flags |= MSG_NOSIGNAL | MSG_DONTWAIT;
    do { /* one piece costs the kernel less by send */
        sent = n_pieces == 1 ? send(connection->watcher.fd, pieces->iov_base, pieces->iov_len, flags)
                             : sendmsg(connection->watcher.fd, &message, flags);
    } while (sent < 0 && errno == EINTR);
    return outbox_count_sent(connection, sent);
}

static size_t outbox_add_piece(struct iovec *pieces, size_t n_pieces, const void *data, size_t length)
{
    if (length == 0)
        return n_pieces;
    pieces[n_pieces].iov_base = (void *)(uintptr_t)data; /* sendmsg reads only */
    pieces[n_pieces].iov_len = length;
    return n_pieces + 1;
}

static size_t outbox_gather_cork(const struct prefork_connection *connection, struct iovec *pieces, size_t n)
{
    const struct pfk_cork *const cork = &connection->loop->cork;

    if (outbox_corked(connection) == 0)
        return n;
    memcpy(pieces + n, cork->pieces, cork->n_pieces * sizeof(*pieces));
    return n + cork->n_pieces;
}

static size_t outbox_gather_replies(const struct pfk_outbox *outbox, struct iovec *pieces, size_t n, int *flags_out)
{
    const struct pfk_list *at = outbox->replies.next;

    for (; at != &outbox->replies && n < OUTBOX_GATHER; at = at->next) {
        const struct pfk_reply *entry = pfk_list_entry(at, const struct pfk_reply, link);
        const void *data;
        size_t length;

        if (!outbox_is_ready(entry))
            break;
        length = outbox_entry_bytes(entry, &data);
        n = outbox_add_piece(pieces, n, data, length);
    }
    if (at != &outbox->replies && pfk_list_entry(at, struct pfk_reply, link)->state == OUTBOX_FILE)
        *flags_out = MSG_MORE;
    return n;
}

/* Collects unsent bytes, the cork and ready entries at the head into pieces; a
 * file behind them makes *flags_out say that more follows. */
static size_t outbox_gather(const struct prefork_connection *connection, struct iovec *pieces, size_t *total_out,
                            int *flags_out)
{
    struct pfk_outbox *const outbox = connection->outbox;
    size_t n = 0;

    *flags_out = 0;
    if (outbox != NULL)
        n = outbox_add_piece(pieces, n, pfk_buffer_data(outbox->unsent), pfk_buffer_length(outbox->unsent));
    n = outbox_gather_cork(connection, pieces, n);
    if (outbox != NULL)
        n = outbox_gather_replies(outbox, pieces, n, flags_out);
    *total_out = 0;
    for (size_t i = 0; i < n; i++)
        *total_out += pieces[i].iov_len;
    return n;
}

/* Takes `*sent` bytes off `length`; what is left of them, and of it. */
static size_t outbox_account(size_t length, size_t *sent)
{
    const size_t taken = *sent < length ? *sent : length;

    *sent -= taken;
    return length - taken;
}

/* Empties the cork, of which `*sent` bytes at the front are sent. */
static void outbox_uncork(struct prefork_connection *connection, size_t *sent)
{
    struct pfk_cork *const cork = &connection->loop->cork;

    if (outbox_corked(connection) == 0)
        return;
    for (size_t i = 0; i < cork->n_pieces; i++) {
        const struct iovec *const piece = &cork->pieces[i];
        const size_t rest = outbox_account(piece->iov_len, sent);

        outbox_keep(connection, (const unsigned char *)piece->iov_base + (piece->iov_len - rest), rest);
    }
    pfk_cork_clear(cork);
}

/* Removes what was sent. With `keep_rest` the kernel takes no more: all that is
 * ready moves to private memory, and the slots are given back. */
static void outbox_settle(struct prefork_connection *connection, size_t sent, bool keep_rest)
{
    const size_t unsent = outbox_unsent_bytes(connection);
    size_t rest = outbox_account(unsent, &sent);

    if (unsent > 0)
        pfk_buffer_consume(&connection->outbox->unsent, unsent - rest);
    outbox_uncork(connection, &sent);
    for (struct pfk_reply *entry = outbox_head(connection); outbox_is_ready(entry); entry = outbox_head(connection)) {
        const void *data;
        const size_t length = outbox_entry_bytes(entry, &data);

        if (length > sent && !keep_rest)
            break;
        rest = outbox_account(length, &sent);
        outbox_keep(connection, (const unsigned char *)data + (length - rest), rest);
        outbox_release(connection, entry);
    }
}

static void outbox_send_ready(struct prefork_connection *connection)
{
    struct iovec pieces[OUTBOX_GATHER];
    size_t total;
    int flags;
    const size_t n = outbox_gather(connection, pieces, &total, &flags);
    const size_t sent = n > 0 ? outbox_send(connection, pieces, n, flags) : 0;

    outbox_settle(connection, sent, sent < total);
}

/* -- Files ------------------------------------------------------------------ */

static bool outbox_is_file(const struct pfk_reply *entry)
{
    return entry != NULL && entry->state == OUTBOX_FILE;
}

/* Sends of the file at the head what the kernel takes, up to a turn's worth.
 * Returns whether that was all of it. I/O threads block SIGPIPE, which sendfile
 * has no flag for. */
static bool outbox_send_file(struct prefork_connection *connection, struct pfk_reply *entry)
{
    size_t left_of_turn = OUTBOX_FILE_TURN_BYTES;

    if (pfk_list_linked(&connection->turn_link))
        return false; /* it has had its share, and asked for another turn */
    while (entry->length > 0 && left_of_turn > 0) {
        const size_t wanted = entry->length < left_of_turn ? entry->length : left_of_turn;
        const ssize_t sent = sendfile(connection->watcher.fd, entry->fd, &entry->offset, wanted);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent == 0) /* the file has become shorter: what was announced can't be sent */
            outbox_lose(connection);
        if (outbox_count_sent(connection, sent) == 0)
            return false;
        entry->length -= (size_t)sent;
        left_of_turn -= (size_t)sent;
    }
    if (entry->length > 0)
        pfk_loop_touch(connection->loop, connection);
    return entry->length == 0;
}

/* A file waits for the peer at the head. Replies behind it must not: they leave
 * their slots. */
static void outbox_leave_slots(struct prefork_connection *connection)
{
    const struct pfk_list *const replies = &connection->outbox->replies;

    for (struct pfk_list *at = replies->next; at != replies; at = at->next) {
        struct pfk_reply *entry = pfk_list_entry(at, struct pfk_reply, link);

        if (entry->state != OUTBOX_READY)
            continue;
        if (pfk_buffer_append(&entry->bytes, entry->data, entry->length) != 0) {
            outbox_lose(connection);
            return;
        }
        outbox_collect(connection, entry);
        entry->job = 0;
        entry->state = OUTBOX_BYTES;
        connection->outbox->bytes += outbox_cost(entry);
    }
}

/* Returns whether the head's turn is over. */
static bool outbox_pass_file(struct prefork_connection *connection, struct pfk_reply *entry)
{
    if (!outbox_send_file(connection, entry))
        return false;
    outbox_release(connection, entry);
    return true;
}

/* -- Sending, all of it ------------------------------------------------------ */

static void outbox_drop_list(struct prefork_connection *connection, struct pfk_list *list)
{
    while (!pfk_list_empty(list))
        outbox_release(connection, pfk_list_entry(list->next, struct pfk_reply, link));
}

/* Forgets all that is not in `unsent`. */
static void outbox_drop(struct prefork_connection *connection)
{
    if (connection->outbox == NULL)
        return;
    outbox_drop_list(connection, &connection->outbox->replies);
    outbox_drop_list(connection, &connection->outbox->flight);
}

/* The failed reply's place in the order is now: what `failed` writes goes out
 * here. When it ends the connection, later replies would be taken for this
 * one; they are dropped. */
static void outbox_answer_failure(struct prefork_connection *connection, struct pfk_reply *entry)
{
    const struct pfk_protocol *protocol = connection->protocol;
    const int status = entry->status;
    int rc = status;

    outbox_release(connection, entry);
    if (protocol->face.failed != NULL) {
        connection->answering = true;
        rc = protocol->face.failed(connection, status, protocol->face.context);
        connection->answering = false;
    }
    if (rc >= 0 || connection->phase == PFK_CONNECTION_GONE)
        return;
    outbox_drop(connection);
    pfk_connection_enter(connection, PFK_CONNECTION_CLOSING);
}

static bool outbox_awaits(const struct pfk_list *list)
{
    for (const struct pfk_list *at = list->next; at != list; at = at->next) {
        const enum outbox_state state = pfk_list_entry(at, const struct pfk_reply, link)->state;

        if (state == OUTBOX_RUNNING || state == OUTBOX_FAILED)
            return true;
    }
    return false;
}

/* Whether the answer of a datagram is not whole yet: it leaves as one. */
static bool outbox_is_partial(const struct prefork_connection *connection)
{
    const struct pfk_outbox *const outbox = connection->outbox;

    return connection->datagram != NULL && outbox != NULL &&
           (outbox_awaits(&outbox->replies) || outbox_awaits(&outbox->flight));
}

static void outbox_flush(struct prefork_connection *connection, bool writable)
{
    while (connection->phase != PFK_CONNECTION_GONE) {
        const size_t unsent = outbox_unsent_bytes(connection);
        const bool partial = outbox_is_partial(connection);
        struct pfk_reply *head = outbox_head(connection);

        if (partial || (unsent > 0 && !writable && connection->datagram == NULL))
            outbox_settle(connection, 0, true);
        else if (unsent > 0 || outbox_corked(connection) > 0 || outbox_is_ready(head))
            outbox_send_ready(connection);
        else if (outbox_is_file(head) && outbox_pass_file(connection, head))
            continue;
        else if (head == NULL || head->state != OUTBOX_FAILED)
            return;
        writable = false;
        head = outbox_head(connection);
        if (head != NULL && head->state == OUTBOX_FAILED)
            outbox_answer_failure(connection, head);
        else if (partial || outbox_unsent_bytes(connection) > 0)
            return;
    }
}

void pfk_outbox_flush(struct prefork_connection *connection, bool writable)
{
    outbox_flush(connection, writable);
    if (outbox_is_file(outbox_head(connection)) && connection->phase != PFK_CONNECTION_GONE)
        outbox_leave_slots(connection);
    outbox_leave(connection);
}

/* -- Entering --------------------------------------------------------------- */

/* An answer of one datagram that is more than the cork holds: all of it waits
 * for the turn's end in private memory, for no part may leave alone. */
static void outbox_put_aside(struct prefork_connection *connection, const void *data, size_t length)
{
    size_t none_sent = 0;

    outbox_uncork(connection, &none_sent);
    outbox_keep(connection, data, length);
}

/* Nothing is before these bytes but what is sent already, or unsent. */
static void outbox_put(struct prefork_connection *connection, const void *data, size_t length)
{
    struct pfk_loop *loop = connection->loop;
    struct iovec pieces[PFK_CORK_PIECES + 1];
    size_t sent, n;

    if (outbox_unsent_bytes(connection) > 0) {
        outbox_keep(connection, data, length);
        return;
    }
    if (loop->current == connection && pfk_cork_add(&loop->cork, data, length))
        return;
    if (connection->datagram != NULL) {
        outbox_put_aside(connection, data, length);
        return;
    }
    n = outbox_gather_cork(connection, pieces, 0);
    n = outbox_add_piece(pieces, n, data, length);
    sent = outbox_send(connection, pieces, n, 0);
    outbox_uncork(connection, &sent);
    outbox_keep(connection, (const unsigned char *)data + sent, length - sent);
}

/* Behind the last entry; one that holds bytes already takes more. */
static int outbox_queue_bytes(struct prefork_connection *connection, const void *data, size_t length)
{
    struct pfk_reply *last = pfk_list_entry(connection->outbox->replies.previous, struct pfk_reply, link);
    struct pfk_buffer *bytes = NULL;

    if (last->state == OUTBOX_BYTES) {
        if (pfk_buffer_append(&last->bytes, data, length) != 0)
            return -ENOMEM;
        connection->outbox->bytes += length;
        return 0;
    }
    if (pfk_buffer_append(&bytes, data, length) != 0)
        return -ENOMEM;
    last = outbox_take_entry(connection, OUTBOX_BYTES);
    if (last == NULL) {
        pfk_buffer_free(&bytes);
        return -ENOMEM;
    }
    last->bytes = bytes;
    connection->outbox->bytes += outbox_cost(last);
    pfk_list_append(&connection->outbox->replies, &last->link);
    return 0;
}

int pfk_outbox_write(struct prefork_connection *connection, const void *data, size_t length)
{
    if (connection->phase >= PFK_CONNECTION_CLOSING && !connection->answering)
        return pfk_error(EPIPE, "prefork_connection_write: the connection is closing");
    if (connection->phase == PFK_CONNECTION_GONE)
        return pfk_error(EPIPE, "prefork_connection_write: the peer is gone");
    if (length == 0)
        return 0;
    outbox_touch(connection);
    if (!connection->answering && outbox_head(connection) != NULL)
        return outbox_queue_bytes(connection, data, length);
    outbox_put(connection, data, length);
    return connection->phase == PFK_CONNECTION_GONE ? pfk_error(EPIPE, "prefork_connection_write: the peer is gone")
                                                    : 0;
}

static int outbox_check_file(const struct prefork_connection *connection)
{
    if (connection->datagram != NULL)
        return pfk_error(EOPNOTSUPP, "prefork_connection_send_file: this is a datagram");
    if (connection->phase >= PFK_CONNECTION_CLOSING || connection->answering)
        return pfk_error(EPIPE, "prefork_connection_send_file: the connection is closing, or answers a failure");
    return 0;
}

int pfk_outbox_send_file(struct prefork_connection *connection, int fd, off_t offset, size_t length)
{
    const bool first = pfk_outbox_waiting_bytes(connection) == 0 && outbox_head(connection) == NULL;
    const int rc = outbox_check_file(connection);
    struct pfk_reply *entry = rc != 0 || length == 0 ? NULL : outbox_take_entry(connection, OUTBOX_FILE);

    if (entry == NULL) {
        pfk_fd_close(&fd);
        return rc != 0 || length == 0 ? rc : -ENOMEM;
    }
    entry->fd = fd;
    entry->offset = offset;
    entry->length = length;
    connection->outbox->bytes += outbox_cost(entry);
    pfk_list_append(&connection->outbox->replies, &entry->link);
    outbox_touch(connection);
    /* At once, so that files that wait, wait for the peer, who ends the waiting. */
    if (first && connection->loop->current == connection)
        pfk_outbox_flush(connection, false);
    return connection->phase == PFK_CONNECTION_GONE ? pfk_error(EPIPE, "prefork_connection_send_file: the peer is gone")
                                                    : 0;
}

static int outbox_refuse(struct prefork_connection *connection, enum pfk_refusal refusal, const char *reason)
{
    connection->refusal = (uint8_t)refusal;
    return pfk_error_routine(EAGAIN, reason);
}

static int outbox_check_submit(struct prefork_connection *connection, uint32_t handler)
{
    struct pfk_loop *loop = connection->loop;

    if (connection->phase >= PFK_CONNECTION_CLOSING)
        return pfk_error(EPIPE, "prefork_connection_submit: the connection is closing");
    if (handler >= loop->n_handlers)
        return pfk_error(ENOENT, "prefork_connection_submit: there is no handler %u; there are %u", handler,
                         loop->n_handlers);
    if (connection->in_flight >= connection->protocol->face.max_in_flight)
        return outbox_refuse(connection, PFK_REFUSAL_IN_FLIGHT,
                             "prefork_connection_submit: as many jobs as allowed are in flight");
    if (!loop->serving_starved && !pfk_list_empty(&loop->starved))
        return outbox_refuse(connection, PFK_REFUSAL_ROOM,
                             "prefork_connection_submit: other connections wait for a slot");
    return 0;
}

/* A message that is all that was read into the loop's slot stays where it lies. */
static int outbox_hand_over(struct pfk_loop *loop, const void *message, const struct prefork_submission *submission,
                            uint64_t *job_out)
{
    struct pfk_loop_slot *const slot = &loop->slot;
    int rc;

    if (slot->bytes == NULL || message != slot->bytes || submission->request_bytes != slot->filled)
        return prefork_lane_put(loop->lane, message, submission, PREFORK_NO_WAIT, job_out);
    *job_out = slot->job;
    rc = prefork_lane_submit(loop->lane, slot->job, submission);
    if (rc == 0)
        slot->bytes = NULL;
    return rc;
}

int pfk_outbox_submit(struct prefork_connection *connection, uint32_t handler, const void *message, size_t length)
{
    struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = length, .handler = handler, .flags = PREFORK_SUBMIT_NOTIFY};
    struct pfk_loop *loop = connection->loop;
    struct pfk_reply *entry;
    int rc = outbox_check_submit(connection, handler);

    if (rc != 0)
        return rc;
    entry = outbox_take_entry(connection, OUTBOX_RUNNING);
    if (entry == NULL)
        return -ENOMEM;
    submission.user = entry;
    rc = outbox_hand_over(loop, message, &submission, &entry->job);
    if (rc != 0) {
        outbox_spare_entry(loop, entry);
        outbox_leave(connection);
        if (rc == -EAGAIN) {
            connection->refusal = PFK_REFUSAL_ROOM;
            loop->refused = true;
        }
        return rc;
    }
    connection->in_flight++;
    pfk_list_append(connection->protocol->face.order == PREFORK_ORDER_UNORDERED ? &connection->outbox->flight
                                                                                : &connection->outbox->replies,
                    &entry->link);
    return 0;
}

void pfk_outbox_complete(struct pfk_loop *loop, const struct prefork_result *result)
{
    struct pfk_reply *entry = result->user;
    struct prefork_connection *connection;

    if (entry == NULL || entry->state != OUTBOX_RUNNING || entry->job != result->job) {
        (void)prefork_lane_collect(loop->lane, result->job); /* nobody waits for it any more */
        return;
    }
    connection = entry->connection;
    entry->data = result->reply;
    entry->length = result->reply_bytes;
    entry->status = result->status;
    entry->state = result->status == 0 ? OUTBOX_READY : OUTBOX_FAILED;
    if (entry->state == OUTBOX_FAILED)
        outbox_collect(connection, entry);
    if (connection->protocol->face.order == PREFORK_ORDER_UNORDERED) {
        pfk_list_remove(&entry->link);
        pfk_list_append(&connection->outbox->replies, &entry->link);
    }
    outbox_touch(connection);
}

/* -- Asking and ending ------------------------------------------------------ */

void pfk_outbox_close(struct prefork_connection *connection)
{
    if (connection->outbox == NULL)
        return;
    outbox_drop(connection);
    pfk_buffer_free(&connection->outbox->unsent);
    outbox_leave(connection);
}

bool pfk_outbox_empty(const struct prefork_connection *connection)
{
    const struct pfk_outbox *const outbox = connection->outbox;

    return outbox_corked(connection) == 0 &&
           (outbox == NULL ||
            (outbox->unsent == NULL && pfk_list_empty(&outbox->replies) && pfk_list_empty(&outbox->flight)));
}

size_t pfk_outbox_waiting_bytes(const struct prefork_connection *connection)
{
    return connection->outbox == NULL ? 0 : outbox_unsent_bytes(connection) + connection->outbox->bytes;
}

bool pfk_outbox_stalled(const struct prefork_connection *connection)
{
    return connection->datagram == NULL &&
           (outbox_unsent_bytes(connection) > 0 || outbox_is_file(outbox_head(connection)));
}

void pfk_outbox_free_spare(struct pfk_loop *loop)
{
    while (loop->free_replies != NULL) {
        struct pfk_reply *entry = loop->free_replies;

        loop->free_replies = entry->link.next == NULL ? NULL : pfk_list_entry(entry->link.next, struct pfk_reply, link);
        free(entry);
    }
    while (loop->free_outboxes != NULL) {
        struct pfk_outbox *outbox = loop->free_outboxes;

        loop->free_outboxes =
            outbox->replies.next == NULL ? NULL : pfk_list_entry(outbox->replies.next, struct pfk_outbox, replies);
        free(outbox);
    }
}
