/* SPDX-License-Identifier: BSD-2-Clause */
/* Borrowed bytes. */
#ifndef PFK_HTTP_TEXT_H
#define PFK_HTTP_TEXT_H

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "prefork/http.h"

#define PFK_HTTP_EXPORT __attribute__((visibility("default")))

static inline struct prefork_http_text pfk_text(const char *bytes, size_t length)
{
    return (struct prefork_http_text){.bytes = bytes, .length = length};
}

/* Without regard to case. */
static inline bool pfk_text_matches(struct prefork_http_text text, const char *string, size_t length)
{
    return text.length == length && strncasecmp(text.bytes, string, length) == 0;
}

static inline bool pfk_text_has(struct prefork_http_text text, char byte)
{
    return text.length > 0 && memchr(text.bytes, byte, text.length) != NULL;
}

#endif
