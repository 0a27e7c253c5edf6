# SPDX-License-Identifier: BSD-2-Clause
# http_hello as its clients meet it: curl, ab, wrk, h2load, hey, siege, and bytes by hand.
. "$PFK_SRCDIR/tests/http/clients.sh"

needs_http http_hello

hello=$PFK_BUILDDIR/examples/http_hello

# -- curl
if command -v curl >/dev/null 2>&1; then
    for listen in tcp:127.0.0.1:0 "unix:$tmp/sock"; do
        start_http "$hello" -l "$listen" -w 2 -i 1 -j 1
        for path in / /job; do
            tap_is "curl ${listen%%:*} $path" "$(fetch "$path")" hello
            tap_is "curl ${listen%%:*} $path, the answer's head" "$(fetch $path -I | tr -d '\r' | sed 's/^Date: .*GMT$/Date: then/')" \
                'HTTP/1.1 200 OK
Date: then
Content-Length: 6
Content-Type: text/plain'
        done
        tap_is "curl ${listen%%:*}: HTTP/1.0" "$(fetch / -0 -w '%{http_version} %{http_code}' -o "$tmp/body")" '1.1 200'
        end_server
    done

    start_http "$hello" -H 'X-Own: a: b' -l tcp:127.0.0.1:0 -w 2 -i 1 -j 1
    for path in / /job; do
        tap_is "a header of its own, $path" "$(fetch $path -I | tr -d '\r' | sed -n 's/^X-Own: //p')" 'a: b'
    done
    tap_is 'a body comes back from a job' "$(fetch /job -d 'a body')" 'a body'
    tap_is 'in chunks too' "$(fetch /job -d 'a body' -H 'Transfer-Encoding: chunked')" 'a body'
    head -c 5000 /dev/urandom >"$tmp/5000"
    fetch /job --data-binary "@$tmp/5000" -H 'Expect: 100-continue' >"$tmp/body" && cmp -s "$tmp/5000" "$tmp/body"
    tap_is '5,000 bytes, after 100 Continue' $? 0
    fetch /job --data-binary "@$tmp/5000" -H 'Transfer-Encoding: chunked' >"$tmp/body" && cmp -s "$tmp/5000" "$tmp/body"
    tap_is '5,000 bytes in chunks' $? 0
    head -c 9000 /dev/zero >"$tmp/9000"
    tap_is 'a body too large' "$(fetch /job --data-binary "@$tmp/9000" -w '%{http_code}' -o "$tmp/body")" 413
    tap_is 'a body too large, in chunks' \
        "$(fetch /job --data-binary "@$tmp/9000" -H 'Transfer-Encoding: chunked' -w '%{http_code}' -o "$tmp/body")" 413
    tap_is 'a header too large' "$(fetch / -H "X: $(printf '%09000d' 0)" -w '%{http_code}' -o "$tmp/body")" 431
    tap_is 'a target too long' "$(fetch "/$(printf '%09000d' 0)" -w '%{http_code}' -o "$tmp/body")" 414
    tap_is '100 requests on one connection' \
        "$(fetch '/job?[1-100]' -w '%{num_connects}\n' | grep -v hello | awk '{ n += $1 } END { print n }')" 1
    end_server
else
    tap_skip 'curl' 'there is no curl here'
fi

# -- bytes by hand
if command -v python3 >/dev/null 2>&1; then
    start_http "$hello" -l tcp:127.0.0.1:0 -w 1 -i 1 -j 2
    tap_succeeds 'pipelined requests, bad ones, cut ones' \
        python3 "$PFK_SRCDIR/tests/http/by_hand.py" "${address#tcp:}"
    end_server
    tap_is 'and the server ends with 0' $? 0
else
    tap_skip 'pipelined requests, bad ones, cut ones' 'there is no python3 here'
fi

# -- load
start_http "$hello" -l tcp:127.0.0.1:0 -w 2 -i 1 -j 2
for path in / /job; do
    if command -v ab >/dev/null 2>&1; then
        run_client 0 ab -q -k -n 3000 -c 16 "$base$path" && said '^Complete requests: *3000$' '^Failed requests: *0$' \
            '^Keep-Alive requests: *3000$' && ! said 'Non-2xx'
        result "ab -k $path" $?
        run_client 0 ab -q -n 500 -c 16 "$base$path" && said '^Complete requests: *500$' '^Failed requests: *0$' && ! said 'Non-2xx'
        result "ab $path, a connection each" $?
    else
        tap_skip "ab $path" 'there is no ab here'
    fi
    if command -v wrk >/dev/null 2>&1; then
        run_client 0 wrk -t 1 -c 32 -d 1s "$base$path" && said 'requests in' && ! said 'Non-2xx' && ! said 'Socket errors'
        result "wrk $path" $?
    else
        tap_skip "wrk $path" 'there is no wrk here'
    fi
    if command -v h2load >/dev/null 2>&1; then
        run_client 0 h2load --h1 -n 3000 -c 16 -m 8 "$base$path" && said ' 3000 succeeded, 0 failed, 0 errored, 0 timeout' \
            '^status codes: 3000 2xx, 0 3xx, 0 4xx, 0 5xx'
        result "h2load --h1, 8 at a time, $path" $?
    else
        tap_skip "h2load $path" 'there is no h2load here'
    fi
    if command -v hey >/dev/null 2>&1; then
        run_client 0 hey -n 3200 -c 16 "$base$path" && said '\[200\][[:space:]]*3200 responses' && ! said 'Error distribution'
        result "hey $path" $?
        run_client 0 hey -disable-keepalive -n 320 -c 16 "$base$path" && said '\[200\][[:space:]]*320 responses' &&
            ! said 'Error distribution'
        result "hey $path, a connection each" $?
    else
        tap_skip "hey $path" 'there is no hey here'
    fi
    if command -v siege >/dev/null 2>&1; then
        # it writes its configuration to HOME
        run_client 0 env HOME="$tmp" siege -b -c 8 -r 50 --no-parser -H 'Connection: keep-alive' "$base$path" &&
            said 'uccessful.transactions"*:[[:space:]]*400' 'ailed.transactions"*:[[:space:]]*0\>'
        result "siege $path" $?
    else
        tap_skip "siege $path" 'there is no siege here'
    fi
done
end_server
tap_is 'ends with 0 at SIGTERM' $? 0

tap_fails_with 'a header that is none' 'is no header' "$hello" -H X-Own
tap_fails_with 'an argument too many' 'usage: http_hello' "$hello" more
tap_end
