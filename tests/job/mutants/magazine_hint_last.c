/* SPDX-License-Identifier: BSD-2-Clause */
/* The hint comes into the magazine after the word says SPARE: who stands in
 * between hides the slot from others. */
#include "job/lane.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "magazine's hint after the word",
                              .role_a = "submit-reserved",
                              .role_b = "abandon",
                              .variant = 1,
                              .order = 0,
                              .x_stride = 4,
                              .y_stride = 61};

#define pfk_magazine_prepare mutant_real_prepare
#define pfk_magazine_put     mutant_real_put
bool mutant_real_prepare(struct prefork_lane *lane, uint32_t index);
void mutant_real_put(struct prefork_lane *lane, uint32_t index, uint64_t spare);
#include "../../../framework/job/magazine.c"
#undef pfk_magazine_prepare
#undef pfk_magazine_put

bool pfk_magazine_prepare(struct prefork_lane *lane, uint32_t index)
{
    const bool room = mutant_real_prepare(lane, index);

    if (room)
        pfk_u32_store_relaxed(&lane->shm->magazine[lane->magazine.top], 0);
    return room;
}

void pfk_magazine_put(struct prefork_lane *lane, uint32_t index, uint64_t spare)
{
    pfk_u32_store_relaxed(&lane->shm->magazine[lane->magazine.top], index + 1);
    mutant_real_put(lane, index, spare);
}
