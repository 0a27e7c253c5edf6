/* SPDX-License-Identifier: BSD-2-Clause */
/* faulty_server: an echo server that is wrong in one known way, so that the
 * clients can be shown to notice.
 *
 *     faulty_server FAULT [OFFSET]
 *
 * Listens on a free loopback port, says so as echo_pool does, and serves until it
 * is killed. OFFSET counts the bytes of each connection's stream.
 *
 *   none      echoes; reads and writes by turns, so it stands still when its
 *             client does not read while it writes
 *   corrupt   changes the byte at OFFSET
 *   drop      leaves out the byte at OFFSET
 *   extra     adds a byte after the last one
 *   truncate  ends its replies at OFFSET, properly
 *   reset     resets the connection at OFFSET
 *   stall     reads on, but answers nothing from OFFSET on, not even the end
 *   tag       puts `[worker PID] ` before each line, PID 1001, 1002 or 1003 by turns
 *   badtag    the same, misspelt
 *   refuse    is bound to the port it names, but doesn't listen */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES 65536
#define TAG_BYTES    32

struct stream {
    int fd;
    uint64_t offset; /* of the next byte to answer */
    bool in_line;
    unsigned lines;
};

static const char *fault;
static uint64_t fault_offset;

static bool fault_is(const char *name)
{
    return strcmp(fault, name) == 0;
}

static bool send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        const ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool echo_tagged(struct stream *stream, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char text[TAG_BYTES];

        if (!stream->in_line) {
            const char *format = fault_is("tag") ? "[worker %u] " : "[worker %u ] ";
            const int tag_length = snprintf(text, sizeof(text), format, 1001 + stream->lines++ % 3);

            if (!send_all(stream->fd, text, (size_t)tag_length))
                return false;
        }
        stream->in_line = bytes[i] != '\n';
        if (!send_all(stream->fd, bytes + i, 1))
            return false;
    }
    return true;
}

static void reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/* Reads what still comes, so that closing doesn't reset the connection. */
static void drain(int fd)
{
    char bytes[4096];

    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        ;
}

/* The byte at fault_offset is bytes[0]. Returns whether to go on. */
static bool commit_fault(struct stream *stream, char *bytes, size_t length)
{
    if (fault_is("corrupt")) {
        bytes[0] = (char)(bytes[0] ^ 1);
        return send_all(stream->fd, bytes, length);
    }
    if (fault_is("drop"))
        return send_all(stream->fd, bytes + 1, length - 1);
    if (fault_is("truncate"))
        (void)shutdown(stream->fd, SHUT_WR);
    if (fault_is("reset"))
        reset(stream->fd);
    else
        drain(stream->fd);
    if (fault_is("stall"))
        (void)pause(); /* nor does it close */
    return false;
}

static bool fault_has_offset(void)
{
    return fault_is("corrupt") || fault_is("drop") || fault_is("truncate") || fault_is("reset") || fault_is("stall");
}

static bool echo(struct stream *stream, char *bytes, size_t length)
{
    const uint64_t until_fault = fault_offset - stream->offset;
    bool going_on;

    if (fault_is("tag") || fault_is("badtag"))
        return echo_tagged(stream, bytes, length);
    if (!fault_has_offset() || stream->offset > fault_offset || until_fault >= length)
        going_on = send_all(stream->fd, bytes, length);
    else
        going_on = send_all(stream->fd, bytes, (size_t)until_fault) &&
                   commit_fault(stream, bytes + until_fault, length - (size_t)until_fault);
    stream->offset += length;
    return going_on;
}

static void *serve(void *argument)
{
    struct stream stream = {.fd = *(int *)argument};
    char *buffer = malloc(BUFFER_BYTES);
    bool going_on = buffer != NULL;

    free(argument);
    while (going_on) {
        const ssize_t length = recv(stream.fd, buffer, BUFFER_BYTES, 0);

        going_on = length > 0 && echo(&stream, buffer, (size_t)length);
        if (length == 0 && fault_is("extra"))
            (void)send_all(stream.fd, "!", 1);
    }
    (void)close(stream.fd);
    free(buffer);
    return NULL;
}

static void serve_in_thread(int fd)
{
    int *argument = malloc(sizeof(*argument));
    pthread_t thread;

    if (argument == NULL)
        exit(EXIT_FAILURE);
    *argument = fd;
    if (pthread_create(&thread, NULL, serve, argument) != 0 || pthread_detach(thread) != 0)
        exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    const int on = 1;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);

    if (argc < 2 || listener < 0)
        return EXIT_FAILURE;
    fault = argv[1];
    fault_offset = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (bind(listener, (struct sockaddr *)&address, length) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
        (!fault_is("refuse") && listen(listener, 128) != 0))
        return EXIT_FAILURE;
    (void)printf("listening on tcp:127.0.0.1:%u\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    while (!fault_is("refuse")) {
        const int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            continue;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        serve_in_thread(fd);
    }
    return pause();
}
