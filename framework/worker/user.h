/* SPDX-License-Identifier: BSD-2-Clause */
/* Who the workers of a master with privileges run as. */
#ifndef PFK_WORKER_USER_H
#define PFK_WORKER_USER_H

#include <sys/types.h>

/* Found once, before the first fork: workers ask no user database. */
struct pfk_user {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* supplementary ones; NULL: none */
    size_t n_groups;
};

/* Finds the user whom `text` means: a name of the user database, with all its groups, or "uid:gid" in numbers, with
 * no other group. The caller frees with pfk_user_free. 0, or with the text set:
 *   -EINVAL  neither form; or the superuser, or the caller's own user, who could write what only the master may
 *   -ENOENT  no such user
 *   -EPERM   this process may not become another user, or may not signal another user's processes
 *   -ENOMEM, and what the user database says */
int pfk_user_find(const char *text, struct pfk_user *user_out);

void pfk_user_free(struct pfk_user *user);

/* Makes this process, which has one thread, run as `user` for ever: groups, gid and uid (real, effective, saved), no
 * capability, no way back through a setuid program (no_new_privs), no core dump and no debugger of the same user
 * (not dumpable). 0 or -errno; after a failure the process must end: it may be half-way. */
int pfk_user_become(const struct pfk_user *user);

#endif
