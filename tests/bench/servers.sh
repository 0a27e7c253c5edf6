# SPDX-License-Identifier: BSD-2-Clause
# For the tests of the clients: starts and stops servers, counts TAP.
# PFK_BUILDDIR and TMPDIR come from the test harness.

: "${PFK_BUILDDIR:?run this under make check}"
tmp=${TMPDIR:-/tmp}/servers.$$
mkdir "$tmp" || exit 1
mkfifo "$tmp/ready" || exit 1
server=
count=0
failed=0

stop_server() {
    [ -z "$server" ] && return
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    server=
}
trap 'stop_server; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# start_server COMMAND...: sets server (its pid) and address once it listens.
# Returns false when it ends instead.
start_server() {
    stop_server
    "$@" >"$tmp/ready" 2>"$tmp/server.err" &
    server=$!
    address=
    read -r line <"$tmp/ready"
    address=${line#listening on }
    [ -n "$address" ]
}

# result NAME STATUS: one case; what the client said is shown when it failed.
result() {
    count=$((count + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $count - $1"
    else
        echo "not ok $count - $1"
        sed 's/^/# /' "$tmp/out"
        failed=$((failed + 1))
    fi
}

skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

# run_client WANTED_STATUS COMMAND...: its output goes to $tmp/out.
run_client() {
    wanted=$1
    shift
    "$@" >"$tmp/out" 2>&1
    status=$?
    echo "exit status $status: $*" >>"$tmp/out"
    [ "$status" -eq "$wanted" ]
}

# said PATTERN...: each one matches a line of the client's output.
said() {
    for pattern; do
        grep -q -e "$pattern" "$tmp/out" || return 1
    done
}

finish() {
    echo "1..$count"
    [ "$failed" -eq 0 ]
    exit
}
