/* SPDX-License-Identifier: BSD-2-Clause */
/* A slot of the dead is made FREE, its entry is not put. */
#include "job/table.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "repair puts no free entry", .scene = "abandons; one waits for room"};

#define pfk_rings_put_free(rings, index) ((void)(rings), (void)(index), true)
#include "../../../framework/job/repair.c"
