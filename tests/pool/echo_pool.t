# SPDX-License-Identifier: BSD-2-Clause
# echo_pool as its users meet it: over TCP 4 and 6 and Unix, in
# both modes, tagged; its threads and epoll descriptors; its end.
. "$PFK_SRCDIR/tests/bench/servers.sh"

echo_pool=$PFK_BUILDDIR/examples/echo_pool
echo_load=$PFK_BUILDDIR/bench/echo_load

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

# IPv6 may be missing on this machine: then IPv4 stands in.
second='tcp:[::1]:0'
grep -q . /proc/net/if_inet6 2>/dev/null || second=tcp:127.0.0.1:0

for mode in table inline; do
    start_server "$echo_pool" -l tcp:127.0.0.1:0 -l "$second" -l "unix:$tmp/sock" -w 2 -i 2 -j 2 -m $mode
    first=$address
    read -r _ _ other <&3
    read -r _ _ third <&3
    tap_is "$mode: tells each address" "$third" "unix:$tmp/sock"
    for address in "$first" "$other" "$third"; do
        run_client 0 "$echo_load" -c 20 -s 1000 -d 4 -n 4000 "$address"
        result "$mode: 4,000 messages over ${address%:*}" $?
    done
    run_client 0 "$echo_load" -c 4 -s 1M -d 2 -n 32 "$first"
    result "$mode: messages of 1 MiB" $?
    end_server
    tap_is "$mode: ends with 0 at SIGTERM" $? 0
    tap_is "$mode: prints a line of totals" "$(sed 's/[0-9][0-9]*/N/g' "$tmp/rest")" \
        'N connections, N bytes in, N bytes out, N jobs, N redelivered, N workers lost'
    tap_is "$mode: counts bytes and connections" "$(sed 's/ bytes out.*//' "$tmp/rest")" \
        "64 connections, $((3 * 4000000 + 32 * 1048576)) bytes in, $((3 * 4000000 + 32 * 1048576))"
    [ ! -e "$tmp/sock" ]
    tap_is "$mode: the socket's path is removed" $? 0

    start_server "$echo_pool" -l tcp:127.0.0.1:0 -w 2 -t -m $mode
    run_client 0 "$echo_load" -L -c 8 -s 100 -d 4 -n 2000 "$address"
    result "$mode: tagged lines" $?
    end_server
done

# -- Workers of another user
if [ "$(id -u)" = 0 ] && [ -r /proc/self/status ]; then
    start_server "$echo_pool" -l tcp:127.0.0.1:0 -w 1 -u 65534:65534 -v
    while read -r word _ key pid <&3 && [ "$word $key" != 'worker pid' ]; do :; done
    run_client 0 "$echo_load" -c 4 -n 1000 "$address"
    result '-u: messages over TCP' $?
    tap_is '-u: the worker has the four ids' "$(sed -n 's/^[UG]id:[[:space:]]*//p' /proc/"$pid"/status | tr '\t\n' '  ')" \
        '65534 65534 65534 65534 65534 65534 65534 65534 '
    end_server
fi
out=$("$echo_pool" -u 'no such user' 2>&1)
tap_is '-u: an unknown user ends it with 1' $? 1
case $out in *'there is no user "no such user"; give a name'*) true ;; *) false ;; esac
result '-u: and is told' $?

# -- Threads and descriptors
if [ -d /proc/self/task ]; then
    start_server "$echo_pool" -l tcp:127.0.0.1:0 -w 2 -i 2 -j 2 -v
    pids='' threads=0 epolls=0
    while [ "$(echo "$pids" | wc -w)" -lt 2 ] && read -r word _ key pid <&3; do
        [ "$word $key" = 'worker pid' ] && pids="$pids $pid"
    done
    run_client 0 "$echo_load" -c 16 -n 1000 "$address" # when it answers, its threads are there
    tap_is '-v names both workers' "$(echo "$pids" | wc -w | tr -d ' ')" 2
    # One of the two may be ready later than the other: wait for its threads.
    tries=0
    while [ $tries -lt 200 ]; do
        threads=0 epolls=0
        for pid in $pids; do
            for task in /proc/"$pid"/task/*; do threads=$((threads + 1)); done
            for fd in /proc/"$pid"/fd/*; do
                case $(readlink "$fd") in *eventpoll*) epolls=$((epolls + 1)) ;; esac
            done
        done
        [ $threads -eq 10 ] && [ $epolls -eq 4 ] && break
        tries=$((tries + 1))
    done
    tap_is '-w 2 -i 2 -j 2 makes 10 worker threads' $threads 10
    tap_is 'each I/O thread has an epoll descriptor' $epolls 4
    masters=0
    for fd in /proc/"$server"/fd/*; do
        case $(readlink "$fd") in *eventpoll*) masters=$((masters + 1)) ;; esac
    done
    tap_is 'the master has none' $masters 0
    end_server
else
    tap_skip 'threads and descriptors' 'there is no /proc'
fi

# -- Replies of both workers
start_server "$echo_pool" -l tcp:127.0.0.1:0 -w 2 -i 1 -j 1 -t
run_client 0 "$echo_load" -L -c 8 -s 64 -d 8 -n 20000 "$address" && said 'worker_pids=2'
result 'in mode table both workers answer' $?
end_server

# -- Bad command lines
tap_fails_with 'a mode that is none' 'neither table nor inline' "$echo_pool" -m both
tap_fails_with 'a number that is none' '"x" is not a number' "$echo_pool" -w x
tap_fails_with 'a number out of range' 'PREFORK_POOL_SLOTS is 1, it must be from 2 to 1048576' "$echo_pool" -n 1
tap_fails_with 'an address that is none' 'nowhere' "$echo_pool" -l nowhere
tap_fails_with 'an argument too many' 'usage:' "$echo_pool" more

tap_end
