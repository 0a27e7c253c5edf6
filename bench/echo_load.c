/* SPDX-License-Identifier: BSD-2-Clause */
/* echo_load: load for an echo server, every byte of the replies verified.
 * This file reads the command line and writes the report; load.c does the work. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "load.h"
#include "load_clock.h"

#define MAX_CONNECTIONS   5000
#define MAX_DEPTH         4096
#define MAX_MESSAGE_BYTES (UINT64_C(16) << 20)
/* Times the largest message still far below 2^64, as stream offsets must be. */
#define MAX_MESSAGES    (UINT64_C(64) << 30)
#define MAX_TOTAL_BYTES (UINT64_C(1) << 50)
#define MAX_SECONDS     86400.0
#define SHOWN_WORKERS   16
/* Beside the connections: standard streams, the loop's own, /proc. */
#define OTHER_FDS 32

enum exit_status { EXIT_CLEAN = 0, EXIT_ERRORS = 1, EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: echo_load [options] ADDRESS\n"
    "ADDRESS is tcp:127.0.0.1:PORT, tcp:[::1]:PORT or unix:/path of an echo server.\n"
    "  -c CONNECTIONS  open at the same time, 1 to 5000 (1)\n"
    "  -s BYTES        size of a message, 1 to 16M (64)\n"
    "  -d DEPTH        messages in flight on each connection, 1 to 4096 (1)\n"
    "  -n MESSAGES     send so many, all connections together\n"
    "  -b BYTES        send so many, rounded up to whole messages; K, M, G are 1024-fold\n"
    "  -t SECONDS      send for so long (5, when neither -n nor -b is given)\n"
    "  -w SECONDS      give up after so long without a new reply byte (10)\n"
    "  -r SEED         of the bytes that are sent (1)\n"
    "  -L              messages are lines; replies may start with `[worker PID] '\n"
    "  -R              open a fallen connection again and resend what was unanswered\n"
    "  -P PID[,...]    also measure the processor time of these; tree:PID takes in the descendants\n"
    "  -h, --help      this text\n"
    "Exits with 0 when every reply was right and complete, 1 on any error, 2 on a wrong option.\n";

__attribute__((noreturn)) static void wrong_option(char option, const char *value, const char *wanted)
{
    (void)fprintf(stderr, "echo_load: -%c %s: must be %s\n", option, value, wanted);
    exit(EXIT_USAGE);
}

static unsigned suffix_shift(const char **end)
{
    switch (**end) {
    case 'K':
    case 'k':
        (*end)++;
        return 10;
    case 'M':
        (*end)++;
        return 20;
    case 'G':
        (*end)++;
        return 30;
    default:
        return 0;
    }
}

static uint64_t parse_count(char option, const char *text, uint64_t min, uint64_t max, const char *wanted)
{
    const char *end;
    char *number_end;
    uint64_t value;
    unsigned shift;

    errno = 0;
    value = strtoull(text, &number_end, 10);
    end = number_end;
    shift = suffix_shift(&end);
    if (*text < '0' || *text > '9' || errno != 0 || *end != '\0' || value > max >> shift || value << shift < min)
        wrong_option(option, text, wanted);
    return value << shift;
}

static uint64_t parse_seconds_ns(char option, const char *text)
{
    char *end;
    const double seconds = strtod(text, &end);

    if (*text < '0' || *text > '9' || *end != '\0' || !(seconds >= 0.001 && seconds <= MAX_SECONDS))
        wrong_option(option, text, "seconds, 0.001 to 86400");
    return (uint64_t)(seconds * (double)NS_PER_S);
}

static void parse_cpu_targets(struct load_options *options, char *text)
{
    char *rest = NULL;

    for (char *item = strtok_r(text, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        const bool tree = strncmp(item, "tree:", 5) == 0;
        struct cpu_target *target = &options->cpu_targets[options->cpu_target_count];

        if (options->cpu_target_count == LOAD_MAX_CPU_TARGETS)
            wrong_option('P', item, "one of at most 64 processes");
        target->with_descendants = tree;
        target->pid = (pid_t)parse_count('P', tree ? item + 5 : item, 1, INT32_MAX, "PID or tree:PID");
        options->cpu_target_count++;
    }
}

struct command_line {
    struct load_options options;
    const char *address;
    uint64_t total_bytes; /* of -b */
};

static void parse_option(struct command_line *line, int option, char *value)
{
    struct load_options *options = &line->options;

    switch (option) {
    case 'c':
        options->connections = (uint32_t)parse_count('c', value, 1, MAX_CONNECTIONS, "1 to 5000");
        break;
    case 's':
        options->message_bytes = parse_count('s', value, 1, MAX_MESSAGE_BYTES, "1 to 16M bytes");
        break;
    case 'd':
        options->depth = (uint32_t)parse_count('d', value, 1, MAX_DEPTH, "1 to 4096");
        break;
    case 'n':
        options->messages = parse_count('n', value, 1, MAX_MESSAGES, "1 to 64G messages");
        break;
    case 'b':
        line->total_bytes = parse_count('b', value, 1, MAX_TOTAL_BYTES, "1 to 1024K gigabytes");
        break;
    case 't':
        options->duration_ns = parse_seconds_ns('t', value);
        break;
    case 'w':
        options->stall_ns = parse_seconds_ns('w', value);
        break;
    case 'r':
        options->seed = parse_count('r', value, 0, UINT64_MAX, "a number");
        break;
    case 'L':
        options->lines = true;
        break;
    case 'R':
        options->reconnect = true;
        break;
    case 'P':
        parse_cpu_targets(options, value);
        break;
    case 'h':
        (void)fputs(usage_text, stdout);
        exit(EXIT_CLEAN);
    default:
        (void)fputs(usage_text, stderr);
        exit(EXIT_USAGE);
    }
}

static void parse_command_line(int argc, char **argv, struct command_line *line)
{
    static const struct option long_options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct load_options *options = &line->options;
    int option;

    *options =
        (struct load_options){.connections = 1, .message_bytes = 64, .depth = 1, .seed = 1, .stall_ns = 10 * NS_PER_S};
    while ((option = getopt_long(argc, argv, "c:s:d:n:b:t:w:r:LRP:h", long_options, NULL)) != -1)
        parse_option(line, option, optarg);
    if (argc - optind != 1)
        parse_option(line, '?', NULL);
    line->address = argv[optind];
    if (address_parse(line->address, &options->address) != 0) {
        (void)fprintf(stderr, "echo_load: %s: an address is tcp:127.0.0.1:PORT, tcp:[::1]:PORT or unix:/path\n",
                      line->address);
        exit(EXIT_USAGE);
    }
    if (line->total_bytes != 0)
        options->messages = (line->total_bytes + options->message_bytes - 1) / options->message_bytes;
    if (options->messages == 0 && options->duration_ns == 0)
        options->duration_ns = 5 * NS_PER_S;
    options->progress = isatty(STDERR_FILENO) == 1;
}

static int raise_fd_limit(uint32_t connections)
{
    const rlim_t wanted = (rlim_t)connections + OTHER_FDS;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return 0;
    if (limit.rlim_max < wanted) {
        (void)fprintf(stderr,
                      "echo_load: %" PRIu32 " connections need a descriptor limit of %ju, it is %ju (ulimit -Hn)\n",
                      connections, (uintmax_t)wanted, (uintmax_t)limit.rlim_max);
        return -EMFILE;
    }
    limit.rlim_cur = wanted;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? 0 : -errno;
}

static double per_second(uint64_t amount, uint64_t ns)
{
    return ns == 0 ? 0.0 : (double)amount * (double)NS_PER_S / (double)ns;
}

static double percentile_us(const struct load_result *result, double percent)
{
    return (double)histogram_percentile(&result->latency_ns, percent) / 1e3;
}

static double cpu_us_per_message(const struct load_result *result)
{
    return result->measured_messages == 0 ? 0.0 : (double)result->cpu_ns / 1e3 / (double)result->measured_messages;
}

static void report_workers(const struct tag_count *workers, uint64_t messages)
{
    const uint32_t shown = workers->distinct < SHOWN_WORKERS ? workers->distinct : SHOWN_WORKERS;

    if (workers->distinct == 0)
        return;
    (void)printf("  workers  %" PRIu32 " pids:", workers->distinct);
    for (uint32_t i = 0; i < shown; i++)
        (void)printf(" %" PRIu32 " (%.1f %%)", workers->entries[i].pid,
                     100.0 * (double)workers->entries[i].lines / (double)(messages == 0 ? 1 : messages));
    (void)puts(shown < workers->distinct ? " ..." : "");
}

static void report_errors(const struct load_result *result)
{
    (void)printf("  errors   %" PRIu64, result->error_sum);
    for (int kind = 0; kind < LOAD_ERROR_KINDS; kind++)
        if (result->errors[kind] != 0)
            (void)printf(", %s %" PRIu64, load_error_name((enum load_error)kind), result->errors[kind]);
    if (result->missing != 0)
        (void)printf("; %" PRIu64 " replies missing", result->missing);
    if (result->unsent != 0)
        (void)printf("; %" PRIu64 " messages never sent", result->unsent);
    (void)putchar('\n');
}

static void report_to_reader(const struct load_options *options, const struct load_result *result)
{
    const double rate = per_second(result->measured_messages, result->measured_ns);

    (void)printf("%" PRIu32 " connections, %s of %" PRIu64 " bytes, depth %" PRIu32 ": %" PRIu64 " answered\n",
                 options->connections, options->lines ? "lines" : "messages", options->message_bytes, options->depth,
                 result->messages);
    (void)printf("  rate     %.0f/s, %.1f MB/s each way, %" PRIu64 " in %.3f s\n", rate,
                 rate * (double)options->message_bytes / 1e6, result->measured_messages,
                 (double)result->measured_ns / (double)NS_PER_S);
    (void)printf("  latency  p50 %.1f us, p90 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n",
                 percentile_us(result, 50), percentile_us(result, 90), percentile_us(result, 99),
                 percentile_us(result, 99.9), percentile_us(result, 100));
    if (result->cpu_known)
        (void)printf("  server   %.3f us of processor time per message\n", cpu_us_per_message(result));
    report_workers(&result->workers, result->messages);
    if (options->reconnect)
        (void)printf("  lost     %" PRIu64 " connections, %" PRIu64 " messages resent, %" PRIu64 " connects refused\n",
                     result->lost_connections, result->resent_messages, result->refused_connects);
    report_errors(result);
}

/* One line of KEY=VALUE, for scripts. */
static void report_to_program(const struct load_options *options, const struct load_result *result)
{
    (void)printf("result connections=%" PRIu32 " messages=%" PRIu64 " bytes=%" PRIu64 " seconds=%.3f errors=%" PRIu64
                 " missing=%" PRIu64 " rate=%.0f p50_us=%.1f p90_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f",
                 options->connections, result->messages, result->bytes, (double)result->measured_ns / (double)NS_PER_S,
                 result->error_sum, result->missing, per_second(result->measured_messages, result->measured_ns),
                 percentile_us(result, 50), percentile_us(result, 90), percentile_us(result, 99),
                 percentile_us(result, 99.9), percentile_us(result, 100));
    (void)printf(" worker_pids=%" PRIu32 " lost_connections=%" PRIu64 " resent_messages=%" PRIu64,
                 result->workers.distinct, result->lost_connections, result->resent_messages);
    if (result->cpu_known)
        (void)printf(" server_cpu_us_per_message=%.3f", cpu_us_per_message(result));
    (void)putchar('\n');
}

int main(int argc, char **argv)
{
    static struct command_line line;
    static struct load_result result;

    parse_command_line(argc, argv, &line);
    if (raise_fd_limit(line.options.connections) != 0 || load_run(&line.options, &result) != 0)
        return EXIT_ERRORS;
    report_to_reader(&line.options, &result);
    report_to_program(&line.options, &result);
    /* A measurement that was asked for and isn't there would be missed only later. */
    if (line.options.cpu_target_count > 0 && !result.cpu_known)
        return EXIT_ERRORS;
    return result.error_sum == 0 && fflush(stdout) == 0 ? EXIT_CLEAN : EXIT_ERRORS;
}
