#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The README shows a server of at most 40 lines, which was compiled as it stands
# there (tests/pool/test_upper runs it), and its two commands exist.
. "$PFK_SRCDIR/tests/lib/tap.sh"

# The program between ```c and ```.
shown=$(awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$PFK_SRCDIR/README.md")
tap_is 'the server that the README shows is the one that is built' "$shown" \
    "$(cat "$PFK_BUILDDIR/tests/project/upper_server.c")"
tap_succeeds 'it was built' test -x "$PFK_BUILDDIR/tests/project/upper_server"
tap_succeeds 'it has at most 40 lines' test "$(printf '%s\n' "$shown" | awk 'END { print NR }')" -le 40
tap_succeeds 'the README names the quickstart script' grep -q 'sh quickstart.sh check' "$PFK_SRCDIR/README.md"
for path in $(sed -n 's/.*](\([a-zA-Z][^):#]*\)).*/\1/p' "$PFK_SRCDIR/README.md"); do
    tap_succeeds "the README's link to $path leads somewhere" test -e "$PFK_SRCDIR/$path"
done
tap_end
