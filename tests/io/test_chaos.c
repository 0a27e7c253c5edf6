/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that send, read, half-close, reset and vanish by chance, over a table
 * that is mostly full, with jobs that end in any order and sometimes fail. What
 * a client gets must always be a prefix of what it sent; at the end no slot and
 * no descriptor is held. The seed is printed by a failure. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

enum { CLIENTS = 12, STREAM_BYTES = 4096, STEPS = 50000 };

struct client {
    int fd; /* -1: none */
    bool half_closed;
    size_t sent, got;
    char stream[STREAM_BYTES];
};

static struct stage stage;
static struct client clients[CLIENTS];
static bool worker_busy[STAGE_WORKERS];
static uint32_t seed, state;
static size_t received; /* by all clients */

static uint32_t chance(uint32_t below)
{
    state = state * UINT32_C(1664525) + UINT32_C(1013904223);
    return (state >> 9) % below;
}

static void client_open(struct client *client, const struct pfk_protocol *protocol)
{
    const int least = 1;

    memset(client, 0, sizeof(*client));
    for (size_t i = 0; i < STREAM_BYTES; i++)
        client->stream[i] = chance(12) == 0 ? '\n' : (char)('a' + chance(26));
    client->fd = chance(2) == 0 ? stage_connect(&stage, protocol) : stage_connect_tcp(&stage, protocol);
    if (chance(3) == 0)
        (void)setsockopt(stage_last(&stage)->watcher.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
}

static void client_close(struct client *client, bool reset)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};

    if (reset)
        (void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    (void)close(client->fd);
    client->fd = -1;
}

static void client_send(struct client *client)
{
    const size_t rest = STREAM_BYTES - client->sent;
    const size_t most = 1 + chance(200);
    ssize_t sent;

    if (client->half_closed || rest == 0)
        return;
    sent = send(client->fd, client->stream + client->sent, rest < most ? rest : most, MSG_NOSIGNAL);
    client->sent += sent > 0 ? (size_t)sent : 0;
}

static void client_receive(struct client *client)
{
    char bytes[STREAM_BYTES];
    const ssize_t got = recv(client->fd, bytes, 1 + chance(600), 0);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        client_close(client, false);
        return;
    }
    ck_assert_msg(client->got + (size_t)got <= client->sent &&
                      memcmp(bytes, client->stream + client->got, (size_t)got) == 0,
                  "seed %u: wrong bytes at %zu", seed, client->got);
    client->got += (size_t)got;
    received += (size_t)got;
}

static void client_act(struct client *client, const struct pfk_protocol *protocol)
{
    if (client->fd < 0) {
        client_open(client, protocol);
        return;
    }
    switch (chance(60)) {
    case 0:
        client_close(client, chance(2) == 0);
        break;
    case 1:
        (void)shutdown(client->fd, SHUT_WR);
        client->half_closed = true;
        break;
    default:
        if (chance(2) == 0)
            client_send(client);
        else
            client_receive(client);
        break;
    }
}

static void work_act(void)
{
    const uint32_t worker = chance(STAGE_WORKERS);
    int claimed = -1;

    if (worker_busy[worker]) {
        stage_complete(&stage, (int)worker, chance(100) == 0 ? -EIO : 0);
        worker_busy[worker] = false;
        return;
    }
    for (int i = 0; i < STAGE_WORKERS && claimed < 0; i++) {
        if (!worker_busy[i])
            claimed = stage_claim(&stage);
    }
    if (claimed >= 0)
        worker_busy[claimed] = true;
}

static void finish(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i].fd >= 0)
            client_close(&clients[i], i % 2 == 0);
    }
    for (int i = 0; i < STAGE_WORKERS; i++) {
        if (worker_busy[i])
            stage_complete(&stage, i, 0);
        worker_busy[i] = false;
    }
}

START_TEST(clients_that_do_anything_get_only_their_own)
{
    static const enum prefork_order orders[] = {PREFORK_ORDER_ORDERED, PREFORK_ORDER_SERIAL};
    const int fds_before = pfk_test_fds_open();
    struct prefork_protocol given = *prefork_protocol_lines("handler");
    const struct pfk_protocol *protocol;
    const char *wanted = getenv("PFK_TEST_SEED");

    seed = wanted != NULL ? (uint32_t)strtoul(wanted, NULL, 10) : (uint32_t)getpid() * 8 + (uint32_t)_i;
    state = seed;
    given.order = orders[_i % 2];
    if (_i >= 2)
        given = *prefork_protocol_raw("handler");
    protocol = stage_protocol(&given);
    stage_open(&stage, _i % 2 == 0 ? 8 : 40, 256, 64);
    for (int i = 0; i < CLIENTS; i++)
        clients[i].fd = -1;
    for (int step = 0; step < STEPS; step++) {
        client_act(&clients[chance(CLIENTS)], protocol);
        work_act();
        if (chance(3) == 0)
            stage_turn(&stage);
    }
    finish();
    ck_assert_msg(received > STEPS, "seed %u: only %zu bytes came back", seed, received);
    STAGE_UNTIL(&stage, (stage_work(&stage), stage.loop.n_connections == 0));
    stage_close(&stage);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}
END_TEST

static Suite *chaos_suite(void)
{
    Suite *suite = suite_create("chaos");
    TCase *cases = tcase_create("chaos");

    tcase_set_timeout(cases, 30);
    tcase_add_loop_test(cases, clients_that_do_anything_get_only_their_own, 0, 4);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(chaos_suite)
