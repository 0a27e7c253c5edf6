/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/cork.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int pfk_cork_open(struct pfk_cork *cork)
{
    *cork = (struct pfk_cork){.room = malloc(PFK_CORK_COPIED_BYTES)};
    return cork->room != NULL ? 0 : pfk_error(ENOMEM, "I/O thread: no memory for what is written");
}

void pfk_cork_close(struct pfk_cork *cork)
{
    free(cork->room);
    *cork = (struct pfk_cork){.room = NULL};
}

void pfk_cork_clear(struct pfk_cork *cork)
{
    cork->n_pieces = 0;
    cork->length = 0;
    cork->copied = 0;
}

void pfk_cork_begin_turn(struct pfk_cork *cork, const void *input, size_t input_bytes)
{
    cork->input = input;
    cork->input_bytes = input_bytes;
}

void pfk_cork_end_turn(struct pfk_cork *cork)
{
    pfk_cork_clear(cork);
    pfk_cork_begin_turn(cork, NULL, 0);
}

/* By numbers: pointers into different objects must not be compared. */
static bool cork_is_input(const struct pfk_cork *cork, const void *data, size_t length)
{
    const uintptr_t first = (uintptr_t)cork->input;
    const uintptr_t at = (uintptr_t)data;

    return at >= first && at - first < cork->input_bytes && length <= cork->input_bytes - (at - first);
}

static bool cork_continues(const struct pfk_cork *cork, const void *data)
{
    const struct iovec *const last = cork->n_pieces == 0 ? NULL : &cork->pieces[cork->n_pieces - 1];

    return last != NULL && (uintptr_t)last->iov_base + last->iov_len == (uintptr_t)data;
}

/* `data` stays where it is. */
static bool cork_append(struct pfk_cork *cork, const void *data, size_t length, size_t pieces_max)
{
    if (cork_continues(cork, data))
        cork->pieces[cork->n_pieces - 1].iov_len += length;
    else if (cork->n_pieces < pieces_max)
        cork->pieces[cork->n_pieces++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = length};
    else
        return false;
    cork->length += length;
    return true;
}

/* The last piece is for copies, one behind the other: so bytes alone fill the
 * cork, not the number of writes. */
bool pfk_cork_add(struct pfk_cork *cork, const void *data, size_t length)
{
    unsigned char *const copy = cork->room + cork->copied;

    if (length > PFK_CORK_BYTES - cork->length)
        return false;
    if (cork_is_input(cork, data, length) && cork_append(cork, data, length, PFK_CORK_PIECES - 1))
        return true;
    if (length > PFK_CORK_COPIED_BYTES - cork->copied || !cork_append(cork, copy, length, PFK_CORK_PIECES))
        return false;
    memcpy(copy, data, length);
    cork->copied += length;
    return true;
}
