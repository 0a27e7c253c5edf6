/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: a slot is made FREE, its entry is not put. */
#include "base/error.h"
#include "base/fd.h"
#include "job/park.h"
#include "job/table.h"
#include "mutants.h"

#define prefork_table_repair                       mutant_repair_without_free_entry
#define pfk_table_settle_free(table, index, owner) (pfk_table_settle(table, index, PFK_FREEING, PFK_FREE, owner), true)
#include "../../framework/job/repair.c"
