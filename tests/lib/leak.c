/* SPDX-License-Identifier: BSD-2-Clause */
#include "leak.h"

#include <fcntl.h>
#include <sys/resource.h>

/* Far above what a test opens, should the limit be a billion. */
#define FDS_LOOKED_AT 65536

int pfk_test_fds_open(void)
{
    struct rlimit limit;
    int open_count = 0;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > FDS_LOOKED_AT)
        limit.rlim_cur = FDS_LOOKED_AT;
    for (int fd = 0; fd < (int)limit.rlim_cur; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            open_count++;
    return open_count;
}
