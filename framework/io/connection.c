/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads, cuts, delivers and ends; outbox.c sends.
 *
 * Back-pressure: nothing is read while as many jobs as allowed are in flight,
 * while the connection waits for a slot, while messages that have arrived wait
 * for a turn, or while too much waits to be sent: from the high mark on, until
 * the low one is reached. Reading is given up only
 * when the socket is readable in such a state: a peer that waits for its reply
 * never makes it so, and costs no system call. */
#include "io/connection.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/fd.h"
#include "io/outbox.h"
#include "io/receiver.h"

/* -- Phases ----------------------------------------------------------------- */

#define MAY_FOLLOW(phase) (1u << PFK_CONNECTION_##phase)

static const struct {
    bool reads; /* takes bytes from its peer, for messages */
    bool takes; /* takes messages that have arrived */
    unsigned next;
} phases[PFK_CONNECTION_PHASES] = {
    [PFK_CONNECTION_OPEN] = {true, true, MAY_FOLLOW(ENDING) | MAY_FOLLOW(CLOSING) | MAY_FOLLOW(GONE)},
    [PFK_CONNECTION_ENDING] = {false, true, MAY_FOLLOW(CLOSING) | MAY_FOLLOW(LINGERING) | MAY_FOLLOW(GONE)},
    [PFK_CONNECTION_CLOSING] = {false, false, MAY_FOLLOW(LINGERING) | MAY_FOLLOW(GONE)},
    [PFK_CONNECTION_LINGERING] = {false, false, MAY_FOLLOW(GONE)},
    [PFK_CONNECTION_GONE] = {false, false, 0},
};

void pfk_connection_enter(struct prefork_connection *connection, enum pfk_phase_of_connection phase)
{
    assert(connection->phase == phase || (phases[connection->phase].next & (1u << phase)) != 0);
    connection->phase = (uint8_t)phase;
}

/* -- What may happen now ---------------------------------------------------- */

/* Whether too much waits to be sent. Between the marks it is as it was: a peer
 * that takes its replies slowly gets them in long pieces, and has long ones read. */
static bool connection_is_full(struct prefork_connection *connection)
{
    const size_t waiting_bytes = pfk_outbox_waiting_bytes(connection);

    if (waiting_bytes >= PFK_CONNECTION_HIGH_WATER_BYTES)
        connection->full = true;
    else if (waiting_bytes <= PFK_CONNECTION_LOW_WATER_BYTES)
        connection->full = false;
    return connection->full;
}

static bool connection_blocked(struct prefork_connection *connection)
{
    return !phases[connection->phase].takes || connection->in_flight >= connection->protocol->face.max_in_flight ||
           connection_is_full(connection) || pfk_list_linked(&connection->wait_link);
}

static bool connection_may_read(struct prefork_connection *connection)
{
    return phases[connection->phase].reads && !connection_blocked(connection) &&
           (connection->input == NULL || connection->incomplete);
}

/* -- Messages --------------------------------------------------------------- */

/* A message could not be cut, or not be taken: its sender is told behind the
 * replies to all earlier ones, and that is the end. Returns `status`. */
static int64_t connection_fail(struct prefork_connection *connection, int status)
{
    const struct prefork_protocol *face = &connection->protocol->face;

    if (face->failed != NULL && phases[connection->phase].takes)
        (void)face->failed(connection, status, face->context);
    if (phases[connection->phase].takes)
        pfk_connection_enter(connection, PFK_CONNECTION_CLOSING);
    return status;
}

static int connection_deliver(struct prefork_connection *connection, const void *message, size_t length)
{
    const struct pfk_protocol *protocol = connection->protocol;

    connection->refusal = PFK_REFUSAL_NONE;
    if (protocol->face.message != NULL)
        return protocol->face.message(connection, message, length, protocol->face.context);
    return pfk_outbox_submit(connection, protocol->handler, message, length);
}

/* Its first bytes are known to be the protocol's. */
static void connection_begin(struct prefork_connection *connection)
{
    const struct prefork_protocol *face = &connection->protocol->face;

    connection->begun = true;
    if (face->opened != NULL)
        face->opened(connection, face->context);
}

/* As connection_take_message, of the header before the first message. A stranger to the PROXY protocol is not told. */
static int64_t connection_take_header(struct prefork_connection *connection, const unsigned char *data, size_t length)
{
    const int64_t size = pfk_proxy_take(connection->proxied, connection->loop->ev, data, length);

    if (size > 0)
        connection_begin(connection);
    else if (size < 0)
        pfk_connection_enter(connection, PFK_CONNECTION_GONE);
    return size;
}

/* Returns the bytes of the message that was taken; 0: more are needed; a
 * negative number: it must wait, or the connection has failed. */
static int64_t connection_take_message(struct prefork_connection *connection, const unsigned char *data, size_t length)
{
    const struct prefork_protocol *face = &connection->protocol->face;
    const size_t capacity = pfk_connection_capacity(connection);
    int64_t size;
    int rc;

    if (pfk_proxy_awaited(connection->proxied))
        return connection_take_header(connection, data, length);
    size = face->frame(connection, data, length, capacity, connection->peer_ended, face->context);
    if (size == 0)
        return length < capacity + PFK_LOOP_SCRATCH_BYTES ? 0 : connection_fail(connection, -EMSGSIZE);
    if (size < 0)
        return connection_fail(connection, size < INT32_MIN ? -EPROTO : (int)size);
    if ((uint64_t)size > length)
        return connection_fail(connection, -EPROTO);
    rc = connection_deliver(connection, data, (size_t)size);
    if (rc == -EAGAIN && connection->refusal != PFK_REFUSAL_NONE) {
        if (connection->refusal == PFK_REFUSAL_ROOM)
            pfk_loop_starve(connection->loop, connection, connection->loop->serving_starved);
        return rc;
    }
    connection->scanned = 0;
    if (connection->timeout.kind == PFK_TIMEOUT_MESSAGE) /* another message's limit begins later */
        pfk_timeout_begin(&connection->loop->timeouts, &connection->timeout, PFK_TIMEOUT_IDLE);
    return rc >= 0 ? size : connection_fail(connection, rc);
}

/* From so many bytes on, the copy costs more than what a read into the slot
 * itself adds: bench/echo_goals. */
#define CONNECTION_IN_PLACE_BYTES 1024

/* Peers go on as they began: one whose message came alone will send the next one
 * so. One that came in parts counts, too: to try costs less than the copy that it
 * may save. */
static void connection_expect(struct prefork_connection *connection, bool alone, size_t size)
{
    connection->lengthy = alone && size >= CONNECTION_IN_PLACE_BYTES && connection->protocol->frames_in_place;
}

/* More has arrived than one turn may take. */
static void connection_yield(struct prefork_connection *connection)
{
    struct pfk_loop *loop = connection->loop;

    if (loop->serving_starved)
        pfk_loop_starve(loop, connection, false);
    else
        pfk_loop_touch(loop, connection);
}

/* Returns how much of `length` is done with. */
static size_t connection_take_messages(struct prefork_connection *connection, const unsigned char *data, size_t length,
                                       unsigned messages)
{
    size_t taken = 0;

    connection->incomplete = false;
    while (taken < length && !connection_blocked(connection)) {
        int64_t size;

        if (messages-- == 0) {
            connection_yield(connection);
            break;
        }
        size = connection_take_message(connection, data + taken, length - taken);
        if (size < 0)
            break;
        if (size == 0) {
            connection->incomplete = true;
            break;
        }
        connection_expect(connection, taken == 0 && (size_t)size == length, (size_t)size);
        taken += (size_t)size;
    }
    if (!phases[connection->phase].takes || (!phases[connection->phase].reads && connection->incomplete))
        return length; /* no message any more, whatever it is */
    return taken;
}

/* -- Turns and ends --------------------------------------------------------- */

/* Gives back what the acceptor took for its peer. */
static void connection_release_peer(struct pfk_loop *loop, uint32_t peer)
{
    if (peer != PFK_QUOTA_NOBODY)
        pfk_quota_release(loop->quota, peer);
}

static void connection_free(struct prefork_connection *connection)
{
    const struct prefork_protocol *face = &connection->protocol->face;
    struct pfk_loop *loop = connection->loop;
    int fd = connection->watcher.fd;

    pfk_connection_enter(connection, PFK_CONNECTION_GONE);
    if (face->closed != NULL && connection->begun)
        face->closed(connection, face->context);
    pfk_outbox_close(connection);
    pfk_buffer_free(&connection->input);
    pfk_proxy_forget(&connection->proxied, loop->ev);
    ev_io_stop(loop->ev, &connection->watcher);
    pfk_timeout_leave(&connection->timeout);
    pfk_list_remove(&connection->turn_link);
    pfk_list_remove(&connection->wait_link);
    pfk_fd_close(&fd);
    if (connection->datagram != NULL)
        pfk_receiver_end(connection->datagram);
    connection_release_peer(loop, connection->peer);
    pfk_loop_count_open(loop, -1);
    if (connection->served)
        pfk_loop_count(loop, PFK_COUNT_CONNECTIONS_SERVED, 1);
    free(connection);
}

/* EV_READ, EV_WRITE, both or 0. */
static int connection_watches(const struct prefork_connection *connection)
{
    return ev_is_active(&connection->watcher) ? connection->watcher.events & (EV_READ | EV_WRITE) : 0;
}

/* One watcher for both; a change costs a system call before the loop sleeps,
 * one that is taken back before costs none. */
static void connection_watch_for(struct prefork_connection *connection, int events)
{
    struct ev_loop *const ev = connection->loop->ev;

    if (events == connection_watches(connection))
        return;
    ev_io_stop(ev, &connection->watcher);
    if (events == 0)
        return;
    ev_io_modify(&connection->watcher, events);
    ev_io_start(ev, &connection->watcher);
}

/* All is said. Closing at once would reset the connection if the peer has sent
 * something unread, and a reset may overtake the last replies. */
static void connection_finish(struct prefork_connection *connection)
{
    if (connection->peer_ended || shutdown(connection->watcher.fd, SHUT_WR) != 0) {
        connection_free(connection);
        return;
    }
    pfk_connection_enter(connection, PFK_CONNECTION_LINGERING);
    connection_watch_for(connection, EV_READ);
    pfk_list_remove(&connection->wait_link);
    pfk_timeout_begin(&connection->loop->timeouts, &connection->timeout, PFK_TIMEOUT_LINGER);
}

static bool connection_is_finished(const struct prefork_connection *connection)
{
    const bool takes_no_more = connection->phase == PFK_CONNECTION_CLOSING ||
                               (connection->phase == PFK_CONNECTION_ENDING && connection->input == NULL);

    return takes_no_more && pfk_outbox_empty(connection);
}

static void connection_watch(struct prefork_connection *connection)
{
    const int reading = connection_may_read(connection) ? EV_READ : connection_watches(connection) & EV_READ;

    connection_watch_for(connection, reading | (pfk_outbox_stalled(connection) ? EV_WRITE : 0));
}

/* -- Time ------------------------------------------------------------------- */

/* What is waited for, and PFK_TIMEOUT_NONE when the server itself is at work. */
static enum pfk_timeout_kind connection_waits_for(const struct prefork_connection *connection)
{
    if (pfk_outbox_stalled(connection))
        return PFK_TIMEOUT_WRITE;
    if (connection->in_flight > 0 || pfk_list_linked(&connection->wait_link) ||
        pfk_list_linked(&connection->turn_link) || !pfk_outbox_empty(connection))
        return PFK_TIMEOUT_NONE;
    if (connection->input != NULL || pfk_proxy_awaited(connection->proxied))
        return PFK_TIMEOUT_MESSAGE;
    return connection->heard ? PFK_TIMEOUT_IDLE : PFK_TIMEOUT_FIRST_BYTE;
}

/* A limit that ends while the server is at work is forgotten then, not now: it
 * would have to be begun again a moment later. A message's limit is not moved by
 * more of its bytes, and ends with it (connection_take_message). */
static void connection_limit(struct prefork_connection *connection)
{
    struct pfk_timeouts *const timeouts = &connection->loop->timeouts;
    const enum pfk_timeout_kind kind = connection_waits_for(connection);

    if (kind == PFK_TIMEOUT_MESSAGE || kind == PFK_TIMEOUT_FIRST_BYTE ||
        (kind == PFK_TIMEOUT_WRITE && !connection->moved))
        pfk_timeout_keep(timeouts, &connection->timeout, kind);
    else if (kind != PFK_TIMEOUT_NONE)
        pfk_timeout_begin(timeouts, &connection->timeout, kind);
    connection->moved = false;
}

/* The protocol may say so to its peer, if it has begun to speak. */
static void connection_expire_message(struct prefork_connection *connection)
{
    if (pfk_proxy_awaited(connection->proxied)) {
        connection_free(connection);
        return;
    }
    (void)connection_fail(connection, -ETIMEDOUT);
    pfk_timeout_begin(&connection->loop->timeouts, &connection->timeout, PFK_TIMEOUT_NONE);
    pfk_loop_touch(connection->loop, connection);
}

void pfk_connection_expire(struct prefork_connection *connection)
{
    const bool lingers = connection->phase == PFK_CONNECTION_LINGERING;
    const enum pfk_timeout_kind kind = lingers ? PFK_TIMEOUT_LINGER : connection_waits_for(connection);

    if (kind != (enum pfk_timeout_kind)connection->timeout.kind) {
        pfk_timeout_begin(&connection->loop->timeouts, &connection->timeout, kind);
        return;
    }
    if (!lingers)
        pfk_loop_count(connection->loop, PFK_COUNT_CONNECTIONS_TIMED_OUT, 1);
    if (kind == PFK_TIMEOUT_MESSAGE)
        connection_expire_message(connection);
    else
        connection_free(connection);
}

/* The end of each turn, and the only place where a connection's end is begun. */
static void connection_settle(struct prefork_connection *connection)
{
    if (connection->phase == PFK_CONNECTION_GONE)
        connection_free(connection);
    else if (connection->phase == PFK_CONNECTION_LINGERING)
        return;
    else if (connection_is_finished(connection))
        connection_finish(connection);
    else {
        connection_watch(connection);
        connection_limit(connection);
    }
}

/* Takes messages from `length` bytes that either are the input, or have just
 * arrived in the scratch memory or the loop's slot while there is no input. */
static void connection_run(struct prefork_connection *connection, const unsigned char *data, size_t length,
                           unsigned messages)
{
    struct pfk_loop *loop = connection->loop;
    const bool fresh = connection->input == NULL;
    size_t taken;

    pfk_list_remove(&connection->turn_link);
    loop->current = connection;
    pfk_outbox_flush(connection, false);
    /* Not so a slot: it is the worker's as soon as its job is submitted. */
    pfk_cork_begin_turn(&loop->cork, data, data == loop->slot.bytes ? 0 : length);
    taken = connection_take_messages(connection, data, length, messages);
    pfk_outbox_flush(connection, false);
    pfk_cork_end_turn(&loop->cork); /* before the input moves; in it is something only if the connection is gone */
    if (!fresh)
        pfk_buffer_consume(&connection->input, taken);
    else if (taken < length && pfk_buffer_append(&connection->input, data + taken, length - taken) != 0)
        pfk_connection_enter(connection, PFK_CONNECTION_GONE);
    loop->current = NULL;
    connection_settle(connection);
}

void pfk_connection_turn(struct prefork_connection *connection, unsigned messages)
{
    connection_run(connection, pfk_buffer_data(connection->input), pfk_buffer_length(connection->input), messages);
}

/* What has arrived is still answered. */
static void connection_end_reading(struct prefork_connection *connection)
{
    pfk_connection_enter(connection, PFK_CONNECTION_ENDING);
    connection_watch_for(connection, connection_watches(connection) & EV_WRITE);
}

void pfk_connection_drain(struct prefork_connection *connection)
{
    if (connection->phase != PFK_CONNECTION_OPEN)
        return;
    connection_end_reading(connection);
    pfk_loop_touch(connection->loop, connection);
}

void pfk_connection_abort(struct prefork_connection *connection)
{
    connection_free(connection);
}

/* -- Socket events ---------------------------------------------------------- */

/* Reads behind what waits in the input, into its spare room and then into the
 * scratch memory: a connection's memory grows with what it has sent, not with
 * what it may send. No more than the scratch memory holds, wherever it goes:
 * else spare room would make reads longer, and longer reads the input. Returns
 * what recv returns, which costs the kernel less than recvmsg. */
static ssize_t connection_receive(struct prefork_connection *connection)
{
    struct pfk_loop *loop = connection->loop;
    struct pfk_buffer *input = connection->input;
    const size_t room = input == NULL ? 0 : input->capacity - input->end;
    const size_t spare = room < PFK_LOOP_SCRATCH_BYTES ? room : PFK_LOOP_SCRATCH_BYTES;
    struct iovec pieces[2] = {{.iov_base = input == NULL ? NULL : input->bytes + input->end, .iov_len = spare},
                              {.iov_base = loop->scratch, .iov_len = PFK_LOOP_SCRATCH_BYTES - spare}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    const int fd = connection->watcher.fd;
    const ssize_t got =
        spare > 0 ? recvmsg(fd, &message, MSG_DONTWAIT) : recv(fd, loop->scratch, PFK_LOOP_SCRATCH_BYTES, MSG_DONTWAIT);
    size_t overflow;

    if (got <= 0)
        return got;
    pfk_loop_count(loop, PFK_COUNT_BYTES_IN, (uint64_t)got);
    if (input == NULL)
        return got;
    overflow = (size_t)got > spare ? (size_t)got - spare : 0;
    pfk_buffer_commit(input, (size_t)got - overflow);
    if (pfk_buffer_append(&connection->input, loop->scratch, overflow) == 0)
        return got;
    errno = ENOMEM;
    return -1;
}

/* Reads a message into the slot in which its job will lie. If more comes than
 * the slot holds it was not one message: all of it goes to the scratch memory,
 * as it does without a slot. Returns what recvmsg returns. */
static ssize_t connection_receive_in_place(struct prefork_connection *connection)
{
    struct pfk_loop *const loop = connection->loop;
    const size_t room = loop->request_bytes < PFK_LOOP_SCRATCH_BYTES ? loop->request_bytes : PFK_LOOP_SCRATCH_BYTES;
    struct iovec pieces[2] = {{.iov_base = loop->slot.bytes, .iov_len = room},
                              {.iov_base = loop->scratch + room, .iov_len = PFK_LOOP_SCRATCH_BYTES - room}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    const ssize_t got = recvmsg(connection->watcher.fd, &message, MSG_DONTWAIT);

    if (got <= 0)
        return got;
    pfk_loop_count(loop, PFK_COUNT_BYTES_IN, (uint64_t)got);
    loop->slot.filled = (size_t)got;
    if ((size_t)got > room) {
        memcpy(loop->scratch, loop->slot.bytes, room);
        pfk_loop_drop_slot(loop);
    }
    return got;
}

static bool connection_reads_in_place(const struct prefork_connection *connection)
{
    return connection->lengthy && connection->input == NULL && pfk_loop_take_slot(connection->loop);
}

static void connection_take_read(struct prefork_connection *connection)
{
    struct pfk_loop *const loop = connection->loop;
    const ssize_t got = connection_reads_in_place(connection) ? connection_receive_in_place(connection)
                                                              : connection_receive(connection);

    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR)
            pfk_connection_enter(connection, PFK_CONNECTION_GONE);
        connection_settle(connection);
        return;
    }
    if (got == 0) {
        connection->peer_ended = true;
        connection_end_reading(connection);
    }
    connection->heard = true;
    if (connection->input != NULL)
        pfk_connection_turn(connection, PFK_CONNECTION_TURN_MESSAGES);
    else
        connection_run(connection, loop->slot.bytes != NULL ? loop->slot.bytes : loop->scratch, (size_t)got,
                       PFK_CONNECTION_TURN_MESSAGES);
}

/* May free the connection. */
static void connection_read(struct prefork_connection *connection)
{
    struct pfk_loop *const loop = connection->loop;

    connection_take_read(connection);
    pfk_loop_drop_slot(loop);
}

static void connection_discard(struct prefork_connection *connection)
{
    const ssize_t got = recv(connection->watcher.fd, connection->loop->scratch, PFK_LOOP_SCRATCH_BYTES, MSG_DONTWAIT);

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        connection_free(connection);
}

static void connection_on_event(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct prefork_connection *connection = pfk_container_of(watcher, struct prefork_connection, watcher);

    (void)ev;
    if (connection->phase == PFK_CONNECTION_LINGERING) {
        connection_discard(connection);
        return;
    }
    if ((events & EV_WRITE) != 0) {
        connection->loop->current = connection;
        pfk_outbox_flush(connection, true);
        connection->loop->current = NULL;
    }
    if ((events & EV_READ) != 0 && connection_may_read(connection))
        connection_read(connection);
    else if ((events & EV_WRITE) != 0 && pfk_list_linked(&connection->turn_link))
        return; /* it has its turn before the loop sleeps, after the others here */
    else if ((events & EV_WRITE) != 0)
        pfk_connection_turn(connection, PFK_CONNECTION_TURN_MESSAGES);
    else
        connection_watch_for(connection, connection_watches(connection) & EV_WRITE);
}

/* `fd` may be -1. NULL: no memory. */
static struct prefork_connection *connection_create(struct pfk_loop *loop, int fd, const struct pfk_protocol *protocol)
{
    struct prefork_connection *connection = calloc(1, sizeof(*connection));

    if (connection == NULL)
        return NULL;
    connection->loop = loop;
    connection->protocol = protocol;
    pfk_list_init(&connection->turn_link);
    pfk_list_init(&connection->wait_link);
    pfk_timeout_join(&loop->timeouts, &connection->timeout);
    ev_io_init(&connection->watcher, connection_on_event, fd, EV_READ);
    pfk_loop_count_open(loop, +1);
    return connection;
}

int pfk_connection_open_datagram(struct pfk_loop *loop, struct pfk_datagram *datagram,
                                 const struct pfk_protocol *protocol, size_t length,
                                 struct prefork_connection **connection_out)
{
    struct prefork_connection *const connection = connection_create(loop, -1, protocol);

    *connection_out = connection;
    if (connection == NULL) {
        pfk_receiver_end(datagram);
        return pfk_error(ENOMEM, "datagram: no memory");
    }
    connection->datagram = datagram;
    connection->peer_ended = true;
    pfk_connection_enter(connection, PFK_CONNECTION_ENDING);
    connection_begin(connection);
    connection_run(connection, loop->scratch, length, 1);
    return 0;
}

int pfk_connection_open(struct pfk_loop *loop, int fd, uint32_t peer, const struct pfk_protocol *protocol)
{
    struct prefork_connection *const connection = connection_create(loop, fd, protocol);

    if (connection == NULL) {
        connection_release_peer(loop, peer);
        pfk_fd_close(&fd);
        return pfk_error(ENOMEM, "accept: no memory for a connection");
    }
    connection->peer = peer;
    if (pfk_proxy_await(&protocol->proxy, connection, loop->ev, fd, &connection->proxied) != 0) {
        connection_free(connection);
        return -ENOMEM;
    }
    ev_io_start(loop->ev, &connection->watcher);
    pfk_timeout_begin(&loop->timeouts, &connection->timeout, PFK_TIMEOUT_FIRST_BYTE);
    pfk_loop_count(loop, PFK_COUNT_CONNECTIONS, 1);
    if (!pfk_proxy_awaited(connection->proxied))
        connection_begin(connection);
    return 0;
}

/* -- The public face -------------------------------------------------------- */

PFK_EXPORT int prefork_connection_write(struct prefork_connection *connection, const void *data, size_t length)
{
    return pfk_outbox_write(connection, data, length);
}

PFK_EXPORT int prefork_connection_send_file(struct prefork_connection *connection, int fd, off_t offset, size_t length)
{
    return pfk_outbox_send_file(connection, fd, offset, length);
}

PFK_EXPORT int prefork_connection_is_draining(const struct prefork_connection *connection)
{
    return connection->phase != PFK_CONNECTION_OPEN;
}

PFK_EXPORT int prefork_connection_submit(struct prefork_connection *connection, uint32_t handler, const void *message,
                                         size_t length)
{
    return pfk_outbox_submit(connection, handler, message, length);
}

PFK_EXPORT void prefork_connection_close(struct prefork_connection *connection)
{
    if (!phases[connection->phase].takes)
        return;
    pfk_connection_enter(connection, PFK_CONNECTION_CLOSING);
    if (connection->loop->current != connection)
        pfk_loop_touch(connection->loop, connection);
}

PFK_EXPORT void prefork_connection_set_user(struct prefork_connection *connection, void *user)
{
    connection->watcher.data = user;
}

PFK_EXPORT void *prefork_connection_user(const struct prefork_connection *connection)
{
    return connection->watcher.data;
}
