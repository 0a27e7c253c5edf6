/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define ADDRESS_FORMS "use tcp:127.0.0.1:7007, tcp:[::1]:7007, tcp:*:7007 (port 0: any free one), or unix:/path"

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

static int address_parse_tcp(const char *text, const char *rest, struct pfk_address *address)
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

static int address_parse_unix(const char *text, const char *path, struct pfk_address *address)
{
    const size_t length = strlen(path);

    if (length == 0)
        return address_refuse(text, "there is no path");
    if (length >= sizeof(address->socket.local.sun_path))
        return address_refuse(text, "the path is longer than 107 bytes");
    address->socket.local.sun_family = AF_UNIX;
    memcpy(address->socket.local.sun_path, path, length + 1);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

int pfk_address_parse(const char *text, struct pfk_address *address_out)
{
    memset(address_out, 0, sizeof(*address_out));
    if (text == NULL)
        return address_refuse("", "it is NULL");
    if (strncmp(text, "tcp:", 4) == 0)
        return address_parse_tcp(text, text + 4, address_out);
    if (strncmp(text, "unix:", 5) == 0)
        return address_parse_unix(text, text + 5, address_out);
    return address_refuse(text, "it begins neither with tcp: nor with unix:");
}

void pfk_address_format(const struct pfk_address *address, char text_out[PFK_ADDRESS_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "";
    in_port_t port;

    if (address->socket.any.sa_family == AF_UNIX) {
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "unix:%s", address->socket.local.sun_path);
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
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "tcp:*:%u", port);
    else if (address->socket.any.sa_family == AF_INET6)
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "tcp:[%s]:%u", host, port);
    else
        (void)snprintf(text_out, PFK_ADDRESS_TEXT_BYTES, "tcp:%s:%u", host, port);
}

void pfk_address_every_ipv4(struct pfk_address *address)
{
    const struct in_addr any = {.s_addr = htonl(INADDR_ANY)};

    address_set_ipv4(address, any, address->socket.ipv6.sin6_port);
}
