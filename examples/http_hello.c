/* SPDX-License-Identifier: BSD-2-Clause */
/* http_hello: says hello over HTTP. The I/O thread that read a request answers
 * it; what is under /job is answered by a job, on any worker, which also echoes
 * the body that it was sent. */
#include <errno.h>
#include <string.h>

#include <prefork.h>
#include <prefork/http.h>

#include "serve.h"

static struct prefork_http_header own_header; /* of every answer, if -H names one */
static struct prefork_http_response greeting = {
    .status = 200, .content_type = "text/plain", .headers = &own_header, .body = "hello\n", .body_bytes = 6};

/* The job's handler. */
static int say_hello(struct prefork_job *job, void *context)
{
    const struct prefork_http_request *const request = prefork_http_job_request(job);
    struct prefork_http_response response = greeting;

    (void)context;
    if (request == NULL)
        return -EPROTO;
    if (request->body.length > 0) {
        response.body = request->body.bytes;
        response.body_bytes = request->body.length;
    }
    return prefork_http_reply(job, &response);
}

static int on_request(struct prefork_connection *connection, const struct prefork_http_request *request, void *context)
{
    (void)context;
    if (prefork_http_text_is(request->path, "/job"))
        return prefork_http_submit(connection, request, 0);
    return prefork_http_respond(connection, request, &greeting);
}

static const struct prefork_protocol *set_up(struct prefork_pool *pool, char **arguments, int *rc_out)
{
    static const struct prefork_http_options options = {.size = sizeof(options), .on_request = on_request};

    (void)arguments;
    *rc_out = prefork_pool_set(pool, PREFORK_POOL_REPLY_BYTES, 16384); /* a body of request size, and a head */
    if (*rc_out == 0)
        *rc_out = prefork_pool_handle(pool, "hello", say_hello, NULL);
    return prefork_protocol_http(&options);
}

static int take_option(int option, const char *value);

static const struct serve server = {.name = "http_hello",
                                    .options = "H:",
                                    .arguments = " [-H 'NAME: VALUE']",
                                    .usage = "  -H  a header of every answer\n",
                                    .take_option = take_option,
                                    .set_up = set_up};

static int take_option(int option, const char *value)
{
    const char *const colon = strstr(value, ": ");

    (void)option;
    if (colon == NULL)
        return serve_refuse(&server, value, "is no header: NAME: VALUE");
    own_header.name = (struct prefork_http_text){.bytes = value, .length = (size_t)(colon - value)};
    own_header.value = (struct prefork_http_text){.bytes = colon + 2, .length = strlen(colon + 2)};
    greeting.n_headers = 1;
    return 0;
}

int main(int argc, char **argv)
{
    return serve_main(&server, argc, argv);
}
