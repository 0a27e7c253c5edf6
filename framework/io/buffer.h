/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes that wait in private memory: appended at the end, consumed from the
 * front. A buffer without bytes is NULL, so that an idle connection has none.
 * One thread at a time. */
#ifndef PFK_IO_BUFFER_H
#define PFK_IO_BUFFER_H

#include <stddef.h>

struct pfk_buffer {
    size_t start; /* first byte that waits */
    size_t end;   /* behind the last one */
    size_t capacity;
    unsigned char bytes[];
};

/* Both accept NULL. */
static inline size_t pfk_buffer_length(const struct pfk_buffer *buffer)
{
    return buffer == NULL ? 0 : buffer->end - buffer->start;
}

static inline unsigned char *pfk_buffer_data(struct pfk_buffer *buffer)
{
    return buffer == NULL ? NULL : buffer->bytes + buffer->start;
}

/* Makes room for `length` more bytes and returns where they belong, or NULL:
 * no memory; the buffer is as before. May move the bytes that wait. */
unsigned char *pfk_buffer_reserve(struct pfk_buffer **buffer, size_t length);

/* Counts `length` bytes, which were written into the reserved room, in. */
void pfk_buffer_commit(struct pfk_buffer *buffer, size_t length);

/* Appends a copy. 0 or -ENOMEM; the buffer is then as before. */
int pfk_buffer_append(struct pfk_buffer **buffer, const void *data, size_t length);

/* Drops the first `length` bytes; frees the buffer with its last byte. */
void pfk_buffer_consume(struct pfk_buffer **buffer, size_t length);

/* Frees what is there; *buffer becomes NULL. */
void pfk_buffer_free(struct pfk_buffer **buffer);

#endif
