/* SPDX-License-Identifier: BSD-2-Clause */
/* What a refused System V call means: one cause, the numbers, the remedy. */
#ifndef PFK_IPC_SHM_ERROR_H
#define PFK_IPC_SHM_ERROR_H

#include <stddef.h>

/* shmget(key, bytes, …) failed with errno `code`. Asks the kernel for its limits and for what exists, sets the text
 * and returns a negative errno. `key` is 0 for a segment without one. */
int pfk_shm_error_get(int code, int key, size_t bytes);

/* shmctl or shmat on a segment that was there failed. EINVAL from the kernel then means that the id is gone, and is
 * returned as -EIDRM. `call` names it for the text. */
int pfk_shm_error_id(int code, const char *call, int id);

#endif
