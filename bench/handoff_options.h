/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of the handoff benchmark. */
#ifndef BENCH_HANDOFF_OPTIONS_H
#define BENCH_HANDOFF_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "handoff_round.h"
#include "transports.h"

#define HANDOFF_MAX_ROUNDS 99
#define HANDOFF_MAX_CREWS  16
#define HANDOFF_MAX_SIZES  16

enum handoff_mode {
    HANDOFF_FIRE, /* fire and forget */
    HANDOFF_ASK,  /* round trips */
    HANDOFF_WAKE, /* round trips one by one, to sleepers */
    HANDOFF_MODES
};

extern const char *const handoff_mode_names[HANDOFF_MODES];
extern const char *const handoff_placement_names[PLACEMENT_FREE + 1];

struct handoff_crew {
    uint32_t producers, workers;
};

struct handoff_options {
    bool modes[HANDOFF_MODES];
    bool chosen[N_TRANSPORTS];
    const struct transport *base; /* what the others are compared with; NULL: as the mode has it */
    struct handoff_crew crews[HANDOFF_MAX_CREWS];
    uint32_t sizes_bytes[HANDOFF_MAX_SIZES];
    uint32_t n_crews, n_sizes;
    uint32_t window, slots, rounds, pause_us;
    enum placement placement;
    uint64_t duration_ns, jobs;
    bool futex_metered;
    const char *rounds_path, *latencies_path; /* NULL: not wanted */
};

/* Reads the command line; ends the program on --help, or with status 2 when
 * something is wrong in it. */
void handoff_options_parse(struct handoff_options *options_out, int argc, char **argv);

#endif
