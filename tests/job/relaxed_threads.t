#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Mutants of the memory orders: the threads test, built with atomics that order
# nothing, must be reported by ThreadSanitizer; a build that reports nothing then
# would prove nothing when the real one is silent.
. "$PFK_SRCDIR/tests/lib/tap.sh"

reported()
{
    CK_FORK=no TSAN_OPTIONS='halt_on_error=1 exitcode=66' tests/job/relaxed_threads$2 >"$TMPDIR/report" 2>&1
    if grep -q 'WARNING: ThreadSanitizer: data race' "$TMPDIR/report"; then
        tap_ok "mutant: $1: caught: $(sed -n 's/^ *#[0-9]* \([a-z_]*\) .*/\1/p' "$TMPDIR/report" | head -n 1)"
    else
        tap_not_ok "mutant: $1: not caught" "$(head -n 20 "$TMPDIR/report")"
    fi
}

if [ ! -x tests/job/relaxed_threads ]; then
    echo '1..0 # SKIP not a build with --enable-sanitizer=thread'
    exit 0
fi
reported 'no order at all' ''
reported 'no order but that of fences' '_but_fences'
rm -f "$TMPDIR/report"
tap_end
