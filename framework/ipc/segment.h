/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside a segment handle; for the files of this folder that make handles of their own kind. */
#ifndef PFK_IPC_SEGMENT_H
#define PFK_IPC_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/shm.h>
#include <sys/types.h>

#include "prefork/segment.h"
#include "prefork/sync.h"

struct prefork_segment {
    int id;
    int key;
    size_t bytes;      /* the whole segment, as the kernel has it or as it was asked for */
    size_t skip_bytes; /* the header of a named one */
    void *mapping;     /* NULL while not attached */
    pid_t opener_pid;  /* a forked child has its parent's here */
    bool is_new;
    struct prefork_file_lock *owner_lock; /* of the owner of a named one, if it has a lock file */
};

/* Keys whose upper half is this ("pf") belong to private segments. */
#define PFK_SEGMENT_PRIVATE_PREFIX UINT32_C(0x70660000)
#define PFK_SEGMENT_PRIVATE_MASK   UINT32_C(0xffff0000)

/* Checks options for `by` and turns a path into a key. 0 or -errno with the text set. */
int pfk_segment_find_key(const struct prefork_segment_options *options, int *key_out);

/* shmget with IPC_CREAT and IPC_EXCL; fills a handle. The routine -EEXIST of a race sets the text too. */
int pfk_segment_make(int key, size_t bytes, unsigned mode, struct prefork_segment **segment_out);

/* A handle for a segment whose owner, mode and size were checked. */
int pfk_segment_wrap(int key, int id, size_t bytes, struct prefork_segment **segment_out);

/* Why the segment must not be used, written into `reason`; false if nothing speaks against it. Looks only at what
 * the kernel says, so it comes before attaching. */
bool pfk_segment_is_foreign(const struct prefork_segment_options *options, int id, const struct shmid_ds *state,
                            char *reason, size_t reason_bytes);

void pfk_segment_status_from(const struct shmid_ds *state, struct prefork_segment_status *status_out);

/* Gives every page of a new, zeroed mapping its memory now. 0, or -ENOMEM with the text set. */
int pfk_segment_populate(void *address, size_t bytes);

#endif
