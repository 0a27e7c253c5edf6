/* SPDX-License-Identifier: BSD-2-Clause */
/* The roles in which a victim is killed. */
#ifndef STEP_SCENES_H
#define STEP_SCENES_H

#include <stddef.h>
#include <stdint.h>

struct scene {
    const char *name;
    uint32_t slots;              /* 0: a scene without a stage */
    uint32_t n_dead;             /* lanes of the dead, from STAGE_VICTIM on */
    void (*arrange)(void);       /* the master, before the victim is born; may be NULL */
    void (*prepare)(void);       /* the victim, not stepped */
    void (*arrange_late)(void);  /* the master, while the victim stands before its scene; may be NULL */
    void (*act)(void);           /* the victim, stepped */
    void (*when_asleep)(void);   /* the master, once the victim sleeps in its scene; may be NULL */
    void (*inspect)(int victim); /* without a stage: what should be left; calls stage_fail */
    uint32_t coarser;            /* times a stride that is not every instruction; 0 counts as 1 */
};

extern const struct scene step_scenes[];
extern const size_t step_scene_count;

/* The scene of that name. */
const struct scene *step_scene(const char *name);

/* How many segments the scene that makes a table left to be cleared away. */
extern uint32_t step_strays;

/* What a scene's when_asleep wants to be called the next time that the victim
 * sleeps; NULL: nothing more. */
extern void (*scene_wake_again)(void);

#endif
