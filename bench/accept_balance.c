/* SPDX-License-Identifier: BSD-2-Clause */
/* How evenly the I/O threads of a pool share connections, and what accepting
 * costs: a pool of the program's own, a client in this process. Each connection
 * asks once which thread has it. Connections stay until the end (long), or are
 * closed when they have their answer (short); one at a time, or many. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <prefork.h>

#include "address.h"
#include "load_clock.h"

#define THREADS_MAX 256
#define READY_MS    20000

struct shape {
    uint32_t workers;
    uint32_t io_threads;
};

struct client {
    const struct address *server;
    uint32_t connections; /* to be made in all */
    uint32_t window;      /* waiting for their answer at once */
    bool hold;            /* they stay until the end */
};

struct tally {
    uint32_t n_threads; /* that were seen */
    struct {
        int32_t thread;
        uint32_t connections;
    } of[THREADS_MAX];
    double rate;       /* connections answered in a second */
    uint64_t worst_ns; /* longest time from connect to answer */
    uint64_t total_ns; /* of all */
};

/* -- The server ------------------------------------------------------------- */

static int tell_thread(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    const int32_t thread = (int32_t)syscall(SYS_gettid);

    (void)message;
    (void)length;
    (void)context;
    return prefork_connection_write(connection, &thread, sizeof(thread));
}

static int die(const char *what)
{
    fprintf(stderr, "accept_balance: %s: %s\n", what, prefork_last_error());
    return -EINVAL;
}

static bool all_ready(const struct prefork_pool *pool, uint32_t workers)
{
    struct prefork_pool_statistics now = {.size = sizeof(now)};

    return prefork_pool_statistics(pool, &now) == 0 && now.workers_ready == workers;
}

static int start_pool(const struct shape *shape, struct prefork_pool **pool_out, struct address *address_out)
{
    static struct prefork_protocol protocol;
    const uint64_t until_ns = load_clock_ns() + READY_MS * (NS_PER_S / 1000);
    struct prefork_pool *pool;
    int fd;

    if (prefork_pool_create(&pool) != 0)
        return die("create");
    *pool_out = pool;
    protocol = *prefork_protocol_raw("none");
    protocol.handler = NULL;
    protocol.message = tell_thread;
    if (prefork_pool_set(pool, PREFORK_POOL_WORKERS, shape->workers) != 0 ||
        prefork_pool_set(pool, PREFORK_POOL_IO_THREADS, shape->io_threads) != 0 ||
        prefork_pool_set(pool, PREFORK_POOL_JOB_THREADS, 0) != 0 ||
        prefork_pool_listen(pool, "tcp:127.0.0.1:0", &protocol) != 0 || prefork_pool_start(pool, &fd) != 0)
        return die("start");
    while (!all_ready(pool, shape->workers)) {
        if (load_clock_ns() > until_ns)
            return die("the workers do not get ready");
        (void)usleep(1000);
    }
    return address_parse(prefork_pool_address(pool, 0), address_out);
}

/* -- The client ------------------------------------------------------------- */

struct asked {
    int fd;
    uint64_t since_ns;
};

/* Resets instead of closing: thousands of ports in TIME_WAIT would end the run. */
static void leave(int fd)
{
    const struct linger at_once = {.l_onoff = 1};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    (void)close(fd);
}

static int ask(const struct address *server, int epoll_fd, struct asked *asked)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = asked};

    asked->since_ns = load_clock_ns();
    asked->fd = socket(server->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (asked->fd < 0 || connect(asked->fd, (const struct sockaddr *)&server->socket, server->length) != 0 ||
        send(asked->fd, "?", 1, MSG_NOSIGNAL) != 1 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, asked->fd, &event) != 0) {
        perror("accept_balance: connect");
        return -errno;
    }
    return 0;
}

static int count(struct tally *tally, const struct asked *asked)
{
    const uint64_t took_ns = load_clock_ns() - asked->since_ns;
    int32_t thread;
    uint32_t i = 0;

    if (recv(asked->fd, &thread, sizeof(thread), 0) != (ssize_t)sizeof(thread)) {
        fprintf(stderr, "accept_balance: a connection was not answered\n");
        return -EPROTO;
    }
    while (i < tally->n_threads && tally->of[i].thread != thread)
        i++;
    if (i == THREADS_MAX)
        return -E2BIG;
    if (i == tally->n_threads)
        tally->of[tally->n_threads++].thread = thread;
    tally->of[i].connections++;
    tally->total_ns += took_ns;
    if (took_ns > tally->worst_ns)
        tally->worst_ns = took_ns;
    return 0;
}

/* `asked` has room for all connections. */
static int drive(const struct client *client, int epoll_fd, struct asked *asked, struct tally *tally)
{
    uint32_t n_asked = 0, n_counted = 0;

    while (n_counted < client->connections) {
        struct epoll_event event;
        struct asked *answered;

        for (; n_asked < client->connections && n_asked - n_counted < client->window; n_asked++)
            if (ask(client->server, epoll_fd, &asked[n_asked]) != 0)
                return -EIO;
        if (epoll_wait(epoll_fd, &event, 1, READY_MS) != 1)
            return -ETIMEDOUT;
        answered = event.data.ptr;
        if (count(tally, answered) != 0)
            return -EPROTO;
        n_counted++;
        if (client->hold)
            (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, answered->fd, NULL);
        else {
            leave(answered->fd);
            answered->fd = -1;
        }
    }
    return 0;
}

static int run_client(const struct client *client, struct tally *tally)
{
    const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct asked *const asked = calloc(client->connections, sizeof(*asked));
    const uint64_t since_ns = load_clock_ns();
    int rc = -ENOMEM;

    for (uint32_t i = 0; asked != NULL && i < client->connections; i++)
        asked[i].fd = -1;
    if (asked != NULL && epoll_fd >= 0)
        rc = drive(client, epoll_fd, asked, tally);
    tally->rate = client->connections / ((double)(load_clock_ns() - since_ns) / (double)NS_PER_S);
    for (uint32_t i = 0; asked != NULL && i < client->connections; i++)
        if (asked[i].fd >= 0)
            leave(asked[i].fd);
    free(asked);
    (void)close(epoll_fd);
    return rc;
}

/* -- Report ----------------------------------------------------------------- */

/* Of all threads, whether they were seen or not; a ratio of 0: one had none. */
static void report(const struct shape *shape, const struct client *client, const struct tally *tally)
{
    const uint32_t n_threads = shape->workers * shape->io_threads;
    uint32_t most = 0, least = UINT32_MAX;

    for (uint32_t i = 0; i < tally->n_threads; i++) {
        most = tally->of[i].connections > most ? tally->of[i].connections : most;
        least = tally->of[i].connections < least ? tally->of[i].connections : least;
    }
    if (tally->n_threads < n_threads)
        least = 0;
    printf(
        "%2u x %2u  %-5s  %6u connections, %4u at once: busiest %6u, idlest %6u, ratio %6.2f; %8.0f/s, mean %6.0f us, "
        "worst %6.0f us\n",
        shape->workers, shape->io_threads, client->hold ? "long" : "short", client->connections, client->window, most,
        least, least > 0 ? (double)most / least : 0., tally->rate, (double)tally->total_ns / client->connections / 1000,
        (double)tally->worst_ns / 1000);
    (void)fflush(stdout);
}

static int measure(const struct shape *shape, struct client *client)
{
    struct prefork_pool *pool = NULL;
    struct tally tally = {.n_threads = 0};
    struct address address;
    int rc = start_pool(shape, &pool, &address);

    client->server = &address;
    if (rc == 0)
        rc = run_client(client, &tally);
    if (rc == 0)
        report(shape, client, &tally);
    prefork_pool_destroy(&pool);
    return rc;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static const struct shape shapes[] = {{4, 4}, {16, 1}, {4, 1}, {2, 1}, {1, 1}};
    static const uint32_t windows[] = {1, 64};
    const uint32_t connections = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 4000;
    int rc = 0;

    if (connections == 0) {
        fprintf(stderr, "usage: accept_balance [CONNECTIONS]\n");
        return EXIT_FAILURE;
    }
    prefork_log_set_level(PREFORK_LOG_WARNING);
    raise_descriptor_limit();
    for (size_t s = 0; rc == 0 && s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (size_t w = 0; rc == 0 && w < sizeof(windows) / sizeof(windows[0]); w++)
            for (int hold = 1; rc == 0 && hold >= 0; hold--)
                rc = measure(&shapes[s],
                             &(struct client){.connections = connections, .window = windows[w], .hold = hold != 0});
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
