/* SPDX-License-Identifier: BSD-2-Clause */
/* A stranger who connects and closes as fast as one process can, beside a
 * hundred honest clients, each of whom asks, waits for its answer, and comes
 * anew after ten: nearly all of their requests are served. With an argument the
 * storm lasts so many seconds. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "io/address.h"
#include "support.h"

enum {
    WORKERS = 2,
    HONEST = 100,
    REQUESTS_EACH = 10, /* over one connection */
    REQUEST_MS = 1000,  /* later is not served */
    SECONDS_DEFAULT = 2,
};

struct honest {
    int fd; /* -1: not connected */
    bool connecting;
    unsigned requests; /* over this connection */
    uint64_t since_ns; /* of the request, its connect included */
};

struct outcome {
    uint64_t served;
    uint64_t lost;
    uint64_t worst_ns;
};

static struct pfk_address server;

/* -- The pool --------------------------------------------------------------- */

static int echo_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

static bool start_pool(struct prefork_pool **pool_out)
{
    static struct prefork_protocol protocol;
    int fd;

    protocol = *prefork_protocol_raw("none");
    protocol.handler = NULL;
    protocol.message = echo_inline;
    return prefork_pool_create(pool_out) == 0 && prefork_pool_set(*pool_out, PREFORK_POOL_WORKERS, WORKERS) == 0 &&
           prefork_pool_set(*pool_out, PREFORK_POOL_JOB_THREADS, 0) == 0 &&
           prefork_pool_listen(*pool_out, "tcp:127.0.0.1:0", &protocol) == 0 &&
           prefork_pool_start(*pool_out, &fd) == 0 && support_wait_ready(*pool_out, WORKERS) &&
           pfk_address_parse(prefork_pool_address(*pool_out, 0), &server) == 0;
}

/* -- The stranger ----------------------------------------------------------- */

/* Resets, for ports in TIME_WAIT would slow it down. */
PFK_NORETURN static void be_stranger(pfk_atomic_u64 *connects)
{
    const struct linger at_once = {.l_onoff = 1};

    for (;;) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
            continue;
        if (connect(fd, &server.socket.any, server.length) == 0)
            pfk_u64_bump_relaxed(connects, 1);
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        (void)close(fd);
    }
}

/* -- The honest ------------------------------------------------------------- */

static void honest_leave(struct honest *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
}

static void honest_lose(struct honest *client, struct outcome *outcome)
{
    outcome->lost++;
    honest_leave(client);
}

static void honest_ask(struct honest *client, struct outcome *outcome)
{
    client->connecting = false;
    if (send(client->fd, "request", 7, MSG_NOSIGNAL) != 7)
        honest_lose(client, outcome);
}

/* Begins its next request. */
static void honest_begin(struct honest *client, struct outcome *outcome)
{
    client->since_ns = prefork_clock_now_ns();
    if (client->fd >= 0) {
        honest_ask(client, outcome);
        return;
    }
    client->requests = 0;
    client->connecting = true;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (client->fd < 0 || (connect(client->fd, &server.socket.any, server.length) != 0 && errno != EINPROGRESS))
        honest_lose(client, outcome);
}

static void honest_hear(struct honest *client, struct outcome *outcome)
{
    const uint64_t took_ns = prefork_clock_now_ns() - client->since_ns;
    char answer[8];

    if (recv(client->fd, answer, sizeof(answer), 0) != 7) {
        honest_lose(client, outcome);
        return;
    }
    outcome->served++;
    outcome->worst_ns = took_ns > outcome->worst_ns ? took_ns : outcome->worst_ns;
    if (++client->requests == REQUESTS_EACH)
        honest_leave(client);
}

static void honest_turn(struct honest *client, const struct pollfd *polled, struct outcome *outcome)
{
    if (polled->revents != 0 && client->connecting) {
        honest_ask(client, outcome);
        return;
    }
    if (polled->revents != 0)
        honest_hear(client, outcome);
    else if (prefork_clock_now_ns() - client->since_ns > REQUEST_MS * UINT64_C(1000000))
        honest_lose(client, outcome);
    else
        return;
    honest_begin(client, outcome);
}

static struct outcome be_honest(unsigned seconds)
{
    static struct honest clients[HONEST];
    struct pollfd polled[HONEST];
    struct outcome outcome = {.served = 0};
    const uint64_t until_ns = prefork_deadline_after_ms(seconds * UINT64_C(1000));

    for (int i = 0; i < HONEST; i++) {
        clients[i].fd = -1;
        honest_begin(&clients[i], &outcome);
    }
    while (prefork_clock_now_ns() < until_ns) {
        for (int i = 0; i < HONEST; i++)
            polled[i] = (struct pollfd){.fd = clients[i].fd, .events = clients[i].connecting ? POLLOUT : POLLIN};
        (void)poll(polled, HONEST, REQUEST_MS);
        for (int i = 0; i < HONEST; i++)
            honest_turn(&clients[i], &polled[i], &outcome);
    }
    for (int i = 0; i < HONEST; i++)
        honest_leave(&clients[i]);
    return outcome;
}

/* -- The storm -------------------------------------------------------------- */

static bool storm(unsigned seconds)
{
    pfk_atomic_u64 *const connects =
        mmap(NULL, sizeof(*connects), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct outcome outcome;
    uint64_t asked;
    pid_t stranger;

    if (connects == MAP_FAILED || (stranger = fork()) < 0)
        return false;
    if (stranger == 0)
        be_stranger(connects);
    outcome = be_honest(seconds);
    (void)kill(stranger, SIGKILL);
    (void)waitpid(stranger, NULL, 0);
    asked = outcome.served + outcome.lost;
    printf("# %.0f connections in a second; of %" PRIu64 " honest requests %.3f %% served, the slowest in %.1f ms\n",
           (double)pfk_u64_load_relaxed(connects) / seconds, asked,
           asked > 0 ? 100. * (double)outcome.served / (double)asked : 0., (double)outcome.worst_ns / 1e6);
    (void)munmap(connects, sizeof(*connects));
    return asked >= HONEST && outcome.served * 100 >= asked * 99;
}

int main(int argc, char **argv)
{
    const unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : SECONDS_DEFAULT;
    struct prefork_pool *pool = NULL;
    bool served = false;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    prefork_log_set_level(PREFORK_LOG_WARNING);
    printf("1..1\n");
    if (start_pool(&pool))
        served = storm(seconds);
    else
        printf("# %s\n", prefork_last_error());
    prefork_pool_destroy(&pool);
    printf("%s 1 - honest clients are served beside connect and close\n", served ? "ok" : "not ok");
    return served ? EXIT_SUCCESS : EXIT_FAILURE;
}
