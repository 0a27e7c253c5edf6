/* SPDX-License-Identifier: BSD-2-Clause */
/* Files below a directory, by the paths of URLs; nothing else can be opened. */
#ifndef EXAMPLES_TREE_H
#define EXAMPLES_TREE_H

#include <stddef.h>

/* Turns the path of a URL ("/a%20b/") into one below the directory ("a b/", or
 * "." for the directory itself). Returns its length, or
 *   -EINVAL  it is no such path: %00, %2f, half an escape, "..", no slash first
 *   -ENOENT  a part begins with a dot: it is not shown
 *   -ENAMETOOLONG */
int tree_path(const char *url, size_t length, char *path_out, size_t room);

/* Opens a file below `tree_fd` for reading, or a directory. Neither ".." nor a
 * symbolic link leads out of the tree: the kernel sees to it (openat2); where it
 * can't, no link is followed at all. Never waits for the other end of a pipe.
 * Returns the descriptor, or -errno of open. */
int tree_open(int tree_fd, const char *path);

#endif
