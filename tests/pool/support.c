/* SPDX-License-Identifier: BSD-2-Clause */
#include "support.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "master/pidfd.h"

static int support_connect_to(int family, const struct sockaddr *address, socklen_t length)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, address, length) == 0)
        return fd;
    pfk_fd_close(&fd);
    return -errno;
}

static int support_connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return support_connect_to(AF_UNIX, (const struct sockaddr *)&address, sizeof(address));
}

/* host:port or [host]:port, numbers only. */
static int support_connect_tcp(const char *text)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    char host[64];
    char *port;
    int fd;

    (void)snprintf(host, sizeof(host), "%s", text + (text[0] == '['));
    port = strrchr(host, ':');
    if (port == NULL)
        return -EINVAL;
    *port++ = '\0';
    if (text[0] == '[')
        host[strlen(host) - 1] = '\0';
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return -EINVAL;
    fd = support_connect_to(found->ai_family, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return fd;
}

int support_connect(const char *address)
{
    if (strncmp(address, "unix:", 5) == 0)
        return support_connect_unix(address + 5);
    return support_connect_tcp(address + 4);
}

bool support_echo(int fd, const void *data, size_t length)
{
    char back[4096];
    size_t got = 0;

    if (length > sizeof(back) || send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        return false;
    while (got < length) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        const ssize_t n =
            poll(&readable, 1, SUPPORT_LIMIT_MS) == 1 ? recv(fd, back + got, length - got, 0) : (ssize_t)-1;

        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return memcmp(back, data, length) == 0;
}

/* Our own child, or one that its parent has reaped. */
static bool support_is_gone(void *context)
{
    const pid_t pid = *(const pid_t *)context;
    siginfo_t end = {.si_pid = 0};

    if (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0)
        return end.si_pid == pid;
    return kill(pid, 0) != 0 && errno == ESRCH;
}

bool support_wait_gone(pid_t pid, uint64_t deadline_ns)
{
    int pidfd = pfk_pidfd_open(pid);
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    bool gone;

    if (pidfd == -ENOSYS) /* valgrind 3.19; when the parent reaps it is not for us to say */
        return support_wait_until(support_is_gone, &pid, prefork_deadline_after_ms(SUPPORT_LIMIT_MS));
    if (pidfd < 0)
        return true;
    gone = poll(&ended, 1, pfk_clock_poll_ms(deadline_ns)) == 1;
    pfk_fd_close(&pidfd);
    return gone;
}

bool support_wait_until(support_condition_fn *condition, void *context, uint64_t deadline_ns)
{
    while (!condition(context)) {
        if (prefork_clock_now_ns() >= deadline_ns)
            return false;
        (void)poll(NULL, 0, 1);
    }
    return true;
}

static struct prefork_worker_status support_worker(const struct prefork_pool *pool, uint32_t seat)
{
    struct prefork_worker_status worker = {.size = sizeof(worker)};

    (void)prefork_pool_worker(pool, seat, &worker);
    return worker;
}

pid_t support_worker_pid(const struct prefork_pool *pool, uint32_t seat)
{
    return support_worker(pool, seat).pid;
}

struct awaited {
    const struct prefork_pool *pool;
    uint32_t number;
    pid_t before;
};

static bool support_ready(void *context)
{
    const struct awaited *const awaited = context;
    struct prefork_pool_statistics statistics = {.size = sizeof(statistics)};

    return prefork_pool_statistics(awaited->pool, &statistics) == 0 && statistics.workers_ready >= awaited->number;
}

bool support_wait_ready(const struct prefork_pool *pool, uint32_t n)
{
    struct awaited awaited = {.pool = pool, .number = n};

    return support_wait_until(support_ready, &awaited, prefork_deadline_after_ms(SUPPORT_LIMIT_MS));
}

static bool support_replaced(void *context)
{
    const struct awaited *const awaited = context;
    const struct prefork_worker_status worker = support_worker(awaited->pool, awaited->number);

    return worker.pid != 0 && worker.pid != awaited->before && worker.ready != 0;
}

pid_t support_wait_replaced(const struct prefork_pool *pool, uint32_t seat, pid_t before)
{
    struct awaited awaited = {.pool = pool, .number = seat, .before = before};

    if (!support_wait_until(support_replaced, &awaited, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)))
        return 0;
    return support_worker_pid(pool, seat);
}
