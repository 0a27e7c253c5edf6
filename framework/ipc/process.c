/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads /proc where it is mounted and does with kill(pid, 0) where not. A /proc of another pid namespace (a mount
 * that was carried over) would speak of strangers: it is recognised by /proc/self and counts as missing. */
#include "ipc/process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

struct process_stat {
    char state;
    unsigned long threads;
    uint64_t start_ticks;
};

/* The whole of a small file as a string; false if it can't be read. */
static bool process_read_file(const char *path, char *text, size_t text_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return false;
    do {
        got = read(fd, text, text_bytes - 1);
    } while (got < 0 && errno == EINTR);
    pfk_fd_close(&fd);
    if (got <= 0)
        return false;
    text[got] = '\0';
    return true;
}

static bool process_proc_is_ours(void)
{
    char link[32];
    const ssize_t length = readlink("/proc/self", link, sizeof(link) - 1);

    if (length <= 0)
        return false;
    link[length] = '\0';
    return strtol(link, NULL, 10) == (long)getpid();
}

/* Steps over `count` fields; NULL if the text ends first. */
static const char *process_skip_fields(const char *at, int count)
{
    while (at != NULL && count-- > 0) {
        at = strchr(at, ' ');
        if (at != NULL)
            at++;
    }
    return at;
}

/* proc(5), /proc/PID/stat: 3 state, 20 num_threads, 22 starttime. The name in field 2 may hold spaces and
 * parentheses, so counting starts behind the last one. */
static bool process_read_stat(pid_t pid, struct process_stat *stat_out)
{
    char path[32], text[1024];
    const char *field;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    if (!process_proc_is_ours() || !process_read_file(path, text, sizeof(text)))
        return false;
    field = strrchr(text, ')');
    if (field == NULL || field[1] != ' ')
        return false;
    field += 2;
    stat_out->state = *field;
    field = process_skip_fields(field, 17);
    if (field == NULL)
        return false;
    stat_out->threads = strtoul(field, NULL, 10);
    field = process_skip_fields(field, 2);
    if (field == NULL)
        return false;
    stat_out->start_ticks = strtoull(field, NULL, 10);
    return stat_out->start_ticks != 0;
}

uint64_t pfk_process_self(void)
{
    const pid_t pid = getpid();
    struct process_stat stat = {0};

    (void)process_read_stat(pid, &stat);
    return (uint64_t)pid | stat.start_ticks << PFK_PROCESS_PID_BITS;
}

static void process_read_boot_id(uint64_t boot_id[2])
{
    char text[64];
    int digits = 0;

    boot_id[0] = boot_id[1] = 0;
    if (!process_read_file("/proc/sys/kernel/random/boot_id", text, sizeof(text)))
        return;
    for (const char *at = text; *at != '\0' && digits < 32; at++) {
        const char digit[2] = {*at, '\0'};

        if (!isxdigit((unsigned char)*at))
            continue;
        boot_id[digits / 16] = boot_id[digits / 16] << 4 | strtoull(digit, NULL, 16);
        digits++;
    }
}

uint64_t pfk_process_pid_space(void)
{
    struct stat space;

    return process_proc_is_ours() && stat("/proc/self/ns/pid", &space) == 0 ? (uint64_t)space.st_ino : 0;
}

struct pfk_process_world pfk_process_here(void)
{
    struct pfk_process_world world = {{0, 0}, pfk_process_pid_space()};

    process_read_boot_id(world.boot_id);
    return world;
}

static bool process_pid_exists(pid_t pid)
{
    return kill(pid, 0) == 0 || errno != ESRCH;
}

/* The leader of a process whose other threads still run shows as a zombie, too. */
static bool process_is_zombie(const struct process_stat *stat)
{
    return stat->state == 'X' || (stat->state == 'Z' && stat->threads <= 1);
}

/* Looks at pid in /proc. DEAD: it is gone or a zombie. RUNS: `stat_out` is filled. UNKNOWN: it exists, but /proc tells
 * nothing of it. It is asked after twice: it may go between the question and the look. */
static enum pfk_process_state process_look(pid_t pid, struct process_stat *stat_out)
{
    if (!process_pid_exists(pid))
        return PFK_PROCESS_DEAD;
    if (process_read_stat(pid, stat_out))
        return process_is_zombie(stat_out) ? PFK_PROCESS_DEAD : PFK_PROCESS_RUNS;
    return process_pid_exists(pid) ? PFK_PROCESS_UNKNOWN : PFK_PROCESS_DEAD;
}

enum pfk_process_state pfk_process_runs(pid_t pid)
{
    struct process_stat stat;

    if (pid <= 0)
        return PFK_PROCESS_UNKNOWN;
    return process_look(pid, &stat) == PFK_PROCESS_DEAD ? PFK_PROCESS_DEAD : PFK_PROCESS_RUNS;
}

static bool process_differ(uint64_t recorded, uint64_t here)
{
    return recorded != 0 && here != 0 && recorded != here;
}

enum pfk_process_state pfk_process_still_runs(uint64_t process, const struct pfk_process_world *world)
{
    const struct pfk_process_world here = pfk_process_here();
    const pid_t pid = pfk_process_pid(process);
    enum pfk_process_state state;
    struct process_stat stat;

    if (process == PFK_PROCESS_NOBODY || process_differ(world->boot_id[0], here.boot_id[0]) ||
        process_differ(world->boot_id[1], here.boot_id[1]))
        return PFK_PROCESS_DEAD;
    if (pid <= 0 || process_differ(world->pid_namespace, here.pid_namespace))
        return PFK_PROCESS_UNKNOWN;
    state = process_look(pid, &stat);
    if (state == PFK_PROCESS_DEAD)
        return PFK_PROCESS_DEAD;
    if (state == PFK_PROCESS_UNKNOWN || pfk_process_start_ticks(process) == 0)
        return process == pfk_process_self() ? PFK_PROCESS_RUNS : PFK_PROCESS_UNKNOWN;
    return stat.start_ticks == pfk_process_start_ticks(process) ? PFK_PROCESS_RUNS : PFK_PROCESS_DEAD;
}
