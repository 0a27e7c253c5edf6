/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses as people write them: tcp:127.0.0.1:7007, tcp:[::1]:0, tcp:*:7007,
 * udp: with the same, unix:/path, unix:@name (abstract). No names are looked up:
 * a server that must wait for a resolver to start is one more thing that fails
 * at boot. */
#ifndef PFK_IO_ADDRESS_H
#define PFK_IO_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Room for any address in its written form. */
#define PFK_ADDRESS_TEXT_BYTES 128

struct pfk_address {
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
        struct sockaddr_un local;
    } socket;
    socklen_t length; /* of what is used of `socket` */
    int type;         /* SOCK_STREAM or SOCK_DGRAM */
    bool every;       /* tcp:*: all addresses, IPv6 and IPv4; `socket` holds [::] */
};

/* Reads `text`. -EINVAL: it can't be read; the error text shows the forms. */
int pfk_address_parse(const char *text, struct pfk_address *address_out);

/* Writes the form that pfk_address_parse reads. A Unix socket without a name is
 * "unix:"; bytes of a name or path that can't be printed appear as they are. */
void pfk_address_format(const struct pfk_address *address, char text_out[PFK_ADDRESS_TEXT_BYTES]);

/* Set an IPv4 or IPv6 address (`host` as inet_pton(3) writes it, port in network
 * order), and a path of up to 108 bytes, of a stream socket. */
void pfk_address_set_inet(struct pfk_address *address, int family, const void *host, in_port_t port);
void pfk_address_set_path(struct pfk_address *address, const void *path, size_t length);

/* Makes the every-address IPv4 only, for a host without IPv6. */
void pfk_address_every_ipv4(struct pfk_address *address);

/* Makes an IPv4 address that came over an IPv6 socket (::ffff:a.b.c.d) one of
 * IPv4; leaves others alone. */
void pfk_address_unmap(struct pfk_address *address);

/* Whether it is the path of a Unix socket: a file. */
bool pfk_address_is_path(const struct pfk_address *address);

#endif
