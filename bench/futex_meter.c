/* SPDX-License-Identifier: BSD-2-Clause */
#include "futex_meter.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The number by which the kernel knows the tracepoint. */
static int futex_meter_event(uint64_t *event_out)
{
    FILE *const file = fopen("/sys/kernel/tracing/events/syscalls/sys_enter_futex/id", "re");
    unsigned long event;
    int rc = 0;

    if (file == NULL)
        return -errno;
    if (fscanf(file, "%lu", &event) == 1)
        *event_out = event;
    else
        rc = -ENOENT;
    (void)fclose(file);
    return rc;
}

int futex_meter_open(void)
{
    struct perf_event_attr attributes = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attributes)};
    uint64_t event = 0;
    const int rc = futex_meter_event(&event);
    long fd;

    if (rc != 0)
        return rc;
    attributes.config = event;
    fd = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    return fd < 0 ? -errno : (int)fd;
}

uint64_t futex_meter_read(int meter_fd)
{
    uint64_t calls = 0;

    return read(meter_fd, &calls, sizeof(calls)) == (ssize_t)sizeof(calls) ? calls : 0;
}
