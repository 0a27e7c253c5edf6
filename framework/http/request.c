/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/request.h"

#include <errno.h>

#define REQUEST_MAGIC 0x31707468u /* "htp1" */

/* -- From a message -------------------------------------------------------------- */

static struct prefork_http_text request_text(const char *head, struct pfk_piece piece)
{
    return pfk_text(head + piece.at, piece.length);
}

/* False: it is none. */
static bool request_set_target(struct prefork_http_request *request, struct prefork_http_text text)
{
    struct pfk_target target;

    if (!pfk_parser_target(text, &target))
        return false;
    request->target = text;
    request->path = target.path;
    request->query = target.query;
    return true;
}

static void request_set_headers(struct pfk_http_thread *thread, const char *head, const struct pfk_field *fields,
                                uint16_t n_fields)
{
    for (uint16_t i = 0; i < n_fields; i++) {
        thread->headers[i].name = request_text(head, fields[i].name);
        thread->headers[i].value = request_text(head, fields[i].value);
    }
    thread->request.headers = thread->headers;
    thread->request.n_headers = n_fields;
}

static int request_join_chunks(struct pfk_http_thread *thread, const struct pfk_message *message, const char *data)
{
    const size_t bytes = (size_t)message->parser.body_bytes;

    if (!pfk_thread_grow(&thread->body, &thread->body_room, bytes + 1))
        return -ENOMEM;
    pfk_parser_decode(&message->parser, data, (size_t)message->bytes, thread->body);
    thread->request.body = pfk_text(thread->body, bytes);
    return 0;
}

int pfk_request_of_message(struct pfk_http_thread *thread, const struct pfk_message *message, const char *data)
{
    const struct pfk_parser *parser = &message->parser;
    struct prefork_http_request *request = &thread->request;

    request->method = request_text(data, parser->method);
    (void)request_set_target(request, request_text(data, parser->target));
    request_set_headers(thread, data, parser->fields, parser->n_fields);
    request->minor = parser->minor;
    request->keep_alive = parser->keep_alive;
    if (parser->chunked)
        return request_join_chunks(thread, message, data);
    request->body = pfk_text(data + parser->head_bytes, (size_t)parser->body_bytes);
    return 0;
}

/* -- To a job and back -------------------------------------------------------------- */

int64_t pfk_request_to_job(struct pfk_http_thread *thread, const struct prefork_http_request *request)
{
    const struct pfk_parser *parser = &thread->answering->parser;
    const struct pfk_request_shm shm = {.body_bytes = request->body.length,
                                        .magic = REQUEST_MAGIC,
                                        .head_bytes = parser->head_bytes,
                                        .method = parser->method,
                                        .target = parser->target,
                                        .n_fields = parser->n_fields,
                                        .minor = parser->minor,
                                        .keep_alive = request->keep_alive != 0};
    const size_t fields_bytes = parser->n_fields * sizeof(struct pfk_field);
    const size_t bytes = sizeof(shm) + fields_bytes + parser->head_bytes + request->body.length;
    char *at;

    if (!pfk_thread_grow(&thread->job, &thread->job_room, bytes))
        return -ENOMEM;
    at = thread->job;
    memcpy(at, &shm, sizeof(shm));
    at += sizeof(shm);
    memcpy(at, parser->fields, fields_bytes);
    at += fields_bytes;
    memcpy(at, thread->data, parser->head_bytes);
    at += parser->head_bytes;
    memcpy(at, request->body.bytes, request->body.length);
    return (int64_t)bytes;
}

static bool request_piece_fits(struct pfk_piece piece, uint32_t head_bytes)
{
    return (uint32_t)piece.at + piece.length <= head_bytes;
}

/* Copies the fields out of shared memory, then looks at the copies. */
static bool request_take_fields(struct pfk_http_thread *thread, const char *from, const struct pfk_request_shm *shm)
{
    struct pfk_field *fields = thread->message.parser.fields; /* a job thread reads no messages */

    memcpy(fields, from, shm->n_fields * sizeof(*fields));
    for (uint16_t i = 0; i < shm->n_fields; i++) {
        if (!request_piece_fits(fields[i].name, shm->head_bytes) ||
            !request_piece_fits(fields[i].value, shm->head_bytes))
            return false;
    }
    return true;
}

static bool request_is_whole(const struct pfk_request_shm *shm, size_t length)
{
    const size_t rest = length - sizeof(*shm);

    return shm->magic == REQUEST_MAGIC && shm->n_fields <= PFK_PARSER_FIELDS_MAX &&
           shm->head_bytes <= PFK_PARSER_HEAD_BYTES_MAX && shm->body_bytes <= rest &&
           rest - shm->body_bytes == shm->n_fields * sizeof(struct pfk_field) + shm->head_bytes &&
           request_piece_fits(shm->method, shm->head_bytes) && request_piece_fits(shm->target, shm->head_bytes);
}

int pfk_request_of_job(struct pfk_http_thread *thread, const char *data, size_t length)
{
    struct prefork_http_request *request = &thread->request;
    struct pfk_request_shm shm;
    const char *head;

    if (length < sizeof(shm))
        return -EPROTO;
    memcpy(&shm, data, sizeof(shm));
    if (!request_is_whole(&shm, length) || !request_take_fields(thread, data + sizeof(shm), &shm))
        return -EPROTO;
    head = data + sizeof(shm) + shm.n_fields * sizeof(struct pfk_field);
    request->method = request_text(head, shm.method);
    if (!request_set_target(request, request_text(head, shm.target)))
        return -EPROTO;
    request_set_headers(thread, head, thread->message.parser.fields, shm.n_fields);
    request->body = pfk_text(head + shm.head_bytes, (size_t)shm.body_bytes);
    request->minor = shm.minor;
    request->keep_alive = shm.keep_alive;
    return 0;
}

/* -- The public face ------------------------------------------------------------------ */

PFK_HTTP_EXPORT int prefork_http_text_is(struct prefork_http_text text, const char *string)
{
    const size_t length = strlen(string);

    return text.length == length && memcmp(text.bytes, string, length) == 0;
}

PFK_HTTP_EXPORT const struct prefork_http_text *prefork_http_header(const struct prefork_http_request *request,
                                                                    const char *name)
{
    const size_t length = strlen(name);

    for (size_t i = 0; i < request->n_headers; i++) {
        if (pfk_text_matches(request->headers[i].name, name, length))
            return &request->headers[i].value;
    }
    return NULL;
}

PFK_HTTP_EXPORT const struct prefork_http_request *prefork_http_job_request(const struct prefork_job *job)
{
    struct pfk_http_thread *thread = pfk_thread_self();
    size_t length;
    const char *data = prefork_job_request(job, &length);

    if (thread == NULL || pfk_request_of_job(thread, data, length) != 0)
        return NULL;
    return &thread->request;
}
