/* SPDX-License-Identifier: BSD-2-Clause */
/* An echo server on a pool of workers.
 *
 * In mode table each piece that arrives becomes a job, and any worker answers;
 * in mode inline the I/O thread answers by itself, which shows what the job
 * table costs. With -t it works by lines and says which worker ran the job. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <prefork.h>

/* "[worker 4294967295] " */
#define TAG_BYTES     32
#define ADDRESSES_MAX 16

struct settings {
    const char *addresses[ADDRESSES_MAX];
    unsigned n_addresses;
    bool in_line; /* the I/O thread answers */
    bool tagged;
    bool verbose;
};

/* -- The echo ----------------------------------------------------------------- */

/* A job: the reply is the request where it lies, no byte is copied. */
static int echo(struct prefork_job *job, void *context)
{
    size_t length;

    (void)context;
    (void)prefork_job_request(job, &length);
    return prefork_job_reply_request(job, 0, length);
}

static int echo_tagged(struct prefork_job *job, void *context)
{
    size_t length;
    size_t capacity;
    const void *const line = prefork_job_request(job, &length);
    char *const reply = prefork_job_reply_buffer(job, &capacity);
    const int tag = snprintf(reply, capacity, "[worker %ld] ", (long)getpid());

    (void)context;
    if (tag < 0 || (size_t)tag + length > capacity)
        return -EMSGSIZE;
    memcpy(reply + tag, line, length);
    return prefork_job_reply(job, (size_t)tag + length);
}

/* The same two without a job, on the connection's own thread. */
static int echo_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

static int echo_tagged_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    char tag[TAG_BYTES];
    const int tag_length = snprintf(tag, sizeof(tag), "[worker %ld] ", (long)getpid());
    const int rc = prefork_connection_write(connection, tag, (size_t)tag_length);

    (void)context;
    return rc != 0 ? rc : prefork_connection_write(connection, message, length);
}

static struct prefork_protocol echo_protocol(const struct settings *settings)
{
    struct prefork_protocol protocol =
        settings->tagged ? *prefork_protocol_lines("echo") : *prefork_protocol_raw("echo");

    if (settings->in_line) {
        protocol.handler = NULL;
        protocol.message = settings->tagged ? echo_tagged_inline : echo_inline;
    }
    return protocol;
}

/* -- What it prints ------------------------------------------------------------ */

static uint64_t option_value(const struct prefork_pool *pool, enum prefork_pool_option option)
{
    uint64_t value = 0;

    (void)prefork_pool_get(pool, option, &value);
    return value;
}

static void print_geometry(const struct prefork_pool *pool)
{
    printf("master pid %ld, %" PRIu64 " workers of %" PRIu64 " I/O threads and %" PRIu64 " job threads\n",
           (long)getpid(), option_value(pool, PREFORK_POOL_WORKERS), option_value(pool, PREFORK_POOL_IO_THREADS),
           option_value(pool, PREFORK_POOL_JOB_THREADS));
    printf("%" PRIu64 " slots of %" PRIu64 " bytes request and %" PRIu64 " bytes reply\n",
           option_value(pool, PREFORK_POOL_SLOTS), option_value(pool, PREFORK_POOL_REQUEST_BYTES),
           option_value(pool, PREFORK_POOL_REPLY_BYTES));
}

static void print_workers(const struct prefork_pool *pool)
{
    struct prefork_worker_status worker = {.size = sizeof(worker)};

    for (uint32_t seat = 0; prefork_pool_worker(pool, seat, &worker) == 0; seat++)
        if (worker.pid != 0)
            printf("worker %" PRIu32 " pid %" PRId32 "\n", seat, worker.pid);
}

/* Runs in the master when the first worker accepts; all have been forked. */
static void print_ready(struct prefork_pool *pool, void *context)
{
    const struct settings *const settings = context;

    for (unsigned i = 0; prefork_pool_address(pool, i) != NULL; i++)
        printf("listening on %s\n", prefork_pool_address(pool, i));
    if (settings->verbose) {
        print_geometry(pool);
        print_workers(pool);
    }
    (void)fflush(stdout);
}

static void print_totals(const struct prefork_pool *pool)
{
    struct prefork_pool_statistics total = {.size = sizeof(total)};

    if (prefork_pool_statistics(pool, &total) != 0)
        return;
    printf("%" PRIu64 " connections, %" PRIu64 " bytes in, %" PRIu64 " bytes out, %" PRIu64 " jobs, %" PRIu64
           " redelivered, %" PRIu64 " workers lost\n",
           total.connections, total.bytes_in, total.bytes_out, total.jobs, total.redelivered, total.workers_lost);
    (void)fflush(stdout);
}

/* -- The command line ----------------------------------------------------------- */

static void usage(FILE *to)
{
    fputs("usage: echo_pool [-l ADDRESS]... [-w WORKERS] [-i IO_THREADS] [-j JOB_THREADS] [-n SLOTS]\n"
          "                 [-u USER] [-m table|inline] [-t] [-v]\n"
          "  -l  tcp:127.0.0.1:7007 (the default), tcp:[::1]:0, tcp:*:7007, unix:/path; repeatable\n"
          "  -u  who the workers run as, a name or uid:gid; for root\n"
          "  -m  table: any worker answers; inline: the I/O thread that read it\n"
          "  -t  by lines, each with the worker's pid in front    -v  print the geometry\n",
          to);
}

static int set_number(struct prefork_pool *pool, enum prefork_pool_option option, const char *text)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || text[0] == '-') {
        fprintf(stderr, "echo_pool: \"%s\" is not a number\n", text);
        return -EINVAL;
    }
    if (prefork_pool_set(pool, option, value) == 0)
        return 0;
    fprintf(stderr, "echo_pool: %s\n", prefork_last_error());
    return -EINVAL;
}

static int set_user(struct prefork_pool *pool, const char *user)
{
    const int rc = prefork_pool_user(pool, user);

    if (rc != 0)
        fprintf(stderr, "echo_pool: %s\n", prefork_last_error());
    return rc;
}

static int set_mode(struct settings *settings, const char *text)
{
    settings->in_line = strcmp(text, "inline") == 0;
    if (settings->in_line || strcmp(text, "table") == 0)
        return 0;
    fprintf(stderr, "echo_pool: mode \"%s\" is neither table nor inline\n", text);
    return -EINVAL;
}

static int add_address(struct settings *settings, const char *address)
{
    if (settings->n_addresses == ADDRESSES_MAX) {
        fprintf(stderr, "echo_pool: more than %d addresses\n", ADDRESSES_MAX);
        return -EINVAL;
    }
    settings->addresses[settings->n_addresses++] = address;
    return 0;
}

static int take_option(struct prefork_pool *pool, struct settings *settings, int option, const char *value)
{
    switch (option) {
    case 'l':
        return add_address(settings, value);
    case 'w':
        return set_number(pool, PREFORK_POOL_WORKERS, value);
    case 'i':
        return set_number(pool, PREFORK_POOL_IO_THREADS, value);
    case 'j':
        return set_number(pool, PREFORK_POOL_JOB_THREADS, value);
    case 'n':
        return set_number(pool, PREFORK_POOL_SLOTS, value);
    case 'u':
        return set_user(pool, value);
    case 'm':
        return set_mode(settings, value);
    case 't':
        settings->tagged = true;
        return 0;
    case 'v':
        settings->verbose = true;
        return 0;
    default:
        usage(stderr);
        return -EINVAL;
    }
}

static int read_command_line(struct prefork_pool *pool, struct settings *settings, int argc, char **argv)
{
    int option;
    int rc = 0;

    while (rc == 0 && (option = getopt(argc, argv, "l:w:i:j:n:u:m:tv")) != -1)
        rc = take_option(pool, settings, option, optarg);
    if (rc == 0 && optind < argc) {
        usage(stderr);
        rc = -EINVAL;
    }
    if (settings->n_addresses == 0)
        settings->addresses[settings->n_addresses++] = "tcp:127.0.0.1:7007";
    return rc;
}

/* -- The server ------------------------------------------------------------------ */

/* Each connection is a descriptor; the default soft limit is 1,024. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int set_up(struct prefork_pool *pool, struct settings *settings)
{
    const struct prefork_protocol protocol = echo_protocol(settings);
    int rc =
        prefork_pool_set(pool, PREFORK_POOL_REPLY_BYTES, option_value(pool, PREFORK_POOL_REQUEST_BYTES) + TAG_BYTES);

    if (rc == 0)
        rc = prefork_pool_handle(pool, "echo", settings->tagged ? echo_tagged : echo, NULL);
    for (unsigned i = 0; rc == 0 && i < settings->n_addresses; i++)
        rc = prefork_pool_listen(pool, settings->addresses[i], &protocol);
    if (rc == 0)
        rc = prefork_pool_on_ready(pool, print_ready, settings);
    return rc;
}

static int serve(struct prefork_pool *pool, struct settings *settings)
{
    int rc = set_up(pool, settings);

    if (rc == 0) {
        rc = prefork_pool_run(pool);
        print_totals(pool);
    }
    if (rc != 0)
        fprintf(stderr, "echo_pool: %s\n", prefork_last_error());
    return rc;
}

int main(int argc, char **argv)
{
    struct settings settings = {.n_addresses = 0};
    struct prefork_pool *pool;
    int rc = prefork_pool_create(&pool);

    if (rc != 0) {
        fprintf(stderr, "echo_pool: %s\n", prefork_last_error());
        return EXIT_FAILURE;
    }
    raise_descriptor_limit();
    rc = read_command_line(pool, &settings, argc, argv);
    if (rc == 0)
        rc = serve(pool, &settings);
    prefork_pool_destroy(&pool);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
