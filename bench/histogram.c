/* SPDX-License-Identifier: BSD-2-Clause */
#include "histogram.h"

#include <string.h>

#define SUB_COUNT (1u << HISTOGRAM_SUB_BITS)

/* How far a value is shifted right to keep its top HISTOGRAM_SUB_BITS + 1 bits. */
static unsigned histogram_shift(uint64_t value)
{
    const unsigned top_bit = 63u - (unsigned)__builtin_clzll(value | 1);

    return top_bit <= HISTOGRAM_SUB_BITS ? 0 : top_bit - HISTOGRAM_SUB_BITS;
}

static unsigned histogram_bucket_of(uint64_t value)
{
    const unsigned shift = histogram_shift(value);

    return shift * SUB_COUNT + (unsigned)(value >> shift);
}

/* The inverse: bucket indices below 2 * SUB_COUNT are the values themselves,
 * each further run of SUB_COUNT doubles the width. */
static uint64_t histogram_upper_edge(unsigned bucket)
{
    const unsigned shift = bucket < 2 * SUB_COUNT ? 0 : bucket / SUB_COUNT - 1;
    const uint64_t top_bits = bucket - shift * SUB_COUNT;

    return (top_bits << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[histogram_bucket_of(value)]++;
    histogram->total++;
    if (value > histogram->max)
        histogram->max = value;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    const double wanted = (double)histogram->total * percent / 100.0;
    uint64_t seen = 0;

    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > 0 && (double)seen >= wanted) {
            const uint64_t edge = histogram_upper_edge(bucket);

            return edge < histogram->max ? edge : histogram->max;
        }
    }
    return histogram->max;
}
