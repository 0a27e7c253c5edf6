/* SPDX-License-Identifier: BSD-2-Clause */
/* handoff: what handing a job from process to process costs, by transport.
 * This file runs the cases and writes the reports; handoff_round.c measures. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handoff_options.h"
#include "handoff_round.h"
#include "handoff_series.h"

enum { EXIT_CLEAN = 0, EXIT_ERRORS = 1 };

/* What is run at a time: one mode, crew and size, all transports. */
struct experiment {
    const struct handoff_options *options;
    FILE *rounds_file, *latencies_file; /* or NULL */
    enum handoff_mode mode;
    struct handoff_crew crew;
    uint32_t bytes;
    struct series series[N_TRANSPORTS];
    uint32_t n_series;
    const struct series *base; /* or NULL */
};

/* -- files ------------------------------------------------------------------------ */

static FILE *file_open(const char *path, const char *heading)
{
    FILE *file;

    if (path == NULL)
        return NULL;
    file = fopen(path, "we");
    if (file == NULL || fputs(heading, file) < 0) {
        (void)fprintf(stderr, "handoff: %s: %s\n", path, strerror(errno));
        exit(EXIT_ERRORS);
    }
    return file;
}

static void file_close(const char *path, FILE *file)
{
    if (file == NULL || fclose(file) == 0)
        return;
    (void)fprintf(stderr, "handoff: %s: %s\n", path, strerror(errno));
    exit(EXIT_ERRORS);
}

static void write_case(FILE *file, const struct experiment *experiment, const struct series *series)
{
    const struct shape *const shape = &series->shape;

    (void)fprintf(file, "%s\t%s\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%s\t%" PRIu32,
                  series->transport->name, handoff_mode_names[experiment->mode], shape->producers, shape->workers,
                  shape->window, shape->bytes, shape->slots, handoff_placement_names[experiment->options->placement],
                  experiment->mode == HANDOFF_WAKE ? experiment->options->pause_us : 0);
}

#define CASE_HEADING "transport\tmode\tproducers\tworkers\twindow\tbytes\tslots\tplacement\tpause_us"

static const char rounds_heading[] = CASE_HEADING
    "\tround\tjobs\tcpu_ns\tjobs_per_s\tfutex_per_1000\tswitches_per_1000\ttaken_p50_ns\tanswered_p50_ns\n";

static void write_round(const struct experiment *experiment, const struct series *series, uint64_t jobs)
{
    const uint32_t round = series->rounds - 1;

    if (experiment->rounds_file == NULL)
        return;
    write_case(experiment->rounds_file, experiment, series);
    (void)fprintf(experiment->rounds_file, "\t%" PRIu32 "\t%" PRIu64, round, jobs);
    for (enum series_figure figure = 0; figure < SERIES_FIGURES; figure++)
        (void)fprintf(experiment->rounds_file, "\t%.2f", series->figures[figure][round]);
    (void)fputc('\n', experiment->rounds_file);
}

static const char latencies_heading[] = CASE_HEADING "\tpercent\ttaken_ns\tanswered_ns\n";

static void write_latencies(const struct experiment *experiment, const struct series *series)
{
    static const double tails[] = {99, 99.5, 99.9, 99.95, 99.99, 100};

    for (int step = 0; step < 99 + (int)(sizeof(tails) / sizeof(tails[0])) - 1; step++) {
        const double percent = step < 98 ? step + 1 : tails[step - 98];

        write_case(experiment->latencies_file, experiment, series);
        (void)fprintf(experiment->latencies_file, "\t%g\t%" PRIu64 "\t%" PRIu64 "\n", percent,
                      histogram_percentile(&series->taken_ns, percent),
                      histogram_percentile(&series->answered_ns, percent));
    }
}

/* -- running ------------------------------------------------------------------------ */

static struct round_plan experiment_plan(const struct experiment *experiment, const struct series *series)
{
    const struct handoff_options *const options = experiment->options;

    return (struct round_plan){.transport = series->transport,
                               .shape = series->shape,
                               .placement = options->placement,
                               .jobs = options->jobs,
                               .duration_ns = options->duration_ns,
                               .timed = experiment->mode == HANDOFF_WAKE,
                               .pause_us = options->pause_us,
                               .futex_metered = options->futex_metered};
}

static void experiment_run_round(const struct experiment *experiment, struct series *series)
{
    const struct round_plan plan = experiment_plan(experiment, series);
    struct round_result result;

    (void)fflush(NULL); /* or each child would write it again */
    if (round_run(&plan, &result) != 0)
        exit(EXIT_ERRORS);
    if (result.jobs == 0) {
        (void)fprintf(stderr, "handoff: %s: not one job in a round\n", series->transport->name);
        exit(EXIT_ERRORS);
    }
    series_add(series, &result);
    write_round(experiment, series, result.jobs);
}

/* The transports take turns, so that what else the machine does meets them all. */
static void experiment_run(struct experiment *experiment)
{
    for (uint32_t round = 0; round < experiment->options->rounds; round++)
        for (uint32_t i = 0; i < experiment->n_series; i++)
            if (experiment->series[i].refusal == NULL)
                experiment_run_round(experiment, &experiment->series[i]);
}

static const struct transport *experiment_base(const struct experiment *experiment)
{
    if (experiment->options->base != NULL)
        return experiment->options->base;
    return experiment->mode == HANDOFF_WAKE ? &transport_futex : &transport_ring;
}

static void experiment_plan_series(struct experiment *experiment)
{
    const struct handoff_options *const options = experiment->options;
    const uint32_t window = experiment->mode == HANDOFF_ASK ? options->window : experiment->mode == HANDOFF_WAKE;
    const struct shape shape = {.producers = experiment->crew.producers,
                                .workers = experiment->crew.workers,
                                .slots = options->slots,
                                .window = window,
                                .bytes = experiment->bytes};

    for (size_t i = 0; i < N_TRANSPORTS; i++) {
        struct series *const series = &experiment->series[experiment->n_series];

        if (!options->chosen[i])
            continue;
        experiment->n_series++;
        series_start(series, transports[i], &shape);
        if (transports[i] == experiment_base(experiment) && series->refusal == NULL)
            experiment->base = series;
    }
}

/* -- reports ------------------------------------------------------------------------- */

static void print_heading(const struct experiment *experiment)
{
    const struct handoff_options *const options = experiment->options;
    char base[64] = "";

    (void)printf("\n%s %" PRIu32 ":%" PRIu32, handoff_mode_names[experiment->mode], experiment->crew.producers,
                 experiment->crew.workers);
    if (experiment->mode != HANDOFF_FIRE)
        (void)printf(", %" PRIu32 " in flight", experiment->mode == HANDOFF_WAKE ? 1 : options->window);
    if (experiment->mode == HANDOFF_WAKE)
        (void)printf(" after %" PRIu32 " us", options->pause_us);
    (void)printf(", %" PRIu32 " bytes, %" PRIu32 " slots, processors: %s; median (range) of %" PRIu32 " rounds\n",
                 experiment->bytes, options->slots, handoff_placement_names[options->placement], options->rounds);
    if (experiment->base != NULL)
        (void)snprintf(base, sizeof(base), "times %s", experiment->base->transport->name);
    (void)printf("%-10s %24s %22s %12s %11s %11s\n", "", "CPU ns/job", base, "jobs/s", "futex/1000", "switch/1000");
}

static void print_ratio(const struct experiment *experiment, const struct series *series, enum series_figure figure)
{
    if (experiment->base != NULL)
        spread_print(22, 2, series_ratio(series, experiment->base, figure));
    else
        (void)printf(" %22s", "");
}

static void print_series(const struct experiment *experiment, const struct series *series)
{
    const double futex_calls = series->refusal == NULL ? series_spread(series, SERIES_FUTEX).median : -1;

    (void)printf("%-10s", series->transport->name);
    if (series->refusal != NULL) {
        (void)printf(" - %s\n", series->refusal);
        return;
    }
    spread_print(24, 0, series_spread(series, SERIES_CPU_NS));
    print_ratio(experiment, series, SERIES_CPU_NS);
    (void)printf(" %12.0f", series_spread(series, SERIES_RATE).median);
    if (futex_calls < 0)
        (void)printf(" %11s", "-");
    else
        (void)printf(" %11.2f", futex_calls);
    (void)printf(" %11.2f", series_spread(series, SERIES_SWITCHES).median);
    if (experiment->mode == HANDOFF_ASK && series->shape.window != experiment->options->window)
        (void)printf("  (%" PRIu32 " in flight)", series->shape.window);
    (void)printf("\n");
}

static void print_latency(const struct experiment *experiment, const struct series *series)
{
    (void)printf("%-10s", series->transport->name);
    (void)printf(" %9.2f %9.2f", (double)histogram_percentile(&series->taken_ns, 50) / 1000,
                 (double)histogram_percentile(&series->taken_ns, 99) / 1000);
    print_ratio(experiment, series, SERIES_TAKEN_P50_NS);
    (void)printf(" %9.2f %9.2f", (double)histogram_percentile(&series->answered_ns, 50) / 1000,
                 (double)histogram_percentile(&series->answered_ns, 99) / 1000);
    print_ratio(experiment, series, SERIES_ANSWERED_P50_NS);
    (void)printf("\n");
}

static void print_latencies(const struct experiment *experiment)
{
    (void)printf("%-10s %9s %9s %22s %9s %9s %22s\n", "us", "taken p50", "p99", "p50, times base", "reply p50", "p99",
                 "p50, times base");
    for (uint32_t i = 0; i < experiment->n_series; i++) {
        if (experiment->series[i].refusal != NULL)
            continue;
        print_latency(experiment, &experiment->series[i]);
        if (experiment->latencies_file != NULL)
            write_latencies(experiment, &experiment->series[i]);
    }
}

static void experiment_report(const struct experiment *experiment)
{
    for (uint32_t i = 0; i < experiment->n_series; i++)
        print_series(experiment, &experiment->series[i]);
    if (experiment->mode == HANDOFF_WAKE)
        print_latencies(experiment);
}

/* -- the cases ------------------------------------------------------------------------- */

static void run_case(struct experiment *experiment, enum handoff_mode mode, struct handoff_crew crew, uint32_t bytes)
{
    experiment->mode = mode;
    experiment->crew = crew;
    experiment->bytes = bytes;
    experiment->n_series = 0;
    experiment->base = NULL;
    experiment_plan_series(experiment);
    print_heading(experiment);
    experiment_run(experiment);
    experiment_report(experiment);
}

static void run_mode(struct experiment *experiment, enum handoff_mode mode)
{
    static const struct handoff_crew pair = {1, 1};
    const struct handoff_options *const options = experiment->options;

    for (uint32_t size = 0; size < options->n_sizes; size++) {
        if (mode == HANDOFF_WAKE)
            run_case(experiment, mode, pair, options->sizes_bytes[size]);
        for (uint32_t crew = 0; mode != HANDOFF_WAKE && crew < options->n_crews; crew++)
            run_case(experiment, mode, options->crews[crew], options->sizes_bytes[size]);
    }
}

int main(int argc, char **argv)
{
    static struct experiment experiment; /* too large for a stack */
    struct handoff_options options;

    handoff_options_parse(&options, argc, argv);
    experiment.options = &options;
    experiment.rounds_file = file_open(options.rounds_path, rounds_heading);
    experiment.latencies_file = file_open(options.latencies_path, latencies_heading);
    for (enum handoff_mode mode = 0; mode < HANDOFF_MODES; mode++)
        if (options.modes[mode])
            run_mode(&experiment, mode);
    file_close(options.rounds_path, experiment.rounds_file);
    file_close(options.latencies_path, experiment.latencies_file);
    return EXIT_CLEAN;
}
