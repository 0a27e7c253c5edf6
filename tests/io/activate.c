/* SPDX-License-Identifier: BSD-2-Clause */
/* Stands in for a service manager: opens sockets and hands them over.
 *
 *     activate [-p PID] [-f FDS] [-n NAMES] [ADDRESS | -]... -- COMMAND [ARGUMENT]...
 *
 * The sockets become descriptors 3, 4 and so on of COMMAND; "-" is a descriptor
 * that is none. -p and -f tell something else than the truth. A Unix path stays,
 * as a service manager leaves it. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/listener.h"
#include "prefork/error.h"

#define FIRST_FD   3
#define SCRATCH_FD 100 /* beyond all that is handed over */

static void fail(const char *what)
{
    fprintf(stderr, "activate: %s: %s\n", what, prefork_last_error());
    exit(2);
}

static int open_one(const char *address)
{
    const struct pfk_listener_options options = {.backlog = 16};
    struct pfk_listener *listener;

    if (strcmp(address, "-") == 0)
        return open("/dev/null", O_RDONLY);
    if (pfk_listener_open(address, &options, &listener) != 0)
        fail(address);
    return fcntl(pfk_listener_fd(listener, 0), F_DUPFD, SCRATCH_FD);
}

static void set_number(const char *name, long number)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%ld", number);
    (void)setenv(name, text, 1);
}

int main(int argc, char **argv)
{
    int handed[SCRATCH_FD - FIRST_FD];
    int n_handed = 0;
    int option;

    set_number("LISTEN_PID", (long)getpid()); /* COMMAND's, too */
    (void)unsetenv("LISTEN_FDS");
    while ((option = getopt(argc, argv, "+p:f:n:")) != -1)
        (void)setenv(option == 'p' ? "LISTEN_PID" : option == 'f' ? "LISTEN_FDS" : "LISTEN_FDNAMES", optarg, 1);
    while (optind < argc && strcmp(argv[optind], "--") != 0 && FIRST_FD + n_handed < SCRATCH_FD)
        handed[n_handed++] = open_one(argv[optind++]);
    if (optind + 1 >= argc) {
        fprintf(stderr, "usage: activate [-p PID] [-f FDS] [-n NAMES] [ADDRESS | -]... -- COMMAND...\n");
        return 2;
    }
    for (int i = 0; i < n_handed; i++)
        if (dup2(handed[i], FIRST_FD + i) < 0)
            fail("dup2");
    if (getenv("LISTEN_FDS") == NULL)
        set_number("LISTEN_FDS", n_handed);
    (void)execvp(argv[optind + 1], argv + optind + 1);
    perror(argv[optind + 1]);
    return 2;
}
