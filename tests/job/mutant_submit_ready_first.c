/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: a job is made READY before its entry is in the ring. */
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "job/lane.h"
#include "job/park.h"
#include "mutants.h"

static bool mutant_put_ready(struct pfk_rings *rings, uint32_t index)
{
    const struct prefork_lane *const lane = pfk_container_of(rings, struct prefork_lane, rings);
    pfk_atomic_u64 *const at = &pfk_table_descriptor(lane->table, index)->word;

    pfk_u64_store_release(at, pfk_word_moved(pfk_u64_load_relaxed(at), PFK_READY, PFK_NOBODY));
    return pfk_ring_put(&rings->ready, index) == PFK_RING_PUT;
}

#define prefork_lane_submit         mutant_submit_ready_first
#define prefork_lane_reserve        mutant_ready_first_reserve
#define prefork_lane_want_room      mutant_ready_first_want_room
#define prefork_lane_request_buffer mutant_ready_first_request_buffer
#define prefork_lane_put            mutant_ready_first_put
#define prefork_lane_abandon        mutant_ready_first_abandon
#define prefork_lane_collect        mutant_ready_first_collect
#define prefork_lane_detach         mutant_ready_first_detach
#define prefork_lane_wait           mutant_ready_first_wait
#define prefork_lane_next           mutant_ready_first_next
#define pfk_rings_put_ready         mutant_put_ready
int mutant_ready_first_collect(struct prefork_lane *lane, uint64_t job);
int mutant_ready_first_reserve(struct prefork_lane *lane, uint64_t deadline_ns, uint64_t *job_out);
#include "../../framework/job/submit.c"
