/* SPDX-License-Identifier: BSD-2-Clause */
/* The submitter's half of a job: reserve, submit, wait, collect, detach.
 *
 *     FREE, SPARE -> RESERVED(me) -> QUEUING(me) … DONE -> SPARE(me), or FREEING(me)
 *
 * Each arrow is one compare-and-swap, the second a store. Runs on the lane's thread. */
#include "job/lane.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "job/park.h"
#include "job/take.h"

/* -- reserve ---------------------------------------------------------------- */

/* Where the next slot may be found: with whoever freed this one. */
static void submit_follow(struct prefork_lane *lane, uint32_t freer)
{
    if (freer != lane->magazine.source.lane && freer != lane->number && pfk_table_is_lane(lane->table, freer))
        pfk_magazine_follow(lane, freer);
}

/* These return the id of the job that the slot is reserved for, or 0. */
static uint64_t submit_take_from_ring(struct prefork_lane *lane, struct pfk_ring *ring)
{
    uint32_t index, freer;
    const uint64_t word = pfk_take(lane->table, ring, pfk_take_reserve, lane->number, &index, &freer);

    if (word == 0)
        return 0;
    submit_follow(lane, freer);
    return pfk_job_id(word, index);
}

/* Where the slots are that others freed; everybody's magazine last. */
PFK_RARELY_CALLED static uint64_t submit_take_from_others(struct prefork_lane *lane)
{
    uint64_t job = submit_take_from_ring(lane, &lane->rings.free_hot);

    if (job == 0)
        job = submit_take_from_ring(lane, &lane->rings.free_cold);
    if (job == 0)
        job = pfk_magazine_take_any(lane);
    return job;
}

/* Our own magazine first, where the slot is warm, and that of who freed for us lately. */
static inline uint64_t submit_take(struct prefork_lane *lane)
{
    uint64_t job = 0;

    if (!pfk_magazine_own_is_empty(&lane->magazine))
        job = pfk_magazine_take(lane, &lane->magazine.own);
    if (job == 0 && lane->magazine.source.lane != PFK_NOBODY)
        job = pfk_magazine_take(lane, &lane->magazine.source);
    return PFK_LIKELY(job != 0) ? job : submit_take_from_others(lane);
}

static inline bool submit_try_reserve(struct prefork_lane *lane, uint64_t *job_out)
{
    struct pfk_descriptor_shm *descriptor;
    const uint64_t job = submit_take(lane);

    if (PFK_UNLIKELY(job == 0))
        return false;
    descriptor = pfk_table_descriptor(lane->table, pfk_job_index(job));
    pfk_u32_store_relaxed(&descriptor->submitter, lane->number);
    pfk_u32_store_relaxed(&descriptor->hand_backs, 0);
    *job_out = job;
    return true;
}

/* Says that somebody waits for room. Whoever frees a slot next clears it, wakes
 * all loops that asked and one sleeper; that one says it again, since other
 * sleepers may still wait. A read-modify-write, so that who clears it acquires the flags of all the lanes
 * that said it before. */
static void submit_declare_starved(struct prefork_lane *lane)
{
    (void)pfk_u32_exchange_acq_rel(&lane->table->work->starved, 1);
    pfk_fence_after_rmw(); /* `starved`, then the rings; pairs with the fence in pfk_table_wake_room */
}

static void submit_pass_room_on(struct prefork_lane *lane)
{
    if (pfk_table_has_room(lane->table, &lane->rings) && pfk_table_wake_room(lane->table))
        pfk_lane_tally(lane, PFK_COUNT_WOKEN);
}

/* Ends a request for room. An answer owes nothing to others: all starved loops
 * are answered at once. */
static void submit_stop_wanting_room(struct prefork_lane *lane)
{
    lane->wanted_room = false;
    pfk_u32_store_relaxed(&lane->shm->starved, 0);
}

PFK_RARELY_CALLED static int submit_wait_for_room(struct prefork_lane *lane, uint64_t deadline_ns, uint64_t *job_out)
{
    for (;;) {
        submit_declare_starved(lane);
        if (submit_try_reserve(lane, job_out)) {
            submit_stop_wanting_room(lane);
            submit_pass_room_on(lane);
            return 0;
        }
        if (pfk_lane_take_interrupt(lane))
            return pfk_error_routine(EINTR, "prefork_lane_reserve: interrupted");
        if (pfk_clock_is_over(deadline_ns))
            return pfk_error(ETIMEDOUT, "prefork_lane_reserve: all %u slots were busy until the deadline",
                             lane->table->geometry.slots);
        pfk_lane_tally(lane, PFK_COUNT_SLEPT);
        pfk_park_sleep(&lane->table->work->room_sem, pfk_lane_nap_ns(lane, deadline_ns));
    }
}

/* Reserves without remembering it. */
static int submit_reserve(struct prefork_lane *lane, uint64_t deadline_ns, uint64_t *job_out)
{
    if (PFK_LIKELY(submit_try_reserve(lane, job_out))) {
        if (PFK_UNLIKELY(lane->wanted_room))
            submit_stop_wanting_room(lane);
        return 0;
    }
    pfk_lane_tally(lane, PFK_COUNT_REFUSED);
    if (deadline_ns == PREFORK_NO_WAIT)
        return pfk_error_routine(EAGAIN, "prefork_lane_reserve: every slot is busy");
    return submit_wait_for_room(lane, deadline_ns, job_out);
}

PFK_EXPORT int prefork_lane_reserve(struct prefork_lane *lane, uint64_t deadline_ns, uint64_t *job_out)
{
    int rc = pfk_lane_check(lane, "prefork_lane_reserve");

    if (rc == 0)
        rc = submit_reserve(lane, deadline_ns, job_out);
    if (rc == 0)
        pfk_lane_record_reserved(lane, *job_out);
    return rc;
}

PFK_EXPORT int prefork_lane_want_room(struct prefork_lane *lane)
{
    const int rc = pfk_lane_check_family(lane, "prefork_lane_want_room");

    if (rc != 0)
        return rc;
    lane->wanted_room = true;
    pfk_u32_store_relaxed(&lane->shm->starved, 1);
    submit_declare_starved(lane); /* releases the lane's own flag */
    return pfk_table_has_room(lane->table, &lane->rings) ? 1 : 0;
}

/* -- submit ----------------------------------------------------------------- */

static inline struct pfk_record *submit_find_reserved(struct prefork_lane *lane, uint64_t job, const char *call)
{
    struct pfk_record *const record = pfk_lane_find(lane, job);

    if (PFK_LIKELY(record != NULL && record->state == PFK_RECORD_RESERVED))
        return record;
    (void)pfk_error(EINVAL, "%s: job %llx is not reserved by lane %u", call, (unsigned long long)job, lane->number);
    return NULL;
}

PFK_EXPORT void *prefork_lane_request_buffer(struct prefork_lane *lane, uint64_t job, size_t *capacity_out)
{
    if (pfk_lane_check(lane, "prefork_lane_request_buffer") != 0 ||
        submit_find_reserved(lane, job, "prefork_lane_request_buffer") == NULL)
        return NULL;
    *capacity_out = lane->table->geometry.request_bytes;
    return pfk_table_payload(lane->table, pfk_job_index(job));
}

static inline int submit_check(const struct prefork_lane *lane, const struct prefork_submission *submission,
                               const char *call)
{
    if (PFK_UNLIKELY(submission->size < sizeof(*submission)))
        return pfk_error(EINVAL, "%s: submission.size is %zu; set it to sizeof(struct prefork_submission)", call,
                         submission->size);
    if (PFK_UNLIKELY(submission->request_bytes > lane->table->geometry.request_bytes))
        return pfk_error(EMSGSIZE,
                         "%s: a request of %zu bytes; this table's slots take %u: create it with a greater "
                         "request_bytes",
                         call, submission->request_bytes, lane->table->geometry.request_bytes);
    if (PFK_UNLIKELY(submission->handler > UINT16_MAX))
        return pfk_error(EINVAL, "%s: handler %u; numbers go to 65535", call, submission->handler);
    if (PFK_UNLIKELY((submission->flags & ~(uint32_t)(PREFORK_SUBMIT_DETACHED | PREFORK_SUBMIT_NOTIFY)) != 0))
        return pfk_error(EINVAL, "%s: unknown flags %x", call, submission->flags);
    if (PFK_UNLIKELY(submission->flags == (PREFORK_SUBMIT_DETACHED | PREFORK_SUBMIT_NOTIFY)))
        return pfk_error(EINVAL, "%s: a detached job is not announced; choose one flag", call);
    return (submission->flags & PREFORK_SUBMIT_NOTIFY) != 0 ? pfk_lane_check_family(lane, call) : 0;
}

static uint32_t submit_word_flags(uint32_t flags)
{
    return ((flags & PREFORK_SUBMIT_DETACHED) != 0 ? (uint32_t)PFK_DETACHED : 0) |
           ((flags & PREFORK_SUBMIT_NOTIFY) != 0 ? (uint32_t)PFK_NOTIFY : 0);
}

static enum pfk_record_state submit_record_state(uint32_t flags)
{
    return (flags & PREFORK_SUBMIT_NOTIFY) != 0 ? PFK_RECORD_NOTIFY : PFK_RECORD_WAITED;
}

/* Nobody but us may move a word that says RESERVED(us), so a store does; it
 * releases the request and the fields, and the claimer acquires them. From then
 * on the job is accepted: if we die, repair puts the entry. */
static inline int submit_publish(struct prefork_lane *lane, uint64_t job, const struct prefork_submission *submission)
{
    const uint32_t index = pfk_job_index(job);
    struct pfk_descriptor_shm *const descriptor = pfk_table_descriptor(lane->table, index);
    const uint64_t found = pfk_u64_load_relaxed(&descriptor->word);
    const uint64_t queuing =
        pfk_word(PFK_QUEUING, submit_word_flags(submission->flags), 0, lane->number, pfk_job_life(job));

    if (PFK_UNLIKELY(found != pfk_word(PFK_RESERVED, 0, 0, lane->number, pfk_job_life(job))))
        return pfk_error(ESTALE, "prefork_lane_submit: slot %u is %s, not reserved; shared memory was damaged", index,
                         pfk_state_name(pfk_word_state(found)));
    pfk_u32_store_relaxed(&descriptor->handler, submission->handler);
    pfk_u32_store_relaxed(&descriptor->request_bytes, (uint32_t)submission->request_bytes);
    pfk_u32_store_relaxed(&descriptor->submitter_cpu, lane->spin.own_cpu);
    pfk_u64_store_relaxed(&descriptor->submitted_ns, pfk_lane_stamps(queuing) ? prefork_clock_now_ns() : 0);
    pfk_u64_store_release(&descriptor->word, queuing);
    (void)pfk_rings_put_ready(&lane->rings, index);
    pfk_lane_tally(lane, PFK_COUNT_SUBMITTED);
    if (pfk_park_ring(&lane->table->work->ready_sem))
        pfk_lane_tally(lane, PFK_COUNT_WOKEN);
    return 0;
}

/* What the record of a reserved slot becomes when its job is submitted. */
static void submit_remember(struct prefork_lane *lane, struct pfk_record *record,
                            const struct prefork_submission *submission)
{
    const enum pfk_record_state state = submit_record_state(submission->flags);

    if ((submission->flags & PREFORK_SUBMIT_DETACHED) != 0) {
        pfk_lane_forget(lane, record);
    } else if (pfk_lane_is_listed(lane, record)) {
        record->user = submission->user;
        record->state = state;
    } else {
        pfk_lane_record(lane, record->job, state, submission->user);
        record->state = PFK_RECORD_NONE;
    }
}

PFK_EXPORT int prefork_lane_submit(struct prefork_lane *lane, uint64_t job, const struct prefork_submission *submission)
{
    struct pfk_record *record;
    int rc = pfk_lane_check(lane, "prefork_lane_submit");

    if (rc == 0)
        rc = submit_check(lane, submission, "prefork_lane_submit");
    if (PFK_UNLIKELY(rc != 0))
        return rc;
    record = submit_find_reserved(lane, job, "prefork_lane_submit");
    if (PFK_UNLIKELY(record == NULL))
        return -EINVAL;
    rc = submit_publish(lane, job, submission);
    if (PFK_UNLIKELY(rc != 0))
        return rc;
    submit_remember(lane, record, submission);
    return 0;
}

PFK_EXPORT int prefork_lane_put(struct prefork_lane *lane, const void *request,
                                const struct prefork_submission *submission, uint64_t deadline_ns, uint64_t *job_out)
{
    int rc = pfk_lane_check(lane, "prefork_lane_put");

    if (rc == 0)
        rc = submit_check(lane, submission, "prefork_lane_put");
    if (rc == 0)
        rc = submit_reserve(lane, deadline_ns, job_out);
    if (PFK_UNLIKELY(rc != 0))
        return rc;
    if (submission->request_bytes > 0)
        memcpy(pfk_table_payload(lane->table, pfk_job_index(*job_out)), request, submission->request_bytes);
    rc = submit_publish(lane, *job_out, submission);
    if (PFK_LIKELY(rc == 0) && (submission->flags & PREFORK_SUBMIT_DETACHED) == 0)
        pfk_lane_record(lane, *job_out, submit_record_state(submission->flags), submission->user);
    return rc;
}

/* -- giving a slot back ------------------------------------------------------- */

/* Frees a slot that is in a state which only this lane may leave: into our
 * magazine while it has a place, else into a free ring. */
static int submit_free(struct prefork_lane *lane, struct pfk_record *record, uint32_t state, uint32_t owner)
{
    const uint64_t job = record->job;
    const uint32_t index = pfk_job_index(job);
    pfk_atomic_u64 *const at = &pfk_table_descriptor(lane->table, index)->word;
    uint64_t word = pfk_u64_load_relaxed(at);

    if (PFK_UNLIKELY(!pfk_word_is(word, state, owner) || pfk_word_life(word) != pfk_job_life(job) ||
                     !pfk_magazine_free(lane, index, &word)))
        return pfk_error(ESTALE, "slot %u is %s, not %s; shared memory was damaged", index,
                         pfk_state_name(pfk_word_state(word)), pfk_state_name(state));
    pfk_lane_forget(lane, record);
    if (pfk_table_wake_room(lane->table))
        pfk_lane_tally(lane, PFK_COUNT_WOKEN);
    return 0;
}

PFK_EXPORT int prefork_lane_abandon(struct prefork_lane *lane, uint64_t job)
{
    struct pfk_record *record;
    const int rc = pfk_lane_check(lane, "prefork_lane_abandon");

    if (rc != 0)
        return rc;
    record = submit_find_reserved(lane, job, "prefork_lane_abandon");
    return record != NULL ? submit_free(lane, record, PFK_RESERVED, lane->number) : -EINVAL;
}

static struct pfk_record *submit_find_submitted(struct prefork_lane *lane, uint64_t job, const char *call)
{
    struct pfk_record *const record = pfk_lane_find(lane, job);

    if (PFK_LIKELY(record != NULL && record->state != PFK_RECORD_RESERVED))
        return record;
    (void)pfk_error(EINVAL, "%s: job %llx is not one that lane %u submitted and may collect", call,
                    (unsigned long long)job, lane->number);
    return NULL;
}

PFK_EXPORT int prefork_lane_collect(struct prefork_lane *lane, uint64_t job)
{
    struct pfk_record *record;
    uint64_t word;
    int rc = pfk_lane_check(lane, "prefork_lane_collect");

    if (PFK_UNLIKELY(rc != 0))
        return rc;
    record = submit_find_submitted(lane, job, "prefork_lane_collect");
    if (PFK_UNLIKELY(record == NULL))
        return -EINVAL;
    word = pfk_u64_load_acquire(&pfk_table_descriptor(lane->table, pfk_job_index(job))->word);
    if (PFK_UNLIKELY(pfk_word_life(word) == pfk_job_life(job) && pfk_word_state(word) != PFK_DONE))
        return pfk_error(EBUSY, "prefork_lane_collect: job %llx is %s; wait for it, or detach it",
                         (unsigned long long)job, pfk_state_name(pfk_word_state(word)));
    rc = submit_free(lane, record, PFK_DONE, PFK_NOBODY);
    if (rc == 0)
        pfk_lane_tally(lane, PFK_COUNT_COLLECTED);
    return rc;
}

PFK_EXPORT int prefork_lane_detach(struct prefork_lane *lane, uint64_t job)
{
    struct pfk_record *record;
    pfk_atomic_u64 *at;
    uint64_t word;
    const int rc = pfk_lane_check(lane, "prefork_lane_detach");

    if (rc != 0)
        return rc;
    record = submit_find_submitted(lane, job, "prefork_lane_detach");
    if (record == NULL)
        return -EINVAL;
    at = &pfk_table_descriptor(lane->table, pfk_job_index(job))->word;
    word = pfk_u64_load_acquire(at);
    for (uint32_t step = 0; step < lane->table->rings.ready.patience; step++) {
        if (pfk_word_life(word) != pfk_job_life(job))
            break;
        if (pfk_word_state(word) == PFK_DONE)
            return prefork_lane_collect(lane, job);
        /* The completer's CAS now fails, and finds that it has to free the slot. */
        if (pfk_u64_cas_acq_rel(at, &word, pfk_word_flagged(word, PFK_DETACHED))) {
            pfk_lane_forget(lane, record);
            return 0;
        }
    }
    return pfk_error(ESTALE, "prefork_lane_detach: slot %u no longer holds the job; shared memory was damaged",
                     pfk_job_index(job));
}

/* -- results ------------------------------------------------------------------ */

/* Everything read from the slot is checked: the reply lies within it whatever
 * the worker wrote. */
static void submit_fill_result(struct prefork_lane *lane, const struct pfk_record *record, uint64_t word,
                               struct prefork_result *result_out)
{
    const uint32_t index = pfk_job_index(record->job);
    const struct pfk_descriptor_shm *const descriptor = pfk_table_descriptor(lane->table, index);
    const size_t payload_bytes = pfk_geometry_payload_bytes(&lane->table->geometry);
    size_t offset = pfk_u32_load_relaxed(&descriptor->reply_offset);
    size_t bytes = pfk_u32_load_relaxed(&descriptor->reply_bytes);

    if (PFK_UNLIKELY(offset > payload_bytes))
        offset = payload_bytes;
    if (PFK_UNLIKELY(bytes > payload_bytes - offset))
        bytes = payload_bytes - offset;
    lane->spin.partner_cpu = pfk_u32_load_relaxed(&descriptor->worker_cpu);
    result_out->job = record->job;
    result_out->user = record->user;
    result_out->reply = pfk_table_payload(lane->table, index) + offset;
    result_out->reply_bytes = bytes;
    result_out->status = (int)(int32_t)pfk_u32_load_relaxed(&descriptor->status);
    result_out->attempts = (pfk_word_attempt(word) - pfk_u32_load_relaxed(&descriptor->hand_backs)) & 255;
}

struct submit_looking {
    const pfk_atomic_u64 *word;
    uint64_t life;
};

static bool submit_look(void *context)
{
    const struct submit_looking *const looking = context;
    const uint64_t word = pfk_u64_load_acquire(looking->word);

    return pfk_word_state(word) == PFK_DONE || pfk_word_life(word) != looking->life;
}

/* Until the job is complete, for a while; who completes it has nobody to wake. */
static void submit_spin(struct prefork_lane *lane, const struct pfk_record *record, uint64_t deadline_ns)
{
    struct submit_looking looking = {&pfk_table_descriptor(lane->table, pfk_job_index(record->job))->word,
                                     pfk_job_life(record->job)};

    if (!submit_look(&looking) && pfk_spin_is_due(&lane->spin))
        (void)pfk_spin_until(&lane->spin, deadline_ns, submit_look, &looking);
}

/* Sets WAIT unless the job is DONE; 1: done, 0: sleep now, -ESTALE. */
static int submit_declare_wait(struct prefork_lane *lane, const struct pfk_record *record, bool declare,
                               uint64_t *word_out)
{
    pfk_atomic_u64 *const at = &pfk_table_descriptor(lane->table, pfk_job_index(record->job))->word;
    uint64_t word = pfk_u64_load_acquire(at);

    for (uint32_t step = 0; step < lane->table->rings.ready.patience; step++) {
        if (pfk_word_life(word) != pfk_job_life(record->job))
            break;
        *word_out = word;
        if (pfk_word_state(word) == PFK_DONE)
            return 1;
        if (!declare || (pfk_word_flags(word) & PFK_WAIT) != 0)
            return 0;
        if (pfk_u64_cas_acq_rel(at, &word, pfk_word_flagged(word, PFK_WAIT)))
            return 0; /* the completer now sees it and posts our semaphore */
    }
    return pfk_error(ESTALE, "prefork_lane_wait: slot %u no longer holds the job; shared memory was damaged",
                     pfk_job_index(record->job));
}

PFK_EXPORT int prefork_lane_wait(struct prefork_lane *lane, uint64_t job, uint64_t deadline_ns,
                                 struct prefork_result *result_out)
{
    const struct pfk_record *record;
    uint64_t word = 0;
    int rc = pfk_lane_check(lane, "prefork_lane_wait");

    if (rc != 0)
        return rc;
    record = submit_find_submitted(lane, job, "prefork_lane_wait");
    if (record == NULL)
        return -EINVAL;
    /* By now it is done most times: its word will be collected, and its reply read. */
    PFK_PREFETCH(&pfk_table_descriptor(lane->table, pfk_job_index(job))->word);
    PFK_PREFETCH(pfk_table_payload(lane->table, pfk_job_index(job)) + lane->table->geometry.request_bytes);
    if (deadline_ns != PREFORK_NO_WAIT)
        submit_spin(lane, record, deadline_ns);
    for (;;) {
        rc = submit_declare_wait(lane, record, deadline_ns != PREFORK_NO_WAIT, &word);
        if (rc < 0)
            return rc;
        if (rc > 0) {
            submit_fill_result(lane, record, word, result_out);
            return 0;
        }
        if (deadline_ns == PREFORK_NO_WAIT)
            return pfk_error_routine(EAGAIN, "prefork_lane_wait: the job is not complete");
        if (pfk_lane_take_interrupt(lane))
            return pfk_error_routine(EINTR, "prefork_lane_wait: interrupted");
        if (pfk_clock_is_over(deadline_ns))
            return pfk_error(ETIMEDOUT, "prefork_lane_wait: job %llx was not complete at the deadline",
                             (unsigned long long)job);
        pfk_lane_tally(lane, PFK_COUNT_SLEPT);
        pfk_park_sleep(&lane->shm->sem, pfk_lane_nap_ns(lane, deadline_ns));
    }
}

/* -- results in an event loop --------------------------------------------------- */

/* Gives a record out if its job is done; the hint may name any slot. */
static bool submit_give(struct prefork_lane *lane, uint32_t index, struct prefork_result *result_out)
{
    struct pfk_record *record;
    uint64_t word;

    if (index >= lane->table->geometry.slots)
        return false;
    record = &lane->records[index];
    if (record->state != PFK_RECORD_NOTIFY)
        return false;
    word = pfk_u64_load_acquire(&pfk_table_descriptor(lane->table, index)->word);
    if (pfk_word_state(word) != PFK_DONE || pfk_word_life(word) != pfk_job_life(record->job))
        return false;
    record->state = PFK_RECORD_GIVEN;
    submit_fill_result(lane, record, word, result_out);
    return true;
}

static bool submit_next_from_mailbox(struct prefork_lane *lane, struct prefork_result *result_out)
{
    struct pfk_ring *const mailbox = &lane->mailbox;
    struct pfk_ring_entry entry;

    for (uint32_t step = 0; step < mailbox->patience && pfk_ring_peek(mailbox, &entry); step++) {
        pfk_ring_remove_alone(mailbox, &entry);
        if (submit_give(lane, entry.index, result_out))
            return true;
    }
    return false;
}

static bool submit_next_from_rescan(struct prefork_lane *lane, struct prefork_result *result_out)
{
    const uint32_t end = lane->table->geometry.slots;

    if (pfk_u32_load_relaxed(&lane->shm->rescan) != 0 && pfk_u32_exchange_acq_rel(&lane->shm->rescan, 0) != 0)
        lane->rescan_at = lane->records[end].next;
    while (lane->rescan_at != end) {
        const uint32_t index = lane->rescan_at;

        lane->rescan_at = lane->records[index].next;
        if (submit_give(lane, index, result_out))
            return true;
    }
    return false;
}

static bool submit_next(struct prefork_lane *lane, struct prefork_result *result_out)
{
    return submit_next_from_mailbox(lane, result_out) || submit_next_from_rescan(lane, result_out);
}

PFK_EXPORT int prefork_lane_next(struct prefork_lane *lane, struct prefork_result *result_out)
{
    const int rc = pfk_lane_check_family(lane, "prefork_lane_next");

    if (PFK_UNLIKELY(rc != 0))
        return rc;
    if (submit_next(lane, result_out))
        return 0;
    /* Clear the signal, declare the sleep, then look again. */
    pfk_fd_event_clear(lane->table->wake_fds[lane->number]);
    pfk_u32_store_relaxed(&lane->shm->armed, 1);
    pfk_fence_seq_cst(); /* `armed`, then the mailbox; pairs with the fence in table_mail */
    if (submit_next(lane, result_out)) {
        pfk_u32_store_relaxed(&lane->shm->armed, 0); /* awake after all: keeps I-14, spares a signal */
        return 0;
    }
    /* The signal that was cleared may have been for room. Who answers clears the
     * lane's flag first and signals then, so either we see it here or the signal
     * is still to come. */
    if (lane->wanted_room && pfk_u32_load_acquire(&lane->shm->starved) == 0) {
        lane->wanted_room = false;
        return 1;
    }
    return pfk_error_routine(EAGAIN, "prefork_lane_next: no completion");
}
