# SPDX-License-Identifier: BSD-2-Clause
# The handoff benchmark: each transport carries each case, every byte verified.
# Nothing is said about time.
. "$PFK_SRCDIR/tests/lib/tap.sh"

handoff=$PFK_BUILDDIR/bench/handoff
all='table ring ring-spin ring-sem mutex pipe stream seqpacket sysv-msg posix-mq'

# count_rounds TRANSPORT MODE: rows of $TMPDIR/rounds that have that many jobs.
count_rounds()
{
    ${AWK-awk} -F '\t' -v transport="$1" -v mode="$2" -v jobs="$3" \
        '$1 == transport && $2 == mode && $11 == jobs { rows++ } END { print rows + 0 }' "$TMPDIR/rounds"
}

# shellcheck disable=SC2086  # a list of names
for placement in same other swapped free; do
    tap_succeeds "64 bytes, processors: $placement" "$handoff" -r 2 -n 3000 -t 20 -m ff,rt -p 1:1,2:2,4:4 \
        -c "$placement" -o "$TMPDIR/rounds" $all
    for transport in $all; do
        tap_is "$transport: all jobs came" \
            "$(count_rounds "$transport" ff 3000) $(count_rounds "$transport" rt 3000)" '6 6'
    done
done

# shellcheck disable=SC2086
tap_succeeds 'few slots, so that all wait for room' "$handoff" -r 1 -n 4000 -t 20 -q 2 -p 1:1,4:4 -w 1 $all
# shellcheck disable=SC2086
tap_succeeds 'a window beyond the slots' "$handoff" -r 1 -n 5000 -t 20 -q 4 -w 64 -m rt -p 4:2 \
    table ring ring-spin ring-sem mutex pipe
tap_succeeds 'one producer, 16 workers, one job in flight' "$handoff" -r 1 -n 300 -t 20 -m rt -p 1:16 -w 1

for size in 64K 1M; do
    tap_succeeds "$size, 16 slots" "$handoff" -r 1 -n 40 -t 20 -s "$size" -q 16 -m ff,rt -p 1:1 -o "$TMPDIR/rounds"
    tap_is "$size: who can carries it" "$(cut -f 1 "$TMPDIR/rounds" | sort -u | tr '\n' ' ')" \
        "$(if [ "$size" = 64K ]; then echo 'mutex pipe ring ring-sem seqpacket stream table transport '
        else echo 'mutex pipe ring ring-sem stream table transport '; fi)"
done
tap_succeeds 'who cannot says why' "$handoff" -r 1 -n 10 -s 1M -q 16 -m ff -p 1:1 posix-mq
tap_is 'and is not measured' "$(printf '%s' "$tap_output" | grep -c 'posix-mq.* - the message exceeds')" 1

tap_succeeds 'latencies of ping-pong' "$handoff" -r 1 -n 200 -t 20 -m wake -i 0
tap_succeeds 'latencies of sleepers' "$handoff" -r 2 -n 20 -t 20 -m wake -l "$TMPDIR/latencies"
tap_is 'their distribution, for each transport' "$(cut -f 1 "$TMPDIR/latencies" | sort -u | wc -l)" 11
tap_is 'falls nowhere' \
    "$(${AWK-awk} -F '\t' 'NR > 1 && $1 == last && $11 < before { falls++ }
        { last = $1; before = $11 } END { print falls + 0 }' "$TMPDIR/latencies")" 0

if "$handoff" -k -r 1 -n 1 ring >/dev/null 2>&1; then
    # Each of 500 round trips between sleepers costs a wake-up and a wait, there and back.
    tap_succeeds 'futex calls, counted by the kernel' "$handoff" -k -m wake -i 0 -r 1 -n 500 -t 20 \
        -o "$TMPDIR/rounds" futex mutex
    tap_is 'are those of the C library too' "$(${AWK-awk} -F '\t' '$1 == "mutex" { print ($14 > 1000) }' "$TMPDIR/rounds")" 1
else
    tap_skip 'futex calls, counted by the kernel' 'not allowed here'
fi

if [ -r /proc/sysvipc/msg ]; then
    tap_is 'no message queue is left' "$(tail -n +2 /proc/sysvipc/msg | wc -l)" 0
fi

for wrong in '-p 0:1' '-p 1' '-p 65:1' '-s 65' '-s 2M' '-w 0' '-i 1s' '-q 3' '-c there' '-r 0' '-r 100' '-t 0' '-n 0' \
    '-m rtt' '-b nobody' nobody; do
    # shellcheck disable=SC2086  # an option and its value
    tap_fails_with "refused: $wrong" "handoff: " "$handoff" $wrong
done
tap_fails_with 'a file that cannot be written' 'No such file' "$handoff" -o "$TMPDIR/no/file" -r 1 -n 1 ring
# --- the table by its size

tap_succeeds 'tables of three sizes, with a backlog' "$PFK_BUILDDIR/bench/table_size" -q 64,1K,16K -b 100 -r 2 -n 500 \
    -o "$TMPDIR/sizes"
tap_is 'a row for each round' "$(cut -f 1 "$TMPDIR/sizes" | sort -n | uniq -c | tr -s ' \n' ' ')" \
    ' 1 slots 2 64 2 1024 2 16384 '
for wrong in '-q 63' '-q 2M' '-r 0' '-n 0' '-o /no/where'; do
    # shellcheck disable=SC2086  # an option and its value
    tap_fails_with "table_size refuses $wrong" "table_size: " "$PFK_BUILDDIR/bench/table_size" $wrong
done
rm -f "$TMPDIR/sizes" "$TMPDIR/rounds" "$TMPDIR/latencies"
tap_end
