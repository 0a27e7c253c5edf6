# SPDX-License-Identifier: BSD-2-Clause
# build-aux/run-test fails a test for each thing that it leaves behind, and for
# nothing else.
. "$PFK_SRCDIR/tests/lib/tap.sh"

run_test=$PFK_BUILDDIR/build-aux/run-test
misbehave=$PFK_BUILDDIR/tests/project/misbehave

passes() # WHAT ACT
{
    tap_succeeds "passed: $1" "$run_test" --tap "$misbehave" "$2"
    case $tap_output in
    *'Bail out'*) tap_not_ok "nothing to say: $1" "$tap_output" ;;
    *) tap_ok "nothing to say: $1" ;;
    esac
}

fails() # WHAT TEXT ACT
{
    tap_fails_with "failed: $1" "$2" "$run_test" --tap "$misbehave" "$3"
}

says() # WHAT TEXT: in what came last
{
    case $tap_output in
    *"$2"*) tap_ok "$1" ;;
    *) tap_not_ok "$1" "$tap_output" ;;
    esac
}

passes 'a test that behaves' behave
passes 'a segment that it removed' remove-segment
fails 'its exit status' 'Bail out! exit status 3' exit-3
fails 'its death by a signal' 'Bail out! killed by signal 6' abort

passes 'a point that it failed itself, for the harness counts it' fail-a-point
tap_fails_with 'failed: the same without a harness' 'exit status 1' "$run_test" "$misbehave" fail-a-point

passes 'words on standard error' say-on-stderr
says 'they become comments' '# not ok - said aside'
says 'an unfinished line too' '# unfinished'

exec 7</dev/null
passes 'a descriptor more in the one who runs it' count-fds
says 'it is not handed on' '# 3 descriptors'
exec 7<&-

fails 'a segment' 'left segment' leave-segment
fails 'a segment whose maker nobody waited for' 'left segment' leave-segment-of-orphan
fails 'a semaphore set' 'left semaphore set' leave-semaphores
PFK_RUN_TEST_IPC=pid
export PFK_RUN_TEST_IPC
fails 'a segment, without a namespace' "(told by its maker's pid)" leave-segment
fails 'a segment whose maker nobody waited for, without a namespace' 'left segment' leave-segment-of-orphan
fails 'a semaphore set, without a namespace' "(told by its last user's pid)" leave-semaphores

# While a test runs, somebody else makes a segment: not the test's fault.
mkfifo "$TMPDIR/begun" "$TMPDIR/go"
cat >"$TMPDIR/waits" <<END
echo begun >"$TMPDIR/begun"
read word <"$TMPDIR/go"
END
"$run_test" sh "$TMPDIR/waits" >"$TMPDIR/output" &
waits=$!
read -r word <"$TMPDIR/begun"
tap_is 'the other test has begun' "$word" begun
segment=$("$misbehave" print-segment)
echo go >"$TMPDIR/go"
wait $waits
tap_is "a stranger's segment is not the test's fault" "$?$(cat "$TMPDIR/output")" 0
ipcrm -m "$segment"
tap_is 'and is left alone' $? 0
unset PFK_RUN_TEST_IPC
rm -f "$TMPDIR/begun" "$TMPDIR/go" "$TMPDIR/waits" "$TMPDIR/output"

if [ -d /proc/self ]; then
    fails 'a process that closed everything' '(misbehave)' leave-process
    left=$(printf '%s\n' "$tap_output" | sed -n 's/.*left process \([0-9]*\).*/\1/p')
    tap_is 'it is ended' "$(kill -0 "$left" 2>&1 && echo alive)" "$(kill -0 "$left" 2>&1)"
    fails 'a process with a child' 'left process' leave-family
    tap_is 'both are told' "$(printf '%s\n' "$tap_output" | grep -o '(misbehave)' | wc -l | tr -d ' ')" 2

    PFK_TEST_DEADLINE=0.3
    export PFK_TEST_DEADLINE
    fails 'a test that hangs' 'the deadline of' hang
    says 'what it had printed is there' 'not the end of a line'
    PFK_TEST_DEADLINE=never
    tap_fails_with 'a deadline that is no number is told' 'no positive number' "$run_test" "$misbehave" behave
    unset PFK_TEST_DEADLINE
else
    tap_skip 'processes left behind' 'there is no /proc'
fi

tap_fails_with 'failed: a file' 'left file secret in TMPDIR' "$run_test" sh -c 'echo x >"$TMPDIR/secret"'
tap_fails_with 'failed: a folder' 'left file folder in TMPDIR' \
    "$run_test" sh -c 'mkdir -p "$TMPDIR/folder/inner"; echo x >"$TMPDIR/folder/inner/file"; chmod a-r "$TMPDIR/folder/inner/file"'
tap_fails_with 'failed: a TMPDIR that is gone' 'removed its TMPDIR' "$run_test" sh -c 'rmdir "$TMPDIR"'
tap_is 'all of it is removed' "$(ls -A "$TMPDIR")" ''
if [ -w /dev/shm ]; then
    tap_fails_with 'failed: a file in /dev/shm' "left /dev/shm/prefork.$$" "$run_test" sh -c ": >/dev/shm/prefork.$$"
    rm -f "/dev/shm/prefork.$$"
else
    tap_skip 'failed: a file in /dev/shm' 'it cannot be written'
fi

tap_fails_with 'a program that is not there' 'No such file' "$run_test" ./no-such-test
tap_fails_with 'no program at all' 'usage:' "$run_test"
tap_end
