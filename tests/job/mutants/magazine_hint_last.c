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

#define pfk_magazine_free            mutant_real_free
#define pfk_u64_store_release(to, v) ((void)(to), (void)(v))
bool mutant_real_free(struct prefork_lane *lane, uint32_t index, uint64_t *word);
#include "../../../framework/job/magazine.c"
#undef pfk_magazine_free
#undef pfk_u64_store_release

bool pfk_magazine_free(struct prefork_lane *lane, uint32_t index, uint64_t *word)
{
    const bool freed = mutant_real_free(lane, index, word);

    pfk_u64_store_release(&lane->shm->magazine.top, lane->magazine.top);
    return freed;
}
