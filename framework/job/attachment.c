/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes that come to a durable table by its key: producers that are nobody's children, and whoever removes it. */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "ipc/segment.h"
#include "job/lane.h"
#include "job/store.h"

/* -- attaching ------------------------------------------------------------------- */

static int attachment_refuse(const struct prefork_segment *segment, const char *why)
{
    return pfk_error(EPROTO,
                     "prefork_table_attach: segment id %d under key 0x%x %s; attach with the library that its master "
                     "uses, or see who uses the key",
                     prefork_segment_id(segment), (unsigned)prefork_segment_key(segment), why);
}

/* What the segment says of itself counts only if it is possible and fits the size that the kernel says. */
static int attachment_read_geometry(struct prefork_table *table, struct pfk_layout *layout_out)
{
    const struct prefork_segment *const segment = table->work_segment;
    const struct pfk_geometry_shm *const shm = prefork_segment_address(segment);
    const uint64_t magic = pfk_u64_load_acquire(&shm->magic);
    struct pfk_layout_difference difference;
    struct prefork_table_options options;

    if (magic == 0)
        return pfk_error(EAGAIN, "prefork_table_attach: its master has not finished making the table; try again");
    if (magic != PFK_WORK_MAGIC)
        return attachment_refuse(segment, "holds no table");
    pfk_layout_read(shm, &options);
    if (pfk_layout_geometry(&options, &table->geometry) != 0 || pfk_layout_compute(&table->geometry, layout_out) != 0 ||
        pfk_layout_differs(shm, &table->geometry, &difference) ||
        layout_out->work_bytes != prefork_segment_bytes(segment))
        return attachment_refuse(segment, "holds a table of another version, or is damaged");
    return 0;
}

static int attachment_open(struct prefork_table *table, const struct prefork_table_store *asked)
{
    /* Until the contents are known only so much is sure to be there. */
    const struct prefork_segment_options options = pfk_store_segment_options(asked, sizeof(struct pfk_work_shm));
    struct pfk_layout layout;
    int rc = pfk_store_open(asked, false, &table->store);

    if (rc == 0)
        rc = pfk_store_take_part(table->store, "prefork_table_attach");
    if (rc == 0)
        rc = prefork_segment_open(&options, &table->work_segment);
    if (rc == 0)
        rc = prefork_segment_attach(table->work_segment, PREFORK_SEGMENT_READ_WRITE);
    if (rc == 0)
        rc = attachment_read_geometry(table, &layout);
    if (rc == 0)
        pfk_table_map(table, &layout);
    return rc;
}

PFK_EXPORT int prefork_table_attach(const struct prefork_table_store *store, struct prefork_table **table_out)
{
    struct prefork_table_store asked;
    struct prefork_table *table;
    int rc = pfk_store_check(store, "prefork_table_attach", &asked);

    if (rc != 0)
        return rc;
    table = calloc(1, sizeof(*table));
    if (table == NULL)
        return pfk_error(ENOMEM, "prefork_table_attach: no memory");
    rc = attachment_open(table, &asked);
    if (rc != 0) {
        prefork_table_destroy(&table);
        return rc;
    }
    *table_out = table;
    return 0;
}

PFK_EXPORT int prefork_table_open_attached_lane(struct prefork_table *table, struct prefork_lane **lane_out)
{
    if (!pfk_table_is_attached(table))
        return pfk_error(EINVAL, "prefork_table_open_attached_lane: this process did not come by key; open a worker's "
                                 "or an outside lane with prefork_lane_open");
    for (uint32_t i = 0; i < table->geometry.attached; i++) {
        const int rc = pfk_lane_open(table, prefork_table_attached_lane(table, i), lane_out);

        if (rc != -EBUSY)
            return rc;
    }
    return pfk_error(EBUSY,
                     "prefork_table_open_attached_lane: all %u lanes for attached producers are in use, or wait for "
                     "the master to repair them; adopt the table with a greater attached_producers, or try again",
                     table->geometry.attached);
}

/* -- removing ---------------------------------------------------------------------- */

/* Who is attached without a lock (a child of an attached process, a stranger) would go on in a table that nobody else
 * sees any more. */
static int attachment_remove_unused(struct prefork_segment *segment)
{
    struct prefork_segment_status status;
    int rc = prefork_segment_stat(segment, &status);

    if (rc != 0)
        return rc;
    if (status.attached > 0)
        return pfk_error(EBUSY,
                         "prefork_table_remove: %llu processes are attached to segment id %d and hold no lock of it, "
                         "the last one to attach or detach was %d; end them first",
                         (unsigned long long)status.attached, prefork_segment_id(segment), status.last_pid);
    return prefork_segment_remove(segment);
}

PFK_EXPORT int prefork_table_remove(const struct prefork_table_store *store)
{
    struct prefork_segment *segment = NULL;
    struct prefork_segment_options options;
    struct prefork_table_store asked;
    struct pfk_store *locks = NULL;
    int rc = pfk_store_check(store, "prefork_table_remove", &asked);

    if (rc == 0)
        rc = pfk_store_open(&asked, true, &locks);
    if (rc == 0)
        rc = pfk_store_take_all(locks, "prefork_table_remove");
    if (rc == 0) {
        options = pfk_store_segment_options(&asked, 0);
        rc = prefork_segment_open(&options, &segment);
    }
    if (rc == 0)
        rc = attachment_remove_unused(segment);
    prefork_segment_close(&segment);
    pfk_store_close(&locks);
    return rc;
}
