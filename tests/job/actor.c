/* SPDX-License-Identifier: BSD-2-Clause */
/* actor KEY LOCK_PATH: a process of its own that does with a durable table what it is told, line by line on standard
 * input, and answers each line with "RESULT VALUE TEXT". It ends at the end of its input, or is killed where it
 * stands. "fork" makes a child that goes on with descriptors 3 (commands) and 4 (answers). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "job/control.h"
#include "job/lane.h"
#include "job/store.h"
#include "prefork/table.h"

enum { ACTOR_LANES = 4, ACTOR_DEAD = 64 };

static struct prefork_table_store store = {.size = sizeof(store)};
static struct prefork_table *table;
static struct prefork_lane *lanes[ACTOR_LANES];
static struct prefork_lane *lane; /* of the last that was opened */
static struct prefork_job *claimed;
static uint64_t job;
static long long value; /* what a command tells beside its result */

static unsigned next_number(const char **words, unsigned fallback)
{
    char *end;
    unsigned number;

    while (**words == ' ')
        ++*words;
    if (**words == '\0')
        return fallback;
    number = (unsigned)strtoul(*words, &end, 0);
    *words = *end == '\0' ? end : end + 1;
    return number;
}

/* adopt [SLOTS [ATTACHED [WAIT_MS [REQUEST_BYTES [OUTSIDE]]]]] */
typedef int adopt_fn(const struct prefork_table_options *, const struct prefork_table_store *, struct prefork_table **,
                     struct prefork_adoption *);

static int adopt_by(adopt_fn *adopt, const char *words)
{
    struct prefork_table_options options = {
        .size = sizeof(options), .reply_bytes = 64, .max_workers = 2, .threads_per_worker = 1, .generations = 1};
    struct prefork_adoption adoption = {.size = sizeof(adoption)};
    int rc;

    options.slots = next_number(&words, 4);
    options.attached_producers = next_number(&words, 2);
    store.wait_ms = next_number(&words, 50);
    options.request_bytes = next_number(&words, 64);
    options.outside_producers = next_number(&words, 2);
    rc = adopt(&options, &store, &table, &adoption);
    value = adoption.made * 1000000LL + adoption.dead_lanes * 10000LL + adoption.living_lanes * 100LL +
            adoption.waiting_jobs;
    return rc;
}

static int do_adopt(const char *words)
{
    return adopt_by(prefork_table_adopt, words);
}

/* As who starts a master: the gate stays locked. */
static int do_adopt_for_another(const char *words)
{
    return adopt_by(pfk_store_adopt, words);
}

static int do_resign(const char *words)
{
    (void)words;
    pfk_store_resign(table);
    return 0;
}

static int do_open(const char *words)
{
    const char kind = words[0];
    const char *at = words + 1;
    const uint32_t index = next_number(&at, 0);
    uint32_t place = 0;
    int rc;

    while (place < ACTOR_LANES - 1 && lanes[place] != NULL)
        place++;
    if (kind == 'a')
        rc = prefork_table_open_attached_lane(table, &lanes[place]);
    else
        rc = prefork_lane_open(table,
                               kind == 'w'   ? prefork_table_worker_lane(table, index, 0, 0)
                               : kind == 'o' ? prefork_table_outside_lane(table, index)
                                             : index,
                               &lanes[place]);
    if (rc == 0) {
        lane = lanes[place];
        value = prefork_lane_number(lane);
    }
    return rc;
}

static int do_close(const char *words)
{
    (void)words;
    for (uint32_t i = 0; i < ACTOR_LANES; i++)
        prefork_lane_close(&lanes[i]);
    return 0;
}

static int do_put(const char *words)
{
    const uint32_t flags = words[0] == 'd' ? PREFORK_SUBMIT_DETACHED : words[0] == 'n' ? PREFORK_SUBMIT_NOTIFY : 0;
    const struct prefork_submission submission = {.size = sizeof(submission), .request_bytes = 4, .flags = flags};

    return prefork_lane_put(lane, "job", &submission, PREFORK_NO_WAIT, &job);
}

static int do_reserve(const char *words)
{
    const unsigned ms = next_number(&words, 0);

    return prefork_lane_reserve(lane, ms == 0 ? PREFORK_NO_WAIT : prefork_deadline_after_ms(ms), &job);
}

static int do_submit(const char *words)
{
    const struct prefork_submission submission = {.size = sizeof(submission), .request_bytes = 4};

    (void)words;
    return prefork_lane_submit(lane, job, &submission);
}

static int do_wait(const char *words)
{
    struct prefork_result result = {.status = 0};
    const unsigned ms = next_number(&words, 0);
    const int rc = prefork_lane_wait(lane, job, ms == 0 ? PREFORK_NO_WAIT : prefork_deadline_after_ms(ms), &result);

    value = result.status;
    return rc;
}

static int do_collect(const char *words)
{
    (void)words;
    return prefork_lane_collect(lane, job);
}

static int do_claim(const char *words)
{
    const unsigned ms = next_number(&words, 0);
    const int rc = prefork_lane_claim(lane, ms == 0 ? PREFORK_NO_WAIT : prefork_deadline_after_ms(ms), &claimed);

    value = rc == 0 ? prefork_job_attempt(claimed) : 0;
    return rc;
}

static int do_complete(const char *words)
{
    (void)words;
    return prefork_job_complete(claimed, 0);
}

/* The calls that a process which came by key is refused. */
static int do_loop_calls(const char *words)
{
    struct prefork_result result;

    (void)words;
    value = (prefork_lane_next(lane, &result) == -ENOTSUP) + (prefork_lane_want_room(lane) == -ENOTSUP) +
            (prefork_lane_wake_fd(lane) == -ENOTSUP);
    return 0;
}

static int do_want_room(const char *words)
{
    (void)words;
    return prefork_lane_want_room(lane);
}

/* Whether the lane's loop is told of room: `next MS`. */
static int do_next(const char *words)
{
    const unsigned ms = next_number(&words, 0);
    const uint64_t until_ns = prefork_deadline_after_ms(ms);
    struct prefork_result result;
    int rc;

    do {
        rc = prefork_lane_next(lane, &result);
    } while (rc == -EAGAIN && prefork_clock_now_ns() < until_ns);
    return rc;
}

/* The master's duty towards attached producers. */
static int do_look(const char *words)
{
    uint32_t dead[ACTOR_DEAD];
    const int found = prefork_table_look_for_dead(table, dead, ACTOR_DEAD);

    (void)words;
    value = found;
    return found > 0 ? prefork_table_repair(table, dead, (uint32_t)found, NULL) : found;
}

/* Of the first attached producer's lane. */
static int do_repair(const char *words)
{
    const uint32_t number = prefork_table_attached_lane(table, 0);

    (void)words;
    return prefork_table_repair(table, &number, 1, NULL);
}

static int do_master(const char *words)
{
    int pid = 0;
    const int rc = prefork_table_master(table, &pid);

    (void)words;
    value = pid;
    return rc;
}

static int do_free_slots(const char *words)
{
    struct prefork_statistics statistics = {.size = sizeof(statistics)};
    const int rc = prefork_table_statistics(table, &statistics);

    (void)words;
    value = statistics.free_slots;
    return rc;
}

static int do_attach(const char *words)
{
    (void)words;
    return prefork_table_attach(&store, &table);
}

static int do_remove(const char *words)
{
    (void)words;
    return prefork_table_remove(&store);
}

static int do_destroy(const char *words)
{
    (void)words;
    prefork_table_destroy(&table);
    return 0;
}

static int do_verify(const char *words)
{
    (void)words;
    return -prefork_table_verify(table);
}

/* The trap of POSIX locks: opens and closes the lock file behind the library's back. */
static int do_trap(const char *words)
{
    const int fd = open(store.lock_path, O_RDWR | O_CLOEXEC);

    (void)words;
    return fd < 0 || close(fd) != 0 ? -errno : 0;
}

static int do_mode(const char *words)
{
    store.mode = next_number(&words, 0);
    return 0;
}

/* What a master of another version would have written. */
static int do_version(const char *words)
{
    pfk_u32_bump_relaxed(&table->work->geometry.version, next_number(&words, 1));
    return 0;
}

/* As if its maker had died in it. */
static int do_unfinish(const char *words)
{
    (void)words;
    memset((void *)table->work, 0x5a, sizeof(*table->work));
    pfk_u64_store_relaxed(&table->work->geometry.magic, 0);
    return 0;
}

/* A stray write into a slot's word. */
static int do_damage(const char *words)
{
    (void)words;
    pfk_u64_store_relaxed(&pfk_table_descriptor(table, 1)->word, UINT64_MAX);
    return 0;
}

static int do_fork(const char *words)
{
    const pid_t child = fork();

    (void)words;
    if (child == 0) {
        (void)dup2(3, STDIN_FILENO);
        (void)dup2(4, STDOUT_FILENO);
        memset(lanes, 0, sizeof(lanes));
    }
    (void)close(3);
    (void)close(4);
    value = child > 0 ? child : getpid();
    return child >= 0 ? 0 : -errno;
}

/* -- commands ------------------------------------------------------------------ */

static const struct command {
    const char *name;
    int (*run)(const char *words);
} commands[] = {
    {"adopt", do_adopt},
    {"adopt_for_another", do_adopt_for_another},
    {"resign", do_resign},
    {"attach", do_attach},
    {"remove", do_remove},
    {"destroy", do_destroy},
    {"open", do_open},
    {"close", do_close},
    {"reserve", do_reserve},
    {"put", do_put},
    {"submit", do_submit},
    {"wait", do_wait},
    {"collect", do_collect},
    {"claim", do_claim},
    {"complete", do_complete},
    {"loop_calls", do_loop_calls},
    {"want_room", do_want_room},
    {"next", do_next},
    {"look", do_look},
    {"repair", do_repair},
    {"master", do_master},
    {"free_slots", do_free_slots},
    {"verify", do_verify},
    {"trap", do_trap},
    {"mode", do_mode},
    {"version", do_version},
    {"unfinish", do_unfinish},
    {"damage", do_damage},
    {"fork", do_fork},
};

static int obey(const char *line)
{
    const size_t length = strcspn(line, " ");

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strlen(commands[i].name) == length && strncmp(line, commands[i].name, length) == 0)
            return commands[i].run(line[length] == ' ' ? line + length + 1 : "");
    return -ENOSYS;
}

/* Unbuffered: a child goes on where its parent read. */
static bool read_line(char *line, size_t bytes)
{
    size_t length = 0;

    while (length < bytes - 1 && read(STDIN_FILENO, line + length, 1) == 1) {
        if (line[length++] != '\n')
            continue;
        line[length - 1] = '\0';
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    char line[128];

    if (argc != 3)
        return EXIT_FAILURE;
    store.key = (int)strtol(argv[1], NULL, 0);
    store.lock_path = argv[2];
    while (read_line(line, sizeof(line))) {
        int rc;

        value = 0;
        rc = obey(line);
        (void)dprintf(STDOUT_FILENO, "%d %lld %s\n", rc, value, rc < 0 ? prefork_last_error() : "");
    }
    return EXIT_SUCCESS;
}
