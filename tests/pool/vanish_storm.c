/* SPDX-License-Identifier: BSD-2-Clause */
/* Strangers connect, send a whole request and vanish at once, by an end or by a reset, while its job waits, runs or has
 * ended: so the server's descriptors and few slots go over to others with an answer on its way. Honest clients, all of
 * whose requests differ, look whether each answer is their own (D-19). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "stormed.h"

enum {
    HONEST = 4,        /* processes */
    REQUESTS_EACH = 3, /* over one connection */
    STRANGERS_AT_ONCE = 32,
    SLOTS = 8,
    CONTENT_BYTES = 200,
    STRANGERS_DEFAULT = 10000,
    STRANGERS_LONG = 100000,
};

/* Shared: written by the processes named, read at the end. */
struct tally {
    pfk_atomic_u64 vanished; /* stranger */
    pfk_atomic_u32 over;     /* parent: the honest ones may leave */
    struct {
        pfk_atomic_u64 served;
        pfk_atomic_u64 wrong; /* or none */
    } honest[HONEST + 1];     /* the last is the stranger's better self */
};

static struct stormed stormed;
static struct tally *tally;

/* Of the table, by each protocol in turn. */
static int connect_for(uint64_t number, struct stormed_request *request, uint64_t name)
{
    const enum stormed_protocol protocol = (enum stormed_protocol)(number % STORMED_PROTOCOLS);

    stormed_make_request(request, protocol, STORMED_TABLE, name, CONTENT_BYTES);
    return stormed_connect(&stormed, protocol, STORMED_TABLE, (unsigned)number);
}

/* -- The honest ones -------------------------------------------------------- */

static void ask(int fd, const struct stormed_request *request, unsigned self)
{
    if (stormed_send(fd, request->bytes, request->length) && stormed_hear(fd, request) > 0)
        pfk_u64_bump_relaxed(&tally->honest[self].served, 1);
    else
        pfk_u64_bump_relaxed(&tally->honest[self].wrong, 1);
}

/* Comes, asks a few times, and leaves. */
static void be_honest_once(uint64_t number, unsigned self)
{
    static struct stormed_request request;
    uint64_t name = ((uint64_t)self + 1) << 48 | number * REQUESTS_EACH;
    const int fd = connect_for(number, &request, name);

    if (fd < 0)
        _exit(EXIT_FAILURE);
    ask(fd, &request, self);
    for (int more = 1; more < REQUESTS_EACH; more++) {
        stormed_make_request(&request, request.protocol, STORMED_TABLE, ++name, CONTENT_BYTES);
        ask(fd, &request, self);
    }
    (void)close(fd);
}

PFK_NORETURN static void be_honest(unsigned self)
{
    for (uint64_t number = self; pfk_u32_load_acquire(&tally->over) == 0; number++)
        be_honest_once(number, self);
    _exit(EXIT_SUCCESS);
}

/* -- The strangers ---------------------------------------------------------- */

/* After some of them one is honest, and waits: else all the server's backlog would be strangers. */
PFK_NORETURN static void be_strangers(uint64_t strangers)
{
    static struct stormed_request request;

    for (uint64_t number = 0; number < strangers; number++) {
        const int fd = connect_for(number, &request, number);

        if (fd < 0 || !stormed_send(fd, request.bytes, request.length))
            _exit(EXIT_FAILURE);
        if (number / STORMED_PROTOCOLS % 2 == 0)
            stormed_reset(fd);
        else
            (void)close(fd);
        pfk_u64_bump_relaxed(&tally->vanished, 1);
        if (number % STRANGERS_AT_ONCE == 0)
            be_honest_once(number, HONEST);
    }
    _exit(EXIT_SUCCESS);
}

/* -- The storm -------------------------------------------------------------- */

static bool ended_well(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status == 0;
}

static bool storm(uint64_t strangers)
{
    pid_t honest[HONEST], stranger;
    uint64_t served = 0, wrong = 0;
    bool fine;

    for (unsigned self = 0; self < HONEST; self++) {
        honest[self] = fork();
        if (honest[self] == 0)
            be_honest(self);
    }
    stranger = fork();
    if (stranger == 0)
        be_strangers(strangers);
    fine = ended_well(stranger);
    pfk_u32_store_release(&tally->over, 1);
    for (unsigned self = 0; self < HONEST; self++) {
        fine = ended_well(honest[self]) && fine;
    }
    for (unsigned self = 0; self <= HONEST; self++) {
        served += pfk_u64_load_relaxed(&tally->honest[self].served);
        wrong += pfk_u64_load_relaxed(&tally->honest[self].wrong);
    }
    printf("# %" PRIu64 " strangers vanished, %" PRIu64 " of them leaving a job; %" PRIu64
           " answers were their clients' own, %" PRIu64 " were not\n",
           pfk_u64_load_relaxed(&tally->vanished), stormed_table_statistics(&stormed).submitted - served - wrong,
           served, wrong);
    return fine && wrong == 0 && served >= HONEST * REQUESTS_EACH;
}

static bool report(int number, bool passed, const char *what)
{
    printf("%s %d - %s\n", passed ? "ok" : "not ok", number, what);
    return passed;
}

int main(int argc, char **argv)
{
    const bool is_long = argc > 1 && strcmp(argv[1], "long") == 0;
    bool passed;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    prefork_log_set_level(PREFORK_LOG_WARNING);
    printf("1..3\n");
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED || !stormed_start(&stormed, &(struct stormed_options){.slots = SLOTS}))
        return EXIT_FAILURE;
    passed = report(1, storm(is_long ? STRANGERS_LONG : STRANGERS_DEFAULT), "every answer meets its own client");
    passed = report(2, stormed_is_at_rest(&stormed), "all slots, connections and descriptors are free") && passed;
    passed = report(3, stormed_end(&stormed), "the worker lives, and ends in order") && passed;
    (void)munmap(tally, sizeof(*tally));
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
