/* SPDX-License-Identifier: BSD-2-Clause */
#include "load_connection.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load_clock.h"

/* Errors that are told one by one; the others are only counted. */
#define TOLD_ERRORS 10

static uint64_t load_connection_answered(const struct load_connection *connection)
{
    return connection->received_bytes / connection->shared->options->message_bytes;
}

static void load_connection_wait(struct load_connection *connection)
{
    struct load_shared *shared = connection->shared;

    connection->state = LOAD_WAITING;
    connection->next_waiting = NULL;
    *shared->wait_end = connection;
    shared->wait_end = &connection->next_waiting;
}

/* The server has served it, or there is nothing to wait for: the next one may be opened. */
static void load_connection_opened(struct load_connection *connection)
{
    if (connection->opening)
        connection->shared->opening--;
    connection->opening = false;
    if (!connection->was_opened)
        connection->shared->never_opened--;
    connection->was_opened = true;
}

static void load_connection_close(struct load_connection *connection)
{
    struct ev_loop *loop = connection->shared->loop;

    if (connection->state != LOAD_CONNECTING && connection->state != LOAD_OPEN)
        return;
    ev_io_stop(loop, &connection->reader);
    ev_io_stop(loop, &connection->writer);
    (void)close(connection->reader.fd);
}

static void load_connection_done(struct load_connection *connection)
{
    load_connection_close(connection);
    load_connection_opened(connection);
    connection->state = LOAD_DONE;
    connection->shared->unfinished--;
}

__attribute__((format(printf, 3, 4))) static void load_connection_error(struct load_connection *connection,
                                                                        enum load_error kind, const char *format, ...)
{
    struct load_result *result = connection->shared->result;
    va_list arguments;

    result->errors[kind]++;
    if (++result->error_sum > TOLD_ERRORS)
        return;
    (void)fprintf(stderr, "connection %" PRIu32 ": %s: ", connection->number, load_error_name(kind));
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

void load_connection_give_up(struct load_connection *connection)
{
    struct load_result *result = connection->shared->result;
    const uint64_t answered = load_connection_answered(connection);

    if (connection->state == LOAD_DONE)
        return;
    result->missing += connection->begun - answered;
    if (connection->quota != LOAD_NO_QUOTA)
        result->unsent += connection->quota - connection->begun;
    load_connection_done(connection);
}

/* Back to the first message that was not answered in full. */
static void load_connection_restart(struct load_connection *connection)
{
    const uint64_t message_bytes = connection->shared->options->message_bytes;
    const uint64_t answered = load_connection_answered(connection);
    const uint64_t sent = (connection->sent_bytes + message_bytes - 1) / message_bytes;

    connection->shared->result->resent_messages += sent - answered;
    connection->sent_bytes = connection->received_bytes = answered * message_bytes;
    connection->tag = (struct reply_tag){0};
    if (connection->opening)
        connection->shared->opening--;
    connection->opening = false;
    load_connection_wait(connection);
}

/* The connection ended before its time: an error, or a case for a new one. */
static void load_connection_fell(struct load_connection *connection, enum load_error kind, const char *how)
{
    struct load_shared *shared = connection->shared;
    const bool was_open = connection->state == LOAD_OPEN;

    if (!shared->options->reconnect) {
        load_connection_error(connection, kind, "%s, %" PRIu64 " replies missing", how,
                              connection->begun - load_connection_answered(connection));
        load_connection_give_up(connection);
        return;
    }
    load_connection_close(connection);
    if (was_open)
        shared->result->lost_connections++;
    else
        shared->result->refused_connects++;
    shared->wait_paused = shared->wait_paused || !was_open;
    connection->state = LOAD_WAITING;
    if (load_connection_answered(connection) == connection->quota)
        load_connection_done(connection);
    else
        load_connection_restart(connection);
}

/* How far the stream may be written now. */
static uint64_t load_connection_send_limit(const struct load_connection *connection)
{
    const struct load_options *options = connection->shared->options;
    uint64_t messages = load_connection_answered(connection) + options->depth;

    if (connection->shared->phase == LOAD_OPENING)
        messages = 1;
    if (messages > connection->quota)
        messages = connection->quota;
    return messages * options->message_bytes;
}

/* Notes when each message up to stream offset `end` was begun; one that is sent
 * again keeps its first moment, since that is what its sender waits from. */
static void load_connection_note_begun(struct load_connection *connection, uint64_t end, uint64_t now_ns)
{
    const struct load_options *options = connection->shared->options;

    while (connection->begun * options->message_bytes < end) {
        connection->begun_ns[connection->begun % options->depth] = now_ns;
        connection->begun++;
    }
}

/* One write. Returns false when the connection fell. */
static bool load_connection_write(struct load_connection *connection, uint64_t limit)
{
    unsigned char *buffer = connection->shared->buffer;
    const uint64_t rest = limit - connection->sent_bytes;
    const size_t length = rest < LOAD_BUFFER_BYTES ? (size_t)rest : LOAD_BUFFER_BYTES;
    const uint64_t now_ns = load_clock_ns();
    ssize_t written;

    pattern_fill(&connection->pattern, connection->sent_bytes, buffer, length);
    written = send(connection->reader.fd, buffer, length, MSG_NOSIGNAL);
    if (written < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return true;
        load_connection_fell(connection, LOAD_ERROR_RESET, strerror(errno));
        return false;
    }
    connection->sent_bytes += (uint64_t)written;
    load_connection_note_begun(connection, connection->sent_bytes, now_ns);
    return true;
}

/* At most one write for each call: with large messages the reader must get its
 * turn, and the writer comes back by its own watcher. */
void load_connection_send(struct load_connection *connection)
{
    struct load_shared *shared = connection->shared;
    const uint64_t limit = load_connection_send_limit(connection);

    if (connection->state != LOAD_OPEN || connection->half_closed)
        return;
    if (connection->sent_bytes < limit && !load_connection_write(connection, limit))
        return;
    if (connection->sent_bytes < limit) {
        ev_io_start(shared->loop, &connection->writer);
        return;
    }
    ev_io_stop(shared->loop, &connection->writer);
    if (shared->phase == LOAD_OPENING || connection->sent_bytes / shared->options->message_bytes != connection->quota)
        return;
    connection->half_closed = true;
    (void)shutdown(connection->reader.fd, SHUT_WR); /* fails only when it was reset, which read tells */
}

static void load_connection_connected(struct load_connection *connection)
{
    connection->state = LOAD_OPEN;
    connection->half_closed = false;
    ev_io_stop(connection->shared->loop, &connection->writer);
    ev_io_start(connection->shared->loop, &connection->reader);
    if (load_connection_send_limit(connection) == connection->received_bytes)
        load_connection_opened(connection); /* nothing to send now: no reply will tell */
    load_connection_send(connection);
}

static void load_connection_end_of_stream(struct load_connection *connection)
{
    const bool between_lines = connection->tag.length == 0 && !connection->tag.passed;

    if (connection->half_closed && between_lines && load_connection_answered(connection) == connection->quota) {
        connection->shared->progress_ns = load_clock_ns();
        load_connection_done(connection);
        return;
    }
    load_connection_fell(connection, LOAD_ERROR_SHORT, "the server closed the connection");
}

/* Compares untagged bytes. Returns false when the connection was given up. */
static bool load_connection_compare(struct load_connection *connection, const unsigned char *bytes, size_t length)
{
    const uint64_t at = connection->received_bytes, awaited = connection->sent_bytes - at;
    const size_t comparable = length < awaited ? length : (size_t)awaited;
    const size_t right = pattern_match(&connection->pattern, at, bytes, comparable);

    connection->received_bytes += right;
    if (right == length)
        return true;
    if (right == comparable) {
        load_connection_error(connection, LOAD_ERROR_EXTRA, "a byte after offset %" PRIu64 ", where all replies end",
                              at + right);
    } else {
        unsigned char expected;

        pattern_fill(&connection->pattern, at + right, &expected, 1);
        load_connection_error(connection, LOAD_ERROR_WRONG, "0x%02x instead of 0x%02x at offset %" PRIu64, bytes[right],
                              expected, at + right);
    }
    load_connection_give_up(connection);
    return false;
}

/* Takes one byte at the start of a line, where a tag may stand. Returns 1 when
 * it belongs to the tag, 0 when to the line, -1 when the connection was given up. */
static int load_connection_take_tag(struct load_connection *connection, unsigned char byte)
{
    if (connection->tag.length == 0 && byte != '[')
        return 0;
    switch (reply_tag_feed(&connection->tag, byte)) {
    case REPLY_TAG_MORE:
        return 1;
    case REPLY_TAG_COMPLETE:
        tag_count_add(&connection->shared->result->workers, connection->tag.pid);
        connection->tag = (struct reply_tag){.passed = true};
        return 1;
    case REPLY_TAG_BAD:
        break;
    }
    load_connection_error(connection, LOAD_ERROR_WRONG, "no `[worker PID] ` before the line at offset %" PRIu64,
                          connection->received_bytes);
    load_connection_give_up(connection);
    return -1;
}

/* As load_connection_compare(), for lines with or without tags. */
static bool load_connection_compare_lines(struct load_connection *connection, const unsigned char *bytes, size_t length)
{
    const uint64_t line_bytes = connection->shared->options->message_bytes;

    while (length > 0) {
        const uint64_t in_line = connection->received_bytes % line_bytes;
        size_t piece = 1;
        int tagged = 0;

        if (in_line == 0 && !connection->tag.passed)
            tagged = load_connection_take_tag(connection, *bytes);
        if (tagged < 0)
            return false;
        if (tagged == 0) {
            piece = length < line_bytes - in_line ? length : (size_t)(line_bytes - in_line);
            if (!load_connection_compare(connection, bytes, piece))
                return false;
            connection->tag.passed = false;
        }
        bytes += piece;
        length -= piece;
    }
    return true;
}

static void load_connection_note_answered(struct load_connection *connection, uint64_t answered_before)
{
    struct load_shared *shared = connection->shared;
    const uint64_t answered = load_connection_answered(connection), now_ns = load_clock_ns();

    if (connection->received_bytes > connection->verified_bytes) {
        connection->verified_bytes = connection->received_bytes;
        shared->progress_ns = now_ns;
    }
    for (uint64_t message = answered_before; message < answered; message++)
        histogram_record(&shared->result->latency_ns, now_ns - connection->begun_ns[message % shared->options->depth]);
    shared->answered += answered - answered_before;
    if (answered > answered_before)
        load_connection_opened(connection);
}

/* One read for each call: the watcher tells when there is more. */
static void load_connection_read(struct load_connection *connection)
{
    struct load_shared *shared = connection->shared;
    const uint64_t answered_before = load_connection_answered(connection);
    const ssize_t length = recv(connection->reader.fd, shared->buffer, sizeof(shared->buffer), 0);
    bool right;

    if (length == 0) {
        load_connection_end_of_stream(connection);
    } else if (length < 0) {
        if (errno != EAGAIN && errno != EINTR)
            load_connection_fell(connection, LOAD_ERROR_RESET, strerror(errno));
    } else {
        right = shared->options->lines ? load_connection_compare_lines(connection, shared->buffer, (size_t)length)
                                       : load_connection_compare(connection, shared->buffer, (size_t)length);
        if (!right)
            return;
        load_connection_note_answered(connection, answered_before);
        load_connection_send(connection);
    }
}

static void load_connection_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    load_connection_read(watcher->data);
}

static void load_connection_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct load_connection *connection = watcher->data;
    socklen_t length = sizeof(int);
    int error = 0;

    (void)loop;
    (void)events;
    if (connection->state == LOAD_OPEN) {
        load_connection_send(connection);
        return;
    }
    (void)getsockopt(watcher->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0)
        load_connection_fell(connection, LOAD_ERROR_CONNECT, strerror(error));
    else
        load_connection_connected(connection);
}

/* What connect() answered, beside success. */
static void load_connection_not_yet(struct load_connection *connection, int error)
{
    struct load_shared *shared = connection->shared;

    if (error == EINPROGRESS) {
        ev_io_start(shared->loop, &connection->writer);
        return;
    }
    if (error != EAGAIN) {
        load_connection_fell(connection, LOAD_ERROR_CONNECT, strerror(error));
        return;
    }
    /* A Unix listener whose queue is full: no failure, only too early. */
    load_connection_close(connection);
    load_connection_restart(connection);
    shared->wait_paused = true;
}

static void load_connection_open(struct load_connection *connection)
{
    const struct address *address = &connection->shared->options->address;
    const int on = 1;
    const int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    connection->opening = true;
    connection->shared->opening++;
    if (fd < 0) {
        load_connection_error(connection, LOAD_ERROR_CONNECT, "socket: %s", strerror(errno));
        load_connection_give_up(connection);
        return;
    }
    if (address->socket.ss_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ev_io_set(&connection->reader, fd, EV_READ);
    ev_io_set(&connection->writer, fd, EV_WRITE);
    connection->state = LOAD_CONNECTING;
    if (connect(fd, (const struct sockaddr *)&address->socket, address->length) == 0)
        load_connection_connected(connection);
    else
        load_connection_not_yet(connection, errno);
}

void load_connection_open_first(struct load_shared *shared)
{
    struct load_connection *connection = shared->wait;

    shared->wait = connection->next_waiting;
    if (shared->wait == NULL)
        shared->wait_end = &shared->wait;
    if (connection->state == LOAD_WAITING) /* or it was given up meanwhile */
        load_connection_open(connection);
}

void load_connection_stop(struct load_connection *connection)
{
    if (connection->state == LOAD_DONE)
        return;
    connection->quota = connection->begun;
    if (connection->state == LOAD_WAITING && load_connection_answered(connection) == connection->quota)
        load_connection_done(connection);
    else
        load_connection_send(connection);
}

int load_connection_init(struct load_connection *connection, struct load_shared *shared, uint32_t number,
                         uint64_t quota)
{
    const struct load_options *options = shared->options;

    connection->begun_ns = calloc(options->depth, sizeof(*connection->begun_ns));
    if (connection->begun_ns == NULL)
        return -ENOMEM;
    connection->shared = shared;
    connection->number = number;
    connection->quota = quota;
    connection->pattern = pattern_make(options->seed, number, options->lines ? options->message_bytes : 0);
    ev_init(&connection->reader, load_connection_readable);
    ev_init(&connection->writer, load_connection_writable);
    connection->reader.data = connection->writer.data = connection;
    load_connection_wait(connection);
    return 0;
}

void load_connection_destroy(struct load_connection *connection)
{
    load_connection_close(connection);
    connection->state = LOAD_DONE;
    free(connection->begun_ns);
    connection->begun_ns = NULL;
}
