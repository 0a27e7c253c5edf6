/* SPDX-License-Identifier: BSD-2-Clause */
/* Every sample by a socket, to a server that answers on the I/O thread and to one that answers through the table: in
 * one piece, in two, cut at each byte, and byte by byte. What is bad gets the same refusal each time and the end, and
 * what stands behind it no answer; what is good is understood alike each time, and what stands behind it is answered.
 *
 * A request stands in front of every sample, in the same piece as the sample's first bytes: when it is answered, the
 * server has them. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../pool/support.h"
#include "prefork/http.h"
#include "samples.h"

#define FIRST "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"
#define AFTER "GET /after HTTP/1.1\r\nHost: a\r\n\r\n"

enum { TEXT_MAX = 1024, STREAM_MAX = 8192, ANSWERS_MAX = 8 };

/* -- The server: answers with what it understood ------------------------------ */

static size_t put(char *to, size_t at, struct prefork_http_text text)
{
    const size_t length = text.length < TEXT_MAX - 1 - at ? text.length : TEXT_MAX - 1 - at;

    memcpy(to + at, text.bytes, length);
    to[at + length] = '|';
    return at + length + (at + length < TEXT_MAX - 1);
}

static struct prefork_http_response describe(const struct prefork_http_request *request, char text[TEXT_MAX])
{
    size_t at = put(text, 0, request->method);

    at = put(text, at, request->path);
    at = put(text, at, request->query);
    for (size_t i = 0; i < request->n_headers; i++) {
        at = put(text, at, request->headers[i].name);
        at = put(text, at, request->headers[i].value);
    }
    at = put(text, at, request->body);
    return (struct prefork_http_response){.status = 200, .body = text, .body_bytes = at};
}

static int answer_at_once(struct prefork_connection *connection, const struct prefork_http_request *request,
                          void *context)
{
    char text[TEXT_MAX];
    const struct prefork_http_response response = describe(request, text);

    (void)context;
    return prefork_http_respond(connection, request, &response);
}

static int answer_by_job(struct prefork_job *job, void *context)
{
    const struct prefork_http_request *const request = prefork_http_job_request(job);
    struct prefork_http_response response;
    char text[TEXT_MAX];

    (void)context;
    if (request == NULL)
        return -EPROTO;
    response = describe(request, text);
    return prefork_http_reply(job, &response);
}

static int listen_at(struct prefork_pool *pool, const char *name, const struct prefork_http_options *options)
{
    const char *const directory = getenv("TMPDIR");
    char address[200];

    (void)snprintf(address, sizeof(address), "unix:%s/%s", directory != NULL ? directory : "/tmp", name);
    return prefork_pool_listen(pool, address, prefork_protocol_http(options));
}

static int start(struct prefork_pool **pool_out)
{
    static const struct prefork_http_options by_job = {.size = sizeof(by_job),
                                                       .max_headers = SAMPLES_HEADERS,
                                                       .max_head_bytes = SAMPLES_HEAD_BYTES,
                                                       .max_body_bytes = SAMPLES_BODY_BYTES};
    static struct prefork_http_options at_once;
    int fd;
    int rc = prefork_pool_create(pool_out);

    at_once = by_job;
    at_once.on_request = answer_at_once;
    if (rc == 0)
        rc = prefork_pool_set(*pool_out, PREFORK_POOL_WORKERS, 1);
    if (rc == 0)
        rc = prefork_pool_handle(*pool_out, "answer", answer_by_job, NULL);
    if (rc == 0)
        rc = listen_at(*pool_out, "at_once", &at_once);
    if (rc == 0)
        rc = listen_at(*pool_out, "by_job", &by_job);
    if (rc == 0)
        rc = prefork_pool_start(*pool_out, &fd);
    if (rc == 0 && !support_wait_ready(*pool_out, 1))
        rc = -ETIMEDOUT;
    return rc;
}

/* -- The client ---------------------------------------------------------------- */

struct answer {
    unsigned status;
    bool closes;
    char body[TEXT_MAX];
};

/* What came on one connection. */
struct heard {
    struct answer answers[ANSWERS_MAX];
    size_t n;
    bool garbled; /* or no end came */
    bool ended;
    char stream[STREAM_MAX];
    size_t length, at; /* of the stream; and what has been understood of it */
};

/* Understands the next whole answer in the stream. "100 Continue" is none. */
static bool take_answer(struct heard *heard)
{
    const char *const head = heard->stream + heard->at;
    const char *const end = strstr(head, "\r\n\r\n");
    const char *length_text;
    struct answer *const answer = &heard->answers[heard->n];
    size_t length;

    if (end == NULL || sscanf(head, "HTTP/1.1 %3u ", &answer->status) != 1)
        return false;
    length_text = strstr(head, "Content-Length: ");
    length = length_text == NULL || length_text > end ? 0 : strtoul(length_text + 16, NULL, 10);
    if (length >= TEXT_MAX || (size_t)(end + 4 - heard->stream) + length > heard->length)
        return false;
    heard->at = (size_t)(end + 4 - heard->stream) + length;
    if (answer->status == 100)
        return true;
    answer->closes = memmem(head, (size_t)(end - head), "Connection: close", 17) != NULL;
    memcpy(answer->body, end + 4, length);
    answer->body[length] = '\0';
    heard->n++;
    return true;
}

/* Reads until there are `n` answers, or the end. */
static void hear(int fd, struct heard *heard, size_t n)
{
    while (heard->n < n && !heard->ended) {
        const ssize_t got = recv(fd, heard->stream + heard->length, STREAM_MAX - 1 - heard->length, 0);

        heard->ended = got <= 0;
        heard->garbled = heard->garbled || got < 0;
        heard->length += got > 0 ? (size_t)got : 0;
        heard->stream[heard->length] = '\0';
        while (heard->n < ANSWERS_MAX && take_answer(heard))
            continue;
    }
}

/* The server may have refused it by then, and not read on. */
static void say(int fd, const char *bytes, size_t length)
{
    if (length > 0)
        (void)send(fd, bytes, length, MSG_NOSIGNAL);
}

/* The request in front and `cut` bytes of `text`; when the former is answered, the rest in pieces of `step` bytes. */
static void talk(const char *address, const char *text, size_t length, size_t cut, size_t step, struct heard *heard)
{
    char first[TEXT_MAX] = FIRST;
    const int fd = support_connect(address);

    memset(heard, 0, offsetof(struct heard, stream));
    heard->length = heard->at = 0;
    heard->garbled = fd < 0;
    if (fd < 0)
        return;
    memcpy(first + sizeof(FIRST) - 1, text, cut);
    say(fd, first, sizeof(FIRST) - 1 + cut);
    hear(fd, heard, 1);
    for (size_t at = cut; at < length; at += step)
        say(fd, text + at, length - at < step ? length - at : step);
    say(fd, AFTER, sizeof(AFTER) - 1);
    hear(fd, heard, 3);
    if (heard->ended && heard->at < heard->length)
        heard->garbled = true;
    (void)close(fd);
}

/* -- What is expected ------------------------------------------------------------- */

/* Refused with its status and the end. */
static bool is_refused(const struct heard *heard, unsigned status)
{
    return !heard->garbled && heard->ended && heard->n == 2 && heard->answers[0].status == 200 &&
           heard->answers[1].status == status && heard->answers[1].closes;
}

/* Understood as `wanted`, and what is behind it answered, or the end where the answer says so. */
static bool is_understood(const struct heard *heard, const char *wanted)
{
    const struct answer *const answer = &heard->answers[1];

    if (heard->garbled || heard->n < 2 || answer->status != 200 || strcmp(answer->body, wanted) != 0)
        return false;
    return answer->closes ? heard->ended && heard->n == 2
                          : heard->n == 3 && strncmp(heard->answers[2].body, "GET|/after|", 11) == 0;
}

static bool is_as_wanted(const struct heard *heard, const struct sample *sample, const char *wanted)
{
    return sample->whole < 0 ? is_refused(heard, (unsigned)-sample->whole) : is_understood(heard, wanted);
}

static bool complain(const struct sample *sample, const char *address, const char *pieces, size_t cut,
                     const struct heard *heard)
{
    printf("# %s, %s, %s %zu: %zu answers (%u, %u, %u)%s%s\n", sample->name, address, pieces, cut, heard->n,
           heard->answers[0].status, heard->answers[1].status, heard->answers[2].status,
           heard->ended ? ", the end" : "", heard->garbled ? ", garbled" : "");
    return false;
}

/* By one server. `wanted`: what it was understood as; filled in when it is empty. */
static bool try_cuts(const char *address, const struct sample *sample, char wanted[TEXT_MAX])
{
    static struct heard heard;
    const size_t length = sample->whole > 0 ? (size_t)sample->whole : sample_length(sample);

    talk(address, sample->text, length, length, length, &heard);
    if (wanted[0] == '\0')
        memcpy(wanted, heard.answers[1].body, TEXT_MAX);
    if (!is_as_wanted(&heard, sample, wanted))
        return complain(sample, address, "in pieces of", length, &heard);
    for (size_t cut = 0; cut < length; cut++) {
        talk(address, sample->text, length, cut, length, &heard);
        if (!is_as_wanted(&heard, sample, wanted))
            return complain(sample, address, "cut at", cut, &heard);
    }
    talk(address, sample->text, length, 0, 1, &heard);
    return is_as_wanted(&heard, sample, wanted) || complain(sample, address, "in pieces of", 1, &heard);
}

static unsigned try_samples(const struct prefork_pool *pool, const struct sample *samples, size_t n)
{
    unsigned failed = 0;

    for (size_t i = 0; i < n; i++) {
        char wanted[TEXT_MAX] = "";

        failed += !try_cuts(prefork_pool_address(pool, 0), &samples[i], wanted) ||
                  !try_cuts(prefork_pool_address(pool, 1), &samples[i], wanted);
    }
    printf("# %zu samples, %u failed\n", n, failed);
    return failed;
}

static bool report(int number, bool passed, const char *what)
{
    printf("%s %d - %s\n", passed ? "ok" : "not ok", number, what);
    return passed;
}

int main(void)
{
    struct prefork_pool *pool = NULL;
    bool passed;
    int rc;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    prefork_log_set_level(PREFORK_LOG_WARNING);
    printf("1..3\n");
    if (start(&pool) != 0) {
        printf("# the server does not run: %s\n", prefork_last_error());
        prefork_pool_destroy(&pool);
        return EXIT_FAILURE;
    }
    passed =
        report(1, try_samples(pool, samples_bad, samples_n_bad) == 0, "bad requests are refused, and are the last");
    passed = report(2, try_samples(pool, samples_good, samples_n_good) == 0,
                    "good requests are understood alike, however they come") &&
             passed;
    (void)prefork_pool_stop(pool);
    rc = prefork_pool_wait(pool, prefork_deadline_after_ms(SUPPORT_LIMIT_MS));
    passed = report(3, rc == 0, "the server ends in order") && passed;
    prefork_pool_destroy(&pool);
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
