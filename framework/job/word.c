/* SPDX-License-Identifier: BSD-2-Clause */
#include "job/word.h"

#include "base/compiler.h"

static const char *const word_state_names[] = {
#define WORD_STATE_NAME(name, value) [value] = #name,
    PFK_STATES(WORD_STATE_NAME)
#undef WORD_STATE_NAME
};

const char *pfk_state_name(uint32_t state)
{
    if (state >= PFK_COUNT_OF(word_state_names) || word_state_names[state] == NULL)
        return "unknown";
    return word_state_names[state];
}
