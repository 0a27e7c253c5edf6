/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: a job is made READY, its entry is not put. */
#include "base/error.h"
#include "base/fd.h"
#include "job/park.h"
#include "job/table.h"
#include "mutants.h"

#define prefork_table_repair mutant_repair_without_ready_entry
#define pfk_table_settle_ready(table, index, owner)                                                                    \
    (pfk_table_settle(table, index, PFK_QUEUING, PFK_READY, owner), true)
#include "../../framework/job/repair.c"
