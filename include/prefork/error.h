/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/error.h>: error texts and the log sink.
 *
 * Every function of the library that can fail returns 0 (or a count) on
 * success and a negative errno on failure, and leaves a text that names the
 * call, the value and the remedy. The library never prints by itself and
 * never exits the process: what it has to say goes to the log sink.
 *
 * Outcomes that belong to normal operation (-EAGAIN, -ETIMEDOUT, -EINTR) are
 * never logged; they set a short text, or none (<prefork/sync.h>). */
#ifndef PREFORK_ERROR_H
#define PREFORK_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* Ranks of a log line, gravest first. */
enum prefork_log_level {
    PREFORK_LOG_ERROR = 0,   /* something was lost or refused */
    PREFORK_LOG_WARNING = 1, /* it goes on, but an operator should look */
    PREFORK_LOG_INFO = 2,    /* one line for each change of state */
    PREFORK_LOG_DEBUG = 3    /* also every error returned to the caller */
};

/* Receives one log line. `text` has no newline and is borrowed until the
 * function returns. Called on whatever thread has something to say, in any
 * process of a pool, possibly by several threads at once; it must not call
 * the library. */
typedef void (*prefork_log_fn)(enum prefork_log_level level, const char *text, void *context);

/* Returns the text of the last failure on the calling thread: the call, the
 * value and the remedy. Never NULL; "" when nothing failed yet. Borrowed:
 * valid until the next call into the library on the same thread. Any thread,
 * any process; a forked child starts with its parent's text. */
const char *prefork_last_error(void);

/* Sends all log lines of this process, and of the children it forks later, to
 * `sink`, with `context` handed through. NULL restores the default, which
 * writes one line with a time stamp to standard error in one write(2) and
 * drops it rather than block or fail. Call it before other threads use the
 * library. */
void prefork_log_set_sink(prefork_log_fn sink, void *context);

/* Drops lines of a rank below `level` (default PREFORK_LOG_INFO). Any thread. */
void prefork_log_set_level(enum prefork_log_level level);

#ifdef __cplusplus
}
#endif

#endif
