/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/message.h"

#include <errno.h>

/* What the headers say that concerns the message itself. */
struct message_signs {
    unsigned hosts;
    bool bad_host;
    struct prefork_http_text host; /* the last one */
    unsigned codings;              /* Transfer-Encoding */
    bool bad_coding;               /* other than chunked */
    bool bad_length;               /* Content-Length without a number */
    bool bad_expectation;
};

/* -- The rules -------------------------------------------------------------------- */

/* What may stand in a host, or between the brackets of a literal address: RFC
 * 3986, 3.2.2. No comma, though: to some it would be a list. */
static const bool message_host_bytes[256] = {
    ['0'] = true, ['1'] = true, ['2'] = true, ['3'] = true, ['4'] = true, ['5'] = true,  ['6'] = true, ['7'] = true,
    ['8'] = true, ['9'] = true, ['A'] = true, ['B'] = true, ['C'] = true, ['D'] = true,  ['E'] = true, ['F'] = true,
    ['G'] = true, ['H'] = true, ['I'] = true, ['J'] = true, ['K'] = true, ['L'] = true,  ['M'] = true, ['N'] = true,
    ['O'] = true, ['P'] = true, ['Q'] = true, ['R'] = true, ['S'] = true, ['T'] = true,  ['U'] = true, ['V'] = true,
    ['W'] = true, ['X'] = true, ['Y'] = true, ['Z'] = true, ['a'] = true, ['b'] = true,  ['c'] = true, ['d'] = true,
    ['e'] = true, ['f'] = true, ['g'] = true, ['h'] = true, ['i'] = true, ['j'] = true,  ['k'] = true, ['l'] = true,
    ['m'] = true, ['n'] = true, ['o'] = true, ['p'] = true, ['q'] = true, ['r'] = true,  ['s'] = true, ['t'] = true,
    ['u'] = true, ['v'] = true, ['w'] = true, ['x'] = true, ['y'] = true, ['z'] = true,  ['-'] = true, ['.'] = true,
    ['_'] = true, ['~'] = true, ['%'] = true, ['!'] = true, ['$'] = true, ['&'] = true,  ['('] = true, [')'] = true,
    [':'] = true, ['*'] = true, ['+'] = true, [';'] = true, ['='] = true, ['\''] = true,
};

static bool message_all_of_host(const char *from, const char *to)
{
    while (from < to && message_host_bytes[(unsigned char)*from])
        from++;
    return from == to;
}

/* ":80", ":", or nothing. */
static bool message_is_port(const char *from, const char *to)
{
    if (from == to)
        return true;
    if (*from++ != ':')
        return false;
    while (from < to && *from >= '0' && *from <= '9')
        from++;
    return from == to;
}

/* "host", "host:80", "[::1]:80", or empty. */
static bool message_is_host(struct prefork_http_text host)
{
    const char *const end = host.bytes + host.length;
    const char *port;

    if (host.length > 0 && host.bytes[0] == '[') {
        port = memchr(host.bytes, ']', host.length);
        return port != NULL && message_all_of_host(host.bytes + 1, port) && message_is_port(port + 1, end);
    }
    port = memchr(host.bytes, ':', host.length);
    if (port == NULL)
        port = end;
    return message_all_of_host(host.bytes, port) && message_is_port(port, end);
}

/* By the length of the name first: most headers are none of these. */
static void message_look_at(struct pfk_message *message, struct message_signs *signs, struct prefork_http_text name,
                            struct prefork_http_text value)
{
    if (pfk_text_matches(name, "host", 4)) {
        signs->hosts++;
        signs->host = value;
        signs->bad_host = signs->bad_host || !message_is_host(value);
    } else if (pfk_text_matches(name, "expect", 6)) {
        message->expects = pfk_text_matches(value, "100-continue", 12);
        signs->bad_expectation = signs->bad_expectation || !message->expects;
    } else if (pfk_text_matches(name, "content-length", 14)) {
        signs->bad_length = signs->bad_length || value.length == 0;
    } else if (pfk_text_matches(name, "transfer-encoding", 17)) {
        signs->codings++;
        signs->bad_coding = signs->bad_coding || !pfk_text_matches(value, "chunked", 7);
    }
}

static struct message_signs message_look(struct pfk_message *message, const char *data)
{
    const struct pfk_parser *parser = &message->parser;
    struct message_signs signs = {.hosts = 0};

    for (uint16_t i = 0; i < parser->n_fields; i++) {
        const struct pfk_field *field = &parser->fields[i];

        message_look_at(message, &signs, pfk_text(data + field->name.at, field->name.length),
                        pfk_text(data + field->value.at, field->value.length));
    }
    return signs;
}

/* Where the target has an authority, that is the host (RFC 9112, 3.2.2), and one
 * who looks at Host only must not be told another. "*" is for OPTIONS. */
static bool message_target_is_good(const struct pfk_message *message, const struct message_signs *signs,
                                   const char *data)
{
    const struct pfk_parser *parser = &message->parser;
    const struct prefork_http_text method = pfk_text(data + parser->method.at, parser->method.length);
    struct pfk_target target;

    if (!pfk_parser_target(pfk_text(data + parser->target.at, parser->target.length), &target))
        return false;
    if (target.asterisk)
        return pfk_text_matches(method, "OPTIONS", 7);
    if (target.authority.length == 0)
        return true;
    return signs->hosts > 0 ? pfk_text_matches(target.authority, signs->host.bytes, signs->host.length)
                            : message_is_host(target.authority);
}

/* Returns the negative of a status, or 0. */
static int message_judge(struct pfk_message *message, const struct pfk_message_limits *limits, const char *data)
{
    const struct pfk_parser *parser = &message->parser;
    const struct message_signs signs = message_look(message, data);

    if (parser->major != 1 || parser->minor > 1)
        return -505;
    if (signs.bad_length || signs.codings > 1 || (signs.codings > 0 && parser->minor == 0))
        return -400;
    if (signs.hosts > 1 || (signs.hosts == 0 && parser->minor == 1) || signs.bad_host)
        return -400;
    if (signs.codings > 0 && !parser->chunked) /* without chunks at its end, the body has none */
        return -400;
    if (signs.bad_coding || parser->connect)
        return -501;
    if (!message_target_is_good(message, &signs, data))
        return -400;
    if (signs.bad_expectation)
        return -417;
    if (parser->body_bytes > limits->body_bytes)
        return -413;
    message->expects = message->expects && parser->minor == 1;
    return 0;
}

/* -- Head and body ------------------------------------------------------------------ */

/* The head has no end within its limit: is it the target that is too long? */
static int message_head_too_long(const struct pfk_parser *parser)
{
    return parser->target.length > 0 && parser->target.at + parser->target.length == parser->parsed ? -414 : -431;
}

static int64_t message_read_head(struct pfk_message *message, const struct pfk_message_limits *limits, const char *data,
                                 size_t length)
{
    const size_t within = length < limits->head_bytes ? length : limits->head_bytes;
    const int64_t rc = pfk_parser_head(&message->parser, data, within);

    if (rc == 0)
        return length > within ? message_head_too_long(&message->parser) : 0;
    if (rc < 0)
        return rc;
    return message_judge(message, limits, data);
}

static int64_t message_read_chunks(struct pfk_message *message, const struct pfk_message_limits *limits,
                                   const char *data, size_t length)
{
    const size_t most = message->parser.head_bytes + limits->body_bytes + PFK_MESSAGE_CHUNKING_BYTES;
    const size_t within = length < most ? length : most;
    const int64_t rc = pfk_parser_chunks(&message->parser, data, within);

    return rc == 0 && length > within ? -413 : rc;
}

void pfk_message_begin(struct pfk_message *message, const struct pfk_message_limits *limits)
{
    message->bytes = 0;
    message->expects = false;
    message->continued = false;
    pfk_parser_begin(&message->parser, limits->headers, limits->body_bytes);
}

int64_t pfk_message_read(struct pfk_message *message, const struct pfk_message_limits *limits, const char *data,
                         size_t length)
{
    const struct pfk_parser *parser = &message->parser;
    int64_t rc = 0;

    if (message->bytes > 0)
        return (int64_t)message->bytes;
    if (parser->head_bytes == 0)
        rc = message_read_head(message, limits, data, length);
    if (rc < 0 || parser->head_bytes == 0)
        return rc;
    if (parser->chunked)
        rc = message_read_chunks(message, limits, data, length);
    else
        rc = length - parser->head_bytes >= parser->body_bytes ? (int64_t)(parser->head_bytes + parser->body_bytes) : 0;
    if (rc > 0)
        message->bytes = (uint64_t)rc;
    return rc;
}
