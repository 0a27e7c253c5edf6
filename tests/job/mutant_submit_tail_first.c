/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: a ring's tail moves on before the cell is filled: reserve, then publish. */
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "job/lane.h"
#include "job/park.h"
#include "mutants.h"

static bool mutant_put_ready(struct pfk_rings *rings, uint32_t index)
{
    const struct pfk_ring *const ring = &rings->ready;
    const uint64_t tail = pfk_ring_end(ring);

    pfk_u64_store_release(&ring->shm->tail, tail + 1);
    pfk_u64_store_release(pfk_ring_cell_at(ring, tail), pfk_ring_cell(pfk_ring_round(ring, tail), index));
    return true;
}

#define prefork_lane_submit         mutant_submit_tail_first
#define prefork_lane_reserve        mutant_tail_first_reserve
#define prefork_lane_want_room      mutant_tail_first_want_room
#define prefork_lane_request_buffer mutant_tail_first_request_buffer
#define prefork_lane_put            mutant_tail_first_put
#define prefork_lane_abandon        mutant_tail_first_abandon
#define prefork_lane_collect        mutant_tail_first_collect
#define prefork_lane_detach         mutant_tail_first_detach
#define prefork_lane_wait           mutant_tail_first_wait
#define prefork_lane_next           mutant_tail_first_next
#define pfk_rings_put_ready         mutant_put_ready
int mutant_tail_first_collect(struct prefork_lane *lane, uint64_t job);
int mutant_tail_first_reserve(struct prefork_lane *lane, uint64_t deadline_ns, uint64_t *job_out);
#include "../../framework/job/submit.c"
