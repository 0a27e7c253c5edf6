/* SPDX-License-Identifier: BSD-2-Clause */
/* The calling thread's last error text. Knows nothing of what failed. Any
 * thread, any process; a forked child inherits the text of the thread that
 * forked it. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static _Thread_local char error_text[PFK_ERROR_TEXT_BYTES];
/* Stands in for error_text when the last failure was routine. */
static _Thread_local const char *error_literal;

PFK_EXPORT const char *prefork_last_error(void)
{
    return error_literal != NULL ? error_literal : error_text;
}

int pfk_error_routine(int code, const char *literal)
{
    error_literal = literal;
    return -code;
}

static bool error_is_routine(int code)
{
    return code == EAGAIN || code == ETIMEDOUT || code == EINTR;
}

int pfk_error(int code, const char *format, ...)
{
    const int saved_errno = errno;
    va_list values;

    error_literal = NULL;
    va_start(values, format);
    (void)vsnprintf(error_text, sizeof(error_text), format, values);
    va_end(values);
    if (!error_is_routine(code))
        pfk_log(PREFORK_LOG_DEBUG, "%s", error_text);
    errno = saved_errno;
    return -code;
}

int pfk_error_call(int code, const char *what)
{
    /* strerror is safe between threads in glibc since 2.32 and in musl; the two
     * kinds of strerror_r differ in what they return */
    return pfk_error(code, "%s: %s", what, strerror(code));
}
