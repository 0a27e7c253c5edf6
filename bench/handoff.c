/* SPDX-License-Identifier: BSD-2-Clause */
/* handoff: what handing a job from process to process costs, by transport.
 * This file reads the command line and writes the report; handoff_round.c does
 * the work. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handoff_payload.h"
#include "handoff_round.h"
#include "load_clock.h"

#define MAX_ROUNDS     99
#define MAX_CREWS      16
#define MAX_BYTES      (1u << 20)
#define MAX_TRANSPORTS 16

enum exit_status { EXIT_CLEAN = 0, EXIT_ERRORS = 1, EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: handoff [options] [TRANSPORT...]\n"
    "Hands jobs from producers to workers, forked processes, every byte verified. The\n"
    "transports take turns, round by round; all by default (ring-spin when named only).\n"
    "  -m MODE        ff (fire and forget), rt (round trip), wake (round trips to\n"
    "                 sleepers, latencies); may be repeated (ff and rt)\n"
    "  -p P:W[,...]   producers and workers (1:1,4:4)\n"
    "  -w WINDOW      replies awaited by one producer at most, 1 to 1024 (16)\n"
    "  -s BYTES       of a request, and of a reply: 64 to 1M, in multiples of 64 (64)\n"
    "  -q SLOTS       that the queue holds, where it can be chosen: a power of two, 16 to 1M (1024)\n"
    "  -c WHERE       same (processor for all), other (one for producers, one for workers),\n"
    "                 swapped (the other way round), free (same)\n"
    "  -r ROUNDS      1 to 99 (9)\n"
    "  -t SECONDS     duration of a round, at most (0.2)\n"
    "  -n JOBS        of a round, at most\n"
    "  -o FILE        also writes a line of tab-separated figures for each round\n"
    "  -h, --help     this text\n"
    "Exits with 0 when every job came once and whole, 1 when not, 2 on a wrong option.\n";

/* In the order of the table; the reference last among ours. */
static const struct transport *const transports[] = {
    &transport_table, &transport_ring, &transport_ring_spin, &transport_ring_sem, &transport_mutex,
};
#define N_TRANSPORTS (sizeof(transports) / sizeof(transports[0]))

/* What the others are compared with. */
static const struct transport *const reference = &transport_ring;

enum mode { MODE_FIRE, MODE_ASK, MODE_WAKE, N_MODES };
static const char *const mode_names[N_MODES] = {"ff", "rt", "wake"};

static const char *const placement_names[] = {
    [PLACEMENT_SAME] = "same", [PLACEMENT_OTHER] = "other", [PLACEMENT_SWAPPED] = "swapped", [PLACEMENT_FREE] = "free"};

struct command_line {
    bool modes[N_MODES];
    bool chosen[N_TRANSPORTS];
    uint32_t producers[MAX_CREWS], workers[MAX_CREWS];
    uint32_t n_crews;
    uint32_t window, bytes, slots, rounds;
    enum placement placement;
    uint64_t duration_ns, jobs;
    FILE *output;
};

/* -- the command line --------------------------------------------------------- */

__attribute__((noreturn)) static void wrong_option(char option, const char *value, const char *wanted)
{
    (void)fprintf(stderr, "handoff: -%c %s: must be %s\n", option, value, wanted);
    exit(EXIT_USAGE);
}

static uint64_t parse_count(char option, const char *text, uint64_t min, uint64_t max, const char *wanted)
{
    char *end;
    uint64_t value;
    unsigned shift = 0;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (*end == 'K' || *end == 'M')
        shift = *end++ == 'K' ? 10 : 20;
    if (*text < '0' || *text > '9' || errno != 0 || *end != '\0' || value > max >> shift || value << shift < min)
        wrong_option(option, text, wanted);
    return value << shift;
}

static uint32_t parse_power(char option, const char *text, uint64_t min, uint64_t max, const char *wanted)
{
    const uint64_t value = parse_count(option, text, min, max, wanted);

    if ((value & (value - 1)) != 0)
        wrong_option(option, text, wanted);
    return (uint32_t)value;
}

static uint64_t parse_seconds_ns(char option, const char *text)
{
    char *end;
    const double seconds = strtod(text, &end);

    if (*text < '0' || *text > '9' || *end != '\0' || !(seconds >= 0.001 && seconds <= 3600))
        wrong_option(option, text, "seconds, 0.001 to 3600");
    return (uint64_t)(seconds * (double)NS_PER_S);
}

static void parse_crews(struct command_line *line, char *text)
{
    static const char wanted[] = "P:W[,...], 1 to 64 each";
    char *rest = NULL;

    line->n_crews = 0;
    for (char *item = strtok_r(text, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        char *const workers = strchr(item, ':');

        if (workers == NULL || line->n_crews == MAX_CREWS)
            wrong_option('p', item, wanted);
        *workers = '\0';
        line->producers[line->n_crews] = (uint32_t)parse_count('p', item, 1, 64, wanted);
        line->workers[line->n_crews++] = (uint32_t)parse_count('p', workers + 1, 1, 64, wanted);
    }
}

static int find_name(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static void parse_mode(struct command_line *line, const char *text)
{
    const int mode = find_name(mode_names, N_MODES, text);

    if (mode < 0)
        wrong_option('m', text, "ff, rt or wake");
    line->modes[mode] = true;
}

static void parse_placement(struct command_line *line, const char *text)
{
    const int placement = find_name(placement_names, PLACEMENT_FREE + 1, text);

    if (placement < 0)
        wrong_option('c', text, "same, other, swapped or free");
    line->placement = (enum placement)placement;
}

static void open_output(struct command_line *line, const char *path)
{
    line->output = fopen(path, "we");
    if (line->output == NULL) {
        (void)fprintf(stderr, "handoff: -o %s: %s\n", path, strerror(errno));
        exit(EXIT_USAGE);
    }
}

static void parse_option(struct command_line *line, int option, char *value)
{
    switch (option) {
    case 'm':
        parse_mode(line, value);
        break;
    case 'p':
        parse_crews(line, value);
        break;
    case 'w':
        line->window = (uint32_t)parse_count('w', value, 1, 1024, "1 to 1024");
        break;
    case 's':
        line->bytes = (uint32_t)parse_count('s', value, PAYLOAD_BLOCK_BYTES, MAX_BYTES, "64 to 1M");
        if (line->bytes % PAYLOAD_BLOCK_BYTES != 0)
            wrong_option('s', value, "a multiple of 64");
        break;
    case 'q':
        line->slots = parse_power('q', value, 16, 1 << 20, "a power of two, 16 to 1M");
        break;
    case 'c':
        parse_placement(line, value);
        break;
    case 'r':
        line->rounds = (uint32_t)parse_count('r', value, 1, MAX_ROUNDS, "1 to 99");
        break;
    case 't':
        line->duration_ns = parse_seconds_ns('t', value);
        break;
    case 'n':
        line->jobs = parse_count('n', value, 1, UINT64_C(1) << 47, "a number of jobs");
        break;
    case 'o':
        open_output(line, value);
        break;
    case 'h':
        (void)fputs(usage_text, stdout);
        exit(EXIT_CLEAN);
    default:
        (void)fputs(usage_text, stderr);
        exit(EXIT_USAGE);
    }
}

static void choose_transport(struct command_line *line, const char *name)
{
    for (size_t i = 0; i < N_TRANSPORTS; i++) {
        if (strcmp(transports[i]->name, name) == 0) {
            line->chosen[i] = true;
            return;
        }
    }
    (void)fprintf(stderr, "handoff: %s: no such transport; there are", name);
    for (size_t i = 0; i < N_TRANSPORTS; i++)
        (void)fprintf(stderr, " %s", transports[i]->name);
    (void)fprintf(stderr, "\n");
    exit(EXIT_USAGE);
}

static void parse_command_line(struct command_line *line, int argc, char **argv)
{
    static const struct option long_options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int option;

    *line = (struct command_line){.producers = {1, 4}, .workers = {1, 4}, .n_crews = 2, .window = 16, .bytes = 64};
    line->slots = 1024;
    line->rounds = 9;
    line->duration_ns = NS_PER_S / 5;
    line->jobs = UINT64_C(1) << 47;
    while ((option = getopt_long(argc, argv, "m:p:w:s:q:c:r:t:n:o:h", long_options, NULL)) != -1)
        parse_option(line, option, optarg);
    if (!line->modes[MODE_FIRE] && !line->modes[MODE_ASK] && !line->modes[MODE_WAKE])
        line->modes[MODE_FIRE] = line->modes[MODE_ASK] = true;
    for (int i = optind; i < argc; i++)
        choose_transport(line, argv[i]);
    for (size_t i = 0; optind == argc && i < N_TRANSPORTS; i++)
        line->chosen[i] = transports[i] != &transport_ring_spin;
}

/* -- figures -------------------------------------------------------------------- */

/* The rounds of one transport in one case. */
struct series {
    const struct transport *transport;
    struct shape shape;
    const char *refusal;
    double cpu_ns[MAX_ROUNDS]; /* each for a job */
    double jobs_per_s[MAX_ROUNDS];
    double futex_calls[MAX_ROUNDS]; /* each for 1,000 jobs */
    double switches[MAX_ROUNDS];
    double ratio[MAX_ROUNDS]; /* of CPU time to the reference's in the same round */
    struct histogram taken_ns, answered_ns;
};

static int compare_doubles(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

struct spread {
    double median, min, max;
};

static struct spread spread_of(const double *values, uint32_t count)
{
    double sorted[MAX_ROUNDS];

    memcpy(sorted, values, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), compare_doubles);
    return (struct spread){
        .median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2, .min = sorted[0], .max = sorted[count - 1]};
}

static void histogram_add(struct histogram *sum, const struct histogram *part)
{
    sum->total += part->total;
    if (part->max > sum->max)
        sum->max = part->max;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        sum->buckets[i] += part->buckets[i];
}

/* -- running --------------------------------------------------------------------- */

struct experiment {
    const struct command_line *line;
    enum mode mode;
    uint32_t producers, workers;
    struct series series[MAX_TRANSPORTS];
    uint32_t n_series;
};

/* Long enough for everybody to fall asleep. */
#define WAKE_PAUSE_US 100

static struct round_plan plan_round(const struct experiment *experiment, const struct series *series)
{
    const struct command_line *const line = experiment->line;

    return (struct round_plan){.transport = series->transport,
                               .shape = series->shape,
                               .placement = line->placement,
                               .jobs = line->jobs,
                               .duration_ns = line->duration_ns,
                               .pause_us = experiment->mode == MODE_WAKE ? WAKE_PAUSE_US : 0};
}

static void write_output(const struct experiment *experiment, const struct series *series, uint32_t round,
                         const struct round_result *result)
{
    const struct command_line *const line = experiment->line;

    if (line->output == NULL)
        return;
    (void)fprintf(line->output,
                  "%s\t%s\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%s\t%" PRIu32 "\t%" PRIu64
                  "\t%.1f\t%.0f\t%.2f\t%.2f\n",
                  series->transport->name, mode_names[experiment->mode], series->shape.producers, series->shape.workers,
                  series->shape.window, series->shape.bytes, series->shape.slots, placement_names[line->placement],
                  round, result->jobs, series->cpu_ns[round], series->jobs_per_s[round], series->futex_calls[round],
                  series->switches[round]);
}

static void run_one(struct experiment *experiment, struct series *series, uint32_t round)
{
    const struct round_plan plan = plan_round(experiment, series);
    struct round_result result;

    if (round_run(&plan, &result) != 0)
        exit(EXIT_ERRORS);
    if (result.jobs == 0) {
        (void)fprintf(stderr, "handoff: %s: not one job in a round\n", series->transport->name);
        exit(EXIT_ERRORS);
    }
    series->cpu_ns[round] = (double)result.cpu_ns / (double)result.jobs;
    series->jobs_per_s[round] = (double)result.jobs * (double)NS_PER_S / (double)result.wall_ns;
    series->switches[round] = 1000.0 * (double)result.switches / (double)result.jobs;
    series->futex_calls[round] =
        result.futex_calls == ROUND_UNCOUNTED ? -1 : 1000.0 * (double)result.futex_calls / (double)result.jobs;
    histogram_add(&series->taken_ns, &result.taken_ns);
    histogram_add(&series->answered_ns, &result.answered_ns);
    write_output(experiment, series, round, &result);
}

static const struct series *find_reference(const struct experiment *experiment)
{
    for (uint32_t i = 0; i < experiment->n_series; i++)
        if (experiment->series[i].transport == reference)
            return &experiment->series[i];
    return NULL;
}

/* The transports take turns, so that what else the machine does meets them all. */
static void run_rounds(struct experiment *experiment)
{
    const struct series *const base = find_reference(experiment);

    for (uint32_t round = 0; round < experiment->line->rounds; round++) {
        for (uint32_t i = 0; i < experiment->n_series; i++)
            if (experiment->series[i].refusal == NULL)
                run_one(experiment, &experiment->series[i], round);
        for (uint32_t i = 0; base != NULL && i < experiment->n_series; i++)
            experiment->series[i].ratio[round] = experiment->series[i].cpu_ns[round] / base->cpu_ns[round];
    }
}

static void plan_series(struct experiment *experiment, const struct transport *transport)
{
    const struct command_line *const line = experiment->line;
    struct series *const series = &experiment->series[experiment->n_series++];

    series->transport = transport;
    series->shape = (struct shape){.producers = experiment->producers,
                                   .workers = experiment->workers,
                                   .slots = line->slots,
                                   .window = experiment->mode == MODE_FIRE   ? 0
                                             : experiment->mode == MODE_WAKE ? 1
                                                                             : line->window,
                                   .bytes = line->bytes};
    series->refusal = transport->refuses(&series->shape);
    if (series->refusal == NULL && transport->reply_room != NULL && series->shape.window > 0) {
        const uint32_t room = transport->reply_room(&series->shape);

        if (room < series->shape.window)
            series->shape.window = room;
    }
}

/* -- the report -------------------------------------------------------------------- */

static void print_heading(const struct experiment *experiment)
{
    const struct command_line *const line = experiment->line;

    (void)printf("\n%s, %" PRIu32 ":%" PRIu32 ", ", mode_names[experiment->mode], experiment->producers,
                 experiment->workers);
    if (experiment->mode != MODE_FIRE)
        (void)printf("%" PRIu32 " in flight, ", experiment->mode == MODE_WAKE ? 1 : line->window);
    (void)printf("%" PRIu32 " bytes, %" PRIu32 " slots, processors: %s; %" PRIu32 " rounds\n", line->bytes, line->slots,
                 placement_names[line->placement], line->rounds);
    (void)printf("%-10s %26s %22s %12s %11s %11s\n", "", "CPU ns per job (range)", "times ring (range)", "jobs/s",
                 "futex/1000", "switch/1000");
}

static void print_series(const struct experiment *experiment, const struct series *series)
{
    const uint32_t rounds = experiment->line->rounds;
    const struct spread cpu = spread_of(series->cpu_ns, rounds), ratio = spread_of(series->ratio, rounds);
    char text[64];

    (void)printf("%-10s ", series->transport->name);
    if (series->refusal != NULL) {
        (void)printf("%s\n", series->refusal);
        return;
    }
    (void)snprintf(text, sizeof(text), "%.0f (%.0f-%.0f)", cpu.median, cpu.min, cpu.max);
    (void)printf("%26s ", text);
    (void)snprintf(text, sizeof(text), "%.2f (%.2f-%.2f)", ratio.median, ratio.min, ratio.max);
    (void)printf("%22s %12.0f ", find_reference(experiment) != NULL ? text : "-",
                 spread_of(series->jobs_per_s, rounds).median);
    if (series->futex_calls[0] < 0)
        (void)printf("%11s ", "-");
    else
        (void)printf("%11.2f ", spread_of(series->futex_calls, rounds).median);
    (void)printf("%11.2f", spread_of(series->switches, rounds).median);
    if (experiment->mode == MODE_ASK && series->shape.window != experiment->line->window)
        (void)printf("  (%" PRIu32 " in flight)", series->shape.window);
    (void)printf("\n");
}

static void print_latencies(const struct experiment *experiment)
{
    (void)printf("%-10s %10s %10s %14s %14s   us\n", "", "taken p50", "p99", "answered p50", "p99");
    for (uint32_t i = 0; i < experiment->n_series; i++) {
        const struct series *const series = &experiment->series[i];

        if (series->refusal == NULL)
            (void)printf("%-10s %10.2f %10.2f %14.2f %14.2f\n", series->transport->name,
                         (double)histogram_percentile(&series->taken_ns, 50) / 1000,
                         (double)histogram_percentile(&series->taken_ns, 99) / 1000,
                         (double)histogram_percentile(&series->answered_ns, 50) / 1000,
                         (double)histogram_percentile(&series->answered_ns, 99) / 1000);
    }
}

static void run_experiment(const struct command_line *line, enum mode mode, uint32_t producers, uint32_t workers)
{
    static struct experiment experiment;

    memset(&experiment, 0, sizeof(experiment));
    experiment.line = line;
    experiment.mode = mode;
    experiment.producers = producers;
    experiment.workers = workers;
    for (size_t i = 0; i < N_TRANSPORTS; i++)
        if (line->chosen[i])
            plan_series(&experiment, transports[i]);
    print_heading(&experiment);
    (void)fflush(NULL); /* or each child would write it again */
    run_rounds(&experiment);
    for (uint32_t i = 0; i < experiment.n_series; i++)
        print_series(&experiment, &experiment.series[i]);
    if (mode == MODE_WAKE)
        print_latencies(&experiment);
}

int main(int argc, char **argv)
{
    struct command_line line;

    parse_command_line(&line, argc, argv);
    if (line.output != NULL)
        (void)fputs("transport\tmode\tproducers\tworkers\twindow\tbytes\tslots\tplacement\tround\tjobs\tcpu_ns\t"
                    "jobs_per_s\tfutex_per_1000\tswitches_per_1000\n",
                    line.output);
    for (enum mode mode = 0; mode < N_MODES; mode++) {
        if (mode == MODE_WAKE && line.modes[mode])
            run_experiment(&line, mode, 1, 1);
        for (uint32_t i = 0; mode != MODE_WAKE && line.modes[mode] && i < line.n_crews; i++)
            run_experiment(&line, mode, line.producers[i], line.workers[i]);
    }
    if (line.output != NULL && fclose(line.output) != 0) {
        (void)fprintf(stderr, "handoff: -o: %s\n", strerror(errno));
        return EXIT_ERRORS;
    }
    return EXIT_CLEAN;
}
