/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker's half of a job: claim, complete, hand back.
 *
 *     QUEUING, READY -> CLAIMED(me) -> DONE, or SPARE(me) when detached
 *
 * Runs on the lane's thread. The word as the claim left it is the fencing
 * token: whoever's (life, attempt) is not in the word any more has lost the
 * job and changes nothing. */
#include "job/lane.h"

#include <errno.h>

#include "base/clock.h"
#include "base/error.h"
#include "job/park.h"
#include "job/take.h"

/* Flags are three, each is set once: more failures mean damage. */
#ifndef CLAIM_FLAG_TRIES /* a mutant has fewer */
#define CLAIM_FLAG_TRIES 8
#endif

static void claim_stamp(struct prefork_lane *lane, struct pfk_descriptor_shm *descriptor, uint64_t word)
{
    const uint64_t submitted_ns = pfk_u64_load_relaxed(&descriptor->submitted_ns);
    uint64_t now_ns;

    if (PFK_LIKELY(!pfk_lane_stamps(word) || submitted_ns == 0))
        return;
    now_ns = prefork_clock_now_ns();
    pfk_u64_store_relaxed(&descriptor->claimed_ns, now_ns);
    pfk_lane_stamp_latency(lane->shm->waited_log2_ns, submitted_ns, now_ns);
}

/* Copies what the handler may ask for, checked, so that a scribbler can't
 * change a length under it. */
static struct prefork_job *claim_open(struct prefork_lane *lane, uint32_t index, uint64_t word)
{
    struct pfk_descriptor_shm *const descriptor = pfk_table_descriptor(lane->table, index);
    struct prefork_job *const job = &lane->job;

    job->lane = lane;
    job->word = word;
    job->index = index;
    job->handler = pfk_u32_load_relaxed(&descriptor->handler);
    lane->spin.partner_cpu = pfk_u32_load_relaxed(&descriptor->submitter_cpu);
    job->request_bytes = pfk_u32_load_relaxed(&descriptor->request_bytes);
    if (PFK_UNLIKELY(job->request_bytes > lane->table->geometry.request_bytes))
        job->request_bytes = lane->table->geometry.request_bytes;
    job->attempt = (pfk_word_attempt(word) - pfk_u32_load_relaxed(&descriptor->hand_backs)) & 255;
    job->reply_offset = lane->table->geometry.request_bytes;
    job->reply_bytes = 0;
    job->held = true;
    claim_stamp(lane, descriptor, word);
    pfk_lane_tally(lane, PFK_COUNT_CLAIMED);
    return job;
}

static inline bool claim_try(struct prefork_lane *lane, struct prefork_job **job_out)
{
    uint32_t index;
    const uint64_t word = pfk_take(lane->table, &lane->rings.ready, pfk_take_claim, lane->number, &index, NULL);

    if (word == 0)
        return false;
    *job_out = claim_open(lane, index, word);
    return true;
}

/* Who was woken wakes the next: one post for many jobs still wakes as many
 * sleepers as there is work for. */
static void claim_pass_on(struct prefork_lane *lane)
{
    struct pfk_ring_entry entry;

    if (pfk_ring_peek(&lane->rings.ready, &entry) && pfk_park_ring(&lane->table->work->ready_sem))
        pfk_lane_tally(lane, PFK_COUNT_WOKEN);
}

struct claim_looking {
    struct prefork_lane *lane;
    struct prefork_job **job_out;
};

static bool claim_look(void *context)
{
    struct claim_looking *const looking = context;

    return claim_try(looking->lane, looking->job_out);
}

PFK_RARELY_CALLED static bool claim_spin(struct prefork_lane *lane, uint64_t deadline_ns, struct prefork_job **job_out)
{
    struct claim_looking looking = {lane, job_out};

    return pfk_spin_until(&lane->spin, deadline_ns, claim_look, &looking);
}

PFK_RARELY_CALLED static int claim_wait(struct prefork_lane *lane, uint64_t deadline_ns, struct prefork_job **job_out)
{
    for (;;) {
        if (pfk_lane_take_interrupt(lane)) {
            claim_pass_on(lane); /* the token we may have taken was meant for a job */
            return pfk_error_routine(EINTR, "prefork_lane_claim: interrupted");
        }
        if (pfk_clock_is_over(deadline_ns)) {
            claim_pass_on(lane);
            return pfk_error_routine(ETIMEDOUT, "prefork_lane_claim: no job until the deadline");
        }
        pfk_table_run_errand(lane->table, &lane->rings);
        pfk_lane_tally(lane, PFK_COUNT_SLEPT);
        pfk_park_sleep(&lane->table->work->ready_sem, pfk_lane_nap_ns(lane, deadline_ns));
        if (claim_try(lane, job_out)) {
            claim_pass_on(lane);
            return 0;
        }
    }
}

PFK_EXPORT int prefork_lane_claim(struct prefork_lane *lane, uint64_t deadline_ns, struct prefork_job **job_out)
{
    const int rc = pfk_lane_check_family(lane, "prefork_lane_claim");

    if (PFK_UNLIKELY(rc != 0))
        return rc;
    if (PFK_UNLIKELY(lane->job.held))
        return pfk_error(EBUSY, "prefork_lane_claim: lane %u holds job %llx; complete it or hand it back first",
                         lane->number, (unsigned long long)prefork_job_id(&lane->job));
    if (PFK_LIKELY(claim_try(lane, job_out)))
        return 0;
    if (deadline_ns == PREFORK_NO_WAIT)
        return pfk_error_routine(EAGAIN, "prefork_lane_claim: no job");
    if (pfk_spin_is_due(&lane->spin) && claim_spin(lane, deadline_ns, job_out))
        return 0;
    return claim_wait(lane, deadline_ns, job_out);
}

/* -- what the handler sees ------------------------------------------------------ */

PFK_EXPORT const void *prefork_job_request(const struct prefork_job *job, size_t *length_out)
{
    *length_out = job->request_bytes;
    return pfk_table_payload(job->lane->table, job->index);
}

PFK_EXPORT void *prefork_job_reply_buffer(struct prefork_job *job, size_t *capacity_out)
{
    const struct pfk_geometry *const geometry = &job->lane->table->geometry;

    *capacity_out = geometry->reply_bytes;
    return pfk_table_payload(job->lane->table, job->index) + geometry->request_bytes;
}

PFK_EXPORT int prefork_job_reply(struct prefork_job *job, size_t length)
{
    const struct pfk_geometry *const geometry = &job->lane->table->geometry;

    if (length > geometry->reply_bytes)
        return pfk_error(EMSGSIZE,
                         "prefork_job_reply: %zu bytes; this table's replies take %u: create it with a "
                         "greater reply_bytes",
                         length, geometry->reply_bytes);
    job->reply_offset = geometry->request_bytes;
    job->reply_bytes = (uint32_t)length;
    return 0;
}

PFK_EXPORT int prefork_job_reply_request(struct prefork_job *job, size_t offset, size_t length)
{
    if (offset > job->request_bytes || length > job->request_bytes - offset)
        return pfk_error(EINVAL, "prefork_job_reply_request: %zu bytes from %zu on; the request has %u", length, offset,
                         job->request_bytes);
    job->reply_offset = (uint32_t)offset;
    job->reply_bytes = (uint32_t)length;
    return 0;
}

PFK_EXPORT uint64_t prefork_job_id(const struct prefork_job *job)
{
    return pfk_job_id(job->word, job->index);
}

PFK_EXPORT uint32_t prefork_job_attempt(const struct prefork_job *job)
{
    return job->attempt;
}

PFK_EXPORT uint32_t prefork_job_handler(const struct prefork_job *job)
{
    return job->handler;
}

/* -- ending a claim ---------------------------------------------------------------- */

/* The lane, and the job in it, are wiped in a forked child. */
static int claim_inherited(const char *call)
{
    return pfk_error(ECHILD, "%s: the job belongs to the parent process", call);
}

static int claim_lost(struct prefork_job *job, const char *call)
{
    return pfk_error(ESTALE, "%s: job %llx was taken away from lane %u; its result does not count", call,
                     (unsigned long long)prefork_job_id(job), job->lane->number);
}

/* Whether the word still carries our token. */
static bool claim_is_ours(const struct prefork_job *job, uint64_t word)
{
    const uint64_t flags = (uint64_t)PFK_FLAGS << 4;

    return (word & ~flags) == (job->word & ~flags);
}

/* Before anything is written to the descriptor: whoever lost the job changes nothing. */
static bool claim_holds(const struct prefork_job *job, uint64_t *word_out)
{
    *word_out = pfk_u64_load_acquire(&pfk_table_descriptor(job->lane->table, job->index)->word);
    return job->held && claim_is_ours(job, *word_out);
}

/* One try to end the claim: DONE, or free when nobody will collect. On failure
 * *word is what was found. */
static bool claim_finish(const struct prefork_job *job, uint64_t *word)
{
    pfk_atomic_u64 *const at = &pfk_table_descriptor(job->lane->table, job->index)->word;

    if ((pfk_word_flags(*word) & PFK_DETACHED) != 0)
        return pfk_magazine_free(job->lane, job->index, word);
    return pfk_u64_cas_acq_rel(at, word, pfk_word_moved(*word, PFK_DONE, PFK_NOBODY));
}

static bool claim_return(const struct prefork_job *job, uint64_t *word)
{
    pfk_atomic_u64 *const at = &pfk_table_descriptor(job->lane->table, job->index)->word;

    return pfk_u64_cas_acq_rel(at, word, pfk_word_moved(*word, PFK_QUEUING, job->lane->number));
}

/* Moves the word on from CLAIMED as claim_holds saw it, repeating while only
 * flags change. Returns false when the job is not ours any more; *flags_out is
 * what it had. */
static bool claim_leave(const struct prefork_job *job, uint64_t word,
                        bool (*try)(const struct prefork_job *, uint64_t *word), uint32_t *flags_out)
{
    for (int i = 0; i < CLAIM_FLAG_TRIES && claim_is_ours(job, word); i++) {
        *flags_out = pfk_word_flags(word);
        if (PFK_LIKELY(try(job, &word)))
            return true;
    }
    return false;
}

static void claim_stamp_end(const struct prefork_job *job, const struct pfk_descriptor_shm *descriptor)
{
    const uint64_t claimed_ns = pfk_u64_load_relaxed(&descriptor->claimed_ns);

    if (PFK_LIKELY(!pfk_lane_stamps(job->word) || claimed_ns == 0))
        return;
    pfk_lane_stamp_latency(job->lane->shm->ran_log2_ns, claimed_ns, prefork_clock_now_ns());
}

static bool claim_tell(const struct prefork_job *job, uint32_t flags, uint32_t submitter)
{
    const struct prefork_table *const table = job->lane->table;

    return (flags & PFK_DETACHED) != 0 ? pfk_table_wake_room(table)
                                       : pfk_table_announce(table, job->index, submitter, flags);
}

PFK_EXPORT int prefork_job_complete(struct prefork_job *job, int status)
{
    struct prefork_lane *const lane = job->lane;
    struct pfk_descriptor_shm *descriptor;
    uint32_t submitter, flags;
    uint64_t word;

    if (PFK_UNLIKELY(lane == NULL))
        return claim_inherited("prefork_job_complete");
    if (PFK_UNLIKELY(status > 0))
        return pfk_error(EINVAL, "prefork_job_complete: status %d; 0 or a negative code", status);
    if (PFK_UNLIKELY(!claim_holds(job, &word))) {
        job->held = false;
        return claim_lost(job, "prefork_job_complete");
    }
    descriptor = pfk_table_descriptor(lane->table, job->index);
    submitter =
        pfk_u32_load_relaxed(&descriptor->submitter); /* before the word moves: then the slot may be another's */
    pfk_u32_store_relaxed(&descriptor->reply_offset, job->reply_offset);
    pfk_u32_store_relaxed(&descriptor->reply_bytes, job->reply_bytes);
    pfk_u32_store_relaxed(&descriptor->status, (uint32_t)status);
    pfk_u32_store_relaxed(&descriptor->worker_cpu, lane->spin.own_cpu);
    claim_stamp_end(job, descriptor);
    job->held = false;
    /* Releases the reply; the submitter's load of DONE acquires it. */
    if (PFK_UNLIKELY(!claim_leave(job, word, claim_finish, &flags)))
        return claim_lost(job, "prefork_job_complete");
    pfk_lane_tally(lane, PFK_COUNT_JOBS);
    if (status != 0)
        pfk_lane_tally(lane, PFK_COUNT_FAILED);
    if (claim_tell(job, flags, submitter))
        pfk_lane_tally(lane, PFK_COUNT_WOKEN);
    return 0;
}

PFK_EXPORT int prefork_job_hand_back(struct prefork_job *job)
{
    struct prefork_lane *const lane = job->lane;
    struct pfk_descriptor_shm *descriptor;
    uint64_t word;
    uint32_t flags;
    bool holds;

    if (PFK_UNLIKELY(lane == NULL))
        return claim_inherited("prefork_job_hand_back");
    holds = claim_holds(job, &word);
    job->held = false;
    if (PFK_UNLIKELY(!holds))
        return claim_lost(job, "prefork_job_hand_back");
    descriptor = pfk_table_descriptor(lane->table, job->index);
    pfk_u32_store_relaxed(&descriptor->hand_backs, pfk_u32_load_relaxed(&descriptor->hand_backs) + 1);
    if (!claim_leave(job, word, claim_return, &flags))
        return claim_lost(job, "prefork_job_hand_back");
    pfk_lane_tally(lane, PFK_COUNT_HANDED_BACK);
    (void)pfk_rings_put_ready(&lane->rings, job->index);
    if (pfk_park_ring(&lane->table->work->ready_sem))
        pfk_lane_tally(lane, PFK_COUNT_WOKEN);
    return 0;
}
