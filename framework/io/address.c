/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define ADDRESS_FORMS                                                                                                  \
    "use tcp:127.0.0.1:7007, tcp:[::1]:7007, tcp:*:7007 (port 0: any free one), udp: likewise, unix:/path, "           \
    "unix:@name, or fd:NAME for a socket from socket activation"

static int address_refuse(const char *text, const char *reason)
{
    return pfk_error(EINVAL, "address \"%.80s\": %s; " ADDRESS_FORMS, text, reason);
}

/* Reads all of `text` as a port. */
static bool address_read_port(const char *text, in_port_t *port_out)
{
    uint32_t port = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && at - text < 5; at++)
        port = port * 10 + (uint32_t)(*at - '0');
    if (at == text || *at != '\0' || port > UINT16_MAX)
        return false;
    *port_out = htons((uint16_t)port);
    return true;
}

static void address_set_ipv4(struct pfk_address *address, struct in_addr host, in_port_t port)
{
    address->socket.ipv4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = host, .sin_port = port};
    address->length = sizeof(address->socket.ipv4);
}

static void address_set_ipv6(struct pfk_address *address, struct in6_addr host, in_port_t port)
{
    address->socket.ipv6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = host, .sin6_port = port};
    address->length = sizeof(address->socket.ipv6);
}

/* Reads the host of `text`, which is `length` bytes: *, [IPv6] or IPv4. */
static bool address_read_host(const char *text, size_t length, in_port_t port, struct pfk_address *address)
{
    char host[INET6_ADDRSTRLEN];
    struct in6_addr ipv6 = IN6ADDR_ANY_INIT;
    struct in_addr ipv4;
    const bool bracketed = length >= 2 && text[0] == '[' && text[length - 1] == ']';

    if (length == 1 && text[0] == '*') {
        address_set_ipv6(address, ipv6, port);
        address->every = true;
        return true;
    }
    if (bracketed) {
        text++;
        length -= 2;
    }
    if (length >= sizeof(host))
        return false;
    memcpy(host, text, length);
    host[length] = '\0';
    if (bracketed && inet_pton(AF_INET6, host, &ipv6) == 1) {
        address_set_ipv6(address, ipv6, port);
        return true;
    }
    if (!bracketed && inet_pton(AF_INET, host, &ipv4) == 1) {
        address_set_ipv4(address, ipv4, port);
        return true;
    }
    return false;
}

static int address_parse_inet(const char *text, const char *rest, struct pfk_address *address)
{
    const char *colon = strrchr(rest, ':');
    in_port_t port;

    if (colon == NULL)
        return address_refuse(text, "there is no port");
    if (!address_read_port(colon + 1, &port))
        return address_refuse(text, "the port must be a number from 0 to 65535");
    if (!address_read_host(rest, (size_t)(colon - rest), port, address))
        return address_refuse(text, "the host must be an IPv4 address, an IPv6 address in brackets, or *");
    return 0;
}

static int address_parse_unix(const char *text, const char *name, struct pfk_address *address)
{
    const size_t length = strlen(name);
    char *const path = address->socket.local.sun_path;

    if (length == 0 || strcmp(name, "@") == 0)
        return address_refuse(text, "there is no path");
    if (length >= sizeof(address->socket.local.sun_path))
        return address_refuse(text, "the path is longer than 107 bytes");
    address->socket.local.sun_family = AF_UNIX;
    memcpy(path, name, length + 1);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    if (name[0] == '@') {
        /* the abstract name is all that the length covers */
        path[0] = '\0';
        address->length--;
    }
    return 0;
}

int pfk_address_parse(const char *text, struct pfk_address *address_out)
{
    memset(address_out, 0, sizeof(*address_out));
    address_out->type = SOCK_STREAM;
    if (text == NULL)
        return address_refuse("", "it is NULL");
    if (strncmp(text, "tcp:", 4) == 0)
        return address_parse_inet(text, text + 4, address_out);
    if (strncmp(text, "unix:", 5) == 0)
        return address_parse_unix(text, text + 5, address_out);
    if (strncmp(text, "udp:", 4) == 0) {
        address_out->type = SOCK_DGRAM;
        return address_parse_inet(text, text + 4, address_out);
    }
    return address_refuse(text, "it begins with none of tcp:, udp: and unix:");
}

static void address_format_unix(const struct pfk_address *address, char text_out[PFK_ADDRESS_TEXT_BYTES])
{
    const size_t before = offsetof(struct sockaddr_un, sun_path);
    const char *const path = address->socket.local.sun_path;
    const int length = address->length > before ? (int)(address->length - before) : 0;

    if (length > 0 && path[0] == '\0')
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "unix:@%.*s", length - 1, path + 1);
    else
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "unix:%.*s", length, path);
}

void pfk_address_format(const struct pfk_address *address, char text_out[PFK_ADDRESS_TEXT_BYTES])
{
    const char *const scheme = address->type == SOCK_DGRAM ? "udp" : "tcp";
    char host[INET6_ADDRSTRLEN] = "";
    in_port_t port;

    if (address->socket.any.sa_family == AF_UNIX) {
        address_format_unix(address, text_out);
        return;
    }
    if (address->socket.any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &address->socket.ipv6.sin6_addr, host, sizeof(host));
        port = ntohs(address->socket.ipv6.sin6_port);
    } else {
        (void)inet_ntop(AF_INET, &address->socket.ipv4.sin_addr, host, sizeof(host));
        port = ntohs(address->socket.ipv4.sin_port);
    }
    if (address->every)
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "%s:*:%u", scheme, port);
    else if (address->socket.any.sa_family == AF_INET6)
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "%s:[%s]:%u", scheme, host, port);
    else
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "%s:%s:%u", scheme, host, port);
}

void pfk_address_set_inet(struct pfk_address *address, int family, const void *host, in_port_t port)
{
    struct in6_addr ipv6;
    struct in_addr ipv4;

    memset(address, 0, sizeof(*address));
    address->type = SOCK_STREAM;
    if (family == AF_INET) {
        memcpy(&ipv4, host, sizeof(ipv4));
        address_set_ipv4(address, ipv4, port);
    } else {
        memcpy(&ipv6, host, sizeof(ipv6));
        address_set_ipv6(address, ipv6, port);
    }
}

void pfk_address_set_path(struct pfk_address *address, const void *path, size_t length)
{
    memset(address, 0, sizeof(*address));
    address->type = SOCK_STREAM;
    address->socket.local.sun_family = AF_UNIX;
    memcpy(address->socket.local.sun_path, path, length);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

void pfk_address_every_ipv4(struct pfk_address *address)
{
    const struct in_addr any = {.s_addr = htonl(INADDR_ANY)};

    address_set_ipv4(address, any, address->socket.ipv6.sin6_port);
}

void pfk_address_unmap(struct pfk_address *address)
{
    const struct sockaddr_in6 mapped = address->socket.ipv6;
    struct in_addr host;

    if (address->socket.any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&mapped.sin6_addr))
        return;
    memcpy(&host, mapped.sin6_addr.s6_addr + 12, sizeof(host));
    address_set_ipv4(address, host, mapped.sin6_port);
}

bool pfk_address_is_path(const struct pfk_address *address)
{
    return address->socket.any.sa_family == AF_UNIX && address->socket.local.sun_path[0] != '\0';
}
