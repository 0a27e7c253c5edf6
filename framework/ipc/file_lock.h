/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PFK_IPC_FILE_LOCK_H
#define PFK_IPC_FILE_LOCK_H

#include "prefork/sync.h"

/* Does anybody hold a lock on the file? 1 yes, 0 no (also if there is no such file), or -errno with the text set.
 * Neither takes nor drops a lock. */
int pfk_file_lock_is_held(const char *path);

#endif
