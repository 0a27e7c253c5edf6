/* SPDX-License-Identifier: BSD-2-Clause */
/* Sleeping and waking: a semaphore as a doorbell, never as a count.
 *
 * A waker changes the truth, then rings only if nobody has been rung for whom
 * nobody took yet; a sleeper takes a token, then looks at the truth again.
 *
 *     waker:    change word or ring     sleeper:  take a token
 *               fence                             fence
 *               value < 1 ? post                  look at word or ring
 *
 * Either the waker sees the token gone and posts a new one, or the sleeper
 * that takes it sees the change. A token too many is one look in vain; a token
 * too few exists only after a death, and repair posts then. */
#ifndef PFK_JOB_PARK_H
#define PFK_JOB_PARK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "ipc/semaphore.h"

/* Rings; true when a token was posted. The change that it tells of was made by
 * a read-modify-write of this thread. Any participant, any thread. */
static inline bool pfk_park_ring(struct prefork_semaphore *sem)
{
    pfk_fence_after_rmw(); /* pairs with the fence in pfk_park_sleep */
    if (pfk_semaphore_is_raised(sem))
        return false;
    (void)pfk_semaphore_post(sem); /* a full semaphore is loud enough */
    return true;
}

/* Sleeps until rung, the deadline, or a signal handler ran; all three mean:
 * look again. */
static inline void pfk_park_sleep(struct prefork_semaphore *sem, uint64_t deadline_ns)
{
    (void)pfk_semaphore_wait(sem, deadline_ns);
    pfk_fence_seq_cst(); /* pairs with the fence in pfk_park_ring */
}

#endif
