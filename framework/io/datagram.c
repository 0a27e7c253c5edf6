/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/datagram.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/compiler.h"

int64_t pfk_datagram_frame(PFK_UNUSED struct prefork_connection *connection, PFK_UNUSED const void *data, size_t length,
                           PFK_UNUSED size_t capacity, PFK_UNUSED int final, PFK_UNUSED void *context)
{
    return (int64_t)length;
}

size_t pfk_datagram_send(const struct pfk_datagram *datagram, int fd, const struct iovec *pieces, size_t n_pieces)
{
    const struct msghdr message = {
        .msg_name = (void *)(uintptr_t)&datagram->sender.socket, /* sendmsg reads only */
        .msg_namelen = datagram->sender.length,
        .msg_iov = (struct iovec *)(uintptr_t)pieces,
        .msg_iovlen = n_pieces,
        .msg_control = datagram->control_bytes > 0 ? (void *)(uintptr_t)datagram->control.bytes : NULL,
        .msg_controllen = datagram->control_bytes,
    };
    ssize_t sent;

    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent > 0 ? (size_t)sent : 0;
}
