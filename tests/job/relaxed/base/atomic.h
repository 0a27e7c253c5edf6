/* SPDX-License-Identifier: BSD-2-Clause */
/* The mutant of base/atomic.h: nothing orders anything. Found before the real
 * one, from which it is made. */
#ifndef TESTS_JOB_RELAXED_ATOMIC_H
#define TESTS_JOB_RELAXED_ATOMIC_H

#include <stdatomic.h>

#define memory_order_acquire memory_order_relaxed
#define memory_order_release memory_order_relaxed
#define memory_order_acq_rel memory_order_relaxed
#ifndef RELAXED_BUT_FENCES
#define memory_order_seq_cst memory_order_relaxed
#endif
#include "../../../../framework/base/atomic.h"

#endif
