# SPDX-License-Identifier: BSD-2-Clause
# TAP for shell tests: . "$PFK_SRCDIR/tests/lib/tap.sh", then points, then
# tap_end. All of it in the shell itself.
tap_points=0
tap_failed=0

# tap_ok WHAT / tap_not_ok WHAT [DETAIL]: one point.
tap_ok()
{
    tap_points=$((tap_points + 1))
    echo "ok $tap_points - $1"
}

tap_not_ok()
{
    tap_points=$((tap_points + 1))
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_points - $1"
    [ -z "${2-}" ] || printf '%s\n' "$2" | sed 's/^/# /'
}

# tap_skip WHAT REASON: one point that could not be tried.
tap_skip()
{
    tap_points=$((tap_points + 1))
    echo "ok $tap_points - $1 # SKIP $2"
}

# tap_succeeds WHAT COMMAND...: the command ends with 0. Its output is kept in
# tap_output, and shown when it does not.
tap_succeeds()
{
    tap_what=$1
    shift
    if tap_output=$("$@" 2>&1); then
        tap_ok "$tap_what"
    else
        tap_not_ok "$tap_what" "exit status $? of: $*
$tap_output"
    fi
}

# tap_fails_with WHAT TEXT COMMAND...: the command fails and says TEXT.
tap_fails_with()
{
    tap_what=$1 tap_text=$2
    shift 2
    if tap_output=$("$@" 2>&1); then
        tap_not_ok "$tap_what" "it did not fail: $*
$tap_output"
        return
    fi
    case $tap_output in
    *"$tap_text"*) tap_ok "$tap_what" ;;
    *) tap_not_ok "$tap_what" "it does not say \"$tap_text\": $*
$tap_output" ;;
    esac
}

# tap_is WHAT GOT WANTED
tap_is()
{
    if [ "$2" = "$3" ]; then
        tap_ok "$1"
    else
        tap_not_ok "$1" "got:    $2
wanted: $3"
    fi
}

# The plan, last.
tap_end()
{
    echo "1..$tap_points"
    exit $((tap_failed > 0))
}
