/* SPDX-License-Identifier: BSD-2-Clause */
/* A dead taker's leftover at the head of a ring stays. */
#include "job/ring.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "repair purges nothing", .scene = "submits a detached job; a worker sleeps"};

#define pfk_ring_purge(ring, index) ((void)(ring), (void)(index))
#include "../../../framework/job/repair.c"
