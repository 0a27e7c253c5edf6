# SPDX-License-Identifier: BSD-2-Clause
# The layers hold, and the gate that says so can fail.
. "$PFK_SRCDIR/tests/lib/tap.sh"

gate=$PFK_SRCDIR/build-aux/check-layers
toy=$TMPDIR/toy

# plant FILE LINE: a clean tree with one file of ours in it.
plant()
{
    rm -rf "$toy"
    mkdir -p "$toy/framework/base" "$toy/framework/ipc" "$toy/framework/job" "$toy/framework/io" \
        "$toy/framework/master" "$toy/framework/http" "$toy/include/prefork" "$toy/examples" "$toy/$(dirname "$1")"
    printf '#include <stdio.h>\n#include "base/error.h"\n' >"$toy/framework/ipc/segment.c"
    printf '#include <stdatomic.h>\n' >"$toy/framework/base/atomic.h"
    printf '#include <ev.h>\n' >"$toy/framework/io/loop.h"
    printf '#include <prefork.h>\n' >"$toy/examples/echo.c"
    printf '%s\n' "$2" >>"$toy/$1"
}

breaks() # WHAT FILE LINE REASON
{
    plant "$2" "$3"
    tap_fails_with "caught: $1" "$2:" sh "$gate" "$toy"
    case $tap_output in
    *"$4"*) tap_ok "reason given: $1" ;;
    *) tap_not_ok "reason given: $1" "$tap_output" ;;
    esac
    rm -rf "$toy"
}

tap_succeeds 'no file of the library includes upward' sh "$gate" "$PFK_SRCDIR"

plant framework/base/clock.c '#include "prefork/clock.h"'
tap_succeeds 'a clean toy tree passes' sh "$gate" "$toy"
breaks 'upward include' framework/job/table.c '#include "io/loop.h"' 'upward, from job'
breaks 'upward include with blanks' framework/base/log.c ' # include "ipc/segment.h"' 'upward, from base'
breaks 'upward include between angle brackets' framework/base/log.c '#include <job/slot.h>' 'upward, from base'
breaks 'libev below io' framework/job/table.c '#include <ev.h>' 'only framework/io'
breaks 'libev below io, by the public header' framework/job/table.c '#include "prefork/ev.h"' 'know no event loop'
breaks 'libev in a public header' include/prefork/table.h '#include <ev.h>' 'only framework/io'
breaks 'atomics elsewhere' framework/job/slot.h '#include <stdatomic.h>' 'only framework/base/atomic.h'
breaks 'atomics in a public header' include/prefork/table.h '#include <stdatomic.h>' 'only framework/base/atomic.h'
breaks 'internal include in a public header' include/prefork/table.h '#include "job/slot.h"' 'not installed'
breaks 'internal include in an example' examples/echo.c '#include "io/loop.h"' 'the public face'
breaks 'include by a way around' framework/job/table.c '#include "../io/loop.h"' 'without ..'
breaks 'include not written from the layer' framework/job/table.c '#include "slot.h"' 'from the layer'
breaks 'a file in no layer' framework/util/list.c '#include <stdio.h>' 'in no layer'
breaks 'the library in libprefork-http' framework/http/message.c '#include "io/connection.h"' 'the public headers only'
breaks 'libprefork-http in the library' framework/io/protocol.c '#include "http/parser.h"' 'knows nothing of'
breaks 'libprefork-http, internal, in an example' examples/echo.c '#include "http/parser.h"' 'the public face'
breaks 'the HTTP parser elsewhere' framework/http/message.c '#include <http_parser.h>' 'only framework/http/parser.c'
mkdir "$toy"
tap_fails_with 'an empty tree is no proof' 'no source file' sh "$gate" "$toy"
rm -rf "$toy"
tap_end
