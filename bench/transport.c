/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CACHE_LINE_BYTES 64

void transport_fail(const char *transport, const char *call, int error)
{
    (void)fprintf(stderr, "handoff: %s: %s: %s\n", transport, call, strerror(error));
    exit(EXIT_FAILURE);
}

void *transport_map_shared(const char *transport, uint64_t bytes)
{
    void *const at =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (at == MAP_FAILED)
        transport_fail(transport, "mmap", errno);
    return at;
}

void transport_unmap(void *at, uint64_t bytes)
{
    (void)munmap(at, (size_t)bytes);
}

void *transport_allocate(const char *transport, uint64_t bytes)
{
    const size_t rounded = ((size_t)bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    void *const at = aligned_alloc(CACHE_LINE_BYTES, rounded);

    if (at == NULL)
        transport_fail(transport, "aligned_alloc", ENOMEM);
    return memset(at, 0, rounded);
}
