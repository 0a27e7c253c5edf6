/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks the kernel; policy.c decides. A container often sees its own cgroup as
 * the root of the mount, while /proc/self/cgroup has the host's path: so each
 * file is looked for along the path upward, the mount's root included. */
#include "master/cpu.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "master/policy.h"

#define CPU_TEXT_BYTES 4096
#define CPU_PATH_BYTES 2048
/* For masks of machines with more cores than CPU_SETSIZE (1,024). */
#define CPU_CORES_MAX 65536

static uint32_t cpu_affinity(void)
{
    for (int cores = CPU_SETSIZE; cores <= CPU_CORES_MAX; cores *= 4) {
        cpu_set_t *const set = CPU_ALLOC((size_t)cores);
        const size_t bytes = CPU_ALLOC_SIZE((size_t)cores);
        int count = 0;
        int rc;

        if (set == NULL)
            return 1;
        rc = sched_getaffinity(0, bytes, set);
        if (rc == 0)
            count = CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (rc == 0)
            return (uint32_t)count;
        if (errno != EINVAL) /* EINVAL: the kernel's mask is longer */
            break;
    }
    return 1;
}

/* Reads the beginning of a small file as a string. */
static bool cpu_read(const char *path, char text[CPU_TEXT_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return false;
    got = read(fd, text, CPU_TEXT_BYTES - 1);
    pfk_fd_close(&fd);
    if (got <= 0)
        return false;
    text[got] = '\0';
    return true;
}

typedef uint64_t cpu_quota_fn(const char *folder);

static uint64_t cpu_quota_v2(const char *folder)
{
    char path[CPU_PATH_BYTES + 32];
    char text[CPU_TEXT_BYTES];

    (void)snprintf(path, sizeof(path), "%s/cpu.max", folder);
    return cpu_read(path, text) ? pfk_policy_quota_v2(text) : PFK_POLICY_NO_QUOTA;
}

static uint64_t cpu_quota_v1(const char *folder)
{
    char path[CPU_PATH_BYTES + 32];
    char quota[CPU_TEXT_BYTES];
    char period[CPU_TEXT_BYTES];

    (void)snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder);
    if (!cpu_read(path, quota))
        return PFK_POLICY_NO_QUOTA;
    (void)snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder);
    return cpu_read(path, period) ? pfk_policy_quota_v1(quota, period) : PFK_POLICY_NO_QUOTA;
}

/* The least quota of the group and all groups above it. */
static uint64_t cpu_least_quota(const char *mount, const char *group, cpu_quota_fn *read_quota)
{
    char folder[CPU_PATH_BYTES];
    const size_t mount_length = strlen(mount);
    uint64_t least = PFK_POLICY_NO_QUOTA;

    if (snprintf(folder, sizeof(folder), "%s%s", mount, group) >= (int)sizeof(folder))
        return PFK_POLICY_NO_QUOTA;
    for (;;) {
        const uint64_t quota = read_quota(folder);
        char *const last = strrchr(folder + mount_length, '/');

        if (quota < least)
            least = quota;
        if (last == NULL)
            return least;
        *last = '\0';
    }
}

/* Whether a comma-separated list has `name`. */
static bool cpu_list_has(const char *list, size_t length, const char *name)
{
    const size_t name_length = strlen(name);

    for (const char *at = list; at < list + length;) {
        const char *const comma = memchr(at, ',', (size_t)(list + length - at));
        const char *const end = comma != NULL ? comma : list + length;

        if ((size_t)(end - at) == name_length && memcmp(at, name, name_length) == 0)
            return true;
        at = end + 1;
    }
    return false;
}

/* One line of /proc/self/cgroup: "0::/group" or "4:cpu,cpuacct:/group". */
static uint64_t cpu_quota_of_line(const char *line)
{
    const char *const list = strchr(line, ':');
    const char *const group = list != NULL ? strchr(list + 1, ':') : NULL;

    if (group == NULL)
        return PFK_POLICY_NO_QUOTA;
    if (group == list + 1)
        return cpu_least_quota("/sys/fs/cgroup", group + 1, cpu_quota_v2);
    if (cpu_list_has(list + 1, (size_t)(group - list - 1), "cpu"))
        return cpu_least_quota("/sys/fs/cgroup/cpu", group + 1, cpu_quota_v1);
    return PFK_POLICY_NO_QUOTA;
}

static uint64_t cpu_quota(void)
{
    char groups[CPU_TEXT_BYTES];
    char *rest = groups;
    uint64_t least = PFK_POLICY_NO_QUOTA;

    if (!cpu_read("/proc/self/cgroup", groups))
        return PFK_POLICY_NO_QUOTA;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        const uint64_t quota = cpu_quota_of_line(line);

        if (quota < least)
            least = quota;
    }
    return least;
}

uint32_t pfk_cpu_workers(void)
{
    return pfk_policy_workers(cpu_affinity(), cpu_quota());
}
