/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream of 8 MiB is echoed by a connection with the least buffers that the kernel gives, on both sides, in pieces of
 * chance lengths, its beginning and its end byte by byte; also by a client that reads only when the server does not any
 * more. Each byte must be right, and the server's memory bounded by the mark at which it stops reading (D-22). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/connection.h"
#include "stormed.h"
#include "support.h"

enum {
    REQUEST_BYTES = 8192,
    IN_FLIGHT = 16, /* the default */
    SHORT_BYTES = 1 << 20,
    LONG_BYTES = 8 << 20,
    SHORT_DRIBBLE_BYTES = 4 << 10, /* at either end */
    LONG_DRIBBLE_BYTES = 64 << 10,
    PIECE_BYTES = 4000,     /* at most, of what is sent or read at once */
    SAMPLE_BYTES = 1 << 18, /* the server's memory is looked at so often */
    STUFFED_BYTES = PFK_CONNECTION_HIGH_WATER_BYTES - 8192,
    /* Buffers are up to twice as long as what they hold: what is to be sent up to the mark, the answers of the jobs in
     * flight behind it, and what one read brings to the rest of another. */
    MEMORY_BYTES =
        2 * (PFK_CONNECTION_HIGH_WATER_BYTES + IN_FLIGHT * (REQUEST_BYTES + 512) + 2 * PFK_LOOP_SCRATCH_BYTES),
};

struct scene {
    const char *name;
    enum stormed_protocol protocol;
    enum stormed_way way;
    bool local; /* Unix sockets: over TCP a full receive buffer of the least size makes the kernel wait for long */
    bool slow;
};

static const struct scene scenes[] = {
    {"raw over TCP, on the I/O thread", STORMED_RAW, STORMED_INLINE, false, false},
    {"raw over TCP, through the table", STORMED_RAW, STORMED_TABLE, false, false},
    {"length over TCP, through the table", STORMED_LENGTH, STORMED_TABLE, false, false},
    {"raw to a slow client, on the I/O thread", STORMED_RAW, STORMED_INLINE, true, true},
    {"raw to a slow client, through the table", STORMED_RAW, STORMED_TABLE, true, true},
    {"length to a slow client, through the table", STORMED_LENGTH, STORMED_TABLE, true, true},
};
#define SCENES (sizeof(scenes) / sizeof(scenes[0]))

struct stream {
    int fd;
    unsigned char *bytes;
    size_t length;
    size_t dribble;
    bool slow, reads;
    size_t sent, got;
    size_t most_behind;
    uint64_t most_memory;
    uint32_t state; /* of chance */
};

static struct stormed stormed;

/* -- The least buffers ------------------------------------------------------ */

/* Of short segments a window of the least buffer holds some, and the kernel does not wait for it to grow. A client's is
 * shrunk before it connects, for a window that was granted stays. */
static void shrink(int fd)
{
    const int least = 1, segment = 536, on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void on_opened(struct prefork_connection *connection, void *context)
{
    (void)context;
    shrink(connection->watcher.fd);
}

/* -- The stream ------------------------------------------------------------- */

static uint32_t chance(struct stream *stream, uint32_t below)
{
    stream->state = stream->state * UINT32_C(1664525) + UINT32_C(1013904223);
    return (stream->state >> 8) % below;
}

/* Messages of chance lengths, each with its length in front. */
static void put_lengths(struct stream *stream)
{
    for (size_t at = 0, length; at < stream->length; at += 4 + length) {
        const size_t left = stream->length - at;

        length = left <= REQUEST_BYTES ? left - 4 : chance(stream, REQUEST_BYTES - 8);
        if (left - 4 - length < 4 && left > REQUEST_BYTES)
            length = 0;
        for (unsigned i = 0; i < 4; i++)
            stream->bytes[at + i] = (unsigned char)(length >> 8 * (3 - i));
    }
}

static bool open_stream(struct stream *stream, const struct scene *scene, bool is_long)
{
    const size_t length = is_long ? LONG_BYTES : SHORT_BYTES;

    *stream = (struct stream){.length = length,
                              .dribble = is_long ? LONG_DRIBBLE_BYTES : SHORT_DRIBBLE_BYTES,
                              .state = 1,
                              .bytes = malloc(length),
                              .slow = scene->slow,
                              .fd = stormed_connect(&stormed, scene->protocol, scene->way, 0)};
    if (stream->fd < 0 || stream->bytes == NULL)
        return false;
    if (scene->local)
        shrink(stream->fd);
    for (size_t i = 0; i < length; i++)
        stream->bytes[i] = (unsigned char)chance(stream, 256);
    if (scene->protocol == STORMED_LENGTH)
        put_lengths(stream);
    return fcntl(stream->fd, F_SETFL, O_NONBLOCK) == 0;
}

static void look_at_memory(struct stream *stream)
{
    const uint64_t now = stormed_allocated_bytes(&stormed);

    if (now > stream->most_memory)
        stream->most_memory = now;
}

static void send_piece(struct stream *stream)
{
    const size_t left = stream->length - stream->sent;
    size_t length = 1;
    ssize_t sent;

    if (stream->sent >= stream->dribble && left > stream->dribble)
        length += chance(stream, PIECE_BYTES);
    sent = left == 0 ? 0 : send(stream->fd, stream->bytes + stream->sent, length < left ? length : left, MSG_NOSIGNAL);
    stream->sent += sent > 0 ? (size_t)sent : 0;
}

/* Returns whether what came is right, if anything came. */
static bool read_piece(struct stream *stream)
{
    unsigned char piece[PIECE_BYTES];
    const size_t behind = stream->sent - stream->got;
    const ssize_t got = recv(stream->fd, piece, 1 + chance(stream, PIECE_BYTES), 0);

    if (behind > stream->most_behind)
        stream->most_behind = behind;

    if (got < 0)
        return errno == EAGAIN;
    if (got == 0 || (size_t)got > stream->sent - stream->got ||
        memcmp(piece, stream->bytes + stream->got, (size_t)got) != 0)
        return false;
    if (stream->got / SAMPLE_BYTES != (stream->got + (size_t)got) / SAMPLE_BYTES)
        look_at_memory(stream);
    stream->got += (size_t)got;
    return true;
}

/* -- The storm -------------------------------------------------------------- */

/* A slow client reads when the server has as much to say as it may, and no more when it has nearly nothing. */
static bool wants_to_read(struct stream *stream)
{
    const struct prefork_pool_statistics now = stormed_pool_statistics(&stormed);
    const int64_t behind = (int64_t)(now.bytes_in - now.bytes_out); /* the looks at its memory make it a little less */

    if (behind >= STUFFED_BYTES)
        stream->reads = true;
    else if (behind < STUFFED_BYTES / 8)
        stream->reads = false;
    return stream->reads || !stream->slow || stream->sent >= stream->length / 2;
}

/* Sends and reads. */
static bool echo_all(struct stream *stream)
{
    while (stream->got < stream->length) {
        const bool reads = wants_to_read(stream);
        struct pollfd ready = {.fd = stream->fd, .events = reads ? POLLIN : 0};

        if (stream->sent < stream->length)
            ready.events |= POLLOUT;
        if (poll(&ready, 1, reads ? SUPPORT_LIMIT_MS : 1) < (reads ? 1 : 0))
            return false;
        if ((ready.revents & POLLOUT) != 0)
            send_piece(stream);
        if ((ready.revents & ~POLLOUT) != 0 && !read_piece(stream))
            return false;
    }
    return true;
}

static bool storm(const struct scene *scene, bool is_long)
{
    struct stream stream;
    const uint64_t before = stormed_allocated_bytes(&stormed);
    const bool right = open_stream(&stream, scene, is_long) && echo_all(&stream);
    const uint64_t memory = stream.most_memory > before ? stream.most_memory - before : 0;
    const bool filled = !stream.slow || stream.most_behind >= STUFFED_BYTES;

    printf("# %zu of %zu bytes came back; the server was up to %zu behind, with up to %" PRIu64 " bytes of memory\n",
           stream.got, stream.length, stream.most_behind, memory);
    (void)close(stream.fd);
    free(stream.bytes);
    return right && filled && memory <= MEMORY_BYTES && stormed_is_at_rest(&stormed);
}

static bool report(int number, bool passed, const char *what)
{
    printf("%s %d - %s\n", passed ? "ok" : "not ok", number, what);
    return passed;
}

int main(int argc, char **argv)
{
    const bool is_long = argc > 1 && strcmp(argv[1], "long") == 0;
    bool passed = true;
    int number = 0;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    prefork_log_set_level(PREFORK_LOG_WARNING);
    printf("1..%zu\n", SCENES + 2);
    for (int local = 0; local < 2; local++) {
        const struct stormed_options options = {
            .slots = 32, .request_bytes = REQUEST_BYTES, .opened = on_opened, .prepare = shrink, .local = local == 1};

        if (!stormed_start(&stormed, &options))
            return EXIT_FAILURE;
        for (unsigned i = 0; i < SCENES; i++)
            if (scenes[i].local == options.local)
                passed = report(++number, storm(&scenes[i], is_long), scenes[i].name) && passed;
        passed = report(++number, stormed_end(&stormed), "the worker lives, and ends in order") && passed;
    }
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
