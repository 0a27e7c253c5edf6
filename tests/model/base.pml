/* SPDX-License-Identifier: BSD-2-Clause */
/* What both models share: the slot word, the ring of hints, the doorbell, and
 * death at any step. See docs/PROOF.md for what is modelled and what is not.
 *
 * One STEP is one access to shared memory; between two steps anybody else may
 * run, and whoever is in a STEP may die instead (`killed` in its proctype).
 * Private arithmetic belongs to the step before it. */

/* -- the slot word: state, owner, attempt, life ----------------------------- */

#define FREE     1
#define RESERVED 2
#define QUEUING  3
#define READY    4
#define CLAIMED  5
#define DONE     6
#define FREEING  7
#define SPARE    8

#define NOBODY 0
#define WORD(state, owner, attempt, life) ((state) | (owner) << 4 | (attempt) << 7 | (life) << 10)
#define STATE(word)   ((word) & 15)
#define OWNER(word)   ((word) >> 4 & 7)
#define ATTEMPT(word) ((word) >> 7 & 7)
#define LIFE(word)    ((word) >> 10)
#define MOVED(word, state, owner) WORD(state, owner, ATTEMPT(word), LIFE(word))

short word[SLOTS];

/* -- death ------------------------------------------------------------------- */

/* Deaths still to come: each run of the model has exactly as many as it began
 * with, or fewer if everybody rests before. */
byte kills;
byte dead; /* a bit for each participant that died and was not repaired yet */

#define BIT(who) (1 << (who))

/* One access to shared memory, or death instead of it. */
#define STEP(body)                          \
    if                                      \
    :: d_step { body }                      \
    :: atomic { kills > 0 -> kills--; goto killed }\
    fi

/* -- the ring of hints: cells are the truth, head and tail say where to begin --- */

#define EMPTY 3
#define CELL(round, index) ((round) << 2 | (index))
#define CELL_ROUND(cell) ((cell) >> 2)
#define CELL_INDEX(cell) ((cell) & 3)
#define ROUND(ticket) ((ticket) / CELLS)
#define FILLED(cell, round) (CELL_ROUND(cell) > (round) || (CELL_ROUND(cell) == (round) && CELL_INDEX(cell) != EMPTY))

byte cells[CELLS], head, tail;

/* The private variables of whoever uses the ring; the last two are what it
 * remembers from call to call: tickets removed, and put, for certain. */
#define RING_LOCALS              \
    byte t, from, seen, c;       \
    bool ok, near;               \
    byte head_seen, tail_seen

/* Between two uses; lets states differ in nothing that is never read again. */
#define RING_FORGET t = 0; from = 0; seen = 0; c = 0; ok = 0; near = 0
#define RING_DIE RING_FORGET; head_seen = 0; tail_seen = 0

#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* ring_advance: `ok` is borrowed. */
inline ring_advance(index, ticket)
{
    STEP(seen = index; ok = (ticket > seen));
    if
    :: ok -> STEP(if :: index == seen -> index = ticket :: else fi)
    :: else
    fi
}

inline ring_pass(index)
{
    if
    :: t % STRIDE == STRIDE - 1 -> ring_advance(index, t + 1)
    :: else
    fi
}

/* The first line of cells is looked at from where we remember; beyond it the
 * shared index says where to begin anew. */
inline ring_walk_on(index)
{
    if
    :: near && t % STRIDE != STRIDE - 1 -> t++
    :: near && t % STRIDE == STRIDE - 1 ->
        STEP(from = index; t = from; near = 0)
    :: !near && t + 1 - from < FAR -> t++
    :: else ->
        ring_advance(index, t + 1);
        STEP(from = index; t = from)
    fi
}

/* No slot ever has two entries; counted at each put. */
inline assert_no_entry(index)
{
    byte k;

    k = 0;
    do
    :: k < CELLS -> assert(CELL_INDEX(cells[k]) != (index)); k++
    :: else -> break
    od;
    k = 0
}

inline ring_put(index)
{
    STEP(t = MAX(tail, tail_seen); near = 1);
    do
    ::  STEP(
            c = cells[t % CELLS];
            assert(CELL_ROUND(c) >= ROUND(t)); /* never full */
            ok = !FILLED(c, ROUND(t))
        );
        if
        :: ok ->
            STEP(
                ok = (cells[t % CELLS] == c);
                if
                :: ok ->
                    assert_no_entry(index);
                    cells[t % CELLS] = CELL(ROUND(t), index);
                    tail_seen = t + 1
                :: else
                fi
            );
            if
            :: ok -> break
            :: else
            fi
        :: else
        fi;
        ring_walk_on(tail)
    od;
    ring_pass(tail)
}

/* `ok`: there is an entry; then `t` is its ticket and `c` its cell. */
inline ring_peek()
{
    STEP(t = MAX(head, head_seen); near = 1);
    do
    ::  STEP(c = cells[t % CELLS]);
        if
        :: CELL_ROUND(c) <= ROUND(t) -> break
        :: else -> ring_walk_on(head)
        fi
    od;
    if
    :: near
    :: else -> head_seen = t; near = 1
    fi;
    ok = (CELL_ROUND(c) == ROUND(t) && CELL_INDEX(c) != EMPTY)
}

inline ring_remove()
{
#ifdef MUTANT_HEAD_FIRST
    ring_pass(head);
#endif
    STEP(
        if
        :: cells[t % CELLS] == c -> cells[t % CELLS] = CELL(CELL_ROUND(c) + 1, EMPTY)
        :: else
        fi;
        head_seen = t + 1
    );
#ifndef MUTANT_HEAD_FIRST
    ring_pass(head)
#endif
}

inline ring_purge(index)
{
    ring_peek();
    if
    :: ok && CELL_INDEX(c) == (index) -> ring_remove()
    :: else
    fi
}

/* Cells as after some use: `next` tickets came and went. `head` lags as far
 * behind as a death may leave it; the caller sets `tail` after its own puts. */
inline ring_init(next)
{
    byte k;

#ifdef ONE_START
    next = STRIDE - 1; /* the first put moves an index */
#else
    select(next : 1 .. STRIDE);
#endif
    k = 0;
    do
    :: k < CELLS -> cells[k] = CELL((next + CELLS - 1 - k) / CELLS, EMPTY); k++
    :: else -> k = 0; break
    od;
    if
    :: head = 0
    :: head = next
    fi
}

/* -- the doorbell: a value, and sleepers in the kernel ------------------------- */

byte value;
byte asleep; /* a bit for each */

/* futex wake: any one of those who sleep, if any. */
inline futex_wake()
{
    if
    :: asleep == 0
    :: asleep & BIT(1) -> asleep = asleep & ~BIT(1)
    :: asleep & BIT(2) -> asleep = asleep & ~BIT(2)
    :: asleep & BIT(3) -> asleep = asleep & ~BIT(3)
    :: asleep & BIT(4) -> asleep = asleep & ~BIT(4)
    fi
}

#define STEP_WAKE                           \
    if                                      \
    :: atomic { futex_wake() }              \
    :: atomic { kills > 0 -> kills--; goto killed }\
    fi

inline park_ring()
{
    STEP(ok = (value == 0));
    if
    :: ok ->
        STEP(value++);
        STEP_WAKE
    :: else
    fi
}

/* Takes a token, or sleeps until there is one: no timeout, no spurious
 * return. */
inline park_sleep()
{
    do
    ::  STEP(
            ok = (value > 0);
            if
            :: ok -> value--
            :: else -> asleep = asleep | BIT(me)
            fi
        );
        if
        :: ok -> break
        :: else -> STEP(!(asleep & BIT(me)) -> skip)
        fi
    od
}

/* -- repair: what the master does for both sides; `w` is what it saw of the word ----- */

#define MASTER 1

/* Which slots have an entry, read once in a pass, when first needed. */
inline mark()
{
    if
    :: !marked ->
        STEP(from = head; t = from);
        do
        :: t - from < CELLS ->
            STEP(c = cells[t % CELLS]);
            if
            :: CELL_INDEX(c) != EMPTY -> marks = marks | BIT(CELL_INDEX(c))
            :: else
            fi;
            t++
        :: else -> break
        od;
        marked = 1
    :: else
    fi
}

inline repair_cas(to)
{
    STEP(
        ok = (word[slot] == w);
        if
        :: ok -> w = to; word[slot] = w
        :: else
        fi
    )
}

/* Old tokens go: one that lies there untaken would keep wakers from posting. */
inline repair_post()
{
    STEP(value = 0);
    STEP(value++);
    STEP_WAKE
}
