/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes to tokens: the only file that knows which library parses HTTP
 * (http-parser; llhttp can take its place).
 *
 * The library is lenient: it takes folded headers, blanks before the colon,
 * lines that end with a line feed alone, and, as it is packaged, chunk lines
 * that do not end at all. Two readers that differ in such things can be played
 * off against each other, so here every byte of a head and of a chunk line is
 * accounted for: tokens must lie where the line before ended, with nothing
 * between them but what the grammar has there.
 *
 * Positions are offsets from the first byte of the message, so the message may
 * move between two calls. It may come in pieces; each byte is parsed once. */
#ifndef PFK_HTTP_PARSER_H
#define PFK_HTTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/text.h"

#define PFK_PARSER_FIELDS_MAX     100
#define PFK_PARSER_HEAD_BYTES_MAX 16384
#define PFK_PARSER_LIBRARY_WORDS  4

struct pfk_piece {
    uint16_t at;
    uint16_t length;
};

struct pfk_field {
    struct pfk_piece name;
    struct pfk_piece value;
};

enum pfk_parser_place { PFK_PARSER_LINE, PFK_PARSER_NAME, PFK_PARSER_VALUE };

struct pfk_parser {
    uint64_t library[PFK_PARSER_LIBRARY_WORDS]; /* its state */
    uint64_t body_bytes; /* of Content-Length, at first; with chunks what the ones before this byte hold */
    uint64_t max_body_bytes;
    const char *data;    /* the message, while the library runs, */
    const char *end;     /* and what is behind its last byte here */
    char *decoded;       /* where to put the bytes of chunks, or NULL */
    uint32_t parsed;     /* bytes that the library has seen */
    uint32_t head_bytes; /* 0: the head is not whole */
    uint32_t line_at;    /* where the next line must begin */
    uint16_t max_fields;
    uint16_t refusal;  /* a status, or 0 */
    uint16_t n_fields; /* may exceed max_fields while the head is not whole; only max_fields are kept */
    uint8_t place;     /* enum pfk_parser_place: of the last callback in a line */
    uint8_t major, minor;
    bool keep_alive, chunked, connect, whole;
    struct pfk_piece method, target;
    struct pfk_field fields[PFK_PARSER_FIELDS_MAX]; /* the last member: only n_fields of them are ever copied */
};

/* Begins with a new message. */
void pfk_parser_begin(struct pfk_parser *parser, uint16_t max_fields, uint64_t max_body_bytes);

/* Takes the next bytes of a message whose first `length` bytes are at `data`.
 * Head returns the length of the head once it is whole, and chunks, which goes
 * on behind a whole head when `chunked`, the length of the message; 0 when more
 * bytes are needed; the negative of a status to refuse it with. */
int64_t pfk_parser_head(struct pfk_parser *parser, const char *data, size_t length);
int64_t pfk_parser_chunks(struct pfk_parser *parser, const char *data, size_t length);

/* Joins the chunks of a whole message into `body_out`, which has body_bytes. */
void pfk_parser_decode(const struct pfk_parser *parser, const char *data, size_t length, char *body_out);

/* The parts of a request's target, all within it. */
struct pfk_target {
    struct prefork_http_text authority; /* "host:80"; empty where the target begins with its path */
    struct prefork_http_text path;      /* never empty */
    struct prefork_http_text query;
    bool asterisk;
};

/* Takes a target apart: "/a?b", "http://host/a?b", "*". Returns whether it is
 * one of these. */
bool pfk_parser_target(struct prefork_http_text target, struct pfk_target *target_out);

/* Returns the reason phrase of a status; "" for one without. */
const char *pfk_parser_reason(unsigned status);

#endif
