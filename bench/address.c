/* SPDX-License-Identifier: BSD-2-Clause */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static bool address_parse_port(const char *text, in_port_t *port_out)
{
    char *end;
    long port;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    port = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || port > UINT16_MAX)
        return false;
    *port_out = htons((uint16_t)port);
    return true;
}

static int address_parse_tcp4(const char *host, const char *port, struct address *address_out)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&address_out->socket;

    in->sin_family = AF_INET;
    if (inet_pton(AF_INET, host, &in->sin_addr) != 1 || !address_parse_port(port, &in->sin_port))
        return -EINVAL;
    address_out->length = sizeof(*in);
    return 0;
}

static int address_parse_tcp6(const char *host, const char *port, struct address *address_out)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address_out->socket;

    in6->sin6_family = AF_INET6;
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1 || !address_parse_port(port, &in6->sin6_port))
        return -EINVAL;
    address_out->length = sizeof(*in6);
    return 0;
}

/* `text` is what follows "tcp:". */
static int address_parse_tcp(const char *text, struct address *address_out)
{
    char host[ADDRESS_TEXT_BYTES];
    const char *colon = strrchr(text, ':');
    size_t length;

    if (colon == NULL)
        return -EINVAL;
    length = (size_t)(colon - text);
    if (length < 2 || length >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, length);
    host[length] = '\0';
    if (host[0] != '[')
        return address_parse_tcp4(host, colon + 1, address_out);
    if (host[length - 1] != ']')
        return -EINVAL;
    host[length - 1] = '\0';
    return address_parse_tcp6(host + 1, colon + 1, address_out);
}

/* `path` is what follows "unix:". */
static int address_parse_unix(const char *path, struct address *address_out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&address_out->socket;
    const size_t length = strlen(path);

    if (length == 0 || length >= sizeof(un->sun_path))
        return -EINVAL;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, length + 1);
    address_out->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

int address_parse(const char *text, struct address *address_out)
{
    memset(address_out, 0, sizeof(*address_out));
    if (strncmp(text, "tcp:", 4) == 0)
        return address_parse_tcp(text + 4, address_out);
    if (strncmp(text, "unix:", 5) == 0)
        return address_parse_unix(text + 5, address_out);
    return -EINVAL;
}

void address_format(const struct address *address, char text_out[ADDRESS_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->socket.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->socket;

        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        (void)snprintf(text_out, ADDRESS_TEXT_BYTES, "tcp:%s:%u", host, ntohs(in->sin_port));
    } else if (address->socket.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->socket;

        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        (void)snprintf(text_out, ADDRESS_TEXT_BYTES, "tcp:[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&address->socket;

        (void)snprintf(text_out, ADDRESS_TEXT_BYTES, "unix:%s", un->sun_path);
    }
}
