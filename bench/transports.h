/* SPDX-License-Identifier: BSD-2-Clause */
/* All transports, by name. */
#ifndef BENCH_TRANSPORTS_H
#define BENCH_TRANSPORTS_H

#include <stddef.h>
#include <stdio.h>

#include "transport.h"

#define N_TRANSPORTS 11

/* In the order of the reports. */
extern const struct transport *const transports[N_TRANSPORTS];

/* Returns the number of the transport with this name, or N_TRANSPORTS. */
size_t transports_find(const char *name);

/* Writes their names, a blank before each. */
void transports_list(FILE *file);

#endif
