/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/parser.h"

#include <http_parser.h>
#include <string.h>

/* Chunks joined and written elsewhere, and those parsed in place, take the same
 * way: `decoded` alone tells them apart. */

_Static_assert(sizeof(http_parser) <= PFK_PARSER_LIBRARY_WORDS * sizeof(uint64_t), "no room for the library's state");
_Static_assert(PFK_PARSER_HEAD_BYTES_MAX <= UINT16_MAX, "a piece holds 16 bits");

#define HEX_DIGITS "0123456789abcdefABCDEF"

static http_parser *parser_library(struct pfk_parser *parser)
{
    return (http_parser *)(void *)parser->library;
}

static struct pfk_parser *parser_of(http_parser *library)
{
    return library->data;
}

/* -- Accounting --------------------------------------------------------------- */

/* Ends the library's run. */
static int parser_refuse(struct pfk_parser *parser, uint16_t status)
{
    parser->refusal = status;
    return -1;
}

/* The line before `at` ended with CR LF, and just there. */
static bool parser_begins_line(const struct pfk_parser *parser, size_t at)
{
    return at == parser->line_at && at >= 2 && memcmp(parser->data + at - 2, "\r\n", 2) == 0;
}

static bool parser_is_blank(const struct pfk_parser *parser, size_t from, size_t to)
{
    while (from < to && (parser->data[from] == ' ' || parser->data[from] == '\t'))
        from++;
    return from == to;
}

static bool parser_in_trailer(const struct pfk_parser *parser)
{
    return parser->head_bytes > 0;
}

/* Trailers, and more fields than allowed, are checked and dropped. */
static struct pfk_field *parser_field(struct pfk_parser *parser)
{
    static _Thread_local struct pfk_field dropped;

    return parser_in_trailer(parser) || parser->n_fields > parser->max_fields ? &dropped
                                                                              : &parser->fields[parser->n_fields - 1];
}

/* Offsets of what is dropped may exceed what a piece holds; they are not looked at. */
static struct pfk_piece parser_piece(size_t at, size_t length)
{
    return (struct pfk_piece){.at = (uint16_t)at, .length = (uint16_t)length};
}

static size_t parser_end(struct pfk_piece piece)
{
    return (size_t)piece.at + piece.length;
}

/* -- The head: callbacks of the library ----------------------------------------- */

/* Two control characters are part of a target to the library; to others they end it. */
static int parser_on_url(http_parser *library, const char *at, size_t length)
{
    struct pfk_parser *parser = parser_of(library);

    if (memchr(at, '\t', length) != NULL || memchr(at, '\f', length) != NULL)
        return parser_refuse(parser, 400);
    if (parser->target.length == 0)
        parser->target.at = (uint16_t)(at - parser->data);
    parser->target.length = (uint16_t)(parser->target.length + length);
    return 0;
}

/* "GET /target HTTP/1.1", with one blank each; an empty line may stand before. */
static bool parser_check_request_line(struct pfk_parser *parser)
{
    const char *method = http_method_str((enum http_method)parser_library(parser)->method);
    const size_t length = strlen(method);
    const size_t version_at = parser_end(parser->target);
    size_t begin;

    if (parser->target.length == 0 || parser->target.at < length + 1)
        return false;
    /* "GET /" alone was a request once, and to the library it still is. */
    if (version_at + sizeof(" HTTP/1.1\r\n") - 1 > (size_t)(parser->end - parser->data))
        return false;
    begin = parser->target.at - 1 - length;
    parser->method = parser_piece(begin, length);
    parser->line_at = (uint32_t)(version_at + sizeof(" HTTP/1.1\r\n") - 1);
    return (begin == 0 || (begin == 2 && memcmp(parser->data, "\r\n", 2) == 0)) &&
           memcmp(parser->data + begin, method, length) == 0 && parser->data[begin + length] == ' ' &&
           memcmp(parser->data + version_at, " HTTP/", 6) == 0;
}

/* The line of the request, and then of each header, is accounted for when the
 * next one begins. */
static int parser_begin_field(struct pfk_parser *parser, size_t at)
{
    if (!parser_in_trailer(parser)) {
        if (parser->n_fields == 0 && !parser_check_request_line(parser))
            return parser_refuse(parser, 400);
        parser->n_fields++;
    }
    if (!parser_begins_line(parser, at))
        return parser_refuse(parser, 400);
    return 0;
}

static int parser_on_field(http_parser *library, const char *bytes, size_t length)
{
    struct pfk_parser *parser = parser_of(library);
    const size_t at = (size_t)(bytes - parser->data);
    struct pfk_piece *name;

    if (memchr(bytes, ' ', length) != NULL)
        return parser_refuse(parser, 400);
    if (parser->place == PFK_PARSER_NAME) {
        name = &parser_field(parser)->name;
        *name = parser_piece(name->at, name->length + length);
    } else {
        if (parser_begin_field(parser, at) != 0)
            return -1;
        parser_field(parser)->name = parser_piece(at, length);
    }
    parser->place = PFK_PARSER_NAME;
    parser->line_at = (uint32_t)(at + length); /* until the value says where the line ends */
    return 0;
}

/* The library calls it for an empty value when it has seen the next line begin. */
static int parser_on_empty_value(struct pfk_parser *parser, size_t at)
{
    const size_t colon = parser->line_at;

    parser->line_at = (uint32_t)at;
    parser_field(parser)->value = parser_piece(colon + 1, 0);
    parser->place = PFK_PARSER_VALUE;
    if (at < colon + 3 || !parser_begins_line(parser, at) || !parser_is_blank(parser, colon + 1, at - 2))
        return parser_refuse(parser, 400);
    return 0;
}

static int parser_on_value(http_parser *library, const char *bytes, size_t length)
{
    struct pfk_parser *parser = parser_of(library);
    const size_t at = (size_t)(bytes - parser->data);
    struct pfk_piece *value = &parser_field(parser)->value;

    if (parser->place == PFK_PARSER_NAME && length == 0)
        return parser_on_empty_value(parser, at);
    if (parser->place == PFK_PARSER_NAME) {
        if (!parser_is_blank(parser, parser->line_at + 1, at))
            return parser_refuse(parser, 400);
        *value = parser_piece(at, length);
    } else {
        if (length > 0 && at != parser->line_at - 2) /* it goes on in another line */
            return parser_refuse(parser, 400);
        *value = parser_piece(value->at, value->length + length);
    }
    if (memchr(bytes, '\0', length) != NULL)
        return parser_refuse(parser, 400);
    parser->place = PFK_PARSER_VALUE;
    parser->line_at = (uint32_t)(at + length + 2);
    return 0;
}

/* What stands at the end of a value belongs to the line. */
static void parser_trim(struct pfk_parser *parser)
{
    for (uint16_t i = 0; i < parser->n_fields; i++) {
        struct pfk_piece *value = &parser->fields[i].value;

        while (value->length > 0 && parser_is_blank(parser, parser_end(*value) - 1, parser_end(*value)))
            value->length--;
    }
}

static int parser_on_head(http_parser *library)
{
    struct pfk_parser *parser = parser_of(library);

    if (parser->n_fields == 0 && !parser_check_request_line(parser))
        return parser_refuse(parser, 400);
    if (parser->n_fields > parser->max_fields) /* only here: what is wrong behind them is seen, however it came */
        return parser_refuse(parser, 431);
    parser->major = (uint8_t)library->http_major;
    parser->minor = (uint8_t)library->http_minor;
    parser->keep_alive = http_should_keep_alive(library) != 0;
    parser->chunked = (library->flags & F_CHUNKED) != 0;
    parser->connect = library->method == HTTP_CONNECT;
    parser->body_bytes = (library->flags & F_CONTENTLENGTH) != 0 ? library->content_length : 0;
    http_parser_pause(library, 1);
    return 0;
}

/* -- Chunks: callbacks of the library ---------------------------------------------- */

/* The library passes over everything in extensions, and some take a line feed
 * there for the line's end. */
static bool parser_is_printable(const char *from, const char *to)
{
    for (; from < to; from++) {
        if (((unsigned char)*from < ' ' && *from != '\t') || *from == '\x7f')
            return false;
    }
    return true;
}

/* A chunk's line is whole: a number in hexadecimal digits, extensions, CR LF. */
static int parser_on_chunk(http_parser *library)
{
    struct pfk_parser *parser = parser_of(library);
    const char *line = parser->data + parser->line_at;
    const size_t digits = strspn(line, HEX_DIGITS); /* a CR at least is behind them */
    const char *end = memchr(line, '\r', (size_t)(parser->end - line));

    if (!parser_begins_line(parser, parser->line_at) || digits == 0 || (line[digits] != '\r' && line[digits] != ';') ||
        end == NULL || end + 1 == parser->end || end[1] != '\n' || !parser_is_printable(line + digits, end))
        return parser_refuse(parser, 400);
    if (library->content_length > parser->max_body_bytes - parser->body_bytes)
        return parser_refuse(parser, 413);
    parser->line_at = (uint32_t)(end + 2 - parser->data);
    parser->place = PFK_PARSER_LINE;
    return 0;
}

static int parser_on_body(http_parser *library, const char *bytes, size_t length)
{
    struct pfk_parser *parser = parser_of(library);
    const size_t at = (size_t)(bytes - parser->data);

    if (parser->place == PFK_PARSER_LINE && at != parser->line_at)
        return parser_refuse(parser, 400);
    if (parser->decoded != NULL)
        memcpy(parser->decoded + parser->body_bytes, bytes, length);
    parser->place = PFK_PARSER_VALUE;
    parser->body_bytes += length;
    parser->line_at = (uint32_t)(at + length + 2);
    return 0;
}

static int parser_on_whole(http_parser *library)
{
    parser_of(library)->whole = true;
    http_parser_pause(library, 1);
    return 0;
}

/* -- Running the library ------------------------------------------------------------ */

static const http_parser_settings parser_callbacks = {.on_url = parser_on_url,
                                                      .on_header_field = parser_on_field,
                                                      .on_header_value = parser_on_value,
                                                      .on_headers_complete = parser_on_head,
                                                      .on_body = parser_on_body,
                                                      .on_chunk_header = parser_on_chunk,
                                                      .on_message_complete = parser_on_whole};

/* Returns how many bytes it took, or the negative of a status. */
static int64_t parser_run(struct pfk_parser *parser, const char *data, size_t length)
{
    http_parser *library = parser_library(parser);
    size_t taken;

    if (length == parser->parsed) /* to the library this would mean the end of the stream */
        return 0;
    parser->data = data;
    parser->end = data + length;
    library->data = parser;
    taken = http_parser_execute(library, &parser_callbacks, data + parser->parsed, length - parser->parsed);
    if (parser->refusal != 0)
        return -parser->refusal;
    switch (HTTP_PARSER_ERRNO(library)) {
    case HPE_OK:
    case HPE_PAUSED:
        parser->parsed += (uint32_t)taken;
        return (int64_t)taken;
    case HPE_INVALID_VERSION:
        return -505;
    default:
        return -400;
    }
}

void pfk_parser_begin(struct pfk_parser *parser, uint16_t max_fields, uint64_t max_body_bytes)
{
    memset(parser, 0, offsetof(struct pfk_parser, fields));
    parser->max_fields = max_fields;
    parser->max_body_bytes = max_body_bytes;
    http_parser_init(parser_library(parser), HTTP_REQUEST);
}

int64_t pfk_parser_head(struct pfk_parser *parser, const char *data, size_t length)
{
    const int64_t rc = parser_run(parser, data, length);

    if (rc < 0)
        return rc;
    if (HTTP_PARSER_ERRNO(parser_library(parser)) != HPE_PAUSED)
        return 0;
    /* The library stops on the head's last byte, and will look at it again. */
    parser->head_bytes = parser->parsed + 1;
    if (!parser_begins_line(parser, parser->head_bytes - 2) || memcmp(data + parser->head_bytes - 2, "\r\n", 2) != 0)
        return -400;
    parser_trim(parser);
    parser->line_at = parser->head_bytes;
    parser->place = PFK_PARSER_LINE;
    parser->whole = !parser->chunked && parser->body_bytes == 0;
    return parser->head_bytes;
}

int64_t pfk_parser_chunks(struct pfk_parser *parser, const char *data, size_t length)
{
    int64_t rc;

    http_parser_pause(parser_library(parser), 0);
    rc = parser_run(parser, data, length);
    if (rc < 0)
        return rc;
    if (!parser->whole)
        return 0;
    if (!parser_begins_line(parser, parser->parsed - 2) || memcmp(data + parser->parsed - 2, "\r\n", 2) != 0)
        return -400;
    return parser->parsed;
}

void pfk_parser_decode(const struct pfk_parser *parser, const char *data, size_t length, char *body_out)
{
    struct pfk_parser again;

    pfk_parser_begin(&again, parser->max_fields, parser->max_body_bytes);
    (void)pfk_parser_head(&again, data, length);
    again.decoded = body_out;
    (void)pfk_parser_chunks(&again, data, length);
}

/* -- Targets and statuses --------------------------------------------------------------- */

static struct prefork_http_text parser_url_part(struct prefork_http_text target, const struct http_parser_url *url,
                                                enum http_parser_url_fields part)
{
    return pfk_text(target.bytes + url->field_data[part].off, url->field_data[part].len);
}

/* "http://host:80/a?b": the authority ends where path, query or target do. No
 * user is named in front of it. */
static bool parser_absolute_target(struct prefork_http_text target, const struct http_parser_url *url,
                                   struct pfk_target *target_out)
{
    const struct prefork_http_text scheme = parser_url_part(target, url, UF_SCHEMA);
    const size_t at = scheme.length + strlen("://");
    size_t end = target.length;

    if ((!pfk_text_matches(scheme, "http", 4) && !pfk_text_matches(scheme, "https", 5)) ||
        (url->field_set & (1 << UF_USERINFO)) != 0)
        return false;
    if ((url->field_set & (1 << UF_QUERY)) != 0)
        end = url->field_data[UF_QUERY].off - 1U;
    if ((url->field_set & (1 << UF_PATH)) != 0)
        end = url->field_data[UF_PATH].off;
    else
        target_out->path = pfk_text(target.bytes + at - 1, 1); /* none means "/": there is one in front of the host */
    target_out->authority = pfk_text(target.bytes + at, end - at);
    return true;
}

bool pfk_parser_target(struct prefork_http_text target, struct pfk_target *target_out)
{
    const struct prefork_http_text none = pfk_text(target.bytes + target.length, 0);
    struct http_parser_url url;

    *target_out = (struct pfk_target){.path = target, .query = none, .authority = none};
    if (target.length == 1) { /* "/", "*" */
        target_out->asterisk = target.bytes[0] == '*';
        return target.bytes[0] == '/' || target_out->asterisk;
    }
    http_parser_url_init(&url);
    if (http_parser_parse_url(target.bytes, target.length, 0, &url) != 0 || (url.field_set & (1 << UF_FRAGMENT)) != 0)
        return false;
    target_out->path = parser_url_part(target, &url, UF_PATH);
    if ((url.field_set & (1 << UF_QUERY)) != 0)
        target_out->query = parser_url_part(target, &url, UF_QUERY);
    return (url.field_set & (1 << UF_SCHEMA)) == 0 || parser_absolute_target(target, &url, target_out);
}

const char *pfk_parser_reason(unsigned status)
{
    switch (status) {
#define PARSER_REASON(number, name, phrase)                                                                            \
    case number:                                                                                                       \
        return #phrase;
        HTTP_STATUS_MAP(PARSER_REASON)
#undef PARSER_REASON
    default:
        return "";
    }
}
