/* SPDX-License-Identifier: BSD-2-Clause */
/* File descriptors: always close-on-exec, interrupted calls repeated. */
#ifndef PFK_BASE_FD_H
#define PFK_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Closes *fd unless it is -1 and sets it to -1. Keeps errno. */
void pfk_fd_close(int *fd);

/* Opens a pipe, close-on-exec and non-blocking on both ends. 0 or -errno with
 * the text set. */
int pfk_fd_pipe(int *read_end_out, int *write_end_out);

/* Opens an eventfd with value 0, close-on-exec and non-blocking. */
int pfk_fd_event(int *fd_out);

/* Adds 1 to an eventfd. A full counter already says "look", so EAGAIN is
 * success; any other failure is returned as -errno. Async-signal-safe. */
int pfk_fd_event_signal(int fd);

/* Takes an eventfd back to 0. */
void pfk_fd_event_clear(int fd);

/* The same, and makes it non-blocking again, whoever has changed that. Never
 * blocks, whatever others do to it meanwhile (before Linux 5.8 the count stays). */
void pfk_fd_event_reset(int fd);

/* Opens /dev/null on each of descriptors 0, 1 and 2 that is closed, so that no
 * socket gets such a number and no stray print reaches it. */
int pfk_fd_open_standard(void);

/* Descriptors that this process may hold (RLIMIT_NOFILE, soft). */
uint64_t pfk_fd_limit(void);

#endif
