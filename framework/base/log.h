/* SPDX-License-Identifier: BSD-2-Clause */
/* The log sink: one line for each change of state. */
#ifndef PFK_BASE_LOG_H
#define PFK_BASE_LOG_H

#include "base/compiler.h"
#include "prefork/error.h"

/* Hands one line to the sink if its rank is asked for. Keeps errno. Never
 * blocks with the default sink. */
void pfk_log(enum prefork_log_level level, const char *format, ...) PFK_PRINTF(2, 3);

#endif
