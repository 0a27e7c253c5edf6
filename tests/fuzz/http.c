/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream of HTTP requests, once as it comes in pieces and once whole: both
 * must end alike, and mean the same. Each request then travels through a slot,
 * once as it is and once damaged.
 *
 * Input: one byte that chooses the pieces, one the damage; then the stream. */
#include "target.h"

#include <stdbool.h>
#include <string.h>

#include "http/request.h"

#define HEAD_BYTES   2
#define MESSAGES_MAX 64
#define MEANING_MAX  8192

static const struct pfk_message_limits limits = {.headers = 16, .head_bytes = 512, .body_bytes = 256};

struct outcome {
    size_t ends[MESSAGES_MAX];
    size_t n;
    int64_t status; /* of the last one, if it was refused */
    char meaning[MEANING_MAX];
    size_t meaning_length;
};

static void mean(struct outcome *outcome, struct prefork_http_text text, const char *from, const char *to)
{
    FUZZ_CHECK(text.length == 0 || (text.bytes >= from && text.bytes + text.length <= to));
    if (outcome->meaning_length + text.length + 1 > MEANING_MAX)
        return;
    memcpy(outcome->meaning + outcome->meaning_length, text.bytes, text.length);
    outcome->meaning_length += text.length;
    outcome->meaning[outcome->meaning_length++] = '|';
}

static void mean_request(struct outcome *outcome, const struct prefork_http_request *request, const char *from,
                         const char *to)
{
    mean(outcome, request->method, from, to);
    mean(outcome, request->target, from, to);
    mean(outcome, request->path, from, to);
    mean(outcome, request->query, from, to);
    for (size_t i = 0; i < request->n_headers; i++) {
        mean(outcome, request->headers[i].name, from, to);
        mean(outcome, request->headers[i].value, from, to);
    }
}

/* What is sent to the slot is what comes out; damaged, it is refused or within the slot. */
static void travel(struct pfk_http_thread *thread, const struct pfk_message *message, const char *data, uint8_t damage)
{
    static struct outcome before, after;
    int64_t length;
    char *slot;

    before.meaning_length = after.meaning_length = 0;
    FUZZ_CHECK(pfk_request_of_message(thread, message, data) == 0);
    mean_request(&before, &thread->request, data, data + message->bytes);
    FUZZ_CHECK(thread->request.body.length == message->parser.body_bytes);
    thread->answering = message;
    thread->data = data;
    length = pfk_request_to_job(thread, &thread->request);
    slot = malloc((size_t)length);
    memcpy(slot, thread->job, (size_t)length);
    FUZZ_CHECK(pfk_request_of_job(thread, slot, (size_t)length) == 0);
    mean_request(&after, &thread->request, slot, slot + length);
    FUZZ_CHECK(before.meaning_length == after.meaning_length);
    FUZZ_CHECK(memcmp(before.meaning, after.meaning, before.meaning_length) == 0);
    slot[damage % length] = (char)(damage * 7 + length);
    after.meaning_length = 0;
    if (pfk_request_of_job(thread, slot, (size_t)length) == 0)
        mean_request(&after, &thread->request, slot, slot + length);
    free(slot);
}

/* Reads the next message of data[from, to); copies of just that length. */
static int64_t read_one(struct pfk_message *message, const uint8_t *data, size_t length, struct outcome *outcome,
                        uint8_t damage)
{
    struct pfk_http_thread *const thread = pfk_thread_self();
    char *const arrived = malloc(length);
    int64_t rc;

    memcpy(arrived, data, length);
    rc = pfk_message_read(message, &limits, arrived, length);
    FUZZ_CHECK(rc <= (int64_t)length);
    FUZZ_CHECK(rc >= 0 || (rc <= -400 && rc >= -505));
    if (rc > 0) {
        FUZZ_CHECK(message->parser.head_bytes <= limits.head_bytes);
        FUZZ_CHECK(message->parser.body_bytes <= limits.body_bytes);
        FUZZ_CHECK(message->parser.n_fields <= limits.headers);
        FUZZ_CHECK(pfk_request_of_message(thread, message, arrived) == 0);
        mean_request(outcome, &thread->request, arrived, arrived + length);
        travel(thread, message, arrived, damage);
    }
    free(arrived);
    return rc;
}

static void read_stream(const uint8_t *data, size_t length, size_t piece, uint8_t damage, struct outcome *outcome)
{
    static struct pfk_message message;
    size_t from = 0, to = 0;

    memset(outcome, 0, offsetof(struct outcome, meaning));
    outcome->meaning_length = 0;
    pfk_message_begin(&message, &limits);
    while (from < length && outcome->n < MESSAGES_MAX) {
        const int64_t rc = to > from ? read_one(&message, data + from, to - from, outcome, damage) : 0;

        if (rc < 0) {
            outcome->status = rc;
            return;
        }
        if (rc == 0 && to == length)
            return;
        if (rc == 0) {
            to = piece < length - to ? to + piece : length;
            continue;
        }
        from += (size_t)rc;
        outcome->ends[outcome->n++] = from;
        pfk_message_begin(&message, &limits);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome in_pieces, whole;

    if (size < HEAD_BYTES)
        return 0;
    read_stream(data + HEAD_BYTES, size - HEAD_BYTES, 1 + (size_t)data[0] % 64, data[1], &in_pieces);
    read_stream(data + HEAD_BYTES, size - HEAD_BYTES, size, data[1], &whole);
    FUZZ_CHECK(in_pieces.n == whole.n);
    FUZZ_CHECK(in_pieces.status == whole.status);
    FUZZ_CHECK(memcmp(in_pieces.ends, whole.ends, whole.n * sizeof(whole.ends[0])) == 0);
    FUZZ_CHECK(in_pieces.meaning_length == whole.meaning_length);
    FUZZ_CHECK(memcmp(in_pieces.meaning, whole.meaning, whole.meaning_length) == 0);
    return 0;
}
