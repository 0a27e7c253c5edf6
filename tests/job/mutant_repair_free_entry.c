/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: a slot is made FREE, its entry is not put. */
#include "base/error.h"
#include "base/fd.h"
#include "job/park.h"
#include "job/table.h"
#include "mutants.h"

#define prefork_table_repair             mutant_repair_without_free_entry
#define pfk_rings_put_free(rings, index) ((void)(rings), (void)(index), true)
#include "../../framework/job/repair.c"
