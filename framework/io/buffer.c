/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/buffer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* The smallest buffer, header included, fills one allocation of this size. */
#define BUFFER_LEAST_BYTES 512

/* The first time just enough, then twice that: who appends a buffer full again
 * pays for the copy, and no buffer is more than twice what it once held. */
static size_t buffer_next_capacity(const struct pfk_buffer *old, size_t needed)
{
    const size_t least = BUFFER_LEAST_BYTES - sizeof(struct pfk_buffer);

    if (needed < least)
        return least;
    return old == NULL ? needed : 2 * needed;
}

/* Moves what waits to the front when that makes the room and at least half of
 * the buffer is consumed: each byte is moved at most once for each time it is
 * appended, on average. */
static int buffer_compact(struct pfk_buffer *buffer, size_t length)
{
    const size_t waiting = buffer->end - buffer->start;

    if (buffer->start < buffer->capacity / 2 || buffer->capacity - waiting < length)
        return 0;
    memmove(buffer->bytes, buffer->bytes + buffer->start, waiting);
    buffer->start = 0;
    buffer->end = waiting;
    return 1;
}

static struct pfk_buffer *buffer_grow(const struct pfk_buffer *old, size_t length)
{
    const size_t waiting = pfk_buffer_length(old);
    struct pfk_buffer *grown;
    size_t capacity;

    if (length > SIZE_MAX / 4 - waiting)
        return NULL;
    capacity = buffer_next_capacity(old, waiting + length);
    grown = malloc(sizeof(*grown) + capacity);
    if (grown == NULL)
        return NULL;
    grown->start = 0;
    grown->end = waiting;
    grown->capacity = capacity;
    if (waiting > 0)
        memcpy(grown->bytes, old->bytes + old->start, waiting);
    return grown;
}

unsigned char *pfk_buffer_reserve(struct pfk_buffer **buffer, size_t length)
{
    struct pfk_buffer *grown;

    if (*buffer != NULL && ((*buffer)->capacity - (*buffer)->end >= length || buffer_compact(*buffer, length)))
        return (*buffer)->bytes + (*buffer)->end;
    grown = buffer_grow(*buffer, length);
    if (grown == NULL)
        return NULL;
    free(*buffer);
    *buffer = grown;
    return grown->bytes + grown->end;
}

void pfk_buffer_commit(struct pfk_buffer *buffer, size_t length)
{
    buffer->end += length;
}

int pfk_buffer_append(struct pfk_buffer **buffer, const void *data, size_t length)
{
    unsigned char *room;

    if (length == 0)
        return 0;
    room = pfk_buffer_reserve(buffer, length);
    if (room == NULL)
        return pfk_error(ENOMEM, "no memory for %zu bytes that a connection must keep", length);
    memcpy(room, data, length);
    pfk_buffer_commit(*buffer, length);
    return 0;
}

void pfk_buffer_consume(struct pfk_buffer **buffer, size_t length)
{
    if (*buffer == NULL)
        return;
    (*buffer)->start += length;
    if ((*buffer)->start >= (*buffer)->end)
        pfk_buffer_free(buffer);
}

void pfk_buffer_free(struct pfk_buffer **buffer)
{
    free(*buffer);
    *buffer = NULL;
}
