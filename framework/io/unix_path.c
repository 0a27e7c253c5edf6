/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/unix_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "io/owner.h"
#include "prefork/clock.h"
#include "prefork/sync.h"

/* Whoever opens the same path meanwhile has done so within microseconds. */
#define UNIX_PATH_LOCK_MS    1000
#define UNIX_PATH_LOCK_TRIES 100
#define UNIX_PATH_LOCK_MODE  0600

static int unix_path_fail(const char *call, const char *text, int code, const char *remedy)
{
    return pfk_error(code, "%s %.120s: %s%s", call, text, strerror(code), remedy);
}

/* -- The file ----------------------------------------------------------------- */

static bool unix_path_is(const char *path, dev_t device, ino_t inode)
{
    struct stat found;

    return lstat(path, &found) == 0 && S_ISSOCK(found.st_mode) && found.st_dev == device && found.st_ino == inode;
}

/* Whether nobody listens at the socket: only a refused connect proves it. */
static bool unix_path_is_stale(const struct pfk_address *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused;

    if (fd < 0)
        return false;
    refused = connect(fd, &address->socket.any, address->length) != 0 && errno == ECONNREFUSED;
    pfk_fd_close(&fd);
    return refused;
}

/* Removes a socket that a dead server left. */
static int unix_path_clear(const struct pfk_address *address, const char *text)
{
    const char *const path = address->socket.local.sun_path;
    struct stat found;

    if (lstat(path, &found) != 0)
        return errno == ENOENT ? 0 : unix_path_fail("stat", text, errno, "");
    if (!S_ISSOCK(found.st_mode))
        return pfk_error(EADDRINUSE, "%.120s: the path exists and is no socket; remove it or choose another", text);
    if (!unix_path_is_stale(address))
        return pfk_error(EADDRINUSE, "%.120s: another process listens there; stop it or choose another path", text);
    if (unix_path_is(path, found.st_dev, found.st_ino) && unlink(path) != 0 && errno != ENOENT)
        return unix_path_fail("unlink", text, errno, "");
    return 0;
}

static void unix_path_remember(const char *path, struct pfk_unix_path *path_out)
{
    struct stat made;

    if (lstat(path, &made) == 0)
        *path_out = (struct pfk_unix_path){made.st_dev, made.st_ino, getpid()};
}

/* Nobody can connect before listen(2), so there is no moment with other rights. */
static int unix_path_set_rights(const char *path, const char *text, const struct pfk_unix_rights *rights)
{
    uid_t uid;
    gid_t gid;
    int rc = 0;

    if (rights->owner != NULL) {
        rc = pfk_owner_find(rights->owner, text, &uid, &gid);
        if (rc == 0 && lchown(path, uid, gid) != 0)
            rc = unix_path_fail("chown", text, errno, "; only root gives files to others, or to groups it is not in");
    }
    if (rc == 0 && rights->mode != 0 && chmod(path, (mode_t)rights->mode) != 0)
        rc = unix_path_fail("chmod", text, errno, "");
    return rc;
}

/* -- The lock ----------------------------------------------------------------- */

static int unix_path_lock_once(const char *lock_path, uint64_t deadline_ns, struct prefork_file_lock **lock_out)
{
    int rc = prefork_file_lock_open(lock_path, UNIX_PATH_LOCK_MODE, lock_out);

    if (rc != 0)
        return rc;
    rc = prefork_file_lock_lock(*lock_out, PREFORK_FILE_LOCK_EXCLUSIVE, deadline_ns);
    if (rc != 0)
        prefork_file_lock_close(lock_out);
    return rc;
}

/* Its holder removes the file: whoever opened it before has to open anew. */
static int unix_path_lock(const char *lock_path, const char *text, struct prefork_file_lock **lock_out)
{
    const uint64_t deadline_ns = prefork_deadline_after_ms(UNIX_PATH_LOCK_MS);
    int rc = -ESTALE;

    for (int i = 0; i < UNIX_PATH_LOCK_TRIES && (rc == -ESTALE || rc == -EINTR); i++)
        rc = unix_path_lock_once(lock_path, deadline_ns, lock_out);
    if (rc == -ETIMEDOUT || rc == -ESTALE || rc == -EINTR)
        return pfk_error(EADDRINUSE, "%.120s: another process is just opening it (it holds %.120s)", text, lock_path);
    return rc == 0 ? 0 : unix_path_fail("open of the lock file of", text, -rc, "; is its directory there and ours?");
}

static void unix_path_unlock(const char *lock_path, struct prefork_file_lock **lock)
{
    (void)unlink(lock_path);
    prefork_file_lock_close(lock);
}

/* -- All of it ---------------------------------------------------------------- */

static int unix_path_listen_locked(int fd, const struct pfk_address *address, const char *text,
                                   const struct pfk_unix_rights *rights, int backlog, struct pfk_unix_path *path_out)
{
    const char *const path = address->socket.local.sun_path;
    int rc = unix_path_clear(address, text);

    if (rc != 0)
        return rc;
    if (bind(fd, &address->socket.any, address->length) != 0)
        return unix_path_fail("bind", text, errno, "");
    unix_path_remember(path, path_out);
    rc = unix_path_set_rights(path, text, rights);
    if (rc == 0 && listen(fd, backlog) != 0)
        rc = unix_path_fail("listen", text, errno, "");
    if (rc != 0)
        pfk_unix_path_remove(path_out, address);
    return rc;
}

int pfk_unix_path_listen(int fd, const struct pfk_address *address, const char *text,
                         const struct pfk_unix_rights *rights, int backlog, struct pfk_unix_path *path_out)
{
    char lock_path[sizeof(address->socket.local.sun_path) + sizeof(".lock")];
    struct prefork_file_lock *lock;
    int rc;

    (void)snprintf(lock_path, sizeof(lock_path), "%s.lock", address->socket.local.sun_path);
    rc = unix_path_lock(lock_path, text, &lock);
    if (rc != 0)
        return rc;
    rc = unix_path_listen_locked(fd, address, text, rights, backlog, path_out);
    unix_path_unlock(lock_path, &lock);
    return rc;
}

void pfk_unix_path_remove(const struct pfk_unix_path *path, const struct pfk_address *address)
{
    const char *const name = address->socket.local.sun_path;

    if (path->inode != 0 && path->creator_pid == getpid() && unix_path_is(name, path->device, path->inode))
        (void)unlink(name);
}
