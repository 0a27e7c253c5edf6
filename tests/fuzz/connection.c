/* SPDX-License-Identifier: BSD-2-Clause */
/* A whole connection: what a client sends, in pieces, with a PROXY header or
 * without, is answered by jobs or at once; then he closes, or not. Nothing may be
 * left: no connection, no slot.
 *
 * Input: one byte that chooses, then pieces: a byte with the length, and so many
 * bytes. A piece of no bytes lets jobs run; a second in a row ends the stream. */
#include "target.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/connection.h"
#include "io/loop.h"
#include "io/trust.h"

#define SLOTS         4
#define REQUEST_BYTES 64
/* More than there are messages in 4,096 bytes: serial jobs end one in each round. */
#define ROUNDS_MAX 5000

static struct prefork_table *table;
static struct prefork_lane *worker, *lane;
static struct pfk_loop loop;
static struct pfk_trust *everybody;

/* -- The stage, made once ------------------------------------------------------ */

static void unset(void)
{
    pfk_loop_close(&loop);
    pfk_trust_close(&everybody);
    prefork_lane_close(&lane);
    prefork_lane_close(&worker);
    prefork_table_destroy(&table);
}

static void set(void)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = SLOTS,
                                                  .request_bytes = REQUEST_BYTES,
                                                  .reply_bytes = 2 * REQUEST_BYTES,
                                                  .max_workers = 1,
                                                  .threads_per_worker = 2,
                                                  .generations = 1};

    if (table != NULL)
        return;
    FUZZ_CHECK(prefork_table_create(&options, &table) == 0);
    FUZZ_CHECK(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 0), &lane) == 0);
    FUZZ_CHECK(prefork_lane_open(table, prefork_table_worker_lane(table, 0, 0, 1), &worker) == 0);
    FUZZ_CHECK(pfk_loop_open(&loop, table, lane, 1) == 0);
    FUZZ_CHECK(pfk_trust_open("*", &everybody) == 0);
    (void)atexit(unset);
}

static void work(void)
{
    struct prefork_job *job;
    size_t length;

    while (prefork_lane_claim(worker, PREFORK_NO_WAIT, &job) == 0) {
        (void)prefork_job_request(job, &length);
        FUZZ_CHECK(prefork_job_reply_request(job, 0, length) == 0);
        FUZZ_CHECK(prefork_job_complete(job, length % 7 == 6 ? -EIO : 0) == 0);
    }
}

/* -- One client ---------------------------------------------------------------- */

static int answer(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    if (length % 3 == 0)
        return prefork_connection_submit(connection, 0, message, length);
    if (length % 11 == 10)
        prefork_connection_close(connection);
    return prefork_connection_write(connection, message, length);
}

/* Good until the next call. */
static const struct pfk_protocol *choose(uint8_t byte)
{
    static struct pfk_protocol protocol;
    struct prefork_protocol face = byte % 3 == 0   ? *prefork_protocol_raw("x")
                                   : byte % 3 == 1 ? *prefork_protocol_lines("x")
                                                   : *prefork_protocol_length("x", 2, byte & PREFORK_LENGTH_LITTLE);

    if ((byte & 4) != 0)
        face.message = answer;
    face.order = (enum prefork_order)(byte / 8 % 3);
    face.max_in_flight = 1 + byte / 32;
    FUZZ_CHECK(pfk_protocol_complete(&face, 0, &protocol) == 0);
    if ((byte & 64) != 0)
        protocol.proxy = (struct pfk_proxy_rule){everybody, 1000};
    return &protocol;
}

static void turn(int client)
{
    char bytes[4096];

    (void)ev_run(loop.ev, EVRUN_NOWAIT);
    while (recv(client, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
}

static void send_pieces(int client, const uint8_t *data, size_t size)
{
    bool last_was_empty = false;

    while (size > 0) {
        const size_t wanted = *data++ % 128;
        const size_t length = wanted < --size ? wanted : size;

        if (length > 0)
            (void)send(client, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        else if (last_was_empty)
            break;
        else
            work();
        last_was_empty = length == 0;
        turn(client);
        data += length;
        size -= length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    int ends[2];

    if (size < 2)
        return 0;
    set();
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    FUZZ_CHECK(pfk_connection_open(&loop, ends[0], PFK_QUOTA_NOBODY, choose(data[0])) == 0);
    send_pieces(ends[1], data + 1, size - 1);
    if ((data[0] & 128) != 0)
        (void)shutdown(ends[1], SHUT_WR); /* the answers are waited for */
    else
        (void)close(ends[1]);
    for (int round = 0; round < ROUNDS_MAX && loop.n_connections > 0; round++) {
        work();
        turn(ends[1]);
    }
    if ((data[0] & 128) != 0)
        (void)close(ends[1]);
    FUZZ_CHECK(loop.n_connections == 0);
    work(); /* what the gone has left */
    (void)ev_run(loop.ev, EVRUN_NOWAIT);
    FUZZ_CHECK(prefork_table_statistics(table, &statistics) == 0);
    FUZZ_CHECK(statistics.free_slots == SLOTS);
    return 0;
}
