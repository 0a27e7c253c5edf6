/* SPDX-License-Identifier: BSD-2-Clause */
/* Time limits of the connections of one loop: for each kind of limit one list,
 * in the order in which they end, and one timer for all. To begin, to move and
 * to end a limit costs no system call and no search; a loop without limits does
 * not wake up. Every connection is in just one of the lists: together they are
 * also the list of all.
 *
 * A limit that is begun again is left where it is when it would move by less
 * than a 64th: it may end that much too early, and a busy connection's is moved
 * 64 times in its length instead of at each event. */
#ifndef PFK_IO_TIMEOUT_H
#define PFK_IO_TIMEOUT_H

#include <ev.h>
#include <stdint.h>

#include "io/list.h"

enum pfk_timeout_kind {
    PFK_TIMEOUT_NONE,       /* no limit: the server is at work, or the limit is off */
    PFK_TIMEOUT_FIRST_BYTE, /* nothing has come since it was accepted */
    PFK_TIMEOUT_MESSAGE,    /* the rest of a message is missing, since its first byte */
    PFK_TIMEOUT_IDLE,       /* all is answered, nothing has come since */
    PFK_TIMEOUT_WRITE,      /* the peer takes nothing of what it asked for */
    PFK_TIMEOUT_LINGER,     /* all is said; the peer has not closed */
    PFK_TIMEOUT_KINDS
};

/* A member's place. */
struct pfk_timeout {
    struct pfk_list link;
    uint32_t due_ms; /* of a clock that wraps; not of PFK_TIMEOUT_NONE */
    uint8_t kind;    /* enum pfk_timeout_kind */
};

/* Its time is over: begins another limit, or ends. */
typedef void (*pfk_timeout_fn)(struct pfk_timeout *timeout);

struct pfk_timeouts {
    struct ev_loop *ev;
    pfk_timeout_fn expired;
    struct pfk_list members[PFK_TIMEOUT_KINDS];
    uint32_t length_ms[PFK_TIMEOUT_KINDS]; /* 0: off; below 2^31 */
    uint32_t armed_ms;                     /* what the timer waits for, if it is active */
    ev_timer timer;
};

/* All limits are off at first. The members' memory is theirs. */
void pfk_timeouts_open(struct pfk_timeouts *timeouts, struct ev_loop *ev, pfk_timeout_fn expired);
void pfk_timeouts_close(struct pfk_timeouts *timeouts);

/* Makes `timeout` a member, without a limit. */
void pfk_timeout_join(struct pfk_timeouts *timeouts, struct pfk_timeout *timeout);

/* Begins a limit, in place of any other; again, if it is this one. */
void pfk_timeout_begin(struct pfk_timeouts *timeouts, struct pfk_timeout *timeout, enum pfk_timeout_kind kind);

/* Begins a limit unless it is this one. */
static inline void pfk_timeout_keep(struct pfk_timeouts *timeouts, struct pfk_timeout *timeout,
                                    enum pfk_timeout_kind kind)
{
    if (timeout->kind != kind)
        pfk_timeout_begin(timeouts, timeout, kind);
}

/* A member no more. */
static inline void pfk_timeout_leave(struct pfk_timeout *timeout)
{
    pfk_list_remove(&timeout->link);
}

#endif
