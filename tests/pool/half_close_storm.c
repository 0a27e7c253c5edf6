/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that say their last before they read anything: shutdown behind a request. Each gets its whole answer, which
 * for most of them is longer than what the kernel takes at once, and then the end. By every protocol, answered on the
 * I/O thread and through the table. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stormed.h"

enum {
    AT_ONCE = 50, /* have asked before the first of them reads */
    CONTENT_MAX = 30000,
    CLIENTS_DEFAULT = 500,
    CLIENTS_LONG = 10000,
    RECEIVE_BUFFER_BYTES = 8192,
};

static struct stormed stormed;

/* -- One client ------------------------------------------------------------- */

static void shrink(int fd)
{
    const int bytes = RECEIVE_BUFFER_BYTES;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

/* Makes the request of client `number`, and finds out whom it is for. */
static void make_request(struct stormed_request *request, unsigned number, enum stormed_way *way_out)
{
    *way_out = (enum stormed_way)(number % STORMED_WAYS);
    stormed_make_request(request, (enum stormed_protocol)(number / STORMED_WAYS % STORMED_PROTOCOLS), *way_out, number,
                         32 + number * UINT64_C(7919) % (CONTENT_MAX - 32));
}

/* Returns its descriptor, or -1. */
static int ask(unsigned number)
{
    static struct stormed_request request;
    enum stormed_way way;
    int fd;

    make_request(&request, number, &way);
    fd = stormed_connect(&stormed, request.protocol, way, number);
    if (fd >= 0 && stormed_send(fd, request.bytes, request.length) && shutdown(fd, SHUT_WR) == 0)
        return fd;
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

/* Its whole answer, and then the end. */
static bool hear(unsigned number, int fd)
{
    static struct stormed_request request;
    enum stormed_way way;
    char byte;

    make_request(&request, number, &way);
    return fd >= 0 && stormed_hear(fd, &request) > 0 && recv(fd, &byte, 1, 0) == 0;
}

/* -- The storm -------------------------------------------------------------- */

static unsigned answered_of(unsigned first, unsigned clients)
{
    int fds[AT_ONCE];
    unsigned answered = 0;

    for (unsigned i = 0; i < clients; i++)
        fds[i] = ask(first + i);
    for (unsigned i = 0; i < clients; i++) {
        answered += hear(first + i, fds[i]);
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
    return answered;
}

static bool storm(unsigned clients)
{
    unsigned answered = 0;

    for (unsigned first = 0; first < clients; first += AT_ONCE)
        answered += answered_of(first, clients - first < AT_ONCE ? clients - first : AT_ONCE);
    printf("# of %u clients that closed their half first %u got their whole answer and the end\n", clients, answered);
    return answered == clients;
}

static bool report(int number, bool passed, const char *what)
{
    printf("%s %d - %s\n", passed ? "ok" : "not ok", number, what);
    return passed;
}

int main(int argc, char **argv)
{
    const bool is_long = argc > 1 && strcmp(argv[1], "long") == 0;
    const struct stormed_options options = {.slots = 16, .request_bytes = CONTENT_MAX + 512, .prepare = shrink};
    bool passed;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    prefork_log_set_level(PREFORK_LOG_WARNING);
    printf("1..3\n");
    if (!stormed_start(&stormed, &options))
        return EXIT_FAILURE;
    passed = report(1, storm(is_long ? CLIENTS_LONG : CLIENTS_DEFAULT), "who closes its half first is answered");
    passed = report(2, stormed_is_at_rest(&stormed), "all slots, connections and descriptors are free") && passed;
    passed = report(3, stormed_end(&stormed), "the worker lives, and ends in order") && passed;
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
