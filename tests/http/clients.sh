# shellcheck shell=sh
# SPDX-License-Identifier: BSD-2-Clause
# For the tests of the HTTP servers.
. "$PFK_SRCDIR/tests/bench/servers.sh"

# needs_http PROGRAM: without it there is nothing to test.
needs_http()
{
    [ -x "$PFK_BUILDDIR/examples/$1" ] && return
    tap_skip "$1" 'it was not built: http-parser is missing'
    tap_end
}

# start_http COMMAND...: sets base, what URLs begin with.
start_http()
{
    start_server "$@" || { tap_not_ok "$1 starts" "$(cat "$tmp/server.err")"; tap_end; }
    case $address in
    unix:*) base=http://localhost ;;
    *) base=http://${address#tcp:} ;;
    esac
}

# end_server: SIGTERM; its status.
end_server()
{
    kill -TERM "$server"
    wait "$server"
    status=$?
    cat <&3 >"$tmp/rest"
    server=
    return $status
}

# fetch PATH [CURL-OPTION]...
fetch()
{
    url=$base$1
    shift
    case $address in
    unix:*) set -- --unix-socket "${address#unix:}" "$@" ;;
    esac
    curl -q -s -m 20 --path-as-is "$@" "$url"
}
