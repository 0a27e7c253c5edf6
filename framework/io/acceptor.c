/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "io/connection.h"

/* Connections accepted before others in the loop are served. */
#define ACCEPTOR_BATCH           16
#define ACCEPTOR_REST_S          0.010
#define ACCEPTOR_REST_MAX_S      0.080
#define ACCEPTOR_SHORTAGE_ENDS_S 1.0
/* How long idler threads are given to take a connection. */
#define ACCEPTOR_YIELD_S 0.001

struct pfk_acceptor_port {
    struct pfk_acceptor *acceptor;
    const struct pfk_listener *listener;
    const struct pfk_protocol *protocol;
    ev_io watcher;
    bool broken; /* its socket failed for good */
};

/* -- Shortage --------------------------------------------------------------- */

static void acceptor_watch(struct pfk_acceptor *acceptor, bool watch)
{
    for (size_t i = 0; i < acceptor->n_ports; i++) {
        struct pfk_acceptor_port *port = &acceptor->ports[i];

        if (watch && !port->broken)
            ev_io_start(acceptor->loop->ev, &port->watcher);
        else
            ev_io_stop(acceptor->loop->ev, &port->watcher);
    }
}

static void acceptor_open_reserve(struct pfk_acceptor *acceptor)
{
    if (acceptor->reserve_fd < 0)
        acceptor->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Accepts and closes: the client learns at once that it can't be served. */
static void acceptor_turn_away(struct pfk_acceptor *acceptor, const struct pfk_acceptor_port *port)
{
    for (int i = 0; i < ACCEPTOR_BATCH && acceptor->reserve_fd >= 0; i++) {
        int fd;

        pfk_fd_close(&acceptor->reserve_fd);
        fd = accept4(port->watcher.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            acceptor->turned_away++;
            pfk_loop_count(acceptor->loop, PFK_COUNT_CONNECTIONS_REFUSED, 1);
        } else
            i = ACCEPTOR_BATCH;
        pfk_fd_close(&fd);
        acceptor_open_reserve(acceptor);
    }
}

static void acceptor_begin_shortage(struct pfk_acceptor *acceptor, int code)
{
    acceptor->failed_at = ev_now(acceptor->loop->ev);
    if (acceptor->short_of_descriptors)
        return;
    acceptor->short_of_descriptors = true;
    acceptor->turned_away = 0;
    pfk_log(PREFORK_LOG_WARNING,
            "accept: %s (this process may have %" PRIu64 "); connections wait until some are closed; raise ulimit -n",
            code == EMFILE   ? "this process has no descriptors left"
            : code == ENFILE ? "the system has no descriptors left"
                             : "the kernel has no memory for sockets",
            pfk_fd_limit());
}

static void acceptor_end_shortage(struct pfk_acceptor *acceptor)
{
    if (ev_now(acceptor->loop->ev) < acceptor->failed_at + ACCEPTOR_SHORTAGE_ENDS_S)
        return;
    acceptor->short_of_descriptors = false;
    pfk_log(PREFORK_LOG_INFO, "accept: descriptors are back; %" PRIu64 " connections were turned away meanwhile",
            acceptor->turned_away);
}

static void acceptor_rest(struct pfk_acceptor *acceptor, const struct pfk_acceptor_port *port, int code)
{
    acceptor_begin_shortage(acceptor, code);
    if (acceptor->rest_s >= ACCEPTOR_REST_MAX_S && (code == EMFILE || code == ENFILE))
        acceptor_turn_away(acceptor, port);
    acceptor->rest_s = acceptor->rest_s * 2 < ACCEPTOR_REST_MAX_S ? acceptor->rest_s * 2 : ACCEPTOR_REST_MAX_S;
    if (acceptor->rest_s < ACCEPTOR_REST_S)
        acceptor->rest_s = ACCEPTOR_REST_S;
    acceptor_watch(acceptor, false);
    ev_timer_stop(acceptor->loop->ev, &acceptor->rest);
    ev_timer_set(&acceptor->rest, acceptor->rest_s, 0.);
    ev_timer_start(acceptor->loop->ev, &acceptor->rest);
}

static void acceptor_on_rested(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct pfk_acceptor *acceptor = watcher->data;

    (void)ev;
    (void)events;
    acceptor_open_reserve(acceptor);
    acceptor_watch(acceptor, true);
}

/* -- Letting others go first ------------------------------------------------ */

static void acceptor_on_yielded(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct pfk_acceptor *const acceptor = watcher->data;

    (void)ev;
    (void)events;
    acceptor->grants = 1u << acceptor->waits;
    if (acceptor->grants < ACCEPTOR_BATCH)
        acceptor->waits++;
    acceptor_watch(acceptor, true);
}

/* Whether a connection that may wait is better left to others. */
static bool acceptor_yields(struct pfk_acceptor *acceptor, const struct pfk_acceptor_port *port)
{
    if (pfk_listener_is_sharded(port->listener))
        return false;
    if (acceptor->grants > 0) {
        acceptor->grants--;
        return false;
    }
    return pfk_load_yields(&acceptor->load, acceptor->loop->n_connections);
}

static void acceptor_look_away(struct pfk_acceptor *acceptor)
{
    acceptor_watch(acceptor, false);
    ev_timer_set(&acceptor->yield, ACCEPTOR_YIELD_S, 0.);
    ev_timer_start(acceptor->loop->ev, &acceptor->yield);
}

/* Somebody else took what waited. */
static void acceptor_forget_waits(struct pfk_acceptor *acceptor)
{
    acceptor->waits = 0;
    acceptor->grants = 0;
}

/* -- Accepting -------------------------------------------------------------- */

static bool acceptor_is_full(const struct pfk_acceptor *acceptor)
{
    return acceptor->connections_max > 0 && pfk_load_connections(&acceptor->load) >= acceptor->connections_max;
}

/* Closes what was just accepted. A crowd that is refused makes as many lines in
 * the log as there are threads, in so many seconds. */
static void acceptor_refuse(struct pfk_acceptor *acceptor, int fd, const char *why)
{
    const double now = ev_now(acceptor->loop->ev);

    pfk_loop_count(acceptor->loop, PFK_COUNT_CONNECTIONS_REFUSED, 1); /* before the peer can see it */
    pfk_fd_close(&fd);
    acceptor->refused++;
    if (now < acceptor->refusal_told_at + acceptor->refusal_rest_s)
        return;
    pfk_log(PREFORK_LOG_WARNING, "accept: %" PRIu64 " connections refused: %s", acceptor->refused, why);
    acceptor->refusal_told_at = now;
    acceptor->refused = 0;
}

/* Whom the quota counts a connection for. A trusted proxy speaks for many. */
static uint32_t acceptor_peer(const struct pfk_acceptor_port *port, const struct pfk_address *peer)
{
    const struct pfk_trust *const trust = port->protocol->proxy.trust;
    const struct pfk_quota_share *const quota = port->acceptor->loop->quota;

    if (quota == NULL || (trust != NULL && pfk_trust_has(trust, peer)))
        return PFK_QUOTA_NOBODY;
    return pfk_quota_peer(quota, peer);
}

/* Takes over what was just accepted. */
static void acceptor_take(struct pfk_acceptor_port *port, int fd, const struct pfk_address *address)
{
    struct pfk_acceptor *const acceptor = port->acceptor;
    const uint32_t peer = acceptor_peer(port, address);

    pfk_load_take(&acceptor->load);
    if (acceptor_is_full(acceptor))
        acceptor_refuse(acceptor, fd, "the pool has PREFORK_POOL_CONNECTIONS");
    else if (peer != PFK_QUOTA_NOBODY && !pfk_quota_admit(acceptor->loop->quota, peer))
        acceptor_refuse(acceptor, fd, "their peers have PREFORK_POOL_CONNECTIONS_PER_PEER each");
    else
        (void)pfk_connection_open(acceptor->loop, fd, peer, port->protocol);
}

/* Errors of one connection that came with it, or of the network; accept(2). */
static bool acceptor_error_passes(int code)
{
    switch (code) {
    case EINTR:
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

static bool acceptor_error_is_shortage(int code)
{
    return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM;
}

/* Returns whether to try the next one. */
static bool acceptor_fail(struct pfk_acceptor_port *port, int code)
{
    if (code == EAGAIN || code == EWOULDBLOCK) {
        acceptor_forget_waits(port->acceptor);
        return false;
    }
    pfk_loop_count(port->acceptor->loop, PFK_COUNT_ACCEPT_ERRORS, 1);
    if (acceptor_error_passes(code))
        return true;
    if (acceptor_error_is_shortage(code)) {
        acceptor_rest(port->acceptor, port, code);
        return false;
    }
    port->broken = true;
    ev_io_stop(port->acceptor->loop->ev, &port->watcher);
    (void)pfk_error_call(code, "accept4");
    pfk_log(PREFORK_LOG_ERROR, "%s on %s; this thread accepts no more there", prefork_last_error(),
            pfk_listener_address(port->listener));
    return false;
}

static void acceptor_on_readable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct pfk_acceptor_port *port = watcher->data;

    (void)ev;
    (void)events;
    pfk_loop_count_open(port->acceptor->loop, 0); /* whoever wrote over it shall not be believed longer than it lives */
    for (int i = 0; i < ACCEPTOR_BATCH; i++) {
        struct pfk_address peer = {.length = sizeof(peer.socket)};
        int fd;

        if (acceptor_yields(port->acceptor, port)) {
            if (i == 0) /* later on it is not known whether one waits: the loop asks first */
                acceptor_look_away(port->acceptor);
            return;
        }
        fd = accept4(watcher->fd, &peer.socket.any, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (!acceptor_fail(port, errno))
                return;
            continue;
        }
        port->acceptor->rest_s = 0;
        if (port->acceptor->short_of_descriptors)
            acceptor_end_shortage(port->acceptor);
        acceptor_take(port, fd, &peer);
    }
}

/* -- Beginning and end ------------------------------------------------------ */

int pfk_acceptor_start(struct pfk_acceptor *acceptor, struct pfk_loop *loop, const struct pfk_io_options *options)
{
    const struct pfk_io_port *const ports = options->ports;
    const size_t n_ports = options->n_ports;

    *acceptor = (struct pfk_acceptor){.loop = loop, .reserve_fd = -1, .connections_max = options->connections_max};
    ev_init(&acceptor->rest, acceptor_on_rested);
    ev_init(&acceptor->yield, acceptor_on_yielded);
    acceptor->rest.data = acceptor;
    acceptor->yield.data = acceptor;
    acceptor->refusal_rest_s = 1. + options->family.seats * options->family.threads_per_seat;
    pfk_load_open(&acceptor->load, options->table, loop->lane, &options->family, options->number);
    acceptor->ports = calloc(n_ports > 0 ? n_ports : 1, sizeof(*acceptor->ports));
    if (acceptor->ports == NULL)
        return pfk_error(ENOMEM, "I/O thread: no memory for %zu listeners", n_ports);
    acceptor_open_reserve(acceptor);
    if (acceptor->reserve_fd < 0)
        return pfk_error(errno, "I/O thread: open /dev/null: no descriptor left? raise ulimit -n");
    for (size_t i = 0; i < n_ports; i++) {
        struct pfk_acceptor_port *port = &acceptor->ports[acceptor->n_ports];

        if (pfk_listener_is_datagram(ports[i].listener))
            continue; /* the receiver's */
        acceptor->n_ports++;
        port->acceptor = acceptor;
        port->listener = ports[i].listener;
        port->protocol = ports[i].protocol;
        ev_io_init(&port->watcher, acceptor_on_readable, pfk_listener_fd(port->listener, options->number), EV_READ);
        port->watcher.data = port;
    }
    acceptor_watch(acceptor, true);
    return 0;
}

void pfk_acceptor_stop(struct pfk_acceptor *acceptor)
{
    if (acceptor->loop == NULL)
        return;
    if (acceptor->ports != NULL)
        acceptor_watch(acceptor, false);
    ev_timer_stop(acceptor->loop->ev, &acceptor->rest);
    ev_timer_stop(acceptor->loop->ev, &acceptor->yield);
    pfk_fd_close(&acceptor->reserve_fd);
    free(acceptor->ports);
    acceptor->ports = NULL;
    acceptor->n_ports = 0;
    acceptor->loop = NULL;
}
