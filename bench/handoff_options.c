/* SPDX-License-Identifier: BSD-2-Clause */
#include "handoff_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "futex_meter.h"
#include "handoff_payload.h"
#include "load_clock.h"

#define MAX_BYTES (1u << 20)
#define ANY_JOBS  (UINT64_C(1) << 47)

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: handoff [options] [TRANSPORT...]\n"
    "Hands jobs from producers to workers, forked processes, every byte verified. The\n"
    "transports take turns, round by round. Without names: all, but ring-spin only where\n"
    "there are two processors in use, and futex only where it can.\n"
    "  -m MODE[,...]  ff (fire and forget), rt (round trip), wake (round trips one by one, 1:1,\n"
    "                 each after a pause) (ff,rt)\n"
    "  -p P:W[,...]   producers and workers, 1 to 64 each (1:1,4:4)\n"
    "  -s BYTES[,...] of a request, and of a reply: 64 to 1M, in multiples of 64 (64)\n"
    "  -w WINDOW      replies awaited by one producer at most, 1 to 1024 (16)\n"
    "  -i USEC        the pause of wake, 0 to 100000 (100: in which all fall asleep)\n"
    "  -q SLOTS       that the queue holds, where it can be chosen: a power of two, 2 to 1M (1024)\n"
    "  -c WHERE       same (one processor for all), other (one for producers, one for workers),\n"
    "                 swapped (the other way round), free (same)\n"
    "  -r ROUNDS      1 to 99 (9)\n"
    "  -t SECONDS     duration of a round, at most (0.2)\n"
    "  -n JOBS        of a round, at most\n"
    "  -k             futex calls are counted by the kernel, for all transports, not by those\n"
    "                 that count their own; for root, and all calls take longer\n"
    "  -b TRANSPORT   to compare with (ring; futex for wake)\n"
    "  -o FILE        also writes a line of tab-separated figures for each round\n"
    "  -l FILE        also writes the distribution of the latencies of wake\n"
    "  -h, --help     this text\n"
    "Exits with 0 when every job came once and whole, 1 when not, 2 on a wrong option.\n";

const char *const handoff_mode_names[HANDOFF_MODES] = {"ff", "rt", "wake"};

const char *const handoff_placement_names[PLACEMENT_FREE + 1] = {"same", "other", "swapped", "free"};

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

static uint64_t parse_seconds_ns(char option, const char *text)
{
    char *end;
    const double seconds = strtod(text, &end);

    if (*text < '0' || *text > '9' || *end != '\0' || !(seconds >= 0.001 && seconds <= 3600))
        wrong_option(option, text, "seconds, 0.001 to 3600");
    return (uint64_t)(seconds * (double)NS_PER_S);
}

static int parse_name(char option, const char *const *names, int count, const char *text, const char *wanted)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    wrong_option(option, text, wanted);
}

static size_t parse_transport(const char *name)
{
    const size_t i = transports_find(name);

    if (i < N_TRANSPORTS)
        return i;
    (void)fprintf(stderr, "handoff: %s: no such transport; there are", name);
    transports_list(stderr);
    (void)fprintf(stderr, "\n");
    exit(EXIT_USAGE);
}

/* -- the parts of a list ------------------------------------------------------- */

static void parse_mode(struct handoff_options *options, char *text)
{
    options->modes[parse_name('m', handoff_mode_names, HANDOFF_MODES, text, "ff, rt or wake")] = true;
}

static void parse_crew(struct handoff_options *options, char *text)
{
    static const char wanted[] = "P:W, 1 to 64 each, up to 16 of them";
    char *const workers = strchr(text, ':');
    struct handoff_crew *const crew = &options->crews[options->n_crews];

    if (workers == NULL || options->n_crews == HANDOFF_MAX_CREWS)
        wrong_option('p', text, wanted);
    *workers = '\0';
    crew->producers = (uint32_t)parse_count('p', text, 1, 64, wanted);
    crew->workers = (uint32_t)parse_count('p', workers + 1, 1, 64, wanted);
    options->n_crews++;
}

static void parse_size(struct handoff_options *options, char *text)
{
    static const char wanted[] = "a multiple of 64, 64 to 1M, up to 16 of them";
    const uint64_t bytes = parse_count('s', text, PAYLOAD_BLOCK_BYTES, MAX_BYTES, wanted);

    if (bytes % PAYLOAD_BLOCK_BYTES != 0 || options->n_sizes == HANDOFF_MAX_SIZES)
        wrong_option('s', text, wanted);
    options->sizes_bytes[options->n_sizes++] = (uint32_t)bytes;
}

static void parse_list(struct handoff_options *options, char *text,
                       void (*parse)(struct handoff_options *options, char *text))
{
    char *rest = NULL;

    for (char *item = strtok_r(text, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest))
        parse(options, item);
}

/* -- the whole ------------------------------------------------------------------- */

static void parse_slots(struct handoff_options *options, const char *text)
{
    options->slots = (uint32_t)parse_count('q', text, 2, 1 << 20, "a power of two, 2 to 1M");
    if ((options->slots & (options->slots - 1)) != 0)
        wrong_option('q', text, "a power of two");
}

/* Better now than in each participant. */
static void try_futex_meter(void)
{
    const int meter_fd = futex_meter_open();

    if (meter_fd >= 0) {
        (void)close(meter_fd);
        return;
    }
    (void)fprintf(stderr, "handoff: -k: the kernel does not count for us: %s\n", strerror(-meter_fd));
    exit(EXIT_USAGE);
}

static void parse_option(struct handoff_options *options, int option, char *value)
{
    switch (option) {
    case 'm':
        parse_list(options, value, parse_mode);
        break;
    case 'p':
        parse_list(options, value, parse_crew);
        break;
    case 's':
        parse_list(options, value, parse_size);
        break;
    case 'w':
        options->window = (uint32_t)parse_count('w', value, 1, 1024, "1 to 1024");
        break;
    case 'i':
        options->pause_us = (uint32_t)parse_count('i', value, 0, 100000, "microseconds, 0 to 100000");
        break;
    case 'q':
        parse_slots(options, value);
        break;
    case 'c':
        options->placement = (enum placement)parse_name('c', handoff_placement_names, PLACEMENT_FREE + 1, value,
                                                        "same, other, swapped or free");
        break;
    case 'r':
        options->rounds = (uint32_t)parse_count('r', value, 1, HANDOFF_MAX_ROUNDS, "1 to 99");
        break;
    case 't':
        options->duration_ns = parse_seconds_ns('t', value);
        break;
    case 'n':
        options->jobs = parse_count('n', value, 1, ANY_JOBS, "a number of jobs");
        break;
    case 'k':
        try_futex_meter();
        options->futex_metered = true;
        break;
    case 'b':
        options->base = transports[parse_transport(value)];
        break;
    case 'o':
        options->rounds_path = value;
        break;
    case 'l':
        options->latencies_path = value;
        break;
    case 'h':
        (void)fputs(usage_text, stdout);
        exit(EXIT_SUCCESS);
    default:
        (void)fputs(usage_text, stderr);
        exit(EXIT_USAGE);
    }
}

/* What the command line left open. */
static void set_defaults(struct handoff_options *options)
{
    if (!options->modes[HANDOFF_FIRE] && !options->modes[HANDOFF_ASK] && !options->modes[HANDOFF_WAKE])
        options->modes[HANDOFF_FIRE] = options->modes[HANDOFF_ASK] = true;
    if (options->n_crews == 0) {
        options->crews[options->n_crews++] = (struct handoff_crew){1, 1};
        options->crews[options->n_crews++] = (struct handoff_crew){4, 4};
    }
    if (options->n_sizes == 0)
        options->sizes_bytes[options->n_sizes++] = PAYLOAD_BLOCK_BYTES;
}

static void choose_all(struct handoff_options *options)
{
    for (size_t i = 0; i < N_TRANSPORTS; i++)
        options->chosen[i] = (transports[i] != &transport_ring_spin || options->placement != PLACEMENT_SAME) &&
                             (transports[i] != &transport_futex || options->modes[HANDOFF_WAKE]);
}

void handoff_options_parse(struct handoff_options *options_out, int argc, char **argv)
{
    static const struct option long_options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int option;

    *options_out = (struct handoff_options){
        .window = 16, .slots = 1024, .rounds = 9, .pause_us = 100, .duration_ns = NS_PER_S / 5, .jobs = ANY_JOBS};
    while ((option = getopt_long(argc, argv, "m:p:s:w:i:q:c:r:t:n:kb:o:l:h", long_options, NULL)) != -1)
        parse_option(options_out, option, optarg);
    set_defaults(options_out);
    for (int i = optind; i < argc; i++)
        options_out->chosen[parse_transport(argv[i])] = true;
    if (optind == argc)
        choose_all(options_out);
}
