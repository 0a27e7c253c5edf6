/* SPDX-License-Identifier: BSD-2-Clause */
/* table_size: what the size of a job table costs: a job that nobody competes
 * for, and the repair after a death. The sizes take turns, round by round; the
 * free slots of each table lie in random order. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <prefork/table.h>

#include "handoff_payload.h"
#include "load_clock.h"
#include "spread.h"

#define MAX_SIZES  16
#define MAX_ROUNDS 99

enum exit_status { EXIT_CLEAN = 0, EXIT_ERRORS = 1, EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: table_size [options]\n"
    "Prints CPU time for a detached job of 64 bytes (submit, claim, complete, by one thread)\n"
    "and for the repair of one dead worker, by the number of slots.\n"
    "  -q SLOTS[,...]  sizes, 64 to 1M (1K,1M)\n"
    "  -b JOBS         that stay queued meanwhile, fewer than the slots (0)\n"
    "  -r ROUNDS       1 to 99 (9)\n"
    "  -n JOBS         in a round (200000)\n"
    "  -o FILE         also writes a line of tab-separated figures for each round\n"
    "  -h              this text\n";

/* One table and its figures. The thread that measures is both producer and worker. */
struct sized {
    struct prefork_table *table;
    struct prefork_lane *producer, *worker;
    uint32_t slots;
    double job_ns[MAX_ROUNDS];
    double idle_repair_ns[MAX_ROUNDS]; /* for each slot; all others are free */
    double full_repair_ns[MAX_ROUNDS]; /* likewise; all others hold a job */
};

struct table_size_options {
    uint32_t sizes[MAX_SIZES];
    uint32_t n_sizes, rounds, backlog;
    uint64_t jobs;
    FILE *output; /* or NULL */
};

/* -- the command line ---------------------------------------------------------------- */

static uint64_t parse_count(char option, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    unsigned shift = 0;

    if (*end == 'K' || *end == 'M')
        shift = *end++ == 'K' ? 10 : 20;
    if (*text >= '0' && *text <= '9' && *end == '\0' && value <= max >> shift && value << shift >= min)
        return value << shift;
    (void)fprintf(stderr, "table_size: -%c %s: must be %" PRIu64 " to %" PRIu64 "\n", option, text, min, max);
    exit(EXIT_USAGE);
}

static void parse_sizes(struct table_size_options *options, char *text)
{
    char *rest = NULL;

    options->n_sizes = 0;
    for (char *item = strtok_r(text, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        if (options->n_sizes == MAX_SIZES) {
            (void)fprintf(stderr, "table_size: -q: at most %d sizes\n", MAX_SIZES);
            exit(EXIT_USAGE);
        }
        options->sizes[options->n_sizes++] = (uint32_t)parse_count('q', item, 64, 1 << 20);
    }
}

static FILE *open_output(const char *path)
{
    FILE *const file = fopen(path, "we");

    if (file != NULL) {
        (void)fputs("slots\tround\tjob_ns\tidle_repair_ns_per_slot\tfull_repair_ns_per_slot\n", file);
        return file;
    }
    (void)fprintf(stderr, "table_size: -o %s: %s\n", path, strerror(errno));
    exit(EXIT_USAGE);
}

static void parse_options(struct table_size_options *options, int argc, char **argv)
{
    int option;

    *options = (struct table_size_options){.sizes = {1 << 10, 1 << 20}, .n_sizes = 2, .rounds = 9, .jobs = 200000};
    while ((option = getopt(argc, argv, "q:b:r:n:o:h")) != -1) {
        switch (option) {
        case 'q':
            parse_sizes(options, optarg);
            break;
        case 'b':
            options->backlog = (uint32_t)parse_count('b', optarg, 0, (1 << 20) - 1);
            break;
        case 'r':
            options->rounds = (uint32_t)parse_count('r', optarg, 1, MAX_ROUNDS);
            break;
        case 'n':
            options->jobs = parse_count('n', optarg, 1, UINT32_MAX);
            break;
        case 'o':
            options->output = open_output(optarg);
            break;
        default:
            (void)fputs(usage_text, option == 'h' ? stdout : stderr);
            exit(option == 'h' ? EXIT_CLEAN : EXIT_USAGE);
        }
    }
}

/* -- one job ---------------------------------------------------------------------------- */

static void check(int rc, const char *call)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "table_size: %s: %s\n", call, prefork_last_error());
    exit(EXIT_ERRORS);
}

static void submit_one(const struct sized *sized, uint64_t number)
{
    static const struct prefork_submission submission = {
        .size = sizeof(submission), .request_bytes = PAYLOAD_BLOCK_BYTES, .flags = PREFORK_SUBMIT_DETACHED};
    size_t capacity;
    uint64_t job;

    check(prefork_lane_reserve(sized->producer, PREFORK_NO_WAIT, &job), "prefork_lane_reserve");
    payload_write(prefork_lane_request_buffer(sized->producer, job, &capacity), PAYLOAD_BLOCK_BYTES,
                  payload_header(0, number));
    check(prefork_lane_submit(sized->producer, job, &submission), "prefork_lane_submit");
}

static void work_one(const struct sized *sized)
{
    struct prefork_job *job;
    const uint64_t *request;
    size_t length;

    check(prefork_lane_claim(sized->worker, PREFORK_NO_WAIT, &job), "prefork_lane_claim");
    request = prefork_job_request(job, &length);
    if (!payload_is(request, length, request[0])) {
        (void)fprintf(stderr, "table_size: a wrong byte\n");
        exit(EXIT_ERRORS);
    }
    check(prefork_job_complete(job, 0), "prefork_job_complete");
}

/* -- tables ------------------------------------------------------------------------------ */

static uint64_t random_below(uint64_t *state, uint64_t bound)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*state >> 33) % bound;
}

/* Takes all slots and gives them back in random order. */
static void sized_shuffle(const struct sized *sized)
{
    uint64_t *const jobs = calloc(sized->slots, sizeof(jobs[0])), state = 1;
    uint32_t taken = 0;

    if (jobs == NULL)
        check(-ENOMEM, "calloc");
    while (taken < sized->slots && prefork_lane_reserve(sized->producer, PREFORK_NO_WAIT, &jobs[taken]) == 0)
        taken++;
    for (uint32_t left = taken; left > 0; left--) {
        const uint64_t chosen = random_below(&state, left);

        check(prefork_lane_abandon(sized->producer, jobs[chosen]), "prefork_lane_abandon");
        jobs[chosen] = jobs[left - 1];
    }
    free(jobs);
}

static void sized_create(struct sized *sized, uint32_t slots)
{
    const struct prefork_table_options options = {.size = sizeof(options),
                                                  .slots = slots,
                                                  .request_bytes = PAYLOAD_BLOCK_BYTES,
                                                  .reply_bytes = PAYLOAD_BLOCK_BYTES,
                                                  .max_workers = 2,
                                                  .threads_per_worker = 1,
                                                  .generations = 1};

    sized->slots = slots;
    check(prefork_table_create(&options, &sized->table), "prefork_table_create");
    check(prefork_lane_open(sized->table, prefork_table_outside_lane(sized->table, 0), &sized->producer),
          "prefork_lane_open");
    check(prefork_lane_open(sized->table, prefork_table_worker_lane(sized->table, 0, 0, 0), &sized->worker),
          "prefork_lane_open");
    sized_shuffle(sized);
}

static void sized_destroy(struct sized *sized)
{
    prefork_lane_close(&sized->producer);
    prefork_lane_close(&sized->worker);
    prefork_table_destroy(&sized->table);
}

/* -- measuring ------------------------------------------------------------------------------ */

static uint64_t cpu_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static double measure_jobs(const struct sized *sized, uint64_t jobs, uint32_t backlog)
{
    uint64_t start_ns;

    for (uint32_t i = 0; i < backlog; i++)
        submit_one(sized, i);
    start_ns = cpu_ns();
    for (uint64_t i = 0; i < jobs; i++) {
        submit_one(sized, i);
        work_one(sized);
    }
    start_ns = cpu_ns() - start_ns;
    for (uint32_t i = 0; i < backlog; i++)
        work_one(sized);
    return (double)start_ns / (double)jobs;
}

/* A worker that claims a job, if there is one, and ends without a word. */
static void lose_a_worker(const struct sized *sized, uint32_t lane_number)
{
    const pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        struct prefork_lane *lane;
        struct prefork_job *job;

        check(prefork_lane_open(sized->table, lane_number, &lane), "prefork_lane_open");
        (void)prefork_lane_claim(lane, PREFORK_NO_WAIT, &job);
        _exit(EXIT_CLEAN);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        (void)fprintf(stderr, "table_size: the child that was to die did not: status %d\n", status);
        exit(EXIT_ERRORS);
    }
}

static double measure_repair(const struct sized *sized)
{
    const uint32_t lane = prefork_table_worker_lane(sized->table, 1, 0, 0);
    uint64_t start_ns;

    lose_a_worker(sized, lane);
    start_ns = cpu_ns();
    check(prefork_table_repair(sized->table, &lane, 1, NULL), "prefork_table_repair");
    return (double)(cpu_ns() - start_ns) / (double)sized->slots;
}

static double measure_full_repair(const struct sized *sized)
{
    uint32_t submitted = 0;
    double repair_ns;

    for (; submitted < sized->slots / 8 * 7; submitted++)
        submit_one(sized, submitted);
    repair_ns = measure_repair(sized);
    while (submitted-- > 0)
        work_one(sized);
    return repair_ns;
}

static void measure_round(struct sized *sized, uint32_t round, const struct table_size_options *options)
{
    const uint32_t backlog = options->backlog < sized->slots ? options->backlog : sized->slots - 1;

    sized->job_ns[round] = measure_jobs(sized, options->jobs, backlog);
    sized->idle_repair_ns[round] = measure_repair(sized);
    sized->full_repair_ns[round] = measure_full_repair(sized);
    if (options->output != NULL)
        (void)fprintf(options->output, "%" PRIu32 "\t%" PRIu32 "\t%.2f\t%.3f\t%.3f\n", sized->slots, round,
                      sized->job_ns[round], sized->idle_repair_ns[round], sized->full_repair_ns[round]);
}

static void report(struct sized *tables, const struct table_size_options *options)
{
    static double ratios[MAX_SIZES][MAX_ROUNDS];

    for (uint32_t i = 0; i < options->n_sizes; i++)
        for (uint32_t round = 0; round < options->rounds; round++)
            ratios[i][round] = tables[i].job_ns[round] / tables[0].job_ns[round];
    (void)printf("%10s %22s %22s %22s %22s\n", "slots", "CPU ns/job", "times the first", "idle: repair ns/slot",
                 "full: repair ns/slot");
    for (uint32_t i = 0; i < options->n_sizes; i++) {
        (void)printf("%10" PRIu32, tables[i].slots);
        spread_print(22, 1, spread_of(tables[i].job_ns, options->rounds));
        spread_print(22, 2, spread_of(ratios[i], options->rounds));
        spread_print(22, 2, spread_of(tables[i].idle_repair_ns, options->rounds));
        spread_print(22, 2, spread_of(tables[i].full_repair_ns, options->rounds));
        (void)printf("\n");
    }
}

int main(int argc, char **argv)
{
    static struct sized tables[MAX_SIZES];
    struct table_size_options options;

    parse_options(&options, argc, argv);
    for (uint32_t i = 0; i < options.n_sizes; i++)
        sized_create(&tables[i], options.sizes[i]);
    for (uint32_t round = 0; round < options.rounds; round++)
        for (uint32_t i = 0; i < options.n_sizes; i++)
            measure_round(&tables[i], round, &options);
    report(tables, &options);
    for (uint32_t i = 0; i < options.n_sizes; i++)
        sized_destroy(&tables[i]);
    return options.output == NULL || fclose(options.output) == 0 ? EXIT_CLEAN : EXIT_ERRORS;
}
