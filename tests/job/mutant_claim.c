/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: an entry is taken from the ready ring before its job is claimed. */
#include "base/clock.h"
#include "base/error.h"
#include "job/lane.h"
#include "job/park.h"
#include "mutants.h"

static bool mutant_peek(struct pfk_ring *ring, struct pfk_ring_entry *entry_out)
{
    if (!pfk_ring_peek(ring, entry_out))
        return false;
    pfk_ring_remove(ring, entry_out);
    return true;
}

#define prefork_lane_claim        mutant_claim_dequeues_first
#define prefork_job_request       mutant_job_request
#define prefork_job_reply_buffer  mutant_job_reply_buffer
#define prefork_job_reply         mutant_job_reply
#define prefork_job_reply_request mutant_job_reply_request
#define prefork_job_id            mutant_job_id
#define prefork_job_attempt       mutant_job_attempt
#define prefork_job_handler       mutant_job_handler
#define prefork_job_complete      mutant_job_complete
#define prefork_job_hand_back     mutant_job_hand_back
uint64_t mutant_job_id(const struct prefork_job *job);
int mutant_job_hand_back(struct prefork_job *job);
/* In claim_take this is the fault; claim_pass_on, which only peeks, is not reached in the mutant's role. */
#define pfk_ring_peek                mutant_peek
#define pfk_ring_holds(entry)        ((void)(entry), true)
#define pfk_ring_remove(ring, entry) ((void)(ring), (void)(entry))
#include "../../framework/job/claim.c"
