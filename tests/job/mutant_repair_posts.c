/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant: after a death repair posts no semaphore. */
#include "base/error.h"
#include "base/fd.h"
#include "job/park.h"
#include "job/table.h"
#include "mutants.h"

#define prefork_table_repair                    mutant_repair_without_posts
#define pfk_semaphore_post_untrusted(semaphore) ((void)(semaphore))
#include "../../framework/job/repair.c"
