/* SPDX-License-Identifier: BSD-2-Clause */
/* Locks that belong to an open file description. The kernel has no deadline for them: F_OFD_SETLKW sleeps for ever or
 * until a signal, and a timer signal is not the library's to use. So a lock with a deadline is asked for again and
 * again, with pauses that start short (locks are mostly held shortly) and end at what a waiter hardly notices and a
 * processor neither. The pauses differ between waiters, lest they meet each time. */
#include "ipc/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/fd.h"

#define FILE_LOCK_PAUSE_MIN_NS (50 * PFK_NS_PER_US)
#define FILE_LOCK_PAUSE_MAX_NS (10 * PFK_NS_PER_MS)

struct prefork_file_lock {
    int fd;
    pid_t opener_pid; /* a forked child has its parent's here */
};

PFK_EXPORT int prefork_file_lock_open(const char *path, unsigned mode, struct prefork_file_lock **lock_out)
{
    struct prefork_file_lock *lock = malloc(sizeof(*lock));
    struct stat file;
    int rc;

    if (lock == NULL)
        return pfk_error(ENOMEM, "prefork_file_lock_open: no memory for a handle");
    lock->opener_pid = getpid();
    /* non-blocking: a FIFO of that name must not hang the caller; for regular files it means nothing */
    lock->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, (mode_t)mode);
    if (lock->fd < 0) {
        rc = pfk_error(errno, "open %s: %s; a lock file must be readable and writable", path, strerror(errno));
        goto fail_open;
    }
    if (fstat(lock->fd, &file) != 0 || !S_ISREG(file.st_mode)) {
        rc = pfk_error(EINVAL, "prefork_file_lock_open: %s is not a regular file; choose another name", path);
        goto fail_file;
    }
    *lock_out = lock;
    return 0;

fail_file:
    pfk_fd_close(&lock->fd);
fail_open:
    free(lock);
    return rc;
}

/* One call on the whole file: 0 or -errno. */
static int file_lock_call(int fd, int command, short type)
{
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};

    if (fcntl(fd, command, &whole) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno; /* POSIX lets a held lock be either */
}

static uint64_t file_lock_spread(uint64_t pause_ns, uint64_t now_ns)
{
    return pause_ns / 2 + (now_ns * UINT64_C(0x9e3779b97f4a7c15) >> 32) % (pause_ns / 2 + 1);
}

static int file_lock_poll(int fd, short type, uint64_t deadline_ns)
{
    uint64_t pause_ns = FILE_LOCK_PAUSE_MIN_NS;

    for (;;) {
        const int rc = file_lock_call(fd, F_OFD_SETLK, type);
        const uint64_t now_ns = prefork_clock_now_ns();
        struct timespec until;
        uint64_t wake_ns;

        if (rc != -EAGAIN)
            return rc;
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        wake_ns = now_ns + file_lock_spread(pause_ns, now_ns);
        until = pfk_clock_timespec(wake_ns < deadline_ns ? wake_ns : deadline_ns);
        if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
            return -EINTR;
        pause_ns = 2 * pause_ns < FILE_LOCK_PAUSE_MAX_NS ? 2 * pause_ns : FILE_LOCK_PAUSE_MAX_NS;
    }
}

static int file_lock_check_opener(const struct prefork_file_lock *lock, const char *call)
{
    if (lock->opener_pid == getpid())
        return 0;
    return pfk_error(ECHILD, "%s: the handle was inherited from process %ld and shares its lock; open one here", call,
                     (long)lock->opener_pid);
}

/* A lock on a file that has no name any more excludes nobody who comes later. */
static int file_lock_check_name(int fd)
{
    struct stat file;

    if (fstat(fd, &file) == 0 && file.st_nlink > 0)
        return 0;
    (void)file_lock_call(fd, F_OFD_SETLK, F_UNLCK);
    return pfk_error(ESTALE, "prefork_file_lock_lock: the file was removed; close and open again, and never remove "
                             "a lock file");
}

PFK_EXPORT int prefork_file_lock_lock(struct prefork_file_lock *lock, enum prefork_file_lock_kind kind,
                                      uint64_t deadline_ns)
{
    const short type = kind == PREFORK_FILE_LOCK_SHARED ? F_RDLCK : F_WRLCK;
    int rc = file_lock_check_opener(lock, "prefork_file_lock_lock");

    if (rc != 0)
        return rc;
    if (kind != PREFORK_FILE_LOCK_SHARED && kind != PREFORK_FILE_LOCK_EXCLUSIVE)
        return pfk_error(EINVAL, "prefork_file_lock_lock: kind is %d", (int)kind);
    if (deadline_ns == PREFORK_NO_WAIT)
        rc = file_lock_call(lock->fd, F_OFD_SETLK, type);
    else if (deadline_ns == PREFORK_NO_DEADLINE)
        rc = file_lock_call(lock->fd, F_OFD_SETLKW, type);
    else
        rc = file_lock_poll(lock->fd, type, deadline_ns);
    if (rc == 0)
        return file_lock_check_name(lock->fd);
    if (rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EINTR)
        return rc;
    return pfk_error_call(-rc, "fcntl F_OFD_SETLK");
}

PFK_EXPORT int prefork_file_lock_unlock(struct prefork_file_lock *lock)
{
    int rc = file_lock_check_opener(lock, "prefork_file_lock_unlock");

    if (rc != 0)
        return rc;
    rc = file_lock_call(lock->fd, F_OFD_SETLK, F_UNLCK);
    return rc == 0 ? 0 : pfk_error_call(-rc, "fcntl F_OFD_SETLK");
}

PFK_EXPORT void prefork_file_lock_close(struct prefork_file_lock **lock)
{
    if (*lock == NULL)
        return;
    /* a child that inherited the descriptor would keep the lock, so it is released, not merely closed */
    if ((*lock)->opener_pid == getpid())
        (void)file_lock_call((*lock)->fd, F_OFD_SETLK, F_UNLCK);
    pfk_fd_close(&(*lock)->fd);
    free(*lock);
    *lock = NULL;
}

int pfk_file_lock_is_held(const char *path)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    int rc;

    if (fd < 0)
        return errno == ENOENT ? 0 : pfk_error(errno, "open %s: %s", path, strerror(errno));
    rc = fcntl(fd, F_OFD_GETLK, &whole) == 0 ? whole.l_type != F_UNLCK : pfk_error_call(errno, "fcntl F_OFD_GETLK");
    pfk_fd_close(&fd);
    return rc;
}
