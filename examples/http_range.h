/* SPDX-License-Identifier: BSD-2-Clause */
/* The header Range of a request (RFC 9110, 14.2). */
#ifndef EXAMPLES_HTTP_RANGE_H
#define EXAMPLES_HTTP_RANGE_H

#include <stdint.h>

#include <prefork/http.h>

enum http_range { HTTP_RANGE_ALL, HTTP_RANGE_PART, HTTP_RANGE_NONE };

/* Which part of `bytes` bytes is asked for: all (no range, more than one, or one
 * that means nothing), a part, *length_out bytes from *first_out on, or none
 * that there is (416). `header` may be NULL. */
enum http_range http_range_of(const struct prefork_http_text *header, uint64_t bytes, uint64_t *first_out,
                              uint64_t *length_out);

#endif
