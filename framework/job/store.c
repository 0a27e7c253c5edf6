/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock file of a durable table: who is its master, who holds a lane, who is dead. The rules stand in store.h. */
#include "job/store.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "ipc/byte_lock.h"
#include "ipc/process.h"

enum { STORE_BYTE_MASTER = 0, STORE_BYTE_GATE = 1, STORE_BYTE_ATTACHED = 2, STORE_BYTE_LANES = 16 };

_Static_assert(STORE_BYTE_LANES + PFK_STORE_LANES <= PFK_BYTE_LOCK_BYTES, "every lane has a byte");

#define STORE_MODE     0600u
#define STORE_PAUSE_NS (2 * PFK_NS_PER_MS)

/* -- what the caller asks for ---------------------------------------------------- */

int pfk_store_check(const struct prefork_table_store *given, const char *call, struct prefork_table_store *store_out)
{
    const struct prefork_table_store defaults = {.size = sizeof(defaults), .mode = STORE_MODE};

    if (given == NULL || given->size < offsetof(struct prefork_table_store, mode))
        return pfk_error(EINVAL, "%s: store.size is not set; set it to sizeof(struct prefork_table_store)", call);
    *store_out = defaults;
    memcpy(store_out, given, given->size < sizeof(*given) ? given->size : sizeof(*given));
    if (store_out->lock_path == NULL || store_out->lock_path[0] == '\0')
        return pfk_error(EINVAL, "%s: store.lock_path is not set; name a file that all parties can open", call);
    if ((store_out->mode & ~0777u) != 0)
        return pfk_error(EINVAL, "%s: store.mode 0%o has bits beyond 0777", call, store_out->mode);
    if (store_out->mode == 0)
        store_out->mode = STORE_MODE;
    if (store_out->owner_uid == 0)
        store_out->owner_uid = (uint32_t)geteuid();
    return 0;
}

struct prefork_segment_options pfk_store_segment_options(const struct prefork_table_store *asked, size_t bytes)
{
    struct prefork_segment_options options = PREFORK_SEGMENT_OPTIONS_INIT;

    options.by = PREFORK_SEGMENT_BY_KEY;
    options.key = asked->key;
    options.bytes = bytes;
    options.mode = asked->mode;
    options.owner_uid = asked->owner_uid;
    return options;
}

/* -- the lock file ------------------------------------------------------------------ */

int pfk_store_open(const struct prefork_table_store *asked, bool create, struct pfk_store **store_out)
{
    const struct pfk_byte_lock_options options = {
        .path = asked->lock_path, .mode = asked->mode, .owner_uid = asked->owner_uid, .create = create};
    struct pfk_store *const store = calloc(1, sizeof(*store));
    int rc;

    if (store == NULL)
        return pfk_error(ENOMEM, "table store: no memory");
    rc = pfk_byte_lock_open(&options, &store->locks);
    if (rc != 0) {
        free(store);
        return rc;
    }
    store->pid_space = pfk_process_pid_space();
    *store_out = store;
    return 0;
}

void pfk_store_close(struct pfk_store **store)
{
    if (*store == NULL)
        return;
    pfk_byte_lock_close(&(*store)->locks);
    free(*store);
    *store = NULL;
}

/* 0, or -EBUSY with `who` and the pid in the text. */
static int store_take(const struct pfk_store *store, uint32_t byte, const char *call, const char *who)
{
    pid_t holder = 0;
    const int rc = pfk_byte_lock_take(store->locks, byte, PFK_BYTE_LOCK_EXCLUSIVE, &holder);

    if (rc != -EBUSY && rc != -EALREADY)
        return rc;
    return pfk_error(EBUSY, "%s: process %ld %s", call, (long)(rc == -EALREADY ? getpid() : holder), who);
}

/* Of several that try at once, who gets the gate first gets the rest. */
int pfk_store_take_mastery(const struct pfk_store *store, const char *call)
{
    int rc = store_take(store, STORE_BYTE_GATE, call, "is becoming the table's master, or removes it; it was quicker");

    return rc != 0 ? rc : store_take(store, STORE_BYTE_MASTER, call, "is the table's master; there can be one only");
}

int pfk_store_take_part(const struct pfk_store *store, const char *call)
{
    pid_t holder = 0;
    const int rc = pfk_byte_lock_take(store->locks, STORE_BYTE_ATTACHED, PFK_BYTE_LOCK_SHARED, &holder);

    return rc != -EBUSY ? rc : pfk_error(EBUSY, "%s: process %ld is removing the table", call, (long)holder);
}

int pfk_store_take_all(const struct pfk_store *store, const char *call)
{
    int rc = pfk_store_take_mastery(store, call);
    pid_t holder;

    if (rc == 0)
        rc = store_take(store, STORE_BYTE_ATTACHED, call, "is attached to the table; end it first");
    if (rc != 0)
        return rc;
    holder = pfk_byte_lock_holder(store->locks, STORE_BYTE_LANES, PFK_STORE_LANES);
    if (holder == -ESRCH)
        return 0;
    return holder < 0 ? pfk_error_call(-holder, "fcntl F_GETLK")
                      : pfk_error(EBUSY, "%s: process %ld holds a lane of the table; end it first", call, (long)holder);
}

void pfk_store_open_gate(const struct prefork_table *table)
{
    if (table->store != NULL)
        pfk_byte_lock_drop(table->store->locks, STORE_BYTE_GATE);
}

void pfk_store_resign(const struct prefork_table *table)
{
    if (table->store != NULL)
        pfk_byte_lock_drop(table->store->locks, STORE_BYTE_MASTER);
}

void pfk_store_pause(void)
{
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)STORE_PAUSE_NS};

    (void)nanosleep(&pause, NULL);
}

/* While the parent lives it keeps the gate, so nobody but it can hold the byte. */
int pfk_store_succeed(const struct prefork_table *table, pid_t parent_pid)
{
    pid_t holder = parent_pid;
    int rc = table->store == NULL ? 0 : -EBUSY;

    while (rc == -EBUSY && holder == parent_pid) {
        holder = 0;
        rc = pfk_byte_lock_take(table->store->locks, STORE_BYTE_MASTER, PFK_BYTE_LOCK_EXCLUSIVE, &holder);
        if (rc == -EBUSY)
            pfk_store_pause();
    }
    return rc != -EBUSY ? rc : pfk_error(EBUSY, "the table's master is process %ld by now", (long)holder);
}

/* -- lanes ------------------------------------------------------------------------------ */

int pfk_store_lock_lane(const struct prefork_table *table, uint32_t number)
{
    const struct pfk_store *const store = table->store;
    pid_t holder = 0;
    int rc;

    if (store == NULL)
        return 0;
    rc = pfk_byte_lock_take(store->locks, STORE_BYTE_LANES + number, PFK_BYTE_LOCK_EXCLUSIVE, &holder);
    if (rc == -EALREADY)
        return pfk_error(EBUSY, "prefork_lane_open: lane %u is in use in this process; take another", number);
    if (rc == -EBUSY)
        return pfk_error(EBUSY, "prefork_lane_open: lane %u is in use in process %ld; take another", number,
                         (long)holder);
    return rc;
}

void pfk_store_unlock_lane(const struct prefork_table *table, uint32_t number)
{
    if (table->store != NULL)
        pfk_byte_lock_drop(table->store->locks, STORE_BYTE_LANES + number);
}

int pfk_store_enter_lane(const struct prefork_table *table, uint32_t number)
{
    struct pfk_lane_shm *const lane = pfk_table_lane(table, number);
    const struct pfk_store *const store = table->store;
    uint32_t epoch;

    if (store == NULL)
        return 0;
    pfk_u64_store_relaxed(&lane->pid_space, store->pid_space);
    pfk_u64_store_relaxed(&lane->process, pfk_process_self());
    pfk_fence_seq_cst(); /* in_use, then the epoch; pairs with the fence in adoption_begin_epoch */
    epoch = pfk_u32_load_relaxed(&table->work->epoch);
    if (pfk_table_is_attached_lane(table, number) || epoch == store->epoch)
        return 0;
    return pfk_error(ESTALE,
                     "prefork_lane_open: lane %u: the table has another master by now; only its children "
                     "open such lanes",
                     number);
}

static bool store_is_condemned(const struct pfk_store *store, uint32_t number)
{
    return (store->condemned[number / 64] >> (number % 64) & 1) != 0;
}

void pfk_store_release_lane(const struct prefork_table *table, uint32_t number)
{
    struct pfk_store *const store = table->store;

    if (store == NULL || !store_is_condemned(store, number))
        return;
    store->condemned[number / 64] &= ~(UINT64_C(1) << (number % 64));
    pfk_store_unlock_lane(table, number);
}

/* Does the process that is recorded in the lane still run? The record may be a lie: it is asked after, nothing else.
 * Where it can't be told the lock has the last word. */
static pid_t store_recorded_runner(const struct pfk_lane_shm *lane)
{
    const uint64_t process = pfk_u64_load_relaxed(&lane->process);
    const struct pfk_process_world world = {{0, 0}, pfk_u64_load_relaxed(&lane->pid_space)};

    return pfk_process_still_runs(process, &world) == PFK_PROCESS_RUNS ? pfk_process_pid(process) : 0;
}

enum pfk_store_lane pfk_store_judge_lane(const struct prefork_table *table, uint32_t number, pid_t *pid_out)
{
    struct pfk_lane_shm *const lane = pfk_table_lane(table, number);
    struct pfk_store *const store = table->store;
    int rc;

    if (pfk_u32_load_acquire(&lane->in_use) == 0)
        return PFK_STORE_LANE_FREE;
    if (store_is_condemned(store, number))
        return PFK_STORE_LANE_DEAD; /* since an earlier look; its repair was deferred */
    *pid_out = 0;
    rc = pfk_byte_lock_take(store->locks, STORE_BYTE_LANES + number, PFK_BYTE_LOCK_EXCLUSIVE, pid_out);
    if (rc == -EALREADY)
        *pid_out = getpid();
    if (rc != 0)
        return PFK_STORE_LANE_LIVES;
    if (pfk_u32_load_acquire(&lane->in_use) == 0) {
        pfk_store_unlock_lane(table, number); /* left in order since the first look */
        return PFK_STORE_LANE_FREE;
    }
    *pid_out = store_recorded_runner(lane);
    if (*pid_out != 0) {
        pfk_store_unlock_lane(table, number); /* it closed another descriptor of the lock file */
        return PFK_STORE_LANE_LIVES;
    }
    store->condemned[number / 64] |= UINT64_C(1) << (number % 64);
    return PFK_STORE_LANE_DEAD;
}

pid_t pfk_store_lane_holder(const struct prefork_table *table, uint32_t number)
{
    pid_t pid;

    if (pfk_u32_load_acquire(&pfk_table_lane(table, number)->in_use) == 0)
        return 0;
    pid = pfk_byte_lock_holder(table->store->locks, STORE_BYTE_LANES + number, 1);
    return pid > 0 ? pid : 0;
}

PFK_EXPORT int prefork_table_look_for_dead(struct prefork_table *table, uint32_t *lanes_out, uint32_t max)
{
    uint32_t n = 0;

    if (table->store == NULL || !pfk_byte_lock_has(table->store->locks, STORE_BYTE_MASTER))
        return pfk_error(EPERM, "prefork_table_look_for_dead: for the master of a table that it adopted");
    for (uint32_t i = 0; i < table->geometry.attached && n < max; i++) {
        const uint32_t lane = prefork_table_attached_lane(table, i);
        pid_t pid;

        if (pfk_store_judge_lane(table, lane, &pid) == PFK_STORE_LANE_DEAD)
            lanes_out[n++] = lane;
    }
    return (int)n;
}

PFK_EXPORT int prefork_table_master(const struct prefork_table *table, int *pid_out)
{
    pid_t pid;

    if (table->store == NULL)
        return pfk_error(EINVAL, "prefork_table_master: the table has no store");
    if (pfk_byte_lock_has(table->store->locks, STORE_BYTE_MASTER))
        pid = getpid();
    else
        pid = pfk_byte_lock_holder(table->store->locks, STORE_BYTE_MASTER, 1);
    if (pid < 0 && pid != -ESRCH)
        return pfk_error_call(-pid, "fcntl F_GETLK");
    *pid_out = pid >= 0 ? (int)pid : 0;
    return pid >= 0 ? 0 : pfk_error_routine(ESRCH, "prefork_table_master: the table has no master now");
}
