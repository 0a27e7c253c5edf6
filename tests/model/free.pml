/* SPDX-License-Identifier: BSD-2-Clause */
/* A slot's way from one user to the next: the free ring, the magazines, who
 * waits for room, repair. USERS lanes reserve and free a slot CYCLES times;
 * what happens to the slot in between is ready.pml's. Up to KILLS deaths of
 * anybody at any step, the master in repair included. */

#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef CELLS
#define CELLS 2
#endif
#ifndef STRIDE
#define STRIDE 2
#endif
#ifndef FAR
#define FAR 2
#endif
#ifndef USERS
#define USERS 2
#endif
#ifndef CYCLES
#define CYCLES 1
#endif
#ifndef KILLS
#define KILLS 1
#endif

#include "base.pml"

#define USER(i) (2 + (i))
#define LANES (2 + USERS)
#define IS_FREE(word) (STATE(word) == FREE || STATE(word) == FREEING)
#define LIVED(word) (LIFE(word) + 1)

bit starved;
byte open_lanes; /* a bit for each */

/* A magazine of one place: a queue of hints, of which all before `bottom` are
 * known to be stale: the place is free then, without a look. Hints say slot and
 * life. */
#define HINT(slot, life) ((life) << 2 | (slot))
#define HINT_SLOT(hint) ((hint) & 3)
#define HINT_LIFE(hint) ((hint) >> 2)
byte hints[LANES], top[LANES], bottom[LANES];

byte users[SLOTS]; /* who believes to own it */
byte cycles_done[LANES];

/* -- reserving: `ok`, and then `slot` and its word `w` are ours ------------------- */

inline reserve_cas(expected)
{
    STEP(
        ok = (word[slot] == expected);
        if
        :: ok ->
            w = WORD(RESERVED, me, 0, LIVED(expected));
            word[slot] = w;
            assert(users[slot] == NOBODY);
            users[slot] = me;
            owned = slot + 1
        :: else
        fi
    )
}

#define STALE 0
#define PENDING 1
#define FOUND 2

/* What became of the slot that the hint in `c` names; reads its word to `w`. */
#define LOOK                                                                  \
    slot = HINT_SLOT(c);                                                      \
    w = word[slot];                                                           \
    find = (LIFE(w) != HINT_LIFE(c) -> STALE : (STATE(w) == SPARE -> FOUND : PENDING))

/* Takes the spare slot of lane `number`, if its ticket is not before `cursor`. */
inline magazine_take(number, cursor)
{
    STEP(t = top[number]; ok = (t != cursor));
    if
    :: ok ->
        STEP(c = hints[number]);
        STEP(LOOK);
        if
#ifndef MUTANT_PENDING_STALE
        :: find == PENDING
#endif
        :: else -> cursor = t
        fi;
        ok = (find == FOUND);
        find = 0;
        if
        :: ok ->
#ifdef MUTANT_BOTTOM_EARLY
            STEP(bottom[number] = cursor);
#endif
            magazine_cas();
            if
            :: ok -> STEP(bottom[number] = cursor)
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

inline magazine_cas()
{
#ifdef MUTANT_STEAL_BLIND /* a store, whatever the word has become */
    STEP(
        w = WORD(RESERVED, me, 0, LIVED(w));
        word[slot] = w;
        assert(users[slot] == NOBODY);
        users[slot] = me;
        owned = slot + 1
    )
#else
    reserve_cas(w)
#endif
}

inline take_from_ring()
{
    do
    ::  ring_peek();
        if
        :: !ok -> break
        :: else
        fi;
        slot = CELL_INDEX(c);
        STEP(w = word[slot]);
#ifndef MUTANT_NO_HOLDS
        STEP(ok = (cells[t % CELLS] == c)); /* left meanwhile? then the word may be of a later life */
#endif
        if
        :: ok && IS_FREE(w) ->
            reserve_cas(w);
            if
            :: ok -> ring_remove(); ok = 1; break
            :: else
#ifdef MUTANT_CAS_STALE
                -> ring_remove()
#endif
            fi
        :: ok && !IS_FREE(w) -> ring_remove()
        :: else
        fi
    od
}

/* Out of anybody's magazine. */
inline take_any()
{
    ok = 0;
    STEP(seen = open_lanes);
    place = USER(0);
    do
    :: place < LANES && (seen & BIT(place)) ->
        STEP(cursor = bottom[place]; from = cursor);
        magazine_take(place, cursor);
        if
        :: cursor != from -> STEP(bottom[place] = cursor)
        :: else
        fi;
        if
        :: ok -> break
        :: else
        fi;
        place++
    :: place < LANES && !(seen & BIT(place)) -> place++
    :: else -> break
    od;
    atomic { place = 0; cursor = 0 }
}

/* Whether take_any would find one. */
inline look_at_all()
{
    ok = 0;
    STEP(seen = open_lanes);
    place = USER(0);
    do
    :: place < LANES && (seen & BIT(place)) ->
        STEP(t = top[place]);
        STEP(ok = (t != bottom[place]));
        if
        :: ok ->
            STEP(c = hints[place]);
            STEP(LOOK; ok = (find == FOUND); find = 0)
        :: else
        fi;
        if
        :: ok -> break
        :: else
        fi;
        place++
    :: place < LANES && !(seen & BIT(place)) -> place++
    :: else -> break
    od;
    place = 0
}

inline try_reserve()
{
    magazine_take(me, own);
    if
    :: ok
    :: else ->
        take_from_ring();
        if
        :: ok
        :: else -> take_any()
        fi
    fi;
    if
    :: ok
    :: else -> slot = 0; w = 0
    fi;
    atomic { t = 0; from = 0; seen = 0; c = 0; near = 0 }
}

/* -- room ------------------------------------------------------------------------ */

inline wake_room()
{
    STEP(ok = starved);
    if
    :: ok ->
        STEP(starved = 0);
        park_ring()
    :: else
    fi
}

/* Who got room passes it on: the next sleeper looks, too. Keeps `slot`, `w`. */
inline pass_room_on()
{
#ifdef MUTANT_NO_CHAIN
    skip
#else
    held = slot; held_w = w;
    ring_peek();
    if
    :: ok
    :: else -> look_at_all()
    fi;
    if
    :: ok -> wake_room()
    :: else
    fi;
    atomic { slot = held; w = held_w; held = 0; held_w = 0; RING_FORGET }
#endif
}

inline reserve()
{
    try_reserve();
    if
    :: ok
    :: else ->
        do
        ::
#ifdef MUTANT_DECLARE_ONCE
            if
            :: !declared -> STEP(starved = 1); declared = 1
            :: else
            fi;
#endif
#ifndef MUTANT_DECLARE_ONCE
#ifndef MUTANT_DECLARE_LATE
            STEP(starved = 1);
#endif
#endif
            try_reserve();
            if
            :: ok -> pass_room_on(); break
            :: else ->
#ifdef MUTANT_DECLARE_LATE
                STEP(starved = 1);
#endif
                park_sleep()
            fi
        od;
#ifdef MUTANT_DECLARE_ONCE
        declared = 0
#endif
    fi
}

/* -- freeing -------------------------------------------------------------------------- */

/* `spare`: the magazine has a place for the slot. */
inline prepare()
{
#ifdef MUTANT_OVERWRITE
    spare = 1;
#else
    STEP(spare = (bottom[me] == top[me]));
    if
    :: spare
    :: else ->
        STEP(
            held = slot; held_w = w; c = hints[me];
            LOOK;
            spare = (find == STALE);
            slot = held; w = held_w; held = 0; held_w = 0; find = 0
        )
    fi;
#endif
#ifndef MUTANT_HINT_LATE
    write_hint()
#endif
}

inline write_hint()
{
    if
    :: spare ->
#ifdef MUTANT_TOP_EARLY
        STEP(top[me]++);
        STEP(hints[me] = HINT(slot, LIFE(w)))
#else
        STEP(hints[me] = HINT(slot, LIFE(w)));
        STEP(top[me]++)
#endif
    :: else
    fi
}

inline give_back()
{
    prepare();
#ifdef MUTANT_ROOM_EARLY /* what a missing fence would allow */
    STEP(seen_starved = starved);
#endif
    STEP(
        assert(word[slot] == w); /* nothing is taken from the living */
        assert(users[slot] == me);
        users[slot] = NOBODY;
        owned = 0;
        w = MOVED(w, (spare -> SPARE : FREEING), me);
        word[slot] = w
    );
    if
    :: spare
    :: else -> ring_put(slot)
    fi;
#ifdef MUTANT_ROOM_EARLY
    if
    :: seen_starved -> STEP(starved = 0); park_ring()
    :: else
    fi;
    seen_starved = 0;
#else
    wake_room();
#endif
#ifdef MUTANT_HINT_LATE /* after the word, hence perhaps after the look at starved */
    write_hint();
#endif
    atomic { slot = 0; w = 0; spare = 0; RING_FORGET }
}

/* prefork_lane_close: the magazine goes to the ring. */
inline close_lane()
{
    c = hints[me];
    ok = (own != top[me]); /* what is before is stale */
    if
    :: ok -> STEP(LOOK; ok = (find == FOUND && OWNER(w) == me); find = 0)
    :: else
    fi;
    if
    :: ok ->
        STEP(
            ok = (word[slot] == w);
            if
            :: ok -> word[slot] = MOVED(w, FREEING, me)
            :: else
            fi
        );
        if
        :: ok ->
            ring_put(slot);
            wake_room()
        :: else
        fi
    :: else
    fi;
    STEP(open_lanes = open_lanes & ~BIT(me));
    atomic { slot = 0; w = 0; RING_FORGET }
}

proctype user(byte me)
{
    RING_LOCALS;
    bool spare;
    byte find, slot, place, held;
    byte own, cursor; /* how far it looked in its own magazine, and in another's */
    byte owned;       /* slot + 1, or 0 */
    short w, held_w;
#ifdef HOARD
    byte second;
    short second_w;
#endif
#ifdef MUTANT_ROOM_EARLY
    bool seen_starved;
#endif
#ifdef MUTANT_DECLARE_ONCE
    bool declared;
#endif

alive:
    do
    :: cycles_done[me] < CYCLES ->
        reserve();
#ifdef HOARD
        if
        :: me == USER(0) ->
            atomic { second = slot; second_w = w; slot = 0; w = 0; owned = 0 };
            try_reserve(); /* one more, if there is one */
            if
            :: ok -> give_back()
            :: else
            fi;
            atomic { slot = second; w = second_w; second = 0; second_w = 0; owned = slot + 1 }
        :: else
        fi;
#endif
        give_back();
        STEP(cycles_done[me]++)
    :: else -> break
    od;
    if
    :: close_lane()
    :: skip /* or stays open and does nothing more */
    fi;
    goto end;

killed:
    atomic {
        dead = dead | BIT(me);
        asleep = asleep & ~BIT(me);
        if
        :: owned != 0 -> users[owned - 1] = NOBODY
        :: else
        fi;
#ifdef HOARD
        if
        :: second_w != 0 -> users[second] = NOBODY; second = 0; second_w = 0
        :: else
        fi;
#endif
        own = top[me]; cursor = 0; find = 0; spare = 0; owned = 0; slot = 0; place = 0; held = 0; w = 0; held_w = 0;
        RING_DIE
    };
    /* another process opens the lane once it is clean, or nobody does */
    atomic {
        !(dead & BIT(me)) ->
        if
        :: skip
        :: cycles_done[me] = CYCLES; goto end
        fi
    };
    STEP(open_lanes = open_lanes | BIT(me));
    goto alive;

end:
    skip
}

/* -- master ------------------------------------------------------------------------- */

/* Takes the slot over and frees it. */
inline repair_free()
{
    repair_cas(MOVED(w, FREEING, MASTER));
    again = !ok;
    if
    :: again
    :: else ->
        ring_put(slot);
        repair_cas(MOVED(w, FREE, NOBODY))
    fi
}

/* One look at a slot; `again` when it moved. */
inline repair_look()
{
    again = 0;
    STEP(w = word[slot]);
    if
    :: OWNER(w) == NOBODY || !(whose & BIT(OWNER(w))) -> skip
#ifdef MUTANT_NO_SPARE
    :: STATE(w) == SPARE && (whose & BIT(OWNER(w))) -> skip
#endif
    :: else ->
        if
        :: STATE(w) == RESERVED ->
#ifndef MUTANT_NO_PURGE
            ring_purge(slot);
#endif
            repair_free()
        :: STATE(w) == SPARE -> repair_free()
        :: STATE(w) == FREEING ->
#ifdef MUTANT_NO_SETTLE
            skip
#else
            mark();
            STEP(ok = (word[slot] == w));
            again = !ok;
            if
            :: again
            :: else ->
                if
#ifdef MUTANT_MARKS_ALL
                :: false
#else
                :: !(marks & BIT(slot)) -> ring_put(slot)
#endif
                :: else
                fi;
                repair_cas(MOVED(w, FREE, NOBODY)) /* failing is fine: it is reserved */
            fi
#endif
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
        STEP(starved = 1); /* the dead one may have cleared it and woken nobody */
#ifndef MUTANT_NO_POST
        repair_post();
#endif
        STEP(open_lanes = open_lanes & ~whose);
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

/* Nobody can take a step: nobody is unrepaired, all users came to their end
 * (none sleeps), and each slot can be reserved by whoever looks. */
proctype judge()
{
    byte i, k, entries;

    timeout;
    d_step {
        assert(dead == 0);
        i = USER(0);
        do
        :: i < LANES -> assert(cycles_done[i] == CYCLES); i++
        :: else -> i = 0; break
        od;
        do
        :: i < SLOTS ->
            entries = 0;
            k = 0;
            do
            :: k < CELLS ->
                if
                :: CELL_INDEX(cells[k]) == i -> entries++
                :: else
                fi;
                k++
            :: else -> break
            od;
            assert(users[i] == NOBODY);
            if
            :: STATE(word[i]) == SPARE ->
                assert(entries == 0);
                assert((open_lanes & BIT(OWNER(word[i]))) != 0 && hints[OWNER(word[i])] == HINT(i, LIFE(word[i])));
                assert(bottom[OWNER(word[i])] != top[OWNER(word[i])])
            :: else -> assert(IS_FREE(word[i]) && entries == 1)
            fi;
            i++
        :: else -> break
        od
    }
}

/* Each slot begins in the ring, left there by nobody or by a living user, or
 * in a user's magazine. */
init
{
    byte i, next, keeper;

    atomic {
        ring_init(next);
        do
        :: i < LANES -> hints[i] = HINT(0, 31); i++ /* a life that never comes: stale */
        :: else -> i = 0; break
        od;
        do
        :: i < SLOTS ->
            if
            :: word[i] = WORD(FREE, NOBODY, 0, 0)
#ifndef ONE_START
            :: word[i] = WORD(FREEING, USER(0), 0, 0)
            :: top[USER(0)] == 0 -> keeper = USER(0)
            :: top[USER(1)] == 0 -> keeper = USER(1)
#endif
            fi;
            if
            :: keeper != 0 ->
                word[i] = WORD(SPARE, keeper, 0, 0);
                hints[keeper] = HINT(i, 0);
                top[keeper] = 1;
                keeper = 0
            :: else ->
                cells[next % CELLS] = CELL(ROUND(next), i);
                next++
            fi;
            i++
        :: else -> i = 0; break
        od;
        if
        :: tail = 0
        :: tail = next
        fi;
        next = 0;
        select(kills : 0 .. KILLS);
        run master();
        do
        :: i < USERS ->
            open_lanes = open_lanes | BIT(USER(i));
            run user(USER(i));
            i++
        :: else -> i = 0; break
        od;
        run judge()
    }
}
