/* SPDX-License-Identifier: BSD-2-Clause */
/* A pool's private state, shared by the files of this layer. */
#ifndef PFK_POOL_POOL_H
#define PFK_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/atomic.h"
#include "io/iothread.h"
#include "io/listener.h"
#include "io/protocol.h"
#include "master/tally.h"
#include "prefork.h"
#include "prefork/segment.h"
#include "worker/handler.h"
#include "worker/user.h"

#define PFK_POOL_OPTIONS_MAX 20

/* A listening socket and how its connections speak. */
struct pfk_pool_port {
    struct pfk_listener *listener;
    struct pfk_protocol protocol;
    struct pfk_trust *trust; /* whose PROXY headers are read; NULL: nobody's */
    uint32_t backlog;        /* 0: as the option says */
};

enum pfk_pool_stage {
    PFK_POOL_SETTING, /* neither run nor start was called */
    PFK_POOL_RUNNING, /* this process is the master */
    PFK_POOL_STARTED, /* a child is the master */
    PFK_POOL_ENDED,
};

struct prefork_pool {
    pid_t owner_pid; /* whose this copy is; another process was forked by the caller itself */
    enum pfk_pool_stage stage;
    uint64_t options[PFK_POOL_OPTIONS_MAX + 1]; /* by number */
    struct pfk_handler_set handlers;
    struct pfk_pool_port *ports;
    size_t n_ports;
    struct prefork_segment *region; /* the user's own; NULL: none */
    prefork_ready_fn ready;
    void *ready_context;
    struct prefork_table_store store; /* if durable; its lock_path is the pool's own copy */
    bool durable;
    struct pfk_user user; /* of the workers, if has_user */
    bool has_user;

    /* from run or start on, until destroy */
    struct prefork_table *table;
    struct pfk_tally_shm *tally;
    struct pfk_quota *quota; /* NULL: peers are not limited */
    struct pfk_io_port *io_ports;
    /* The eventfd that prefork_pool_stop writes to, -1 before. Stored with
     * release once it stands; stop may load it on any thread. */
    pfk_atomic_u32 stop_fd;
    /* 1 while run or a started master may hear of it. */
    pfk_atomic_u32 serving;
    pfk_atomic_u32 stop_asked; /* 1: prefork_pool_stop was called */

    /* of a started pool */
    pid_t master_pid; /* 0: reaped */
    int end_fd;       /* read end of the master's word; at its end when the master is gone */
    int result;
    char result_text[256];
};

/* Sets every option to its default. */
void pfk_pool_set_defaults(struct prefork_pool *pool);

/* 0, or -ECHILD in a process that the caller forked by itself, or -EBUSY once
 * the pool runs; `call` names the caller in the text. */
int pfk_pool_check_owner(const struct prefork_pool *pool, const char *call);
int pfk_pool_check_setting(const struct prefork_pool *pool, const char *call);

/* Ends a started pool: gracefully within its limits, then by force. */
void pfk_pool_end_started(struct prefork_pool *pool);

#endif
