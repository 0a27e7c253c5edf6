# SPDX-License-Identifier: BSD-2-Clause
# Each public header alone, in each language, with each compiler that is here;
# and the gate that says so can fail.
. "$PFK_SRCDIR/tests/lib/tap.sh"

gate=$PFK_SRCDIR/build-aux/check-headers
toy=$TMPDIR/toy

# The C++ and clang cases of the gate itself are counted by the gate run in CI.
names=$(cd "$PFK_SRCDIR/include" && find . -name '*.h' -o -name '*.h.in' | sed 's|^\./||; s|\.in$||' | LC_ALL=C sort -u)
for name in $names; do
    tap_succeeds "<$name> compiles alone" \
        sh "$gate" "$name" -- -I "$PFK_SRCDIR/include" -I "$PFK_BUILDDIR/include"
done

mkdir -p "$toy/prefork"
echo 'static inline uint32_t prefork_needs_stdint(void) { return 0; }' >"$toy/prefork/toy.h"
tap_fails_with 'caught: a header that leans on another' 'not ok' sh "$gate" prefork/toy.h -- -I "$toy"
echo 'enum prefork_twice { PREFORK_TWICE };' >"$toy/prefork/toy.h"
tap_fails_with 'caught: a header without a guard' 'not ok' sh "$gate" prefork/toy.h -- -I "$toy"
rm -rf "$toy"
tap_end
