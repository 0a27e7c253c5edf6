# SPDX-License-Identifier: BSD-2-Clause
# echo_goals measures what has a goal, and its verdicts are right: with servers
# and a client whose figures are made up. Nothing is said about time.
. "$PFK_SRCDIR/tests/lib/tap.sh"

goals=$PFK_SRCDIR/bench/echo_goals
fake=$TMPDIR/fake
command -v taskset >/dev/null || { tap_skip 'echo_goals' 'there is no taskset here'; tap_end; }
cpu=$(taskset -c -p $$ | sed 's/.*: //; s/[-,].*//')

# run WANTED_STATUS ARGUMENT...: its output goes to $TMPDIR/out.
run()
{
    wanted=$1
    shift
    sh "$goals" -p "$cpu,$cpu" "$@" >"$TMPDIR/out" 2>&1
    status=$?
    [ "$status" = "$wanted" ]
}

# row CASE: what was measured, the must, the goal and the verdict.
row()
{
    sed -n "s/^| $1 | \(.*\) |$/\1/p" "$TMPDIR/out"
}

# --- the real ones

run 0 -k 1 -t 0.5 -b "$PFK_BUILDDIR" -o '^(inline|table) 64 64 1 ' || [ "$status" = 1 ]
tap_is 'measures, and ends with 0 or 1' $? 0
verdict=$(row 'inline | 64 | 64 | 1' | sed 's/^[0-9.]* ([0-9.-]*) | 1.10 | 1.05 | \(goal\|must\|NO\)$/fine/')
tap_is 'a row for the I/O thread' "$verdict" fine
verdict=$(row 'table | 64 | 64 | 1' | sed 's/^[0-9.]* ([0-9.-]*) | 1.25 | 1.15 | \(goal\|must\|NO\)$/fine/')
tap_is 'a row for the table' "$verdict" fine
tap_is 'it says NO when it ends with 1, and only then' "$(grep -q '| NO |$' "$TMPDIR/out" && echo 1 || echo 0)" "$status"

# --- made-up figures: a server's address is its name, and the file of that name has its costs, round by round

mkdir -p "$fake/bench" "$fake/examples"
cat >"$fake/bench/echo_bare" <<'END'
#!/bin/sh
echo "listening on bare$2"
exec sleep 60
END
cat >"$fake/examples/echo_pool" <<'END'
#!/bin/sh
echo "listening on $4$6"
exec sleep 60
END
cat >"$fake/bench/echo_load" <<'END'
#!/bin/sh
for address; do :; done
costs=$(cat "$(dirname "$0")/$address")
echo "result rate=1 server_cpu_us_per_message=${costs%% *} p50_us=1"
echo "${costs#* }" >"$(dirname "$0")/$address"
END
chmod +x "$fake/bench/echo_bare" "$fake/bench/echo_load" "$fake/examples/echo_pool"

# costs NAME COST...
costs()
{
    name=$1
    shift
    echo "$*" >"$fake/bench/$name"
}

costs bare 2.000 4.000 1.000
costs inline1 2.080 4.000 8.000
tap_succeeds 'the goal is met' run 0 -k 3 -b "$fake" -o '^inline 64 64 1 '
tap_is 'by the median of the quotients, not the quotient of medians' "$(row 'inline | 64 | 64 | 1')" \
    '1.040 (1.00-8.00) | 1.10 | 1.05 | goal'
costs inline1 2.180 4.360 1.090
costs bare 2.000 4.000 1.000
tap_succeeds 'only the must is met' run 0 -k 3 -b "$fake" -o '^inline 512 4096 16 '
tap_is 'and it says so' "$(row 'inline | 512 | 4096 | 16')" '1.090 (1.09-1.09) | 1.10 | 1.05 | must'
costs inline1 2.220
costs bare 2.000
tap_succeeds 'the must is missed' run 1 -k 1 -b "$fake" -o '^inline 64 64 1 '
tap_is 'and it says so, too' "$(row 'inline | 64 | 64 | 1') $(tail -n 1 "$TMPDIR/out")" \
    '1.110 (1.11-1.11) | 1.10 | 1.05 | NO missed: 1'

costs bare 1.000
costs bare2 1.000
costs inline1 1.000
costs inline2 9.000
costs table1 1.250
costs table2 9.000
tap_succeeds 'all cases' run 0 -k 1 -b "$fake"
wanted=
for connections in 64 512 4096; do
    for bytes in 64 4096; do
        for depth in 1 16; do
            wanted="$wanted| inline | $connections | $bytes | $depth | 1.000 (1.00-1.00) | 1.10 | 1.05 | goal |
"
        done
    done
done
tap_is 'are those that have a goal, and two that are only told' "$(grep '^| [it]' "$TMPDIR/out")" \
    "$wanted| table | 64 | 64 | 1 | 1.250 (1.25-1.25) | 1.25 | 1.15 | must |
| inline2 | 64 | 64 | 1 | 9.000 (9.00-9.00) | - | - |  |
| table2 | 64 | 64 | 1 | 9.000 (9.00-9.00) | - | - |  |"

# --- what can't be measured

costs bare 0.000
tap_succeeds 'no processor time is no figure' run 2 -k 1 -b "$fake" -o '^inline 64 64 1 '
tap_succeeds 'a case that there is not' run 2 -b "$fake" -o nothing
tap_succeeds 'no programs' run 2 -b "$TMPDIR/nowhere"
tap_succeeds 'an option that is none' run 2 -Z
tap_succeeds '-h' run 0 -h
rm -rf "$fake" "$TMPDIR/out"
tap_end
