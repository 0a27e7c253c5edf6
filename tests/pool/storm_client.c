/* SPDX-License-Identifier: BSD-2-Clause */
#include "storm_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "support.h"

struct storm_connection {
    uint16_t port; /* ours */
    bool fresh;    /* no answer since it was opened */
    bool condemned;
    bool waiting; /* for the rest of a reply */
    uint32_t sent, got;
    unsigned char message[STORM_MESSAGE_MAX];
};

struct storm_client {
    const char *address;
    unsigned n;
    bool winding_up;
    uint32_t next_ticket, n_tickets;
    uint64_t random;
    struct storm_tally tally;
    struct pollfd *events; /* events[i] is connections[i]'s */
    struct storm_connection *connections;
};

static void client_give_up(const char *what)
{
    printf("Bail out! client: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* xorshift64: the same messages in each run. */
static uint64_t client_random(struct storm_client *client)
{
    client->random ^= client->random << 13;
    client->random ^= client->random >> 7;
    client->random ^= client->random << 17;
    return client->random;
}

/* -- Sending ------------------------------------------------------------------------ */

static struct storm_message client_header(const struct storm_connection *connection)
{
    struct storm_message header;

    memcpy(&header, connection->message, sizeof(header));
    return header;
}

static void client_number(struct storm_client *client, struct storm_connection *connection, uint32_t bytes)
{
    const struct storm_message header = {.bytes = bytes, .ticket = client->next_ticket++};

    if (header.ticket >= client->n_tickets) {
        errno = ENOSPC;
        client_give_up("tickets");
    }
    memcpy(connection->message, &header, sizeof(header));
    connection->sent = connection->got = 0;
    connection->waiting = true;
}

static void client_compose(struct storm_client *client, struct storm_connection *connection)
{
    const uint32_t room = STORM_MESSAGE_MAX - (uint32_t)sizeof(struct storm_message);
    const uint32_t bytes = (uint32_t)sizeof(struct storm_message) + (uint32_t)(client_random(client) % (room + 1));

    for (uint32_t at = 0; at < bytes; at += 8) {
        const uint64_t random = client_random(client);

        memcpy(connection->message + at, &random, 8);
    }
    client_number(client, connection, bytes);
}

/* -- Connections -------------------------------------------------------------------- */

static void client_connect(struct storm_client *client, unsigned i)
{
    struct storm_connection *const connection = &client->connections[i];
    struct sockaddr_in own = {0};
    socklen_t length = sizeof(own);
    const int fd = support_connect(client->address);

    if (fd < 0) {
        errno = -fd;
        client_give_up("connect");
    }
    if (getsockname(fd, (struct sockaddr *)&own, &length) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        client_give_up("a new connection");
    connection->port = ntohs(own.sin_port);
    connection->fresh = true;
    connection->condemned = false;
    client->events[i].fd = fd;
}

/* Opens it again and repeats the message, under a new ticket, from its start:
 * what came back of it was right, and is thrown away. */
static void client_recover(struct storm_client *client, unsigned i)
{
    struct storm_connection *const connection = &client->connections[i];

    if (connection->condemned)
        client->tally.fallen++;
    else
        client->tally.wrongly_fell++;
    pfk_fd_close(&client->events[i].fd);
    client_connect(client, i);
    if (!connection->waiting)
        return;
    client->tally.resent++;
    client_number(client, connection, client_header(connection).bytes);
}

/* -- Events ------------------------------------------------------------------------- */

/* Both return false when the connection has fallen. */
static bool client_write(struct storm_connection *connection, int fd)
{
    const uint32_t bytes = client_header(connection).bytes;

    while (connection->sent < bytes) {
        const ssize_t n = send(fd, connection->message + connection->sent, bytes - connection->sent, MSG_NOSIGNAL);

        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        connection->sent += (uint32_t)n;
    }
    return true;
}

static bool client_read(struct storm_client *client, struct storm_connection *connection, int fd)
{
    unsigned char piece[STORM_MESSAGE_MAX];
    const uint32_t left = connection->waiting ? client_header(connection).bytes - connection->got : 0;
    const ssize_t n = recv(fd, piece, left > 0 ? left : 1, 0);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    if ((uint32_t)n > left || memcmp(piece, connection->message + connection->got, (size_t)n) != 0)
        client->tally.wrong_bytes++;
    connection->got += (uint32_t)n;
    if (connection->got < client_header(connection).bytes)
        return true;
    client->tally.answered++;
    connection->fresh = false;
    connection->waiting = false;
    return true;
}

static void client_turn(struct storm_client *client, unsigned i)
{
    struct storm_connection *const connection = &client->connections[i];
    bool stands = true;

    if ((client->events[i].revents & ~POLLOUT) != 0)
        stands = client_read(client, connection, client->events[i].fd);
    if (stands && !connection->waiting && !client->winding_up)
        client_compose(client, connection);
    if (stands && connection->waiting)
        stands = client_write(connection, client->events[i].fd);
    if (!stands)
        client_recover(client, i);
    client->events[i].events = POLLIN;
    if (connection->waiting && connection->sent < client_header(connection).bytes)
        client->events[i].events = POLLIN | POLLOUT;
}

bool storm_client_serve(struct storm_client *client, storm_done_fn *done, void *context, uint64_t deadline_ns)
{
    while (!done(client, context)) {
        if (prefork_clock_now_ns() >= deadline_ns)
            return false;
        if (poll(client->events, client->n, 1) < 0 && errno != EINTR)
            client_give_up("poll");
        for (unsigned i = 0; i < client->n; i++)
            if (client->events[i].revents != 0)
                client_turn(client, i);
    }
    return true;
}

/* -- The rest ------------------------------------------------------------------------- */

struct storm_client *storm_client_open(const char *address, unsigned n, uint32_t n_tickets)
{
    struct storm_client *const client = calloc(1, sizeof(*client));

    if (client == NULL)
        client_give_up("memory");
    *client = (struct storm_client){.address = address, .n = n, .n_tickets = n_tickets, .random = 88172645463325252};
    client->events = calloc(n, sizeof(*client->events));
    client->connections = calloc(n, sizeof(*client->connections));
    if (client->events == NULL || client->connections == NULL)
        client_give_up("memory");
    for (unsigned i = 0; i < n; i++) {
        client_connect(client, i);
        client->events[i].events = POLLIN | POLLOUT; /* the first turn sends */
    }
    return client;
}

void storm_client_close(struct storm_client *client)
{
    for (unsigned i = 0; i < client->n; i++)
        pfk_fd_close(&client->events[i].fd);
    free(client->events);
    free(client->connections);
    free(client);
}

void storm_client_condemn(struct storm_client *client, const struct storm_victim *victim)
{
    for (unsigned i = 0; i < client->n; i++)
        if (storm_victim_has_port(victim, client->connections[i].port))
            client->connections[i].condemned = true;
}

unsigned storm_client_condemned(const struct storm_client *client)
{
    unsigned condemned = 0;

    for (unsigned i = 0; i < client->n; i++)
        condemned += client->connections[i].condemned;
    return condemned;
}

unsigned storm_client_fresh(const struct storm_client *client)
{
    unsigned fresh = 0;

    for (unsigned i = 0; i < client->n; i++)
        fresh += client->connections[i].fresh;
    return fresh;
}

void storm_client_wind_up(struct storm_client *client)
{
    client->winding_up = true;
}

unsigned storm_client_waiting(const struct storm_client *client)
{
    unsigned waiting = 0;

    for (unsigned i = 0; i < client->n; i++)
        waiting += client->connections[i].waiting;
    return waiting;
}

const struct storm_tally *storm_client_tally(const struct storm_client *client)
{
    return &client->tally;
}
