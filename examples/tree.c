/* SPDX-License-Identifier: BSD-2-Clause */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define PART_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

/* -- Paths of URLs ------------------------------------------------------------ */

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Decodes what is at *at, and moves it behind. A slash that was written as an
 * escape would be taken for one that separates. -1: no character. */
static int decode_one(const char *url, size_t length, size_t *at)
{
    int high, low, byte;

    if (url[*at] != '%')
        return (unsigned char)url[(*at)++];
    if (length - *at < 3)
        return -1;
    high = hex_value(url[*at + 1]);
    low = hex_value(url[*at + 2]);
    byte = high * 16 + low;
    *at += 3;
    return high < 0 || low < 0 || byte == '\0' || byte == '/' ? -1 : byte;
}

/* `part` follows a slash and ends with the next, or the end. */
static int check_part(const char *part, size_t length)
{
    if (length == 2 && part[0] == '.' && part[1] == '.')
        return -EINVAL;
    return length > 0 && part[0] == '.' ? -ENOENT : 0;
}

int tree_path(const char *url, size_t length, char *path_out, size_t room)
{
    size_t written = 0, part = 0;
    int rc = 0;

    if (length == 0 || url[0] != '/')
        return -EINVAL;
    for (size_t at = 1; rc == 0 && at < length;) {
        const bool separates = url[at] == '/';
        const int byte = decode_one(url, length, &at);

        if (byte < 0)
            return -EINVAL;
        if (written + 2 >= room)
            return -ENAMETOOLONG;
        path_out[written++] = (char)byte;
        if (!separates)
            continue;
        rc = check_part(path_out + part, written - 1 - part);
        part = written;
        if (written == 1 || path_out[written - 2] == '/') /* "//" means "/" */
            part = --written;
    }
    if (rc == 0)
        rc = check_part(path_out + part, written - part);
    if (rc == 0 && written == 0)
        path_out[written++] = '.';
    path_out[written] = '\0';
    return rc != 0 ? rc : (int)written;
}

/* -- Opening -------------------------------------------------------------------- */

/* Part by part, and no part may be a link. */
static int open_by_parts(int tree_fd, const char *path)
{
    char part[NAME_MAX + 1];
    int fd = openat(tree_fd, ".", PART_FLAGS);

    while (fd >= 0 && *path != '\0') {
        const size_t length = strcspn(path, "/");
        const int flags = path[length] == '\0'       ? OPEN_FLAGS
                          : path[length + 1] == '\0' ? OPEN_FLAGS | O_DIRECTORY
                                                     : PART_FLAGS;
        int next;

        if (length > NAME_MAX) {
            (void)close(fd);
            return -ENAMETOOLONG;
        }
        memcpy(part, path, length);
        part[length] = '\0';
        next = strcmp(part, "..") == 0 ? -EXDEV : openat(fd, part, O_NOFOLLOW | flags);
        if (next == -1)
            next = -errno;
        (void)close(fd);
        fd = next;
        path += length + (path[length] == '/');
    }
    return fd;
}

int tree_open(int tree_fd, const char *path)
{
    const struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    const long fd = syscall(SYS_openat2, tree_fd, path, &how, sizeof(how));

    if (fd >= 0)
        return (int)fd;
    /* An old kernel has no such call, and some sandboxes forbid it. */
    return errno == ENOSYS || errno == EPERM ? open_by_parts(tree_fd, path) : -errno;
}
