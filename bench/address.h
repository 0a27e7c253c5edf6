/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket addresses as the command lines of this project write them:
 * `tcp:127.0.0.1:7007`, `tcp:[::1]:0`, `unix:/path`. Numeric hosts only: no
 * benchmark should depend on a resolver. */
#ifndef BENCH_ADDRESS_H
#define BENCH_ADDRESS_H

#include <stddef.h>
#include <sys/socket.h>

/* Enough for every text that address_format() makes. */
#define ADDRESS_TEXT_BYTES 128

struct address {
    struct sockaddr_storage socket;
    socklen_t length;
};

/* Reads `text`. Returns 0, or -EINVAL when it is none of the three forms. */
int address_parse(const char *text, struct address *address_out);

/* Writes the address in the form that address_parse() reads. */
void address_format(const struct address *address, char text_out[ADDRESS_TEXT_BYTES]);

#endif
