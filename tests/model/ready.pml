/* SPDX-License-Identifier: BSD-2-Clause */
/* A job's way from its submitter to a worker: slot words, the ready ring, the
 * doorbell, repair. The free side is one compare-and-swap here (free.pml has
 * it whole). JOBS submitters with a job each, WORKERS workers, up to KILLS
 * deaths of anybody at any step, the master in repair included. */

#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef CELLS
#define CELLS 2
#endif
#ifndef STRIDE
#define STRIDE 2 /* an index moves at every second ticket */
#endif
#ifndef FAR
#define FAR 2
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef JOBS
#define JOBS 1
#endif
#ifndef KILLS
#define KILLS 1
#endif

#include "base.pml"

#define WORKER(i) (2 + (i))
#define SUBMITTER(i) (2 + WORKERS + (i))

/* -- what an outside ledger would write -------------------------------------- */

byte job_in[SLOTS];    /* the slot's request */
bit accepted[JOBS];    /* the word left RESERVED */
bit done[JOBS];        /* the handler's result counts */
byte runners[JOBS];    /* handlers at work on it now */
bit begun[JOBS];

/* -- submitter ------------------------------------------------------------------ */

proctype submitter(byte me; byte job)
{
    RING_LOCALS;
    byte slot;
    short w;

    /* reserve, in one step; blocks while no slot is free */
    STEP(
        (STATE(word[0]) == FREE || STATE(word[SLOTS - 1]) == FREE) ->
        slot = (STATE(word[0]) == FREE -> 0 : SLOTS - 1);
        w = WORD(RESERVED, me, 0, LIFE(word[slot]) + 1);
        word[slot] = w;
        job_in[slot] = job
    );
#ifdef MUTANT_VALUE_FIRST /* what a missing fence would allow */
    STEP(ok = (value == 0); seen = ok);
#endif
#ifdef MUTANT_ENTRY_FIRST
    ring_put(slot);
#endif
    /* a plain store: nobody else moves a RESERVED word of the living */
    STEP(
        assert(word[slot] == w);
        word[slot] = MOVED(w, QUEUING, me);
        accepted[job] = 1
    );
#ifdef MUTANT_READY_EARLY
    STEP(
        if
        :: word[slot] == MOVED(w, QUEUING, me) -> word[slot] = MOVED(w, READY, NOBODY)
        :: else
        fi
    );
#endif
#ifndef MUTANT_ENTRY_FIRST
    ring_put(slot);
#endif
#ifdef MUTANT_VALUE_FIRST
    STEP(if :: seen -> value++ :: else fi);
    STEP_WAKE;
#else
    park_ring();
#endif
    goto end;

killed:
    atomic {
        dead = dead | BIT(me)
    }
end:
    atomic {
        slot = 0; w = 0; RING_DIE
    }
}

/* -- worker ------------------------------------------------------------------------- */

/* `ok`: the job in `slot` is ours. */
inline claim()
{
    do
    ::  ring_peek();
        if
        :: !ok -> break
        :: else
        fi;
        slot = CELL_INDEX(c);
#ifdef MUTANT_REMOVE_FIRST
        ring_remove();
        STEP(
            w = word[slot];
            ok = (STATE(w) == READY || STATE(w) == QUEUING);
            if
            :: ok -> w = WORD(CLAIMED, me, ATTEMPT(w) + 1, LIFE(w)); word[slot] = w
            :: else
            fi
        );
        if
        :: ok -> break
        :: else
        fi
#else
        STEP(w = word[slot]);
        STEP(ok = (cells[t % CELLS] == c)); /* left meanwhile? then the word may be of a later life */
        if
        :: ok ->
            if
            :: STATE(w) == READY || STATE(w) == QUEUING ->
                STEP(
                    ok = (word[slot] == w);
                    if
                    :: ok -> w = WORD(CLAIMED, me, ATTEMPT(w) + 1, LIFE(w)); word[slot] = w
                    :: else
                    fi
                );
                if
                :: ok -> ring_remove(); ok = 1; break
                :: else
#ifdef MUTANT_CAS_STALE
                    -> ring_remove()
#endif
                fi
            :: else -> ring_remove() /* taken by somebody slow or dead */
            fi
        :: else
        fi
#endif
    od
}

/* Who was woken wakes the next. */
inline pass_on()
{
#ifdef MUTANT_NO_CHAIN
    skip
#else
    ring_peek();
    if
    :: ok -> park_ring()
    :: else
    fi
#endif
}

inline handle()
{
    STEP(
        job = job_in[slot];
        runners[job]++;
        assert(runners[job] == 1);
        begun[job] = 1;
        running = 1
    );
#ifdef HANDLERS_MEET
    STEP(begun[0] && begun[JOBS - 1] -> skip);
#endif
    STEP(
        runners[job]--;
        running = 0;
        ok = (word[slot] == w); /* complete: our token is still in the word */
        assert(ok);             /* nothing is taken from the living */
        assert(!done[job]);
        done[job] = 1;
        word[slot] = MOVED(w, FREE, NOBODY)
    )
}

proctype worker(byte me)
{
    RING_LOCALS;
    bool slept, running;
    byte slot, job;
    short w;

alive:
    do
    ::  claim();
        if
        :: ok ->
            if
            :: slept -> pass_on()
            :: else
            fi;
            slept = 0;
            handle();
            atomic { slot = 0; job = 0; w = 0; RING_FORGET }
        :: else ->
            atomic { slot = 0; w = 0; t = 0; from = 0; seen = 0; c = 0; near = 0 };
            park_sleep();
            slept = 1
        fi
    od;

killed:
    atomic {
        dead = dead | BIT(me);
        asleep = asleep & ~BIT(me);
        if
        :: running -> runners[job]--
        :: else
        fi;
        running = 0; slept = 0; slot = 0; job = 0; w = 0;
        RING_DIE
    };
    /* the lane is opened again once it is clean */
    atomic { !(dead & BIT(me)) -> goto alive }
}

/* -- master ------------------------------------------------------------------------- */

/* One look at a slot; `again` when it moved. */
inline repair_look()
{
    again = 0;
    STEP(w = word[slot]);
    if
    :: OWNER(w) == NOBODY || !(whose & BIT(OWNER(w)))
#ifdef MUTANT_NO_SETTLE
    :: STATE(w) == QUEUING && (whose & BIT(OWNER(w)))
#endif
    :: else ->
        if
        :: STATE(w) == RESERVED -> repair_cas(MOVED(w, FREE, NOBODY)); again = !ok
        :: STATE(w) == QUEUING ->
#ifdef MUTANT_PUT_UNSEEN
            ring_put(slot);
            repair_cas(MOVED(w, READY, NOBODY))
#else
            mark();
            STEP(ok = (word[slot] == w));
            again = !ok;
            if
            :: again
            :: else ->
                if
                :: !(marks & BIT(slot)) -> ring_put(slot)
                :: else
                fi;
                repair_cas(MOVED(w, READY, NOBODY)); /* failing is fine: it is claimed */
            fi
#endif
        :: STATE(w) == CLAIMED ->
#ifndef MUTANT_NO_PURGE
#ifndef MUTANT_PURGE_LATE
            ring_purge(slot); /* before the word leaves CLAIMED */
#endif
#endif
            repair_cas(MOVED(w, QUEUING, MASTER));
            again = !ok;
            if
            :: again
            :: else ->
#ifdef MUTANT_PURGE_LATE
                ring_purge(slot);
#endif
                ring_put(slot);
                repair_cas(MOVED(w, READY, NOBODY))
            fi
        :: else -> assert(false)
        fi
    fi
}

proctype master()
{
    RING_LOCALS;
    bool again, marked;
    byte slot, whose, marks;
    short w;

alive:
    do
    ::  atomic { dead != 0 -> whose = dead | BIT(MASTER) }
        slot = 0;
        do
        :: slot < SLOTS ->
            do
            ::  repair_look();
                if
                :: again
                :: else -> break
                fi
            od;
            slot++
        :: else -> break
        od;
        atomic { slot = 0; w = 0; marks = 0; marked = 0; RING_DIE };
#ifndef MUTANT_NO_POST
        repair_post();
#endif
        STEP(dead = dead & ~whose; whose = 0) /* the lanes are clean */
    od;

killed:
    atomic {
        dead = dead | BIT(MASTER); /* the next master repairs whatever happened */
        again = 0; slot = 0; whose = 0; marks = 0; marked = 0; w = 0;
        RING_DIE;
        goto alive
    }
}

/* -- at rest ------------------------------------------------------------------------ */

/* Nobody can take a step: all workers live and sleep, nobody is unrepaired. */
proctype judge()
{
    byte i;

    timeout;
    d_step {
        assert(dead == 0);
        do
        :: i < JOBS -> assert(done[i] == accepted[i] && runners[i] == 0); i++
        :: else -> i = 0; break
        od;
        do
        :: i < SLOTS -> assert(STATE(word[i]) == FREE); i++
        :: else -> i = 0; break
        od;
        do
        :: i < CELLS -> assert(CELL_INDEX(cells[i]) == EMPTY); i++
        :: else -> break
        od
    }
}

init
{
    byte i, next;

    atomic {
        ring_init(next);
        if
        :: tail = 0
        :: tail = next
        fi;
        next = 0;
        do
        :: i < SLOTS -> word[i] = WORD(FREE, NOBODY, 0, 0); i++
        :: else -> i = 0; break
        od;
        select(kills : 0 .. KILLS);
        run master();
        do
        :: i < WORKERS -> run worker(WORKER(i)); i++
        :: else -> i = 0; break
        od;
        do
        :: i < JOBS -> run submitter(SUBMITTER(i), i); i++
        :: else -> i = 0; break
        od;
        run judge()
    }
}
