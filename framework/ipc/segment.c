/* SPDX-License-Identifier: BSD-2-Clause */
/* The four System V steps and what a handle tells. Knows nothing of what lies in a segment. Everything that decides
 * whether an existing segment may be used is the kernel's word (IPC_STAT), read before the segment is attached; the
 * id that was checked is the id that is attached, and the kernel does not give an id twice in a row. */
#include "ipc/segment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/error.h"
#include "ipc/shm_error.h"

#define SEGMENT_MODE_BITS 0777u
/* Others may remove and make a segment between two of our calls; so often in a row it is no accident. */
#define SEGMENT_TRIES 64

/* ---- options ---- */

static int segment_check_options(const struct prefork_segment_options *options)
{
    if (options == NULL || options->size != sizeof(*options))
        return pfk_error(EINVAL,
                         "prefork_segment_options: size is not that of this version (%zu); start from "
                         "PREFORK_SEGMENT_OPTIONS_INIT",
                         sizeof(*options));
    if ((options->mode & ~SEGMENT_MODE_BITS) != 0)
        return pfk_error(EINVAL, "prefork_segment_options: mode 0%o has bits beyond 0777", options->mode);
    return 0;
}

static int segment_check_key(int key, const char *origin)
{
    if (key == IPC_PRIVATE)
        return pfk_error(EINVAL,
                         "prefork_segment_options: %s is 0, which finds nothing; use another key, or "
                         "PREFORK_SEGMENT_BY_NOTHING",
                         origin);
    if (((uint32_t)key & PFK_SEGMENT_PRIVATE_MASK) == PFK_SEGMENT_PRIVATE_PREFIX)
        return pfk_error(EINVAL,
                         "prefork_segment_options: %s is 0x%x; 0x7066xxxx is kept for private segments, use "
                         "another",
                         origin, (unsigned)key);
    return 0;
}

static int segment_key_from_path(const struct prefork_segment_options *options, int *key_out)
{
    if (options->path == NULL || (options->project & 0xff) == 0)
        return pfk_error(EINVAL, "prefork_segment_options: by path needs a path and a project number of 1 to 255");
    *key_out = ftok(options->path, options->project);
    if (*key_out == -1)
        return pfk_error(errno, "ftok: %s: %s; the file must exist", options->path, strerror(errno));
    return segment_check_key(*key_out, "the key made from the path");
}

int pfk_segment_find_key(const struct prefork_segment_options *options, int *key_out)
{
    const int rc = segment_check_options(options);

    if (rc != 0)
        return rc;
    switch (options->by) {
    case PREFORK_SEGMENT_BY_NOTHING:
    case PREFORK_SEGMENT_BY_ID:
        *key_out = IPC_PRIVATE;
        return 0;
    case PREFORK_SEGMENT_BY_KEY:
        *key_out = options->key;
        return segment_check_key(options->key, "key");
    case PREFORK_SEGMENT_BY_PATH:
        return segment_key_from_path(options, key_out);
    }
    return pfk_error(EINVAL, "prefork_segment_options: by is %d", (int)options->by);
}

/* ---- making and opening ---- */

int pfk_segment_wrap(int key, int id, size_t bytes, struct prefork_segment **segment_out)
{
    struct prefork_segment *segment = calloc(1, sizeof(*segment));

    if (segment == NULL)
        return pfk_error(ENOMEM, "prefork_segment: no memory for a handle");
    segment->id = id;
    segment->key = key;
    segment->bytes = bytes;
    segment->opener_pid = getpid();
    *segment_out = segment;
    return 0;
}

int pfk_segment_make(int key, size_t bytes, unsigned mode, struct prefork_segment **segment_out)
{
    int id, rc;

    if (bytes == 0)
        return pfk_error(EINVAL, "prefork_segment_create: 0 bytes are wanted; a segment has at least 1");
    /* the handle first: memory that fails after shmget would leave a segment to undo */
    rc = pfk_segment_wrap(key, -1, bytes, segment_out);
    if (rc != 0)
        return rc;
    id = shmget(key, bytes, IPC_CREAT | IPC_EXCL | (int)mode);
    if (id < 0) {
        rc = pfk_shm_error_get(errno, key, bytes);
        free(*segment_out);
        *segment_out = NULL;
        return rc;
    }
    (*segment_out)->id = id;
    (*segment_out)->is_new = true;
    return 0;
}

static bool segment_uid_is_fine(uint32_t uid, uint32_t wanted_uid)
{
    const uint32_t trusted_uid = wanted_uid == PREFORK_SEGMENT_OWNER_SELF ? (uint32_t)geteuid() : wanted_uid;

    return wanted_uid == PREFORK_SEGMENT_OWNER_ANY || uid == trusted_uid || uid == 0;
}

bool pfk_segment_is_foreign(const struct prefork_segment_options *options, int id, const struct shmid_ds *state,
                            char *reason, size_t reason_bytes)
{
    const struct ipc_perm *perm = &state->shm_perm;
    const unsigned mode = (unsigned)perm->mode & SEGMENT_MODE_BITS;

    if (!segment_uid_is_fine(perm->uid, options->owner_uid) || !segment_uid_is_fine(perm->cuid, options->owner_uid)) {
        (void)snprintf(reason, reason_bytes,
                       "segment id %d under key 0x%x is owned by uid %u and was made by uid %u, not both trusted here "
                       "(this is uid %u); take another key, or as its owner: ipcrm -m %d",
                       id, (unsigned)perm->__key, (unsigned)perm->uid, (unsigned)perm->cuid, (unsigned)geteuid(), id);
        return true;
    }
    if ((mode & ~options->mode) != 0) {
        (void)snprintf(reason, reason_bytes,
                       "segment id %d under key 0x%x has mode 0%03o, which grants more than 0%03o; ask for mode 0%03o, "
                       "or if nobody needs it: ipcrm -m %d",
                       id, (unsigned)perm->__key, mode, options->mode, mode | options->mode, id);
        return true;
    }
    return false;
}

static int segment_open_id(const struct prefork_segment_options *options, int key, int id,
                           struct prefork_segment **segment_out)
{
    char reason[320];
    struct shmid_ds state;

    if (shmctl(id, IPC_STAT, &state) != 0)
        return errno == EACCES && key != IPC_PRIVATE ? pfk_shm_error_get(EACCES, key, options->bytes)
                                                     : pfk_shm_error_id(errno, "shmctl IPC_STAT", id);
    if (pfk_segment_is_foreign(options, id, &state, reason, sizeof(reason)))
        return pfk_error(EACCES, "prefork_segment: %s", reason);
    if (state.shm_segsz < options->bytes)
        return pfk_error(EINVAL,
                         "prefork_segment: segment id %d under key 0x%x has %zu bytes, %zu are wanted; if nobody needs "
                         "it: ipcrm -m %d",
                         id, (unsigned)state.shm_perm.__key, state.shm_segsz, options->bytes, id);
    return pfk_segment_wrap(state.shm_perm.__key, id, state.shm_segsz, segment_out);
}

PFK_EXPORT int prefork_segment_open(const struct prefork_segment_options *options, struct prefork_segment **segment_out)
{
    int key, id;
    const int rc = pfk_segment_find_key(options, &key);

    if (rc != 0)
        return rc;
    if (options->by == PREFORK_SEGMENT_BY_NOTHING)
        return pfk_error(EINVAL, "prefork_segment_open: a segment is opened by key, path or id");
    if (options->by == PREFORK_SEGMENT_BY_ID)
        return options->id < 0 ? pfk_error(EINVAL, "prefork_segment_open: id %d; ids are not negative", options->id)
                               : segment_open_id(options, IPC_PRIVATE, options->id, segment_out);
    id = shmget(key, 0, 0);
    if (id < 0)
        return pfk_shm_error_get(errno, key, 0);
    return segment_open_id(options, key, id, segment_out);
}

static int segment_get_or_create(const struct prefork_segment_options *options, int key,
                                 struct prefork_segment **segment_out)
{
    for (int attempt = 0; attempt < SEGMENT_TRIES; attempt++) {
        int rc = pfk_segment_make(key, options->bytes, options->mode, segment_out);

        if (rc != -EEXIST)
            return rc;
        rc = prefork_segment_open(options, segment_out);
        if (rc != -ENOENT && rc != -EIDRM)
            return rc;
    }
    return pfk_error(EIDRM,
                     "prefork_segment_create: key 0x%x: others removed the segment %d times while it was "
                     "looked at; see who uses the key",
                     (unsigned)key, SEGMENT_TRIES);
}

PFK_EXPORT int prefork_segment_create(const struct prefork_segment_options *options,
                                      struct prefork_segment **segment_out)
{
    int key;
    const int rc = pfk_segment_find_key(options, &key);

    if (rc != 0)
        return rc;
    if (options->by == PREFORK_SEGMENT_BY_ID)
        return pfk_error(EINVAL, "prefork_segment_create: the kernel chooses ids; create by key, path or nothing");
    if (options->by == PREFORK_SEGMENT_BY_NOTHING || options->exclusive)
        return pfk_segment_make(key, options->bytes, options->mode, segment_out);
    return segment_get_or_create(options, key, segment_out);
}

/* ---- attaching ---- */

PFK_EXPORT int prefork_segment_attach(struct prefork_segment *segment, enum prefork_segment_access access)
{
    void *mapping;

    if (access != PREFORK_SEGMENT_READ_WRITE && access != PREFORK_SEGMENT_READ_ONLY)
        return pfk_error(EINVAL, "prefork_segment_attach: access is %d", (int)access);
    if (segment->mapping != NULL)
        return pfk_error(EALREADY, "prefork_segment_attach: segment id %d is attached at %p; detach it first",
                         segment->id, segment->mapping);
    mapping = shmat(segment->id, NULL, access == PREFORK_SEGMENT_READ_ONLY ? SHM_RDONLY : 0);
    if (mapping == (void *)-1)
        return pfk_shm_error_id(errno, "shmat", segment->id);
    segment->mapping = mapping;
    return 0;
}

PFK_EXPORT int prefork_segment_detach(struct prefork_segment *segment)
{
    if (segment->mapping == NULL)
        return pfk_error(EINVAL, "prefork_segment_detach: segment id %d is not attached", segment->id);
    if (shmdt(segment->mapping) != 0)
        return pfk_error(errno, "shmdt: segment id %d is not mapped at %p any more; who unmapped it?", segment->id,
                         segment->mapping);
    segment->mapping = NULL;
    return 0;
}

PFK_EXPORT int prefork_segment_keep_from_children(struct prefork_segment *segment)
{
    if (segment->mapping == NULL)
        return pfk_error(EINVAL, "prefork_segment_keep_from_children: segment id %d is not attached", segment->id);
    if (madvise(segment->mapping, segment->bytes, MADV_DONTFORK) != 0)
        return pfk_error_call(errno, "madvise MADV_DONTFORK");
    return 0;
}

PFK_EXPORT void prefork_segment_close(struct prefork_segment **segment)
{
    if (*segment == NULL)
        return;
    if ((*segment)->mapping != NULL)
        (void)shmdt((*segment)->mapping); /* fails only if somebody else unmapped it: as wanted */
    prefork_file_lock_close(&(*segment)->owner_lock);
    free(*segment);
    *segment = NULL;
}

/* ---- changing the segment for everybody ---- */

static int segment_check_opener(const struct prefork_segment *segment, const char *call)
{
    if (segment->opener_pid == getpid())
        return 0;
    return pfk_error(ECHILD, "%s: the handle was inherited from process %ld; open segment id %d in this one", call,
                     (long)segment->opener_pid, segment->id);
}

PFK_EXPORT int prefork_segment_remove(struct prefork_segment *segment)
{
    struct shmid_ds state;
    const int rc = segment_check_opener(segment, "prefork_segment_remove");

    if (rc != 0)
        return rc;
    if (shmctl(segment->id, IPC_STAT, &state) == 0 && (state.shm_perm.mode & SHM_DEST) != 0)
        return pfk_shm_error_id(EIDRM, "prefork_segment_remove", segment->id);
    if (shmctl(segment->id, IPC_RMID, NULL) != 0)
        return pfk_shm_error_id(errno, "shmctl IPC_RMID", segment->id);
    return 0;
}

static int segment_set(struct prefork_segment *segment, const struct shmid_ds *state)
{
    struct shmid_ds wanted = *state;

    if (shmctl(segment->id, IPC_SET, &wanted) != 0)
        return pfk_shm_error_id(errno, "shmctl IPC_SET", segment->id);
    return 0;
}

PFK_EXPORT int prefork_segment_set_mode(struct prefork_segment *segment, unsigned mode)
{
    struct shmid_ds state;
    const int rc = segment_check_opener(segment, "prefork_segment_set_mode");

    if (rc != 0)
        return rc;
    if ((mode & ~SEGMENT_MODE_BITS) != 0)
        return pfk_error(EINVAL, "prefork_segment_set_mode: 0%o has bits beyond 0777", mode);
    if (shmctl(segment->id, IPC_STAT, &state) != 0)
        return pfk_shm_error_id(errno, "shmctl IPC_STAT", segment->id);
    state.shm_perm.mode = (__mode_t)mode;
    return segment_set(segment, &state);
}

PFK_EXPORT int prefork_segment_set_owner(struct prefork_segment *segment, uint32_t uid, uint32_t gid)
{
    struct shmid_ds state;
    const int rc = segment_check_opener(segment, "prefork_segment_set_owner");

    if (rc != 0)
        return rc;
    if (shmctl(segment->id, IPC_STAT, &state) != 0)
        return pfk_shm_error_id(errno, "shmctl IPC_STAT", segment->id);
    if (uid != UINT32_MAX)
        state.shm_perm.uid = uid;
    if (gid != UINT32_MAX)
        state.shm_perm.gid = gid;
    return segment_set(segment, &state);
}

/* ---- what a handle tells ---- */

void pfk_segment_status_from(const struct shmid_ds *state, struct prefork_segment_status *status_out)
{
    *status_out = (struct prefork_segment_status){
        .bytes = state->shm_segsz,
        .attached = state->shm_nattch,
        .uid = state->shm_perm.uid,
        .gid = state->shm_perm.gid,
        .creator_uid = state->shm_perm.cuid,
        .creator_gid = state->shm_perm.cgid,
        .creator_pid = state->shm_cpid,
        .last_pid = state->shm_lpid,
        .mode = (unsigned)state->shm_perm.mode & SEGMENT_MODE_BITS,
        .removed = (state->shm_perm.mode & SHM_DEST) != 0,
        .attach_time = state->shm_atime,
        .detach_time = state->shm_dtime,
        .change_time = state->shm_ctime,
    };
}

PFK_EXPORT int prefork_segment_stat(const struct prefork_segment *segment, struct prefork_segment_status *status_out)
{
    struct shmid_ds state;

    if (shmctl(segment->id, IPC_STAT, &state) != 0)
        return pfk_shm_error_id(errno, "shmctl IPC_STAT", segment->id);
    pfk_segment_status_from(&state, status_out);
    return 0;
}

PFK_EXPORT void *prefork_segment_address(const struct prefork_segment *segment)
{
    return segment->mapping == NULL ? NULL : (unsigned char *)segment->mapping + segment->skip_bytes;
}

PFK_EXPORT size_t prefork_segment_bytes(const struct prefork_segment *segment)
{
    return segment->bytes - segment->skip_bytes;
}

PFK_EXPORT int prefork_segment_id(const struct prefork_segment *segment)
{
    return segment->id;
}

PFK_EXPORT int prefork_segment_key(const struct prefork_segment *segment)
{
    return segment->key;
}

PFK_EXPORT int prefork_segment_is_new(const struct prefork_segment *segment)
{
    return segment->is_new;
}
