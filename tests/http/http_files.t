# SPDX-License-Identifier: BSD-2-Clause
# http_files: what is below the directory, nothing else.
. "$PFK_SRCDIR/tests/http/clients.sh"

needs_http http_files
command -v curl >/dev/null 2>&1 || { tap_skip 'http_files' 'there is no curl here'; tap_end; }

www=$tmp/www
mkdir -p "$www/sub/deep" "$www/.hidden" "$tmp/outside"
printf '<p>index\n' >"$www/index.html"
printf 'plain text\n' >"$www/a b.txt"
printf 'deep\n' >"$www/sub/deep/file"
printf '<p>sub\n' >"$www/sub/index.html"
: >"$www/empty.css"
echo hidden >"$www/.hidden/file"
echo hidden >"$www/.file"
echo secret >"$tmp/outside/secret"
ln -s ../outside/secret "$www/out"
ln -s ../outside "$www/outdir"
ln -s "$tmp/outside/secret" "$www/absolute"
ln -s sub/deep/file "$www/in"
mkfifo "$www/pipe"
head -c 3000000 /dev/urandom >"$www/big"

start_http "$PFK_BUILDDIR/examples/http_files" -l tcp:127.0.0.1:0 -w 2 -i 1 -j 1 "$www"

status_of() # PATH [CURL-OPTION]...
{
    fetch "$@" -o "$tmp/body" -w '%{http_code}'
}

header_of() # NAME PATH [CURL-OPTION]...
{
    name=$1
    shift
    fetch "$@" -o "$tmp/body" -D - | tr -d '\r' | sed -n "s/^$name: //p"
}

# -- what is there
tap_is 'the index' "$(fetch /)" '<p>index'
tap_is 'the index of a folder' "$(fetch /sub/)" '<p>sub'
tap_is 'a folder without slash is redirected' "$(status_of /sub) $(header_of Location /sub)" '301 /sub/'
tap_is 'a folder without index' "$(status_of /sub/deep/)" 404
tap_is 'an escaped name' "$(fetch /a%20b.txt)" 'plain text'
tap_is 'a query is not part of it' "$(fetch '/index.html?a=b')" '<p>index'
tap_is 'two slashes are one' "$(fetch //sub//deep/file)" deep
tap_is 'a link that stays inside' "$(fetch /in)" deep
tap_is 'an empty file' "$(fetch /empty.css -w '%{http_code} %{size_download}')" '200 0'
tap_is 'types' "$(header_of Content-Type /), $(header_of Content-Type /empty.css), $(header_of Content-Type /big)" \
    'text/html, text/css, application/octet-stream'
fetch /big | cmp -s - "$www/big"
tap_is '3 MB' $? 0
fetch /big --limit-rate 6M | cmp -s - "$www/big"
tap_is '3 MB to a slow client' $? 0
tap_is 'HEAD' "$(header_of Content-Length /big -I)" 3000000
tap_is 'another method' "$(status_of / -d x) $(header_of Allow / -d x)" '405 GET, HEAD'

# -- what is not
for path in /nothing /.file /.hidden/file /sub/.. /../outside/secret /sub/../../outside/secret /%2e%2e/outside/secret \
    /sub/%2e%2e/%2e%2e/outside/secret /..%2foutside/secret /sub/..%2f..%2foutside/secret /out /outdir/secret /absolute \
    /pipe /index.html/ /index.html/x '/%00' '/index.html%00.txt' '/%zz' '/%2' '/%' "/$tmp/outside/secret" '/./index.html' \
    '/..' '/.' "/$(printf '%0300d' 0)"; do
    got=$(status_of "$path")
    case $got in
    400 | 404 | 414) tap_ok "not to be had: $(printf '%.40s' "$path")" ;;
    *) tap_not_ok "not to be had: $path" "$got $(cat "$tmp/body")" ;;
    esac
done

# -- ranges
tap_is 'a range' "$(fetch /a%20b.txt -r 2-4) $(status_of /a%20b.txt -r 2-4) $(header_of Content-Range /a%20b.txt -r 2-4)" \
    'ain 206 bytes 2-4/11'
tap_is 'a range to the end' "$(fetch /a%20b.txt -r 6-)" text
tap_is 'a range from the end' "$(fetch /a%20b.txt -r -5)" text
tap_is 'a range that is cut' "$(header_of Content-Range /a%20b.txt -r 6-1000)" 'bytes 6-10/11'
tap_is 'a longer end than there is' "$(header_of Content-Range /a%20b.txt -r -1000)" 'bytes 0-10/11'
tap_is 'a range that is not there' "$(status_of /a%20b.txt -r 11-) $(header_of Content-Range /a%20b.txt -r 11-)" '416 bytes */11'
tap_is 'an empty end' "$(status_of /a%20b.txt -H 'Range: bytes=-0')" 416
for range in 'bytes=0-1,3-4' 'bytes=4-2' 'lines=1-2' 'bytes=' 'bytes=-' 'bytes=a-b' 'bytes= 1-2' 'bytes=1-2x'; do
    tap_is "the whole for $range" "$(status_of /a%20b.txt -H "Range: $range")" 200
done
fetch /big -r 1000000-1999999 >"$tmp/part"
tail -c +1000001 "$www/big" | head -c 1000000 | cmp -s - "$tmp/part"
tap_is 'a large range' $? 0

# -- conditions
etag=$(header_of ETag /)
modified=$(header_of Last-Modified /)
tap_is 'not modified, by tag' "$(fetch / -H "If-None-Match: $etag" -w '%{http_code} %{size_download}')" '304 0'
tap_is 'not modified, by one of the tags' "$(status_of / -H "If-None-Match: \"x\", $etag")" 304
tap_is 'not modified, by any tag' "$(status_of / -H 'If-None-Match: *')" 304
tap_is 'modified, by tag' "$(status_of / -H 'If-None-Match: "x"')" 200
tap_is 'the tag counts, not the date' "$(status_of / -H 'If-None-Match: "x"' -H "If-Modified-Since: $modified")" 200
tap_is 'not modified since' "$(status_of / -H "If-Modified-Since: $modified")" 304
tap_is 'modified since' "$(status_of / -H 'If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT')" 200
tap_is 'no date' "$(status_of / -H 'If-Modified-Since: yesterday')" 200
tap_is 'a range of the same file' "$(status_of / -r 0-1 -H "If-Range: $etag")" 206
tap_is 'a range of another' "$(status_of / -r 0-1 -H 'If-Range: "x"')" 200
tap_is 'requests on one connection' \
    "$(fetch '/sub/?[1-50]' -w '%{num_connects}\n' | grep -v sub | awk '{ n += $1 } END { print n }')" 1

end_server
tap_is 'ends with 0 at SIGTERM' $? 0
tap_fails_with 'no directory' 'No such file' "$PFK_BUILDDIR/examples/http_files" "$tmp/nowhere"
tap_fails_with 'a file for a directory' 'Not a directory' "$PFK_BUILDDIR/examples/http_files" "$www/index.html"
tap_fails_with 'no argument' 'usage: http_files' "$PFK_BUILDDIR/examples/http_files"
tap_end
