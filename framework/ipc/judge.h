/* SPDX-License-Identifier: BSD-2-Clause */
/* Judging a named segment; see <prefork/segment.h> for what the verdicts mean. */
#ifndef PFK_IPC_JUDGE_H
#define PFK_IPC_JUDGE_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/process.h"
#include "prefork/segment.h"

/* How long a creator may take between shmget and the magic. */
#define PFK_JUDGE_PATIENCE_MS 1000u

struct pfk_judge {
    const struct prefork_segment_options *options;
    const struct prefork_segment_layout *layout;
    int key;
    size_t whole_bytes; /* header and user area */
    /* What the lock file says of the owner: UNKNOWN if there is none. */
    enum pfk_process_state owner_by_lock;
};

/* Checks both structs and fills a judge, but for the lock. 0 or -EINVAL and other codes of prefork_segment_judge. */
int pfk_judge_prepare(struct pfk_judge *judge, const struct prefork_segment_options *options,
                      const struct prefork_segment_layout *layout);

/* The judgement. `owner_out` gets the owner's word as the header has it, for pfk_header_take. */
int pfk_judge_pronounce(const struct pfk_judge *judge, struct prefork_segment_report *report_out, uint64_t *owner_out);

/* How many are attached, after a moment for passers-by who judge, if there are more than `expected`. 0, or -EIDRM. */
int pfk_judge_attached(int id, uint64_t expected, uint64_t *attached_out);

#endif
