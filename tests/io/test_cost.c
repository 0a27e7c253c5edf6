/* SPDX-License-Identifier: BSD-2-Clause */
/* What a request costs: how many system calls, and no allocation. 64
 * connections, each with one message on its way, or sixteen that come at once.
 *
 * All of them are ready in one turn of the loop, which is what an I/O thread
 * that is busy meets; so the numbers are exact. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ev.h>

#include "../lib/leak.h"
#include "../lib/syscalls.h"
#include "../lib/unit.h"
#include "stage.h"

#define CONNECTIONS   64
#define WARMUP_ROUNDS 3
#define ROUNDS        200
/* Each system call stops it twice. */
#define COUNTED_ROUNDS 32
#define SLOTS          2048
#define LONG_BYTES     4096

/* -- Allocations: malloc and its like are wrapped by the linker, libev's are asked for here -- */

static unsigned allocations;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    allocations++;
    return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    allocations++;
    return __real_realloc(memory, bytes);
}

static void *allocate_for_ev(void *memory, long bytes) EV_NOEXCEPT
{
    if (bytes != 0)
        return __wrap_realloc(memory, (size_t)bytes);
    free(memory);
    return NULL;
}

/* -- The server ---------------------------------------------------------------- */

/* One case: how the echo is made, of what. */
struct shape {
    bool by_job, by_lines; /* else inline; else whatever comes is a message */
    unsigned depth;
    size_t bytes;
    unsigned waits, wakes; /* how many for a round, beside a receive and a send for each connection */
};

static struct stage stage;
static int clients[CONNECTIONS];
static char request[LONG_BYTES * 16];

static int write_back(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

static const struct pfk_protocol *protocol_of(const struct shape *shape)
{
    const char *const handler = shape->by_job ? "echo" : NULL;
    struct prefork_protocol given = shape->by_lines ? *prefork_protocol_lines(handler) : *prefork_protocol_raw(handler);

    if (!shape->by_job)
        given.message = write_back;
    return stage_protocol(&given);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    *(bool *)timer->data = true;
}

/* libev allocates when a loop's first timer expires. On a slow machine that
 * would be the one of a lane's results, in the midst of the rounds. */
static void expire_a_timer(void)
{
    bool expired = false;
    ev_timer timer = {.data = &expired};

    ev_timer_init(&timer, on_timer, 0., 0.);
    ev_timer_start(stage.loop.ev, &timer);
    STAGE_UNTIL(&stage, expired);
}

static void open_server(const struct shape *shape)
{
    const struct pfk_protocol *protocol;

    ev_set_allocator(allocate_for_ev);
    stage_open(&stage, SLOTS, LONG_BYTES, LONG_BYTES);
    expire_a_timer();
    protocol = protocol_of(shape);
    for (int i = 0; i < CONNECTIONS; i++)
        clients[i] = stage_connect(&stage, protocol);
    memset(request, 'x', sizeof(request));
    for (unsigned i = 1; i <= shape->depth; i++)
        request[i * shape->bytes - 1] = '\n';
}

static void close_server(void)
{
    for (int i = 0; i < CONNECTIONS; i++)
        (void)close(clients[i]);
    stage_close(&stage);
}

/* -- A round: without an assertion, those allocate and write ---------------------- */

static bool send_requests(size_t length)
{
    for (int i = 0; i < CONNECTIONS; i++)
        if (send(clients[i], request, length, MSG_NOSIGNAL) != (ssize_t)length)
            return false;
    return true;
}

static bool receive_replies(size_t length)
{
    static char replies[sizeof(request)];

    for (int i = 0; i < CONNECTIONS; i++) {
        size_t got = 0;
        ssize_t piece;

        while (got < length && (piece = recv(clients[i], replies + got, length - got, 0)) > 0)
            got += (size_t)piece;
        if (got != length || memcmp(replies, request, length) != 0)
            return false;
    }
    return true;
}

/* What a job thread does while there are jobs. */
static void run_jobs(void)
{
    struct prefork_job *job;
    size_t length;

    while (prefork_lane_claim(stage.workers[0], PREFORK_NO_WAIT, &job) == 0) {
        (void)prefork_job_request(job, &length);
        (void)prefork_job_reply_request(job, 0, length);
        (void)prefork_job_complete(job, 0);
    }
}

static void serve_round(const struct shape *shape)
{
    stage_turn(&stage);
    if (!shape->by_job)
        return;
    run_jobs();
    for (unsigned turn = 1; turn < shape->waits; turn++)
        stage_turn(&stage);
}

static bool run_round(const struct shape *shape, bool counted)
{
    const size_t length = shape->depth * shape->bytes;

    if (!send_requests(length))
        return false;
    if (counted)
        pfk_test_syscalls_begin();
    serve_round(shape);
    if (counted)
        pfk_test_syscalls_end();
    return receive_replies(length);
}

/* How many of `n` rounds went well, after some that don't count. */
static unsigned run_rounds(const struct shape *shape, unsigned n, bool counted)
{
    unsigned done = 0;

    for (unsigned round = 0; round < WARMUP_ROUNDS; round++)
        if (!run_round(shape, false))
            return 0;
    allocations = 0;
    while (done < n && run_round(shape, counted))
        done++;
    return done;
}

/* -- The cases --------------------------------------------------------------------- */

/* A turn waits once for all. Through the table: one more, or one for each 64
 * results, and one wake-up for all of them. */
static const struct shape shapes[] = {
    /* answered on the I/O thread: 129 for 64 requests (2.02), or for 1,024 (0.126) */
    {.depth = 1, .bytes = 64, .waits = 1},
    {.depth = 16, .bytes = 64, .waits = 1},
    {.depth = 16, .bytes = 64, .by_lines = true, .waits = 1},
    {.depth = 1, .bytes = LONG_BYTES, .waits = 1},
    /* through the table: 132 for 64 (2.06), 147 for 1,024 (0.144) */
    {.depth = 1, .bytes = 64, .by_job = true, .waits = 2, .wakes = 1},
    {.depth = 16, .bytes = 64, .by_job = true, .by_lines = true, .waits = 17, .wakes = 1},
    {.depth = 1, .bytes = LONG_BYTES, .by_job = true, .waits = 2, .wakes = 1},
};

static void scene(void *context)
{
    const struct shape *const shape = context;

    open_server(shape);
    ck_assert_uint_eq(run_rounds(shape, COUNTED_ROUNDS, true), COUNTED_ROUNDS);
    close_server();
}

/* Where the C library or libev make them by another name. */
static unsigned waits_of(const struct pfk_test_syscalls *counts)
{
    unsigned waits = counts->of[SYS_epoll_pwait];

#ifdef SYS_epoll_wait
    waits += counts->of[SYS_epoll_wait];
#endif
    return waits;
}

START_TEST(system_calls)
{
    struct shape shape = shapes[_i];
    struct pfk_test_syscalls counts;

    ck_assert_int_eq(pfk_test_count_syscalls(scene, &shape, &counts), 0);
    ck_assert_uint_eq(counts.of[SYS_recvfrom] + counts.of[SYS_recvmsg], COUNTED_ROUNDS * CONNECTIONS);
    ck_assert_uint_eq(counts.of[SYS_sendto] + counts.of[SYS_sendmsg], COUNTED_ROUNDS * CONNECTIONS);
    ck_assert_uint_eq(waits_of(&counts), COUNTED_ROUNDS * shape.waits);
    ck_assert_uint_eq(counts.of[SYS_read], COUNTED_ROUNDS * shape.wakes);
    ck_assert_uint_eq(counts.of[SYS_write], COUNTED_ROUNDS * shape.wakes);
    /* And no other; where the clock needs one, that is the machine's. */
    ck_assert_uint_eq(counts.all - counts.of[SYS_clock_gettime],
                      COUNTED_ROUNDS * (2 * CONNECTIONS + shape.waits + 2 * shape.wakes));
}
END_TEST

START_TEST(no_request_allocates)
{
    const struct shape *const shape = &shapes[_i];
    const int fds_before = pfk_test_fds_open();
    unsigned done, allocated;

    open_server(shape);
    done = run_rounds(shape, ROUNDS, false);
    allocated = allocations; /* before an assertion */
    ck_assert_uint_eq(done, ROUNDS);
    ck_assert_uint_eq(allocated, 0);
    close_server();
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}
END_TEST

/* The counter counts. */
START_TEST(opening_allocates)
{
    allocations = 0;
    open_server(&shapes[0]);
    ck_assert_uint_gt(allocations, CONNECTIONS);
    close_server();
}
END_TEST

static Suite *cost_suite(void)
{
    Suite *const suite = suite_create("cost");
    TCase *const calls = tcase_create("calls");
    TCase *const memory = tcase_create("memory");
    const int n = (int)(sizeof(shapes) / sizeof(shapes[0]));

    tcase_set_tags(calls, PFK_UNIT_NO_VALGRIND);
    tcase_set_timeout(calls, 20);
    if (pfk_test_syscalls_countable())
        tcase_add_loop_test(calls, system_calls, 0, n);
    else
        printf("# system calls are not counted: ptrace can't do it here\n");
    suite_add_tcase(suite, calls);
    tcase_set_timeout(memory, 20);
    tcase_add_loop_test(memory, no_request_allocates, 0, n);
    tcase_add_test(memory, opening_allocates);
    suite_add_tcase(suite, memory);
    return suite;
}

PFK_UNIT_MAIN(cost_suite)
