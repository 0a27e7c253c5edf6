/* SPDX-License-Identifier: BSD-2-Clause */
/* Producers that came to a durable table by its key: they are nobody's children here, so their deaths are learnt from
 * the kernel's word on who holds their lanes' locks. */
#ifndef PFK_MASTER_ATTACHED_H
#define PFK_MASTER_ATTACHED_H

#include <ev.h>
#include <stdint.h>
#include <sys/types.h>

struct pfk_master;

/* A lane for such a producer, and who is known to hold it. */
struct pfk_attached {
    uint32_t lane;
    pid_t pid; /* 0: nobody is watched */
    int pidfd; /* -1: none; the death is learnt from the next look */
    struct ev_io death_watch;
    void *owner; /* the master, for the watch */
};

/* 0 or -ENOMEM. */
int pfk_attached_open(struct pfk_master *master);
void pfk_attached_close(struct pfk_master *master);

/* Looks who has come and who has died, once a second and after each death; the dead become debts. Returns when it
 * wants to be called again. */
uint64_t pfk_attached_turn(struct pfk_master *master, uint64_t now_ns);

#endif
