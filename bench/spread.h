/* SPDX-License-Identifier: BSD-2-Clause */
/* What several measurements of the same thing say. */
#ifndef BENCH_SPREAD_H
#define BENCH_SPREAD_H

#include <stdint.h>

struct spread {
    double median, min, max;
};

/* Sorts the values, of which there is one at least. */
struct spread spread_of(double *values, uint32_t count);

/* Prints it as "median (min-max)", right-justified, after a blank. */
void spread_print(int width, int digits, struct spread spread);

#endif
