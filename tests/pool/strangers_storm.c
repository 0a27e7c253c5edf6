/* SPDX-License-Identifier: BSD-2-Clause */
/* Strangers who cost what they can without asking for much: idle ones, slow ones that send their request byte by byte,
 * ones that stop in its middle, ones that ask and never read. Beside them a hundred honest clients, all through the
 * table. None of the honest is lost, strangers hold next to no slots (D-21), and it is told what memory each of them
 * costs.
 *
 * In the long form there are 10,000 of each kind, and rounds with and without them take turns: the honest clients'
 * rate and median latency stay near what they are without. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../bench/load.h"
#include "../../bench/spread.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "io/connection.h"
#include "stormed.h"
#include "support.h"

enum kind { IDLE, SLOW, HALF, NEVER_READING, KINDS };

static const char *const kind_names[KINDS] = {"idle", "byte by byte", "half a request", "never reading"};

enum {
    STRANGERS_DEFAULT = 300,
    STRANGERS_LONG = 10000,
    SPARE_FDS = 1000, /* beside a descriptor for each stranger */
    SLOTS = 1024,
    SLOTS_HELD = SLOTS / 20, /* by all strangers, at most */
    IDLE_BYTES = 200,        /* of memory for each, at most */
    HONEST = 100,
    HONEST_MESSAGES = 5000, /* of a round of the short form */
    ROUND_MS = 1000,        /* of the long form */
    ROUNDS = 9,
    CONTENT_BYTES = 64,
    BURST = 20,          /* slow ones send a byte each; ms until the next burst, too */
    UNREAD_REQUESTS = 8, /* of one that never reads */
    UNREAD_BYTES = 8000, /* each of their answers */
};

/* Shared with the process of the strangers, who writes it. */
struct crowd {
    pfk_atomic_u64 bytes_sent;
    pfk_atomic_u32 complete;
};

struct round {
    double rate; /* in a second */
    double p50_ns;
    uint64_t errors;
};

static struct stormed stormed;
static struct crowd *crowd;
static unsigned strangers;
static bool is_long;

/* -- The strangers ---------------------------------------------------------- */

static void send_counted(int fd, const unsigned char *bytes, size_t length)
{
    if (!stormed_send(fd, bytes, length))
        _exit(EXIT_FAILURE);
    pfk_u64_bump_relaxed(&crowd->bytes_sent, length);
}

/* Of protocols where a request has an end; http and length tell it at the beginning. */
static void make_request(struct stormed_request *request, enum kind kind, unsigned number)
{
    const unsigned framed = STORMED_PROTOCOLS - STORMED_LINES;
    const enum stormed_protocol protocol =
        kind == NEVER_READING ? STORMED_LENGTH : (enum stormed_protocol)(STORMED_LINES + number % framed);

    stormed_make_request(request, protocol, STORMED_TABLE, number,
                         kind == NEVER_READING ? UNREAD_BYTES : CONTENT_BYTES);
}

/* One that never reads takes as little as can be. */
static void shrink(int fd)
{
    const int least = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
}

/* And the kernel keeps little for it: the server must. */
static void on_opened(struct prefork_connection *connection, void *context)
{
    const enum stormed_protocol *const protocol = context;
    const int least = 1;

    if (*protocol == STORMED_LENGTH)
        (void)setsockopt(connection->watcher.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
}

static int come(enum kind kind, unsigned number)
{
    static struct stormed_request request;
    int fd;

    stormed.prepare = kind == NEVER_READING ? shrink : NULL;
    make_request(&request, kind, number);
    fd = stormed_connect(&stormed, request.protocol, STORMED_TABLE, number);
    if (fd < 0)
        _exit(EXIT_FAILURE);
    if (kind == SLOW)
        send_counted(fd, request.bytes, 1);
    if (kind == HALF)
        send_counted(fd, request.bytes, request.length / 2);
    for (int i = 0; kind == NEVER_READING && i < UNREAD_REQUESTS; i++)
        send_counted(fd, request.bytes, request.length);
    return fd;
}

/* The slow ones send a thousand bytes in a second, all together, in bursts, and never their last one. */
PFK_NORETURN static void stay(enum kind kind, const int *fds)
{
    static struct stormed_request request;

    for (unsigned turn = 0; kind == SLOW; turn++) {
        const unsigned number = turn % strangers;
        const size_t sent = 1 + turn / strangers;

        make_request(&request, kind, number);
        if (sent < request.length - 1)
            send_counted(fds[number], request.bytes + sent, 1);
        if (turn % BURST == 0)
            (void)poll(NULL, 0, BURST);
    }
    for (;;)
        (void)pause();
}

PFK_NORETURN static void be_strangers(enum kind kind)
{
    int *const fds = calloc(strangers, sizeof(*fds));

    if (fds == NULL)
        _exit(EXIT_FAILURE);
    for (unsigned number = 0; number < strangers; number++)
        fds[number] = come(kind, number);
    pfk_u32_store_release(&crowd->complete, 1);
    stay(kind, fds);
}

static bool are_there(void *context)
{
    const uint64_t *const bytes_before = context;
    const uint64_t sent = pfk_u64_load_relaxed(&crowd->bytes_sent);
    const struct prefork_pool_statistics now = stormed_pool_statistics(&stormed);

    return pfk_u32_load_acquire(&crowd->complete) == 1 && now.connections_now >= strangers &&
           now.bytes_in - *bytes_before >= sent;
}

/* Returns the process of the strangers, when the server knows them all and has read what they sent; or -1. */
static pid_t invite(enum kind kind)
{
    uint64_t bytes_before = stormed_pool_statistics(&stormed).bytes_in;
    pid_t pid;

    pfk_u64_store_relaxed(&crowd->bytes_sent, 0);
    pfk_u32_store_release(&crowd->complete, 0);
    pid = fork();
    if (pid == 0)
        be_strangers(kind);
    if (!support_wait_until(are_there, &bytes_before, prefork_deadline_after_ms(3 * SUPPORT_LIMIT_MS)))
        printf("# only %" PRIu64 " strangers came\n", stormed_pool_statistics(&stormed).connections_now);
    return pid;
}

/* Whether nothing is left of them. */
static bool dismiss(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    return stormed_is_at_rest(&stormed);
}

/* -- The honest ones -------------------------------------------------------- */

static struct round be_honest(void)
{
    static struct load_result result;
    struct load_options options = {.connections = HONEST,
                                   .depth = 1,
                                   .message_bytes = CONTENT_BYTES,
                                   .messages = is_long ? 0 : HONEST_MESSAGES,
                                   .duration_ns = is_long ? ROUND_MS * UINT64_C(1000000) : 0,
                                   .stall_ns = SUPPORT_LIMIT_MS * UINT64_C(1000000),
                                   .seed = 1};

    if (address_parse(stormed_address(&stormed, STORMED_RAW, STORMED_TABLE), &options.address) != 0 ||
        load_run(&options, &result) != 0)
        return (struct round){.errors = 1};
    return (struct round){.rate = (double)result.measured_messages * 1e9 / (double)result.measured_ns,
                          .p50_ns = (double)histogram_percentile(&result.latency_ns, 50),
                          .errors = result.error_sum + result.missing};
}

/* -- What they cost --------------------------------------------------------- */

static bool has_done_its_work(void *context)
{
    const uint64_t *const expected = context;
    const struct prefork_statistics table = stormed_table_statistics(&stormed);

    return table.submitted >= *expected && table.free_slots == table.slots;
}

/* With nobody else there, when `expected` jobs have been submitted. That they hold none at all is waited for a while.
 */
static bool hold_few_slots(uint64_t expected)
{
    const bool none = support_wait_until(has_done_its_work, &expected, prefork_deadline_after_ms(SUPPORT_LIMIT_MS / 4));
    const struct prefork_statistics table = stormed_table_statistics(&stormed);

    if (!none)
        printf("# they hold %" PRIu32 " of %" PRIu32 " slots\n", table.slots - table.free_slots, table.slots);
    return table.submitted >= expected && table.slots - table.free_slots <= SLOTS_HELD;
}

static bool cost_little_memory(enum kind kind, uint64_t before)
{
    const uint64_t now = stormed_allocated_bytes(&stormed);
    const double each = (double)(now - before) / strangers;

    printf("# %.0f bytes of the server's memory for each\n", each);
    return now != UINT64_MAX && (kind != IDLE || !is_long || each <= IDLE_BYTES);
}

/* -- The storms ------------------------------------------------------------- */

static bool lost_nobody(struct round round)
{
    if (round.errors > 0)
        printf("# %" PRIu64 " errors of honest clients\n", round.errors);
    return round.errors == 0;
}

/* One round of each kind of strangers; what they hold is looked at before the honest come. */
static bool storm_once(enum kind kind, struct round *beside_out)
{
    const uint64_t before = stormed_allocated_bytes(&stormed);
    const uint64_t jobs = kind == NEVER_READING ? (uint64_t)strangers * UNREAD_REQUESTS : 0;
    const uint64_t submitted = stormed_table_statistics(&stormed).submitted;
    const pid_t pid = invite(kind);
    bool passed = hold_few_slots(submitted + jobs);

    passed = cost_little_memory(kind, before) && passed;
    *beside_out = be_honest();
    return dismiss(pid) && passed && lost_nobody(*beside_out);
}

/* Rounds without and with strangers, by turns. */
static bool storm_long(enum kind kind)
{
    double rates[ROUNDS], p50s[ROUNDS];
    struct spread rate, p50;
    bool passed = true;

    for (int i = 0; i < ROUNDS; i++) {
        const struct round alone = be_honest();
        struct round beside;

        passed = lost_nobody(alone) && storm_once(kind, &beside) && passed;
        rates[i] = beside.rate / alone.rate;
        p50s[i] = beside.p50_ns / alone.p50_ns;
        printf("# round %d: alone %.0f/s, median %.0f us; beside %u strangers (%s) %.0f/s, %.0f us\n", i + 1,
               alone.rate, alone.p50_ns / 1e3, strangers, kind_names[kind], beside.rate, beside.p50_ns / 1e3);
    }
    rate = spread_of(rates, ROUNDS);
    p50 = spread_of(p50s, ROUNDS);
    printf("# %s: rate %.3f (%.3f-%.3f) of that without strangers, median latency %.3f (%.3f-%.3f)\n", kind_names[kind],
           rate.median, rate.min, rate.max, p50.median, p50.min, p50.max);
    return passed && rate.median >= 0.9 && p50.median < 1.2;
}

static bool storm(enum kind kind)
{
    struct round beside;

    return is_long ? storm_long(kind) : storm_once(kind, &beside);
}

/* Strangers take a descriptor here, and one in the worker. */
static bool has_descriptors(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max >= strangers + SPARE_FDS;
}

static bool report(int number, bool passed, const char *what)
{
    printf("%s %d - %s\n", passed ? "ok" : "not ok", number, what);
    return passed;
}

int main(int argc, char **argv)
{
    bool passed = true;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    prefork_log_set_level(PREFORK_LOG_WARNING);
    is_long = argc > 1 && strcmp(argv[1], "long") == 0;
    strangers = is_long ? STRANGERS_LONG : STRANGERS_DEFAULT;
    if (!has_descriptors()) {
        printf("1..0 # SKIP the hard limit of descriptors (ulimit -Hn) is below %u\n", strangers + SPARE_FDS);
        return EXIT_SUCCESS;
    }
    printf("1..%d\n", KINDS + 1);
    crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (crowd == MAP_FAILED || !stormed_start(&stormed, &(struct stormed_options){.slots = SLOTS, .opened = on_opened}))
        return EXIT_FAILURE;
    (void)be_honest(); /* all that is made once is made */
    passed = stormed_is_at_rest(&stormed);
    for (int kind = 0; kind < KINDS; kind++)
        passed = report(kind + 1, storm((enum kind)kind), kind_names[kind]) && passed;
    passed = report(KINDS + 1, stormed_end(&stormed), "the worker lives, and ends in order") && passed;
    (void)munmap(crowd, sizeof(*crowd));
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
