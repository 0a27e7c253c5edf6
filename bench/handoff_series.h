/* SPDX-License-Identifier: BSD-2-Clause */
/* The rounds of one transport in one case, and what they say together. */
#ifndef BENCH_HANDOFF_SERIES_H
#define BENCH_HANDOFF_SERIES_H

#include <stdbool.h>
#include <stdint.h>

#include "handoff_options.h"
#include "handoff_round.h"
#include "spread.h"

enum series_figure {
    SERIES_CPU_NS,   /* for a job */
    SERIES_RATE,     /* jobs in a second */
    SERIES_FUTEX,    /* calls for 1,000 jobs; below 0: uncounted */
    SERIES_SWITCHES, /* for 1,000 jobs */
    SERIES_TAKEN_P50_NS,
    SERIES_ANSWERED_P50_NS,
    SERIES_FIGURES
};

struct series {
    const struct transport *transport;
    struct shape shape;
    const char *refusal; /* why it has no rounds, or NULL */
    uint32_t rounds;
    double figures[SERIES_FIGURES][HANDOFF_MAX_ROUNDS];
    struct histogram taken_ns, answered_ns; /* of all rounds */
};

/* Starts the series of a transport that is to carry `shape`; the window is cut
 * to what the transport allows. */
void series_start(struct series *series_out, const struct transport *transport, const struct shape *shape);

/* Adds a round. */
void series_add(struct series *series, const struct round_result *result);

struct spread series_spread(const struct series *series, enum series_figure figure);

/* The spread of the quotients of the two series' rounds of the same number. */
struct spread series_ratio(const struct series *series, const struct series *base, enum series_figure figure);

#endif
