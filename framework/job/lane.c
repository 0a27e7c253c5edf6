/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens and closes lanes and keeps the private list of a lane's jobs. Keeps
 * I-13: what a lane owns, it owns while it is in use. */
#include "job/lane.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "ipc/semaphore.h"
#include "job/store.h"

int pfk_lane_inherited(const char *call)
{
    return pfk_error(ECHILD, "%s: the lane belongs to the parent process; a child opens its own", call);
}

int pfk_lane_not_family(const struct prefork_lane *lane, const char *call)
{
    if (lane->table == NULL)
        return pfk_lane_inherited(call);
    return pfk_error(ENOTSUP,
                     "%s: not for a process that came by key, which has no eventfd of the table: submit "
                     "without PREFORK_SUBMIT_NOTIFY and call prefork_lane_wait",
                     call);
}

bool pfk_lane_take_interrupt(struct prefork_lane *lane)
{
    return PFK_UNLIKELY(pfk_u32_load_relaxed(&lane->interrupted) != 0) &&
           pfk_u32_exchange_acq_rel(&lane->interrupted, 0) != 0;
}

uint64_t pfk_lane_nap_ns(const struct prefork_lane *lane, uint64_t deadline_ns)
{
    /* Spread over lanes, so that they don't all look at the same moment. */
    const uint64_t nap_ns = 900 * PFK_NS_PER_MS + (lane->number * 37 % 200) * PFK_NS_PER_MS;
    const uint64_t until_ns = pfk_clock_coarse_ns() + nap_ns;

    return until_ns < deadline_ns ? until_ns : deadline_ns;
}

void pfk_lane_record(struct prefork_lane *lane, uint64_t job, enum pfk_record_state state, void *user)
{
    const uint32_t index = pfk_job_index(job), head = lane->table->geometry.slots;
    struct pfk_record *const record = &lane->records[index], *const list = &lane->records[head];

    if (PFK_UNLIKELY(record->state != PFK_RECORD_NONE))
        pfk_lane_unlist(lane, record); /* a damaged table gave us a slot that we hold already: keep the list whole */
    record->job = job;
    record->user = user;
    record->state = state;
    record->previous = list->previous;
    record->next = head;
    lane->records[list->previous].next = index;
    list->previous = index;
}

void pfk_lane_unlist(struct prefork_lane *lane, struct pfk_record *record)
{
    if (&lane->records[lane->rescan_at] == record)
        lane->rescan_at = record->next;
    lane->records[record->previous].next = record->next;
    lane->records[record->next].previous = record->previous;
}

bool pfk_lane_expects(const struct prefork_lane *lane)
{
    const uint32_t head = lane->table != NULL ? lane->table->geometry.slots : 0;

    return lane->table != NULL &&
           (lane->wanted_room || lane->newest.state != PFK_RECORD_NONE || lane->records[head].next != head);
}

void pfk_lane_stamp_latency(pfk_atomic_u64 *log2_ns, uint64_t from_ns, uint64_t to_ns)
{
    const uint64_t took_ns = to_ns > from_ns ? to_ns - from_ns : 1;
    const int bucket = 63 - __builtin_clzll(took_ns);

    pfk_u64_bump_relaxed(&log2_ns[bucket < PFK_LOG2_BUCKETS ? bucket : PFK_LOG2_BUCKETS - 1], 1);
}

/* Private pages that a child of this process gets zeroed, or not at all. */
static void *lane_map(size_t bytes, int fork_advice)
{
    void *const at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        return NULL;
    if (madvise(at, bytes, fork_advice) != 0) {
        (void)munmap(at, bytes);
        return NULL;
    }
    return at;
}

static struct prefork_lane *lane_allocate(uint32_t slots)
{
    struct prefork_lane *const lane = lane_map(sizeof(*lane), MADV_WIPEONFORK);

    if (lane == NULL)
        return NULL;
    lane->records_bytes = ((size_t)slots + 1) * sizeof(lane->records[0]);
    lane->records = lane_map(lane->records_bytes, MADV_DONTFORK);
    if (lane->records == NULL) {
        (void)munmap(lane, sizeof(*lane));
        return NULL;
    }
    lane->records[slots].next = slots;
    lane->records[slots].previous = slots;
    lane->rescan_at = slots;
    return lane;
}

static void lane_free(struct prefork_lane *lane)
{
    (void)munmap(lane->records, lane->records_bytes);
    (void)munmap(lane, sizeof(*lane));
}

/* After all that the lane owned. The release pairs with the CAS in lane_take. If
 * we die before the byte is unlocked the kernel unlocks it. */
static void lane_leave(const struct prefork_lane *lane)
{
    pfk_u32_store_relaxed(&lane->shm->pid, 0);
    pfk_u64_store_relaxed(&lane->shm->process, 0);
    pfk_u32_store_release(&lane->shm->in_use, 0);
    pfk_store_unlock_lane(lane->table, lane->number);
}

/* What the last holder left in the waking channels would only wake in vain. */
static void lane_reset_channels(struct prefork_lane *lane)
{
    struct pfk_ring_entry entry;

    (void)pfk_semaphore_init(&lane->shm->sem, 0); /* also forgets sleepers that were killed in it */
    for (uint64_t i = 0; i < pfk_ring_cells(&lane->mailbox) && pfk_ring_peek(&lane->mailbox, &entry); i++)
        pfk_ring_remove(&lane->mailbox, &entry);
    pfk_u32_store_relaxed(&lane->shm->armed, 0);
    pfk_u32_store_relaxed(&lane->shm->rescan, 0);
    pfk_u32_store_relaxed(&lane->shm->starved, 0);
    if (!pfk_table_is_attached(lane->table))
        pfk_fd_event_reset(lane->table->wake_fds[lane->number]); /* that one may have tampered with it */
}

/* Takes a free lane. From the moment on that it is in use it is dirty: if we
 * die, nobody opens it before a repair. */
static int lane_take(struct prefork_lane *lane)
{
    uint32_t in_use = 0;
    int rc = pfk_store_lock_lane(lane->table, lane->number);

    if (rc != 0)
        return rc;
    if (!pfk_u32_cas_acq_rel(&lane->shm->in_use, &in_use, 1)) {
        pfk_store_unlock_lane(lane->table, lane->number);
        return pfk_error(EBUSY,
                         "prefork_lane_open: lane %u is in use, or its holder died; take another, or call "
                         "prefork_table_repair for it first",
                         lane->number);
    }
    pfk_u32_store_relaxed(&lane->shm->pid, (uint32_t)getpid());
    rc = pfk_store_enter_lane(lane->table, lane->number);
    if (rc != 0)
        lane_leave(lane);
    return rc;
}

int pfk_lane_open(struct prefork_table *table, uint32_t number, struct prefork_lane **lane_out)
{
    struct prefork_lane *const lane = lane_allocate(table->geometry.slots);
    int rc;

    if (lane == NULL)
        return pfk_error(ENOMEM, "prefork_lane_open: no memory for the private part of lane %u", number);
    lane->table = table;
    lane->number = number;
    lane->shm = pfk_table_lane(table, number);
    lane->rings = table->rings;
    lane->mailbox = pfk_table_mailbox(table, number);
    rc = lane_take(lane);
    if (rc != 0) {
        lane_free(lane);
        return rc;
    }
    (void)pfk_u64_or_acq_rel(&table->work->open_lanes[number / 64], UINT64_C(1) << (number % 64));
    lane_reset_channels(lane);
    pfk_magazine_open(lane);
    pfk_spin_locate(&lane->spin);
    *lane_out = lane;
    return 0;
}

PFK_EXPORT int prefork_lane_open(struct prefork_table *table, uint32_t number, struct prefork_lane **lane_out)
{
    if (!pfk_table_is_lane(table, number) || number == PREFORK_LANE_MASTER)
        return pfk_error(EINVAL, "prefork_lane_open: %u is no lane; choose 2 to %u", number, table->geometry.lanes);
    if (pfk_table_is_attached(table) != pfk_table_is_attached_lane(table, number))
        return pfk_error(EINVAL,
                         "prefork_lane_open: lane %u is kept for %s; processes that came by key call "
                         "prefork_table_open_attached_lane",
                         number, pfk_table_is_attached(table) ? "the master's family" : "processes that come by key");
    return pfk_lane_open(table, number, lane_out);
}

static void lane_drop(struct prefork_lane *lane, struct pfk_record *record)
{
    if (record->state == PFK_RECORD_RESERVED)
        (void)prefork_lane_abandon(lane, record->job);
    else
        (void)prefork_lane_detach(lane, record->job);
    if (record->state != PFK_RECORD_NONE)
        pfk_lane_forget(lane, record); /* the slot was damaged; there is nothing to give back */
}

static void lane_drop_jobs(struct prefork_lane *lane)
{
    const uint32_t head = lane->table->geometry.slots;

    if (lane->job.held)
        (void)prefork_job_hand_back(&lane->job);
    if (lane->newest.state != PFK_RECORD_NONE)
        lane_drop(lane, &lane->newest);
    while (lane->records[head].next != head)
        lane_drop(lane, &lane->records[lane->records[head].next]);
}

PFK_EXPORT void prefork_lane_close(struct prefork_lane **lane)
{
    struct prefork_lane *const gone = *lane;

    *lane = NULL;
    if (gone == NULL)
        return;
    if (gone->table == NULL) {
        (void)munmap(gone, sizeof(*gone)); /* a child: the rest was never its own */
        return;
    }
    lane_drop_jobs(gone);
    pfk_magazine_empty(gone);
    (void)pfk_u64_and_acq_rel(&gone->table->work->open_lanes[gone->number / 64],
                              ~(UINT64_C(1) << (gone->number % 64)));
    pfk_u32_store_relaxed(&gone->shm->starved, 0);
    pfk_u32_store_relaxed(&gone->shm->armed, 0);
    lane_leave(gone);
    lane_free(gone);
}

PFK_EXPORT uint32_t prefork_lane_number(const struct prefork_lane *lane)
{
    return lane->number;
}

PFK_EXPORT int prefork_lane_wake_fd(const struct prefork_lane *lane)
{
    const int rc = pfk_lane_check_family(lane, "prefork_lane_wake_fd");

    return rc != 0 ? rc : lane->table->wake_fds[lane->number];
}

PFK_EXPORT void prefork_lane_interrupt(struct prefork_lane *lane)
{
    if (lane->table == NULL)
        return;
    (void)pfk_u32_exchange_acq_rel(&lane->interrupted, 1);
    /* A sleeper may be at any of the three; a token too many is harmless. */
    (void)pfk_semaphore_post(&lane->shm->sem);
    (void)pfk_semaphore_post(&lane->table->work->ready_sem);
    (void)pfk_semaphore_post(&lane->table->work->room_sem);
}
