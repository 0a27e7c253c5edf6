/* SPDX-License-Identifier: BSD-2-Clause */
/* The bytes a connection sends, computable at any offset: the expected reply
 * needs no memory, whatever is in flight, and a byte that was lost, doubled,
 * swapped or meant for another connection does not match. */
#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include <stddef.h>
#include <stdint.h>

struct pattern {
    uint64_t key;
    uint64_t line_bytes; /* 0: any byte; else lines of this length, newline included */
};

/* The stream of connection number `connection` in the run with this seed. */
struct pattern pattern_make(uint64_t seed, uint64_t connection, uint64_t line_bytes);

/* Writes the stream's bytes [offset, offset + length). */
void pattern_fill(const struct pattern *pattern, uint64_t offset, unsigned char *bytes_out, size_t length);

/* Returns how many leading bytes of `bytes` are those of the stream from
 * `offset` on; `length` when all are right. */
size_t pattern_match(const struct pattern *pattern, uint64_t offset, const unsigned char *bytes, size_t length);

#endif
