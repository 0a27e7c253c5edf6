/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/error.h"

void pfk_fd_close(int *fd)
{
    const int saved_errno = errno;

    if (*fd >= 0)
        (void)close(*fd); /* Linux frees the number whatever close returns; close(2) */
    *fd = -1;
    errno = saved_errno;
}

int pfk_fd_pipe(int *read_end_out, int *write_end_out)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return pfk_error_call(errno, "pipe2");
    *read_end_out = ends[0];
    *write_end_out = ends[1];
    return 0;
}

int pfk_fd_event(int *fd_out)
{
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return pfk_error_call(errno, "eventfd");
    *fd_out = fd;
    return 0;
}

int pfk_fd_event_signal(int fd)
{
    const uint64_t one = 1;
    ssize_t written;

    do {
        written = write(fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    return written == (ssize_t)sizeof(one) || errno == EAGAIN ? 0 : -errno;
}

void pfk_fd_event_clear(int fd)
{
    uint64_t value;
    ssize_t got;

    do {
        got = read(fd, &value, sizeof(value));
    } while (got < 0 && errno == EINTR);
}

void pfk_fd_event_reset(int fd)
{
    uint64_t value;
    const struct iovec to = {&value, sizeof(value)};
    ssize_t got;

    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    do {
        got = preadv2(fd, &to, 1, -1, RWF_NOWAIT);
    } while (got < 0 && errno == EINTR);
}

int pfk_fd_open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* open gives the lowest free number; all below fd are open already */
        if (open("/dev/null", O_RDWR) != fd)
            return pfk_error(errno != 0 ? errno : EBADF,
                             "open /dev/null: descriptor %d is closed and could not be filled", fd);
    }
    return 0;
}

uint64_t pfk_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit.rlim_cur;
}
