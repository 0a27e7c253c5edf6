/* SPDX-License-Identifier: BSD-2-Clause */
#include "master/attached.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "job/store.h"
#include "master/pidfd.h"
#include "master/state.h"

/* How often newcomers, and deaths among those without a pidfd, are looked for. */
#define ATTACHED_LOOK_NS PFK_NS_PER_S

static struct prefork_table *attached_table(const struct pfk_master *master)
{
    return master->settings->worker.table;
}

int pfk_attached_open(struct pfk_master *master)
{
    const uint32_t n = master->settings->attached_producers;

    master->attached = calloc((size_t)n + 1, sizeof(*master->attached));
    master->attached_dead = calloc((size_t)n + 1, sizeof(*master->attached_dead));
    if (master->attached == NULL || master->attached_dead == NULL) {
        pfk_attached_close(master);
        return pfk_error_call(ENOMEM, "master");
    }
    for (uint32_t i = 0; i < n; i++)
        master->attached[i] = (struct pfk_attached){
            .lane = prefork_table_attached_lane(attached_table(master), i), .pidfd = -1, .owner = master};
    master->nursery.attached = master->attached;
    return 0;
}

static void attached_forget(struct pfk_master *master, struct pfk_attached *attached)
{
    if (attached->pidfd >= 0)
        ev_io_stop(master->loop, &attached->death_watch);
    pfk_fd_close(&attached->pidfd);
    attached->pid = 0;
}

void pfk_attached_close(struct pfk_master *master)
{
    for (uint32_t i = 0; master->attached != NULL && i < master->settings->attached_producers; i++)
        pfk_fd_close(&master->attached[i].pidfd); /* the loop is gone already */
    free(master->attached);
    free(master->attached_dead);
    master->attached = NULL;
    master->attached_dead = NULL;
}

static void attached_on_death(struct ev_loop *loop, struct ev_io *watch, int events)
{
    struct pfk_attached *const attached = watch->data;
    struct pfk_master *const master = attached->owner;

    (void)loop;
    (void)events;
    attached_forget(master, attached);
    master->attached_due_ns = 0;
}

/* The lock's holder is asked for twice: between the first answer and the pidfd
 * its number may have become another's. */
static void attached_watch(struct pfk_master *master, struct pfk_attached *attached, pid_t pid)
{
    attached->pidfd = pfk_pidfd_open(pid);
    if (attached->pidfd < 0 || pfk_store_lane_holder(attached_table(master), attached->lane) != pid) {
        pfk_fd_close(&attached->pidfd);
        attached->pidfd = -1;
        return;
    }
    attached->pid = pid;
    ev_io_init(&attached->death_watch, attached_on_death, attached->pidfd, EV_READ);
    attached->death_watch.data = attached;
    ev_io_start(master->loop, &attached->death_watch);
}

static void attached_look_at(struct pfk_master *master, struct pfk_attached *attached)
{
    const pid_t pid = pfk_store_lane_holder(attached_table(master), attached->lane);

    if (pid == attached->pid)
        return;
    attached_forget(master, attached);
    if (pid != 0)
        attached_watch(master, attached, pid);
}

static void attached_find_dead(struct pfk_master *master)
{
    const int found = prefork_table_look_for_dead(attached_table(master), master->attached_dead,
                                                  master->settings->attached_producers);

    master->n_attached_dead = found > 0 ? (uint32_t)found : 0;
    if (found > 0)
        pfk_log(PREFORK_LOG_INFO, "%d lanes of attached producers that have died are repaired", found);
}

uint64_t pfk_attached_turn(struct pfk_master *master, uint64_t now_ns)
{
    if (master->settings->attached_producers == 0)
        return PREFORK_NO_DEADLINE;
    if (now_ns < master->attached_due_ns)
        return master->attached_due_ns;
    for (uint32_t i = 0; i < master->settings->attached_producers; i++)
        attached_look_at(master, &master->attached[i]);
    if (master->n_attached_dead == 0) /* else they are being repaired */
        attached_find_dead(master);
    master->attached_due_ns = now_ns + ATTACHED_LOOK_NS;
    return master->attached_due_ns;
}
