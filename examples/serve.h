/* SPDX-License-Identifier: BSD-2-Clause */
/* What the server examples have in common: a command line, the lines
 *
 *     listening on tcp:127.0.0.1:7007
 *     12 connections, 96 bytes in, 96 bytes out, 12 jobs, 0 redelivered, 0 workers lost
 *
 * and the pool between them. */
#ifndef EXAMPLES_SERVE_H
#define EXAMPLES_SERVE_H

#include <stdint.h>

#include <prefork.h>

struct serve {
    const char *name;    /* of the program, for its messages */
    const char *options; /* of its own, beside l:o:w:i:j:n:c:p:u:v; as getopt(3) has them */
    const char *usage;   /* what it says of those, one line each; and arguments, behind the common options */
    const char *arguments;
    int n_arguments; /* how many there must be */
    /* Takes an option of its own. 0, or -errno after it said why. */
    int (*take_option)(int option, const char *value);
    /* Sets handlers and options; returns the protocol for every address, or
     * NULL with the reason in *rc_out, and prefork_last_error. */
    const struct prefork_protocol *(*set_up)(struct prefork_pool *pool, char **arguments, int *rc_out);
};

/* Runs the server; returns the exit status. */
int serve_main(const struct serve *serve, int argc, char **argv);

/* Says "NAME: \"VALUE\" REASON" on stderr; returns -EINVAL. */
int serve_refuse(const struct serve *serve, const char *value, const char *reason);

#endif
