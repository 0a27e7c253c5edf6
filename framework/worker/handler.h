/* SPDX-License-Identifier: BSD-2-Clause */
/* The named handlers of a pool. Filled before any worker exists and never
 * changed after; each worker has its own copy by fork. */
#ifndef PFK_WORKER_HANDLER_H
#define PFK_WORKER_HANDLER_H

#include <stdint.h>

#include "base/atomic.h"
#include "prefork.h"

#define PFK_HANDLER_MAX        64
#define PFK_HANDLER_NAME_BYTES 64 /* the terminating zero included */

struct pfk_handler {
    char name[PFK_HANDLER_NAME_BYTES];
    prefork_handler_fn run;
    void *context;
    pfk_atomic_u32 complained; /* 1: this process has logged that it answers nonsense */
};

struct pfk_handler_set {
    struct pfk_handler handlers[PFK_HANDLER_MAX];
    uint32_t n;
};

/* Adds a handler; its number is its place. Copies `name`. Errors as
 * prefork_pool_handle has them. */
int pfk_handler_add(struct pfk_handler_set *set, const char *name, prefork_handler_fn run, void *context);

/* Returns the number of the handler called `name`, or -ENOENT. */
int pfk_handler_find(const struct pfk_handler_set *set, const char *name);

/* Runs the handler that `job` asks for and returns the status to complete it
 * with: 0 or negative. -ENOENT: there is no such handler; -EINVAL: it returned
 * a positive number (logged once). Any job thread. */
int pfk_handler_run(struct pfk_handler_set *set, struct prefork_job *job);

#endif
