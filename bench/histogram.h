/* SPDX-License-Identifier: BSD-2-Clause */
/* A log-linear histogram of 64-bit values: fixed memory, constant time, and a
 * relative error below 1/64 over the whole range. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

/* Each power of two is cut into 64 equal buckets; values below 128 are exact. */
#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_BUCKETS  ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t total;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *histogram);

void histogram_record(struct histogram *histogram, uint64_t value);

/* Returns a value that at least `percent` (0 < percent <= 100) of the recorded
 * ones do not exceed: the upper edge of its bucket, never above the maximum;
 * 0 when nothing was recorded. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

#endif
