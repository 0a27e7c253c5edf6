/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes a table and holds what all participants share: putting entries
 * into the rings and the announcements. Keeps I-1 at the start; the steps below
 * keep I-5 and I-6. Any process of the family, any thread. */
#include "job/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "job/magazine.h"
#include "job/park.h"
#include "job/store.h"

/* No live participant makes another one look this often at a moving ring; past
 * it the segment is damaged, and giving up beats spinning. */
#define TABLE_PATIENCE (UINT32_C(1) << 20)

static struct pfk_ring table_ring(struct pfk_ring_shm *shm, void *cells, uint32_t order)
{
    return pfk_ring_view(shm, cells, order, TABLE_PATIENCE);
}

void pfk_table_map(struct prefork_table *table, const struct pfk_layout *layout)
{
    unsigned char *const base = prefork_segment_address(table->work_segment);

    if (table->control_segment != NULL)
        table->control = prefork_segment_address(table->control_segment);
    table->work = (struct pfk_work_shm *)(void *)base;
    table->lanes = (struct pfk_lane_shm *)(void *)(base + layout->lanes);
    table->descriptors = (struct pfk_descriptor_shm *)(void *)(base + layout->descriptors);
    table->payloads = base + layout->payloads;
    table->payload_bytes = pfk_geometry_payload_bytes(&table->geometry);
    table->rings.free_hot = table_ring(&table->work->free_hot, base + layout->hot_cells, table->geometry.hot_order);
    table->rings.free_cold = table_ring(&table->work->free_cold, base + layout->cold_cells, table->geometry.cold_order);
    table->rings.ready = table_ring(&table->work->ready, base + layout->ready_cells, table->geometry.cold_order);
}

struct pfk_ring pfk_table_mailbox(const struct prefork_table *table, uint32_t number)
{
    struct pfk_lane_shm *const lane = pfk_table_lane(table, number);

    return table_ring(&lane->mailbox, lane->mailbox_cells, PFK_MAILBOX_ORDER);
}

static int table_init_semaphores(const struct prefork_table *table)
{
    int rc = prefork_semaphore_init(&table->work->ready_sem, 0);

    if (rc == 0)
        rc = prefork_semaphore_init(&table->work->room_sem, 0);
    for (uint32_t lane = 1; rc == 0 && lane <= table->geometry.lanes; lane++)
        rc = prefork_semaphore_init(&pfk_table_lane(table, lane)->sem, 0);
    return rc;
}

int pfk_table_init(struct prefork_table *table)
{
    const int rc = table_init_semaphores(table);

    if (rc != 0)
        return rc;
    pfk_ring_init(&table->rings.free_hot);
    pfk_ring_init(&table->rings.free_cold);
    pfk_ring_init(&table->rings.ready);
    for (uint32_t lane = 1; lane <= table->geometry.lanes; lane++) {
        const struct pfk_ring mailbox = pfk_table_mailbox(table, lane);

        pfk_ring_init(&mailbox);
    }
    for (uint32_t i = 0; i < table->geometry.slots; i++) {
        pfk_u64_store_relaxed(&pfk_table_descriptor(table, i)->word, pfk_word(PFK_FREE, 0, 0, PFK_NOBODY, 0));
        if (pfk_ring_put(&table->rings.free_hot, i) != PFK_RING_PUT)
            (void)pfk_ring_put(&table->rings.free_cold, i);
    }
    pfk_u32_store_relaxed(&pfk_table_lane(table, PREFORK_LANE_MASTER)->in_use, 1);
    pfk_layout_publish(&table->work->geometry, &table->geometry, PFK_WORK_MAGIC);
    return 0;
}

static uint64_t table_count_open_fds(uint64_t limit)
{
    uint64_t open = 0;

    for (int fd = 0; (uint64_t)fd < limit && fd < 65536; fd++)
        open += fcntl(fd, F_GETFD) >= 0;
    return open;
}

/* A participant needs room for its own connections too, but how many these are
 * only it knows: what is asked for here is the table's part. */
static int table_check_descriptors(uint32_t lanes)
{
    const uint64_t limit = pfk_fd_limit();
    uint64_t open;

    if (limit >= (uint64_t)lanes + 65536)
        return 0;
    open = table_count_open_fds(limit);
    if (open + lanes <= limit)
        return 0;
    return pfk_error(EMFILE,
                     "prefork_table_create: %u lanes need an eventfd each and %llu descriptors are open, but the limit "
                     "is %llu; raise it to %llu or more (ulimit -n), or take fewer workers or threads",
                     lanes, (unsigned long long)open, (unsigned long long)limit, (unsigned long long)(open + lanes));
}

static int table_open_wake_fds(struct prefork_table *table)
{
    const uint32_t lanes = table->geometry.lanes;
    int rc = table_check_descriptors(lanes - table->geometry.attached);

    if (rc != 0)
        return rc;
    table->wake_fds = malloc(((size_t)lanes + 1) * sizeof(table->wake_fds[0]));
    if (table->wake_fds == NULL)
        return pfk_error(ENOMEM, "prefork_table_create: no memory for %u lanes", lanes);
    for (uint32_t lane = 0; lane <= lanes; lane++)
        table->wake_fds[lane] = -1;
    for (uint32_t lane = 1; rc == 0 && lane <= lanes; lane++)
        if (!pfk_table_is_attached_lane(table, lane)) /* nobody can hand such a descriptor to those */
            rc = pfk_fd_event(&table->wake_fds[lane]);
    return rc;
}

int pfk_table_prepare(struct prefork_table *table, const struct prefork_table_options *options,
                      struct pfk_layout *layout_out)
{
    int rc = pfk_layout_geometry(options, &table->geometry);

    if (!pfk_semaphore_is_known())
        return pfk_error(ENOSYS, "prefork_table_create: this C library's semaphores are laid out in a way that repair "
                                 "does not know; use glibc or musl on a 64-bit machine");
    if (rc == 0)
        rc = pfk_layout_compute(&table->geometry, layout_out);
    if (rc == 0)
        rc = table_open_wake_fds(table);
    if (rc == 0)
        rc = prefork_segment_create_private(layout_out->control_bytes, &table->control_segment);
    if (rc == 0)
        pfk_layout_publish(prefork_segment_address(table->control_segment), &table->geometry, PFK_CONTROL_MAGIC);
    return rc;
}

static int table_build(struct prefork_table *table, const struct prefork_table_options *options)
{
    struct pfk_layout layout;
    int rc = pfk_table_prepare(table, options, &layout);

    if (rc == 0 && table->geometry.attached > 0)
        rc = pfk_error(EINVAL,
                       "prefork_table_create: attached_producers is %u, but nobody can find this table; make "
                       "it with prefork_table_adopt",
                       table->geometry.attached);
    if (rc == 0)
        rc = prefork_segment_create_private(layout.work_bytes, &table->work_segment);
    if (rc != 0)
        return rc;
    pfk_table_map(table, &layout);
    return pfk_table_init(table);
}

PFK_EXPORT int prefork_table_create(const struct prefork_table_options *options, struct prefork_table **table_out)
{
    struct prefork_table *table = calloc(1, sizeof(*table));
    int rc;

    if (table == NULL)
        return pfk_error(ENOMEM, "prefork_table_create: no memory");
    rc = table_build(table, options);
    if (rc != 0) {
        prefork_table_destroy(&table);
        return rc;
    }
    *table_out = table;
    return 0;
}

static void table_forget_ring(struct pfk_ring *ring)
{
    ring->head_seen = ring->tail_seen = 0;
}

int pfk_table_rebuild(struct prefork_table *table)
{
    if (table->store != NULL)
        return pfk_error(ENOTSUP, "the job table is durable: its jobs are not thrown away unasked; remove it with "
                                  "prefork_table_remove, or look at it first");
    memset((void *)table->work, 0, (size_t)(table->payloads - (unsigned char *)table->work));
    table_forget_ring(&table->rings.free_hot);
    table_forget_ring(&table->rings.free_cold);
    table_forget_ring(&table->rings.ready);
    for (uint32_t lane = 1; lane <= table->geometry.lanes; lane++)
        pfk_fd_event_reset(table->wake_fds[lane]);
    return pfk_table_init(table);
}

PFK_EXPORT void prefork_table_destroy(struct prefork_table **table)
{
    struct prefork_table *const gone = *table;

    *table = NULL;
    if (gone == NULL)
        return;
    for (uint32_t lane = 1; gone->wake_fds != NULL && lane <= gone->geometry.lanes; lane++)
        pfk_fd_close(&gone->wake_fds[lane]);
    free(gone->wake_fds);
    prefork_segment_close(&gone->work_segment);
    prefork_segment_close(&gone->control_segment);
    pfk_store_close(&gone->store); /* after the mapping: a free byte means that its holder touches nothing any more */
    free(gone);
}

PFK_EXPORT uint32_t prefork_table_worker_lane(const struct prefork_table *table, uint32_t seat, uint32_t generation,
                                              uint32_t thread)
{
    const struct pfk_geometry *const geometry = &table->geometry;

    if (seat >= geometry->workers || thread >= geometry->threads)
        return 0;
    return PREFORK_LANE_MASTER + 1 + geometry->outside + geometry->attached +
           (seat * geometry->generations + generation % geometry->generations) * geometry->threads + thread;
}

PFK_EXPORT uint32_t prefork_table_outside_lane(const struct prefork_table *table, uint32_t index)
{
    return index < table->geometry.outside ? PREFORK_LANE_MASTER + 1 + index : 0;
}

PFK_EXPORT uint32_t prefork_table_attached_lane(const struct prefork_table *table, uint32_t index)
{
    const struct pfk_geometry *const geometry = &table->geometry;

    return index < geometry->attached ? PREFORK_LANE_MASTER + 1 + geometry->outside + index : 0;
}

PFK_EXPORT uint32_t prefork_table_lanes(const struct prefork_table *table)
{
    return table->geometry.lanes;
}

PFK_EXPORT size_t prefork_table_request_bytes(const struct prefork_table *table)
{
    return table->geometry.request_bytes;
}

PFK_EXPORT size_t prefork_table_reply_bytes(const struct prefork_table *table)
{
    return table->geometry.reply_bytes;
}

bool pfk_table_has_room(const struct prefork_table *table, struct pfk_rings *rings)
{
    struct pfk_ring_entry entry;

    return pfk_ring_peek(&rings->free_hot, &entry) || pfk_ring_peek(&rings->free_cold, &entry) ||
           pfk_magazine_any(table);
}

/* Wakes all starved loops. Not one of them: it may be stopped, dead, or have
 * nothing to submit any more, and a loop has no timeout that would mend it. */
static bool table_wake_starved_loops(const struct prefork_table *table)
{
    bool woken = false;

    for (uint32_t number = 1; number <= table->geometry.lanes; number++) {
        struct pfk_lane_shm *const lane = pfk_table_lane(table, number);

        if (pfk_u32_load_relaxed(&lane->starved) == 0 || pfk_u32_exchange_acq_rel(&lane->starved, 0) == 0)
            continue;
        (void)pfk_fd_event_signal(table->wake_fds[number]);
        woken = true;
    }
    return woken;
}

/* A process that came by key has no eventfds. It leaves the loops' flags alone
 * and wakes a claimer, who runs the errand before it sleeps again. */
static bool table_ask_family_to_wake(const struct prefork_table *table)
{
    const bool woken = pfk_park_ring(&table->work->room_sem);

    return pfk_park_ring(&table->work->ready_sem) || woken;
}

bool pfk_table_wake_starved(const struct prefork_table *table)
{
    bool woken;

    if (PFK_UNLIKELY(pfk_table_is_attached(table)))
        return table_ask_family_to_wake(table);
    (void)pfk_u32_exchange_acq_rel(&table->work->starved, 0);
    woken = table_wake_starved_loops(table);
    if (pfk_park_ring(&table->work->room_sem))
        woken = true;
    return woken;
}

void pfk_table_run_errand(const struct prefork_table *table, struct pfk_rings *rings)
{
    if (PFK_UNLIKELY(pfk_u32_load_relaxed(&table->work->starved) != 0) && pfk_table_has_room(table, rings))
        (void)pfk_table_wake_room(table);
}

static bool table_mail(const struct prefork_table *table, uint32_t index, uint32_t submitter)
{
    struct pfk_lane_shm *const lane = pfk_table_lane(table, submitter);
    struct pfk_ring mailbox = pfk_table_mailbox(table, submitter);

    if (pfk_ring_put(&mailbox, index) != PFK_RING_PUT)
        (void)pfk_u32_exchange_acq_rel(&lane->rescan, 1);
    pfk_fence_after_rmw(); /* the hint, then `armed`; pairs with the fence in prefork_lane_next */
    if (pfk_u32_load_relaxed(&lane->armed) == 0 || pfk_u32_exchange_acq_rel(&lane->armed, 0) == 0)
        return false;
    (void)pfk_fd_event_signal(table->wake_fds[submitter]);
    return true;
}

bool pfk_table_announce(const struct prefork_table *table, uint32_t index, uint32_t submitter, uint32_t flags)
{
    bool woken = false;

    if (!pfk_table_is_lane(table, submitter))
        return false;
    if ((flags & PFK_WAIT) != 0)
        woken = pfk_park_ring(&pfk_table_lane(table, submitter)->sem);
    if ((flags & PFK_NOTIFY) != 0 && table_mail(table, index, submitter))
        woken = true;
    return woken;
}
