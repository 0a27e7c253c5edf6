/* SPDX-License-Identifier: BSD-2-Clause */
/* What each thread that speaks HTTP has once: so no request allocates. */
#ifndef PFK_HTTP_THREAD_H
#define PFK_HTTP_THREAD_H

#include <stddef.h>
#include <time.h>

#include "http/message.h"
#include "prefork/http.h"

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
#define PFK_HTTP_DATE_BYTES 29
#define PFK_HTTP_HEAD_BYTES 8192

struct pfk_http_thread {
    struct pfk_message message; /* that came in one piece */
    struct prefork_http_request request;
    struct prefork_http_header headers[PFK_PARSER_FIELDS_MAX]; /* of request */

    /* The message that is being answered, where its head begins, and whether it was answered. */
    const struct pfk_message *answering;
    const char *data;
    bool answered;
    bool more; /* bytes have arrived behind it */

    /* Whose request was refused, and how: `failed` is told by the same call of the loop. */
    const struct prefork_connection *refused;
    unsigned refusal;

    time_t date_s; /* the second that `date` tells */
    char date[PFK_HTTP_DATE_BYTES + 1];
    char head[PFK_HTTP_HEAD_BYTES]; /* of an answer, as it is written */
    char *body;                     /* a body of chunks, joined; or NULL */
    size_t body_room;
    char *job; /* a request as a slot will hold it; or NULL */
    size_t job_room;
};

/* Returns the calling thread's, or NULL: no memory. It ends with the thread. */
struct pfk_http_thread *pfk_thread_self(void);

/* Makes *memory, of *room bytes, hold `bytes`; what it held is lost. False: no
 * memory. */
bool pfk_thread_grow(char **memory, size_t *room, size_t bytes);

/* Returns the present second as Date tells it. */
const char *pfk_thread_date(struct pfk_http_thread *thread);

#endif
