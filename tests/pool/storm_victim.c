/* SPDX-License-Identifier: BSD-2-Clause */
#include "storm_victim.h"

#include <dirent.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "job/table.h"
#include "support.h"

#define INODES_MAX 4096

struct inodes {
    size_t n;
    uint64_t numbers[INODES_MAX];
};

/* -- Standing still --------------------------------------------------------------- */

/* The state letter of /proc/PID/task/TID/stat: behind the name in parentheses. */
static char victim_state(pid_t pid, const char *thread)
{
    char path[64];
    char text[512];
    const char *name_end;
    FILE *file;
    size_t got;

    (void)snprintf(path, sizeof(path), "/proc/%ld/task/%.20s/stat", (long)pid, thread);
    file = fopen(path, "re");
    if (file == NULL)
        return 'X';
    got = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[got] = '\0';
    name_end = strrchr(text, ')');
    return name_end != NULL && name_end[1] == ' ' ? name_end[2] : 'X';
}

struct standing {
    pid_t pid;
    bool gone;
};

static bool victim_stands(void *context)
{
    struct standing *const standing = context;
    char path[64];
    bool stands = true;
    DIR *threads;

    (void)snprintf(path, sizeof(path), "/proc/%ld/task", (long)standing->pid);
    threads = opendir(path);
    if (threads == NULL) {
        standing->gone = true;
        return true;
    }
    for (const struct dirent *thread = readdir(threads); thread != NULL; thread = readdir(threads)) {
        const char state = thread->d_name[0] == '.' ? 'T' : victim_state(standing->pid, thread->d_name);

        if (state == 'Z' || state == 'X')
            standing->gone = true;
        else if (state != 'T')
            stands = false;
    }
    (void)closedir(threads);
    return stands || standing->gone;
}

/* -- Its connections --------------------------------------------------------------- */

static void victim_list_sockets(pid_t pid, struct inodes *inodes_out)
{
    char path[64];
    DIR *fds;

    inodes_out->n = 0;
    (void)snprintf(path, sizeof(path), "/proc/%ld/fd", (long)pid);
    fds = opendir(path);
    if (fds == NULL)
        return;
    for (const struct dirent *fd = readdir(fds); fd != NULL; fd = readdir(fds)) {
        char target[64] = "";
        const ssize_t length = readlinkat(dirfd(fds), fd->d_name, target, sizeof(target) - 1);

        if (length > 0 && inodes_out->n < INODES_MAX &&
            sscanf(target, "socket:[%" SCNu64 "]", &inodes_out->numbers[inodes_out->n]) == 1)
            inodes_out->n++;
    }
    (void)closedir(fds);
}

static bool victim_has_inode(const struct inodes *inodes, uint64_t inode)
{
    for (size_t i = 0; i < inodes->n; i++)
        if (inodes->numbers[i] == inode)
            return true;
    return false;
}

/* Lines of /proc/net/tcp: "sl local:port remote:port state … uid timeout inode". */
static void victim_list_ports(uint16_t server_port, const struct inodes *inodes, struct storm_victim *victim_out)
{
    FILE *const connections = fopen("/proc/net/tcp", "re");
    char line[512];

    victim_out->n_ports = 0;
    while (connections != NULL && fgets(line, sizeof(line), connections) != NULL) {
        unsigned local;
        unsigned remote;
        uint64_t inode;

        if (sscanf(line, " %*u: %*x:%x %*x:%x %*x %*s %*s %*s %*u %*u %" SCNu64, &local, &remote, &inode) != 3)
            continue;
        if (local == server_port && inode != 0 && victim_has_inode(inodes, inode) &&
            victim_out->n_ports < STORM_PORTS_MAX)
            victim_out->ports[victim_out->n_ports++] = (uint16_t)remote;
    }
    if (connections != NULL)
        (void)fclose(connections);
}

bool storm_victim_has_port(const struct storm_victim *victim, uint16_t port)
{
    for (size_t i = 0; i < victim->n_ports; i++)
        if (victim->ports[i] == port)
            return true;
    return false;
}

/* -- Its jobs ------------------------------------------------------------------------ */

static bool victim_has_claimed(const struct prefork_table *table, const struct prefork_worker_status *worker)
{
    for (uint32_t i = 0; i < table->geometry.slots; i++) {
        const uint64_t word = pfk_u64_load_acquire(&pfk_table_descriptor(table, i)->word);
        const uint32_t owner = pfk_word_owner(word);

        if (pfk_word_state(word) == PFK_CLAIMED && owner >= worker->first_lane &&
            owner < worker->first_lane + worker->lanes)
            return true;
    }
    return false;
}

static uint64_t victim_work(const struct prefork_table *table, const struct prefork_worker_status *worker)
{
    uint64_t work = 0;

    for (uint32_t lane = worker->first_lane; lane < worker->first_lane + worker->lanes; lane++)
        work += pfk_table_counter(table, lane, PFK_COUNT_JOBS) + pfk_table_counter(table, lane, PFK_COUNT_BYTES_OUT);
    return work;
}

/* -- Stop and kill -------------------------------------------------------------------- */

bool storm_victim_stop(struct prefork_pool *pool, uint32_t seat, uint16_t server_port, struct storm_victim *victim_out)
{
    struct prefork_worker_status worker = {.size = sizeof(worker)};
    struct inodes inodes;
    struct standing standing = {0};

    if (prefork_pool_worker(pool, seat, &worker) != 0 || worker.pid == 0 || worker.ready == 0)
        return false;
    standing.pid = worker.pid;
    if (kill(worker.pid, SIGSTOP) != 0)
        return false;
    if (!support_wait_until(victim_stands, &standing, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)) || standing.gone)
        return false;
    victim_out->pid = worker.pid;
    victim_out->seat = seat;
    victim_out->incarnation = worker.incarnation;
    victim_out->claimed = victim_has_claimed(prefork_pool_table(pool), &worker);
    victim_out->work = victim_work(prefork_pool_table(pool), &worker);
    victim_list_sockets(worker.pid, &inodes);
    victim_list_ports(server_port, &inodes, victim_out);
    return true;
}

void storm_victim_kill(const struct storm_victim *victim)
{
    (void)kill(victim->pid, SIGKILL);
}

void storm_victim_spare(const struct storm_victim *victim)
{
    (void)kill(victim->pid, SIGCONT);
}

bool storm_victim_replaced(const struct prefork_pool *pool, const struct storm_victim *victim)
{
    struct prefork_worker_status worker = {.size = sizeof(worker)};

    return prefork_pool_worker(pool, victim->seat, &worker) == 0 && worker.incarnation > victim->incarnation &&
           worker.ready != 0;
}
