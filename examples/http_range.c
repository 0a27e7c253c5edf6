/* SPDX-License-Identifier: BSD-2-Clause */
#include "http_range.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Reads digits at *at; whether there are any. A number beyond 64 bits is the
 * largest there is. */
static bool take_number(const char **at, uint64_t *number_out)
{
    char *end;

    if (**at < '0' || **at > '9')
        return false;
    *number_out = strtoull(*at, &end, 10);
    *at = end;
    return true;
}

/* "bytes=2-5", "bytes=2-", "bytes=-5"; one of them, else false. */
static bool parse(const char *text, bool *from_end_out, uint64_t *first_out, uint64_t *last_out)
{
    bool has_last;

    if (strncasecmp(text, "bytes=", 6) != 0)
        return false;
    text += 6;
    *from_end_out = !take_number(&text, first_out);
    if (*text++ != '-')
        return false;
    has_last = take_number(&text, last_out);
    if (!has_last)
        *last_out = UINT64_MAX;
    return *text == '\0' && (has_last || !*from_end_out) && (*from_end_out || *first_out <= *last_out);
}

enum http_range http_range_of(const struct prefork_http_text *header, uint64_t bytes, uint64_t *first_out,
                              uint64_t *length_out)
{
    char text[64];
    uint64_t first = 0;
    uint64_t last = 0;
    bool from_end = false;

    *first_out = 0;
    *length_out = bytes;
    if (header == NULL || header->length >= sizeof(text))
        return HTTP_RANGE_ALL;
    memcpy(text, header->bytes, header->length);
    text[header->length] = '\0';
    if (!parse(text, &from_end, &first, &last))
        return HTTP_RANGE_ALL;
    if (from_end) { /* the last `last` bytes */
        if (last == 0 || bytes == 0)
            return HTTP_RANGE_NONE;
        first = last < bytes ? bytes - last : 0;
        last = UINT64_MAX;
    }
    if (first >= bytes)
        return HTTP_RANGE_NONE;
    *first_out = first;
    *length_out = (last < bytes - 1 ? last : bytes - 1) - first + 1;
    return HTTP_RANGE_PART;
}
