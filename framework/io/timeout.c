/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/timeout.h"

#include <stdbool.h>

#include "base/clock.h"

/* A limit is moved when it would end by this part of its length later. */
#define TIMEOUT_GRAINS 64
/* Members whose time is over that are told before sockets are served. */
#define TIMEOUT_BATCH 64

/* The wall clock may be set, and libev's own monotonic one can't be asked; this one costs no system call. */
static uint32_t timeout_now_ms(void)
{
    return (uint32_t)(pfk_clock_coarse_ns() / PFK_NS_PER_MS);
}

static bool timeout_is_before(uint32_t one_ms, uint32_t other_ms)
{
    return (int32_t)(one_ms - other_ms) < 0;
}

/* -- The timer ---------------------------------------------------------------- */

static void timeouts_arm(struct pfk_timeouts *timeouts, uint32_t due_ms, uint32_t now_ms)
{
    const uint32_t rest_ms = timeout_is_before(now_ms, due_ms) ? due_ms - now_ms : 0;

    if (ev_is_active(&timeouts->timer) && !timeout_is_before(due_ms, timeouts->armed_ms))
        return;
    ev_timer_stop(timeouts->ev, &timeouts->timer);
    ev_timer_set(&timeouts->timer, rest_ms / 1000., 0.);
    ev_timer_start(timeouts->ev, &timeouts->timer);
    timeouts->armed_ms = due_ms;
}

/* The first of a kind, or NULL. */
static struct pfk_timeout *timeouts_first(const struct pfk_timeouts *timeouts, unsigned kind)
{
    const struct pfk_list *const members = &timeouts->members[kind];

    return pfk_list_empty(members) ? NULL : pfk_list_entry(members->next, struct pfk_timeout, link);
}

static void timeouts_arm_again(struct pfk_timeouts *timeouts, uint32_t now_ms)
{
    for (unsigned kind = PFK_TIMEOUT_NONE + 1; kind < PFK_TIMEOUT_KINDS; kind++) {
        const struct pfk_timeout *const first = timeouts_first(timeouts, kind);

        if (first != NULL)
            timeouts_arm(timeouts, first->due_ms, now_ms);
    }
}

static void timeouts_on_timer(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct pfk_timeouts *const timeouts = watcher->data;
    const uint32_t now_ms = timeout_now_ms();
    int left = TIMEOUT_BATCH;

    (void)ev;
    (void)events;
    for (unsigned kind = PFK_TIMEOUT_NONE + 1; kind < PFK_TIMEOUT_KINDS; kind++) {
        struct pfk_timeout *first = timeouts_first(timeouts, kind);

        for (; first != NULL && left > 0 && !timeout_is_before(now_ms, first->due_ms); left--) {
            timeouts->expired(first);
            first = timeouts_first(timeouts, kind);
        }
    }
    timeouts_arm_again(timeouts, now_ms);
}

/* -- Members ------------------------------------------------------------------ */

void pfk_timeouts_open(struct pfk_timeouts *timeouts, struct ev_loop *ev, pfk_timeout_fn expired)
{
    *timeouts = (struct pfk_timeouts){.ev = ev, .expired = expired};
    for (unsigned kind = 0; kind < PFK_TIMEOUT_KINDS; kind++)
        pfk_list_init(&timeouts->members[kind]);
    ev_init(&timeouts->timer, timeouts_on_timer);
    timeouts->timer.data = timeouts;
}

void pfk_timeouts_close(struct pfk_timeouts *timeouts)
{
    ev_timer_stop(timeouts->ev, &timeouts->timer);
}

void pfk_timeout_join(struct pfk_timeouts *timeouts, struct pfk_timeout *timeout)
{
    timeout->kind = PFK_TIMEOUT_NONE;
    pfk_list_append(&timeouts->members[PFK_TIMEOUT_NONE], &timeout->link);
}

void pfk_timeout_begin(struct pfk_timeouts *timeouts, struct pfk_timeout *timeout, enum pfk_timeout_kind kind)
{
    const uint32_t length_ms = timeouts->length_ms[kind];
    const enum pfk_timeout_kind really = length_ms > 0 ? kind : PFK_TIMEOUT_NONE;
    uint32_t now_ms;

    if (really == PFK_TIMEOUT_NONE && timeout->kind == PFK_TIMEOUT_NONE)
        return;
    now_ms = timeout_now_ms();
    if (timeout->kind == really && now_ms + length_ms - timeout->due_ms < length_ms / TIMEOUT_GRAINS)
        return;
    pfk_list_remove(&timeout->link);
    pfk_list_append(&timeouts->members[really], &timeout->link);
    timeout->kind = (uint8_t)really;
    timeout->due_ms = now_ms + length_ms;
    if (really != PFK_TIMEOUT_NONE)
        timeouts_arm(timeouts, timeout->due_ms, now_ms);
}
