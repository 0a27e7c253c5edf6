# SPDX-License-Identifier: BSD-2-Clause
# Every server among the examples goes through examples/serve.c, takes its
# options, and says where it listens.
. "$PFK_SRCDIR/tests/bench/servers.sh"

examples=$PFK_SRCDIR/examples

# Those that have a main function and a pool.
servers=$(cd "$examples" && grep -l '^int main(' -- *.c | xargs grep -l -e 'serve_main' -e 'prefork_pool_create' |
    sed 's/\.c$//')
tap_is 'the servers among the examples' "$(echo $servers)" 'echo_pool http_files http_hello'
tap_is 'only serve.c makes a pool' "$(cd "$examples" && grep -l 'prefork_pool_create' -- *.c)" serve.c

# said_within LINES PATTERN: one of the next LINES lines of the server matches.
said_within()
{
    lines=$1
    while [ "$lines" -gt 0 ] && read -r line <&3; do
        case $line in $2) return 0 ;; esac
        lines=$((lines - 1))
    done
    return 1
}

for name in $servers; do
    program=$PFK_BUILDDIR/examples/$name argument=
    case $name in
    http_files) argument=$tmp ;;
    esac
    if [ ! -x "$program" ]; then
        tap_skip "$name" 'it was not built: http-parser is missing'
        continue
    fi
    # shellcheck disable=SC2086  # one word or none
    start_server "$program" -l tcp:127.0.0.1:0 -l "unix:$tmp/$name" -w 3 -i 2 -j 1 -n 64 -v $argument
    tap_is "$name -l -w -i -j -n starts" $? 0
    tap_is "$name says where it listens" "$(echo "$line" | sed 's/[0-9]*$/PORT/')" 'listening on tcp:127.0.0.1:PORT'
    said_within 1 "listening on unix:$tmp/$name"
    tap_is "$name: -l again" $? 0
    said_within 1 'master pid * 3 workers of 2 I/O threads and 1 job threads'
    tap_is "$name: -w, -i and -j are taken" $? 0
    said_within 1 '64 slots of *'
    tap_is "$name: -n is taken" $? 0
    kill -TERM "$server"
    wait "$server"
    tap_is "$name ends with 0 at SIGTERM" $? 0
    server=
    said_within 100 '* connections, * bytes in, * workers lost'
    tap_is "$name says what it did" $? 0
    # shellcheck disable=SC2086
    tap_fails_with "$name refuses an option that is none" 'usage: ' "$program" -Z $argument
done
tap_end
