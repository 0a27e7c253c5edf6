/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that are taken, and such that must be refused since two readers may understand them differently. What they
 * meet has the limits below. */
#ifndef PFK_TESTS_HTTP_SAMPLES_H
#define PFK_TESTS_HTTP_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#define SAMPLES_HEADERS    8
#define SAMPLES_HEAD_BYTES 256
#define SAMPLES_BODY_BYTES 16

struct sample {
    const char *name;
    const char *text;
    size_t length; /* 0: of the string */
    int64_t whole; /* > 0: the message's length; 0: all of the text; < 0: the status */
    int64_t body;  /* its length */
};

extern const struct sample samples_good[], samples_bad[];
extern const size_t samples_n_good, samples_n_bad;

size_t sample_length(const struct sample *sample);

#endif
