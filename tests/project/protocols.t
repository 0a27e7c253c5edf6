# SPDX-License-Identifier: BSD-2-Clause
# The protocol that docs/protocols.md shows has at most 40 lines and works: its
# listings were compiled as they stand there.
. "$PFK_SRCDIR/tests/bench/servers.sh"

page=$PFK_SRCDIR/docs/protocols.md
talk=$PFK_BUILDDIR/tests/lib/talk

# answers WHAT SENT WANTED
answers()
{
    printf '%s' "$2" | "$talk" "$address" >"$tmp/out" 2>&1
    tap_is "$1" "$(cat "$tmp/out")" "$3"
}

lines=$(awk '/^```c$/ { on = 1; next } /^```$/ && on { exit } on' "$page" | awk 'END { print NR }')
tap_succeeds 'the protocol has at most 40 lines' test "$lines" -le 40
tap_succeeds 'the listings are the program' grep -q 'netstring_frame' "$PFK_BUILDDIR/tests/project/netstring_server.c"
for address in tcp:127.0.0.1:0 "unix:$tmp/sock"; do
    start_server "$PFK_BUILDDIR/tests/project/netstring_server" "$address"
    answers 'messages are cut and answered' '5:hello,0:,3:a:b,' '5:hello,0:,3:a:b,'
    answers 'half a message is dropped' '5:hello,5:hel' '5:hello,'
    answers 'what is none is told' '5:hello,x' '5:hello,6:sorry!,'
    answers 'a wrong end is told' '5:hello;' '6:sorry!,'
    answers 'a message that is too long is told before it has come' '99999:' '6:sorry!,'
    answers 'an endless number, too' '99999999999999999999999999999999999999999' '6:sorry!,'
done
for path in $(sed -n 's/.*](\([a-zA-Z][^):#]*\)).*/\1/p' "$page"); do
    tap_succeeds "the link to $path leads somewhere" test -e "$PFK_SRCDIR/docs/$path"
done
tap_end
