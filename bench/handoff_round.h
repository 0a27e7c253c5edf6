/* SPDX-License-Identifier: BSD-2-Clause */
/* One round of the handoff benchmark: forks producers and workers, lets them
 * hand over jobs for a while, and says what that cost. */
#ifndef BENCH_HANDOFF_ROUND_H
#define BENCH_HANDOFF_ROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "transport.h"

#define ROUND_MAX_PARTICIPANTS 128

enum placement {
    PLACEMENT_SAME,    /* all on one processor */
    PLACEMENT_OTHER,   /* workers on another processor than the producers */
    PLACEMENT_SWAPPED, /* the same with the processors exchanged */
    PLACEMENT_FREE     /* where the kernel puts them */
};

struct round_plan {
    const struct transport *transport;
    struct shape shape;
    enum placement placement;
    uint64_t jobs;        /* at most, all producers together */
    uint64_t duration_ns; /* at most */
    bool timed;           /* latencies are recorded, of one producer with a window of 1 */
    bool futex_metered;   /* futex calls are counted by the kernel; see futex_meter.h */
    uint32_t pause_us;    /* before each timed job; everybody falls asleep */
};

/* No figure: the transport doesn't count its calls. */
#define ROUND_UNCOUNTED UINT64_MAX

struct round_result {
    uint64_t jobs;
    uint64_t wall_ns;             /* from the start to the last job's end */
    uint64_t cpu_ns;              /* user and system time of all participants */
    uint64_t switches;            /* context switches of all participants */
    uint64_t futex_calls;         /* or ROUND_UNCOUNTED */
    struct histogram taken_ns;    /* from before begin_request until a worker has it */
    struct histogram answered_ns; /* until the producer has its reply */
};

/* Runs it. Returns 0; or -1 after saying on stderr what went wrong: a byte was
 * not right, a job was lost or doubled, a participant failed or was stuck. */
int round_run(const struct round_plan *plan, struct round_result *result_out);

#endif
