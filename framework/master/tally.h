/* SPDX-License-Identifier: BSD-2-Clause */
/* The master's own counts, in a page that it shares with the process that
 * started it. Workers unmap it: nothing of it is theirs. */
#ifndef PFK_MASTER_TALLY_H
#define PFK_MASTER_TALLY_H

#include "base/atomic.h"

/* field  | writer | readers | order   | if the owner dies here
 * forked | master | starter | relaxed | exact to within one
 * lost   | master | starter | relaxed | exact to within one
 * rebuilt| master | starter | relaxed | exact to within one
 * ready  | master | starter | relaxed | stale; the starter knows of the death */
struct pfk_tally_shm {
    pfk_atomic_u64 forked;  /* workers, since the start */
    pfk_atomic_u64 lost;    /* of these, ended without being told to */
    pfk_atomic_u64 rebuilt; /* times that a damaged table was made anew */
    pfk_atomic_u32 ready;   /* workers that are ready now */
};

#endif
