/* SPDX-License-Identifier: BSD-2-Clause */
/* The type of a file by the end of its name. */
#ifndef EXAMPLES_MIME_TYPES_H
#define EXAMPLES_MIME_TYPES_H

/* Reads /etc/mime.types; without it a few common types are known. -ENOMEM. To
 * be called once, before workers are forked, which then share it. */
int mime_types_read(const char *file);

/* Returns the type of a file with this name; never NULL. Any thread. */
const char *mime_types_of(const char *name);

#endif
