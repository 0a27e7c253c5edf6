/* SPDX-License-Identifier: BSD-2-Clause */
/* An echo server on a pool of workers.
 *
 * In mode table each piece that arrives becomes a job, and any worker answers;
 * in mode inline the I/O thread answers by itself, which shows what the job
 * table costs. With -t it works by lines and says which worker ran the job. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <prefork.h>

#include "serve.h"

/* "[worker 4294967295] " */
#define TAG_BYTES 32

static bool in_line; /* the I/O thread answers */
static bool tagged;

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

static const struct prefork_protocol *echo_protocol(void)
{
    static struct prefork_protocol protocol;

    protocol = tagged ? *prefork_protocol_lines("echo") : *prefork_protocol_raw("echo");
    if (in_line) {
        protocol.handler = NULL;
        protocol.message = tagged ? echo_tagged_inline : echo_inline;
    }
    return &protocol;
}

/* -- The server ---------------------------------------------------------------- */

static int take_option(int option, const char *value);

static const struct prefork_protocol *set_up(struct prefork_pool *pool, char **arguments, int *rc_out)
{
    uint64_t request_bytes = 0;

    (void)arguments;
    *rc_out = prefork_pool_get(pool, PREFORK_POOL_REQUEST_BYTES, &request_bytes);
    if (*rc_out == 0)
        *rc_out = prefork_pool_set(pool, PREFORK_POOL_REPLY_BYTES, request_bytes + TAG_BYTES);
    if (*rc_out == 0)
        *rc_out = prefork_pool_handle(pool, "echo", tagged ? echo_tagged : echo, NULL);
    return echo_protocol();
}

static const struct serve server = {.name = "echo_pool",
                                    .options = "m:t",
                                    .arguments = " [-m table|inline] [-t]",
                                    .usage = "  -m  table: any worker answers; inline: the I/O thread that read it\n"
                                             "  -t  by lines, each with the worker's pid in front\n",
                                    .take_option = take_option,
                                    .set_up = set_up};

static int take_option(int option, const char *value)
{
    if (option == 't') {
        tagged = true;
        return 0;
    }
    in_line = strcmp(value, "inline") == 0;
    return in_line || strcmp(value, "table") == 0 ? 0 : serve_refuse(&server, value, "is neither table nor inline");
}

int main(int argc, char **argv)
{
    return serve_main(&server, argc, argv);
}
