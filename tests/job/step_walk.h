/* SPDX-License-Identifier: BSD-2-Clause */
/* Walks through a scene and kills: once at every so many instructions. */
#ifndef STEP_WALK_H
#define STEP_WALK_H

#include "step_scenes.h"
#include "step_stage.h"

struct walk {
    uint64_t kills;
    uint64_t instructions; /* of the whole scene */
    uint64_t strayed;      /* runs that left the trail and were walked step by step */
    uint64_t failures, failed_at;
    char reason[sizeof(((struct stage_ledger *)NULL)->reason)];
};

/* Kills after `phase` instructions, `phase` + `stride` ..., until the scene is
 * over or has failed `max_failures` times. */
void walk_scene(const struct scene *scene, uint64_t stride, uint64_t phase, uint64_t max_failures,
                struct walk *walk_out);

/* The victims and who walks them take turns: on one processor a turn costs a tenth. */
void walk_on_one_processor(void);

#endif
