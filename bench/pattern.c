/* SPDX-License-Identifier: BSD-2-Clause */
#include "pattern.h"

#include <string.h>

/* Odd constants without structure; the stream is word i = mix(key + i * STEP). */
#define STEP   UINT64_C(0x9e3779b97f4a7c15)
#define FACTOR UINT64_C(0xd6e8feb86659fd93)

/* What pattern_match() computes at a time: it stays in the first-level cache. */
#define MATCH_BYTES 4096

/* One multiplication for eight bytes: cheaper than moving them through a socket. */
static uint64_t pattern_mix(uint64_t word)
{
    word ^= word >> 32;
    word *= FACTOR;
    return word ^ word >> 32;
}

static uint64_t pattern_word(const struct pattern *pattern, uint64_t index)
{
    const uint64_t word = pattern_mix(pattern->key + index * STEP);

    if (pattern->line_bytes == 0)
        return word;
    /* Sixteen letters from 'a' on: neither a newline nor the '[' of a tag. */
    return (word & UINT64_C(0x0f0f0f0f0f0f0f0f)) + UINT64_C(0x6161616161616161);
}

struct pattern pattern_make(uint64_t seed, uint64_t connection, uint64_t line_bytes)
{
    const uint64_t key = pattern_mix(pattern_mix(seed + STEP) + (connection + 1) * FACTOR);

    return (struct pattern){.key = key, .line_bytes = line_bytes};
}

static void pattern_put_newlines(uint64_t line_bytes, uint64_t offset, unsigned char *bytes, size_t length)
{
    for (uint64_t at = line_bytes - 1 - offset % line_bytes; at < length; at += line_bytes)
        bytes[at] = '\n';
}

void pattern_fill(const struct pattern *pattern, uint64_t offset, unsigned char *bytes_out, size_t length)
{
    uint64_t index = offset / sizeof(uint64_t);
    size_t skip = (size_t)(offset % sizeof(uint64_t)), done = 0;

    while (done < length) {
        const uint64_t word = pattern_word(pattern, index++);
        size_t piece = sizeof(word) - skip;

        if (skip == 0 && length - done >= sizeof(word)) {
            memcpy(bytes_out + done, &word, sizeof(word));
        } else {
            if (piece > length - done)
                piece = length - done;
            memcpy(bytes_out + done, (const unsigned char *)&word + skip, piece);
            skip = 0;
        }
        done += piece;
    }
    if (pattern->line_bytes != 0)
        pattern_put_newlines(pattern->line_bytes, offset, bytes_out, length);
}

static size_t pattern_first_difference(const unsigned char *left, const unsigned char *right, size_t length)
{
    size_t at = 0;

    if (memcmp(left, right, length) == 0)
        return length;
    while (left[at] == right[at])
        at++;
    return at;
}

size_t pattern_match(const struct pattern *pattern, uint64_t offset, const unsigned char *bytes, size_t length)
{
    unsigned char expected[MATCH_BYTES];
    size_t done = 0;

    while (done < length) {
        const size_t piece = length - done < sizeof(expected) ? length - done : sizeof(expected);
        size_t right;

        pattern_fill(pattern, offset + done, expected, piece);
        right = pattern_first_difference(expected, bytes + done, piece);
        done += right;
        if (right < piece)
            break;
    }
    return done;
}
