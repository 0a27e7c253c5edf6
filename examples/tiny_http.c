/* SPDX-License-Identifier: BSD-2-Clause */
/* The least of HTTP: the I/O thread says hello. tiny_http [ADDRESS] */
#include <stdio.h>

#include <prefork/http.h>

static int hello(struct prefork_connection *connection, const struct prefork_http_request *request, void *context)
{
    const struct prefork_http_response response = {
        .status = 200, .content_type = "text/plain", .body = "hello\n", .body_bytes = 6};

    (void)context;
    return prefork_http_respond(connection, request, &response);
}

int main(int argc, char **argv)
{
    const struct prefork_http_options options = {.size = sizeof(options), .on_request = hello};
    struct prefork_pool *pool;
    int rc = prefork_pool_create(&pool);

    if (rc == 0)
        rc = prefork_pool_listen(pool, argc > 1 ? argv[1] : "tcp:127.0.0.1:8080", prefork_protocol_http(&options));
    if (rc == 0)
        rc = prefork_pool_run(pool);
    if (rc != 0)
        fprintf(stderr, "%s\n", prefork_last_error());
    prefork_pool_destroy(&pool);
    return rc != 0;
}
