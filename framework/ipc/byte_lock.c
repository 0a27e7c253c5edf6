/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/byte_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

#define BYTE_LOCK_WORDS (PFK_BYTE_LOCK_BYTES / 64)
/* Of one call, while others take the byte and drop it again. */
#define BYTE_LOCK_TRIES 1000
/* Two that wait for the kernel's same lock by turns keep step with each other: after so many tries who
 * asks falls out of it. */
#define BYTE_LOCK_TRIES_IN_STEP 16

struct pfk_byte_lock {
    int fd;
    dev_t device;
    ino_t inode;
    struct pfk_byte_lock *next; /* of the files that this process has open */
    pid_t holder_pid;           /* whose `held` is; a forked child holds nothing of its parent's */
    uint64_t held[BYTE_LOCK_WORDS];
};

/* Guards the list and every `held`. Only what is short is done under it. */
static pthread_mutex_t byte_lock_guard = PTHREAD_MUTEX_INITIALIZER;
static struct pfk_byte_lock *byte_lock_files;

/* -- fork --------------------------------------------------------------------- */

/* A child must not inherit the guard locked by a thread that it doesn't have. */
static void byte_lock_before_fork(void)
{
    (void)pthread_mutex_lock(&byte_lock_guard);
}

static void byte_lock_after_fork(void)
{
    (void)pthread_mutex_unlock(&byte_lock_guard);
}

static void byte_lock_watch_forks(void)
{
    (void)pthread_atfork(byte_lock_before_fork, byte_lock_after_fork, byte_lock_after_fork);
}

/* -- the file ------------------------------------------------------------------- */

static bool byte_lock_is_open(const struct stat *file)
{
    const struct pfk_byte_lock *lock = byte_lock_files;

    while (lock != NULL && (lock->device != file->st_dev || lock->inode != file->st_ino))
        lock = lock->next;
    return lock != NULL;
}

static int byte_lock_refuse_second(const char *path)
{
    return pfk_error(EALREADY,
                     "%s: this process has the lock file open already; a second descriptor would drop its locks when "
                     "it is closed: use the table that is open, or destroy it first",
                     path);
}

/* Permission bits beyond the umask are given only to a file that this call made. */
static int byte_lock_open_file(const struct pfk_byte_lock_options *options)
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = options->create ? open(options->path, flags | O_CREAT | O_EXCL, (mode_t)options->mode) : -1;

    if (fd >= 0) {
        (void)fchmod(fd, (mode_t)options->mode); /* without it the umask decides: stricter, never laxer */
        return fd;
    }
    fd = open(options->path, flags);
    return fd >= 0 ? fd : -errno;
}

static int byte_lock_check_file(const struct pfk_byte_lock_options *options, const struct stat *file)
{
    const unsigned mode = (unsigned)file->st_mode & 0777u;

    if (!S_ISREG(file->st_mode))
        return pfk_error(EINVAL, "%s is not a regular file; choose another name for the lock file", options->path);
    if (file->st_uid != options->owner_uid && file->st_uid != 0)
        return pfk_error(EACCES, "lock file %s belongs to uid %u, which is not trusted here; choose another name",
                         options->path, (unsigned)file->st_uid);
    if ((mode & ~options->mode) != 0)
        return pfk_error(EACCES, "lock file %s has mode 0%03o, which grants more than 0%03o: chmod %03o %s",
                         options->path, mode, options->mode, options->mode, options->path);
    return 0;
}

static int byte_lock_adopt_file(const struct pfk_byte_lock_options *options, struct pfk_byte_lock *lock)
{
    struct stat file;
    int rc;

    if (fstat(lock->fd, &file) != 0)
        return pfk_error_call(errno, "fstat of a lock file");
    if (byte_lock_is_open(&file)) {
        lock->fd = -1; /* renamed into place since it was looked at: left open, for closing it would drop the locks */
        return byte_lock_refuse_second(options->path);
    }
    rc = byte_lock_check_file(options, &file);
    if (rc != 0)
        return rc;
    lock->device = file.st_dev;
    lock->inode = file.st_ino;
    lock->holder_pid = getpid();
    lock->next = byte_lock_files;
    byte_lock_files = lock;
    return 0;
}

/* Under the guard: looks before it opens, since an opened file must be closed again. */
static int byte_lock_open_guarded(const struct pfk_byte_lock_options *options, struct pfk_byte_lock *lock)
{
    struct stat file;
    int rc;

    if (stat(options->path, &file) == 0 && byte_lock_is_open(&file))
        return byte_lock_refuse_second(options->path);
    lock->fd = byte_lock_open_file(options);
    if (lock->fd < 0)
        return pfk_error(-lock->fd, "open %s: %s; a lock file must be readable and writable", options->path,
                         strerror(-lock->fd));
    rc = byte_lock_adopt_file(options, lock);
    if (rc != 0)
        pfk_fd_close(&lock->fd);
    return rc;
}

int pfk_byte_lock_open(const struct pfk_byte_lock_options *options, struct pfk_byte_lock **lock_out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct pfk_byte_lock *lock = calloc(1, sizeof(*lock));
    int rc;

    if (lock == NULL)
        return pfk_error(ENOMEM, "lock file %s: no memory", options->path);
    (void)pthread_once(&once, byte_lock_watch_forks);
    (void)pthread_mutex_lock(&byte_lock_guard);
    rc = byte_lock_open_guarded(options, lock);
    (void)pthread_mutex_unlock(&byte_lock_guard);
    if (rc != 0)
        free(lock);
    else
        *lock_out = lock;
    return rc;
}

void pfk_byte_lock_close(struct pfk_byte_lock **lock)
{
    struct pfk_byte_lock *const gone = *lock;
    struct pfk_byte_lock **link = &byte_lock_files;

    *lock = NULL;
    if (gone == NULL)
        return;
    (void)pthread_mutex_lock(&byte_lock_guard);
    while (*link != gone)
        link = &(*link)->next;
    *link = gone->next;
    pfk_fd_close(&gone->fd); /* drops what this process holds */
    (void)pthread_mutex_unlock(&byte_lock_guard);
    free(gone);
}

int pfk_byte_lock_check_name(const struct pfk_byte_lock *lock, const char *path)
{
    struct stat file;

    if (stat(path, &file) == 0 && file.st_dev == lock->device && file.st_ino == lock->inode)
        return 0;
    return pfk_error(ESTALE,
                     "lock file %s was removed or replaced while it was locked; never remove a lock file: try "
                     "again when all who used it have ended",
                     path);
}

/* -- the bytes -------------------------------------------------------------------- */

static int byte_lock_call(const struct pfk_byte_lock *lock, uint32_t byte, short type)
{
    struct flock one = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};

    return fcntl(lock->fd, F_SETLK, &one) == 0 ? 0 : -errno;
}

/* Under the guard. */
static uint64_t *byte_lock_held(struct pfk_byte_lock *lock, uint32_t byte)
{
    if (lock->holder_pid != getpid()) {
        memset(lock->held, 0, sizeof(lock->held));
        lock->holder_pid = getpid();
    }
    return &lock->held[byte / 64];
}

static int byte_lock_take_guarded(struct pfk_byte_lock *lock, uint32_t byte, short type)
{
    uint64_t *const held = byte_lock_held(lock, byte);
    const uint64_t bit = UINT64_C(1) << (byte % 64);
    int rc;

    if ((*held & bit) != 0)
        return -EALREADY;
    rc = byte_lock_call(lock, byte, type);
    if (rc == 0)
        *held |= bit;
    return rc;
}

static int byte_lock_try(struct pfk_byte_lock *lock, uint32_t byte, short type)
{
    int rc;

    (void)pthread_mutex_lock(&byte_lock_guard);
    rc = byte_lock_take_guarded(lock, byte, type);
    (void)pthread_mutex_unlock(&byte_lock_guard);
    return rc;
}

static void byte_lock_fall_out_of_step(void)
{
    const struct timespec least = {.tv_sec = 0, .tv_nsec = 1};

    (void)nanosleep(&least, NULL);
}

int pfk_byte_lock_take(struct pfk_byte_lock *lock, uint32_t byte, enum pfk_byte_lock_kind kind, pid_t *holder_out)
{
    const short type = kind == PFK_BYTE_LOCK_SHARED ? F_RDLCK : F_WRLCK;
    pid_t holder = -ESRCH;

    /* Who held it may let go before it is asked who that was: then the byte is to be had. */
    for (int i = 0; i < BYTE_LOCK_TRIES && holder == -ESRCH; i++) {
        const int rc = byte_lock_try(lock, byte, type);

        if (rc == 0 || rc == -EALREADY)
            return rc;
        if (rc != -EAGAIN && rc != -EACCES)
            return pfk_error_call(-rc, "fcntl F_SETLK");
        holder = pfk_byte_lock_holder(lock, byte, 1);
        if (holder == -ESRCH && i % BYTE_LOCK_TRIES_IN_STEP == BYTE_LOCK_TRIES_IN_STEP - 1)
            byte_lock_fall_out_of_step();
    }
    *holder_out = holder > 0 ? holder : 0;
    return -EBUSY;
}

void pfk_byte_lock_drop(struct pfk_byte_lock *lock, uint32_t byte)
{
    const uint64_t bit = UINT64_C(1) << (byte % 64);
    uint64_t *held;

    (void)pthread_mutex_lock(&byte_lock_guard);
    held = byte_lock_held(lock, byte);
    if ((*held & bit) != 0)
        (void)byte_lock_call(lock, byte, F_UNLCK);
    *held &= ~bit;
    (void)pthread_mutex_unlock(&byte_lock_guard);
}

bool pfk_byte_lock_has(struct pfk_byte_lock *lock, uint32_t byte)
{
    bool has;

    (void)pthread_mutex_lock(&byte_lock_guard);
    has = (*byte_lock_held(lock, byte) >> (byte % 64) & 1) != 0;
    (void)pthread_mutex_unlock(&byte_lock_guard);
    return has;
}

pid_t pfk_byte_lock_holder(const struct pfk_byte_lock *lock, uint32_t byte, uint32_t count)
{
    struct flock some = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = (off_t)count};

    if (fcntl(lock->fd, F_GETLK, &some) != 0)
        return -errno;
    if (some.l_type == F_UNLCK)
        return -ESRCH;
    return some.l_pid > 0 ? some.l_pid : 0;
}
