/* SPDX-License-Identifier: BSD-2-Clause */
/* Versions of the table's code with one known fault each, made of the real
 * source with something redefined. Only tests link them: a harness that does not
 * catch them proves nothing. */
#ifndef MUTANTS_H
#define MUTANTS_H

#include "prefork/table.h"

int mutant_repair_without_posts(struct prefork_table *table, const uint32_t *lanes, uint32_t n_lanes,
                                struct prefork_repair *repair_out);
int mutant_repair_without_loops(struct prefork_table *table, const uint32_t *lanes, uint32_t n_lanes,
                                struct prefork_repair *repair_out);
int mutant_repair_without_ready_entry(struct prefork_table *table, const uint32_t *lanes, uint32_t n_lanes,
                                      struct prefork_repair *repair_out);
int mutant_repair_without_free_entry(struct prefork_table *table, const uint32_t *lanes, uint32_t n_lanes,
                                     struct prefork_repair *repair_out);
int mutant_repair_without_purge(struct prefork_table *table, const uint32_t *lanes, uint32_t n_lanes,
                                struct prefork_repair *repair_out);
int mutant_claim_dequeues_first(struct prefork_lane *lane, uint64_t deadline_ns, struct prefork_job **job_out);
int mutant_submit_tail_first(struct prefork_lane *lane, uint64_t job, const struct prefork_submission *submission);
int mutant_submit_ready_first(struct prefork_lane *lane, uint64_t job, const struct prefork_submission *submission);

#endif
