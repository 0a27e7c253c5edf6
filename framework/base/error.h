/* SPDX-License-Identifier: BSD-2-Clause */
/* The text behind prefork_last_error(). */
#ifndef PFK_BASE_ERROR_H
#define PFK_BASE_ERROR_H

#include "base/compiler.h"
#include "prefork/error.h"

/* Room for one text; longer ones are cut. */
#define PFK_ERROR_TEXT_BYTES 512

/* Sets the calling thread's text and returns -code, so that a failing path
 * reads `return pfk_error(EINVAL, "prefork_x: … ", …)`. Logged at rank debug,
 * except for EAGAIN, ETIMEDOUT and EINTR, which belong to normal operation.
 * `code` is a positive errno. Keeps errno. */
int pfk_error(int code, const char *format, ...) PFK_PRINTF(2, 3);

/* For EAGAIN, ETIMEDOUT and EINTR on paths that are taken often: the text is a
 * literal, nothing is formatted or logged. */
int pfk_error_routine(int code, const char *literal);

/* Like pfk_error with the text "<what>: <strerror(code)>", for a system call
 * whose failure has no remedy worth naming beyond its own name. */
int pfk_error_call(int code, const char *what);

#endif
