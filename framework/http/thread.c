/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local struct pfk_http_thread *thread_own;
static pthread_key_t thread_key; /* frees what thread_own points at, when the thread ends */
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static bool thread_has_key;

static void thread_free(void *memory)
{
    struct pfk_http_thread *thread = memory;

    free(thread->body);
    free(thread->job);
    free(thread);
}

static void thread_make_key(void)
{
    thread_has_key = pthread_key_create(&thread_key, thread_free) == 0;
}

static struct pfk_http_thread *thread_create(void)
{
    struct pfk_http_thread *thread;

    (void)pthread_once(&thread_once, thread_make_key);
    thread = thread_has_key ? calloc(1, sizeof(*thread)) : NULL;
    if (thread == NULL || pthread_setspecific(thread_key, thread) != 0) {
        free(thread);
        return NULL;
    }
    thread->date_s = -1;
    thread_own = thread;
    return thread;
}

struct pfk_http_thread *pfk_thread_self(void)
{
    return thread_own != NULL ? thread_own : thread_create();
}

bool pfk_thread_grow(char **memory, size_t *room, size_t bytes)
{
    char *grown;

    if (bytes <= *room)
        return true;
    grown = malloc(bytes);
    if (grown == NULL)
        return false;
    free(*memory);
    *memory = grown;
    *room = bytes;
    return true;
}

const char *pfk_thread_date(struct pfk_http_thread *thread)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct timespec now;
    struct tm tm;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == thread->date_s || gmtime_r(&now.tv_sec, &tm) == NULL)
        return thread->date;
    /* Not strftime: it speaks the language of the locale. */
    (void)snprintf(thread->date, sizeof(thread->date), "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday % 7],
                   (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12], (unsigned)(tm.tm_year + 1900) % 10000,
                   (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    thread->date_s = now.tv_sec;
    return thread->date;
}
