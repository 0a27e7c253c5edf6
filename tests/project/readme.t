#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The README shows examples/upper_server.c as it is, in at most 40 lines, and
# its two commands exist.
. "$PFK_SRCDIR/tests/lib/tap.sh"

# The program between ```c and ```.
shown=$(awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$PFK_SRCDIR/README.md")
tap_is 'the server that the README shows is examples/upper_server.c' "$shown" "$(cat "$PFK_SRCDIR/examples/upper_server.c")"
tap_succeeds 'it has at most 40 lines' test "$(printf '%s\n' "$shown" | awk 'END { print NR }')" -le 40
tap_succeeds 'the README names the quickstart script' grep -q 'sh quickstart.sh check' "$PFK_SRCDIR/README.md"
for path in $(sed -n 's/.*](\([a-zA-Z][^):#]*\)).*/\1/p' "$PFK_SRCDIR/README.md"); do
    tap_succeeds "the README's link to $path leads somewhere" test -e "$PFK_SRCDIR/$path"
done
tap_end
