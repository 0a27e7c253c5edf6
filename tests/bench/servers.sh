# shellcheck shell=sh
# SPDX-License-Identifier: BSD-2-Clause
# For the tests of the clients: starts and stops servers, keeps what a client said.
. "$PFK_SRCDIR/tests/lib/tap.sh"

tmp=${TMPDIR:-/tmp}/servers.$$
mkdir "$tmp" || exit 1
mkfifo "$tmp/ready" || exit 1
server=

stop_server()
{
    [ -z "$server" ] && return
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    server=
}
trap 'stop_server; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# start_server COMMAND...: sets server (its pid) and address once it listens.
# Returns false when it ends instead. Descriptor 3 stays open, so that what the
# server prints later finds a reader.
start_server()
{
    stop_server
    "$@" >"$tmp/ready" 2>"$tmp/server.err" &
    server=$!
    exec 3<"$tmp/ready"
    line=
    read -r line <&3
    address=${line#listening on }
    [ -n "$address" ]
}

# run_client WANTED_STATUS COMMAND...: its output goes to $tmp/out.
run_client()
{
    wanted=$1
    shift
    "$@" >"$tmp/out" 2>&1
    status=$?
    echo "exit status $status: $*" >>"$tmp/out"
    [ "$status" -eq "$wanted" ]
}

# said PATTERN...: each one matches a line of the client's output.
said()
{
    for pattern; do
        grep -q -e "$pattern" "$tmp/out" || return 1
    done
}

# result WHAT STATUS: one point; what the client said is shown when it failed.
result()
{
    if [ "$2" -eq 0 ]; then
        tap_ok "$1"
    else
        tap_not_ok "$1" "$(cat "$tmp/out")"
    fi
}
