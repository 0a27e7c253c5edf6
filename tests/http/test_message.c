/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests as they arrive: what is taken, what is refused and how, whole, cut at
 * every byte, and byte by byte. */
#include "http/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/unit.h"

#include "http/request.h"
#include "samples.h"

#define H       "Host: a\r\n"
#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"

static const struct pfk_message_limits limits = {
    .headers = SAMPLES_HEADERS, .head_bytes = SAMPLES_HEAD_BYTES, .body_bytes = SAMPLES_BODY_BYTES};

/* Reads a text in pieces: what has arrived is copied to memory of just that
 * size, which moves each time. Returns the first result that is not 0. */
static int64_t read_pieces(struct pfk_message *message, const char *text, size_t length, size_t first, size_t step)
{
    int64_t rc = 0;

    pfk_message_begin(message, &limits);
    for (size_t arrived = first; rc == 0 && arrived <= length;
         arrived = arrived < length && arrived + step > length ? length : arrived + step) {
        char *copy = malloc(arrived > 0 ? arrived : 1);

        memcpy(copy, text, arrived);
        if (arrived > 0)
            rc = pfk_message_read(message, &limits, copy, arrived);
        free(copy);
    }
    return rc;
}

/* What a message was understood as, as a text. */
static void describe(const struct pfk_message *message, const char *text, char out[2048])
{
    const struct pfk_parser *parser = &message->parser;
    size_t at = (size_t)snprintf(out, 2048, "%.*s %.*s 1.%u keep %d body %llu expects %d", parser->method.length,
                                 text + parser->method.at, parser->target.length, text + parser->target.at,
                                 (unsigned)parser->minor, parser->keep_alive, (unsigned long long)parser->body_bytes,
                                 message->expects);

    for (uint16_t i = 0; i < parser->n_fields; i++)
        at += (size_t)snprintf(out + at, 2048 - at, " [%.*s|%.*s]", parser->fields[i].name.length,
                               text + parser->fields[i].name.at, parser->fields[i].value.length,
                               text + parser->fields[i].value.at);
}

/* Cut anywhere, the outcome is the same. */
static void check_cuts(const struct sample *sample, int64_t wanted)
{
    const size_t length = sample_length(sample);
    struct pfk_message message;
    char whole[2048], cut[2048];
    int64_t rc = read_pieces(&message, sample->text, length, length, length);
    size_t wrong = 0;

    ck_assert_msg(rc == wanted, "%s: whole: %lld, not %lld", sample->name, (long long)rc, (long long)wanted);
    if (wanted > 0)
        describe(&message, sample->text, whole);
    for (size_t at = 1; at < length; at++) {
        rc = read_pieces(&message, sample->text, length, at, length);
        if (wanted > 0)
            describe(&message, sample->text, cut);
        if (rc != wanted || (wanted > 0 && strcmp(whole, cut) != 0))
            wrong = at;
    }
    ck_assert_msg(wrong == 0, "%s: cut at byte %zu it is another", sample->name, wrong);
    rc = read_pieces(&message, sample->text, length, 1, 1);
    ck_assert_msg(rc == wanted, "%s: byte by byte: %lld, not %lld", sample->name, (long long)rc, (long long)wanted);
    if (wanted > 0) {
        describe(&message, sample->text, cut);
        ck_assert_str_eq(whole, cut);
        ck_assert_msg((int64_t)message.parser.body_bytes == sample->body, "%s: the body has %llu bytes", sample->name,
                      (unsigned long long)message.parser.body_bytes);
    }
}

START_TEST(good_requests_are_taken)
{
    const struct sample *sample = &samples_good[_i];

    check_cuts(sample, sample->whole > 0 ? sample->whole : (int64_t)sample_length(sample));
}
END_TEST

START_TEST(bad_requests_are_refused)
{
    check_cuts(&samples_bad[_i], samples_bad[_i].whole);
}
END_TEST

/* No good request is whole before its last byte. */
START_TEST(nothing_is_whole_too_early)
{
    const struct sample *sample = &samples_good[_i];
    const size_t whole = sample->whole > 0 ? (size_t)sample->whole : sample_length(sample);
    struct pfk_message message;
    size_t early = 0;

    for (size_t at = 1; at < whole; at++) {
        if (read_pieces(&message, sample->text, at, at, at) != 0)
            early = at;
    }
    ck_assert_uint_eq(early, 0);
}
END_TEST

START_TEST(fields_are_what_was_sent)
{
    static const char text[] = "\r\nPOST /a%20b?c=d HTTP/1.1\r\nHOST: a:80 \r\nEmpty:\r\nX-Y: \t z z\t\r\n"
                               "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nT: u\r\n\r\n";
    struct pfk_http_thread *thread = pfk_thread_self();
    const struct prefork_http_request *request = &thread->request;
    struct pfk_message message;

    ck_assert_int_eq(read_pieces(&message, text, sizeof(text) - 1, sizeof(text) - 1, 1), sizeof(text) - 1);
    ck_assert_int_eq(pfk_request_of_message(thread, &message, text), 0);
    ck_assert(prefork_http_text_is(request->method, "POST"));
    ck_assert(prefork_http_text_is(request->target, "/a%20b?c=d"));
    ck_assert(prefork_http_text_is(request->path, "/a%20b"));
    ck_assert(prefork_http_text_is(request->query, "c=d"));
    ck_assert(prefork_http_text_is(request->body, "abc"));
    ck_assert_uint_eq(request->n_headers, 4);
    ck_assert(prefork_http_text_is(*prefork_http_header(request, "Host"), "a:80"));
    ck_assert(prefork_http_text_is(*prefork_http_header(request, "empty"), ""));
    ck_assert(prefork_http_text_is(*prefork_http_header(request, "x-y"), "z z"));
    ck_assert_ptr_null(prefork_http_header(request, "T"));
    ck_assert_uint_eq(request->minor, 1);
    ck_assert_int_eq(request->keep_alive, 1);
}
END_TEST

static bool keeps_alive(const char *text)
{
    struct pfk_message message;

    ck_assert_int_gt(read_pieces(&message, text, strlen(text), strlen(text), 1), 0);
    return message.parser.keep_alive;
}

START_TEST(who_stays)
{
    ck_assert(keeps_alive("GET / HTTP/1.1\r\n" H "\r\n"));
    ck_assert(keeps_alive("GET / HTTP/1.1\r\n" H "Connection: keep-alive\r\n\r\n"));
    ck_assert(!keeps_alive("GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n"));
    ck_assert(!keeps_alive("GET / HTTP/1.1\r\n" H "Connection: x, Close\r\n\r\n"));
    ck_assert(!keeps_alive("GET / HTTP/1.0\r\n" H "\r\n"));
    ck_assert(keeps_alive("GET / HTTP/1.0\r\n" H "Connection: Keep-Alive\r\n\r\n"));
}
END_TEST

/* `before`, then letters up to `bytes`, then `behind`. */
static struct sample long_sample(const char *before, size_t bytes, const char *behind, char memory[1024])
{
    const size_t used = strlen(before);

    memset(memory, 'a', 1024);
    memcpy(memory, before, used);
    memcpy(memory + bytes, behind, strlen(behind));
    return (struct sample){.name = before, .text = memory, .length = bytes + strlen(behind)};
}

START_TEST(a_head_has_limits)
{
    char memory[1024];
    struct sample sample = long_sample("GET / HTTP/1.1\r\n" H "A: ", 252, "\r\n\r\n", memory);

    check_cuts(&sample, 256);
    sample = long_sample("GET / HTTP/1.1\r\n" H "A: ", 253, "\r\n\r\n", memory);
    check_cuts(&sample, -431);
    sample = long_sample("GET / HTTP/1.1\r\n" H "A: ", 1000, "", memory);
    check_cuts(&sample, -431);
    sample = long_sample("GET / HTTP/1.1\r\n" H, 1000, "", memory);
    check_cuts(&sample, -431);
    sample = long_sample("GET /", 1000, "", memory);
    check_cuts(&sample, -414);
    sample = long_sample("GET /", 300, " HTTP/1.1\r\n\r\n", memory);
    check_cuts(&sample, -414);
    sample = long_sample("GET /", 230, " HTTP/1.1\r\n" H "A: bbbbbb\r\n\r\n", memory);
    check_cuts(&sample, -431);
}
END_TEST

/* Extensions and trailers can't be used to send without end. */
START_TEST(chunking_has_a_limit)
{
    static const char head[] = CHUNKED "1;";
    const size_t most = sizeof(head) - 3 + limits.body_bytes + PFK_MESSAGE_CHUNKING_BYTES;
    char *text = malloc(most + 1);
    struct pfk_message message;

    memset(text, 'a', most + 1);
    memcpy(text, head, sizeof(head) - 1);
    pfk_message_begin(&message, &limits);
    ck_assert_int_eq(pfk_message_read(&message, &limits, text, most), 0);
    ck_assert_int_eq(pfk_message_read(&message, &limits, text, most + 1), -413);
    free(text);
}
END_TEST

/* -- In a slot ------------------------------------------------------------------ */

static const char job_text[] = "POST /a?b HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nbody";

/* A request as it lies in a slot; the caller frees it. */
static char *make_job(struct pfk_http_thread *thread, size_t *length_out)
{
    int64_t length;
    char *job;

    pfk_message_begin(&thread->message, &limits);
    ck_assert_int_eq(pfk_message_read(&thread->message, &limits, job_text, sizeof(job_text) - 1), sizeof(job_text) - 1);
    ck_assert_int_eq(pfk_request_of_message(thread, &thread->message, job_text), 0);
    thread->answering = &thread->message;
    thread->data = job_text;
    length = pfk_request_to_job(thread, &thread->request);
    ck_assert_int_gt(length, 0);
    *length_out = (size_t)length;
    job = malloc(*length_out);
    memcpy(job, thread->job, *length_out);
    return job;
}

START_TEST(a_request_travels_in_a_slot)
{
    struct pfk_http_thread *thread = pfk_thread_self();
    const struct prefork_http_request *request = &thread->request;
    size_t length;
    char *job = make_job(thread, &length);

    memset(&thread->request, 0, sizeof(thread->request));
    ck_assert_int_eq(pfk_request_of_job(thread, job, length), 0);
    ck_assert(prefork_http_text_is(request->method, "POST"));
    ck_assert(prefork_http_text_is(request->path, "/a"));
    ck_assert(prefork_http_text_is(request->query, "b"));
    ck_assert(prefork_http_text_is(request->body, "body"));
    ck_assert(prefork_http_text_is(*prefork_http_header(request, "host"), "a"));
    ck_assert_ptr_eq(request->body.bytes, job + length - 4);
    free(job);
}
END_TEST

/* Whatever somebody wrote there: an error, or texts within the slot. */
START_TEST(what_lies_in_a_slot_is_checked)
{
    struct pfk_http_thread *thread = pfk_thread_self();
    const struct prefork_http_request *request = &thread->request;
    unsigned seed = 1, outside = 0, taken = 0;
    size_t length;
    char *job = make_job(thread, &length);
    char *damaged = malloc(length);

    for (int i = 0; i < 200000; i++) {
        const size_t used = i % 7 == 0 ? (size_t)rand_r(&seed) % (length + 1) : length;

        memcpy(damaged, job, length);
        for (int byte = 0; byte < 1 + i % 3; byte++)
            damaged[(size_t)rand_r(&seed) % 60] = (char)rand_r(&seed);
        if (pfk_request_of_job(thread, damaged, used) != 0)
            continue;
        taken++;
        for (size_t header = 0; header < request->n_headers; header++) {
            const struct prefork_http_text value = request->headers[header].value;

            outside += value.bytes < damaged || value.bytes + value.length > damaged + used;
        }
        outside += request->target.bytes + request->target.length > damaged + used;
        outside += request->body.bytes + request->body.length > damaged + used;
    }
    ck_assert_uint_eq(outside, 0);
    ck_assert_uint_gt(taken, 0);
    free(damaged);
    free(job);
}
END_TEST

static Suite *message_suite(void)
{
    Suite *suite = suite_create("http/message");
    TCase *tcase = tcase_create("message");

    tcase_add_loop_test(tcase, good_requests_are_taken, 0, (int)samples_n_good);
    tcase_add_loop_test(tcase, nothing_is_whole_too_early, 0, (int)samples_n_good);
    tcase_add_loop_test(tcase, bad_requests_are_refused, 0, (int)samples_n_bad);
    tcase_add_test(tcase, fields_are_what_was_sent);
    tcase_add_test(tcase, who_stays);
    tcase_add_test(tcase, a_head_has_limits);
    tcase_add_test(tcase, chunking_has_a_limit);
    tcase_add_test(tcase, a_request_travels_in_a_slot);
    tcase_add_test(tcase, what_lies_in_a_slot_is_checked);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(message_suite)
