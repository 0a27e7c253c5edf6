/* SPDX-License-Identifier: BSD-2-Clause */
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define ADDRESSES_MAX 16
#define OPTIONS_MAX   64

struct serve_address {
    const char *text;
    struct prefork_listen_options options;
};

struct serve_settings {
    const struct serve *serve;
    struct serve_address addresses[ADDRESSES_MAX];
    unsigned n_addresses;
    struct prefork_listen_options options; /* of the addresses that follow */
    bool verbose;
};

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
    const struct serve_settings *const settings = context;

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
    if (total.datagrams + total.datagrams_dropped > 0)
        printf("%" PRIu64 " datagrams, %" PRIu64 " dropped\n", total.datagrams, total.datagrams_dropped);
    (void)fflush(stdout);
}

/* -- The command line ----------------------------------------------------------- */

static void usage(const struct serve *serve)
{
    fprintf(stderr,
            "usage: %s [[-o OPTION]... -l ADDRESS]... [-w WORKERS] [-i IO_THREADS] [-j JOB_THREADS] [-n SLOTS]\n"
            "                 [-c CONNECTIONS] [-p CONNECTIONS_PER_PEER] [-u USER] [-v]%s\n"
            "  -l  tcp:127.0.0.1:7007 (the default), tcp:[::1]:0, tcp:*:7007, udp: likewise, unix:/path,\n"
            "      unix:@name, fd:NAME (socket activation); repeatable\n"
            "  -o  of the addresses that follow: shards, mode=0660, owner=USER:GROUP, backlog=N,\n"
            "      proxy=10.0.0.0/8,unix (who sends PROXY headers; * for everybody)\n"
            "  -c  how many connections at once; -p  how many of one address; 0, the default: any number\n"
            "  -u  who the workers run as, a name or uid:gid; for root\n"
            "  -v  print the geometry\n%s",
            serve->name, serve->arguments, serve->usage);
}

int serve_refuse(const struct serve *serve, const char *value, const char *reason)
{
    fprintf(stderr, "%s: \"%s\" %s\n", serve->name, value, reason);
    return -EINVAL;
}

static int say_error(const struct serve *serve, int rc)
{
    if (rc != 0 && *prefork_last_error() != '\0') /* else it was said where it happened */
        fprintf(stderr, "%s: %s\n", serve->name, prefork_last_error());
    return rc;
}

static int set_number(const struct serve *serve, struct prefork_pool *pool, enum prefork_pool_option option,
                      const char *text)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || text[0] == '-')
        return serve_refuse(serve, text, "is not a number");
    return say_error(serve, prefork_pool_set(pool, option, value));
}

static int add_address(struct serve_settings *settings, const char *address)
{
    if (settings->n_addresses == ADDRESSES_MAX)
        return serve_refuse(settings->serve, address, "is an address too many");
    settings->addresses[settings->n_addresses++] = (struct serve_address){address, settings->options};
    return 0;
}

/* The value of `option` if it is NAME=VALUE with this name, else NULL. */
static const char *value_of(const char *option, const char *name)
{
    const size_t length = strlen(name);

    return strncmp(option, name, length) == 0 && option[length] == '=' ? option + length + 1 : NULL;
}

static bool read_uint32(const char *text, int base, uint32_t *number_out)
{
    char *end;
    const unsigned long number = strtoul(text, &end, base);

    *number_out = (uint32_t)number;
    return *text >= '0' && *text <= '9' && *end == '\0' && number > 0 && number <= UINT32_MAX;
}

static int set_listen_option(struct serve_settings *settings, const char *option)
{
    struct prefork_listen_options *const options = &settings->options;
    const char *value;

    if (strcmp(option, "shards") == 0)
        options->shards = 1;
    else if ((value = value_of(option, "owner")) != NULL)
        options->owner = value;
    else if ((value = value_of(option, "proxy")) != NULL)
        options->proxy_from = value;
    else if ((value = value_of(option, "mode")) == NULL || !read_uint32(value, 8, &options->mode)) {
        value = value_of(option, "backlog");
        if (value == NULL || !read_uint32(value, 10, &options->backlog))
            return serve_refuse(settings->serve, option, "is no option of an address");
    }
    return 0;
}

static int take_option(struct prefork_pool *pool, struct serve_settings *settings, int option, const char *value)
{
    const struct serve *const serve = settings->serve;

    switch (option) {
    case 'l':
        return add_address(settings, value);
    case 'o':
        return set_listen_option(settings, value);
    case 'w':
        return set_number(serve, pool, PREFORK_POOL_WORKERS, value);
    case 'i':
        return set_number(serve, pool, PREFORK_POOL_IO_THREADS, value);
    case 'j':
        return set_number(serve, pool, PREFORK_POOL_JOB_THREADS, value);
    case 'n':
        return set_number(serve, pool, PREFORK_POOL_SLOTS, value);
    case 'c':
        return set_number(serve, pool, PREFORK_POOL_CONNECTIONS, value);
    case 'p':
        return set_number(serve, pool, PREFORK_POOL_CONNECTIONS_PER_PEER, value);
    case 'u':
        return say_error(serve, prefork_pool_user(pool, value));
    case 'v':
        settings->verbose = true;
        return 0;
    case '?':
        usage(serve);
        return -EINVAL;
    default:
        return serve->take_option(option, value);
    }
}

static int read_command_line(struct prefork_pool *pool, struct serve_settings *settings, int argc, char **argv)
{
    const struct serve *const serve = settings->serve;
    char options[OPTIONS_MAX];
    int option;
    int rc = 0;

    (void)snprintf(options, sizeof(options), "l:o:w:i:j:n:c:p:u:v%s", serve->options);
    while (rc == 0 && (option = getopt(argc, argv, options)) != -1)
        rc = take_option(pool, settings, option, optarg);
    if (rc == 0 && argc - optind != serve->n_arguments) {
        usage(serve);
        rc = -EINVAL;
    }
    return rc == 0 && settings->n_addresses == 0 ? add_address(settings, "tcp:127.0.0.1:7007") : rc;
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

static int set_up(struct prefork_pool *pool, struct serve_settings *settings, char **arguments)
{
    int rc = 0;
    const struct prefork_protocol *const protocol = settings->serve->set_up(pool, arguments, &rc);

    for (unsigned i = 0; rc == 0 && i < settings->n_addresses; i++)
        rc = prefork_pool_listen_with(pool, settings->addresses[i].text, protocol, &settings->addresses[i].options);
    if (rc == 0)
        rc = prefork_pool_on_ready(pool, print_ready, settings);
    return rc;
}

static int run(struct prefork_pool *pool, struct serve_settings *settings, char **arguments)
{
    int rc = set_up(pool, settings, arguments);

    if (rc == 0) {
        rc = prefork_pool_run(pool);
        print_totals(pool);
    }
    return say_error(settings->serve, rc);
}

int serve_main(const struct serve *serve, int argc, char **argv)
{
    struct serve_settings settings = {.serve = serve, .options = {.size = sizeof(settings.options)}};
    struct prefork_pool *pool;
    int rc = prefork_pool_create(&pool);

    if (say_error(serve, rc) != 0)
        return EXIT_FAILURE;
    raise_descriptor_limit();
    rc = read_command_line(pool, &settings, argc, argv);
    if (rc == 0)
        rc = run(pool, &settings, argv + optind);
    prefork_pool_destroy(&pool);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
