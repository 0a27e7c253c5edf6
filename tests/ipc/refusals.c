/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel refuses, told apart: limits, other users, no address space, and life without /proc. Speaks TAP. Each
 * case runs in a child with an IPC namespace of its own, so that limits and leftovers are its own; a case that the
 * machine does not permit is skipped with the reason. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prefork/error.h"
#include "prefork/segment.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif

#define EXIT_SKIP  77
#define NOBODY_UID 65534u
#define KEY        0x53000001 /* in a namespace of its own */

static struct prefork_segment_options options = PREFORK_SEGMENT_OPTIONS_INIT;
static struct prefork_segment *segment;

/* ---- what a case says ---- */

static void skip(const char *reason)
{
    printf("# skipped: %s: %s\n", reason, strerror(errno));
    (void)fflush(stdout);
    _exit(EXIT_SKIP);
}

static void expect(bool fine, const char *what)
{
    if (fine)
        return;
    printf("# failed: %s; last text: %s\n", what, prefork_last_error());
    (void)fflush(stdout);
    _exit(EXIT_FAILURE);
}

#define EXPECT(condition) expect((condition), #condition)

static void expect_text(const char *wanted)
{
    if (strcmp(prefork_last_error(), wanted) != 0)
        printf("# wanted text: %s\n", wanted);
    expect(strcmp(prefork_last_error(), wanted) == 0, "the text");
}

static int segments_left(void)
{
    struct shm_info used;

    return shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&used) < 0 ? -1 : used.used_ids;
}

/* ---- surroundings ---- */

static void enter_ipc_namespace(void)
{
    if (unshare(CLONE_NEWIPC) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWIPC) != 0)
        skip("no IPC namespace");
}

static void set_limit(const char *name, const char *value)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) != (ssize_t)strlen(value))
        skip("limits of the namespace can't be set");
    (void)close(fd);
}

static void need_root(void)
{
    if (geteuid() != 0 || setresuid((uid_t)-1, NOBODY_UID, (uid_t)-1) != 0 || setresuid((uid_t)-1, 0, (uid_t)-1) != 0)
        skip("needs root, and another uid");
}

/* Only the effective uid, so that the way back stays open. */
static void become(uid_t uid)
{
    EXPECT(setresuid((uid_t)-1, uid, (uid_t)-1) == 0);
}

static void hide_proc(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0)
        skip("/proc can't be hidden");
}

/* ---- limits ---- */

static void size_over_shmmax(void)
{
    set_limit("shmmax", "1048576");
    options.bytes = 1048577;
    EXPECT(prefork_segment_create(&options, &segment) == -EINVAL);
    expect_text("shmget: 1048577 bytes are more than kernel.shmmax = 1048576; sysctl -w kernel.shmmax=1048577");
    EXPECT(prefork_segment_create_private(1048577, &segment) == -EINVAL);
    EXPECT(prefork_segment_create_private(1048576, &segment) == 0);
    prefork_segment_close(&segment);
}

static void pages_over_shmall(void)
{
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    struct prefork_segment *first;

    set_limit("shmall", "64");
    EXPECT(prefork_segment_create_private(60 * page_bytes, &first) == 0);
    EXPECT(prefork_segment_create_private(5 * page_bytes, &segment) == -ENOSPC);
    expect_text("shmget: 5 pages are wanted, kernel.shmall = 64 and 60 are in use; sysctl -w kernel.shmall=65, or "
                "remove segments (ipcs -m, ipcrm -m)");
    EXPECT(prefork_segment_create_private(4 * page_bytes, &segment) == 0);
    prefork_segment_close(&segment);
    prefork_segment_close(&first);
}

static void segments_over_shmmni(void)
{
    struct prefork_segment *all[3];

    set_limit("shmmni", "3");
    for (int i = 0; i < 3; i++)
        EXPECT(prefork_segment_create_private(1, &all[i]) == 0);
    EXPECT(prefork_segment_create_private(1, &segment) == -ENOSPC);
    expect_text("shmget: kernel.shmmni = 3 segments and 3 exist; sysctl -w kernel.shmmni=4, or remove segments "
                "(ipcs -m, ipcrm -m)");
    for (int i = 0; i < 3; i++)
        prefork_segment_close(&all[i]);
}

static void no_address_space(void)
{
    const struct rlimit small = {(rlim_t)64 << 20, (rlim_t)64 << 20};

#ifdef UNDER_SANITIZER
    errno = ENOTSUP;
    skip("a sanitizer needs more address space than any limit leaves");
#endif
    EXPECT(setrlimit(RLIMIT_AS, &small) == 0);
    EXPECT(prefork_segment_create_private((size_t)1 << 30, &segment) == -ENOMEM);
    EXPECT(strstr(prefork_last_error(), "raise RLIMIT_AS") != NULL);
}

/* ---- other users ---- */

/* A stranger sits on the key and leaves it open to all. */
static void squatted_key(void)
{
    struct prefork_segment_layout layout = PREFORK_SEGMENT_LAYOUT_INIT;
    struct prefork_segment_report report;
    struct shmid_ds state;
    char wanted[300];
    int id;

    need_root();
    become(NOBODY_UID);
    id = shmget(KEY, 128 + 100, IPC_CREAT | IPC_EXCL | 0600);
    become(0);
    options.exclusive = 0;
    EXPECT(prefork_segment_create(&options, &segment) == -EACCES);
    EXPECT(prefork_segment_open(&options, &segment) == -EACCES);
    (void)snprintf(wanted, sizeof(wanted),
                   "prefork_segment: segment id %d under key 0x53000001 is owned by uid 65534 and was made by uid "
                   "65534, not both trusted here (this is uid 0); take another key, or as its owner: ipcrm -m %d",
                   id, id);
    expect_text(wanted);
    EXPECT(prefork_segment_judge(&options, &layout, &report) == 0 && report.verdict == PREFORK_SEGMENT_FOREIGN);
    EXPECT(prefork_segment_adopt(&options, &layout, PREFORK_SEGMENT_MAY_CREATE | PREFORK_SEGMENT_MAY_JOIN, &segment,
                                 &report) == -EACCES);
    EXPECT(shmctl(id, IPC_STAT, &state) == 0 && state.shm_atime == 0); /* never attached, not even to look */
    options.owner_uid = NOBODY_UID;
    EXPECT(prefork_segment_open(&options, &segment) == 0);
    prefork_segment_close(&segment);
    options.owner_uid = PREFORK_SEGMENT_OWNER_ANY;
    EXPECT(prefork_segment_open(&options, &segment) == 0);
    EXPECT(prefork_segment_remove(segment) == 0);
    prefork_segment_close(&segment);
}

/* Given away by its maker: owner and creator are two, and both count. */
static void given_away(void)
{
    need_root();
    become(NOBODY_UID);
    EXPECT(prefork_segment_create(&options, &segment) == 0);
    become(0);
    EXPECT(prefork_segment_set_owner(segment, 0, 0) == 0);
    prefork_segment_close(&segment);
    EXPECT(prefork_segment_open(&options, &segment) == -EACCES); /* its creator still has an owner's rights */
    become(NOBODY_UID);
    EXPECT(prefork_segment_open(&options, &segment) == 0); /* root's own is trusted */
    EXPECT(prefork_segment_remove(segment) == 0);
    prefork_segment_close(&segment);
    become(0);
}

static void not_allowed(void)
{
    struct prefork_segment_layout layout = PREFORK_SEGMENT_LAYOUT_INIT;
    struct prefork_segment_report report;
    struct prefork_segment *ours;
    char wanted[200];

    need_root();
    EXPECT(prefork_segment_create(&options, &ours) == 0);
    become(NOBODY_UID);
    EXPECT(prefork_segment_open(&options, &segment) == -EACCES);
    (void)snprintf(wanted, sizeof(wanted),
                   "shmget: the segment under key 0x53000001 (id %d) belongs to uid 0, this is uid 65534; take another "
                   "key, or as its owner: ipcrm -m %d",
                   prefork_segment_id(ours), prefork_segment_id(ours));
    expect_text(wanted);
    options.exclusive = 0;
    EXPECT(prefork_segment_create(&options, &segment) == -EACCES);
    EXPECT(prefork_segment_judge(&options, &layout, &report) == 0 && report.verdict == PREFORK_SEGMENT_FOREIGN);
    EXPECT(prefork_segment_attach(ours, PREFORK_SEGMENT_READ_ONLY) == -EACCES);
    EXPECT(prefork_segment_remove(ours) == -EPERM);
    EXPECT(strstr(prefork_last_error(), "only owner, creator or root may change") != NULL);
    become(0);
    EXPECT(prefork_segment_set_mode(ours, 0644) == 0);
    become(NOBODY_UID);
    options.mode = 0644;
    EXPECT(prefork_segment_open(&options, &segment) == 0);
    EXPECT(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE) == -EACCES);
    EXPECT(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_ONLY) == 0);
    EXPECT(prefork_segment_set_mode(segment, 0666) == -EPERM);
    prefork_segment_close(&segment);
    become(0);
    EXPECT(prefork_segment_remove(ours) == 0);
    prefork_segment_close(&ours);
}

/* ---- without /proc ---- */

static enum prefork_segment_verdict verdict(const struct prefork_segment_layout *layout)
{
    struct prefork_segment_report report;

    EXPECT(prefork_segment_judge(&options, layout, &report) == 0);
    return report.verdict;
}

static void without_proc(void)
{
    const char *directory = getenv("TMPDIR");
    struct prefork_segment_layout layout = PREFORK_SEGMENT_LAYOUT_INIT;
    char lock_path[256], byte;
    pid_t owner;
    int ends[2];

    hide_proc();
    prefork_log_set_level(PREFORK_LOG_ERROR);
    (void)snprintf(lock_path, sizeof(lock_path), "%s/lock.%ld", directory == NULL ? "/tmp" : directory, (long)getpid());
    EXPECT(pipe(ends) == 0);
    owner = fork();
    if (owner == 0) { /* lives, but is not attached: nothing but its pid speaks for it */
        EXPECT(prefork_segment_adopt(&options, &layout, PREFORK_SEGMENT_MAY_CREATE, &segment, NULL) == 0);
        EXPECT(prefork_segment_detach(segment) == 0);
        (void)!write(ends[1], "x", 1);
        for (;;)
            (void)pause();
    }
    (void)close(ends[1]);
    EXPECT(read(ends[0], &byte, 1) == 1);
    EXPECT(verdict(&layout) == PREFORK_SEGMENT_UNKNOWN);
    layout.lock_path = lock_path;
    EXPECT(verdict(&layout) == PREFORK_SEGMENT_DEAD); /* the lock decides, and nobody holds it */
    layout.lock_path = NULL;
    EXPECT(kill(owner, SIGKILL) == 0 && waitpid(owner, NULL, 0) == owner);
    EXPECT(verdict(&layout) == PREFORK_SEGMENT_DEAD);
    EXPECT(prefork_segment_adopt(&options, &layout, PREFORK_SEGMENT_MAY_TAKE, &segment, NULL) == 0);
    EXPECT(verdict(&layout) == PREFORK_SEGMENT_ALIVE); /* ourselves */
    EXPECT(prefork_segment_remove(segment) == 0);
    prefork_segment_close(&segment);
}

static void strays_without_proc(void)
{
    pid_t maker;

    hide_proc();
    prefork_log_set_level(PREFORK_LOG_ERROR);
    maker = fork();
    if (maker == 0) {
        (void)shmget(0x70661234, 100, IPC_CREAT | IPC_EXCL | 0600);
        (void)kill(getpid(), SIGKILL);
    }
    EXPECT(waitpid(maker, NULL, 0) == maker);
    EXPECT(segments_left() == 1);
    EXPECT(prefork_segment_remove_strays() == 1);
}

/* ---- the plan ---- */

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"a size over shmmax is told with the number to set", size_over_shmmax},
    {"pages over shmall are told with the number to set", pages_over_shmall},
    {"segments over shmmni are told with the number to set", segments_over_shmmni},
    {"no address space is told, and nothing is left", no_address_space},
    {"a key squatted by another uid is refused unattached", squatted_key},
    {"a segment given away is judged by owner and creator", given_away},
    {"what another uid may not do is told", not_allowed},
    {"without /proc doubt counts as in use, and a lock file decides", without_proc},
    {"without /proc strays are found", strays_without_proc},
};

/* In a child of its own; true unless it failed. */
static bool run_case(size_t number)
{
    int status;
    pid_t pid;

    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        enter_ipc_namespace();
        options.by = PREFORK_SEGMENT_BY_KEY;
        options.key = KEY;
        options.bytes = 100;
        cases[number].run();
        EXPECT(segments_left() == 0);
        (void)fflush(stdout);
        _exit(EXIT_SUCCESS);
    }
    status = -1;
    (void)waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP)
        printf("ok %zu - %s # SKIP not permitted here\n", number + 1, cases[number].name);
    else
        printf("%sok %zu - %s\n", status == 0 ? "" : "not ", number + 1, cases[number].name);
    return status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP);
}

int main(void)
{
    const size_t count = sizeof(cases) / sizeof(cases[0]);
    bool all_fine = true;

    printf("1..%zu\n", count);
    for (size_t i = 0; i < count; i++)
        all_fine = run_case(i) && all_fine;
    return all_fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
