/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker about to be killed, looked at while it stands still. */
#ifndef PFK_TESTS_POOL_STORM_VICTIM_H
#define PFK_TESTS_POOL_STORM_VICTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "prefork.h"

#define STORM_PORTS_MAX 1024

struct storm_victim {
    pid_t pid;
    uint32_t seat;
    uint32_t incarnation;
    bool claimed;  /* one of its lanes holds a CLAIMED job */
    uint64_t work; /* jobs completed and bytes sent by its lanes, in all incarnations */
    size_t n_ports;
    uint16_t ports[STORM_PORTS_MAX]; /* of its connections' other ends */
};

/* Stops the worker in `seat` (SIGSTOP), waits until it stands, and notes what it
 * holds of connections to `server_port` and of jobs. Exact when no connection
 * is waiting to be accepted: a thread may still end the system call it is in. False:
 * it is not there, or ended meanwhile. */
bool storm_victim_stop(struct prefork_pool *pool, uint32_t seat, uint16_t server_port, struct storm_victim *victim_out);

/* SIGKILL; SIGCONT. */
void storm_victim_kill(const struct storm_victim *victim);
void storm_victim_spare(const struct storm_victim *victim);

/* Whether another worker sits there, ready. */
bool storm_victim_replaced(const struct prefork_pool *pool, const struct storm_victim *victim);

bool storm_victim_has_port(const struct storm_victim *victim, uint16_t port);

#endif
