/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells what lies under a key. The order of the questions is the point: first what the kernel knows (owner, mode,
 * size), and only a segment that passes is attached, read-only; then its header; then whether its owner lives.
 * Doubt counts as "in use". Changes nothing. */
#include "ipc/judge.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <time.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "ipc/file_lock.h"
#include "ipc/header.h"
#include "ipc/segment.h"
#include "ipc/shm_error.h"

#define JUDGE_TRIES        64
#define JUDGE_PAUSE_MIN_NS (100 * PFK_NS_PER_US)
#define JUDGE_PAUSE_MAX_NS (5 * PFK_NS_PER_MS)
/* Others that judge at the same moment are attached for some microseconds each, longer if they lose the processor. */
#define JUDGE_PASSERS_BY_MS 50u

static const char *const judge_names[] = {
    [PREFORK_SEGMENT_ABSENT] = "absent",
    [PREFORK_SEGMENT_ALIVE] = "alive",
    [PREFORK_SEGMENT_DEAD] = "dead",
    [PREFORK_SEGMENT_OTHER_LAYOUT] = "other layout",
    [PREFORK_SEGMENT_OTHER_SIZE] = "other size",
    [PREFORK_SEGMENT_FOREIGN] = "foreign",
    [PREFORK_SEGMENT_UNFINISHED] = "unfinished",
    [PREFORK_SEGMENT_UNKNOWN] = "unknown",
};

PFK_EXPORT const char *prefork_segment_verdict_name(enum prefork_segment_verdict verdict)
{
    return (size_t)verdict < PFK_COUNT_OF(judge_names) ? judge_names[verdict] : "no verdict";
}

PFK_EXPORT uint64_t prefork_segment_fingerprint(const uint64_t *numbers, size_t count)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < count; i++)
        for (unsigned shift = 0; shift < 64; shift += 8)
            hash = (hash ^ (numbers[i] >> shift & 0xff)) * UINT64_C(0x100000001b3);
    return hash;
}

static int judge_say(struct prefork_segment_report *report, enum prefork_segment_verdict verdict, const char *format,
                     ...) PFK_PRINTF(3, 4);

static int judge_say(struct prefork_segment_report *report, enum prefork_segment_verdict verdict, const char *format,
                     ...)
{
    va_list values;

    report->verdict = verdict;
    va_start(values, format);
    (void)vsnprintf(report->text, sizeof(report->text), format, values);
    va_end(values);
    return 0;
}

static uint64_t judge_pause(uint64_t pause_ns)
{
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)pause_ns};

    (void)nanosleep(&pause, NULL); /* interrupted: looks earlier */
    return 2 * pause_ns < JUDGE_PAUSE_MAX_NS ? 2 * pause_ns : JUDGE_PAUSE_MAX_NS;
}

static bool judge_is_gone(int rc)
{
    return rc == -EIDRM || rc == -ENOENT;
}

/* IPC_STAT that takes a segment on its way out for gone. */
static int judge_stat(int id, struct shmid_ds *state)
{
    if (shmctl(id, IPC_STAT, state) != 0)
        return errno == EINVAL || errno == EIDRM ? -EIDRM : -errno;
    return (state->shm_perm.mode & SHM_DEST) != 0 ? -EIDRM : 0;
}

/* ---- whether somebody lives ---- */

/* A creator holds the lock file's lock before it calls shmget. Without one: by the header if that says who it is
 * already, else by the pid that the kernel noted at shmget. */
static enum pfk_process_state judge_creator(const struct pfk_judge *judge, const struct pfk_header *header,
                                            const struct shmid_ds *state)
{
    if (judge->owner_by_lock != PFK_PROCESS_UNKNOWN)
        return judge->owner_by_lock;
    if (header->owner != PFK_PROCESS_NOBODY)
        return pfk_process_still_runs(header->owner, &header->world);
    return pfk_process_runs(state->shm_cpid);
}

static enum pfk_process_state judge_owner(const struct pfk_judge *judge, const struct pfk_header *header)
{
    if (judge->owner_by_lock != PFK_PROCESS_UNKNOWN)
        return judge->owner_by_lock;
    return pfk_process_still_runs(header->owner, &header->world);
}

int pfk_judge_attached(int id, uint64_t expected, uint64_t *attached_out)
{
    const uint64_t until_ns = prefork_deadline_after_ms(JUDGE_PASSERS_BY_MS);
    uint64_t pause_ns = JUDGE_PAUSE_MIN_NS;
    struct shmid_ds state;

    for (;;) {
        const int rc = judge_stat(id, &state);

        if (rc != 0)
            return rc;
        *attached_out = state.shm_nattch;
        if (state.shm_nattch <= expected || prefork_clock_now_ns() >= until_ns)
            return 0;
        pause_ns = judge_pause(pause_ns);
    }
}

static int judge_life(const struct pfk_judge *judge, const struct pfk_header *header,
                      struct prefork_segment_report *report)
{
    const enum pfk_process_state owner = judge_owner(judge, header);
    int rc;

    report->owner_alive = (int)owner;
    if (owner == PFK_PROCESS_RUNS)
        return judge_say(report, PREFORK_SEGMENT_ALIVE, "segment id %d under key 0x%x is in use by process %d",
                         report->id, (unsigned)report->key, report->owner_pid);
    rc = pfk_judge_attached(report->id, 0, &report->status.attached);
    if (rc != 0)
        return rc;
    if (report->status.attached > 0)
        return judge_say(report, PREFORK_SEGMENT_ALIVE,
                         "segment id %d under key 0x%x: its owner, process %d, %s, but %llu are still attached, the "
                         "last of them process %d; end them first (ipcs -mp)",
                         report->id, (unsigned)report->key, report->owner_pid,
                         owner == PFK_PROCESS_DEAD ? "is dead" : "can't be seen from here",
                         (unsigned long long)report->status.attached, report->status.last_pid);
    if (owner == PFK_PROCESS_UNKNOWN)
        return judge_say(report, PREFORK_SEGMENT_UNKNOWN,
                         "segment id %d under key 0x%x: can't tell whether its owner, process %d, lives (no /proc, or "
                         "another pid namespace); give a lock file, or if it is dead: ipcrm -m %d",
                         report->id, (unsigned)report->key, report->owner_pid, report->id);
    return judge_say(report, PREFORK_SEGMENT_DEAD, "segment id %d under key 0x%x was left by process %d, which is dead",
                     report->id, (unsigned)report->key, report->owner_pid);
}

/* ---- what lies in it ---- */

/* Reads the header until it has a magic, its creator is dead, or patience ends. -EIDRM if it is removed. */
static int judge_read_header(const struct pfk_judge *judge, const struct pfk_header_shm *shared,
                             struct prefork_segment_report *report, struct pfk_header *header)
{
    const uint64_t until_ns = prefork_deadline_after_ms(PFK_JUDGE_PATIENCE_MS);
    uint64_t pause_ns = JUDGE_PAUSE_MIN_NS;
    struct shmid_ds state;

    for (;;) {
        const int rc = judge_stat(report->id, &state);
        enum pfk_process_state creator;

        if (rc != 0)
            return rc;
        pfk_header_read(shared, header);
        if (header->magic != 0)
            return 0;
        creator = judge_creator(judge, header, &state);
        report->creator_alive = (int)creator;
        if (creator == PFK_PROCESS_DEAD || prefork_clock_now_ns() >= until_ns) {
            pfk_header_read(shared, header); /* it may have finished just before it died */
            return 0;
        }
        pause_ns = judge_pause(pause_ns);
    }
}

static int judge_unfinished(struct prefork_segment_report *report)
{
    if (report->creator_alive == PFK_PROCESS_DEAD)
        return judge_say(report, PREFORK_SEGMENT_UNFINISHED,
                         "segment id %d under key 0x%x has no header and process %d, which made it, is dead; ipcrm -m "
                         "%d",
                         report->id, (unsigned)report->key, report->status.creator_pid, report->id);
    return judge_say(report, PREFORK_SEGMENT_UNFINISHED,
                     "segment id %d under key 0x%x has no header after %u ms and process %d, which made it, %s; wait "
                     "for it, or end it and: ipcrm -m %d",
                     report->id, (unsigned)report->key, PFK_JUDGE_PATIENCE_MS, report->status.creator_pid,
                     report->creator_alive == PFK_PROCESS_RUNS ? "lives" : "can't be seen from here", report->id);
}

static int judge_contents(const struct pfk_judge *judge, const struct pfk_header *header,
                          struct prefork_segment_report *report)
{
    report->owner_pid = (int)pfk_process_pid(header->owner);
    if (header->magic == 0)
        return judge_unfinished(report);
    if (header->magic != PFK_HEADER_MAGIC)
        return judge_say(report, PREFORK_SEGMENT_OTHER_LAYOUT,
                         "segment id %d under key 0x%x begins with 0x%llx: not made by this library, or by another "
                         "version of it; take another key, or if nobody needs it: ipcrm -m %d",
                         report->id, (unsigned)report->key, (unsigned long long)header->magic, report->id);
    if (header->version != judge->layout->version || header->fingerprint != judge->layout->fingerprint)
        return judge_say(report, PREFORK_SEGMENT_OTHER_LAYOUT,
                         "segment id %d under key 0x%x has layout version %u, fingerprint %llx; version %u, %llx is "
                         "wanted; take another key, or if nobody needs it: ipcrm -m %d",
                         report->id, (unsigned)report->key, header->version, (unsigned long long)header->fingerprint,
                         judge->layout->version, (unsigned long long)judge->layout->fingerprint, report->id);
    if (header->bytes != judge->options->bytes)
        return judge_say(report, PREFORK_SEGMENT_OTHER_SIZE,
                         "segment id %d under key 0x%x says it holds %llu bytes, %zu are wanted; if nobody needs it: "
                         "ipcrm -m %d",
                         report->id, (unsigned)report->key, (unsigned long long)header->bytes, judge->options->bytes,
                         report->id);
    return judge_life(judge, header, report);
}

/* The mapping ends before life is judged, lest two that judge take each other for users. */
static int judge_inside(const struct pfk_judge *judge, struct prefork_segment_report *report, uint64_t *owner_out)
{
    struct pfk_header header;
    const void *mapping = shmat(report->id, NULL, SHM_RDONLY);
    int rc;

    if (mapping == (void *)-1)
        return errno == EINVAL || errno == EIDRM ? -EIDRM : pfk_shm_error_id(errno, "shmat", report->id);
    rc = judge_read_header(judge, mapping, report, &header);
    (void)shmdt(mapping);
    if (rc != 0)
        return rc;
    *owner_out = header.owner;
    return judge_contents(judge, &header, report);
}

/* ---- what the kernel knows ---- */

static int judge_outside(const struct pfk_judge *judge, const struct shmid_ds *state,
                         struct prefork_segment_report *report, uint64_t *owner_out)
{
    pfk_segment_status_from(state, &report->status);
    if (pfk_segment_is_foreign(judge->options, report->id, state, report->text, sizeof(report->text))) {
        report->verdict = PREFORK_SEGMENT_FOREIGN;
        return 0;
    }
    if (state->shm_segsz != judge->whole_bytes)
        return judge_say(report, PREFORK_SEGMENT_OTHER_SIZE,
                         "segment id %d under key 0x%x has %zu bytes, %zu are wanted (%zu and a header of %d); take "
                         "another key, or if nobody needs it: ipcrm -m %d",
                         report->id, (unsigned)report->key, state->shm_segsz, judge->whole_bytes, judge->options->bytes,
                         PFK_HEADER_BYTES, report->id);
    return judge_inside(judge, report, owner_out);
}

static int judge_once(const struct pfk_judge *judge, struct prefork_segment_report *report, uint64_t *owner_out)
{
    struct shmid_ds state;
    int rc;

    memset(report, 0, sizeof(*report));
    report->key = judge->key;
    report->owner_alive = report->creator_alive = PFK_PROCESS_UNKNOWN;
    *owner_out = PFK_PROCESS_NOBODY;
    report->id = shmget(judge->key, 0, 0);
    if (report->id < 0 && errno == ENOENT)
        return judge_say(report, PREFORK_SEGMENT_ABSENT, "no segment under key 0x%x; start what makes it",
                         (unsigned)judge->key);
    rc = report->id < 0 ? -errno : judge_stat(report->id, &state);
    if (rc == -EACCES) {
        (void)pfk_shm_error_get(EACCES, judge->key, 0);
        return judge_say(report, PREFORK_SEGMENT_FOREIGN, "%.*s", (int)sizeof(report->text) - 1, prefork_last_error());
    }
    if (rc != 0)
        return judge_is_gone(rc) ? rc : pfk_error_call(-rc, "shmget or shmctl IPC_STAT");
    report->creator_alive = (int)pfk_process_runs(state.shm_cpid);
    return judge_outside(judge, &state, report, owner_out);
}

int pfk_judge_pronounce(const struct pfk_judge *judge, struct prefork_segment_report *report_out, uint64_t *owner_out)
{
    for (int attempt = 0; attempt < JUDGE_TRIES; attempt++) {
        const int rc = judge_once(judge, report_out, owner_out);

        if (!judge_is_gone(rc))
            return rc;
    }
    return pfk_error(EIDRM,
                     "prefork_segment_judge: key 0x%x: others removed the segment %d times while it was looked "
                     "at; see who uses the key",
                     (unsigned)judge->key, JUDGE_TRIES);
}

int pfk_judge_prepare(struct pfk_judge *judge, const struct prefork_segment_options *options,
                      const struct prefork_segment_layout *layout)
{
    int rc = pfk_segment_find_key(options, &judge->key);

    if (rc != 0)
        return rc;
    if (options->by != PREFORK_SEGMENT_BY_KEY && options->by != PREFORK_SEGMENT_BY_PATH)
        return pfk_error(EINVAL, "prefork_segment: a named segment is found by key or by path");
    if (layout == NULL || layout->size != sizeof(*layout))
        return pfk_error(EINVAL,
                         "prefork_segment_layout: size is not that of this version (%zu); start from "
                         "PREFORK_SEGMENT_LAYOUT_INIT",
                         sizeof(*layout));
    if (options->bytes == 0 || options->bytes > SIZE_MAX - PFK_HEADER_BYTES)
        return pfk_error(EINVAL, "prefork_segment: %zu bytes are wanted; a named segment has a size", options->bytes);
    judge->options = options;
    judge->layout = layout;
    judge->whole_bytes = options->bytes + PFK_HEADER_BYTES;
    judge->owner_by_lock = PFK_PROCESS_UNKNOWN;
    return 0;
}

PFK_EXPORT int prefork_segment_judge(const struct prefork_segment_options *options,
                                     const struct prefork_segment_layout *layout,
                                     struct prefork_segment_report *report_out)
{
    struct pfk_judge judge;
    uint64_t owner;
    int rc = pfk_judge_prepare(&judge, options, layout);

    if (rc == 0 && layout->lock_path != NULL) {
        rc = pfk_file_lock_is_held(layout->lock_path);
        judge.owner_by_lock = rc > 0 ? PFK_PROCESS_RUNS : PFK_PROCESS_DEAD;
    }
    return rc < 0 ? rc : pfk_judge_pronounce(&judge, report_out, &owner);
}
