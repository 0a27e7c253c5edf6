/* SPDX-License-Identifier: BSD-2-Clause */
/* A set of addresses whose word is taken, e.g. of proxies that announce for
 * whom they speak. Never changes once it is made; any thread. */
#ifndef PFK_IO_TRUST_H
#define PFK_IO_TRUST_H

#include <stdbool.h>

#include "io/address.h"

struct pfk_trust;

/* Reads `text`: entries with commas or blanks between them, each an IPv4 or IPv6
 * address with or without /PREFIX, "unix" (peers over Unix sockets), or "*"
 * (everybody).
 *   -EINVAL  there is no entry, or one can't be read; the text says which
 *   -ENOMEM */
int pfk_trust_open(const char *text, struct pfk_trust **trust_out);

/* Whether the set has `address`. IPv4 entries also match IPv4 over IPv6. */
bool pfk_trust_has(const struct pfk_trust *trust, const struct pfk_address *address);

/* Frees it. NULL in *trust is allowed; *trust becomes NULL. */
void pfk_trust_close(struct pfk_trust **trust);

#endif
