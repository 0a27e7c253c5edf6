/* SPDX-License-Identifier: BSD-2-Clause */
/* Who completes a job does not look again when its word got a flag meanwhile. */
#include "job/lane.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "completing in one look",
                              .role_a = "wait",
                              .role_b = "work-others",
                              .variant = 0,
                              .order = 0,
                              .x_stride = 4,
                              .y_stride = 997};

#define CLAIM_FLAG_TRIES 1
#include "../../../framework/job/claim.c"
