/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/receiver.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/log.h"
#include "io/connection.h"

/* Datagrams read before others in the loop are served. */
#define RECEIVER_BATCH 16

struct pfk_receiver_port {
    struct pfk_receiver *receiver;
    const struct pfk_listener *listener;
    const struct pfk_protocol *protocol;
    ev_io watcher;
    uint32_t in_hand; /* datagrams read and not done with */
    bool held;        /* one of them could not be taken yet: it waits for a slot */
    bool stopped;     /* for good */
};

/* -- One datagram -------------------------------------------------------------- */

static void receiver_drop(struct pfk_receiver_port *port)
{
    pfk_loop_count(port->receiver->loop, PFK_COUNT_DATAGRAMS_DROPPED, 1);
}

/* The address that it was sent to becomes the one from which it is answered; a
 * group's address can't be that. */
static void receiver_keep_control(struct pfk_datagram *datagram, struct msghdr *message)
{
    const struct cmsghdr *const told = CMSG_FIRSTHDR(message);
    struct in6_pktinfo ipv6;

    datagram->control_bytes = 0;
    if (told == NULL || (message->msg_flags & MSG_CTRUNC) != 0)
        return;
    if (told->cmsg_level == IPPROTO_IPV6 && told->cmsg_type == IPV6_PKTINFO) {
        memcpy(&ipv6, CMSG_DATA(told), sizeof(ipv6));
        datagram->control_bytes = IN6_IS_ADDR_MULTICAST(&ipv6.ipi6_addr) ? 0 : message->msg_controllen;
    }
    if (told->cmsg_level == IPPROTO_IP && told->cmsg_type == IP_PKTINFO)
        datagram->control_bytes = message->msg_controllen;
}

/* Reads one into the loop's scratch memory, as much as a request holds. Returns
 * its length, -EMSGSIZE when it is longer, or -errno. */
static ssize_t receiver_read(struct pfk_receiver_port *port, struct pfk_datagram *datagram)
{
    struct pfk_loop *const loop = port->receiver->loop;
    struct iovec piece = {.iov_base = loop->scratch, .iov_len = PFK_LOOP_SCRATCH_BYTES};
    struct msghdr message = {
        .msg_name = &datagram->sender.socket,
        .msg_namelen = sizeof(datagram->sender.socket),
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = datagram->control.bytes,
        .msg_controllen = sizeof(datagram->control.bytes),
    };
    ssize_t got;

    datagram->sender.type = SOCK_DGRAM;
    datagram->sender.every = false;
    if (piece.iov_len > loop->request_bytes)
        piece.iov_len = loop->request_bytes;
    got = recvmsg(port->watcher.fd, &message, MSG_DONTWAIT);
    if (got < 0)
        return -errno;
    if ((message.msg_flags & MSG_TRUNC) != 0)
        return -EMSGSIZE;
    datagram->sender.length = message.msg_namelen;
    receiver_keep_control(datagram, &message);
    return got;
}

/* Hands it over; it may be done with when this returns. */
static void receiver_deliver(struct pfk_receiver_port *port, struct pfk_datagram *datagram, size_t length)
{
    struct pfk_loop *const loop = port->receiver->loop;
    const uint32_t in_hand = port->in_hand;
    struct prefork_connection *connection;

    pfk_loop_count(loop, PFK_COUNT_DATAGRAMS, 1);
    pfk_loop_count(loop, PFK_COUNT_BYTES_IN, length);
    datagram->port = port;
    port->in_hand++;
    if (pfk_connection_open_datagram(loop, datagram, port->protocol, length, &connection) != 0)
        receiver_drop(port);
    else if (port->in_hand > in_hand)
        port->held = connection->input != NULL;
}

/* -- The socket ---------------------------------------------------------------- */

static bool receiver_may_read(const struct pfk_receiver_port *port)
{
    return !port->stopped && !port->held && port->in_hand < port->protocol->face.max_in_flight;
}

static void receiver_watch(struct pfk_receiver_port *port)
{
    if (receiver_may_read(port))
        ev_io_start(port->receiver->loop->ev, &port->watcher);
    else
        ev_io_stop(port->receiver->loop->ev, &port->watcher);
}

/* Errors of earlier replies come back here, and pass; so does a shortage of
 * memory. Returns whether to try the next one. */
static bool receiver_fail(struct pfk_receiver_port *port, int code)
{
    switch (code) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
        return false;
    case EINTR:
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
        return true;
    default:
        port->stopped = true;
        (void)pfk_error_call(code, "recvmsg");
        pfk_log(PREFORK_LOG_ERROR, "%s on %s; this thread receives no more there", prefork_last_error(),
                pfk_listener_address(port->listener));
        return false;
    }
}

/* Returns whether to try the next one. */
static bool receiver_take_one(struct pfk_receiver_port *port)
{
    struct pfk_datagram *const datagram = malloc(sizeof(*datagram));
    ssize_t length;

    if (datagram == NULL)
        return false;
    length = receiver_read(port, datagram);
    if (length > 0) {
        receiver_deliver(port, datagram, (size_t)length);
        return true;
    }
    free(datagram);
    if (length < 0 && length != -EMSGSIZE)
        return receiver_fail(port, (int)-length);
    receiver_drop(port); /* too long for a request, or empty */
    return true;
}

static void receiver_on_readable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct pfk_receiver_port *const port = watcher->data;

    (void)ev;
    (void)events;
    for (int i = 0; i < RECEIVER_BATCH && receiver_may_read(port); i++)
        if (!receiver_take_one(port))
            break;
    receiver_watch(port);
}

/* -- For connection.c ----------------------------------------------------------- */

size_t pfk_receiver_reply(const struct pfk_datagram *datagram, const struct iovec *pieces, size_t n_pieces)
{
    struct pfk_receiver_port *const port = datagram->port;
    const size_t sent = pfk_datagram_send(datagram, port->watcher.fd, pieces, n_pieces);
    size_t total = 0;

    for (size_t i = 0; i < n_pieces; i++)
        total += pieces[i].iov_len;
    pfk_loop_count(port->receiver->loop, PFK_COUNT_BYTES_OUT, sent);
    if (sent == 0)
        receiver_drop(port);
    return total;
}

void pfk_receiver_end(struct pfk_datagram *datagram)
{
    struct pfk_receiver_port *const port = datagram->port;

    port->in_hand--;
    port->held = false; /* if it was another one that is held, the next will be refused as well */
    free(datagram);
    receiver_watch(port);
}

/* -- Beginning and end ---------------------------------------------------------- */

int pfk_receiver_start(struct pfk_receiver *receiver, struct pfk_loop *loop, const struct pfk_io_port *ports,
                       size_t n_ports, uint32_t number)
{
    *receiver = (struct pfk_receiver){.loop = loop};
    receiver->ports = calloc(n_ports > 0 ? n_ports : 1, sizeof(*receiver->ports));
    if (receiver->ports == NULL)
        return pfk_error(ENOMEM, "I/O thread: no memory for %zu listeners", n_ports);
    for (size_t i = 0; i < n_ports; i++) {
        struct pfk_receiver_port *const port = &receiver->ports[receiver->n_ports];

        if (!pfk_listener_is_datagram(ports[i].listener))
            continue;
        receiver->n_ports++;
        port->receiver = receiver;
        port->listener = ports[i].listener;
        port->protocol = ports[i].protocol;
        ev_io_init(&port->watcher, receiver_on_readable, pfk_listener_fd(port->listener, number), EV_READ);
        port->watcher.data = port;
        receiver_watch(port);
    }
    return 0;
}

void pfk_receiver_stop(struct pfk_receiver *receiver)
{
    for (size_t i = 0; i < receiver->n_ports; i++) {
        receiver->ports[i].stopped = true;
        receiver_watch(&receiver->ports[i]);
    }
}

void pfk_receiver_close(struct pfk_receiver *receiver)
{
    free(receiver->ports);
    receiver->ports = NULL;
    receiver->n_ports = 0;
}
