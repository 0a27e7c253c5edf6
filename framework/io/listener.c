/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens, names and closes sockets. Accepting is acceptor.c's, receiving
 * receiver.c's. */
#include "io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "io/activation.h"
#include "io/address.h"

struct pfk_listener {
    int *fds; /* one, or the shards */
    uint32_t n_fds;
    bool sharded;
    bool handed_over; /* by socket activation: somebody else's, too */
    struct pfk_address address;
    char text[PFK_ADDRESS_TEXT_BYTES]; /* the address as it is bound */
    pid_t creator_pid;
    struct pfk_unix_path path; /* of a Unix socket that has one */
};

static int listener_fail(const char *call, const char *address, int code)
{
    return pfk_error(code, "%s %.120s: %s%s", call, address, strerror(code),
                     code == EADDRINUSE      ? "; another process listens there"
                     : code == EACCES        ? "; a port below 1024 needs a right that this process lacks"
                     : code == EADDRNOTAVAIL ? "; no interface of this host has the address"
                                             : "");
}

static int listener_set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

/* -- One socket ---------------------------------------------------------------- */

static int listener_socket(struct pfk_address *address, int *fd_out)
{
    const int type = address->type | SOCK_CLOEXEC | SOCK_NONBLOCK;

    *fd_out = socket(address->socket.any.sa_family, type, 0);
    if (*fd_out < 0 && errno == EAFNOSUPPORT && address->every) {
        pfk_address_every_ipv4(address);
        *fd_out = socket(AF_INET, type, 0);
    }
    return *fd_out < 0 ? -errno : 0;
}

/* Accepted sockets inherit TCP_NODELAY: replies are gathered by the outbox,
 * and waiting for the peer's acknowledgement would only delay them. */
static int listener_set_tcp(int fd)
{
    return listener_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/* A datagram to an every-address is answered from the address that it was sent
 * to, which the kernel therefore has to tell. */
static int listener_set_udp(int fd, int family)
{
    const int rc = family == AF_INET6 ? listener_set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) : 0;

    return rc == 0 && family == AF_INET ? listener_set(fd, IPPROTO_IP, IP_PKTINFO, 1) : rc;
}

static int listener_set_inet(const struct pfk_address *address, int fd)
{
    const int family = address->socket.any.sa_family;
    int rc = family == AF_INET6 ? listener_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !address->every) : 0;

    if (rc == 0 && address->type == SOCK_DGRAM)
        return listener_set_udp(fd, family);
    if (rc == 0)
        rc = listener_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    return rc != 0 ? rc : listener_set_tcp(fd);
}

static int listener_bind(int fd, const struct pfk_address *address, const char *text)
{
    const int rc = address->socket.any.sa_family != AF_UNIX ? listener_set_inet(address, fd) : 0;

    if (rc != 0)
        return listener_fail("setsockopt", text, -rc);
    return bind(fd, &address->socket.any, address->length) == 0 ? 0 : listener_fail("bind", text, errno);
}

static int listener_listen(int fd, const struct pfk_address *address, const char *text, int backlog)
{
    if (address->type == SOCK_DGRAM || listen(fd, backlog) == 0)
        return 0;
    return listener_fail("listen", text, errno);
}

/* -- Shards -------------------------------------------------------------------- */

/* Whoever binds the address anew as we do joins in, which only processes of the
 * same user may. The first shard was bound without it, and so found out whether
 * the port was free. */
static int listener_open_shard(struct pfk_listener *listener, int backlog, int *fd_out)
{
    int rc = listener_socket(&listener->address, fd_out);

    if (rc == 0)
        rc = listener_set(*fd_out, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc != 0)
        rc = listener_fail("socket", listener->text, -rc);
    if (rc == 0)
        rc = listener_bind(*fd_out, &listener->address, listener->text);
    if (rc == 0)
        rc = listener_listen(*fd_out, &listener->address, listener->text, backlog);
    if (rc != 0)
        pfk_fd_close(fd_out);
    return rc;
}

static int listener_set_shards(struct pfk_listener *listener, int backlog, uint32_t n)
{
    int *fds;
    int rc = 0;

    while (listener->n_fds > n)
        pfk_fd_close(&listener->fds[--listener->n_fds]);
    fds = realloc(listener->fds, n * sizeof(*fds));
    if (fds == NULL)
        return pfk_error(ENOMEM, "listen %.120s: no memory for %u shards", listener->text, n);
    listener->fds = fds;
    while (rc == 0 && listener->n_fds < n) {
        rc = listener_open_shard(listener, backlog, &fds[listener->n_fds]);
        listener->n_fds += rc == 0;
    }
    return rc;
}

/* -- Opening ------------------------------------------------------------------- */

/* What an address can't have. */
static int listener_check(const struct pfk_address *address, const struct pfk_listener_options *options,
                          const char *text)
{
    if (options->sharded && address->socket.any.sa_family == AF_UNIX)
        return pfk_error(EINVAL, "listen %.120s: a Unix socket has no shards", text);
    if ((options->rights.mode != 0 || options->rights.owner != NULL) && !pfk_address_is_path(address))
        return pfk_error(EINVAL, "listen %.120s: mode and owner are for the path of a Unix socket", text);
    if (options->rights.mode > 0777)
        return pfk_error(EINVAL, "listen %.120s: mode is 0%o; use permission bits, up to 0777", text,
                         options->rights.mode);
    return 0;
}

static int listener_open_path(struct pfk_listener *listener, const struct pfk_listener_options *options,
                              const char *text)
{
    const int rc = listener_socket(&listener->address, &listener->fds[0]);

    if (rc != 0)
        return listener_fail("socket", text, -rc);
    return pfk_unix_path_listen(listener->fds[0], &listener->address, text, &options->rights, options->backlog,
                                &listener->path);
}

/* An every-address without IPv6 on any interface: IPv4 alone will do. */
static int listener_open_bound(struct pfk_listener *listener, const char *text)
{
    struct pfk_address *const address = &listener->address;
    int rc = listener_socket(address, &listener->fds[0]);

    if (rc != 0)
        return listener_fail("socket", text, -rc);
    rc = listener_bind(listener->fds[0], address, text);
    if (rc == -EADDRNOTAVAIL && address->every && address->socket.any.sa_family == AF_INET6) {
        pfk_fd_close(&listener->fds[0]);
        pfk_address_every_ipv4(address);
        return listener_open_bound(listener, text);
    }
    return rc;
}

static int listener_learn_address(struct pfk_listener *listener, const char *text)
{
    struct pfk_address *const address = &listener->address;
    socklen_t length = sizeof(address->socket);

    if (getsockname(listener->fds[0], &address->socket.any, &length) != 0)
        return listener_fail("getsockname", text, errno);
    address->length = length;
    pfk_address_format(address, listener->text);
    return 0;
}

static int listener_open_unnamed(struct pfk_listener *listener, const struct pfk_listener_options *options,
                                 const char *text)
{
    int rc = listener_open_bound(listener, text);

    if (rc == 0 && options->sharded) {
        rc = listener_set(listener->fds[0], SOL_SOCKET, SO_REUSEPORT, 1);
        if (rc != 0)
            rc = listener_fail("setsockopt", text, -rc);
    }
    if (rc == 0)
        rc = listener_listen(listener->fds[0], &listener->address, text, options->backlog);
    return rc == 0 ? listener_learn_address(listener, text) : rc;
}

static int listener_open_address(struct pfk_listener *listener, const struct pfk_listener_options *options,
                                 const char *text)
{
    int rc = pfk_address_parse(text, &listener->address);

    if (rc == 0)
        rc = listener_check(&listener->address, options, text);
    if (rc != 0)
        return rc;
    listener->sharded = options->sharded;
    if (!pfk_address_is_path(&listener->address))
        return listener_open_unnamed(listener, options, text);
    pfk_address_format(&listener->address, listener->text);
    return listener_open_path(listener, options, text);
}

/* -- Sockets that were handed over ---------------------------------------------- */

static int listener_asked(int fd, int level, int option)
{
    int value = -1;
    socklen_t length = sizeof(value);

    return getsockopt(fd, level, option, &value, &length) == 0 ? value : -1;
}

/* Whether the socket is of a kind that we can serve. */
static int listener_check_handed(const struct pfk_address *address, int fd, const char *text)
{
    const int family = address->socket.any.sa_family;
    const bool inet = family == AF_INET || family == AF_INET6;

    if (address->type == SOCK_STREAM && (inet || family == AF_UNIX)) {
        if (listener_asked(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1)
            return 0;
        return pfk_error(EINVAL, "%.80s: the socket does not listen; is it a connection (Accept=yes)?", text);
    }
    if (address->type == SOCK_DGRAM && inet)
        return 0;
    return pfk_error(EINVAL, "%.80s: the socket is neither a listening stream nor UDP (type %d, family %d)", text,
                     address->type, family);
}

/* Whether it takes IPv4, too, at all addresses. */
static bool listener_is_every(const struct pfk_address *address, int fd)
{
    return address->socket.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->socket.ipv6.sin6_addr) &&
           listener_asked(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
}

static int listener_take_handed(struct pfk_listener *listener, const char *text)
{
    struct pfk_address *const address = &listener->address;
    const int fd = listener->fds[0];
    int rc;

    address->type = listener_asked(fd, SOL_SOCKET, SO_TYPE);
    if (address->type < 0)
        return pfk_error(ENOTSOCK, "%.80s: the descriptor %d is no socket", text, fd);
    rc = listener_learn_address(listener, text);
    if (rc == 0)
        rc = listener_check_handed(address, fd, text);
    if (rc != 0)
        return rc;
    address->every = listener_is_every(address, fd);
    pfk_address_format(address, listener->text);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        return listener_fail("fcntl", text, errno);
    if (address->socket.any.sa_family == AF_UNIX)
        return 0;
    rc = address->type == SOCK_STREAM ? listener_set_tcp(fd) : listener_set_udp(fd, address->socket.any.sa_family);
    return rc == 0 ? 0 : listener_fail("setsockopt", text, -rc);
}

static int listener_open_handed(struct pfk_listener *listener, const struct pfk_listener_options *options,
                                const char *text)
{
    int rc;

    if (options->sharded || options->rights.mode != 0 || options->rights.owner != NULL)
        return pfk_error(EINVAL, "%.80s: shards, mode and owner are the business of who handed the socket over", text);
    rc = pfk_activation_take(text + strlen("fd:"), &listener->fds[0]);
    listener->handed_over = true;
    return rc == 0 ? listener_take_handed(listener, text) : rc;
}

/* -- The face ------------------------------------------------------------------- */

static struct pfk_listener *listener_create(void)
{
    struct pfk_listener *listener = calloc(1, sizeof(*listener));

    if (listener == NULL)
        return NULL;
    listener->fds = malloc(sizeof(*listener->fds));
    if (listener->fds == NULL) {
        free(listener);
        return NULL;
    }
    listener->fds[0] = -1;
    listener->n_fds = 1;
    listener->creator_pid = getpid();
    return listener;
}

int pfk_listener_open(const char *address, const struct pfk_listener_options *options,
                      struct pfk_listener **listener_out)
{
    struct pfk_listener *listener = listener_create();
    int rc;

    *listener_out = NULL;
    if (listener == NULL)
        return pfk_error(ENOMEM, "listen: no memory");
    if (address != NULL && strncmp(address, "fd:", 3) == 0)
        rc = listener_open_handed(listener, options, address);
    else
        rc = listener_open_address(listener, options, address);
    if (rc == 0)
        *listener_out = listener;
    else
        pfk_listener_close(&listener);
    return rc;
}

int pfk_listener_prepare(struct pfk_listener *listener, int backlog, uint32_t n_threads)
{
    int rc = 0;

    if (!listener->handed_over)
        rc = listener_listen(listener->fds[0], &listener->address, listener->text, backlog);
    if (rc == 0 && listener->sharded)
        rc = listener_set_shards(listener, backlog, n_threads > 0 ? n_threads : 1);
    return rc;
}

void pfk_listener_close(struct pfk_listener **listener)
{
    struct pfk_listener *closing = *listener;

    if (closing == NULL)
        return;
    /* The path first: while the socket is open its inode can't be reused. */
    pfk_unix_path_remove(&closing->path, &closing->address);
    for (uint32_t i = 0; i < closing->n_fds; i++) {
        /* A process that a handler forked may hold a copy and never accept. */
        if (closing->creator_pid == getpid() && !closing->handed_over && closing->fds[i] >= 0)
            (void)shutdown(closing->fds[i], SHUT_RDWR);
        pfk_fd_close(&closing->fds[i]);
    }
    free(closing->fds);
    free(closing);
    *listener = NULL;
}

int pfk_listener_fd(const struct pfk_listener *listener, uint32_t number)
{
    return listener->fds[listener->sharded ? number % listener->n_fds : 0];
}

bool pfk_listener_is_sharded(const struct pfk_listener *listener)
{
    return listener->sharded;
}

bool pfk_listener_is_datagram(const struct pfk_listener *listener)
{
    return listener->address.type == SOCK_DGRAM;
}

const char *pfk_listener_address(const struct pfk_listener *listener)
{
    return listener->text;
}
