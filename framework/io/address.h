/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses as people write them: tcp:127.0.0.1:7007, tcp:[::1]:0, tcp:*:7007,
 * unix:/path. No names are looked up: a server that must wait for a resolver
 * to start is one more thing that fails at boot. */
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
    bool every;       /* tcp:*: all addresses, IPv6 and IPv4; `socket` holds [::] */
};

/* Reads `text`. -EINVAL: it can't be read; the error text shows the forms. */
int pfk_address_parse(const char *text, struct pfk_address *address_out);

/* Writes the form that pfk_address_parse reads. */
void pfk_address_format(const struct pfk_address *address, char text_out[PFK_ADDRESS_TEXT_BYTES]);

/* Makes the every-address IPv4 only, for a host without IPv6. */
void pfk_address_every_ipv4(struct pfk_address *address);

#endif
