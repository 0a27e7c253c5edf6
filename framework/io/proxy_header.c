/* SPDX-License-Identifier: BSD-2-Clause */
/* Written along HAProxy's "The PROXY protocol, versions 1 & 2". */
#include "io/proxy_header.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

/* -- Version 1: PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n ------------------- */

/* With its end of line, by the specification. */
#define PROXY_LINE_BYTES_MAX 107

static const char proxy_line_begin[] = "PROXY ";

/* Takes the word that ends at a blank, or at the end of the line, out of the
 * line. Blanks come one at a time; NULL: there is no word. */
static const char *proxy_line_word(char **line)
{
    char *const word = *line;
    char *end;

    if (word == NULL || *word == '\0' || *word == ' ')
        return NULL;
    end = strchr(word, ' ');
    if (end != NULL)
        *end++ = '\0';
    *line = end;
    return word;
}

/* Decimal, without sign or leading zeros. */
static bool proxy_line_port(const char *word, in_port_t *port_out)
{
    uint32_t port = 0;
    const char *at = word;

    if (word == NULL || (word[0] == '0' && word[1] != '\0'))
        return false;
    for (; *at >= '0' && *at <= '9' && at - word < 5; at++)
        port = port * 10 + (uint32_t)(*at - '0');
    *port_out = htons((uint16_t)port);
    return at != word && *at == '\0' && port <= UINT16_MAX;
}

/* Source and destination of one family, then their ports. The destination is
 * checked and dropped. */
static bool proxy_line_addresses(int family, char *rest, struct pfk_address *peer)
{
    unsigned char host[sizeof(struct in6_addr)], unused_host[sizeof(struct in6_addr)];
    in_port_t port, unused_port;
    const char *const from = proxy_line_word(&rest);
    const char *const to = proxy_line_word(&rest);

    if (from == NULL || to == NULL || inet_pton(family, from, host) != 1 || inet_pton(family, to, unused_host) != 1)
        return false;
    if (!proxy_line_port(proxy_line_word(&rest), &port) || !proxy_line_port(proxy_line_word(&rest), &unused_port))
        return false;
    pfk_address_set_inet(peer, family, host, port);
    return rest == NULL;
}

/* `line` is what stands between "PROXY " and the end of the line. */
static bool proxy_line_read(char *line, struct pfk_proxy_header *header)
{
    const char *const family = proxy_line_word(&line);

    if (family == NULL)
        return false;
    if (strcmp(family, "UNKNOWN") == 0)
        return true; /* whatever follows */
    header->announced = true;
    if (strcmp(family, "TCP4") == 0)
        return proxy_line_addresses(AF_INET, line, &header->peer);
    return strcmp(family, "TCP6") == 0 && proxy_line_addresses(AF_INET6, line, &header->peer);
}

static int64_t proxy_read_line(const unsigned char *data, size_t length, struct pfk_proxy_header *header)
{
    const size_t limit = length < PROXY_LINE_BYTES_MAX ? length : PROXY_LINE_BYTES_MAX;
    const size_t begin = sizeof(proxy_line_begin) - 1;
    const unsigned char *const newline = memchr(data, '\n', limit);
    char line[PROXY_LINE_BYTES_MAX];
    size_t line_length;

    if (newline == NULL)
        return limit == PROXY_LINE_BYTES_MAX ? -EPROTO : 0;
    line_length = (size_t)(newline - data) + 1;
    if (line_length < begin + 2 || newline[-1] != '\r')
        return -EPROTO;
    memcpy(line, data + begin, line_length - begin - 2);
    line[line_length - begin - 2] = '\0';
    /* a line with a NUL in it would be read only to there */
    if (strlen(line) != line_length - begin - 2 || !proxy_line_read(line, header))
        return -EPROTO;
    return (int64_t)line_length;
}

/* -- Version 2: binary -------------------------------------------------------- */

#define PROXY_FIXED_BYTES 16

enum proxy_command { PROXY_LOCAL = 0, PROXY_PROXY = 1 };
enum proxy_family { PROXY_UNSPEC = 0, PROXY_INET = 1, PROXY_INET6 = 2, PROXY_UNIX = 3 };

/* What the addresses of each family take, source and destination with ports. */
#define PROXY_INET_BYTES  12
#define PROXY_INET6_BYTES 36
#define PROXY_UNIX_BYTES  216
#define PROXY_PATH_BYTES  108

static const unsigned char proxy_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                  0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static bool proxy_block_inet(int family, size_t host_bytes, const unsigned char *block, struct pfk_address *peer)
{
    in_port_t port;

    memcpy(&port, block + 2 * host_bytes, sizeof(port));
    pfk_address_set_inet(peer, family, block, port);
    return true;
}

static bool proxy_block_read(enum proxy_family family, const unsigned char *block, size_t length,
                             struct pfk_address *peer)
{
    switch (family) {
    case PROXY_INET:
        return length >= PROXY_INET_BYTES && proxy_block_inet(AF_INET, sizeof(struct in_addr), block, peer);
    case PROXY_INET6:
        return length >= PROXY_INET6_BYTES && proxy_block_inet(AF_INET6, sizeof(struct in6_addr), block, peer);
    case PROXY_UNIX:
        if (length < PROXY_UNIX_BYTES)
            return false;
        pfk_address_set_path(peer, block, strnlen((const char *)block, PROXY_PATH_BYTES));
        return true;
    case PROXY_UNSPEC:
        break;
    }
    return false;
}

/* The two bytes behind the signature; checked before the rest has come. */
static bool proxy_fixed_is_good(const unsigned char *data, size_t length)
{
    if (length > 12 && (data[12] >> 4 != 2 || (data[12] & 15) > PROXY_PROXY))
        return false;
    return length <= 13 || (data[13] >> 4 <= PROXY_UNIX && (data[13] & 15) <= 2);
}

static int64_t proxy_read_block(const unsigned char *data, size_t length, struct pfk_proxy_header *header)
{
    enum proxy_family family;
    size_t block_length;

    if (!proxy_fixed_is_good(data, length))
        return -EPROTO;
    if (length < PROXY_FIXED_BYTES)
        return 0;
    block_length = (size_t)data[14] << 8 | data[15];
    if (length < PROXY_FIXED_BYTES + block_length)
        return 0;
    family = (enum proxy_family)(data[13] >> 4);
    header->announced = (data[12] & 15) == PROXY_PROXY && family != PROXY_UNSPEC;
    if (header->announced && !proxy_block_read(family, data + PROXY_FIXED_BYTES, block_length, &header->peer))
        return -EPROTO;
    return (int64_t)(PROXY_FIXED_BYTES + block_length);
}

/* -- Either ------------------------------------------------------------------- */

static bool proxy_begins(const unsigned char *data, size_t length, const void *begin, size_t begin_length)
{
    return memcmp(data, begin, length < begin_length ? length : begin_length) == 0;
}

int64_t pfk_proxy_header_read(const void *data, size_t length, struct pfk_proxy_header *header_out)
{
    memset(header_out, 0, sizeof(*header_out));
    if (length == 0)
        return 0;
    if (proxy_begins(data, length, proxy_signature, sizeof(proxy_signature)))
        return proxy_read_block(data, length, header_out);
    if (proxy_begins(data, length, proxy_line_begin, sizeof(proxy_line_begin) - 1))
        return proxy_read_line(data, length, header_out);
    return -EPROTO;
}
