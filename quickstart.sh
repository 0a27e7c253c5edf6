#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The two commands of the README:
#
#     sh quickstart.sh echo     see it work: an echo pool, a client, a killed worker
#     sh quickstart.sh check    run all tests; the last line is "N passed, N failed"
#
# Each installs the Debian packages that are missing, and only then needs the
# network and root or sudo. Everything else stays in ./build and in the files that
# autogen.sh makes. Both can be run again at any time.
set -u

tree=$(cd "$(dirname "$0")" && pwd) || exit 1
build=$tree/build
mode=${1-}
# for the reader's eyes as well as for the tests of the texts
LC_ALL=C
export LC_ALL
unset MAKEFLAGS MFLAGS MAKELEVEL

say()
{
    printf '%s\n' "$*"
}

step()
{
    printf '\n==> %s\n' "$*"
}

# die WHAT REMEDY: says both and ends; a check that cannot run is a failed one.
die()
{
    printf '\nquickstart: failed: %s\n            remedy: %s\n' "$1" "$2" >&2
    [ "$mode" != check ] || say '0 passed, 1 failed'
    exit 1
}

# run REMEDY COMMAND...: the command is shown, its output only when it fails.
run()
{
    remedy=$1
    shift
    say "    \$ $*"
    "$@" >"$build/quickstart.log" 2>&1 </dev/null && return
    status=$?
    tail -n 40 "$build/quickstart.log"
    die "$* (exit status $status; its whole output: build/quickstart.log)" "$remedy"
}

# --- what is needed ------------------------------------------------------------

packages_for()
{
    echo gcc libc6-dev make autoconf automake libtool pkgconf libev-dev libhttp-parser-dev
    [ "$1" != check ] || echo check curl
}

is_installed()
{
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages()
{
    step "installing what is missing: $*"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "packages are missing and there is no sudo: $*" \
            "as root: apt-get update && apt-get install $*"
        as_root=sudo
    fi
    # stdin is closed to apt, so nothing there can wait for an answer
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3"
    remedy="see what apt-get said above; is there a network, and are the package sources right? Or by hand, as root: apt-get install $*"
    # shellcheck disable=SC2086  # a command with its arguments
    run "$remedy" $apt update
    # shellcheck disable=SC2086
    run "$remedy" $apt install --no-install-recommends "$@"
}

provide_packages()
{
    step "looking for what the build needs"
    if ! command -v dpkg-query >/dev/null 2>&1; then
        say "    no Debian here; needed are the likes of: $(packages_for "$mode" | tr '\n' ' ')"
        return
    fi
    missing=
    for package in $(packages_for "$mode"); do
        is_installed "$package" || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        say "    all there: $(packages_for "$mode" | tr '\n' ' ')"
    else
        # shellcheck disable=SC2086  # a list
        install_packages $missing
    fi
}

# --- building -------------------------------------------------------------------

configure_flags()
{
    echo "--prefix=$build/installed"
    [ "${CI-}" != true ] || echo "--enable-werror"
}

# What the present configuration was made for; another compiler, or a library that
# has come since, asks for a new one.
configuration()
{
    configure_flags
    ${CC:-gcc} --version 2>/dev/null | head -n 1
    pkg-config --modversion check 2>/dev/null || echo 'no check'
    [ -f /usr/include/http_parser.h ] && echo http
}

configure_tree()
{
    cd "$tree" || exit 1
    if [ -f config.status ]; then
        die 'the source tree is configured itself, which shuts out a build beside it' \
            "in $tree: make distclean"
    fi
    if [ ! -f configure ]; then
        run 'are autoconf, automake, libtool and pkgconf whole? Reinstall them' ./autogen.sh
    fi
    cd "$build" || exit 1
    configuration >quickstart.new
    if [ -f config.status ] && cmp -s quickstart.new quickstart.configuration; then
        rm -f quickstart.new
        say '    configured already'
        return
    fi
    rm -f quickstart.configuration
    # shellcheck disable=SC2046  # a list of flags
    run 'configure names the cause in its last lines; details are in build/config.log' \
        ../configure -q $(configure_flags)
    mv quickstart.new quickstart.configuration
}

build_targets() # TARGET...
{
    step "building in $build"
    configure_tree
    run 'read the first error above; "rm -rf build" begins anew' make -s "-j$(getconf _NPROCESSORS_ONLN)" "$@"
}

prepare()
{
    case $tree in
    *[!A-Za-z0-9_./+,@:~-]*) die "the path $tree" 'make and libtool can not handle blanks and the like in it; move the tree' ;;
    esac
    mkdir -p "$build" 2>/dev/null && [ -w "$build" ] || die "no way to write in $build" 'it belongs to another user; remove it, or be that user'
    provide_packages
}

# --- echo ------------------------------------------------------------------------

pool_pid=
client_pid=

# Whatever ends this script, the pool and the client end with it.
end_children()
{
    [ -z "$client_pid" ] || kill "$client_pid" 2>/dev/null
    [ -z "$pool_pid" ] || kill "$pool_pid" 2>/dev/null
    wait
    rm -f "$build/pool.fifo" "$build/client.fifo"
}

# Starts the pool with its output on descriptor 4; sets pool_pid, address and
# workers, the processes that it tells of.
start_pool()
{
    rm -f "$build/pool.fifo"
    mkfifo "$build/pool.fifo" || die "mkfifo $build/pool.fifo" 'does that file system take named pipes?'
    say '    $ build/examples/echo_pool -w 2 -i 1 -j 2 -t -v -l tcp:127.0.0.1:0'
    timeout --foreground -k 10 120 "$build/examples/echo_pool" -w 2 -i 1 -j 2 -t -v -l tcp:127.0.0.1:0 \
        >"$build/pool.fifo" 2>"$build/pool.log" </dev/null &
    pool_pid=$!
    exec 4<"$build/pool.fifo"
    address='' workers=''
    # shellcheck disable=SC2086  # counting the words of a list
    while { [ -z "$address" ] || [ "$(set -- $workers; echo $#)" -lt 2 ]; } && IFS= read -r line <&4; do
        say "    $line"
        case $line in
        'listening on '*) address=${line#listening on } ;;
        'worker '*' pid '*) workers="$workers ${line##* }" ;;
        esac
    done
    case $address:$workers in
    '':* | *:'')
        cat "$build/pool.log"
        die 'the echo pool did not start' 'read what it said above'
        ;;
    esac
}

# How many sockets a process holds; 0 where there is no /proc to tell.
sockets_of()
{
    ls -l "/proc/$1/fd" 2>/dev/null | grep -c 'socket:'
}

# Kills the worker that holds the most connections and was not killed yet: the
# connections go to who accepts first, so one worker may have none.
kill_a_worker()
{
    victim='' most=-1
    for pid in $workers; do
        case " $killed " in
        *" $pid "*) continue ;;
        esac
        sockets=$(sockets_of "$pid")
        [ "$sockets" -gt $most ] && victim=$pid most=$sockets
    done
    [ -n "$victim" ] || return
    killed="$killed $victim"
    lines_since_kill=0
    printf '\n    ----------------------------------------------------------------------\n'
    say "    \$ kill -KILL $victim        # a worker, in the middle of its work"
    printf '    ----------------------------------------------------------------------\n\n'
    kill -KILL "$victim" || die "kill -KILL $victim" 'the worker was gone before; run it again'
}

# Takes one line of the client's; notes the workers that answer and what falls.
watch_client_line()
{
    say "    $1"
    lines_since_kill=$((lines_since_kill + 1))
    case $1 in
    *'[worker '*)
        pid=${1#*\[worker }
        pid=${pid%%]*}
        case $pid in
        '' | *[!0-9]*) return ;;
        esac
        answers=$((answers + 1))
        case " $answered_by " in
        *" $pid "*) ;;
        *) answered_by="$answered_by $pid" ;;
        esac
        ;;
    *' fell '*) fallen=$((fallen + 1)) ;;
    *' lines answered, '*) result=$1 ;;
    esac
}

talk_and_kill()
{
    connections=4 lines=15
    answered_by='' killed='' fallen=0 answers=0 lines_since_kill=0 result=''
    rm -f "$build/client.fifo"
    mkfifo "$build/client.fifo" || die "mkfifo $build/client.fifo" 'does that file system take named pipes?'
    say "    \$ build/examples/echo_client -c $connections -n $lines $address"
    timeout --foreground -k 5 100 "$build/examples/echo_client" -c $connections -n $lines "$address" \
        >"$build/client.fifo" 2>&1 </dev/null 4<&- &
    client_pid=$!
    exec 3<"$build/client.fifo"
    while IFS= read -r line <&3; do
        watch_client_line "$line"
        # A third of the way in. Where nothing fell with it, for the worker held no
        # connection, the other one is next.
        if [ $answers -ge $((connections * lines / 3)) ] && [ $fallen = 0 ] &&
            { [ -z "$killed" ] || [ $lines_since_kill -ge $connections ]; }; then
            kill_a_worker
        fi
    done
    exec 3<&-
    wait "$client_pid"
    client_status=$?
    client_pid=
}

stop_pool()
{
    step 'stopping it'
    say '    $ kill -TERM (the pool)'
    kill "$pool_pid"
    while IFS= read -r line <&4; do
        say "    $line"
    done
    exec 4<&-
    wait "$pool_pid"
    pool_status=$?
    pool_pid=
}

judge_echo()
{
    # shellcheck disable=SC2086  # a list
    set -- $answered_by
    total=$((connections * lines))
    [ "$client_status" = 0 ] || die "the client ended with status $client_status" 'read its last lines above'
    case $result in
    "$total of $total lines answered, "*) ;;
    *) die "not every line was answered: $result" 'read the lines above, and build/pool.log' ;;
    esac
    [ $# -ge 2 ] || die "only $# worker answered" 'is the machine very busy? Run it again'
    [ $fallen -ge 1 ] || die 'no connection fell, though a worker was killed' 'read build/pool.log'
    [ "$pool_status" = 0 ] || die "the pool ended with status $pool_status" 'read build/pool.log'
}

run_echo()
{
    build_targets examples
    trap end_children EXIT
    trap 'exit 1' HUP INT TERM
    step 'starting an echo pool: 2 workers, each with 1 I/O thread and 2 job threads'
    start_pool
    step "sending lines over 4 connections; each reply names the worker that made it"
    talk_and_kill
    stop_pool
    judge_echo
    step 'what you saw'
    say "    replies came from the workers$answered_by"
    say "    killed by SIGKILL:$killed; connections that fell with it: $fallen; the client opened them again"
    say "    $result"
    step 'by hand, in two terminals'
    say '    build/examples/echo_pool -t -l tcp:127.0.0.1:7007'
    say '    build/examples/echo_client tcp:127.0.0.1:7007'
    printf '\n%s\n' "$result"
}

# --- check -----------------------------------------------------------------------

run_check()
{
    jobs=$(getconf _NPROCESSORS_ONLN)
    build_targets all
    step 'running the tests (one line for each that does not pass)'
    say "    \$ make -C build -j$jobs check"
    cd "$build" || exit 1
    # a result of an earlier run must not stand in for a test that cannot be built now
    find . -name '*.trs' -exec rm -f {} +
    rm -f check.status test-suite.log
    { make -s "-j$jobs" check </dev/null; echo $? >check.status; } 2>&1 | tee check.log |
        awk '/^(FAIL|ERROR|XPASS|SKIP)/ || (/error:|\*\*\*/ && !/^PASS/) { print "    " $0 }'
    status=$(cat check.status)
    if [ "$status" != 0 ]; then
        step 'what failed'
        log=check.log
        [ ! -s test-suite.log ] || log=test-suite.log
        sh "$tree/build-aux/failures" $log | tail -n 200
        say '    all of it: build/test-suite.log; one test again: make -C build check TESTS=tests/...'
    fi
    printf '\n'
    # without what make says of it: the total is the last line
    total=$(make -s check-total 2>total.log) || status=1
    sed '/^make/d' total.log >&2
    say "$total"
    [ "$status" = 0 ]
}

case $mode in
echo)
    prepare
    run_echo
    ;;
check)
    prepare
    run_check
    ;;
*)
    say 'usage: sh quickstart.sh echo|check' >&2
    say '  echo   build, start an echo pool, talk to it, kill a worker, look what happens' >&2
    say '  check  build, run all tests; the last line is "N passed, N failed"' >&2
    exit 2
    ;;
esac
