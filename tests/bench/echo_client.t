# SPDX-License-Identifier: BSD-2-Clause
# echo_client gets its lines answered, also when connections fall, and does not
# take a wrong answer for a right one.
. "$PFK_SRCDIR/tests/bench/servers.sh"

client=$PFK_BUILDDIR/examples/echo_client
faulty=$PFK_BUILDDIR/tests/bench/faulty_server

start_server "$faulty" tag
run_client 0 "$client" -c 3 -n 4 -p 5 "$address" &&
    said '^conn 3: \[worker 1002\] hello 2 from connection 3$' '^workers that answered: 3, pids 100' \
        '^12 of 12 lines answered, 0 resent$'
result 'tagged lines on three connections' $?

run_client 0 "$client" -c 8 -n 500 -p 0 "$address" && said '^4000 of 4000 lines answered, 0 resent$'
result 'no pace' $?

start_server "$faulty" none
run_client 0 "$client" -n 3 -p 1 "$address" && said '^conn 4: hello 3 from' '^12 of 12 lines answered, 0 resent$'
result 'replies without a tag' $?

# Lines 1 to 3 have 26 bytes each.
for fault in 'reset 90' 'truncate 90'; do
    # shellcheck disable=SC2086  # a name and an offset
    start_server "$faulty" $fault
    run_client 0 "$client" -c 2 -n 8 -p 1 "$address" &&
        said '^conn 2 fell (its worker died.*); reconnecting, resending [1-9]' \
            '^16 of 16 lines answered, [1-9][0-9]* resent$'
    result "every line is answered though connections fall ($fault)" $?
done

start_server "$faulty" corrupt 30
run_client 1 "$client" -c 1 -n 3 -p 1 "$address" && said ': WRONG' '^1 of 3 lines answered, 0 resent$'
result 'a changed byte' $?

start_server "$faulty" badtag
run_client 1 "$client" -c 1 -n 3 -p 1 "$address" && said ': WRONG' '^0 of 3 lines answered'
result 'a misspelt tag' $?

for wrong in '-c 0' '-n x' '-p -1' '-Z'; do
    # shellcheck disable=SC2086  # an option and its value
    run_client 2 "$client" $wrong tcp:127.0.0.1:1
    result "wrong option $wrong" $?
done
run_client 2 "$client" tcp:localhost:7
result 'wrong address' $?
run_client 0 "$client" --help && said '^usage: echo_client '
result '--help' $?

tap_end
