/* SPDX-License-Identifier: BSD-2-Clause */
/* What a job carries: a header word that says whose job and which, and after
 * it words that follow from the header, so that each byte is checked without a
 * copy of what was sent. Cheap, and the same for every transport. */
#ifndef BENCH_HANDOFF_PAYLOAD_H
#define BENCH_HANDOFF_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Payloads are whole blocks of so many bytes. */
#define PAYLOAD_BLOCK_BYTES 64
#define PAYLOAD_BLOCK_WORDS (PAYLOAD_BLOCK_BYTES / sizeof(uint64_t))

/* Odd and without structure: words of neighbouring jobs have nothing in common. */
#define PAYLOAD_STEP   UINT64_C(0x9e3779b97f4a7c15)
#define PAYLOAD_FACTOR UINT64_C(0xd6e8feb86659fd93)

/* The header of the message that sends a worker home. */
#define PAYLOAD_STOP UINT64_C(0)

static inline uint64_t payload_header(uint32_t producer, uint64_t number)
{
    return (uint64_t)(producer + 1) << 48 | number;
}

static inline uint32_t payload_producer(uint64_t header)
{
    return (uint32_t)(header >> 48) - 1;
}

static inline uint64_t payload_number(uint64_t header)
{
    return header & ((UINT64_C(1) << 48) - 1);
}

/* A reply's header differs from its request's in every bit. */
static inline uint64_t payload_reply_header(uint64_t request_header)
{
    return ~request_header;
}

/* Two words at a time, wherever they lie: what a payload costs should be far
 * less than what its way costs. Plain C does it on any processor. */
typedef uint64_t payload_pair __attribute__((vector_size(16), aligned(8), may_alias));

/* Word i of block b is (header + b * STEP) ^ key i; the first key is 0. */
#define PAYLOAD_PAIR_0 ((payload_pair){0, 0x1f83d9abfb41bd6b})
#define PAYLOAD_PAIR_1 ((payload_pair){0x5be0cd19137e2179, 0x2b992ddfa23249d6})
#define PAYLOAD_PAIR_2 ((payload_pair){0x3c6ef372fe94f82b, 0x510e527fade682d1})
#define PAYLOAD_PAIR_3 ((payload_pair){0x6a09e667f3bcc908, 0x243f6a8885a308d3})

#define PAYLOAD_BLOCK_PAIRS (PAYLOAD_BLOCK_BYTES / sizeof(payload_pair))

static inline void payload_write(uint64_t *words, size_t bytes, uint64_t header)
{
    payload_pair *at = (payload_pair *)words, base = {header, header};

    for (size_t block = 0; block < bytes / PAYLOAD_BLOCK_BYTES; block++) {
        at[0] = base ^ PAYLOAD_PAIR_0;
        at[1] = base ^ PAYLOAD_PAIR_1;
        at[2] = base ^ PAYLOAD_PAIR_2;
        at[3] = base ^ PAYLOAD_PAIR_3;
        at += PAYLOAD_BLOCK_PAIRS;
        base += PAYLOAD_STEP;
    }
}

/* Whether every byte is as payload_write left it for this header. */
static inline bool payload_is(const uint64_t *words, size_t bytes, uint64_t header)
{
    const payload_pair *at = (const payload_pair *)words;
    payload_pair base = {header, header}, wrong = {0, 0};

    for (size_t block = 0; block < bytes / PAYLOAD_BLOCK_BYTES; block++) {
        wrong |= at[0] ^ base ^ PAYLOAD_PAIR_0;
        wrong |= at[1] ^ base ^ PAYLOAD_PAIR_1;
        wrong |= at[2] ^ base ^ PAYLOAD_PAIR_2;
        wrong |= at[3] ^ base ^ PAYLOAD_PAIR_3;
        at += PAYLOAD_BLOCK_PAIRS;
        base += PAYLOAD_STEP;
    }
    return (wrong[0] | wrong[1]) == 0;
}

/* Sums of these over all jobs sent and all jobs received agree only if none
 * was lost and none came twice. */
static inline uint64_t payload_mark(uint64_t header)
{
    return (header ^ header >> 29) * PAYLOAD_FACTOR;
}

#endif
