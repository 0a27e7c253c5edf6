/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker does that was taken over: it writes wherever it can, and tampers with every descriptor that it shares
 * with its master. */
#ifndef HOSTILE_WORKER_H
#define HOSTILE_WORKER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/atomic.h"
#include "job/table.h"

#define HOSTILE_IMAGES      4
#define HOSTILE_IMAGE_BYTES (256u * 1024u)

enum hostile_way {
    HOSTILE_RANDOM,
    HOSTILE_ZERO,
    HOSTILE_ONES,
    HOSTILE_REPLAY, /* bytes of an earlier moment, perhaps of an earlier table */
    HOSTILE_PIDS,   /* the bystander's pid, everywhere */
    HOSTILE_EDGES,  /* a few fields */
    HOSTILE_BITS,   /* a few bits */
    HOSTILE_HOLES,  /* pages are taken away */
    HOSTILE_WAYS
};

/* Orders and findings, shared by the test and all workers. Lies outside of what hostile workers write. */
struct hostile_scene {
    uint32_t way;
    uint32_t seed;
    uint32_t times;   /* how often it writes before it rests; 0: without end */
    uint32_t tampers; /* 1: descriptors, too */
    pid_t bystander_pid;
    pfk_atomic_u32 written; /* how often it has written since the round began */
    pfk_atomic_u32 images;  /* how many were taken */
    unsigned char image[HOSTILE_IMAGES][HOSTILE_IMAGE_BYTES];
};

/* Takes this process over: starts a thread that follows the orders until the process ends. 0 or -errno. */
int hostile_worker_start(struct hostile_scene *scene, const struct prefork_table *table);

#endif
