/* SPDX-License-Identifier: BSD-2-Clause */
/* The log sink. The default one writes a line with a UTC time stamp and the
 * process id to standard error in one write, and drops it when that would
 * block or fail: a full disk or a stuck pipe must not stop a server. */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"

/* One write of up to PIPE_BUF (4096) bytes is not torn by other writers. */
#define LOG_LINE_BYTES 1024

static prefork_log_fn log_sink;
static void *log_context;
static pfk_atomic_u32 log_level = PREFORK_LOG_INFO;

static const char *const log_names[] = {
    [PREFORK_LOG_ERROR] = "error",
    [PREFORK_LOG_WARNING] = "warning",
    [PREFORK_LOG_INFO] = "info",
    [PREFORK_LOG_DEBUG] = "debug",
};

PFK_EXPORT void prefork_log_set_sink(prefork_log_fn sink, void *context)
{
    log_sink = sink;
    log_context = context;
}

PFK_EXPORT void prefork_log_set_level(enum prefork_log_level level)
{
    pfk_u32_store_relaxed(&log_level, (uint32_t)level);
}

static void log_write_stderr(enum prefork_log_level level, const char *text)
{
    char line[LOG_LINE_BYTES];
    struct timespec now = {0};
    struct tm utc = {0};
    struct pollfd stderr_ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    int length;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    length = snprintf(line, sizeof(line), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ prefork[%ld] %s: %s\n",
                      utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                      now.tv_nsec / 1000000, (long)getpid(), log_names[level], text);
    if (length < 0)
        return;
    if ((size_t)length >= sizeof(line)) {
        length = (int)sizeof(line) - 1;
        line[length - 1] = '\n';
    }
    /* a pipe without a reader is writable too, and writing to it would raise SIGPIPE */
    if (poll(&stderr_ready, 1, 0) == 1 && (stderr_ready.revents & (POLLOUT | POLLERR)) == POLLOUT) {
        ssize_t written = write(STDERR_FILENO, line, (size_t)length);
        (void)written; /* nothing better can be done about a lost log line */
    }
}

void pfk_log(enum prefork_log_level level, const char *format, ...)
{
    const int saved_errno = errno;
    char text[LOG_LINE_BYTES - 96];
    va_list values;

    if ((uint32_t)level > pfk_u32_load_relaxed(&log_level))
        return;
    va_start(values, format);
    (void)vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    if (log_sink != NULL)
        log_sink(level, text, log_context);
    else
        log_write_stderr(level, text);
    errno = saved_errno;
}
