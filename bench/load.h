/* SPDX-License-Identifier: BSD-2-Clause */
/* One run of load against an echo server: what to do, what came of it. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "cpu_time.h"
#include "histogram.h"
#include "reply_tag.h"

#define LOAD_MAX_CPU_TARGETS 64

struct load_options {
    struct address address;
    uint32_t connections;
    uint32_t depth; /* messages in flight on a connection */
    uint64_t message_bytes;
    uint64_t messages;    /* of all connections together; 0: until the time is over */
    uint64_t duration_ns; /* 0: until the messages are sent */
    uint64_t stall_ns;    /* give up after this long without a new reply byte */
    uint64_t seed;
    bool lines;     /* messages are lines, replies may carry a tag */
    bool reconnect; /* a connection that fell is opened again, what was unanswered is sent again */
    bool progress;  /* a line a second on stderr */
    struct cpu_target cpu_targets[LOAD_MAX_CPU_TARGETS];
    size_t cpu_target_count;
};

enum load_error {
    LOAD_ERROR_CONNECT, /* no connection came about */
    LOAD_ERROR_RESET,   /* it was reset while in use */
    LOAD_ERROR_SHORT,   /* it ended with replies missing */
    LOAD_ERROR_WRONG,   /* a byte that isn't the expected one */
    LOAD_ERROR_EXTRA,   /* bytes beyond what was sent */
    LOAD_ERROR_STALLED, /* no progress within the limit */
    LOAD_ERROR_KINDS
};

struct load_result {
    uint64_t messages; /* answered in full */
    uint64_t bytes;    /* of replies, verified, tags not counted */
    uint64_t missing;  /* messages that were begun and not answered in full */
    uint64_t unsent;   /* messages that were asked for and never begun */
    uint64_t errors[LOAD_ERROR_KINDS];
    uint64_t error_sum;
    uint64_t lost_connections; /* reconnect only */
    uint64_t resent_messages;  /* reconnect only */
    uint64_t refused_connects; /* reconnect only: tried again, hence no error */

    /* From the moment all connections were open and had been served once. */
    uint64_t measured_messages;
    uint64_t measured_ns;
    uint64_t cpu_ns; /* of the targets */
    bool cpu_known;
    struct histogram latency_ns; /* from the first byte written to the last byte of the reply */

    struct tag_count workers;
};

/* Runs to the end, within the options' time or the stall limit. Returns 0 when
 * it ran (the errors are in the result) or -errno when it couldn't begin, after
 * saying why on stderr. */
int load_run(const struct load_options *options, struct load_result *result_out);

/* The name that reports use. */
const char *load_error_name(enum load_error kind);

#endif
