/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop: turns events into calls, and before each sleep gives everybody a
 * turn. Deaths that come together are so repaired together, and only then are
 * their seats filled.
 *
 * The backend is poll: it has no kernel object that children would inherit and
 * share. The default loop, ev_signal and ev_child are never used: libev keeps
 * signals in one global table, which belongs to the program. */
#include "master/master.h"

#include <errno.h>
#include <ev.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "master/damage.h"
#include "master/debts.h"
#include "master/drain.h"
#include "master/seats.h"
#include "master/state.h"

/* How often the parent is looked for when the kernel has no pidfd. */
#define MASTER_PARENT_NS PFK_NS_PER_S

struct master_watches {
    struct ev_io signals;
    struct ev_io stop;
    struct ev_io parent;
    struct ev_prepare turn;
    struct ev_timer timer;
};

/* -- Events ------------------------------------------------------------------- */

static void master_on_signals(struct ev_loop *loop, struct ev_io *watch, int events)
{
    struct pfk_master *const master = watch->data;
    int number;

    (void)loop;
    (void)events;
    while ((number = pfk_signals_next(&master->signals)) != 0) {
        if (number == SIGTERM || number == SIGINT)
            pfk_drain_request(master, PFK_DRAIN_SIGNAL, number == SIGTERM ? "SIGTERM" : "SIGINT");
        else if (number == SIGCHLD)
            pfk_seats_look_for_deaths(master);
    }
}

static void master_on_stop(struct ev_loop *loop, struct ev_io *watch, int events)
{
    struct pfk_master *const master = watch->data;
    uint64_t requests = 0;

    (void)loop;
    (void)events;
    if (read(watch->fd, &requests, sizeof(requests)) != (ssize_t)sizeof(requests))
        return;
    pfk_drain_request(master, PFK_DRAIN_CALL, "prefork_pool_stop");
    if (requests > 1)
        pfk_drain_request(master, PFK_DRAIN_CALL, "prefork_pool_stop");
}

static void master_see_parent_dead(struct pfk_master *master)
{
    if (master->parent_dead)
        return;
    master->parent_dead = true;
    master->parent_dirty = true;
    if (master->phase == PFK_PHASE_RUNNING)
        pfk_drain_request(master, PFK_DRAIN_PARENT, "the program that started the pool has ended");
}

static void master_on_parent(struct ev_loop *loop, struct ev_io *watch, int events)
{
    (void)events;
    ev_io_stop(loop, watch);
    master_see_parent_dead(watch->data);
}

/* -- The turn ----------------------------------------------------------------- */

static uint64_t master_look_for_parent(struct pfk_master *master, uint64_t now_ns)
{
    const struct pfk_master_settings *const settings = master->settings;

    if (settings->parent_pid == 0 || settings->parent_pidfd >= 0 || master->parent_dead)
        return PREFORK_NO_DEADLINE;
    if (getppid() != settings->parent_pid)
        master_see_parent_dead(master);
    return now_ns + MASTER_PARENT_NS;
}

static uint64_t master_sooner(uint64_t one_ns, uint64_t other_ns)
{
    return one_ns < other_ns ? one_ns : other_ns;
}

/* The order matters: repair before a seat is filled, and the end is looked for
 * when all is done. */
static uint64_t master_take_turns(struct pfk_master *master)
{
    const uint64_t now_ns = prefork_clock_now_ns();
    uint64_t next_ns = master_look_for_parent(master, now_ns);

    next_ns = master_sooner(next_ns, pfk_attached_turn(master, now_ns));
    next_ns = master_sooner(next_ns, pfk_debts_turn(master, now_ns));
    next_ns = master_sooner(next_ns, pfk_damage_turn(master, now_ns));
    next_ns = master_sooner(next_ns, pfk_seats_turn(master, now_ns));
    return master_sooner(next_ns, pfk_drain_turn(master, now_ns));
}

static void master_arm(struct ev_loop *loop, struct ev_timer *timer, uint64_t next_ns)
{
    const uint64_t now_ns = prefork_clock_now_ns();

    ev_timer_stop(loop, timer);
    if (next_ns == PREFORK_NO_DEADLINE)
        return;
    ev_now_update(loop);
    ev_timer_set(timer, next_ns > now_ns ? (double)(next_ns - now_ns) / (double)PFK_NS_PER_S : 0.0, 0.0);
    ev_timer_start(loop, timer);
}

static void master_on_turn(struct ev_loop *loop, struct ev_prepare *watch, int events)
{
    struct master_watches *const watches = pfk_container_of(watch, struct master_watches, turn);

    (void)events;
    master_arm(loop, &watches->timer, master_take_turns(watch->data));
}

/* It ends the sleep; the turn does the rest. */
static void master_on_timer(struct ev_loop *loop, struct ev_timer *watch, int events)
{
    (void)loop;
    (void)events;
    pfk_seats_look_for_deaths(watch->data);
}

/* -- The loop ----------------------------------------------------------------- */

static void master_watch_io(struct pfk_master *master, struct ev_io *watch, int fd,
                            void (*on_event)(struct ev_loop *, struct ev_io *, int))
{
    ev_io_init(watch, on_event, fd, EV_READ);
    watch->data = master;
    if (fd >= 0)
        ev_io_start(master->loop, watch);
}

static void master_serve(struct pfk_master *master)
{
    struct master_watches watches;

    master_watch_io(master, &watches.signals, master->signals.fd, master_on_signals);
    master_watch_io(master, &watches.stop, master->settings->stop_fd, master_on_stop);
    master_watch_io(master, &watches.parent, master->settings->parent_pidfd, master_on_parent);
    ev_timer_init(&watches.timer, master_on_timer, 0.0, 0.0);
    watches.timer.data = master;
    ev_prepare_init(&watches.turn, master_on_turn);
    watches.turn.data = master;
    ev_prepare_start(master->loop, &watches.turn);
    (void)ev_run(master->loop, 0);
    ev_prepare_stop(master->loop, &watches.turn);
    ev_timer_stop(master->loop, &watches.timer);
    ev_io_stop(master->loop, &watches.parent);
    ev_io_stop(master->loop, &watches.stop);
    ev_io_stop(master->loop, &watches.signals);
}

static int master_run_loop(struct pfk_master *master)
{
    pfk_table_leave_loops(master->settings->worker.table);
    master->loop = ev_loop_new(EVBACKEND_POLL | EVFLAG_NOENV);
    if (master->loop == NULL)
        return pfk_error(ENOMEM, "prefork_pool_run: libev gives no loop on poll(2)");
    /* the first workers are there when the starter hears that they are */
    (void)pfk_seats_turn(master, prefork_clock_now_ns());
    if (master->settings->started != NULL)
        master->settings->started(master->settings->context);
    master_serve(master);
    ev_loop_destroy(master->loop);
    return pfk_drain_result(master);
}

int pfk_master_run(const struct pfk_master_settings *settings)
{
    struct pfk_master master = {.settings = settings, .phase = PFK_PHASE_RUNNING};
    int rc = pfk_debts_open(&master);

    if (rc != 0)
        return rc;
    rc = pfk_seats_open(&master);
    if (rc != 0)
        goto fail_seats;
    rc = pfk_attached_open(&master);
    if (rc != 0)
        goto fail_attached;
    rc = pfk_signals_take(settings->program_mask, &master.signals);
    if (rc == 0) {
        rc = master_run_loop(&master);
        pfk_signals_restore(&master.signals);
    }
    pfk_attached_close(&master);
fail_attached:
    pfk_seats_close(&master);
fail_seats:
    pfk_debts_close(&master);
    return rc;
}
