#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# examples/shared_record: what the second run sees, each case of a segment that exists already, and a hundred runs at
# once. The default key is used only where the IPC namespace is the test's own.
. "$PFK_SRCDIR/tests/lib/tap.sh"

record=$PFK_BUILDDIR/examples/shared_record
key=0x54$(od -An -N3 -tx1 /dev/urandom | tr -d ' ')
out=${TMPDIR:-/tmp}/shared_record.$$

# The segment under our key goes, whatever was left.
end()
{
    ipcrm -M "$key" 2>/dev/null
    rm -f "$out"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

# name_of ID: 63 equal characters chosen by the id
name_of()
{
    printf '%063d' 0 | tr 0 "$(printf "\\$(printf %o $((65 + $1 % 26)))")"
}

# ---- two runs
tap_succeeds "the first run makes the segment" "$record" -k "$key" --keep 1 ada
id=$(printf '%s\n' "$tap_output" | sed -n 's/^segment \([0-9]*\) .*/\1/p')
tap_is "it shows the id, what it found and what it wrote" "$tap_output" "segment $id key $key created
found id 0 name \"\"
wrote id 1 name \"ada\""
tap_succeeds "the second run takes it" "$record" -k "$key" 2 bob
tap_is "it finds what the first one left" "$tap_output" "segment $id key $key found
found id 1 name \"ada\"
wrote id 2 name \"bob\""
tap_succeeds "without --keep it was removed" "$record" -k "$key" -- -3 "$(name_of 3)"
case $tap_output in
*' created
found id 0 name ""'*) tap_ok "so the third run starts afresh" ;;
*) tap_not_ok "so the third run starts afresh" "$tap_output" ;;
esac

# ---- the defaults
if unshare -i true 2>/dev/null; then
    tap_succeeds "key and mode have their defaults" \
        unshare -i sh -c '"$0" --keep 1 ada && ipcs -m | grep 0x && "$0" 2 bob' "$record"
    case $tap_output in
    *'key 0x7a2f created'*'0x00007a2f '*' 640 '*'found id 1 name "ada"'*) tap_ok "0x7a2f and 0640" ;;
    *) tap_not_ok "0x7a2f and 0640" "$tap_output" ;;
    esac
else
    tap_skip "key and mode have their defaults" "no IPC namespace to use the default key in"
fi

# ---- arguments
tap_fails_with "an id that is no number is told" "id 'x' is not a number" "$record" -k "$key" x ada
tap_fails_with "an id beyond 64 bits is told" "too large for 64 bits" "$record" -k "$key" 9223372036854775808 ada
tap_fails_with "a name of 64 bytes is told" "the name has 64 bytes; at most 63 fit" \
    "$record" -k "$key" 1 "$(name_of 1)x"
tap_fails_with "a missing name is told" "usage:" "$record" -k "$key" 1
tap_fails_with "one argument too many is told" "usage:" "$record" -k "$key" 1 ada x
tap_fails_with "a key that is no number is told" "key 'zz' is not a number" "$record" -k zz 1 ada
tap_fails_with "a reserved key is told" "kept for private segments" "$record" -k 0x70660001 1 ada
tap_fails_with "a mode that is not octal is told" "mode '0980' is not an octal" "$record" -k "$key" -p 0980 1 ada
tap_fails_with "an unknown option is told" "usage:" "$record" -k "$key" --what 1 ada

# ---- a segment that exists already
tap_succeeds "a segment with wider permissions is made" "$record" -k "$key" -p 0660 --keep 1 ada
tap_fails_with "it is refused by default, with the remedy" "has mode 0660, which grants more than 0640; ask for mode" \
    "$record" -k "$key" 2 bob
tap_succeeds "and taken when they are asked for" "$record" -k "$key" -p 0660 2 bob

# perl is part of every Debian; it makes segments as other programs would
if perl -e 1 2>/dev/null; then
    foreign()
    {
        perl -e 'my ($key, $size, $mode, $text) = @ARGV;
            my $id = shmget(oct $key, $size, 01000 | 02000 | oct $mode); defined $id or die "shmget: $!";
            shmwrite($id, $text, 0, length $text) or die "shmwrite: $!" if length $text;' "$key" "$@"
    }
    foreign 100 0600 ''
    tap_fails_with "a segment of another size is refused, with the remedy" "ipcrm -m" "$record" -k "$key" 1 ada
    case $tap_output in
    *'has 100 bytes, '*' are wanted'*) tap_ok "both sizes are told" ;;
    *) tap_not_ok "both sizes are told" "$tap_output" ;;
    esac
    size=$(printf '%s\n' "$tap_output" | sed -n 's/.*bytes, \([0-9]*\) are wanted.*/\1/p')
    ipcrm -M "$key"
    foreign "$size" 0600 "something else"
    tap_fails_with "a stranger's contents are refused, with the remedy" "not made by this library" \
        "$record" -k "$key" 1 ada
    ipcrm -M "$key"
    foreign "$size" 0600 ''
    tap_succeeds "one whose maker died before it was finished is made anew" "$record" -k "$key" 1 ada
    case $tap_output in
    *created*) tap_ok "and is a new one" ;;
    *) tap_not_ok "and is a new one" "$tap_output" ;;
    esac
    if [ "$(id -u)" = 0 ]; then
        perl -e '$> = 65534; defined shmget(oct $ARGV[0], $ARGV[1], 01000 | 02000 | 0640) or die "shmget: $!"' \
            "$key" "$size"
        tap_fails_with "a segment of another owner is refused, with the remedy" "is owned by uid 65534" \
            "$record" -k "$key" 1 ada
        ipcrm -M "$key"
    else
        tap_skip "a segment of another owner is refused, with the remedy" "needs root"
    fi
else
    tap_skip "segments made by other programs" "no perl to make them"
fi

# ---- a hundred at once

# hundred [--keep]: all of them, into $out; none may fail
hundred()
{
    : >"$out"
    run=1 runs=
    while [ $run -le 100 ]; do
        "$record" -k "$key" ${1+"$1"} $run "$(name_of $run)" >>"$out" 2>&1 &
        runs="$runs $!"
        run=$((run + 1))
    done
    hundred_failed=0
    for run in $runs; do
        wait "$run" || hundred_failed=$((hundred_failed + 1))
    done
}

# complaints: whatever they said beside their three lines
complaints()
{
    grep -vE '^(segment|found|wrote) ' "$out"
}

# torn: how many records were found whose name is not the id's
torn()
{
    "${AWK:-awk}" '/^found id/ {
        id = $3; name = $5; gsub(/"/, "", name)
        want = ""
        if (id != 0) { c = sprintf("%c", 65 + id % 26); for (i = 0; i < 63; i++) want = want c }
        if (name != want) torn++
    } END { print torn + 0 }' "$out"
}

# A run that finds another's segment asks /proc whether its maker lives.
if [ ! -r /proc/self/stat ]; then
    tap_skip "a hundred at once" "there is no /proc"
    tap_end
fi
hundred --keep
tap_is "a hundred at once: none fails" "$hundred_failed $(complaints)" "0 "
tap_is "a hundred at once: one makes the segment" "$(grep -c ' created$' "$out")" 1
tap_is "a hundred at once: no record is torn" "$(torn)" 0
tap_is "a hundred at once: each record is found once, but for the last" \
    "$(sed -n 's/^found id \([0-9]*\) .*/\1/p' "$out" | sort -u | wc -l | tr -d ' ')" 100
tap_succeeds "the last one is found whole" "$record" -k "$key" 0 end
printf '%s\n' "$tap_output" >"$out"
tap_is "and its name is its id's" "$(torn)" 0
hundred
tap_is "a hundred that remove it: none fails" "$hundred_failed $(complaints)" "0 "
tap_is "a hundred that remove it: no record is torn" "$(torn)" 0
tap_fails_with "a hundred that remove it: nothing is left" "" ipcrm -M "$key"
tap_end
