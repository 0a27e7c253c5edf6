/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: a dead taker's leftover at the head of a ring stays. */
#include "base/error.h"
#include "base/fd.h"
#include "job/park.h"
#include "job/table.h"
#include "mutants.h"

#define prefork_table_repair        mutant_repair_without_purge
#define pfk_ring_purge(ring, index) ((void)(ring), (void)(index))
#include "../../framework/job/repair.c"
