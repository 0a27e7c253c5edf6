/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: after a death repair signals no eventfd. */
#include "base/error.h"
#include "base/fd.h"
#include "job/park.h"
#include "job/table.h"
#include "mutants.h"

#define prefork_table_repair    mutant_repair_without_loops
#define pfk_fd_event_signal(fd) (fd)
#include "../../framework/job/repair.c"
