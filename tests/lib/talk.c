/* SPDX-License-Identifier: BSD-2-Clause */
/* Sends standard input to a server, says that this was all, and prints what
 * comes until the server ends, too.
 *
 *     talk ADDRESS */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/address.h"
#include "prefork/error.h"

static int fail(const char *what)
{
    fprintf(stderr, "talk: %s: %s\n", what, strerror(errno));
    return 1;
}

static int connect_to(const char *text)
{
    struct pfk_address address;
    int fd;

    if (pfk_address_parse(text, &address) != 0) {
        fprintf(stderr, "talk: %s\n", prefork_last_error());
        return -1;
    }
    fd = socket(address.socket.any.sa_family, address.type | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, &address.socket.any, address.length) == 0)
        return fd;
    (void)fail(text);
    return -1;
}

/* All that standard input has, which must fit the socket's buffers. */
static int send_all(int fd)
{
    char bytes[65536];
    ssize_t got;

    while ((got = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0)
        if (send(fd, bytes, (size_t)got, MSG_NOSIGNAL) != got)
            return fail("send");
    return shutdown(fd, SHUT_WR) == 0 ? 0 : fail("shutdown");
}

int main(int argc, char **argv)
{
    const int fd = argc == 2 ? connect_to(argv[1]) : -1;
    char bytes[65536];
    ssize_t got;

    if (fd < 0 || send_all(fd) != 0)
        return 1;
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        (void)fwrite(bytes, 1, (size_t)got, stdout);
    return got == 0 && fflush(stdout) == 0 ? 0 : fail("recv");
}
