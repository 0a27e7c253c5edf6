# SPDX-License-Identifier: BSD-2-Clause
# echo_load gets every byte back from a right server and reports each fault of a
# wrong one, by its kind, in bounded time.
. "$PFK_SRCDIR/tests/bench/servers.sh"

load=$PFK_BUILDDIR/bench/echo_load
bare=$PFK_BUILDDIR/bench/echo_bare
faulty=$PFK_BUILDDIR/tests/bench/faulty_server

# --- a right server

start_server "$bare"
for shape in '1 1 1 5000' '1 64 16 5000' '64 64 1 5000' '64 4096 16 5000' '512 1 16 20000' '8 100000 2 200' '500 64 1 100'; do
    # shellcheck disable=SC2086  # four words
    set -- $shape
    run_client 0 "$load" -c "$1" -s "$2" -d "$3" -n "$4" "$address" &&
        said "^result connections=$1 messages=$4 bytes=$(($2 * $4)) .* errors=0 missing=0 "
    result "$4 messages of $2 bytes over $1 connections, depth $3" $?
done

run_client 0 "$load" -c 20 -s 1M -b 50000001 "$address" && said '^result .*messages=48 bytes=50331648 .*errors=0 '
result 'a number of bytes is rounded up to whole messages' $?

run_client 0 "$load" -c 20 -t 0.3 "$address" && said '^result .*seconds=0\.[3-9].* errors=0 '
result 'a run by time ends with all replies in' $?

run_client 0 "$load" -L -c 20 -s 40 -d 16 -n 2000 "$address" && said 'messages=2000 .*worker_pids=0'
result 'lines may come back without a tag' $?

if [ -r /proc/self/stat ]; then
    run_client 0 "$load" -t 0.2 -P "$server,tree:$server" "$address" && said 'server_cpu_us_per_message=[0-9]'
    result 'processor time of the server is measured' $?

    run_client 0 "$load" -n 1 -P "tree:$server" "$address" && said 'server_cpu_us_per_message=[0-9]'
    result 'also when one message is all' $?
else
    tap_skip 'processor time of the server is measured' 'there is no /proc'
fi

run_client 1 "$load" -n 1 -P 4194304 "$address" && said 'no process 4194304'
result 'a process that does not exist is told' $?

start_server "$bare" -w 3
run_client 0 "$load" -c 64 -d 16 -n 20000 "$address"
result 'three bare processes share one listener' $?
kill "$server"
wait "$server"
result 'and end together on SIGTERM, in peace' $?
server=

start_server "$bare" -l "unix:$tmp/socket" && run_client 0 "$load" -c 300 -d 2 -n 5000 "$address"
result 'a Unix socket' $?

if start_server "$bare" -l 'tcp:[::1]:0'; then
    run_client 0 "$load" -c 10 -n 1000 "$address"
    result 'IPv6' $?
else
    tap_skip 'IPv6' 'no [::1] here'
fi

# It writes each piece before it reads the next: only a client that reads while
# it writes gets 16 MiB through.
start_server "$faulty" none
run_client 0 "$load" -c 2 -s 16M -d 2 -n 4 "$address" && said 'bytes=67108864 .*errors=0'
result '16 MiB messages through a server that reads and writes by turns' $?

start_server "$faulty" tag
run_client 0 "$load" -L -c 3 -s 50 -d 4 -n 300 "$address" &&
    said 'messages=300 bytes=15000 .*worker_pids=3' '3 pids: 1001 (34.0 %)'
result 'tagged lines are verified and counted by worker' $?

# --- wrong servers

# fault NAME STATUS PATTERN ARGUMENT... : FAULT [OFFSET] in $fault, the rest goes to echo_load
fault()
{
    name=$1
    shift
    # shellcheck disable=SC2086  # a name and an offset
    start_server "$faulty" $fault
    run_client 1 "$load" "$@" -w 0.5 "$address" && said "$pattern"
    result "$name" $?
}

fault='corrupt 700000' pattern='^connection 0: wrong: .* at offset 700000$'
fault 'a changed byte' -s 100000 -n 10
said 'messages=7 bytes=700000 .*errors=1 missing=1 '
result 'counts its message as missing, not those before' $?
pattern=': wrong: .* at offset 700000$'
fault 'the same with messages in flight' -s 64 -d 16 -n 100000 -c 3
said 'messages=32811 .*errors=3 missing=[1-9]'
result 'counts them all, on each connection' $?

fault='drop 1001' pattern=': wrong: .* at offset 1001$'
fault 'a lost byte' -s 64 -d 16 -n 1000

fault='truncate 100' pattern='^connection 0: short: the server closed the connection, 1 replies missing$'
fault 'replies that end too early' -s 40 -n 10
said '; 1 replies missing; 7 messages never sent' ' messages=2 bytes=100 .*errors=1 missing=1 '
result 'what is missing is named' $?

fault='reset 100' pattern='^connection 0: reset: '
fault 'a reset' -s 40 -n 10

fault='stall 1000' pattern='^no progress for 0.5 s: 16 replies missing on 4 connections$'
fault 'a server that stops answering' -c 4 -d 4 -s 100 -n 1000
fault 'the same in a run by time' -c 4 -d 4 -s 100 -t 0.5

fault=extra pattern=': extra: a byte after offset 640,'
fault 'a byte too many' -s 64 -n 10

fault=refuse pattern='^connection 4: connect: Connection refused'
fault 'a port where nobody listens' -c 5 -n 10
pattern='^no progress for 0.5 s: 0 replies missing on 5 connections$'
fault 'which reconnecting does not hide' -R -c 5 -n 10

fault=badtag pattern=': wrong: no `\[worker PID\] '
fault 'a misspelt tag' -L -n 10

run_client 1 "$load" "unix:$tmp/nobody" && said 'connect: No such file'
result 'a Unix path where nobody is' $?

# --- reconnecting

for fault in 'reset 1000' 'truncate 1000'; do
    # shellcheck disable=SC2086  # a name and an offset
    start_server "$faulty" $fault
    run_client 0 "$load" -R -c 4 -s 64 -d 4 -n 400 "$address" &&
        said 'messages=400 bytes=25600 .*errors=0 .*lost_connections=[1-9].*resent_messages=[1-9]'
    result "with -R every message is answered though connections fall ($fault)" $?
done

# --- the command line

for wrong in '-c 0' '-c 5001' '-s 17M' '-d 0' '-n x' '-t 0' '-b' '-P 1x' '-Z'; do
    # shellcheck disable=SC2086  # an option and its value
    run_client 2 "$load" $wrong tcp:127.0.0.1:1
    result "wrong option $wrong" $?
done
for wrong in '' localhost:7 tcp:localhost:7 tcp:127.0.0.1 tcp:127.0.0.1:65536 'tcp:[::1:7' unix: 'tcp::7'; do
    run_client 2 "$load" "$wrong"
    result "wrong address '$wrong'" $?
done
run_client 0 "$load" --help && said '^usage: echo_load '
result '--help' $?

tap_end
