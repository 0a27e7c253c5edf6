/* SPDX-License-Identifier: BSD-2-Clause */
/* A mutant is the library with one known fault: one of its source files, with
 * something redefined, takes the place of the real one when the program is
 * linked. step_mutant.c does to it what step_kill or step_pair do to the real
 * library, in the role or roles where it must show: a harness that does not
 * catch it proves nothing. */
#ifndef MUTANT_H
#define MUTANT_H

#include <stdint.h>

struct mutant {
    const char *name;
    const char *scene; /* of step_kill; or NULL, and of step_pair: */
    const char *role_a, *role_b;
    uint32_t variant, order;
    uint32_t x_stride, y_stride; /* fine where the fault is a matter of few instructions */
    uint32_t y_end;
};

extern const struct mutant mutant;

#endif
