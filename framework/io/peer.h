/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is at the other end of a connection. */
#ifndef PFK_IO_PEER_H
#define PFK_IO_PEER_H

#include "io/address.h"

/* The address of the other end of a connected socket. 0, or -errno without a
 * text: -ENOTCONN when it is gone. */
int pfk_peer_of_socket(int fd, struct pfk_address *peer_out);

#endif
