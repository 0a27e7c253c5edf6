/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients reset their connections at every byte: of a request, whether or not the server has read what came before; of
 * an answer, with another one behind it; of a request whose predecessor is in the hands of a handler. By every
 * protocol, answered on the I/O thread and through the table. Nothing may be left of them: no connection, slot,
 * descriptor or memory; and the next client is served (D-20). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "stormed.h"
#include "support.h"

/* What rounds may add to the worker's memory: lists of spare parts and libev's arrays are as long as the most that were
 * ever needed at once. What is lost one by one LeakSanitizer finds. */
#define GROWTH_BYTES 32768

struct scale {
    unsigned rounds;
    size_t content_bytes;
};

static const struct scale short_form = {.rounds = 2, .content_bytes = 32};
static const struct scale long_form = {.rounds = 3, .content_bytes = 1500};

static struct stormed stormed;
static const struct scale *scale;
static uint64_t resets;
static unsigned tests;

static enum stormed_protocol protocol;
static enum stormed_way way;
static struct stormed_request first, second;

static int client(void)
{
    const int fd = stormed_connect(&stormed, protocol, way, (unsigned)resets);

    if (fd < 0)
        exit(EXIT_FAILURE);
    return fd;
}

static void reset(int fd)
{
    stormed_reset(fd);
    resets++;
}

/* -- Events to wait for ---------------------------------------------------- */

static bool has_read(void *context)
{
    return stormed_pool_statistics(&stormed).bytes_in >= *(uint64_t *)context;
}

static bool has_no_connection(void *context)
{
    (void)context;
    return stormed_pool_statistics(&stormed).connections_now == 0;
}

static bool has_claimed(void *context)
{
    (void)context;
    return stormed_table_statistics(&stormed).claimed_slots > 0;
}

static bool has_no_job(void *context)
{
    const struct prefork_statistics table = stormed_table_statistics(&stormed);

    (void)context;
    return table.free_slots == table.slots;
}

static bool wait_until(support_condition_fn *condition, void *context)
{
    return support_wait_until(condition, context, prefork_deadline_after_ms(SUPPORT_LIMIT_MS));
}

/* -- Resets ---------------------------------------------------------------- */

static bool reset_within_request(size_t length)
{
    const int fd = client();
    const bool sent = stormed_send(fd, first.bytes, length);

    reset(fd);
    return sent;
}

/* The server has taken what was sent: the connection is at rest within a message. */
static bool reset_after_it_was_read(size_t length)
{
    uint64_t bytes_in = stormed_pool_statistics(&stormed).bytes_in + length;
    const int fd = client();
    const bool read = stormed_send(fd, first.bytes, length) && wait_until(has_read, &bytes_in);

    reset(fd);
    return read && wait_until(has_no_connection, NULL);
}

static bool reset_within_answers(size_t length)
{
    static unsigned char answer[2 * sizeof(first.bytes)];
    const int fd = client();
    const bool asked = stormed_send(fd, first.bytes, first.length) && stormed_send(fd, second.bytes, second.length);
    const bool heard = asked && (length == 0 || recv(fd, answer, length, MSG_WAITALL) == (ssize_t)length);

    reset(fd);
    return heard;
}

/* The first request's job ends when the connection is gone. */
static bool reset_behind_a_job(size_t length)
{
    static struct stormed_request holding;
    const int fd = client();
    bool held;

    stormed_make_holding_request(&holding, protocol);
    held = stormed_send(fd, holding.bytes, holding.length) && wait_until(has_claimed, NULL) &&
           stormed_send(fd, second.bytes, length);
    reset(fd);
    return held && wait_until(has_no_connection, NULL) && write(stormed.release_fd, "", 1) == 1 &&
           wait_until(has_no_job, NULL);
}

/* -- Rounds ---------------------------------------------------------------- */

static bool at_every_byte(const char *what, bool (*reset_at)(size_t length), size_t last)
{
    for (size_t length = 0; length <= last; length++) {
        if (reset_at(length))
            continue;
        printf("# %s: at byte %zu of %zu\n", what, length, last);
        return false;
    }
    return true;
}

/* Returns the length of its answer; 0: it was not served. */
static size_t serves_an_honest_one(const struct stormed_request *request)
{
    const int fd = client();
    const size_t length = stormed_send(fd, request->bytes, request->length) ? stormed_hear(fd, request) : 0;

    (void)close(fd);
    return length;
}

static bool round_of_resets(void)
{
    const size_t answer_length = serves_an_honest_one(&first);

    return answer_length > 0 && at_every_byte("within a request", reset_within_request, first.length) &&
           at_every_byte("within a request that was read", reset_after_it_was_read, first.length) &&
           at_every_byte("within an answer", reset_within_answers, 2 * answer_length) &&
           (way == STORMED_INLINE || at_every_byte("behind a job", reset_behind_a_job, second.length)) &&
           serves_an_honest_one(&first) > 0 && stormed_is_at_rest(&stormed);
}

static bool all_rounds(void)
{
    uint64_t settled, grown;

    stormed_make_request(&first, protocol, way, 1, scale->content_bytes);
    stormed_make_request(&second, protocol, way, 2, scale->content_bytes);
    if (!round_of_resets())
        return false;
    settled = stormed_allocated_bytes(&stormed);
    for (unsigned round = 1; round < scale->rounds; round++)
        if (!round_of_resets())
            return false;
    grown = stormed_allocated_bytes(&stormed);
    if (settled != UINT64_MAX && grown != UINT64_MAX && grown <= settled + GROWTH_BYTES)
        return true;
    printf("# the worker's memory grew from %" PRIu64 " to %" PRIu64 " bytes\n", settled, grown);
    return false;
}

/* -- Main ------------------------------------------------------------------ */

static bool report(bool passed, const char *what)
{
    static const char *const protocols[] = {"raw, ", "lines, ", "length, ", "http, "};
    static const char *const ways[] = {"on the I/O thread: ", "through the table: "};

    printf("%s %u - %s%s%s\n", passed ? "ok" : "not ok", ++tests, way < STORMED_WAYS ? protocols[protocol] : "",
           way < STORMED_WAYS ? ways[way] : "", what);
    return passed;
}

int main(int argc, char **argv)
{
    bool passed = true;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    prefork_log_set_level(PREFORK_LOG_WARNING);
    scale = argc > 1 && strcmp(argv[1], "long") == 0 ? &long_form : &short_form;
    printf("1..%d\n", STORMED_PROTOCOLS * STORMED_WAYS + 1);
    if (!stormed_start(&stormed, &(struct stormed_options){.slots = 8}))
        return EXIT_FAILURE;
    for (int number = 0; number < STORMED_PROTOCOLS * STORMED_WAYS; number++) {
        protocol = (enum stormed_protocol)(number / STORMED_WAYS);
        way = (enum stormed_way)(number % STORMED_WAYS);
        passed = report(all_rounds(), "resets at every byte leave nothing") && passed;
    }
    printf("# %" PRIu64 " resets\n", resets);
    way = STORMED_WAYS;
    passed = report(stormed_end(&stormed), "the worker lives, and ends in order") && passed;
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
