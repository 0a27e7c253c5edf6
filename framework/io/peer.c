/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/peer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/error.h"
#include "io/connection.h"

int pfk_peer_of_socket(int fd, struct pfk_address *peer_out)
{
    socklen_t length = sizeof(peer_out->socket);

    memset(peer_out, 0, sizeof(*peer_out));
    peer_out->type = SOCK_STREAM;
    if (getpeername(fd, &peer_out->socket.any, &length) != 0)
        return -errno;
    peer_out->length = length;
    pfk_address_unmap(peer_out);
    return 0;
}

/* What the text shows is the peer's choice, where it is a path: nothing of it
 * may end a line of a log. */
static void peer_write(const struct pfk_address *peer, char text_out[PFK_ADDRESS_TEXT_BYTES])
{
    pfk_address_format(peer, text_out);
    for (char *at = text_out; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
}

PFK_EXPORT int prefork_connection_peer(const struct prefork_connection *connection, char *text_out, size_t bytes)
{
    const struct pfk_proxied *const proxied = connection->proxied;
    struct pfk_address peer;
    char text[PFK_ADDRESS_TEXT_BYTES];
    int rc = 0;

    if (connection->datagram != NULL)
        peer = connection->datagram->sender;
    else if (proxied != NULL && proxied->header.announced)
        peer = proxied->header.peer;
    else
        rc = pfk_peer_of_socket(connection->watcher.fd, &peer);
    if (rc != 0)
        return pfk_error_call(-rc, "prefork_connection_peer");
    pfk_address_unmap(&peer);
    peer_write(&peer, text);
    return snprintf(text_out, bytes, "%s", text);
}
