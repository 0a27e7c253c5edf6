/* SPDX-License-Identifier: BSD-2-Clause */
/* The file of a listening Unix socket: who may take the path, whose it is, with
 * which rights, and who removes it.
 *
 * Two servers that start at once on one path: a bound socket that does not
 * listen yet looks like one that a dead server left, so each could remove the
 * other's. So probing, removing, binding and listening are one step, under a
 * lock on "<path>.lock", which goes away with the step: the second server then
 * finds a living one and refuses. */
#ifndef PFK_IO_UNIX_PATH_H
#define PFK_IO_UNIX_PATH_H

#include <stdbool.h>
#include <sys/types.h>

#include "io/address.h"

/* Which file is ours. All 0: none. */
struct pfk_unix_path {
    dev_t device;
    ino_t inode;
    pid_t creator_pid;
};

/* How the file is to be. */
struct pfk_unix_rights {
    unsigned mode;     /* permission bits; 0: 0777 less the umask */
    const char *owner; /* user, user:group or :group, names or numbers; NULL: as it is made */
};

/* Binds `fd` to the path, sets its rights and listens. The path of a socket on
 * which nobody listens is replaced. `text` is the address for the error text.
 * On failure the path is as before, less what nobody listened on.
 *   -EADDRINUSE  somebody listens there or is about to, or the path is no socket
 *   -ENOENT      there is no such user or group, or no such directory
 *   -EPERM       this process may not give the file to that owner
 *   and what open(2) of the lock file, bind(2) and listen(2) say */
int pfk_unix_path_listen(int fd, const struct pfk_address *address, const char *text,
                         const struct pfk_unix_rights *rights, int backlog, struct pfk_unix_path *path_out);

/* Removes the file if it is still ours and this process made it. */
void pfk_unix_path_remove(const struct pfk_unix_path *path, const struct pfk_address *address);

#endif
