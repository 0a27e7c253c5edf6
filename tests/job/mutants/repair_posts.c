/* SPDX-License-Identifier: BSD-2-Clause */
/* After a death repair posts no semaphore. */
#include "ipc/semaphore.h"
#include "job/table.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "repair posts nothing", .scene = "submits what it has reserved; a worker sleeps"};

#define pfk_semaphore_post_untrusted(semaphore) ((void)(semaphore))
#include "../../../framework/job/repair.c"
