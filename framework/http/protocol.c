/* SPDX-License-Identifier: BSD-2-Clause */
/* HTTP as a protocol of a pool: cuts requests, gives them to their user, and
 * answers what is none.
 *
 * A request that comes in one piece is parsed in the thread's memory. One that
 * does not gets memory of its own until it is whole, as the connection's user
 * pointer, so that each byte is parsed once and idle connections hold nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/request.h"
#include "http/response.h"

#define HTTP_HEAD_BYTES_LEAST   64
#define HTTP_HEAD_BYTES_DEFAULT 8192

static const char http_continue[] = "HTTP/1.1 100 Continue\r\n\r\n";

/* -- Cutting --------------------------------------------------------------------------- */

static struct pfk_message_limits http_limits(const struct prefork_http_options *options, size_t capacity)
{
    return (struct pfk_message_limits){
        .headers = (uint16_t)(options->max_headers > 0 ? options->max_headers : PFK_PARSER_FIELDS_MAX),
        .head_bytes = options->max_head_bytes > 0 ? options->max_head_bytes : HTTP_HEAD_BYTES_DEFAULT,
        .body_bytes =
            options->max_body_bytes > 0 && options->max_body_bytes < capacity ? options->max_body_bytes : capacity};
}

/* The message that this connection has begun to send, or NULL. */
static struct pfk_message *http_kept(const struct prefork_connection *connection)
{
    return prefork_connection_user(connection);
}

static void http_forget(struct prefork_connection *connection)
{
    free(http_kept(connection));
    prefork_connection_set_user(connection, NULL);
}

static int http_keep(struct prefork_connection *connection, const struct pfk_message *message)
{
    struct pfk_message *kept = http_kept(connection);

    if (kept == message)
        return 0;
    kept = malloc(sizeof(*kept));
    if (kept == NULL)
        return -ENOMEM;
    memcpy(kept, message, pfk_message_size(message));
    prefork_connection_set_user(connection, kept);
    return 0;
}

/* What -errno frame returns says nothing: the status is kept for `failed`. */
static int64_t http_refuse(struct pfk_http_thread *thread, struct prefork_connection *connection, unsigned status)
{
    thread->refused = connection;
    thread->refusal = status;
    return -EPROTO;
}

/* Unless the body comes by itself. */
static void http_continue_if_expected(struct prefork_connection *connection, struct pfk_message *message, size_t length)
{
    if (!message->expects || message->continued || length > message->parser.head_bytes)
        return;
    message->continued = true;
    (void)prefork_connection_write(connection, http_continue, sizeof(http_continue) - 1);
}

static int64_t http_frame(struct prefork_connection *connection, const void *data, size_t length, size_t capacity,
                          int final, void *context)
{
    const struct pfk_message_limits limits = http_limits(context, capacity);
    struct pfk_http_thread *thread = pfk_thread_self();
    struct pfk_message *message = http_kept(connection);
    int64_t rc;

    if (thread == NULL)
        return -ENOMEM;
    thread->refused = NULL;
    if (message == NULL) {
        message = &thread->message;
        pfk_message_begin(message, &limits);
    }
    rc = pfk_message_read(message, &limits, data, length);
    if (rc < 0)
        return http_refuse(thread, connection, (unsigned)-rc);
    thread->more = (uint64_t)rc < length;
    if (rc > 0 || final)
        return rc;
    if (message->parser.head_bytes > 0)
        http_continue_if_expected(connection, message, length);
    return http_keep(connection, message) == 0 ? 0 : http_refuse(thread, connection, 500);
}

/* -- Taking ------------------------------------------------------------------------------ */

/* When nothing more will be read, the last one that has arrived is told so. */
static bool http_stays_open(const struct pfk_http_thread *thread, const struct prefork_connection *connection,
                            const struct pfk_message *message)
{
    return message->parser.keep_alive && (thread->more || !prefork_connection_is_draining(connection));
}

static int http_give(struct pfk_http_thread *thread, struct prefork_connection *connection,
                     const struct prefork_http_options *options)
{
    int rc;

    if (options->on_request != NULL)
        rc = options->on_request(connection, &thread->request, options->context);
    else
        rc = prefork_http_submit(connection, &thread->request, options->handler);
    if (rc == -EAGAIN && !thread->answered)
        return rc;
    if (rc >= 0 && thread->answered)
        return 0;
    if (!thread->answered)
        (void)http_refuse(thread, connection, 500);
    return rc < 0 ? rc : -EPROTO;
}

static int http_message(struct prefork_connection *connection, const void *data, size_t length, void *context)
{
    struct pfk_http_thread *thread = pfk_thread_self();
    const struct pfk_message *kept = http_kept(connection);
    const struct pfk_message *message = kept != NULL ? kept : &thread->message;
    int rc = pfk_request_of_message(thread, message, data);

    (void)length;
    if (rc == 0) {
        thread->request.keep_alive = http_stays_open(thread, connection, message);
        thread->answering = message;
        thread->data = data;
        thread->answered = false;
        rc = http_give(thread, connection, context);
    }
    if (rc != -EAGAIN)
        http_forget(connection);
    return rc;
}

/* -- Answering ----------------------------------------------------------------------------- */

/* The head, and the body with it if both are small. */
static int http_write(struct prefork_connection *connection, struct pfk_http_thread *thread, size_t head_bytes,
                      const void *body, size_t body_bytes)
{
    int rc;

    if (body_bytes <= sizeof(thread->head) - head_bytes) {
        if (body_bytes > 0)
            memcpy(thread->head + head_bytes, body, body_bytes);
        return prefork_connection_write(connection, thread->head, head_bytes + body_bytes);
    }
    rc = prefork_connection_write(connection, thread->head, head_bytes);
    return rc != 0 ? rc : prefork_connection_write(connection, body, body_bytes);
}

/* The request of this thread is answered, or will be. */
static int http_answered(struct prefork_connection *connection, struct pfk_http_thread *thread,
                         const struct prefork_http_request *request)
{
    thread->answered = true;
    if (!request->keep_alive)
        prefork_connection_close(connection);
    return 0;
}

PFK_HTTP_EXPORT int prefork_http_respond(struct prefork_connection *connection,
                                         const struct prefork_http_request *request,
                                         const struct prefork_http_response *response)
{
    struct pfk_http_thread *thread = pfk_thread_self();
    const struct pfk_response_frame frame = pfk_response_frame_of(request);
    const size_t body_bytes = pfk_response_has_body(response, frame) ? response->body_bytes : 0;
    const int64_t head_bytes = pfk_response_write_head(thread, response, frame, response->body_bytes);
    int rc;

    if (head_bytes < 0)
        return (int)head_bytes;
    rc = http_write(connection, thread, (size_t)head_bytes, response->body, body_bytes);
    return rc != 0 ? rc : http_answered(connection, thread, request);
}

PFK_HTTP_EXPORT int prefork_http_respond_file(struct prefork_connection *connection,
                                              const struct prefork_http_request *request,
                                              const struct prefork_http_response *response, int fd, off_t offset,
                                              size_t length)
{
    struct pfk_http_thread *thread = pfk_thread_self();
    const struct pfk_response_frame frame = pfk_response_frame_of(request);
    const int64_t head_bytes = pfk_response_write_head(thread, response, frame, length);
    int rc = head_bytes < 0 ? (int)head_bytes : 0;

    if (rc == 0)
        rc = prefork_connection_write(connection, thread->head, (size_t)head_bytes);
    if (rc == 0 && length > 0 && pfk_response_has_body(response, frame))
        rc = prefork_connection_send_file(connection, fd, offset, length);
    else
        (void)close(fd);
    return rc != 0 ? rc : http_answered(connection, thread, request);
}

PFK_HTTP_EXPORT int prefork_http_submit(struct prefork_connection *connection,
                                        const struct prefork_http_request *request, uint32_t handler)
{
    struct pfk_http_thread *thread = pfk_thread_self();
    const int64_t bytes = pfk_request_to_job(thread, request);
    int rc = bytes < 0 ? (int)bytes : prefork_connection_submit(connection, handler, thread->job, (size_t)bytes);

    if (rc == -EMSGSIZE)
        return prefork_http_respond(connection, request, &(struct prefork_http_response){.status = 413});
    return rc != 0 ? rc : http_answered(connection, thread, request);
}

/* -- Failing ----------------------------------------------------------------------------------- */

/* The request was refused, and is the last one. */
static void http_answer_refusal(struct prefork_connection *connection, struct pfk_http_thread *thread, unsigned status)
{
    char body[80];
    const int length = snprintf(body, sizeof(body), "%u %s\n", status, pfk_parser_reason(status));
    const struct prefork_http_response response = {
        .status = status, .content_type = "text/plain", .body = body, .body_bytes = (size_t)length};
    const struct pfk_response_frame frame = {.keep_alive = false, .minor = 1};
    const int64_t head_bytes = pfk_response_write_head(thread, &response, frame, response.body_bytes);

    if (head_bytes > 0)
        (void)http_write(connection, thread, (size_t)head_bytes, body, (size_t)length);
}

/* A job failed. Whether it was one for HEAD is forgotten, so there is no body. */
static void http_answer_failure(struct prefork_connection *connection, struct pfk_http_thread *thread)
{
    const struct prefork_http_response response = {.status = 500};
    const struct pfk_response_frame frame = {.keep_alive = true, .minor = 1};
    const int64_t head_bytes = pfk_response_write_head(thread, &response, frame, 0);

    if (head_bytes > 0)
        (void)http_write(connection, thread, (size_t)head_bytes, NULL, 0);
}

static int http_failed(struct prefork_connection *connection, int status, void *context)
{
    struct pfk_http_thread *thread = pfk_thread_self();

    (void)context;
    if (thread == NULL)
        return status;
    if (thread->refused == connection) {
        thread->refused = NULL;
        http_answer_refusal(connection, thread, thread->refusal);
        return status;
    }
    if (status == -ETIMEDOUT && http_kept(connection) != NULL) { /* the rest of a request did not come */
        http_answer_refusal(connection, thread, 408);
        return status;
    }
    http_answer_failure(connection, thread);
    return 0;
}

static void http_closed(struct prefork_connection *connection, void *context)
{
    (void)context;
    http_forget(connection);
}

/* -- The protocol ------------------------------------------------------------------------------ */

static bool http_options_are_sound(const struct prefork_http_options *options)
{
    return options != NULL && options->size == sizeof(*options) && options->max_headers <= PFK_PARSER_FIELDS_MAX &&
           options->max_head_bytes <= PFK_PARSER_HEAD_BYTES_MAX &&
           (options->max_head_bytes == 0 || options->max_head_bytes >= HTTP_HEAD_BYTES_LEAST);
}

PFK_HTTP_EXPORT const struct prefork_protocol *prefork_protocol_http(const struct prefork_http_options *options)
{
    static _Thread_local struct prefork_protocol http;

    if (!http_options_are_sound(options))
        return NULL;
    http = (struct prefork_protocol){.size = sizeof(http),
                                     .max_in_flight = options->max_in_flight,
                                     .frame = http_frame,
                                     .message = http_message,
                                     .failed = http_failed,
                                     .closed = http_closed,
                                     .context = (void *)(uintptr_t)options}; /* only read */
    return &http;
}
