/* SPDX-License-Identifier: BSD-2-Clause */
/* The word that stands in for the fence under ThreadSanitizer; see atomic.h. */
#include "base/atomic.h"

extern pfk_atomic_u32 pfk_fence_stand_in;
pfk_atomic_u32 pfk_fence_stand_in;
