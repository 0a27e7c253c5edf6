/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests as they arrive: what is taken, what is refused and how, whole, cut at
 * every byte, and byte by byte. */
#include "http/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/unit.h"

#include "http/request.h"

#define H "Host: a\r\n"

static const struct pfk_message_limits limits = {.headers = 8, .head_bytes = 256, .body_bytes = 16};

struct sample {
    const char *name;
    const char *text;
    size_t length; /* 0: of the string */
    int64_t whole; /* > 0: the message's length; 0: all of the text; < 0: the status */
    int64_t body;  /* its length */
};

/* All of these are taken. */
static const struct sample good[] = {
    {.name = "least of 1.1", .text = "GET / HTTP/1.1\r\n" H "\r\n"},
    {.name = "least of 1.0", .text = "GET / HTTP/1.0\r\n\r\n"},
    {.name = "1.0 with headers", .text = "GET / HTTP/1.0\r\nA: b\r\n\r\n"},
    {.name = "an empty line before", .text = "\r\nGET / HTTP/1.1\r\n" H "\r\n"},
    {.name = "something behind", .text = "GET / HTTP/1.1\r\n" H "\r\nGET / HTTP", .whole = 27},
    {.name = "empty value", .text = "GET / HTTP/1.1\r\n" H "A:\r\nB: \t \r\nC: d\r\n\r\n"},
    {.name = "last value empty", .text = "GET / HTTP/1.1\r\n" H "A:\r\n\r\n"},
    {.name = "blanks around values", .text = "GET / HTTP/1.1\r\n" H "A: \t b c\t \r\nD:e\r\n\r\n"},
    {.name = "empty host", .text = "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
    {.name = "absolute form", .text = "GET http://a:80/b?c HTTP/1.1\r\n" H "\r\n"},
    {.name = "asterisk form", .text = "OPTIONS * HTTP/1.1\r\n" H "\r\n"},
    {.name = "body", .text = "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", .body = 5},
    {.name = "body with more behind",
     .text = "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhelloPOST",
     .whole = 52,
     .body = 5},
    {.name = "body of 0", .text = "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"},
    {.name = "body of a GET", .text = "GET / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nxy", .body = 2},
    {.name = "body of just the limit",
     .text = "POST / HTTP/1.1\r\n" H "content-length:16\r\n\r\n0123456789abcdef",
     .body = 16},
    {.name = "chunks",
     .text = "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
     .body = 13},
    {.name = "chunks with extensions",
     .text = "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0;z\r\n\r\n",
     .body = 3},
    {.name = "chunks with trailers",
     .text = "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nB: c\r\nD:\r\n\r\n",
     .body = 1},
    {.name = "no chunk", .text = "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {.name = "chunks that look like ends",
     .text = "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n",
     .body = 9},
    {.name = "chunks to just the limit",
     .text = "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n010\r\n0123456789abcdef\r\n000\r\n\r\n",
     .body = 16},
    {.name = "an offer to upgrade", .text = "GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
    {.name = "upgrade and chunks",
     .text = "POST / HTTP/1.1\r\n" H
             "Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
     .body = 1},
    {.name = "as many headers as allowed",
     .text = "GET / HTTP/1.1\r\n" H "1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n\r\n"},
    {.name = "expectation",
     .text = "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
     .body = 1},
};

/* And none of these. */
#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
static const struct sample bad[] = {
    {"noise", "\x16\x03\x01\x02\x01", 0, -400, 0},
    {"unknown method", "BREW / HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"lower case method", "get / HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"two blanks before the target", "GET  / HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"two blanks behind the target", "GET /  HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"tab in the request line", "GET\t/ HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"target without slash", "GET a HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"fragment in the target", "GET /a#b HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"NUL in the target", "GET /\0a HTTP/1.1\r\n" H "\r\n", 28, -400, 0},
    {"blank behind the version", "GET / HTTP/1.1 \r\n" H "\r\n", 0, -505, 0},
    {"0.9", "GET /\r\n" H "\r\n", 0, -400, 0},
    {"2.0", "GET / HTTP/2.0\r\n" H "\r\n", 0, -505, 0},
    {"1.2", "GET / HTTP/1.2\r\n" H "\r\n", 0, -505, 0},
    {"0.9 as a number", "GET / HTTP/0.9\r\n" H "\r\n", 0, -505, 0},
    {"a long version", "GET / HTTP/1.10\r\n" H "\r\n", 0, -505, 0},
    {"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, -400, 0},
    {"another protocol", "GET / HTPP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"no host", "GET / HTTP/1.1\r\n\r\n", 0, -400, 0},
    {"no host among headers", "GET / HTTP/1.1\r\nA: b\r\n\r\n", 0, -400, 0},
    {"two hosts", "GET / HTTP/1.1\r\n" H H "\r\n", 0, -400, 0},
    {"two hosts in one", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 0, -400, 0},
    {"host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, -400, 0},
    {"two hosts in 1.0", "GET / HTTP/1.0\r\n" H H "\r\n", 0, -400, 0},
    {"folded header", "GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", 0, -400, 0},
    {"folded header, value in the second line", "GET / HTTP/1.1\r\n" H "A:\r\n b\r\n\r\n", 0, -400, 0},
    {"folded header, by a tab", "GET / HTTP/1.1\r\n" H "A: b\r\n\tc\r\n\r\n", 0, -400, 0},
    {"first header begins with a blank", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 0, -400, 0},
    {"blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 0, -400, 0},
    {"blank within a name", "GET / HTTP/1.1\r\n" H "A B: c\r\n\r\n", 0, -400, 0},
    {"no colon", "GET / HTTP/1.1\r\n" H "A\r\n\r\n", 0, -400, 0},
    {"no name", "GET / HTTP/1.1\r\n" H ": a\r\n\r\n", 0, -400, 0},
    {"a name with a parenthesis", "GET / HTTP/1.1\r\n" H "A(b): c\r\n\r\n", 0, -400, 0},
    {"NUL in a name", "GET / HTTP/1.1\r\n" H "A\0: b\r\n\r\n", 35, -400, 0},
    {"NUL in a value", "GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n", 35, -400, 0},
    {"control character in a value", "GET / HTTP/1.1\r\n" H "A: b\001c\r\n\r\n", 0, -400, 0},
    {"CR in a value", "GET / HTTP/1.1\r\n" H "A: b\rc\r\n\r\n", 0, -400, 0},
    {"LF alone behind the request line", "GET / HTTP/1.1\n" H "\r\n", 0, -400, 0},
    {"LF alone behind a header", "GET / HTTP/1.1\r\n" H "A: b\nC: d\r\n\r\n", 0, -400, 0},
    {"LF alone behind an empty header", "GET / HTTP/1.1\r\n" H "A:\nC: d\r\n\r\n", 0, -400, 0},
    {"LF alone at the end", "GET / HTTP/1.1\r\n" H "\n", 0, -400, 0},
    {"CR and something at the end", "GET / HTTP/1.1\r\n" H "\rX", 0, -400, 0},
    {"two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"LF alone before", "\nGET / HTTP/1.1\r\n" H "\r\n", 0, -400, 0},
    {"length and chunks", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 0, -400,
     0},
    {"chunks and length", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 0, -400,
     0},
    {"two lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 0, -400, 0},
    {"the same length twice", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 0, -400, 0},
    {"lengths in one", "POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\n", 0, -400, 0},
    {"length with a sign", "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\n", 0, -400, 0},
    {"negative length", "POST / HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\n", 0, -400, 0},
    {"hexadecimal length", "POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\n", 0, -400, 0},
    {"no length", "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 0, -400, 0},
    {"a length beyond 64 bits", "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\n", 0, -400, 0},
    {"the largest length", "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551614\r\n\r\n", 0, -400, 0},
    {"chunks in 1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 0, -400, 0},
    {"chunked twice", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0,
     -400, 0},
    {"another coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", 0, -501, 0},
    {"two codings", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, -501, 0},
    {"chunked not last", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n", 0, -501, 0},
    {"a misspelt coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 0, -501, 0},
    {"no coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", 0, -501, 0},
    {"CONNECT", "CONNECT a:80 HTTP/1.1\r\n" H "\r\n", 0, -501, 0},
    {"another expectation", "POST / HTTP/1.1\r\n" H "Expect: miracles\r\n\r\n", 0, -417, 0},
    {"a body too large", "POST / HTTP/1.1\r\n" H "Content-Length: 17\r\n\r\n", 0, -413, 0},
    {"a chunk too large", CHUNKED "11\r\n", 0, -413, 0},
    {"chunks too large", CHUNKED "8\r\n01234567\r\n9\r\n", 0, -413, 0},
    {"an endless chunk", CHUNKED "fffffffffffffff\r\n", 0, -413, 0},
    {"a chunk beyond 64 bits", CHUNKED "10000000000000001\r\n", 0, -400, 0},
    {"a chunk without a number", CHUNKED "\r\n", 0, -400, 0},
    {"a chunk with a sign", CHUNKED "-1\r\n", 0, -400, 0},
    {"a chunk in another notation", CHUNKED "0x1\r\n", 0, -400, 0},
    {"a number, a blank, another", CHUNKED "1 1\r\na\r\n0\r\n\r\n", 0, -400, 0},
    {"a chunk line with CR alone", CHUNKED "1\rXa\r\n0\r\n\r\n", 0, -400, 0},
    {"a chunk line with LF alone", CHUNKED "1\na\r\n0\r\n\r\n", 0, -400, 0},
    {"an extension with CR alone", CHUNKED "1;a\rb\r\na\r\n0\r\n\r\n", 0, -400, 0},
    {"a chunk without its end", CHUNKED "1\r\naXX0\r\n\r\n", 0, -400, 0},
    {"a chunk that ends with LF alone", CHUNKED "1\r\na\n0\r\n\r\n", 0, -400, 0},
    {"a last chunk line with CR alone", CHUNKED "0\rX\r\n", 0, -400, 0},
    {"the end with CR alone", CHUNKED "0\r\n\rX", 0, -400, 0},
    {"the end with LF alone", CHUNKED "0\r\n\n", 0, -400, 0},
    {"a folded trailer", CHUNKED "0\r\nA: b\r\n c\r\n\r\n", 0, -400, 0},
    {"a trailer with LF alone", CHUNKED "0\r\nA: b\nC: d\r\n\r\n", 0, -400, 0},
    {"a header too many", "GET / HTTP/1.1\r\n" H "1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n\r\n", 0, -431, 0},
};

static size_t length_of(const struct sample *sample)
{
    return sample->length > 0 ? sample->length : strlen(sample->text);
}

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
    const size_t length = length_of(sample);
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
    const struct sample *sample = &good[_i];

    check_cuts(sample, sample->whole > 0 ? sample->whole : (int64_t)length_of(sample));
}
END_TEST

START_TEST(bad_requests_are_refused)
{
    check_cuts(&bad[_i], bad[_i].whole);
}
END_TEST

/* No good request is whole before its last byte. */
START_TEST(nothing_is_whole_too_early)
{
    const struct sample *sample = &good[_i];
    const size_t whole = sample->whole > 0 ? (size_t)sample->whole : length_of(sample);
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

    tcase_add_loop_test(tcase, good_requests_are_taken, 0, (int)(sizeof(good) / sizeof(good[0])));
    tcase_add_loop_test(tcase, nothing_is_whole_too_early, 0, (int)(sizeof(good) / sizeof(good[0])));
    tcase_add_loop_test(tcase, bad_requests_are_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])));
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
