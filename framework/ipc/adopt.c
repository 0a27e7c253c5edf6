/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes, joins, takes or replaces a named segment after it was judged. Between judgement and act others may act; what
 * arbitrates is, for making, shmget with IPC_EXCL; for taking and replacing, one CAS on the owner word, which only
 * one of those that judged the same dead owner wins; for mending, the death of the only one that could finish it.
 * Who loses judges again. Removal is always by the id that was judged, never by key.
 *
 * Nobody's segment is removed under him. Who joins attaches, then looks at the magic; who replaces takes the magic
 * away, then looks who is attached: one of the two sees the other. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <time.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/log.h"
#include "ipc/file_lock.h"
#include "ipc/header.h"
#include "ipc/judge.h"
#include "ipc/segment.h"

/* Each round lost means that somebody else got on. */
#define ADOPT_PATIENCE_MS 2000u
#define ADOPT_PAUSE_NS    (1 * PFK_NS_PER_MS)
#define ADOPT_ALL                                                                                                      \
    (PREFORK_SEGMENT_MAY_CREATE | PREFORK_SEGMENT_MAY_JOIN | PREFORK_SEGMENT_MAY_TAKE | PREFORK_SEGMENT_MAY_REPLACE |  \
     PREFORK_SEGMENT_MAY_MEND)

/* What one round came to, when it is not an error. */
#define ADOPT_AGAIN 1

struct adopt {
    struct pfk_judge judge;
    unsigned allow;
    struct prefork_file_lock *lock; /* of the owner-to-be, else NULL */
    struct prefork_segment_report report;
    uint64_t owner;
};

static bool adopt_may(const struct adopt *adopt, unsigned what)
{
    return (adopt->allow & what) == what;
}

static int adopt_refuse(int code, const struct adopt *adopt)
{
    return pfk_error(code, "prefork_segment_adopt: %s", adopt->report.text);
}

/* ---- the lock file ---- */

static bool adopt_wants_to_own(const struct adopt *adopt)
{
    return (adopt->allow & ~(unsigned)PREFORK_SEGMENT_MAY_JOIN) != 0;
}

/* Takes the lock; a lock that is held is no error. */
static int adopt_take_lock(struct adopt *adopt, const char *path)
{
    int rc = prefork_file_lock_open(path, adopt->judge.options->mode, &adopt->lock);

    if (rc != 0)
        return rc;
    rc = prefork_file_lock_lock(adopt->lock, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT);
    if (rc != 0)
        prefork_file_lock_close(&adopt->lock);
    return rc == -EAGAIN ? 0 : rc;
}

/* Asks the lock file anew in each round. Whoever may end up as the owner takes the lock before it looks, so that what
 * the lock says stays true while it acts; whoever only joins does not touch it. */
static int adopt_ask_lock(struct adopt *adopt)
{
    const char *path = adopt->judge.layout->lock_path;
    int rc = 0;

    if (path == NULL || adopt->lock != NULL)
        return 0;
    if (adopt_wants_to_own(adopt)) {
        rc = adopt_take_lock(adopt, path);
        adopt->judge.owner_by_lock = adopt->lock != NULL ? PFK_PROCESS_DEAD : PFK_PROCESS_RUNS;
    } else {
        rc = pfk_file_lock_is_held(path);
        adopt->judge.owner_by_lock = rc > 0 ? PFK_PROCESS_RUNS : PFK_PROCESS_DEAD;
    }
    return rc < 0 ? rc : 0;
}

static bool adopt_may_own(const struct adopt *adopt)
{
    return adopt->judge.layout->lock_path == NULL || adopt->lock != NULL;
}

/* The owner's handle holds the lock from now on. */
static void adopt_become_owner(struct adopt *adopt, struct prefork_segment *segment)
{
    segment->owner_lock = adopt->lock;
    adopt->lock = NULL;
}

/* ---- the acts ---- */

static int adopt_initialise(const struct adopt *adopt, struct prefork_segment *segment)
{
    const struct prefork_segment_layout *layout = adopt->judge.layout;
    struct pfk_header_shm *header = segment->mapping;
    int rc = 0;

    pfk_header_begin(header);
    if (layout->initialise != NULL)
        rc = layout->initialise(prefork_segment_address(segment), adopt->judge.options->bytes, layout->context);
    if (rc == 0)
        pfk_header_finish(header, layout, adopt->judge.options->bytes);
    return rc;
}

static int adopt_create(struct adopt *adopt, struct prefork_segment **segment_out)
{
    struct prefork_segment *segment;
    int rc;

    if (!adopt_may_own(adopt))
        return ADOPT_AGAIN; /* the lock's holder is about to make it */
    rc = pfk_segment_make(adopt->judge.key, adopt->judge.whole_bytes, adopt->judge.options->mode, &segment);
    if (rc != 0)
        return rc == -EEXIST ? ADOPT_AGAIN : rc;
    segment->skip_bytes = PFK_HEADER_BYTES;
    rc = prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE);
    if (rc == 0)
        rc = adopt_initialise(adopt, segment);
    if (rc != 0) {
        (void)shmctl(segment->id, IPC_RMID, NULL);
        prefork_segment_close(&segment);
        return rc;
    }
    adopt_become_owner(adopt, segment);
    *segment_out = segment;
    return 0;
}

static int adopt_attach(const struct adopt *adopt, struct prefork_segment **segment_out)
{
    struct prefork_segment_status status;
    int rc = pfk_segment_wrap(adopt->judge.key, adopt->report.id, adopt->judge.whole_bytes, segment_out);

    if (rc != 0)
        return rc;
    (*segment_out)->skip_bytes = PFK_HEADER_BYTES;
    rc = prefork_segment_attach(*segment_out, PREFORK_SEGMENT_READ_WRITE);
    if (rc == 0)
        rc = prefork_segment_stat(*segment_out, &status);
    if (rc == 0 && (status.removed || !pfk_header_is_finished((*segment_out)->mapping)))
        rc = -EIDRM; /* others are still in it, but nobody will find it any more; or it is about to go */
    if (rc != 0)
        prefork_segment_close(segment_out);
    return rc == -EIDRM ? ADOPT_AGAIN : rc;
}

/* Attaches and becomes the owner in the dead one's stead. */
static int adopt_take(struct adopt *adopt, struct prefork_segment **segment_out)
{
    int rc = adopt_attach(adopt, segment_out);

    if (rc != 0)
        return rc;
    if (!pfk_header_take((*segment_out)->mapping, adopt->owner)) {
        if (adopt_may(adopt, PREFORK_SEGMENT_MAY_JOIN)) /* another took it: it lives, and we are in it already */
            return 0;
        prefork_segment_close(segment_out);
        return ADOPT_AGAIN;
    }
    pfk_log(PREFORK_LOG_INFO, "segment id %d under key 0x%x: took it over from process %d, which is dead",
            adopt->report.id, (unsigned)adopt->judge.key, adopt->report.owner_pid);
    adopt_become_owner(adopt, *segment_out);
    return 0;
}

static int adopt_remove(const struct adopt *adopt, const char *what)
{
    if (shmctl(adopt->report.id, IPC_RMID, NULL) == 0)
        pfk_log(PREFORK_LOG_INFO, "removed segment id %d under key 0x%x, %s process %d, which is dead",
                adopt->report.id, (unsigned)adopt->judge.key, what,
                adopt->report.owner_pid != 0 ? adopt->report.owner_pid : adopt->report.status.creator_pid);
    else if (errno == EPERM)
        return pfk_error(EPERM, "shmctl IPC_RMID: only the owner of segment id %d may remove it", adopt->report.id);
    return ADOPT_AGAIN;
}

/* Removes it unless somebody has come in since it was judged; then it is as it was. */
static int adopt_retire(const struct adopt *adopt, struct pfk_header_shm *header)
{
    uint64_t attached;
    int rc;

    pfk_header_retire(header);
    rc = pfk_judge_attached(adopt->report.id, 1, &attached); /* 1: ourselves */
    if (rc == 0 && attached <= 1)
        return adopt_remove(adopt, "left by");
    pfk_header_revive(header, adopt->owner);
    return ADOPT_AGAIN;
}

/* Takes it first, so that nobody who judged the same can take what is about to be removed. */
static int adopt_replace(struct adopt *adopt)
{
    struct prefork_segment *old;
    int rc = adopt_attach(adopt, &old);

    if (rc != 0)
        return rc;
    rc = pfk_header_take(old->mapping, adopt->owner) ? adopt_retire(adopt, old->mapping) : ADOPT_AGAIN;
    prefork_segment_close(&old);
    return rc;
}

static int adopt_dead(struct adopt *adopt, struct prefork_segment **segment_out)
{
    if (!adopt_may(adopt, PREFORK_SEGMENT_MAY_TAKE) &&
        !adopt_may(adopt, PREFORK_SEGMENT_MAY_REPLACE | PREFORK_SEGMENT_MAY_CREATE))
        return adopt_refuse(EOWNERDEAD, adopt);
    return adopt_may(adopt, PREFORK_SEGMENT_MAY_TAKE) ? adopt_take(adopt, segment_out) : adopt_replace(adopt);
}

static int adopt_unfinished(const struct adopt *adopt)
{
    uint64_t attached;

    if (adopt->report.creator_alive != PFK_PROCESS_DEAD)
        return adopt_refuse(EBUSY, adopt);
    if (!adopt_may(adopt, PREFORK_SEGMENT_MAY_MEND | PREFORK_SEGMENT_MAY_CREATE))
        return adopt_refuse(ENOTRECOVERABLE, adopt);
    if (pfk_judge_attached(adopt->report.id, 0, &attached) != 0 || attached > 0)
        return ADOPT_AGAIN; /* removed meanwhile; or its maker died in adopt_retire, and somebody had come in */
    return adopt_remove(adopt, "left unfinished by");
}

static int adopt_act(struct adopt *adopt, struct prefork_segment **segment_out)
{
    switch (adopt->report.verdict) {
    case PREFORK_SEGMENT_ABSENT:
        return adopt_may(adopt, PREFORK_SEGMENT_MAY_CREATE) ? adopt_create(adopt, segment_out)
                                                            : adopt_refuse(ENOENT, adopt);
    case PREFORK_SEGMENT_ALIVE:
        return adopt_may(adopt, PREFORK_SEGMENT_MAY_JOIN) ? adopt_attach(adopt, segment_out)
                                                          : adopt_refuse(EBUSY, adopt);
    case PREFORK_SEGMENT_DEAD:
        return adopt_dead(adopt, segment_out);
    case PREFORK_SEGMENT_UNFINISHED:
        return adopt_unfinished(adopt);
    case PREFORK_SEGMENT_OTHER_LAYOUT:
        return adopt_refuse(EPROTO, adopt);
    case PREFORK_SEGMENT_OTHER_SIZE:
        return adopt_refuse(EMSGSIZE, adopt);
    case PREFORK_SEGMENT_FOREIGN:
        return adopt_refuse(EACCES, adopt);
    case PREFORK_SEGMENT_UNKNOWN:
        break;
    }
    return adopt_refuse(EADDRINUSE, adopt);
}

/* ---- the rounds ---- */

/* The report that the caller gets is the first round's: what was found before anything was done. */
static int adopt_rounds(struct adopt *adopt, struct prefork_segment **segment_out,
                        struct prefork_segment_report *report_out)
{
    const uint64_t until_ns = prefork_deadline_after_ms(ADOPT_PATIENCE_MS);
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)ADOPT_PAUSE_NS};
    int rc;

    do {
        rc = adopt_ask_lock(adopt);
        if (rc == 0)
            rc = pfk_judge_pronounce(&adopt->judge, &adopt->report, &adopt->owner);
        if (report_out != NULL) {
            *report_out = adopt->report;
            report_out = NULL;
        }
        if (rc == 0)
            rc = adopt_act(adopt, segment_out);
        if (rc != ADOPT_AGAIN)
            return rc;
        if (!adopt_may_own(adopt))
            (void)nanosleep(&pause, NULL);
    } while (prefork_clock_now_ns() < until_ns);
    return pfk_error(EBUSY,
                     "prefork_segment_adopt: key 0x%x: others changed what lies there all the time for %u ms; "
                     "see who uses the key",
                     (unsigned)adopt->judge.key, ADOPT_PATIENCE_MS);
}

PFK_EXPORT int prefork_segment_adopt(const struct prefork_segment_options *options,
                                     const struct prefork_segment_layout *layout, unsigned allow,
                                     struct prefork_segment **segment_out, struct prefork_segment_report *report_out)
{
    struct adopt adopt = {.allow = allow};
    int rc = pfk_judge_prepare(&adopt.judge, options, layout);

    if (rc == 0 && (allow & ~(unsigned)ADOPT_ALL) != 0)
        rc = pfk_error(EINVAL, "prefork_segment_adopt: allow is 0x%x; it has unknown bits", allow);
    if (rc == 0)
        rc = adopt_rounds(&adopt, segment_out, report_out);
    prefork_file_lock_close(&adopt.lock); /* of one that joined, or failed */
    return rc;
}
