/* SPDX-License-Identifier: BSD-2-Clause */
/* Owners of files as people write them. */
#ifndef PFK_IO_OWNER_H
#define PFK_IO_OWNER_H

#include <sys/types.h>

/* Reads "user", "user:group" or ":group", each a name or a number, into what
 * chown(2) takes: what is not named becomes -1. `what` stands in the error text.
 *   -EINVAL  neither is named;  -ENOENT  there is no such user or group;
 *   -ENOMEM, and errors of the databases */
int pfk_owner_find(const char *text, const char *what, uid_t *uid_out, gid_t *gid_out);

#endif
