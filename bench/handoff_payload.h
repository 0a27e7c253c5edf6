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

static inline void payload_write(uint64_t *words, size_t bytes, uint64_t header)
{
    uint64_t first = header;

    for (size_t block = 0; block < bytes / PAYLOAD_BLOCK_BYTES; block++) {
        for (size_t i = 0; i < PAYLOAD_BLOCK_WORDS; i++)
            words[i] = first + i * PAYLOAD_STEP;
        words += PAYLOAD_BLOCK_WORDS;
        first += PAYLOAD_BLOCK_WORDS * PAYLOAD_STEP;
    }
}

/* Whether every byte is as payload_write left it for this header. */
static inline bool payload_is(const uint64_t *words, size_t bytes, uint64_t header)
{
    uint64_t first = header, wrong = 0;

    for (size_t block = 0; block < bytes / PAYLOAD_BLOCK_BYTES; block++) {
        for (size_t i = 0; i < PAYLOAD_BLOCK_WORDS; i++)
            wrong |= words[i] ^ (first + i * PAYLOAD_STEP);
        words += PAYLOAD_BLOCK_WORDS;
        first += PAYLOAD_BLOCK_WORDS * PAYLOAD_STEP;
    }
    return wrong == 0;
}

/* Sums of these over all jobs sent and all jobs received agree only if none
 * was lost and none came twice. */
static inline uint64_t payload_mark(uint64_t header)
{
    return (header ^ header >> 29) * PAYLOAD_FACTOR;
}

#endif
