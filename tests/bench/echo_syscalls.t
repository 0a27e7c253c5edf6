# SPDX-License-Identifier: BSD-2-Clause
# echo_syscalls counts a receive and a send for each request, and no further call
# that would be there for each. How often threads wait is nobody's promise.
. "$PFK_SRCDIR/tests/lib/tap.sh"

syscalls=$PFK_SRCDIR/bench/echo_syscalls

# row CASE: what it says of one.
row()
{
    printf '%s\n' "$tap_output" | sed -n "s/^| $1 | [0-9.]* | \(.*\) |$/\1/p"
}

for counter in '' -k; do
    # shellcheck disable=SC2086  # one word or none
    sh "$syscalls" $counter -n 1 -m bare -d 1 -b "$PFK_BUILDDIR" >"$TMPDIR/out" 2>&1
    if [ $? = 77 ]; then
        tap_skip "echo_syscalls $counter" "$(cat "$TMPDIR/out")"
        continue
    fi
    # shellcheck disable=SC2086
    tap_succeeds "counts $counter" sh "$syscalls" $counter -n 10 -c 16 -d 1 -b "$PFK_BUILDDIR"
    for name in bare inline table; do
        tap_is "$name: one of each $counter" \
            "$(row "$name | 1" | tr ',' '\n' | awk '$2 >= 0.5 && !/epoll|futex|read|write|other/ { print $1, $2 }' | tr '\n' ' ')" \
            'recvfrom 1.000 sendto 1.000 '
    done
done
rm -f "$TMPDIR/out"
for wrong in '-m nobody' '-b /nowhere'; do
    # shellcheck disable=SC2086  # an option and its value
    tap_fails_with "refused: $wrong" 'echo_syscalls: ' sh "$syscalls" $wrong
done
tap_end
