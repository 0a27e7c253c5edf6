/* SPDX-License-Identifier: BSD-2-Clause */
#include "transports.h"

#include <string.h>

const struct transport *const transports[N_TRANSPORTS] = {
    &transport_table,    &transport_ring,     &transport_ring_spin, &transport_ring_sem,
    &transport_mutex,    &transport_pipe,     &transport_stream,    &transport_seqpacket,
    &transport_sysv_msg, &transport_posix_mq, &transport_futex,
};

size_t transports_find(const char *name)
{
    size_t i = 0;

    while (i < N_TRANSPORTS && strcmp(transports[i]->name, name) != 0)
        i++;
    return i;
}

void transports_list(FILE *file)
{
    for (size_t i = 0; i < N_TRANSPORTS; i++)
        (void)fprintf(file, " %s", transports[i]->name);
}
