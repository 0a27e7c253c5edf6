/* SPDX-License-Identifier: BSD-2-Clause */
/* The master: keeps the workers of a pool alive and ends them.
 *
 * One thread, one loop, no allocation per event, no lock in shared memory, no
 * user code but the two callbacks of its settings. */
#ifndef PFK_MASTER_MASTER_H
#define PFK_MASTER_MASTER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "worker/worker.h"

struct pfk_tally_shm;

struct pfk_master_settings {
    struct pfk_worker_options worker; /* seat, life_fd, report_fd and program_mask are filled in for each */
    uint32_t workers;
    uint32_t outside_producers;
    uint32_t attached_producers; /* of a durable table */
    uint64_t drain_ms;
    uint64_t ready_ms;
    bool stop_on_damage;          /* don't make a damaged table anew */
    int stop_fd;                  /* eventfd: each unit is a request to stop */
    int parent_pidfd;             /* of the process that started the pool; -1: none */
    pid_t parent_pid;             /* its pid, watched when there is no pidfd; 0: nobody is watched */
    const sigset_t *program_mask; /* what the program had blocked; NULL: what the calling thread blocks now */
    const int *private_fds;       /* not for workers */
    size_t n_private_fds;
    struct pfk_tally_shm *tally;
    void (*started)(void *context); /* the first workers are forked; may be NULL */
    void (*ready)(void *context);   /* the first worker accepts; may be NULL */
    void *context;
};

/* Runs the pool until it has stopped: every worker was reaped, every lane
 * repaired. Returns as prefork_pool_run. */
int pfk_master_run(const struct pfk_master_settings *settings);

#endif
