# SPDX-License-Identifier: BSD-2-Clause
# Every public declaration has its contract, and the gate that says so can fail.
. "$PFK_SRCDIR/tests/lib/tap.sh"

gate=$PFK_SRCDIR/build-aux/check-contracts
toy=$TMPDIR/toy
mkdir -p "$toy/include/prefork"

header() # reads the header's middle from standard input
{
    {
        printf '/* SPDX */\n/* about */\n#ifndef PREFORK_TOY_H\n#define PREFORK_TOY_H\n'
        printf '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        cat
        printf '\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n'
    } >"$toy/include/prefork/toy.h"
}

tap_succeeds 'every declaration of the library has its contract' sh "$gate" "$PFK_SRCDIR"

header <<'END'
/* Told here. */
struct prefork_a;
struct prefork_b;
struct prefork_c; /* told behind */

/* Told,
 * on two lines. */
int prefork_one(struct prefork_a *a,
                int number);

/* A pair. */
int prefork_two_open(void);
int prefork_two_close(void);

/* A type. */
struct prefork_d {
    int field;

    int other;
};

/* Values. */
enum prefork_e {
    PREFORK_E_X = 0,
};

/* A callback. */
typedef int (*prefork_f_fn)(void);

/* Numbers. */
#define PREFORK_G 1
#define PREFORK_H2 \
    2
#define PREFORK_I 3 /* told behind */
END
tap_succeeds 'a toy header with all of them passes' sh "$gate" "$toy"
tap_is 'it counts them' "$tap_output" 'contracts: 12 public declarations, 0 without'

header <<'END'
/* Told. */

int prefork_blank_between(void);
END
tap_fails_with 'caught: a blank line between' 'toy.h:11: prefork_blank_between has no contract' sh "$gate" "$toy"

header <<'END'
/* Told. */
int prefork_told(void);

int prefork_bare(int a,
                 int b);
END
tap_fails_with 'caught: a function without' 'toy.h:12: prefork_bare has no contract' sh "$gate" "$toy"

header <<'END'
int prefork_behind(void); /* told behind is not enough for a function */
END
tap_fails_with 'caught: a function with a word behind' 'prefork_behind has no contract' sh "$gate" "$toy"

header <<'END'
/* Told. */
struct prefork_a;
int prefork_after_type(struct prefork_a *a);
END
tap_fails_with "caught: a function in the shade of a type's contract" 'prefork_after_type has no contract' sh "$gate" "$toy"

header <<'END'
struct prefork_bare_type {
    int field;
};
END
tap_fails_with 'caught: a type without' 'prefork_bare_type has no contract' sh "$gate" "$toy"

header <<'END'
typedef void (*prefork_bare_fn)(int);
END
tap_fails_with 'caught: a callback without' 'prefork_bare_fn has no contract' sh "$gate" "$toy"

header <<'END'
#define PREFORK_BARE 1
END
tap_fails_with 'caught: a macro without' 'PREFORK_BARE has no contract' sh "$gate" "$toy"

header <<'END'
#if 1
int prefork_bare_with_a_split
    (void);
#endif
END
tap_fails_with 'caught: a split declaration without' 'prefork_bare_with_a_split has no contract' sh "$gate" "$toy"

rm -r "$toy/include/prefork"
tap_fails_with 'no header is no proof' 'no header' sh "$gate" "$toy"
rm -rf "$toy"
tap_end
