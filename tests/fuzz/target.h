/* SPDX-License-Identifier: BSD-2-Clause */
/* A fuzz target: libFuzzer's entry, which replay.c calls too. An input that shows
 * a fault ends the process. */
#ifndef PFK_TESTS_FUZZ_TARGET_H
#define PFK_TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As assert, but always there. */
#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
