/* SPDX-License-Identifier: BSD-2-Clause */
/* A stage for tests of one I/O thread's parts: a table, a loop whose rounds
 * the test turns itself, and a worker's lane on which it runs jobs one by one,
 * in any order. All in one thread, so that each interleaving is the test's. */
#ifndef PFK_TESTS_IO_STAGE_H
#define PFK_TESTS_IO_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/connection.h"
#include "io/loop.h"
#include "prefork.h"

#define STAGE_WORKERS 16

struct stage {
    struct prefork_table *table;
    struct prefork_lane *lane;
    struct prefork_lane *workers[STAGE_WORKERS]; /* each holds at most one job */
    struct pfk_loop loop;
    struct prefork_connection *last;
};

/* Sets the stage; `slots`, `request_bytes` and `reply_bytes` may be 0. */
void stage_open(struct stage *stage, uint32_t slots, uint32_t request_bytes, uint32_t reply_bytes);

/* Ends everything, and fails unless the table is clean and all slots free. */
void stage_close(struct stage *stage);

/* Turns the loop once, without sleeping. */
void stage_turn(struct stage *stage);

/* Turns the loop until `expression` is true; fails after 10 s. */
#define STAGE_UNTIL(stage, expression)                                                                                 \
    do {                                                                                                               \
        const uint64_t stage_deadline_ns = prefork_deadline_after_ms(10000);                                           \
        while (!(expression)) {                                                                                        \
            ck_assert_msg(prefork_clock_now_ns() < stage_deadline_ns, "never happened: %s", #expression);              \
            stage_turn(stage);                                                                                         \
        }                                                                                                              \
    } while (0)

/* Opens a connection of `protocol` over a socket pair, or over TCP on the
 * loopback, and returns the client's end, non-blocking. */
int stage_connect(struct stage *stage, const struct pfk_protocol *protocol);
int stage_connect_tcp(struct stage *stage, const struct pfk_protocol *protocol);

/* Returns the connection that was opened last, which must live. */
struct prefork_connection *stage_last(struct stage *stage);

/* Completes `given` as the pool would; handler 0. Good until the test ends. */
const struct pfk_protocol *stage_protocol(const struct prefork_protocol *given);

/* Claims the next job on a free worker lane. Returns the lane's index, or -1:
 * there is none. The job's request is then in stage_request. */
int stage_claim(struct stage *stage);
const char *stage_request(struct stage *stage, int worker, size_t *length_out);

/* Ends the job of a worker lane: with `status`, the reply being an echo. */
void stage_complete(struct stage *stage, int worker, int status);

/* Claims and echoes whatever is ready; returns how many. */
unsigned stage_work(struct stage *stage);

/* Sends all of `text`, which must fit the socket. */
void stage_send(int fd, const char *text);

/* Turns the loop, without working, until the client has read just `text`. */
void stage_expect(struct stage *stage, int fd, const char *text);

/* Turns the loop until the client reads the end of the stream; a reset or a
 * byte fails. */
void stage_expect_end(struct stage *stage, int fd);

/* Fails if there is a byte to be read now. */
void stage_expect_nothing(struct stage *stage, int fd);

#endif
