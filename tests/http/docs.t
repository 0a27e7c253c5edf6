# SPDX-License-Identifier: BSD-2-Clause
# The server that docs/http.md shows has at most 35 lines and works: it was
# compiled as it stands there.
. "$PFK_SRCDIR/tests/http/clients.sh"

page=$PFK_SRCDIR/docs/http.md
tiny=$PFK_BUILDDIR/tests/http/tiny_http

lines=$(awk '/^```c$/ { on = 1; next } /^```$/ && on { exit } on' "$page" | awk 'END { print NR }')
tap_succeeds 'it has at most 35 lines' test "$lines" -le 35
for path in $(sed -n 's/.*](\([a-zA-Z.][^):#]*\)).*/\1/p' "$page"); do
    tap_succeeds "the link to $path leads somewhere" test -e "$PFK_SRCDIR/docs/$path"
done

# It says nothing when it listens: asked until it answers, for 20 s.
ask()
{
    tries=0
    until printf 'GET / HTTP/1.1\r\nHost: a\r\n\r\n' | "$PFK_BUILDDIR/tests/lib/talk" "unix:$tmp/sock" >"$tmp/out" 2>&1 ||
        [ $tries -ge 2000 ]; do
        tries=$((tries + 1))
        sleep 0.01
    done
    tr -d '\r' <"$tmp/out" | sed 's/^Date: .*GMT$/Date: then/'
}

if [ -x "$tiny" ]; then
    "$tiny" "unix:$tmp/sock" 2>"$tmp/server.err" &
    server=$!
    tap_is 'it says hello' "$(ask)" 'HTTP/1.1 200 OK
Date: then
Content-Length: 6
Content-Type: text/plain

hello'
    kill -TERM "$server"
    wait "$server"
    tap_is 'and ends with 0 at SIGTERM' $? 0
    server=
else
    tap_skip 'it says hello' 'it was not built: http-parser is missing'
fi
tap_end
