/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/http.h>: HTTP/1.1 on a pool. libprefork-http; pkg-config libprefork-http.
 *
 *     static int hello(struct prefork_connection *connection, const struct prefork_http_request *request, void
 * *context)
 *     {
 *         return prefork_http_respond(connection, request, &(struct prefork_http_response){
 *             .status = 200, .content_type = "text/plain", .body = "hello\n", .body_bytes = 6});
 *     }
 *     static const struct prefork_http_options options = {.size = sizeof(options), .on_request = hello};
 *     ... prefork_pool_listen(pool, "tcp:127.0.0.1:8080", prefork_protocol_http(&options)) ...
 *
 * A request is answered on the I/O thread that read it, at once, or becomes a
 * job, whose handler answers with prefork_http_reply on any worker. Either
 * way answers leave in the order of the requests, and the library sees to
 * persistent connections, HEAD, Expect, Date and the length.
 *
 * What the library answers by itself, closing the connection afterwards: 400
 * what is no request, or could be read in two ways (both Content-Length and
 * Transfer-Encoding, folded or misspelt headers, no Host or another than in the
 * target, ...); 408 a request
 * that does not get whole (PREFORK_POOL_MESSAGE_MS); 413 a body that is too
 * large; 414, 431 a head that is; 417; 501 a transfer coding before chunked,
 * and CONNECT; 505. And without closing: 500 where a handler failed
 * or died.
 *
 * The library uses the user pointer of its connections. Its functions return 0
 * or -errno and set no text for prefork_last_error, but those of <prefork.h>
 * that they call do. */
#ifndef PREFORK_HTTP_H
#define PREFORK_HTTP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <prefork.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that lie somewhere else; no NUL behind them. */
struct prefork_http_text {
    const char *bytes;
    size_t length;
};

/* Returns 1 if `text` is just `string`, else 0. Any thread. */
int prefork_http_text_is(struct prefork_http_text text, const char *string);

/* A header field. Names are compared without regard to case. */
struct prefork_http_header {
    struct prefork_http_text name;
    struct prefork_http_text value; /* without the white space around it */
};

/* A request. All of it is borrowed: on the I/O thread until on_request
 * returns, in a handler until that returns. */
struct prefork_http_request {
    struct prefork_http_text method; /* "GET" */
    struct prefork_http_text target; /* as it was sent: "/a%20b?c=d", "http://host/a", "*" */
    struct prefork_http_text path;   /* of the target, as it was sent: "/a%20b"; "*"; never empty */
    struct prefork_http_text query;  /* behind the question mark; empty when there is none */
    struct prefork_http_text body;   /* chunks are joined */
    const struct prefork_http_header *headers;
    size_t n_headers;
    unsigned minor; /* of the version: 0 for HTTP/1.0, 1 for HTTP/1.1 */
    int keep_alive; /* 0: the connection is closed behind the answer */
};

/* Returns the value of the first header with this name, or NULL. Any thread. */
const struct prefork_http_text *prefork_http_header(const struct prefork_http_request *request, const char *name);

/* An answer. All of it is read before the call that takes it returns. Date,
 * Content-Length and Connection are the library's to write. */
struct prefork_http_response {
    unsigned status;                           /* 200 ... 599 */
    const char *content_type;                  /* NULL: none */
    const struct prefork_http_header *headers; /* more of them; may be NULL */
    size_t n_headers;
    const void *body; /* not sent for HEAD, and with 204 and 304 */
    size_t body_bytes;
};

/* Is given each request, on the connection's home thread, which must not block.
 * Calls one of the three functions below and returns what that returned:
 *   -EAGAIN  of prefork_http_submit: the request is offered again when there is room
 *   another -errno: the answer is 500, and the connection is closed */
typedef int (*prefork_http_request_fn)(struct prefork_connection *connection,
                                       const struct prefork_http_request *request, void *context);

/* Set `size`; 0 and NULL take the default. */
struct prefork_http_options {
    size_t size;                        /* sizeof(struct prefork_http_options) */
    prefork_http_request_fn on_request; /* default: every request becomes a job of `handler` */
    void *context;                      /* handed to on_request */
    uint32_t handler;        /* number of a handler (prefork_pool_handler_number); the default is the first */
    uint32_t max_headers;    /* 1 ... 100; default 100 */
    uint32_t max_head_bytes; /* request line and headers, 64 ... 16,384; default 8,192 */
    uint32_t max_body_bytes; /* default, and at most: the request size of the pool */
    uint32_t max_in_flight;  /* jobs of one connection at once, 1 ... 1,024; default 16 */
};

/* Returns the protocol for prefork_pool_listen; borrowed until the next such
 * call on the same thread (listen copies it). `options` is not copied: it must
 * stay until the pool is destroyed. NULL: an option is out of range. */
const struct prefork_protocol *prefork_protocol_http(const struct prefork_http_options *options);

/* -- On the I/O thread, within on_request ------------------------------------ */

/* Answers.
 *   -EINVAL    a status out of range, or a header with a line end or NUL in it
 *   -EMSGSIZE  the headers take more than 8 KiB
 *   and errors of prefork_connection_write */
int prefork_http_respond(struct prefork_connection *connection, const struct prefork_http_request *request,
                         const struct prefork_http_response *response);

/* Answers with `length` bytes of a file from `offset` on; response->body is
 * not looked at. Closes `fd` in any case, now or when all is sent. Errors as
 * prefork_http_respond, and of prefork_connection_send_file. */
int prefork_http_respond_file(struct prefork_connection *connection, const struct prefork_http_request *request,
                              const struct prefork_http_response *response, int fd, off_t offset, size_t length);

/* Makes the request a job of the handler with this number, which answers. A
 * request that is too large for a slot is answered with 413. -EAGAIN and other
 * errors of prefork_connection_submit. */
int prefork_http_submit(struct prefork_connection *connection, const struct prefork_http_request *request,
                        uint32_t handler);

/* -- In a handler ------------------------------------------------------------- */

/* Returns the request that the job carries, its texts where they lie in the
 * slot. NULL: the job was not made by prefork_http_submit, or no memory. Valid
 * until the handler returns, or asks for another job's. */
const struct prefork_http_request *prefork_http_job_request(const struct prefork_job *job);

/* Writes the answer into the job's reply buffer and declares it to be the
 * reply. The body may lie in the reply buffer already, anywhere.
 *   -EMSGSIZE  it does not fit (PREFORK_POOL_REPLY_BYTES)
 *   -EINVAL    as prefork_http_respond, or no job of prefork_http_submit
 *   -ENOMEM */
int prefork_http_reply(struct prefork_job *job, const struct prefork_http_response *response);

#ifdef __cplusplus
}
#endif

#endif
