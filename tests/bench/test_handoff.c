/* SPDX-License-Identifier: BSD-2-Clause */
/* The handoff benchmark notices what a transport does wrong. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../../bench/handoff_payload.h"
#include "../../bench/handoff_round.h"
#include "../lib/unit.h"

#define BYTES 256

static uint64_t words[BYTES / sizeof(uint64_t)];

START_TEST(a_payload_is_what_was_written)
{
    payload_write(words, BYTES, payload_header(3, 77));
    ck_assert(payload_is(words, BYTES, words[0]));
    ck_assert_uint_eq(payload_producer(words[0]), 3);
    ck_assert_uint_eq(payload_number(words[0]), 77);
}
END_TEST

START_TEST(each_changed_bit_shows)
{
    const uint64_t header = payload_header(0, 5);
    unsigned unseen = 0;

    payload_write(words, BYTES, header);
    for (unsigned bit = 0; bit < BYTES * 8; bit++) {
        words[bit / 64] ^= UINT64_C(1) << bit % 64;
        unseen += payload_is(words, BYTES, header);
        words[bit / 64] ^= UINT64_C(1) << bit % 64;
    }
    ck_assert_uint_eq(unseen, 0);
    ck_assert(payload_is(words, BYTES, header));
}
END_TEST

START_TEST(a_payload_that_moved_is_wrong)
{
    payload_write(words, BYTES, payload_header(0, 5));
    for (size_t by = 1; by <= PAYLOAD_BLOCK_WORDS; by++)
        ck_assert(!payload_is(words + by, BYTES - PAYLOAD_BLOCK_BYTES, words[by]) ||
                  payload_producer(words[by]) >= ROUND_MAX_PARTICIPANTS); /* a header that nobody has */
    ck_assert(!payload_is(words, BYTES, payload_header(0, 6)));
    ck_assert(!payload_is(words, BYTES, payload_reply_header(words[0])));
}
END_TEST

/* -- a transport with a fault -------------------------------------------------- */

enum fault { FAULT_NONE, FAULT_WRONG, FAULT_LOST, FAULT_DOUBLED, FAULT_REPLY_WRONG, FAULT_REPLY_OF_ANOTHER };

/* In each participant, by itself. */
static enum fault fault;
static uint64_t *written;
static unsigned sent;

#define FAULTY_JOB 7

static uint64_t *faulty_begin_request(void *producer)
{
    written = transport_pipe.begin_request(producer);
    return written;
}

static void faulty_send_request(void *producer)
{
    const bool now = ++sent == FAULTY_JOB;

    if (now && fault == FAULT_LOST)
        return;
    if (now && fault == FAULT_WRONG)
        written[3] ^= 1;
    transport_pipe.send_request(producer);
    if (now && fault == FAULT_DOUBLED)
        transport_pipe.send_request(producer);
}

static uint64_t *faulty_begin_reply(void *worker, uint32_t producer)
{
    written = transport_pipe.begin_reply(worker, producer);
    return written;
}

static void faulty_send_reply(void *worker)
{
    const bool now = ++sent == FAULTY_JOB;

    if (now && fault == FAULT_REPLY_WRONG)
        written[5] ^= 256;
    if (now && fault == FAULT_REPLY_OF_ANOTHER)
        payload_write(written, BYTES, payload_reply_header(payload_header(0, 3)));
    transport_pipe.send_reply(worker);
}

static int run_faulty(enum fault which, uint32_t window)
{
    const struct shape shape = {.producers = 1, .workers = 1, .slots = 16, .window = window, .bytes = BYTES};
    struct transport transport = transport_pipe;
    const struct round_plan plan = {.transport = &transport,
                                    .shape = shape,
                                    .placement = PLACEMENT_FREE,
                                    .jobs = 20,
                                    .duration_ns = UINT64_C(3000000000)};
    struct round_result result;
    int rc;

    transport.begin_request = faulty_begin_request;
    transport.send_request = faulty_send_request;
    transport.begin_reply = faulty_begin_reply;
    transport.send_reply = faulty_send_reply;
    fault = which;
    rc = round_run(&plan, &result);
    if (rc == 0)
        ck_assert_uint_eq(result.jobs, 20);
    return rc;
}

START_TEST(a_right_transport_passes)
{
    ck_assert_int_eq(run_faulty(FAULT_NONE, 0), 0);
    ck_assert_int_eq(run_faulty(FAULT_NONE, 4), 0);
}
END_TEST

START_TEST(a_wrong_byte_is_told)
{
    ck_assert_int_eq(run_faulty(FAULT_WRONG, 0), -1);
    ck_assert_int_eq(run_faulty(FAULT_WRONG, 4), -1);
    ck_assert_int_eq(run_faulty(FAULT_REPLY_WRONG, 4), -1);
}
END_TEST

START_TEST(a_lost_job_is_told)
{
    ck_assert_int_eq(run_faulty(FAULT_LOST, 0), -1);
}
END_TEST

START_TEST(a_doubled_job_is_told)
{
    ck_assert_int_eq(run_faulty(FAULT_DOUBLED, 0), -1);
    ck_assert_int_eq(run_faulty(FAULT_DOUBLED, 4), -1);
}
END_TEST

START_TEST(a_reply_to_another_job_is_told)
{
    ck_assert_int_eq(run_faulty(FAULT_REPLY_OF_ANOTHER, 4), -1);
}
END_TEST

static Suite *handoff_suite(void)
{
    Suite *const suite = suite_create("handoff");
    TCase *const payload = tcase_create("payload"), *const round = tcase_create("round");

    tcase_add_test(payload, a_payload_is_what_was_written);
    tcase_add_test(payload, each_changed_bit_shows);
    tcase_add_test(payload, a_payload_that_moved_is_wrong);
    suite_add_tcase(suite, payload);
    tcase_add_test(round, a_right_transport_passes);
    tcase_add_test(round, a_wrong_byte_is_told);
    tcase_add_test(round, a_lost_job_is_told);
    tcase_add_test(round, a_doubled_job_is_told);
    tcase_add_test(round, a_reply_to_another_job_is_told);
    suite_add_tcase(suite, round);
    return suite;
}

PFK_UNIT_MAIN(handoff_suite)
