/* SPDX-License-Identifier: BSD-2-Clause */
/* A job of the dead is made READY, its entry is not put. */
#include "job/table.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "repair puts no ready entry",
                              .scene = "submits what it has reserved; a worker sleeps"};

#define pfk_rings_put_ready(rings, index) ((void)(rings), (void)(index), true)
#include "../../../framework/job/repair.c"
