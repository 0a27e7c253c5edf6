/* SPDX-License-Identifier: BSD-2-Clause */
#include "spread.h"

#include <stdio.h>
#include <stdlib.h>

static int spread_compare(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

struct spread spread_of(double *values, uint32_t count)
{
    qsort(values, count, sizeof(values[0]), spread_compare);
    return (struct spread){
        .median = (values[(count - 1) / 2] + values[count / 2]) / 2, .min = values[0], .max = values[count - 1]};
}

void spread_print(int width, int digits, struct spread spread)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "%.*f (%.*f-%.*f)", digits, spread.median, digits, spread.min, digits,
                   spread.max);
    (void)printf(" %*s", width, text);
}
