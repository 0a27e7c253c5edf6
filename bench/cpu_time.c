/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu_time.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct process {
    pid_t pid, parent_pid;
    uint64_t own_ticks, reaped_ticks;
    bool counted;
};

struct process_list {
    struct process *items;
    size_t count, capacity;
};

/* Reads /proc/PID/stat; false when the process is gone. The command's name may
 * hold anything, parentheses included, so the fields start at the last one. */
static bool process_read(const char *pid, struct process *process_out)
{
    unsigned long user, system_time, reaped_user, reaped_system;
    char path[64], text[1024];
    const char *fields;
    size_t length;
    FILE *file;
    int parent_pid;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    length = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[length] = '\0';
    fields = strrchr(text, ')');
    if (fields == NULL || sscanf(fields + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &parent_pid,
                                 &user, &system_time, &reaped_user, &reaped_system) != 5)
        return false;
    *process_out = (struct process){.pid = (pid_t)strtol(pid, NULL, 10),
                                    .parent_pid = parent_pid,
                                    .own_ticks = user + system_time,
                                    .reaped_ticks = reaped_user + reaped_system};
    return true;
}

static int process_list_append(struct process_list *list, const struct process *process)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 256 : 2 * list->capacity;
        struct process *items = realloc(list->items, capacity * sizeof(*items));

        if (items == NULL)
            return -ENOMEM;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = *process;
    return 0;
}

static int process_list_read(struct process_list *list_out)
{
    DIR *directory = opendir("/proc");
    const struct dirent *entry;
    int rc = 0;

    *list_out = (struct process_list){0};
    if (directory == NULL)
        return -errno;
    while (rc == 0 && (entry = readdir(directory)) != NULL) {
        struct process process;

        if (isdigit((unsigned char)entry->d_name[0]) && process_read(entry->d_name, &process))
            rc = process_list_append(list_out, &process);
    }
    (void)closedir(directory);
    return rc;
}

static struct process *process_list_find(const struct process_list *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].pid == pid)
            return &list->items[i];
    return NULL;
}

/* Takes in, once each, the children of what is counted until there are none. */
static uint64_t process_list_count_descendants(struct process_list *list)
{
    uint64_t ticks = 0;
    bool found;

    do {
        found = false;
        for (size_t i = 0; i < list->count; i++) {
            struct process *process = &list->items[i];
            const struct process *parent = process_list_find(list, process->parent_pid);

            if (process->counted || parent == NULL || !parent->counted)
                continue;
            process->counted = found = true;
            ticks += process->own_ticks + process->reaped_ticks;
        }
    } while (found);
    return ticks;
}

static int cpu_time_read_target(struct process_list *list, const struct cpu_target *target, uint64_t *ticks_out)
{
    struct process *root = process_list_find(list, target->pid);

    if (root == NULL) {
        (void)fprintf(stderr, "no process %d to measure the processor time of\n", (int)target->pid);
        return -ESRCH;
    }
    *ticks_out = root->own_ticks;
    if (!target->with_descendants)
        return 0;
    for (size_t i = 0; i < list->count; i++)
        list->items[i].counted = false;
    root->counted = true;
    *ticks_out += root->reaped_ticks + process_list_count_descendants(list);
    return 0;
}

int cpu_time_read_ns(const struct cpu_target *targets, size_t count, uint64_t *ns_out)
{
    const uint64_t ns_per_tick = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK);
    struct process_list list;
    uint64_t sum = 0;
    int rc = process_list_read(&list);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint64_t ticks = 0;

        rc = cpu_time_read_target(&list, &targets[i], &ticks);
        sum += ticks;
    }
    free(list.items);
    if (rc == 0)
        *ns_out = sum * ns_per_tick;
    return rc;
}
