/* SPDX-License-Identifier: BSD-2-Clause */
/* How a master comes to a durable table: makes it, or takes over what its predecessor left. Everything here is done
 * under the gate of the lock file, by one process at a time; killed anywhere in it, the next one begins anew. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "ipc/byte_lock.h"
#include "ipc/process.h"
#include "ipc/segment.h"
#include "job/store.h"

#define ADOPTION_PIDS_NAMED 8
#define ADOPTION_WAIT_MS    35000u

/* -- the segment ---------------------------------------------------------------------------- */

static int adoption_refuse_layout(const struct prefork_segment *segment, const char *call, const char *found)
{
    return pfk_error(EPROTO,
                     "%s: segment id %d under key 0x%x %s; take another key, or if nobody needs what lies there: "
                     "prefork_table_remove, or ipcrm -m %d",
                     call, prefork_segment_id(segment), (unsigned)prefork_segment_key(segment), found,
                     prefork_segment_id(segment));
}

/* Is it a finished table of this geometry? 1 yes, 0 not finished, or -EPROTO. */
static int adoption_recognise(const struct prefork_table *table, const char *call)
{
    const struct pfk_geometry_shm *const shm = prefork_segment_address(table->work_segment);
    const uint64_t magic = pfk_u64_load_acquire(&shm->magic);
    struct pfk_layout_difference difference;
    char found[96];

    if (magic == 0)
        return 0;
    if (magic != PFK_WORK_MAGIC)
        return adoption_refuse_layout(table->work_segment, call, "holds no table");
    if (!pfk_layout_differs(shm, &table->geometry, &difference))
        return 1;
    (void)snprintf(found, sizeof(found), "holds a table with %s %u, here it is %u", difference.name, difference.found,
                   difference.wanted);
    return adoption_refuse_layout(table->work_segment, call, found);
}

static int adoption_refuse_size(const struct prefork_segment *segment, size_t bytes)
{
    return pfk_error(EMSGSIZE,
                     "prefork_table_adopt: segment id %d under key 0x%x has %zu bytes, a table of these options has "
                     "%zu; adopt it with the options it was made with, or if nobody needs its jobs: "
                     "prefork_table_remove, or ipcrm -m %d",
                     prefork_segment_id(segment), (unsigned)prefork_segment_key(segment),
                     prefork_segment_bytes(segment), bytes, prefork_segment_id(segment));
}

/* Fills a segment that nobody uses: the one that we made, or one whose maker died in it. Under the gate. */
static int adoption_fill(struct prefork_table *table, const struct pfk_layout *layout)
{
    void *const address = prefork_segment_address(table->work_segment);
    int rc = 0;

    if (prefork_segment_is_new(table->work_segment))
        rc = pfk_segment_populate(address, layout->work_bytes);
    else
        memset(address, 0, layout->work_bytes);
    if (rc != 0)
        return rc;
    pfk_table_map(table, layout);
    return pfk_table_init(table);
}

static int adoption_make(struct prefork_table *table, const struct pfk_layout *layout,
                         const struct prefork_table_store *asked)
{
    const struct prefork_segment_options options = pfk_store_segment_options(asked, layout->work_bytes);
    int rc = prefork_segment_create(&options, &table->work_segment);

    if (rc == 0)
        rc = prefork_segment_attach(table->work_segment, PREFORK_SEGMENT_READ_WRITE);
    if (rc == 0)
        rc = adoption_fill(table, layout);
    if (rc != 0 && table->work_segment != NULL)
        (void)prefork_segment_remove(table->work_segment);
    return rc;
}

/* A segment that exists is attached only after the kernel's words about it were judged. */
static int adoption_use(struct prefork_table *table, const struct pfk_layout *layout, bool *filled_out)
{
    int rc;

    if (prefork_segment_bytes(table->work_segment) != layout->work_bytes)
        return adoption_refuse_size(table->work_segment, layout->work_bytes);
    rc = prefork_segment_attach(table->work_segment, PREFORK_SEGMENT_READ_WRITE);
    if (rc == 0)
        rc = adoption_recognise(table, "prefork_table_adopt");
    if (rc < 0)
        return rc;
    *filled_out = rc == 0;
    if (rc == 0)
        return adoption_fill(table, layout);
    pfk_table_map(table, layout);
    return 0;
}

static int adoption_find(struct prefork_table *table, const struct pfk_layout *layout,
                         const struct prefork_table_store *asked, bool *made_out)
{
    const struct prefork_segment_options options = pfk_store_segment_options(asked, 0);
    const int rc = prefork_segment_open(&options, &table->work_segment);

    if (rc == 0)
        return adoption_use(table, layout, made_out);
    if (rc != -ENOENT && rc != -EIDRM)
        return rc;
    *made_out = true;
    return adoption_make(table, layout, asked);
}

/* -- taking over ------------------------------------------------------------------------------- */

/* From here on no process of an older family opens a lane. */
static void adoption_begin_epoch(const struct prefork_table *table)
{
    table->store->epoch = pfk_u32_load_relaxed(&table->work->epoch) + 1;
    pfk_u32_store_relaxed(&table->work->epoch, table->store->epoch);
    pfk_u64_store_relaxed(&pfk_table_lane(table, PREFORK_LANE_MASTER)->process, pfk_process_self());
    pfk_fence_seq_cst(); /* the epoch, then in_use of all lanes; pairs with the fence in pfk_store_enter_lane */
}

/* What one look at all lanes finds. */
struct adoption_look {
    uint32_t n_dead;
    uint32_t n_orphans;  /* lanes of an older family that lives on */
    uint32_t n_attached; /* living lanes of processes that came by key: they stay */
    pid_t orphans[ADOPTION_PIDS_NAMED];
    uint32_t dead[PFK_STORE_LANES];
};

static void adoption_note_orphan(struct adoption_look *look, pid_t pid)
{
    uint32_t i = 0;

    while (i < ADOPTION_PIDS_NAMED && look->orphans[i] != 0 && look->orphans[i] != pid)
        i++;
    if (i < ADOPTION_PIDS_NAMED)
        look->orphans[i] = pid;
    look->n_orphans++;
}

static void adoption_look_at_lanes(const struct prefork_table *table, struct adoption_look *look)
{
    look->n_dead = look->n_orphans = look->n_attached = 0;
    memset(look->orphans, 0, sizeof(look->orphans));
    look->dead[look->n_dead++] = PREFORK_LANE_MASTER; /* we hold its byte, so the one before us is gone */
    for (uint32_t lane = PREFORK_LANE_MASTER + 1; lane <= table->geometry.lanes; lane++) {
        pid_t pid = 0;

        switch (pfk_store_judge_lane(table, lane, &pid)) {
        case PFK_STORE_LANE_FREE:
            break;
        case PFK_STORE_LANE_DEAD:
            look->dead[look->n_dead++] = lane;
            break;
        case PFK_STORE_LANE_LIVES:
            if (pfk_table_is_attached_lane(table, lane))
                look->n_attached++;
            else
                adoption_note_orphan(look, pid);
            break;
        }
    }
}

static void adoption_add_repair(struct prefork_adoption *adoption, const struct prefork_repair *repair)
{
    adoption->redelivered += repair->redelivered;
    adoption->buried += repair->buried;
    adoption->freed += repair->freed;
    adoption->detached += repair->detached;
    adoption->suspect = repair->suspect; /* the same words each time */
}

static int adoption_refuse_orphans(const struct adoption_look *look, uint32_t deferred, uint32_t wait_ms)
{
    char pids[ADOPTION_PIDS_NAMED * 12 + 1] = "";
    size_t length = 0;

    if (look->n_orphans == 0)
        return pfk_error(EBUSY,
                         "prefork_table_adopt: %u slots kept moving for %u ms; somebody writes into the table "
                         "who holds no lane",
                         deferred, wait_ms);
    for (uint32_t i = 0; i < ADOPTION_PIDS_NAMED && look->orphans[i] != 0; i++)
        length += (size_t)snprintf(pids + length, sizeof(pids) - length, " %ld", (long)look->orphans[i]);
    return pfk_error(EBUSY,
                     "prefork_table_adopt: processes of the last master still hold %u lanes after %u ms:%s; wait for "
                     "them to end, or end them, and try again",
                     look->n_orphans, wait_ms, pids);
}

static int adoption_refuse_damage(const struct prefork_adoption *adoption)
{
    return pfk_error(ENOTRECOVERABLE,
                     "prefork_table_adopt: %u words of segment id %d hold what no participant writes: the table was "
                     "damaged; look for who wrote there, then prefork_table_remove, or ipcrm -m %d",
                     adoption->suspect, adoption->segment_id, adoption->segment_id);
}

/* One look, one repair; *deferred_out: slots that kept moving. */
static int adoption_pass(struct prefork_table *table, struct adoption_look *look, struct prefork_adoption *adoption,
                         uint32_t *deferred_out)
{
    struct prefork_repair repair = {.size = sizeof(repair)};
    int rc;

    adoption_look_at_lanes(table, look);
    rc = prefork_table_repair(table, look->dead, look->n_dead, &repair);
    if (rc != 0)
        return rc;
    if (repair.deferred == 0)
        adoption->dead_lanes += look->n_dead - 1;
    adoption->living_lanes = look->n_attached;
    adoption_add_repair(adoption, &repair);
    *deferred_out = repair.deferred;
    return 0;
}

/* Repairs what the dead left, and waits for those who live on without their master: they finish the job at hand. */
static int adoption_settle(struct prefork_table *table, uint32_t wait_ms, struct prefork_adoption *adoption)
{
    const uint64_t until_ns = prefork_deadline_after_ms(wait_ms);
    struct adoption_look look;

    for (;;) {
        uint32_t deferred = 0;
        const int rc = adoption_pass(table, &look, adoption, &deferred);

        if (rc != 0)
            return rc;
        if (adoption->suspect > 0)
            return adoption_refuse_damage(adoption);
        if (look.n_orphans == 0 && deferred == 0)
            return 0;
        if (prefork_clock_now_ns() >= until_ns)
            return adoption_refuse_orphans(&look, deferred, wait_ms);
        pfk_store_pause();
    }
}

/* -- the whole -------------------------------------------------------------------- */

static uint32_t adoption_count_jobs(const struct prefork_table *table)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};

    return prefork_table_statistics(table, &statistics) == 0 ? statistics.ready_slots : 0;
}

/* The kernel may be told to free segments that nobody is attached to. */
static void adoption_warn_of_forced_removal(void)
{
    FILE *const setting = fopen("/proc/sys/kernel/shm_rmid_forced", "re");
    const int forced = setting != NULL ? fgetc(setting) : '0';

    if (setting != NULL)
        (void)fclose(setting);
    if (forced == '1')
        pfk_log(PREFORK_LOG_WARNING, "kernel.shm_rmid_forced is 1: the kernel removes the table with the last process "
                                     "that uses it; set it to 0 and its jobs outlive them");
}

static void adoption_log(const struct prefork_table *table, const struct prefork_adoption *adoption)
{
    if (adoption->made != 0)
        pfk_log(PREFORK_LOG_INFO, "table under key 0x%x: made, segment id %d",
                (unsigned)prefork_segment_key(table->work_segment), adoption->segment_id);
    else
        pfk_log(PREFORK_LOG_INFO,
                "table under key 0x%x: adopted, segment id %d, master %u; %u lanes of the dead repaired, %u jobs "
                "redelivered, %u wait",
                (unsigned)prefork_segment_key(table->work_segment), adoption->segment_id, adoption->epoch,
                adoption->dead_lanes, adoption->redelivered, adoption->waiting_jobs);
}

static int adoption_run(struct prefork_table *table, const struct prefork_table_options *options,
                        const struct prefork_table_store *asked, struct prefork_adoption *adoption)
{
    struct pfk_layout layout;
    bool made = false;
    int rc = pfk_table_prepare(table, options, &layout);

    if (rc == 0)
        rc = pfk_store_open(asked, true, &table->store);
    if (rc == 0)
        rc = pfk_store_take_mastery(table->store, "prefork_table_adopt");
    if (rc == 0)
        rc = pfk_byte_lock_check_name(table->store->locks, asked->lock_path);
    if (rc == 0)
        rc = adoption_find(table, &layout, asked, &made);
    if (rc != 0)
        return rc;
    adoption_begin_epoch(table);
    adoption->segment_id = prefork_segment_id(table->work_segment);
    adoption->made = made ? 1 : 0;
    adoption->epoch = table->store->epoch;
    rc = adoption_settle(table, asked->wait_ms != 0 ? asked->wait_ms : ADOPTION_WAIT_MS, adoption);
    adoption->waiting_jobs = adoption_count_jobs(table);
    return rc;
}

static void adoption_report(const struct prefork_adoption *adoption, struct prefork_adoption *adoption_out)
{
    const size_t size = adoption_out->size;

    memcpy(adoption_out, adoption, size < sizeof(*adoption) ? size : sizeof(*adoption));
    adoption_out->size = size;
}

int pfk_store_adopt(const struct prefork_table_options *options, const struct prefork_table_store *store,
                    struct prefork_table **table_out, struct prefork_adoption *adoption_out)
{
    struct prefork_adoption adoption = {.segment_id = -1};
    struct prefork_table_store asked;
    struct prefork_table *table;
    int rc = pfk_store_check(store, "prefork_table_adopt", &asked);

    if (rc == 0 && adoption_out != NULL && adoption_out->size < sizeof(adoption_out->size))
        rc = pfk_error(EINVAL, "prefork_table_adopt: adoption.size is %zu; set it to sizeof(struct prefork_adoption)",
                       adoption_out->size);
    if (rc != 0)
        return rc;
    table = calloc(1, sizeof(*table));
    if (table == NULL)
        return pfk_error(ENOMEM, "prefork_table_adopt: no memory");
    rc = adoption_run(table, options, &asked, &adoption);
    if (adoption_out != NULL)
        adoption_report(&adoption, adoption_out);
    if (rc != 0) {
        prefork_table_destroy(&table);
        return rc;
    }
    adoption_warn_of_forced_removal();
    adoption_log(table, &adoption);
    *table_out = table;
    return 0;
}

PFK_EXPORT int prefork_table_adopt(const struct prefork_table_options *options, const struct prefork_table_store *store,
                                   struct prefork_table **table_out, struct prefork_adoption *adoption_out)
{
    const int rc = pfk_store_adopt(options, store, table_out, adoption_out);

    if (rc == 0)
        pfk_store_open_gate(*table_out);
    return rc;
}
