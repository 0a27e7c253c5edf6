/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/response.h"

#include <errno.h>
#include <string.h>

/* -- Writing piece by piece ---------------------------------------------------------- */

struct response_pen {
    char *at;
    char *end;
    bool short_of_room; /* from then on nothing is written */
};

static void response_put(struct response_pen *pen, const char *bytes, size_t length)
{
    if (pen->short_of_room || (size_t)(pen->end - pen->at) < length) {
        pen->short_of_room = true;
        return;
    }
    memcpy(pen->at, bytes, length);
    pen->at += length;
}

#define RESPONSE_PUT_LITERAL(pen, literal) response_put(pen, literal, sizeof(literal) - 1)

static void response_put_number(struct response_pen *pen, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    response_put(pen, digits + at, sizeof(digits) - at);
}

static void response_put_header(struct response_pen *pen, struct prefork_http_text name, struct prefork_http_text value)
{
    response_put(pen, name.bytes, name.length);
    RESPONSE_PUT_LITERAL(pen, ": ");
    response_put(pen, value.bytes, value.length);
    RESPONSE_PUT_LITERAL(pen, "\r\n");
}

/* -- The head ---------------------------------------------------------------------------- */

/* A line end in a value would let whoever chose the value write headers. */
static bool response_text_is_sound(struct prefork_http_text text)
{
    return !pfk_text_has(text, '\r') && !pfk_text_has(text, '\n') && !pfk_text_has(text, '\0');
}

static bool response_is_sound(const struct prefork_http_response *response)
{
    if (response->status < 200 || response->status > 599)
        return false;
    if (response->content_type != NULL &&
        !response_text_is_sound(pfk_text(response->content_type, strlen(response->content_type))))
        return false;
    for (size_t i = 0; i < response->n_headers; i++) {
        const struct prefork_http_header *header = &response->headers[i];

        if (header->name.length == 0 || pfk_text_has(header->name, ':') || !response_text_is_sound(header->name) ||
            !response_text_is_sound(header->value))
            return false;
    }
    return true;
}

static bool response_may_have_body(unsigned status)
{
    return status != 204 && status != 304;
}

bool pfk_response_has_body(const struct prefork_http_response *response, struct pfk_response_frame frame)
{
    return response_may_have_body(response->status) && !frame.head_only;
}

static void response_put_status(struct response_pen *pen, unsigned status)
{
    const char *reason = pfk_parser_reason(status);

    if (status == 200) {
        RESPONSE_PUT_LITERAL(pen, "HTTP/1.1 200 OK\r\n");
        return;
    }
    RESPONSE_PUT_LITERAL(pen, "HTTP/1.1 ");
    response_put_number(pen, status);
    RESPONSE_PUT_LITERAL(pen, " ");
    response_put(pen, reason, strlen(reason));
    RESPONSE_PUT_LITERAL(pen, "\r\n");
}

int64_t pfk_response_write_head(struct pfk_http_thread *thread, const struct prefork_http_response *response,
                                struct pfk_response_frame frame, uint64_t body_bytes)
{
    struct response_pen pen = {.at = thread->head, .end = thread->head + sizeof(thread->head)};

    if (!response_is_sound(response))
        return -EINVAL;
    response_put_status(&pen, response->status);
    RESPONSE_PUT_LITERAL(&pen, "Date: ");
    response_put(&pen, pfk_thread_date(thread), PFK_HTTP_DATE_BYTES);
    if (response_may_have_body(response->status)) {
        RESPONSE_PUT_LITERAL(&pen, "\r\nContent-Length: ");
        response_put_number(&pen, body_bytes);
    }
    RESPONSE_PUT_LITERAL(&pen, "\r\n");
    if (response->content_type != NULL)
        response_put_header(&pen, pfk_text("Content-Type", 12),
                            pfk_text(response->content_type, strlen(response->content_type)));
    for (size_t i = 0; i < response->n_headers; i++)
        response_put_header(&pen, response->headers[i].name, response->headers[i].value);
    if (!frame.keep_alive)
        RESPONSE_PUT_LITERAL(&pen, "Connection: close\r\n");
    else if (frame.minor == 0)
        RESPONSE_PUT_LITERAL(&pen, "Connection: keep-alive\r\n");
    RESPONSE_PUT_LITERAL(&pen, "\r\n");
    return pen.short_of_room ? -EMSGSIZE : pen.at - thread->head;
}

/* -- In a handler ------------------------------------------------------------------------- */

PFK_HTTP_EXPORT int prefork_http_reply(struct prefork_job *job, const struct prefork_http_response *response)
{
    const struct prefork_http_request *request = prefork_http_job_request(job);
    struct pfk_http_thread *thread = pfk_thread_self();
    struct pfk_response_frame frame;
    size_t capacity, body_bytes;
    char *reply = prefork_job_reply_buffer(job, &capacity);
    int64_t head_bytes;

    if (thread == NULL)
        return -ENOMEM;
    if (request == NULL)
        return -EINVAL;
    frame = pfk_response_frame_of(request);
    head_bytes = pfk_response_write_head(thread, response, frame, response->body_bytes);
    if (head_bytes < 0)
        return (int)head_bytes;
    body_bytes = pfk_response_has_body(response, frame) ? response->body_bytes : 0;
    if ((size_t)head_bytes > capacity || body_bytes > capacity - (size_t)head_bytes)
        return -EMSGSIZE;
    if (body_bytes > 0)
        memmove(reply + head_bytes, response->body, body_bytes); /* it may lie where the head goes */
    memcpy(reply, thread->head, (size_t)head_bytes);
    return prefork_job_reply(job, (size_t)head_bytes + body_bytes);
}
