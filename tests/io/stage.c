/* SPDX-License-Identifier: BSD-2-Clause */
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/unit.h"

void stage_open(struct stage *stage, uint32_t slots, uint32_t request_bytes, uint32_t reply_bytes)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = slots,
                                                  .request_bytes = request_bytes,
                                                  .reply_bytes = reply_bytes,
                                                  .max_workers = 1,
                                                  .threads_per_worker = STAGE_WORKERS + 1,
                                                  .generations = 1};
    int rc = prefork_table_create(&options, &stage->table);

    ck_assert_msg(rc == 0, "%s", prefork_last_error());
    for (uint32_t i = 0; i < STAGE_WORKERS; i++)
        ck_assert_int_eq(
            prefork_lane_open(stage->table, prefork_table_worker_lane(stage->table, 0, 0, i + 1), &stage->workers[i]),
            0);
    ck_assert_int_eq(prefork_lane_open(stage->table, prefork_table_worker_lane(stage->table, 0, 0, 0), &stage->lane),
                     0);
    rc = pfk_loop_open(&stage->loop, stage->table, stage->lane, 1);
    ck_assert_msg(rc == 0, "%s", prefork_last_error());
}

void stage_close(struct stage *stage)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    int rc;

    pfk_loop_close(&stage->loop);
    while (stage_work(stage) > 0)
        continue;
    ck_assert_int_eq(prefork_table_statistics(stage->table, &statistics), 0);
    ck_assert_uint_eq(statistics.free_slots, statistics.slots);
    rc = prefork_table_verify(stage->table);
    ck_assert_msg(rc == 0, "%s", prefork_last_error());
    prefork_lane_close(&stage->lane);
    for (int i = 0; i < STAGE_WORKERS; i++)
        prefork_lane_close(&stage->workers[i]);
    prefork_table_destroy(&stage->table);
}

void stage_turn(struct stage *stage)
{
    ev_run(stage->loop.ev, EVRUN_NOWAIT);
}

/* Where a connection begins. */
static enum pfk_timeout_kind stage_kind(const struct stage *stage)
{
    return stage->loop.timeouts.length_ms[PFK_TIMEOUT_FIRST_BYTE] > 0 ? PFK_TIMEOUT_FIRST_BYTE : PFK_TIMEOUT_NONE;
}

static int stage_take_over(struct stage *stage, int server, int client, const struct pfk_protocol *protocol)
{
    ck_assert_int_eq(fcntl(server, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(fcntl(client, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(pfk_connection_open(&stage->loop, server, PFK_QUOTA_NOBODY, protocol), 0);
    stage->last = pfk_list_entry(stage->loop.timeouts.members[stage_kind(stage)].previous, struct prefork_connection,
                                 timeout.link);
    return client;
}

int stage_connect(struct stage *stage, const struct pfk_protocol *protocol)
{
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    return stage_take_over(stage, ends[0], ends[1], protocol);
}

int stage_connect_tcp(struct stage *stage, const struct pfk_protocol *protocol)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address);
    const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int server;

    ck_assert_int_eq(bind(listening, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(listening, 1), 0);
    ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    ck_assert_int_eq(connect(client, (const struct sockaddr *)&address, sizeof(address)), 0);
    server = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(server, 0);
    (void)close(listening);
    return stage_take_over(stage, server, client, protocol);
}

struct prefork_connection *stage_last(struct stage *stage)
{
    ck_assert_ptr_nonnull(stage->last);
    return stage->last;
}

const struct pfk_protocol *stage_protocol(const struct prefork_protocol *given)
{
    static struct pfk_protocol protocols[4];
    static unsigned n_protocols;
    struct pfk_protocol *protocol = &protocols[n_protocols++ % 4];
    const int rc = pfk_protocol_complete(given, given->handler != NULL ? 0 : -1, protocol);

    ck_assert_msg(rc == 0, "%s", prefork_last_error());
    return protocol;
}

/* The handle of the job that each worker lane holds. */
static struct prefork_job *stage_jobs[STAGE_WORKERS];

int stage_claim(struct stage *stage)
{
    for (int i = 0; i < STAGE_WORKERS; i++) {
        if (stage_jobs[i] != NULL)
            continue;
        return prefork_lane_claim(stage->workers[i], PREFORK_NO_WAIT, &stage_jobs[i]) == 0 ? i : -1;
    }
    ck_abort_msg("all worker lanes of the stage hold a job");
}

const char *stage_request(struct stage *stage, int worker, size_t *length_out)
{
    (void)stage;
    return prefork_job_request(stage_jobs[worker], length_out);
}

void stage_complete(struct stage *stage, int worker, int status)
{
    size_t length;

    (void)stage;
    (void)prefork_job_request(stage_jobs[worker], &length);
    ck_assert_int_eq(prefork_job_reply_request(stage_jobs[worker], 0, length), 0);
    ck_assert_int_eq(prefork_job_complete(stage_jobs[worker], status), 0);
    stage_jobs[worker] = NULL;
}

unsigned stage_work(struct stage *stage)
{
    unsigned done = 0;

    for (int worker = stage_claim(stage); worker >= 0; worker = stage_claim(stage), done++)
        stage_complete(stage, worker, 0);
    return done;
}

void stage_send(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

void stage_expect(struct stage *stage, int fd, const char *text)
{
    char got[16384];
    size_t length = 0;

    ck_assert_uint_lt(strlen(text), sizeof(got));
    while (length < strlen(text)) {
        ssize_t piece = -1;

        STAGE_UNTIL(stage, (piece = recv(fd, got + length, strlen(text) - length, 0)) >= 0 || errno != EAGAIN);
        ck_assert_msg(piece > 0, "expected \"%s\", got \"%.*s\", then %s", text, (int)length, got,
                      piece == 0 ? "the end" : strerror(errno));
        length += (size_t)piece;
    }
    ck_assert_mem_eq(got, text, length);
}

void stage_expect_end(struct stage *stage, int fd)
{
    char byte;
    ssize_t got = -1;

    STAGE_UNTIL(stage, (got = recv(fd, &byte, 1, 0)) >= 0 || errno != EAGAIN);
    ck_assert_msg(got == 0, "expected the end, got %s", got > 0 ? "a byte" : strerror(errno));
}

void stage_expect_nothing(struct stage *stage, int fd)
{
    char byte;

    for (int i = 0; i < 3; i++)
        stage_turn(stage);
    ck_assert_int_eq(recv(fd, &byte, 1, MSG_PEEK), -1);
    ck_assert_int_eq(errno, EAGAIN);
}
