# SPDX-License-Identifier: BSD-2-Clause
# docs/http.md shows examples/tiny_http.c as it is.
. "$PFK_SRCDIR/tests/http/clients.sh"

shown=$(awk '/^```c$/ && !seen { on = seen = 1; next } /^```$/ { on = 0 } on' "$PFK_SRCDIR/docs/http.md")
tap_is 'the server that docs/http.md shows is examples/tiny_http.c' "$shown" "$(cat "$PFK_SRCDIR/examples/tiny_http.c")"
tap_succeeds 'it has at most 35 lines' test "$(printf '%s\n' "$shown" | awk 'END { print NR }')" -le 35
tap_end
