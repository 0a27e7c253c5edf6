/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets that a service manager opened and handed over: descriptors from 3 on,
 * told by LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES.
 *
 * The environment is read once in a process, by the first who asks: then all of
 * these descriptors become close-on-exec, and the three variables are unset, so
 * that no child takes them for its own. Any thread; but unsetenv(3) must not
 * meet other threads that read the environment. */
#ifndef PFK_IO_ACTIVATION_H
#define PFK_IO_ACTIVATION_H

/* Hands out a socket that was handed over: `name` is a descriptor's number or a
 * name. Of several with one name each call hands out the next. It is the
 * caller's from here on.
 *   -ENOENT  there is none, or none any more; the text tells what there is
 *   -ENOMEM */
int pfk_activation_take(const char *name, int *fd_out);

#endif
