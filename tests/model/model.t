# SPDX-License-Identifier: BSD-2-Clause
# Searches all states of the models, and shows that each mutant of them is
# caught by the property that should catch it.
#
#     model.t [quick | full | long]
#
# quick: seconds, part of `make check`; full: `make check-model`, minutes, below
# 4 GB; long: two deaths and more participants, part of `make check-long`.
. "$PFK_SRCDIR/tests/lib/tap.sh"

extent=${1:-quick}
models=$PFK_SRCDIR/tests/model
memory_mb=4000
hash=22
case $extent in
full) hash=25 ;;
long) hash=27 memory_mb=9000 ;;
esac

for tool in spin "${CC%% *}"; do
    if ! command -v "$tool" >/dev/null; then
        echo "1..0 # SKIP $tool is missing; install the packages spin and gcc"
        exit 0
    fi
done

# build MODEL DEFINITIONS COMPILER-FLAGS: makes $TMPDIR/pan.
build()
{
    (
        cd "$TMPDIR" && rm -f pan* ./*.trail
        # shellcheck disable=SC2086
        spin $2 -a "$models/$1.pml" >spin.log 2>&1 || { cat spin.log; exit 1; }
        # shellcheck disable=SC2086
        $CC -w -DNOFAIR -DMEMLIM=$memory_mb $3 -o pan pan.c
    )
}

# What the search was: "5281274 states, 7.54 s, 698 MB".
figures()
{
    awk '/states, stored/ { states = $1 } /total actual memory/ { mb = $1 } /elapsed time/ { seconds = $4 }
         END { printf "%d states, %s s, %d MB", states, seconds, mb }' "$TMPDIR/out"
}

# search SEARCH-FLAGS: 0 complete and without error; 1 an error and its trail; 2 not complete.
search()
{
    # shellcheck disable=SC2086
    (cd "$TMPDIR" && ./pan -E -m100000 -w$hash "$@" >out 2>&1)
    if grep -q 'errors: [1-9]' "$TMPDIR/out" && ls "$TMPDIR"/*.trail >/dev/null 2>&1; then
        return 1
    fi
    grep -q 'errors: 0$' "$TMPDIR/out" && ! grep -Eq 'not completed|max search depth too small' "$TMPDIR/out" || return 2
}

# holds WHAT MODEL DEFINITIONS [COMPILER-FLAGS]: every state of it is right.
holds()
{
    if ! log=$(build "$2" "$3" "-O2 -DSAFETY -DNOCLAIM ${4-}"); then
        tap_not_ok "$2: $1" "$log"
        return
    fi
    if search; then
        tap_ok "$2: $1: $(figures)"
    else
        tap_not_ok "$2: $1" "$(grep -E '^pan|errors:|completed' "$TMPDIR/out"
            cd "$TMPDIR" && [ ! -f "$2.pml.trail" ] || spin -k "$2.pml.trail" -t -g -p $3 "$models/$2.pml" | tail -n 150)"
    fi
    rm -f "$TMPDIR"/*
}

# ends WHAT MODEL DEFINITIONS: no run of it is endless. There is no loop in which
# one waits for another, so any cycle of states is a livelock.
ends()
{
    if ! log=$(build "$2" "$3" '-O2 -DNP'); then
        tap_not_ok "$2: $1" "$log"
        return
    fi
    if search -l; then
        tap_ok "$2: $1: $(figures)"
    else
        tap_not_ok "$2: $1" "$(grep -E '^pan|errors:|completed' "$TMPDIR/out")"
    fi
    rm -f "$TMPDIR"/*
}

# caught MUTANT MODEL DEFINITIONS: the mutant breaks a property, and which is told. Found so soon that the compiler's
# time counts.
caught()
{
    if ! log=$(build "$2" "$3 -DMUTANT_$1" '-O0 -DSAFETY -DNOCLAIM'); then
        tap_not_ok "$2: mutant $1" "$log"
        return
    fi
    search
    if [ $? = 1 ]; then
        tap_ok "$2: mutant $1 caught: $(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$TMPDIR/out" | tr '#' ' ')"
    else
        tap_not_ok "$2: mutant $1 was not caught" "$(grep -E '^pan|errors:|completed' "$TMPDIR/out")"
    fi
    rm -f "$TMPDIR"/*
}

quick()
{
    holds '1 job, 2 workers' ready '-DKILLS=0' -O0
    holds '1 slot, 2 users, twice each, one start' free '-DKILLS=0 -DSLOTS=1 -DCYCLES=2 -DONE_START' -O0
    caught NO_POST ready '-DKILLS=1'
    caught STEAL_BLIND free '-DKILLS=1 -DSLOTS=1'
}

full()
{
    holds '1 job, 2 workers, 1 death' ready '-DKILLS=1'
    holds '2 jobs whose handlers wait for each other, 2 workers' ready '-DKILLS=0 -DJOBS=2 -DONE_START -DHANDLERS_MEET'
    holds '1 slot, 2 users, 1 death' free '-DKILLS=1 -DSLOTS=1'
    holds '2 slots, 2 users, 1 death' free '-DKILLS=1'
    holds '2 slots, 2 users, one takes both, 1 death, one start' free '-DKILLS=1 -DHOARD -DONE_START' -DCOLLAPSE
    holds '1 slot, 2 users, twice each, 1 death, one start' free '-DKILLS=1 -DSLOTS=1 -DCYCLES=2 -DONE_START' -DCOLLAPSE
    ends 'no livelock, 1 death' ready '-DKILLS=1 -DONE_START'
    ends 'no livelock, 1 death' free '-DKILLS=1 -DSLOTS=1 -DONE_START'

    for mutant in VALUE_FIRST ENTRY_FIRST READY_EARLY REMOVE_FIRST CAS_STALE NO_SETTLE PUT_UNSEEN NO_PURGE NO_POST \
        HEAD_FIRST; do
        caught $mutant ready '-DKILLS=1'
    done
    caught PURGE_LATE ready '-DKILLS=2 -DONE_START' # takes the death of a claimer and of the master
    caught NO_CHAIN ready '-DKILLS=0 -DJOBS=2 -DONE_START -DHANDLERS_MEET'
    for mutant in NO_SPARE NO_PURGE NO_SETTLE MARKS_ALL CAS_STALE NO_HOLDS HEAD_FIRST; do
        caught $mutant free '-DKILLS=1'
    done
    for mutant in NO_POST ROOM_EARLY DECLARE_LATE DECLARE_ONCE HINT_LATE TOP_EARLY BOTTOM_EARLY PENDING_STALE \
        STEAL_BLIND; do
        caught $mutant free '-DKILLS=1 -DSLOTS=1'
    done
    caught OVERWRITE free '-DKILLS=1 -DHOARD'
}

long()
{
    holds '1 slot, 3 users' free '-DKILLS=0 -DSLOTS=1 -DUSERS=3 -DONE_START' -DHC4
    holds '2 slots, 3 users' free '-DKILLS=0 -DUSERS=3 -DONE_START' -DHC4
    holds '1 job, 2 workers, 2 deaths' ready '-DKILLS=2' -DCOLLAPSE
    holds '2 slots, 2 users, 2 deaths' free '-DKILLS=2' -DCOLLAPSE
    holds '1 slot, 2 users, 2 deaths' free '-DKILLS=2 -DSLOTS=1' -DCOLLAPSE
    holds '2 slots, 2 users, one takes both, 2 deaths' free '-DKILLS=2 -DHOARD -DONE_START' -DHC4
}

case $extent in
quick | full | long) $extent ;;
*) tap_not_ok "there is no extent $extent" ;;
esac
tap_end
