/* SPDX-License-Identifier: BSD-2-Clause */
/* What the master does after a death: one pass over the slot words pays every
 * debt of the dead. Idempotent: a master killed in it leaves states that the
 * next pass understands, its own lane then being among the dead.
 *
 *     word of a dead owner       what is owed                        becomes
 *     FREEING                    the free entry, unless it is there   FREE
 *     RESERVED                   leftover at a free ring's head goes  FREEING(M), FREE
 *     SPARE                      the free entry                       FREEING(M), FREE
 *     QUEUING                    the ready entry, unless it is there  READY
 *     CLAIMED                    leftover at the ready head goes      QUEUING(M), READY
 *     CLAIMED, attempts used up  the same                             DONE, or FREEING(M), FREE
 *     of a dead submitter
 *     QUEUING, READY, CLAIMED    nobody will collect                  the same, DETACHED
 *     DONE                       nobody will collect                  FREEING(M), FREE
 *
 * Runs on the master only. The segment is hostile input here: each shared value
 * is loaded once and checked, every loop is bounded, a slot that keeps moving
 * is left to the next pass. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "job/park.h"
#include "job/store.h"
#include "job/table.h"

#define REPAIR_SLOT_TRIES 8
/* Slots. The pass waits for memory, and the processor's own prefetching ends at each page. */
#define REPAIR_LOOK_AHEAD 32
#define REPAIR_LANE_WORDS (4096 / 64)

struct repair {
    struct prefork_table view;  /* a copy whose rings have little patience */
    uint64_t dead[REPAIR_LANE_WORDS];
    uint64_t waited_for[REPAIR_LANE_WORDS]; /* lanes that wait for a job which is DONE */
    uint64_t *in_free, *in_ready;           /* slots with an entry, read once, when first needed */
    uint32_t spares;                        /* given back out of magazines */
    struct prefork_repair report;
};

enum repair_step {
    REPAIR_SETTLED, /* nothing left to do for this slot */
    REPAIR_AGAIN,   /* it moved, or has another debt: look again */
    REPAIR_DEFERRED
};

static bool repair_is_dead(const struct repair *repair, uint32_t lane)
{
    return lane < REPAIR_LANE_WORDS * 64 && (repair->dead[lane / 64] >> (lane % 64) & 1) != 0;
}

/* -- which slots have an entry ---------------------------------------------- */

struct repair_marks {
    uint64_t *bits;
    uint32_t slots;
};

static void repair_mark(uint32_t index, void *context)
{
    const struct repair_marks *const marks = context;

    if (index < marks->slots)
        marks->bits[index / 64] |= UINT64_C(1) << (index % 64);
}

static uint64_t *repair_new_bits(uint32_t slots)
{
    return calloc((slots + 63) / 64, sizeof(uint64_t));
}

/* Exact for the slots of the dead: their entry was put before the death, and
 * leaves the ring only by a claim, which changes the word. NULL: no memory. */
static const uint64_t *repair_free_marks(struct repair *repair)
{
    struct repair_marks marks = {repair->in_free, repair->view.geometry.slots};

    if (marks.bits != NULL)
        return marks.bits;
    marks.bits = repair->in_free = repair_new_bits(marks.slots);
    if (marks.bits != NULL) {
        pfk_ring_walk(&repair->view.rings.free_hot, repair_mark, &marks);
        pfk_ring_walk(&repair->view.rings.free_cold, repair_mark, &marks);
    }
    return marks.bits;
}

static const uint64_t *repair_ready_marks(struct repair *repair)
{
    struct repair_marks marks = {repair->in_ready, repair->view.geometry.slots};

    if (marks.bits != NULL)
        return marks.bits;
    marks.bits = repair->in_ready = repair_new_bits(marks.slots);
    if (marks.bits != NULL)
        pfk_ring_walk(&repair->view.rings.ready, repair_mark, &marks);
    return marks.bits;
}

static bool repair_is_marked(const uint64_t *bits, uint32_t index)
{
    return (bits[index / 64] >> (index % 64) & 1) != 0;
}

/* -- one slot --------------------------------------------------------------------- */

static pfk_atomic_u64 *repair_word(const struct repair *repair, uint32_t index)
{
    return &pfk_table_descriptor(&repair->view, index)->word;
}

/* From QUEUING to READY or from FREEING to FREE, the entry being there.
 * Repeated while only flags moved; given up when somebody took the slot on: the
 * entry was enough for that. */
static void repair_settle(const struct repair *repair, uint32_t index, uint32_t from, uint32_t owner)
{
    pfk_atomic_u64 *const at = repair_word(repair, index);
    const uint32_t to = from == PFK_FREEING ? PFK_FREE : PFK_READY;
    uint64_t word = pfk_u64_load_relaxed(at);
    const uint64_t life = pfk_word_life(word);

    for (int i = 0; i < REPAIR_SLOT_TRIES && pfk_word_is(word, from, owner) && pfk_word_life(word) == life; i++)
        if (pfk_u64_cas_acq_rel(at, &word, pfk_word_moved(word, to, PFK_NOBODY)))
            return;
}

/* Puts the entry that is owed, and settles. */
static enum repair_step repair_put(struct repair *repair, uint32_t index, uint32_t from, uint32_t owner)
{
    const bool put = from == PFK_FREEING ? pfk_rings_put_free(&repair->view.rings, index)
                                         : pfk_rings_put_ready(&repair->view.rings, index);

    if (!put)
        return REPAIR_DEFERRED; /* the ring kept moving */
    repair_settle(repair, index, from, owner);
    return REPAIR_SETTLED;
}

/* The marks are taken before the word is read again: an entry that is not
 * marked and a word that has not moved mean that the entry was never put. */
static enum repair_step repair_pay(struct repair *repair, uint32_t index, uint64_t seen)
{
    const uint32_t state = pfk_word_state(seen), owner = pfk_word_owner(seen);
    const uint64_t *const marks = state == PFK_FREEING ? repair_free_marks(repair) : repair_ready_marks(repair);

    if (marks == NULL)
        return REPAIR_DEFERRED;
    if (pfk_u64_load_acquire(repair_word(repair, index)) != seen)
        return REPAIR_AGAIN;
    if (!repair_is_marked(marks, index))
        return repair_put(repair, index, state, owner);
    repair_settle(repair, index, state, owner);
    return REPAIR_SETTLED;
}

/* Takes a slot over as FREEING(M) and frees it. `life` of the word is kept. */
static enum repair_step repair_free(struct repair *repair, uint32_t index, uint64_t seen, uint32_t *count)
{
    const uint64_t freeing = pfk_word_moved(seen, PFK_FREEING, PREFORK_LANE_MASTER);

    if (!pfk_u64_cas_acq_rel(repair_word(repair, index), &seen, freeing))
        return REPAIR_AGAIN;
    ++*count;
    return repair_put(repair, index, PFK_FREEING, PREFORK_LANE_MASTER);
}

static enum repair_step repair_reserved(struct repair *repair, uint32_t index, uint64_t seen)
{
    /* Before the word leaves RESERVED: a second master still finds the debt. */
    pfk_ring_purge(&repair->view.rings.free_hot, index);
    pfk_ring_purge(&repair->view.rings.free_cold, index);
    return repair_free(repair, index, seen, &repair->report.freed);
}

static bool repair_used_up(const struct repair *repair, uint32_t index, uint64_t word)
{
    const uint32_t hand_backs = pfk_u32_load_relaxed(&pfk_table_descriptor(&repair->view, index)->hand_backs);

    return ((pfk_word_attempt(word) - hand_backs) & 255) >= repair->view.geometry.max_attempts;
}

/* The dead completer may have died between DONE and its announcement. All are
 * told at the end, each once, however many words name it. */
static void repair_note_waiter(struct repair *repair, uint64_t word, uint32_t submitter)
{
    if (pfk_word_state(word) == PFK_DONE && (pfk_word_flags(word) & PFK_WAIT) != 0 &&
        pfk_table_is_lane(&repair->view, submitter))
        repair->waited_for[submitter / 64] |= UINT64_C(1) << (submitter % 64);
}

static enum repair_step repair_bury(struct repair *repair, uint32_t index, uint64_t seen)
{
    struct pfk_descriptor_shm *const descriptor = pfk_table_descriptor(&repair->view, index);
    const uint32_t submitter = pfk_u32_load_relaxed(&descriptor->submitter);

    if ((pfk_word_flags(seen) & PFK_DETACHED) != 0)
        return repair_free(repair, index, seen, &repair->report.buried);
    pfk_u32_store_relaxed(&descriptor->reply_offset, repair->view.geometry.request_bytes);
    pfk_u32_store_relaxed(&descriptor->reply_bytes, 0);
    pfk_u32_store_relaxed(&descriptor->status, (uint32_t)-EOWNERDEAD);
    if (!pfk_u64_cas_acq_rel(&descriptor->word, &seen, pfk_word_moved(seen, PFK_DONE, PFK_NOBODY)))
        return REPAIR_AGAIN;
    repair->report.buried++;
    /* Not the mailbox: every loop is told to rescan at the end, and a damaged mailbox would cost its full patience. */
    repair_note_waiter(repair, pfk_word_moved(seen, PFK_DONE, PFK_NOBODY), submitter);
    return REPAIR_SETTLED;
}

static enum repair_step repair_claimed(struct repair *repair, uint32_t index, uint64_t seen)
{
    const uint64_t queuing = pfk_word_moved(seen, PFK_QUEUING, PREFORK_LANE_MASTER);

    /* Before the word leaves CLAIMED: afterwards a helper with a stale verdict
     * must not find the leftover and take it for the new entry. */
    pfk_ring_purge(&repair->view.rings.ready, index);
    if (repair_used_up(repair, index, seen))
        return repair_bury(repair, index, seen);
    if (!pfk_u64_cas_acq_rel(repair_word(repair, index), &seen, queuing))
        return REPAIR_AGAIN;
    repair->report.redelivered++;
    return repair_put(repair, index, PFK_QUEUING, PREFORK_LANE_MASTER);
}

static enum repair_step repair_of_owner(struct repair *repair, uint32_t index, uint64_t seen)
{
    switch (pfk_word_state(seen)) {
    case PFK_FREEING:
    case PFK_QUEUING:
        return repair_pay(repair, index, seen);
    case PFK_RESERVED:
        return repair_reserved(repair, index, seen);
    case PFK_CLAIMED:
        return repair_claimed(repair, index, seen);
    case PFK_SPARE:
        return repair_free(repair, index, seen, &repair->spares);
    default: /* FREE, READY and DONE have no owner: the number was scribbled */
        repair->report.suspect++;
        return REPAIR_SETTLED;
    }
}

static bool repair_has_submitter(uint32_t state)
{
    return state == PFK_QUEUING || state == PFK_READY || state == PFK_CLAIMED || state == PFK_DONE;
}

static enum repair_step repair_of_submitter(struct repair *repair, uint32_t index, uint64_t seen)
{
    if (pfk_word_state(seen) == PFK_DONE)
        return repair_free(repair, index, seen, &repair->report.freed);
    if ((pfk_word_flags(seen) & PFK_DETACHED) != 0)
        return REPAIR_SETTLED;
    if (pfk_u64_cas_acq_rel(repair_word(repair, index), &seen, pfk_word_flagged(seen, PFK_DETACHED)))
        repair->report.detached++;
    return REPAIR_AGAIN; /* the owner may be dead as well */
}

static bool repair_is_plausible(const struct repair *repair, uint64_t word)
{
    const uint32_t state = pfk_word_state(word);

    return state >= PFK_FREE && state <= PFK_LAST_STATE && pfk_word_owner(word) <= repair->view.geometry.lanes;
}

static enum repair_step repair_look(struct repair *repair, uint32_t index)
{
    const uint64_t word = pfk_u64_load_acquire(repair_word(repair, index));
    uint32_t submitter;

    if (!repair_is_plausible(repair, word)) {
        repair->report.suspect++;
        return REPAIR_SETTLED;
    }
    submitter = pfk_u32_load_relaxed(&pfk_table_descriptor(&repair->view, index)->submitter);
    if (repair_has_submitter(pfk_word_state(word)) && repair_is_dead(repair, submitter)) {
        const enum repair_step step = repair_of_submitter(repair, index, word);

        if (step != REPAIR_SETTLED)
            return step;
    }
    if (pfk_word_owner(word) != PFK_NOBODY && repair_is_dead(repair, pfk_word_owner(word)))
        return repair_of_owner(repair, index, word);
    repair_note_waiter(repair, word, submitter);
    return REPAIR_SETTLED;
}

/* Each call that a ring was too much for halves what later ones spend on it:
 * so a hostile ring costs a pass no more than twice the first patience and one
 * step for each slot, not the full patience for each slot. */
static void repair_lose_patience(struct pfk_ring *ring)
{
    if (PFK_LIKELY(!ring->gave_up))
        return;
    ring->gave_up = false;
    ring->patience = (ring->patience + 1) / 2;
}

/* Most slots: nobody dead has to do with it, and nobody waits for its result. */
static inline bool repair_owes_nothing(const struct repair *repair, uint32_t index)
{
    const struct pfk_descriptor_shm *const descriptor = pfk_table_descriptor(&repair->view, index);
    const uint64_t word = pfk_u64_load_acquire(&descriptor->word);
    const uint32_t state = pfk_word_state(word);

    if (PFK_UNLIKELY(state == PFK_DONE || !repair_is_plausible(repair, word) ||
                     repair_is_dead(repair, pfk_word_owner(word))))
        return false;
    return !repair_has_submitter(state) ||
           PFK_LIKELY(!repair_is_dead(repair, pfk_u32_load_relaxed(&descriptor->submitter)));
}

static void repair_slot(struct repair *repair, uint32_t index)
{
    enum repair_step step = REPAIR_AGAIN;

    if (PFK_LIKELY(repair_owes_nothing(repair, index)))
        return;
    for (int i = 0; i < REPAIR_SLOT_TRIES && step == REPAIR_AGAIN; i++)
        step = repair_look(repair, index);
    if (step != REPAIR_SETTLED)
        repair->report.deferred++;
    repair_lose_patience(&repair->view.rings.free_hot);
    repair_lose_patience(&repair->view.rings.free_cold);
    repair_lose_patience(&repair->view.rings.ready);
}

/* -- waking ------------------------------------------------------------------------- */

/* The dead may have died between a change and its wake-up, with a token in hand,
 * or between a token and its futex call. So old tokens go (one that lies there
 * untaken would keep wakers from posting) and new ones come: one for each job
 * that a sleeper could run, one at least. Never waits. */
static void repair_post(const struct repair *repair, struct prefork_semaphore *sem, uint64_t tokens)
{
    const uint32_t lanes = repair->view.geometry.lanes;

    pfk_semaphore_empty_untrusted(sem);
    if (tokens > lanes)
        tokens = lanes;
    do {
        pfk_semaphore_post_untrusted(sem);
    } while (tokens-- > 1);
}

static void repair_wake_loops(const struct repair *repair)
{
    for (uint32_t number = 1; number <= repair->view.geometry.lanes; number++) {
        struct pfk_lane_shm *const lane = pfk_table_lane(&repair->view, number);

        if (repair_is_dead(repair, number)) {
            /* They would swallow a wake-up, and a hint; nobody opens the lane yet. */
            pfk_u32_store_relaxed(&lane->starved, 0);
            pfk_u32_store_relaxed(&lane->armed, 0);
            continue;
        }
        if (pfk_u32_load_relaxed(&lane->in_use) == 0)
            continue;
        pfk_u32_store_release(&lane->rescan, 1);
        (void)pfk_u32_exchange_acq_rel(&lane->armed, 0);
        pfk_u32_store_relaxed(&lane->starved, 0);
        /* Attached lanes sleep on their semaphores only. */
        if (!repair->view.leaves_loops && !pfk_table_is_attached_lane(&repair->view, number))
            (void)pfk_fd_event_signal(repair->view.wake_fds[number]);
    }
}

/* A semaphore with a wrong constant makes every worker abort that sleeps on it, the next ones too. */
static void repair_judge_semaphores(struct repair *repair)
{
    const struct pfk_work_shm *const work = repair->view.work;
    struct prefork_semaphore sound = {{0}};
    uint32_t constant;

    (void)pfk_semaphore_init(&sound, 0);
    constant = pfk_semaphore_constant(&sound);
    repair->report.suspect += pfk_semaphore_constant(&work->ready_sem) != constant;
    repair->report.suspect += pfk_semaphore_constant(&work->room_sem) != constant;
    for (uint32_t number = 1; number <= repair->view.geometry.lanes; number++)
        repair->report.suspect += pfk_semaphore_constant(&pfk_table_lane(&repair->view, number)->sem) != constant;
}

static void repair_wake_waiters(const struct repair *repair)
{
    for (uint32_t number = 1; number <= repair->view.geometry.lanes; number++)
        if ((repair->waited_for[number / 64] >> (number % 64) & 1) != 0)
            pfk_semaphore_post_untrusted(&pfk_table_lane(&repair->view, number)->sem);
}

static void repair_wake_all(const struct repair *repair)
{
    pfk_fence_seq_cst();
    repair_wake_waiters(repair);
    repair_post(repair, &repair->view.work->ready_sem, pfk_ring_length(&repair->view.rings.ready));
    pfk_u32_store_relaxed(&repair->view.work->starved, 1); /* the dead one may have cleared it and woken nobody */
    repair_post(repair, &repair->view.work->room_sem, 1);
    repair_wake_loops(repair);
}

/* -- the pass ------------------------------------------------------------------------- */

static int repair_open(struct repair *repair, const struct prefork_table *table, const uint32_t *lanes,
                       uint32_t n_lanes)
{
    const uint32_t patience = 64 + 4 * table->geometry.lanes;

    memset(repair, 0, sizeof(*repair));
    repair->view = *table;
    repair->view.rings.free_hot.patience = patience;
    repair->view.rings.free_cold.patience = patience;
    repair->view.rings.ready.patience = patience;
    /* What an earlier pass, or an earlier master, took over and did not finish. */
    repair->dead[0] |= UINT64_C(1) << PREFORK_LANE_MASTER;
    for (uint32_t i = 0; i < n_lanes; i++) {
        if (!pfk_table_is_lane(table, lanes[i]))
            return pfk_error(EINVAL, "prefork_table_repair: %u is no lane; choose 1 to %u", lanes[i],
                             table->geometry.lanes);
        repair->dead[lanes[i] / 64] |= UINT64_C(1) << (lanes[i] % 64);
    }
    return 0;
}

static void repair_mark_clean(const struct repair *repair, const uint32_t *lanes, uint32_t n_lanes)
{
    for (uint32_t i = 0; i < n_lanes; i++) {
        struct pfk_lane_shm *const lane = pfk_table_lane(&repair->view, lanes[i]);

        pfk_u32_store_relaxed(&lane->pid, 0);
        pfk_u64_store_relaxed(&lane->process, 0);
        (void)pfk_u64_and_acq_rel(&repair->view.work->open_lanes[lanes[i] / 64], ~(UINT64_C(1) << (lanes[i] % 64)));
        if (lanes[i] != PREFORK_LANE_MASTER)
            pfk_u32_store_release(&lane->in_use, 0); /* only now may another open it */
        pfk_store_release_lane(&repair->view, lanes[i]);
    }
}

static void repair_count(const struct repair *repair)
{
    struct pfk_control_shm *const control = repair->view.control;

    pfk_u64_bump_relaxed(&control->redelivered, repair->report.redelivered);
    pfk_u64_bump_relaxed(&control->buried, repair->report.buried);
    pfk_u64_bump_relaxed(&control->suspect, repair->report.suspect);
    pfk_u64_bump_relaxed(&control->repairs, 1);
}

static void repair_report(const struct repair *repair, struct prefork_repair *repair_out)
{
    const size_t size = repair_out->size;

    memcpy(repair_out, &repair->report, size < sizeof(*repair_out) ? size : sizeof(*repair_out));
    repair_out->size = size;
}

PFK_EXPORT int prefork_table_repair(struct prefork_table *table, const uint32_t *lanes, uint32_t n_lanes,
                                    struct prefork_repair *repair_out)
{
    struct repair repair;
    int rc;

    if (repair_out != NULL && repair_out->size < sizeof(repair_out->size))
        return pfk_error(EINVAL, "prefork_table_repair: size is %zu; set it to sizeof(struct prefork_repair)",
                         repair_out->size);
    if (pfk_table_is_attached(table))
        return pfk_error(EPERM, "prefork_table_repair: this process came by key; the table's master repairs it");
    rc = repair_open(&repair, table, lanes, n_lanes);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < table->geometry.slots; i++) {
        PFK_PREFETCH(pfk_table_descriptor(table, i) + REPAIR_LOOK_AHEAD); /* past the end it does nothing */
        repair_slot(&repair, i);
    }
    repair_judge_semaphores(&repair);
    repair_wake_all(&repair);
    if (repair.report.deferred == 0)
        repair_mark_clean(&repair, lanes, n_lanes);
    repair_count(&repair);
    if (repair_out != NULL)
        repair_report(&repair, repair_out);
    free(repair.in_free);
    free(repair.in_ready);
    return 0;
}
