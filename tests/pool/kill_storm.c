/* SPDX-License-Identifier: BSD-2-Clause */
/* A storm of SIGKILLs over a pool under load: kill_storm [MODE [KILLS]]
 *
 * 200 connections send to 4 workers; again and again a random worker is stopped,
 * looked at and killed. Then only its own connections may fall, every byte of
 * every reply must be right, no accepted job may be lost or run by two at once,
 * and in the end nothing may be left. MODE is table or inline. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "prefork.h"
#include "storm_client.h"
#include "storm_ledger.h"
#include "storm_victim.h"
#include "support.h"

#define WORKERS     4
#define IO_THREADS  2
#define JOB_THREADS 2
#define CONNECTIONS 200
#define SHORT_KILLS 30
/* Room for more messages than can be answered between two kills, and some. */
#define TICKETS_PER_KILL 4096
#define TICKETS_MIN      (1 << 20)
/* Answers between two kills: so each is in the midst of work. */
#define ANSWERS_PER_KILL 100

static struct storm_ledger *ledger;

/* -- The pool ------------------------------------------------------------------------- */

static int64_t frame(struct prefork_connection *connection, const void *data, size_t length, size_t capacity, int final,
                     void *context)
{
    struct storm_message header;

    (void)connection;
    (void) final;
    (void)context;
    if (length < sizeof(header))
        return 0;
    memcpy(&header, data, sizeof(header));
    if (header.bytes < sizeof(header) || header.bytes > capacity)
        return -EPROTO;
    return header.bytes <= length ? (int64_t)header.bytes : 0;
}

static int answer_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

static int submit(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    struct storm_message header;
    int rc;

    (void)context;
    memcpy(&header, message, sizeof(header));
    if (!storm_ledger_intend(ledger, header.ticket))
        return -EPROTO;
    rc = prefork_connection_submit(connection, 0, message, length);
    if (rc == 0)
        storm_ledger_accept(ledger, header.ticket);
    return rc;
}

/* Takes a while, so that a worker is often killed with a job in its hands. */
static int echo(struct prefork_job *job, void *context)
{
    const struct timespec while_working = {.tv_nsec = 200000};
    size_t length;
    const void *const request = prefork_job_request(job, &length);
    struct storm_message header;

    (void)context;
    memcpy(&header, request, sizeof(header));
    if (!storm_ledger_start(ledger, header.ticket))
        return -EPROTO;
    (void)nanosleep(&while_working, NULL);
    (void)prefork_job_reply_request(job, 0, length);
    storm_ledger_end(ledger, header.ticket);
    return 0;
}

static int init_ledger(void *region, size_t bytes, void *context)
{
    (void)bytes;
    ((struct storm_ledger *)region)->n_cells = *(const uint32_t *)context;
    return 0;
}

static int set_up(struct prefork_pool *pool, bool in_line, uint32_t n_tickets)
{
    const struct prefork_protocol protocol = {
        .size = sizeof(protocol), .frame = frame, .message = in_line ? answer_inline : submit};
    void *region;
    int rc = prefork_pool_set(pool, PREFORK_POOL_WORKERS, WORKERS);

    if (rc == 0)
        rc = prefork_pool_set(pool, PREFORK_POOL_IO_THREADS, IO_THREADS);
    if (rc == 0)
        rc = prefork_pool_set(pool, PREFORK_POOL_JOB_THREADS, JOB_THREADS);
    if (rc == 0)
        rc = prefork_pool_set(pool, PREFORK_POOL_MAX_ATTEMPTS, 254); /* a job may meet many deaths here */
    if (rc == 0)
        rc = prefork_pool_share(pool, storm_ledger_bytes(n_tickets), init_ledger, &n_tickets, &region);
    if (rc == 0)
        ledger = region;
    if (rc == 0)
        rc = prefork_pool_handle(pool, "echo", echo, NULL);
    return rc == 0 ? prefork_pool_listen(pool, "tcp:127.0.0.1:0", &protocol) : rc;
}

/* -- The storm ------------------------------------------------------------------------ */

struct storm {
    struct prefork_pool *pool;
    struct storm_client *client;
    uint16_t server_port;
    unsigned kills;
    unsigned kills_with_claim;
    uint64_t answers_wanted;
    uint64_t longest_ns;    /* from a kill until its consequences were borne */
    uint64_t work[WORKERS]; /* of each seat, when its worker was killed last */
    struct storm_victim victim;
};

static bool storm_answered(struct storm_client *client, void *context)
{
    return storm_client_fresh(client) == 0 &&
           storm_client_tally(client)->answered >= ((const struct storm *)context)->answers_wanted;
}

static bool storm_settled(struct storm_client *client, void *context)
{
    const struct storm *const storm = context;

    return storm_client_condemned(client) == 0 && storm_victim_replaced(storm->pool, &storm->victim);
}

/* False first, true the next time: one turn. */
static bool storm_a_turn(struct storm_client *client, void *context)
{
    static bool turned;

    (void)client;
    (void)context;
    turned = !turned;
    return !turned;
}

static bool storm_wound_up(struct storm_client *client, void *context)
{
    (void)context;
    return storm_client_waiting(client) == 0;
}

static uint64_t storm_deadline(void)
{
    return prefork_deadline_after_ms(SUPPORT_LIMIT_MS);
}

/* Stops a worker that has done something: one that dies without is rightly
 * replaced more slowly each time. */
static bool storm_find_victim(struct storm *storm)
{
    for (;;) {
        if (!storm_victim_stop(storm->pool, (uint32_t)rand() % WORKERS, storm->server_port, &storm->victim))
            return false;
        if (storm->victim.work > storm->work[storm->victim.seat])
            break;
        storm_victim_spare(&storm->victim);
        if (!storm_client_serve(storm->client, storm_a_turn, NULL, storm_deadline()))
            return false;
    }
    storm->work[storm->victim.seat] = storm->victim.work;
    return true;
}

/* One death: in the midst of answers, until its consequences are borne. */
static const char *storm_kill_one(struct storm *storm)
{
    uint64_t killed_ns;

    storm->answers_wanted = storm_client_tally(storm->client)->answered + ANSWERS_PER_KILL;
    if (!storm_client_serve(storm->client, storm_answered, storm, storm_deadline()))
        return "answers stay away";
    if (!storm_find_victim(storm))
        return "a worker ended by itself";
    storm->kills_with_claim += storm->victim.claimed;
    storm_client_condemn(storm->client, &storm->victim);
    storm_victim_kill(&storm->victim);
    killed_ns = prefork_clock_now_ns();
    if (!storm_client_serve(storm->client, storm_settled, storm, storm_deadline()))
        return "a killed worker is not replaced, or its connections do not fall";
    if (prefork_clock_now_ns() - killed_ns > storm->longest_ns)
        storm->longest_ns = prefork_clock_now_ns() - killed_ns;
    return NULL;
}

static const char *storm_rage(struct storm *storm)
{
    const char *fault = NULL;

    for (unsigned i = 0; i < storm->kills && fault == NULL; i++)
        fault = storm_kill_one(storm);
    storm_client_wind_up(storm->client);
    if (fault == NULL && !storm_client_serve(storm->client, storm_wound_up, NULL, storm_deadline()))
        fault = "the last answers stay away";
    return fault;
}

/* -- The verdict ---------------------------------------------------------------------- */

static unsigned points;
static bool failed;

static void point(bool ok, const char *what)
{
    failed = failed || !ok;
    printf("%sok %u - %s\n", ok ? "" : "not ", ++points, what);
}

static bool within(uint64_t one, uint64_t other, uint64_t difference)
{
    return one <= other + difference && other <= one + difference;
}

static void judge_client(const struct storm *storm, bool in_line)
{
    const struct storm_tally *const tally = storm_client_tally(storm->client);

    printf("# %u kills, %u while a lane held a claimed job; %" PRIu64 " answered, %" PRIu64 " resent, %" PRIu64
           " connections fell with their worker; replaced within %" PRIu64 " ms\n",
           storm->kills, storm->kills_with_claim, tally->answered, tally->resent, tally->fallen,
           storm->longest_ns / PFK_NS_PER_MS);
    point(tally->wrongly_fell == 0, "no connection of another worker fell");
    point(tally->fallen > 0, "the killed workers' connections fell");
    point(tally->wrong_bytes == 0, "every reply was its request, byte for byte");
    if (!in_line)
        point(storm->kills_with_claim * 10 >= storm->kills, "a tenth of the kills met a claimed job");
}

/* Each counter of the table may miss one event of each thread that was killed. */
static void judge_ledger(const struct storm *storm, const struct prefork_statistics *table)
{
    const struct storm_sums sums = storm_ledger_sums(ledger);
    const uint64_t slack = (uint64_t)storm->kills * (IO_THREADS + JOB_THREADS);

    printf("# %" PRIu64 " intended, %" PRIu64 " accepted, %" PRIu64 " started, %" PRIu64 " again; table: %" PRIu64
           " submitted, %" PRIu64 " claimed, %" PRIu64 " completed, %" PRIu64 " redelivered\n",
           sums.intended, sums.accepted, sums.starts, sums.repeated, table->submitted, table->claimed, table->completed,
           table->redelivered);
    point(sums.lost == 0, "no accepted job was lost");
    point(pfk_u32_load_relaxed(&ledger->two_owners) == 0, "no job had two owners at once");
    point(sums.uninvited == 0 && pfk_u32_load_relaxed(&ledger->wrong_tickets) == 0, "no job came from nowhere");
    point(table->submitted + slack >= sums.accepted && table->submitted <= sums.intended, "submits agree");
    point(within(table->claimed, sums.starts, slack), "claims agree");
    point(within(table->completed, table->submitted, slack), "every submitted job was completed");
    point(table->redelivered > 0, "jobs were redelivered");
    point(sums.repeated <= table->redelivered, "only redelivered jobs were started again");
    point(table->buried == 0 && table->suspect == 0, "no job was buried, no word was damaged");
}

static void judge_table(const struct storm *storm, bool in_line)
{
    struct prefork_statistics table = {.size = sizeof(table)};
    struct prefork_table *const of_pool = prefork_pool_table(storm->pool);
    const int broken = prefork_table_verify(of_pool);

    if (broken != 0)
        printf("# invariant %d: %s\n", broken, prefork_last_error());
    point(broken == 0, "the table is whole");
    point(prefork_table_statistics(of_pool, &table) == 0 && table.free_slots == table.slots, "every slot is free");
    if (!in_line)
        judge_ledger(storm, &table);
}

static void judge_pool(const struct storm *storm)
{
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};

    (void)prefork_pool_statistics(storm->pool, &statistics);
    point(statistics.workers_lost == storm->kills && statistics.workers_forked == storm->kills + WORKERS,
          "each killed worker was replaced once");
}

/* -- Main ----------------------------------------------------------------------------- */

static void run_storm(struct storm *storm, bool in_line)
{
    const char *fault;

    fault = storm_rage(storm);
    if (fault != NULL)
        printf("# %s\n", fault);
    point(fault == NULL, "the pool serves through it");
    judge_client(storm, in_line);
    storm_client_close(storm->client);
    point(prefork_pool_stop(storm->pool) == 0 && prefork_pool_wait(storm->pool, storm_deadline()) == 0,
          "it stops in order");
    judge_table(storm, in_line);
    judge_pool(storm);
}

static int storm_in_mode(const char *mode, unsigned kills)
{
    const bool in_line = strcmp(mode, "inline") == 0;
    const uint32_t wanted = kills * TICKETS_PER_KILL;
    const uint32_t n_tickets = in_line ? UINT32_MAX : wanted > TICKETS_MIN ? wanted : TICKETS_MIN;
    struct storm storm = {.kills = kills};
    int descriptor;
    int rc = prefork_pool_create(&storm.pool);

    printf("# mode %s\n", mode);
    if (rc == 0)
        rc = set_up(storm.pool, in_line, in_line ? 1 : n_tickets);
    if (rc == 0)
        rc = prefork_pool_start(storm.pool, &descriptor);
    if (rc == 0) {
        const char *const address = prefork_pool_address(storm.pool, 0);

        storm.server_port = (uint16_t)atoi(strrchr(address, ':') + 1);
        (void)support_wait_ready(storm.pool, WORKERS);
        storm.client = storm_client_open(address, CONNECTIONS, n_tickets);
        run_storm(&storm, in_line);
    }
    point(rc == 0, rc == 0 ? "the pool was made" : prefork_last_error());
    prefork_pool_destroy(&storm.pool);
    return rc;
}

int main(int argc, char **argv)
{
    const unsigned kills = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : SHORT_KILLS;

    setvbuf(stdout, NULL, _IOLBF, 0);
    prefork_log_set_level(PREFORK_LOG_ERROR);
    srand(1);
    if (argc <= 1 || strcmp(argv[1], "table") == 0)
        (void)storm_in_mode("table", kills);
    if (argc <= 1 || strcmp(argv[1], "inline") == 0)
        (void)storm_in_mode("inline", kills);
    printf("1..%u\n", points);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
