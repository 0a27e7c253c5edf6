/* SPDX-License-Identifier: BSD-2-Clause */
/* raw, lines and length: a stream is cut into messages as a connection does it,
 * once as it comes in pieces and once whole. Both must end alike, and cut alike
 * where the pieces don't matter.
 *
 * Input: one byte that chooses the protocol, one the capacity, one the pieces;
 * then the stream. */
#include "target.h"

#include <stdbool.h>
#include <string.h>

#include "io/connection.h"
#include "io/protocol.h"

#define HEAD_BYTES   3
#define MESSAGES_MAX 4096

struct cuts {
    int64_t ends[MESSAGES_MAX]; /* where each message ends */
    size_t n;
    int64_t status; /* 0, or what failed it */
};

static prefork_frame_fn choose(uint8_t byte)
{
    static const unsigned prefix_bytes[] = {1, 2, 4, 8};

    if (byte % 3 == 0)
        return pfk_protocol_raw_frame;
    if (byte % 3 == 1)
        return prefork_protocol_lines("x")->frame;
    return prefork_protocol_length("x", prefix_bytes[byte / 3 % 4], byte / 12 % 4)->frame;
}

/* What has arrived lies in memory of just that length. */
static int64_t cut_one(prefork_frame_fn frame, struct prefork_connection *connection, const uint8_t *data,
                       size_t length, size_t capacity, bool final)
{
    uint8_t *const arrived = malloc(length);
    int64_t size;

    memcpy(arrived, data, length);
    size = frame(connection, arrived, length, capacity, final, NULL);
    free(arrived);
    FUZZ_CHECK(size <= (int64_t)length);
    FUZZ_CHECK(size <= (int64_t)capacity);
    return size;
}

static void cut(prefork_frame_fn frame, const uint8_t *data, size_t length, size_t capacity, size_t piece,
                struct cuts *cuts)
{
    struct prefork_connection connection = {.scanned = 0};
    size_t from = 0, to = 0;

    memset(cuts, 0, sizeof(*cuts));
    while (from < length && cuts->n < MESSAGES_MAX) {
        int64_t size = 0;

        if (to > from)
            size = cut_one(frame, &connection, data + from, to - from, capacity, to == length);
        if (size < 0) {
            cuts->status = size;
            return;
        }
        if (size == 0 && to == length)
            return; /* the rest is no message */
        if (size == 0) {
            to = piece < length - to ? to + piece : length;
            continue;
        }
        from += (size_t)size;
        connection.scanned = 0;
        cuts->ends[cuts->n++] = (int64_t)from;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cuts in_pieces, whole;
    prefork_frame_fn frame;
    size_t capacity, piece;

    if (size < HEAD_BYTES)
        return 0;
    frame = choose(data[0]);
    capacity = 1 + (size_t)data[1];
    piece = 1 + (size_t)data[2] % 64;
    cut(frame, data + HEAD_BYTES, size - HEAD_BYTES, capacity, piece, &in_pieces);
    cut(frame, data + HEAD_BYTES, size - HEAD_BYTES, capacity, size, &whole);
    if (data[0] % 3 == 0)
        return 0; /* raw cuts where the pieces end */
    FUZZ_CHECK(in_pieces.n == whole.n);
    FUZZ_CHECK(memcmp(in_pieces.ends, whole.ends, whole.n * sizeof(whole.ends[0])) == 0);
    FUZZ_CHECK(in_pieces.status == whole.status);
    return 0;
}
