# SPDX-License-Identifier: BSD-2-Clause
# The line that closes every run says what happened.
. "$PFK_SRCDIR/tests/lib/tap.sh"

total="$PFK_SRCDIR/build-aux/total"
a=$TMPDIR/a.trs b=$TMPDIR/b.trs
printf ':test-result: PASS a 1\n:test-result: PASS a 2\n:recheck: no\n' >"$a"

printf ':test-result: XFAIL b 1 # TODO\n' >"$b"
tap_succeeds 'all passed' sh "$total" "$a" "$b"
tap_is 'its line' "$tap_output" '3 passed, 0 failed'

printf ':test-result: SKIP b 1\n' >"$b"
tap_succeeds 'one skipped' sh "$total" "$a" "$b"
tap_is 'its line' "$tap_output" '2 passed, 0 failed, 1 skipped'

for result in FAIL XPASS ERROR; do
    printf ':test-result: %s b 1\n' $result >"$b"
    tap_fails_with "$result is a failure" '2 passed, 1 failed' sh "$total" "$a" "$b"
done

: >"$b"
tap_fails_with 'an empty result is a failure' '2 passed, 1 failed' sh "$total" "$a" "$b"
rm "$b"
tap_fails_with 'a missing result is a failure' '2 passed, 1 failed' sh "$total" "$a" "$b"
tap_fails_with 'no result at all is a failure' '0 passed, 1 failed' sh "$total"
rm "$a"
tap_end
