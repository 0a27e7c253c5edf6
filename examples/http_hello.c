/* SPDX-License-Identifier: BSD-2-Clause */
/* http_hello: says hello over HTTP. The I/O thread that read a request answers
 * it; what is under /job is answered by a job, on any worker, which also echoes
 * the body that it was sent. */
#include <errno.h>

#include <prefork.h>
#include <prefork/http.h>

#include "serve.h"

static const struct prefork_http_response greeting = {
    .status = 200, .content_type = "text/plain", .body = "hello\n", .body_bytes = 6};

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

int main(int argc, char **argv)
{
    static const struct serve server = {
        .name = "http_hello", .options = "", .arguments = "", .usage = "", .set_up = set_up};

    return serve_main(&server, argc, argv);
}
