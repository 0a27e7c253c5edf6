# SPDX-License-Identifier: BSD-2-Clause
# Every form of address and option of a listener, by echo_pool as a program;
# sockets that a service manager hands over; and how a wrong one is told.
. "$PFK_SRCDIR/tests/bench/servers.sh"

echo_pool=$PFK_BUILDDIR/examples/echo_pool
echo_load=$PFK_BUILDDIR/bench/echo_load
activate=$PFK_BUILDDIR/tests/io/activate

# end_server: SIGTERM; the rest of what it printed goes to $tmp/rest. Its status.
end_server()
{
    kill -TERM "$server"
    wait "$server"
    status=$?
    cat <&3 >"$tmp/rest"
    server=
    return $status
}

# serves WHAT: clients are served at $address, and the server ends with 0.
serves()
{
    run_client 0 "$echo_load" -c 8 -s 100 -d 4 -n 2000 "$address"
    result "$1: serves" $?
    end_server
    tap_is "$1: ends with 0" $? 0
}

mode_of()
{
    ls -l "$1" | cut -c1-10
}

# -- Unix paths
start_server "$echo_pool" -o mode=0620 -l "unix:$tmp/sock" -w 1
tap_is 'mode: the path has it' "$(mode_of "$tmp/sock")" 'srw--w----'
tap_is 'no lock file is left' "$(echo "$tmp"/*.lock)" "$tmp/*.lock"
tap_fails_with 'a second server on the path is refused' "unix:$tmp/sock: another process listens there" \
    "$echo_pool" -l "unix:$tmp/sock" -w 1
serves 'mode'
if [ "$(id -u)" = 0 ]; then
    start_server "$echo_pool" -o mode=0600 -o owner=65534:65533 -l "unix:$tmp/sock" -w 1
    tap_is 'owner: the path has it' "$(ls -ln "$tmp/sock" | awk '{ print $3, $4 }')" '65534 65533'
    serves 'owner'
fi
tap_fails_with 'an owner that is none' 'there is no user "no such user"' \
    "$echo_pool" -o 'owner=no such user' -l "unix:$tmp/sock"
tap_fails_with 'a group that is none' 'there is no group "no such group"' \
    "$echo_pool" -o 'owner=:no such group' -l "unix:$tmp/sock"
tap_is 'and the path is not left behind' "$(echo "$tmp"/sock*)" "$tmp/sock*"
tap_fails_with 'mode of a port' 'mode and owner are for the path of a Unix socket' \
    "$echo_pool" -o mode=0600 -l tcp:127.0.0.1:0
tap_fails_with 'shards of a path' 'a Unix socket has no shards' "$echo_pool" -o shards -l "unix:$tmp/sock"
tap_fails_with 'a directory that is not there' "unix:$tmp/nowhere/sock: No such file" \
    "$echo_pool" -l "unix:$tmp/nowhere/sock"
tap_fails_with 'an option that is none' 'is no option of an address' "$echo_pool" -o mood=0600

# A name without a file: free again when its server is gone.
name=prefork-test-$$
start_server "$echo_pool" -l "unix:@$name" -w 1
tap_is 'abstract: tells its name' "$address" "unix:@$name"
tap_fails_with 'abstract: a second server is refused' "bind unix:@$name" "$echo_pool" -l "unix:@$name" -w 1
end_server
tap_is 'abstract: ends with 0' $? 0

# -- All or nothing: what was bound before the one that failed is gone.
start_server "$echo_pool" -l tcp:127.0.0.1:0 -w 1
tap_fails_with 'a port in use is told with address and reason' "bind $address: Address already in use" \
    "$echo_pool" -l "unix:$tmp/other" -l "$address" -w 1
tap_is 'and leaves nothing bound' "$(echo "$tmp"/other*)" "$tmp/other*"
end_server

# -- Shards
start_server "$echo_pool" -o shards -l tcp:127.0.0.1:0 -w 2 -i 2
tap_fails_with 'shards: a second server is refused' "bind $address: Address already in use" \
    "$echo_pool" -o shards -l "$address" -w 1
serves 'shards'

# -- Socket activation
start_server "$activate" -n web:local tcp:127.0.0.1:0 "unix:$tmp/sock" -- "$echo_pool" -l fd:local -l fd:3 -w 1
tap_is 'activation: tells what was handed over' "$address" "unix:$tmp/sock"
read -r _ _ other <&3
run_client 0 "$echo_load" -c 4 -n 1000 "$other"
result 'activation: serves the other one' $?
serves 'activation'
[ -S "$tmp/sock" ]
tap_is 'activation: the path stays' $? 0
rm -f "$tmp/sock"
start_server "$activate" -n a:a tcp:127.0.0.1:0 tcp:127.0.0.1:0 -- "$echo_pool" -l fd:a -l fd:a -w 1
read -r _ _ other <&3
[ "$address" != "$other" ]
tap_is 'activation: of one name each call takes the next' $? 0
serves 'activation by one name'
tap_fails_with 'activation: no more than there are' 'fd:a: no such socket was handed over, or it is taken; there are 1' \
    "$activate" -n a tcp:127.0.0.1:0 -- "$echo_pool" -l fd:a -l fd:a
tap_fails_with 'activation: another name' 'fd:b: no such socket' "$activate" -n a tcp:127.0.0.1:0 -- "$echo_pool" -l fd:b
tap_fails_with 'activation: another number' 'fd:4: no such socket' "$activate" tcp:127.0.0.1:0 -- "$echo_pool" -l fd:4
tap_fails_with 'activation: for another process' 'no socket was handed over to this process: LISTEN_PID is 1,' \
    "$activate" -p 1 tcp:127.0.0.1:0 -- "$echo_pool" -l fd:3
tap_fails_with 'activation: no number of sockets' 'no socket was handed over' \
    "$activate" -f -1 tcp:127.0.0.1:0 -- "$echo_pool" -l fd:3
tap_fails_with 'activation: more than are open' 'no socket' "$activate" -f 9 - -- "$echo_pool" -l fd:11
tap_fails_with 'activation: a descriptor that is no socket' 'the descriptor 3 is no socket' \
    "$activate" - -- "$echo_pool" -l fd:3
tap_fails_with 'activation: none at all' 'LISTEN_PID is not set' "$echo_pool" -l fd:3
tap_fails_with 'activation: mode is not ours' 'the business of who handed the socket over' \
    "$activate" tcp:127.0.0.1:0 -- "$echo_pool" -o mode=0600 -l fd:3
if command -v systemd-socket-activate >/dev/null 2>&1; then
    # it starts the server at the first connection, which the client makes
    systemd-socket-activate -l "$tmp/sd" --fdname=sd "$echo_pool" -l fd:sd -w 1 >"$tmp/ready" 2>"$tmp/server.err" &
    server=$!
    exec 3<"$tmp/ready"
    tries=0
    while [ ! -S "$tmp/sd" ] && [ $tries -lt 100000 ]; do tries=$((tries + 1)); done
    run_client 0 "$echo_load" -c 4 -n 1000 "unix:$tmp/sd"
    result 'activation: by systemd-socket-activate' $?
    end_server
    rm -f "$tmp/sd"
else
    tap_skip 'activation: by systemd-socket-activate' 'it is not installed'
fi

# -- PROXY headers: echo_load sends none, so a trusted one is closed
start_server "$echo_pool" -o proxy=192.0.2.0/24 -l tcp:127.0.0.1:0 -w 1
serves 'proxy: who is not trusted'
tap_fails_with 'a set of proxies that is none' 'trusted addresses "nonsense"' "$echo_pool" -o proxy=nonsense -l tcp:127.0.0.1:0
tap_fails_with 'datagrams have none' 'datagrams have no PROXY header' "$echo_pool" -o 'proxy=*' -l udp:127.0.0.1:0

tap_end
