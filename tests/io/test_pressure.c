/* SPDX-License-Identifier: BSD-2-Clause */
/* What a connection may heap up, and what it may take from others: the marks between which its reading stops and goes
 * on, and turns beside one that always asks for more. Bounds are counts, not times. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

#include "io/outbox.h"

static struct stage stage;
static int fds_before;

static void open_stage(void)
{
    fds_before = pfk_test_fds_open();
    stage_open(&stage, 8, 64, 64);
}

static void close_stage(void)
{
    stage_close(&stage);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static int echo_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

/* Lines, answered by jobs or on the I/O thread. */
static const struct pfk_protocol *lines_protocol(bool by_jobs)
{
    struct prefork_protocol given = *prefork_protocol_lines(by_jobs ? "handler" : NULL);

    given.message = by_jobs ? NULL : echo_inline;
    return stage_protocol(&given);
}

/* -- Marks ------------------------------------------------------------------ */

static char lines[65536];

#define LINE_BYTES 33 /* no read is a number of them */

static void fill_lines(void)
{
    memset(lines, 'a', sizeof(lines));
    for (size_t i = LINE_BYTES - 1; i < sizeof(lines); i += LINE_BYTES)
        lines[i] = '\n';
}

static bool reads(void)
{
    const ev_io *const watcher = &stage_last(&stage)->watcher;

    return ev_is_active(watcher) && (watcher->events & EV_READ) != 0;
}

static size_t waiting_bytes(void)
{
    return pfk_outbox_waiting_bytes(stage_last(&stage));
}

/* Returns how many jobs it ran. */
static unsigned turn(void)
{
    unsigned jobs;

    stage_turn(&stage);
    jobs = stage_work(&stage);
    stage_turn(&stage);
    return jobs;
}

/* Sends as much as server and kernel take from one who does not read; how much. */
static size_t stuff(int client)
{
    size_t sent = 0;

    for (int in_vain = 0; in_vain < 200; in_vain++) {
        const ssize_t n = send(client, lines + sent % LINE_BYTES, 4096, MSG_NOSIGNAL);

        sent += n > 0 ? (size_t)n : 0;
        if (turn() > 0 || n > 0)
            in_vain = 0;
        ck_assert_uint_lt(sent, 16 * PFK_CONNECTION_HIGH_WATER_BYTES);
    }
    return sent;
}

/* What a connection may have to send when it reads again: the low mark, and the answers to what it had read before. */
#define RESUMES_BYTES (PFK_CONNECTION_LOW_WATER_BYTES + PFK_LOOP_SCRATCH_BYTES)

/* The client reads a little at a time. Returns how often the server went on to read. */
static unsigned drain(int client, size_t sent)
{
    unsigned resumed = 0;
    bool stopped = true;

    for (size_t got = 0; got < sent - sent % LINE_BYTES;) {
        char bytes[1024];
        const ssize_t n = recv(client, bytes, sizeof(bytes), 0);

        got += n > 0 ? (size_t)n : 0;
        (void)turn();
        ck_assert_msg(!stopped || !reads() || waiting_bytes() <= RESUMES_BYTES, "reads again with %zu bytes to be sent",
                      waiting_bytes());
        resumed += stopped && reads();
        stopped = !reads();
    }
    return resumed;
}

START_TEST(reading_goes_on_at_the_low_mark_only)
{
    int client = stage_connect(&stage, lines_protocol(_i == 1));
    size_t sent;

    fill_lines();
    sent = stuff(client);
    ck_assert(!reads());
    ck_assert_uint_ge(waiting_bytes(), PFK_CONNECTION_HIGH_WATER_BYTES);
    ck_assert_uint_ge(drain(client, sent), 1);
    ck_assert(reads());
    ck_assert_ptr_null(stage_last(&stage)->outbox);
    ck_assert_uint_eq(pfk_buffer_length(stage_last(&stage)->input), sent % LINE_BYTES);
    (void)close(client);
}
END_TEST

/* Nobody runs the jobs: reading stops with what one read took, and goes on when there is room. */
START_TEST(reading_stops_while_the_table_is_full)
{
    int client = stage_connect(&stage, lines_protocol(true));
    size_t sent = 0, got = 0;

    fill_lines();
    for (int in_vain = 0; in_vain < 200; in_vain++) {
        const ssize_t n = send(client, lines + sent % LINE_BYTES, sizeof(lines) - LINE_BYTES, MSG_NOSIGNAL);

        sent += n > 0 ? (size_t)n : 0;
        stage_turn(&stage);
    }
    ck_assert(pfk_list_linked(&stage_last(&stage)->wait_link));
    ck_assert(!reads());
    ck_assert_uint_le(pfk_buffer_length(stage_last(&stage)->input), PFK_LOOP_SCRATCH_BYTES);
    STAGE_UNTIL(&stage, stage_work(&stage) > 0);
    while (got < sent - sent % LINE_BYTES) {
        const ssize_t n = recv(client, lines, sizeof(lines), 0);

        got += n > 0 ? (size_t)n : 0;
        (void)turn();
        ck_assert_uint_le(pfk_buffer_length(stage_last(&stage)->input), 2 * PFK_LOOP_SCRATCH_BYTES);
    }
    ck_assert(reads());
    (void)close(client);
}
END_TEST

/* Whatever the kernel has for it, a read brings no more than the scratch memory holds, to the rest of a message. */
START_TEST(input_does_not_grow_with_what_is_sent)
{
    int client = stage_connect(&stage, lines_protocol(false));
    const int kernel_bytes = 8 * PFK_LOOP_SCRATCH_BYTES;
    size_t sent = 0, most = 0;

    fill_lines();
    ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_SNDBUF, &kernel_bytes, sizeof(kernel_bytes)), 0);
    for (int i = 0; i < 3000; i++) {
        char answers[16384];
        const ssize_t n =
            send(client, lines + sent % LINE_BYTES, sizeof(lines) - LINE_BYTES - 7 * (size_t)(i % 4), MSG_NOSIGNAL);
        const struct pfk_buffer *input;

        sent += n > 0 ? (size_t)n : 0;
        (void)recv(client, answers, sizeof(answers), 0);
        stage_turn(&stage);
        input = stage_last(&stage)->input;
        most = input != NULL && input->capacity > most ? input->capacity : most;
    }
    ck_assert_uint_gt(sent, 32 * PFK_LOOP_SCRATCH_BYTES);
    ck_assert_uint_le(most, 2 * (PFK_LOOP_SCRATCH_BYTES + 64));
    (void)close(client);
}
END_TEST

/* -- Fairness --------------------------------------------------------------- */

enum { OTHERS = 50, ROUNDS = 400 };

struct asker {
    int fd;
    unsigned answers;
};

/* Takes what has come; asks again if that was an answer. */
static void ask_again(struct asker *asker)
{
    char answer[2];

    if (recv(asker->fd, answer, sizeof(answer), 0) != 2)
        return;
    asker->answers++;
    stage_send(asker->fd, "a\n");
}

/* How many answers came to the one that always has more requests under way. */
static unsigned take_all(int fd)
{
    const ssize_t got = recv(fd, lines, sizeof(lines), 0);

    (void)send(fd, lines, sizeof(lines), MSG_NOSIGNAL);
    return got > 0 ? (unsigned)got / 2 : 0;
}

/* A round is two turns of the loop. Beside free slots the greedy one has so many messages taken in a turn, and nobody
 * waits a round for an answer. Of eight slots it gets what a few of the others get together, and all of them the same.
 */
START_TEST(an_endless_pipeline_starves_nobody)
{
    const bool by_jobs = _i == 1;
    const struct pfk_protocol *protocol = lines_protocol(by_jobs);
    const int greedy = stage_connect(&stage, protocol);
    struct asker others[OTHERS];
    unsigned greedy_answers = 0, fewest = UINT32_MAX, most = 0;

    for (size_t i = 0; i < sizeof(lines); i++)
        lines[i] = i % 2 == 0 ? 'a' : '\n';
    (void)take_all(greedy);
    for (int i = 0; i < OTHERS; i++) {
        others[i] = (struct asker){.fd = stage_connect(&stage, protocol)};
        stage_send(others[i].fd, "a\n");
    }
    for (int round = 0; round < ROUNDS; round++) {
        (void)turn();
        greedy_answers += take_all(greedy);
        for (int i = 0; i < OTHERS; i++)
            ask_again(&others[i]);
    }
    for (int i = 0; i < OTHERS; i++) {
        fewest = others[i].answers < fewest ? others[i].answers : fewest;
        most = others[i].answers > most ? others[i].answers : most;
        (void)close(others[i].fd);
    }
    (void)close(greedy);
    ck_assert_uint_gt(greedy_answers, 0);
    if (by_jobs) {
        ck_assert_uint_le(greedy_answers, 2 * PFK_CONNECTION_STARVED_MESSAGES * fewest);
        ck_assert_uint_le(most, fewest + fewest / 2);
    } else {
        ck_assert_uint_le(greedy_answers, 2 * PFK_CONNECTION_TURN_MESSAGES * (ROUNDS + 1));
        ck_assert_uint_ge(fewest, ROUNDS - 1);
    }
}
END_TEST

static Suite *pressure_suite(void)
{
    Suite *suite = suite_create("pressure");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 30);
    tcase_add_checked_fixture(all, open_stage, close_stage);
    tcase_add_loop_test(all, reading_goes_on_at_the_low_mark_only, 0, 2);
    tcase_add_test(all, reading_stops_while_the_table_is_full);
    tcase_add_test(all, input_does_not_grow_with_what_is_sent);
    tcase_add_loop_test(all, an_endless_pipeline_starves_nobody, 0, 2);
    suite_add_tcase(suite, all);
    return suite;
}

PFK_UNIT_MAIN(pressure_suite)
