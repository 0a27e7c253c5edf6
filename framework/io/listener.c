/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens, names and closes listening sockets. Accepting is acceptor.c's. */
#include "io/listener.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "io/address.h"

struct pfk_listener {
    int fd;
    struct pfk_address address;
    char text[PFK_ADDRESS_TEXT_BYTES]; /* the address as it is bound */
    pid_t creator_pid;
    /* Of a Unix socket: which file is ours. */
    dev_t path_device;
    ino_t path_inode;
};

static int listener_fail(const char *call, const char *address, int code)
{
    char reason[128];

    if (strerror_r(code, reason, sizeof(reason)) != 0)
        reason[0] = '\0';
    return pfk_error(code, "%s %.120s: %s%s", call, address, reason,
                     code == EADDRINUSE ? "; another process listens there"
                     : code == EACCES   ? "; a port below 1024, or a directory, needs a right that this process lacks"
                     : code == EADDRNOTAVAIL ? "; no interface of this host has the address"
                                             : "");
}

static int listener_set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

/* -- Unix paths ------------------------------------------------------------- */

static bool listener_path_is(const char *path, dev_t device, ino_t inode)
{
    struct stat found;

    return lstat(path, &found) == 0 && S_ISSOCK(found.st_mode) && found.st_dev == device && found.st_ino == inode;
}

/* Whether nobody listens at the socket: only a refused connect proves it. */
static bool listener_path_is_stale(const struct pfk_address *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused;

    if (fd < 0)
        return false;
    refused = connect(fd, &address->socket.any, address->length) != 0 && errno == ECONNREFUSED;
    pfk_fd_close(&fd);
    return refused;
}

/* Removes a socket that a dead server left. Another one that starts at this
 * moment may do the same; then one of them fails in bind, and says so. */
static int listener_replace_path(const struct pfk_address *address, const char *text)
{
    const char *path = address->socket.local.sun_path;
    struct stat found;

    if (lstat(path, &found) != 0)
        return errno == ENOENT ? 0 : listener_fail("stat", text, errno);
    if (!S_ISSOCK(found.st_mode))
        return pfk_error(EADDRINUSE, "%.120s: the path exists and is no socket; remove it or choose another", text);
    if (!listener_path_is_stale(address))
        return pfk_error(EADDRINUSE, "%.120s: another process listens there; stop it or choose another path", text);
    if (listener_path_is(path, found.st_dev, found.st_ino) && unlink(path) != 0 && errno != ENOENT)
        return listener_fail("unlink", text, errno);
    return 0;
}

static void listener_remember_path(struct pfk_listener *listener)
{
    struct stat made;

    if (lstat(listener->address.socket.local.sun_path, &made) == 0) {
        listener->path_device = made.st_dev;
        listener->path_inode = made.st_ino;
    }
}

static bool listener_owns_path(const struct pfk_listener *listener)
{
    return listener->creator_pid == getpid() &&
           listener_path_is(listener->address.socket.local.sun_path, listener->path_device, listener->path_inode);
}

/* -- Opening ---------------------------------------------------------------- */

static int listener_socket(struct pfk_address *address, int *fd_out)
{
    int family = address->socket.any.sa_family;

    *fd_out = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd_out < 0 && errno == EAFNOSUPPORT && address->every) {
        pfk_address_every_ipv4(address);
        *fd_out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    return *fd_out < 0 ? -errno : 0;
}

/* Accepted sockets inherit TCP_NODELAY: replies are gathered by the outbox,
 * and waiting for the peer's acknowledgement would only delay them. */
static int listener_prepare_tcp(const struct pfk_address *address, int fd)
{
    int rc = listener_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);

    if (rc == 0)
        rc = listener_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (rc == 0 && address->socket.any.sa_family == AF_INET6)
        rc = listener_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !address->every);
    return rc;
}

static int listener_bind(int fd, const struct pfk_address *address, const char *text)
{
    const bool local = address->socket.any.sa_family == AF_UNIX;
    int rc = local ? listener_replace_path(address, text) : listener_prepare_tcp(address, fd);

    if (rc != 0)
        return local ? rc : listener_fail("setsockopt", text, -rc);
    if (bind(fd, &address->socket.any, address->length) != 0)
        return listener_fail("bind", text, errno);
    return 0;
}

/* An every-address without IPv6 on any interface: IPv4 alone will do. */
static int listener_open_socket(struct pfk_listener *listener, const char *text)
{
    int rc = listener_socket(&listener->address, &listener->fd);

    if (rc != 0)
        return listener_fail("socket", text, -rc);
    rc = listener_bind(listener->fd, &listener->address, text);
    if (rc == -EADDRNOTAVAIL && listener->address.every && listener->address.socket.any.sa_family == AF_INET6) {
        pfk_fd_close(&listener->fd);
        pfk_address_every_ipv4(&listener->address);
        return listener_open_socket(listener, text);
    }
    return rc;
}

static int listener_start(struct pfk_listener *listener, const char *text, int backlog)
{
    struct pfk_address *address = &listener->address;

    listener->creator_pid = getpid();
    if (address->socket.any.sa_family == AF_UNIX) {
        listener_remember_path(listener);
    } else {
        socklen_t length = sizeof(address->socket);

        if (getsockname(listener->fd, &address->socket.any, &length) != 0)
            return listener_fail("getsockname", text, errno);
    }
    if (listen(listener->fd, backlog) != 0)
        return listener_fail("listen", text, errno);
    pfk_address_format(address, listener->text);
    return 0;
}

int pfk_listener_open(const char *address, int backlog, struct pfk_listener **listener_out)
{
    struct pfk_listener *listener = calloc(1, sizeof(*listener));
    int rc;

    *listener_out = NULL;
    if (listener == NULL)
        return pfk_error(ENOMEM, "listen: no memory");
    listener->fd = -1;
    rc = pfk_address_parse(address, &listener->address);
    if (rc == 0)
        rc = listener_open_socket(listener, address);
    if (rc == 0)
        rc = listener_start(listener, address, backlog);
    if (rc != 0) {
        pfk_listener_close(&listener);
        return rc;
    }
    *listener_out = listener;
    return 0;
}

void pfk_listener_close(struct pfk_listener **listener)
{
    struct pfk_listener *closing = *listener;

    if (closing == NULL)
        return;
    /* The path first: while the socket is open its inode can't be reused. */
    if (closing->address.socket.any.sa_family == AF_UNIX && closing->path_inode != 0 && listener_owns_path(closing))
        (void)unlink(closing->address.socket.local.sun_path);
    /* A process that a handler forked may hold a copy and never accept. */
    if (closing->creator_pid == getpid())
        (void)shutdown(closing->fd, SHUT_RDWR);
    pfk_fd_close(&closing->fd);
    free(closing);
    *listener = NULL;
}

int pfk_listener_set_backlog(const struct pfk_listener *listener, int backlog)
{
    return listen(listener->fd, backlog) == 0 ? 0 : listener_fail("listen", listener->text, errno);
}

int pfk_listener_fd(const struct pfk_listener *listener, uint32_t number)
{
    (void)number;
    return listener->fd;
}

const char *pfk_listener_address(const struct pfk_listener *listener)
{
    return listener->text;
}
