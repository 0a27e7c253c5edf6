/* SPDX-License-Identifier: BSD-2-Clause */
/* Headers of the PROXY protocol, versions 1 (text) and 2 (binary): what a proxy
 * says at the beginning of a connection about the one for whom it speaks. */
#ifndef PFK_IO_PROXY_HEADER_H
#define PFK_IO_PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/address.h"

/* The longest header: version 2 with as many bytes as its length can count. */
#define PFK_PROXY_HEADER_BYTES_MAX (16 + 65535)

struct pfk_proxy_header {
    bool announced;          /* false: the proxy speaks for itself, or does not know (LOCAL, UNKNOWN, UNSPEC) */
    struct pfk_address peer; /* if announced: the client's address */
};

/* Reads the header at the beginning of `length` bytes, in any version. What
 * follows the addresses in version 2 (TLVs) is skipped unread, its checksum too.
 * Returns the header's length, 0 when more bytes are needed, or -EPROTO: it is
 * no header, which is known as early as can be. Touches nothing beyond
 * PFK_PROXY_HEADER_BYTES_MAX. */
int64_t pfk_proxy_header_read(const void *data, size_t length, struct pfk_proxy_header *header_out);

#endif
