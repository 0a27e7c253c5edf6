/* SPDX-License-Identifier: BSD-2-Clause */
/* Repair takes a spare slot for nobody's. */
#include "job/word.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "repair leaves spare slots", .scene = "abandons; one waits for room"};

static uint32_t mutant_owner(uint64_t word)
{
    return pfk_word_state(word) == PFK_SPARE ? PFK_NOBODY : pfk_word_owner(word);
}

#define pfk_word_owner(word) mutant_owner(word)
#include "../../../framework/job/repair.c"
