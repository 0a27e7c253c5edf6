/* SPDX-License-Identifier: BSD-2-Clause */
/* What a connection writes in its turn, so that it is sent at once, at the
 * turn's end. What it writes of the bytes that the turn reads, as an echo does,
 * stays where it lies, as long as there are pieces; everything else is copied.
 * One thread at a time. */
#ifndef PFK_IO_CORK_H
#define PFK_IO_CORK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* Runs of bytes that lie one behind the other. */
#define PFK_CORK_PIECES 16
/* Copied bytes, and all: writing on beyond it would hide from the water marks. */
#define PFK_CORK_COPIED_BYTES 16384
#define PFK_CORK_BYTES        65536

struct pfk_cork {
    struct iovec pieces[PFK_CORK_PIECES]; /* in order */
    size_t n_pieces;
    size_t length;       /* of all pieces */
    unsigned char *room; /* PFK_CORK_COPIED_BYTES */
    size_t copied;       /* bytes in it */
    const unsigned char *input;
    size_t input_bytes;
};

/* -ENOMEM. Freed by pfk_cork_close, which accepts zeroes. */
int pfk_cork_open(struct pfk_cork *cork);
void pfk_cork_close(struct pfk_cork *cork);

/* Between these two `input_bytes` bytes at `input` neither move nor change. The
 * end forgets what is in the cork. */
void pfk_cork_begin_turn(struct pfk_cork *cork, const void *input, size_t input_bytes);
void pfk_cork_end_turn(struct pfk_cork *cork);

/* Puts `length` (> 0) bytes behind the others. False: there is no room for them,
 * and the cork is as before. */
bool pfk_cork_add(struct pfk_cork *cork, const void *data, size_t length);

/* Forgets what is in it. */
void pfk_cork_clear(struct pfk_cork *cork);

#endif
