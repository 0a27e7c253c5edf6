/* SPDX-License-Identifier: BSD-2-Clause */
/* Birth and death of workers: fork and waitpid, and what surrounds them. Knows
 * the system calls; what is to be done when is the master's and policy's. */
#ifndef PFK_MASTER_SPAWN_H
#define PFK_MASTER_SPAWN_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "master/attached.h"
#include "master/master.h"
#include "master/signals.h"

/* A seat and the worker in it. Private to the master: what it knows of its
 * children it has from the kernel and from their report pipes. */
struct pfk_child {
    uint32_t seat;
    uint32_t incarnation; /* how often the seat was filled */
    uint32_t failures;    /* in a row */
    pid_t pid;            /* 0: the seat is empty */
    int pidfd;            /* -1: none; the death is learnt from SIGCHLD */
    int report_fd;        /* -1: none, or at its end */
    uint32_t reports;     /* bytes that it has reported */
    bool ready;
    bool drained;
    bool doomed;      /* was sent SIGKILL */
    bool last_resort; /* forked while the pool drains, for jobs that nobody else is left to run */
    bool dirty;       /* its lanes wait for repair; until then the seat stays empty */
    uint64_t started_ns;
    uint64_t due_ns;      /* an empty seat is filled at this time */
    uint64_t work_before; /* its lanes' work when it was forked */
    struct ev_io death_watch;
    struct ev_io report_watch;
    void *owner; /* the master, for the watches */
};

/* What all births have in common. */
struct pfk_nursery {
    const struct pfk_master_settings *settings;
    const struct pfk_signals *signals;
    struct pfk_child *children;
    uint32_t n_children;
    const struct pfk_attached *attached; /* settings->attached_producers */
    int life_read_fd;  /* inherited by each worker */
    int life_write_fd; /* the master's alone; never written */
};

/* Forks a worker into the empty seat of `child`. 0 or -errno of pipe2(2) or
 * fork(2); the seat is then still empty. Returns in the parent only. */
int pfk_spawn_fork(struct pfk_nursery *nursery, struct pfk_child *child);

/* Reaps the worker if it has ended: true, with its wait status (0 when somebody
 * else in this process has reaped it). */
bool pfk_spawn_reap(const struct pfk_child *child, int *status_out);

/* Makes the seat of a reaped worker empty and closes its descriptors, which
 * nobody watches any more. */
void pfk_spawn_clear(struct pfk_child *child);

/* Sends a signal to the worker, if there is one. */
void pfk_spawn_signal(const struct pfk_child *child, int signal_number);

/* Sends SIGKILL, once. */
void pfk_spawn_kill(struct pfk_child *child);

/* Sums what the lanes of a seat have done; what a worker says of itself. */
uint64_t pfk_spawn_work(const struct pfk_master_settings *settings, uint32_t seat);

/* How many lanes a worker has. */
uint32_t pfk_spawn_lanes(const struct pfk_master_settings *settings);

#endif
