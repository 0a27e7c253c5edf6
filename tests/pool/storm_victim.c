/* SPDX-License-Identifier: BSD-2-Clause */
#include "storm_victim.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "job/table.h"
#include "master/pidfd.h"
#include "support.h"

/* Above what a worker here has: its connections, an eventfd for each lane. */
#define FDS_LOOKED_AT 1024

/* -- Standing still --------------------------------------------------------------- */

/* Looks into /proc/PID only as far as must be, and never below its task and fd
 * folders. Each name that was looked up there is one that the kernel has to
 * forget when the process is reaped; with those of its threads, which forget
 * theirs at the same time, and no processor to spare, that was seen to keep
 * the master in waitpid for many seconds (Linux 6.18, d_invalidate). */

struct standing {
    pid_t pid;
    bool gone;
};

/* The state letter in /proc/PID/stat: behind the name in parentheses. It is
 * the main thread's. Once that stands, the others are told to, and execute
 * nothing more than the system call they are in. */
static bool victim_stands(void *context)
{
    struct standing *const standing = context;
    char path[64];
    char text[512] = "";
    const char *name_end;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)standing->pid);
    file = fopen(path, "re");
    if (file != NULL) {
        (void)!fread(text, 1, sizeof(text) - 1, file);
        (void)fclose(file);
    }
    name_end = strrchr(text, ')');
    standing->gone = name_end == NULL || strchr("ZX", name_end[2]) != NULL;
    return standing->gone || name_end[2] == 'T';
}

/* -- Its connections --------------------------------------------------------------- */

/* Looks at the process's descriptors through copies, each closed at once. */
static void victim_list_ports(pid_t pid, uint16_t server_port, struct storm_victim *victim_out)
{
    int pidfd = pfk_pidfd_open(pid);

    victim_out->n_ports = 0;
    for (int fd = 0; pidfd >= 0 && fd < FDS_LOOKED_AT; fd++) {
        struct sockaddr_in own = {0};
        struct sockaddr_in other = {0};
        socklen_t own_length = sizeof(own);
        socklen_t other_length = sizeof(other);
        int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

        if (copy >= 0 && getsockname(copy, (struct sockaddr *)&own, &own_length) == 0 &&
            ntohs(own.sin_port) == server_port && getpeername(copy, (struct sockaddr *)&other, &other_length) == 0 &&
            victim_out->n_ports < STORM_PORTS_MAX)
            victim_out->ports[victim_out->n_ports++] = ntohs(other.sin_port);
        pfk_fd_close(&copy);
    }
    pfk_fd_close(&pidfd);
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
    victim_list_ports(worker.pid, server_port, victim_out);
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
