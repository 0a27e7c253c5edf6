/* SPDX-License-Identifier: BSD-2-Clause */
/* Named segments: every verdict, every way to adopt, and what happens when many do so at once or one is killed. */
#include "ipc/judge.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "ipc/header.h"
#include "prefork/clock.h"
#include "prefork/error.h"
#include "prefork/sync.h"

#define FAR_MS 3000
#define BYTES  512u

#define CREATE  PREFORK_SEGMENT_MAY_CREATE
#define JOIN    PREFORK_SEGMENT_MAY_JOIN
#define TAKE    PREFORK_SEGMENT_MAY_TAKE
#define REPLACE PREFORK_SEGMENT_MAY_REPLACE
#define MEND    PREFORK_SEGMENT_MAY_MEND

static struct prefork_segment_options options;
static struct prefork_segment_layout layout;
static struct prefork_segment_report report;
static struct prefork_segment *segment;
static char lock_path[256];

/* What the processes of one test share beside the segment under test. */
struct common {
    struct prefork_semaphore ready, go;
    pfk_atomic_u32 created, joined, taken, initialised, failed;
    int ids[32]; /* the segment that each of those that race ended in, or -1 */
};
static struct common *common;

static int initialise(void *address, size_t bytes, void *context)
{
    (void)context;
    (void)pfk_u32_add_acq_rel(&common->initialised, 1);
    memset(address, 'i', bytes);
    return 0;
}

static void set_up(void)
{
    const char *directory = getenv("TMPDIR");
    uint32_t bits;

    ck_assert_int_eq(getrandom(&bits, sizeof(bits), 0), sizeof(bits));
    options = (struct prefork_segment_options)PREFORK_SEGMENT_OPTIONS_INIT;
    options.by = PREFORK_SEGMENT_BY_KEY;
    options.key = (int)(0x52000000u | (bits & 0xffffffu));
    options.bytes = BYTES;
    layout = (struct prefork_segment_layout)PREFORK_SEGMENT_LAYOUT_INIT;
    layout.version = 3;
    layout.fingerprint = 0xabc;
    layout.initialise = initialise;
    segment = NULL;
    common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(common, MAP_FAILED);
    ck_assert_int_eq(prefork_semaphore_init(&common->ready, 0), 0);
    ck_assert_int_eq(prefork_semaphore_init(&common->go, 0), 0);
    (void)snprintf(lock_path, sizeof(lock_path), "%s/lock.%ld", directory == NULL ? "/tmp" : directory, (long)getpid());
    prefork_log_set_level(PREFORK_LOG_ERROR);
}

static void tear_down(void)
{
    const int id = shmget(options.key, 0, 0);

    prefork_segment_close(&segment);
    if (id >= 0)
        (void)shmctl(id, IPC_RMID, NULL);
    (void)unlink(lock_path);
    (void)munmap(common, sizeof(*common));
}

static int adopt(unsigned allow)
{
    return prefork_segment_adopt(&options, &layout, allow, &segment, &report);
}

static void assert_adopts(unsigned allow)
{
    ck_assert_msg(adopt(allow) == 0, "%s", prefork_last_error());
}

static void assert_verdict(enum prefork_segment_verdict verdict)
{
    ck_assert_msg(prefork_segment_judge(&options, &layout, &report) == 0, "%s", prefork_last_error());
    ck_assert_msg(report.verdict == verdict, "%s, not %s: %s", prefork_segment_verdict_name(report.verdict),
                  prefork_segment_verdict_name(verdict), report.text);
}

/* Refused with that code, nothing changed, and the text tells the remedy. */
static void assert_refused(unsigned allow, int code, const char *text)
{
    const int id = shmget(options.key, 0, 0);

    ck_assert_msg(adopt(allow) == code, "%s", prefork_last_error());
    ck_assert_ptr_null(segment);
    ck_assert_msg(strstr(prefork_last_error(), text) != NULL, "%s", prefork_last_error());
    ck_assert_int_eq(shmget(options.key, 0, 0), id);
}

static struct pfk_header_shm *header_of(struct prefork_segment *of)
{
    return (struct pfk_header_shm *)(void *)((unsigned char *)prefork_segment_address(of) - PFK_HEADER_BYTES);
}

/* Runs `body` in a child, which then says "ready" and waits to be killed. */
static pid_t start_child(void (*body)(void))
{
    const pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        body();
        (void)prefork_semaphore_post(&common->ready);
        for (;;)
            (void)pause();
    }
    ck_assert_int_eq(prefork_semaphore_wait(&common->ready, prefork_deadline_after_ms(FAR_MS)), 0);
    return pid;
}

static void kill_child(pid_t pid)
{
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void own(void)
{
    if (adopt(CREATE) != 0)
        abort();
}

/* A segment whose owner was killed. */
static void leave_dead(void)
{
    kill_child(start_child(own));
}

/* A segment as another program would make it. */
static int make_raw(size_t bytes, int mode)
{
    const int id = shmget(options.key, bytes, IPC_CREAT | IPC_EXCL | mode);

    ck_assert_int_ge(id, 0);
    return id;
}

/* ---- absent, alive, dead ---- */

START_TEST(absent_is_created_only_when_allowed)
{
    assert_verdict(PREFORK_SEGMENT_ABSENT);
    ck_assert_int_eq(report.id, -1);
    assert_refused(JOIN | TAKE | REPLACE | MEND, -ENOENT, "no segment under key");
    assert_adopts(CREATE);
    ck_assert_int_eq(report.verdict, PREFORK_SEGMENT_ABSENT);
    ck_assert_int_eq(prefork_segment_is_new(segment), 1);
    ck_assert_uint_eq(prefork_segment_bytes(segment), BYTES);
    ck_assert_uint_eq((uintptr_t)prefork_segment_address(segment) % 128, 0);
    ck_assert_int_eq(((char *)prefork_segment_address(segment))[BYTES - 1], 'i');
}
END_TEST

START_TEST(alive_is_joined_only_when_allowed)
{
    struct prefork_segment *own_segment;

    assert_adopts(CREATE);
    own_segment = segment;
    segment = NULL;
    assert_verdict(PREFORK_SEGMENT_ALIVE);
    ck_assert_int_eq(report.owner_pid, getpid());
    ck_assert_int_eq(report.owner_alive, 1);
    assert_refused(CREATE | TAKE | REPLACE | MEND, -EBUSY, "is in use by process");
    assert_adopts(JOIN);
    ck_assert_int_eq(prefork_segment_is_new(segment), 0);
    ck_assert_int_eq(prefork_segment_id(segment), prefork_segment_id(own_segment));
    ck_assert_mem_eq(prefork_segment_address(segment), prefork_segment_address(own_segment), BYTES);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->initialised), 1);
    prefork_segment_close(&own_segment);
}
END_TEST

START_TEST(dead_is_taken_only_when_allowed)
{
    leave_dead();
    assert_verdict(PREFORK_SEGMENT_DEAD);
    ck_assert_int_eq(report.owner_alive, 0);
    ck_assert_uint_eq(report.status.attached, 0);
    assert_refused(CREATE | JOIN | MEND, -EOWNERDEAD, "which is dead");
    assert_refused(REPLACE, -EOWNERDEAD, "which is dead"); /* to replace is to create, too */
    assert_adopts(TAKE);
    ck_assert_int_eq(report.verdict, PREFORK_SEGMENT_DEAD);
    ck_assert_int_eq(prefork_segment_is_new(segment), 0);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->initialised), 1);
    assert_verdict(PREFORK_SEGMENT_ALIVE);
    ck_assert_int_eq(report.owner_pid, getpid());
}
END_TEST

START_TEST(dead_is_replaced_when_allowed)
{
    int old_id;

    leave_dead();
    old_id = shmget(options.key, 0, 0);
    assert_adopts(CREATE | REPLACE);
    ck_assert_int_eq(prefork_segment_is_new(segment), 1);
    ck_assert_int_ne(prefork_segment_id(segment), old_id);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->initialised), 2);
}
END_TEST

START_TEST(owner_is_dead_before_it_is_reaped)
{
    const pid_t pid = start_child(own);
    siginfo_t info;

    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_verdict(PREFORK_SEGMENT_DEAD);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

static void own_and_leave_an_orphan(void)
{
    own();
    if (fork() == 0) {
        (void)prefork_semaphore_wait(&common->go, PREFORK_NO_DEADLINE);
        _exit(0);
    }
}

START_TEST(orphans_of_a_dead_owner_keep_it_alive)
{
    kill_child(start_child(own_and_leave_an_orphan));
    assert_verdict(PREFORK_SEGMENT_ALIVE);
    ck_assert_int_eq(report.owner_alive, 0);
    ck_assert_uint_eq(report.status.attached, 1);
    assert_refused(CREATE | TAKE | REPLACE, -EBUSY, "are still attached");
    ck_assert_int_eq(prefork_semaphore_post(&common->go), 0);
    for (const uint64_t until_ns = prefork_deadline_after_ms(FAR_MS); report.status.attached > 0;) {
        ck_assert_uint_lt(prefork_clock_now_ns(), until_ns);
        ck_assert_int_eq(prefork_segment_judge(&options, &layout, &report), 0);
    }
    assert_verdict(PREFORK_SEGMENT_DEAD);
}
END_TEST

/* ---- whether that process is that process ---- */

/* As a later process under the owner's pid would make it look. */
START_TEST(reused_pid_is_another_process)
{
    struct pfk_header_shm *header;

    assert_adopts(CREATE);
    header = header_of(segment);
    pfk_u64_store_release(&header->owner, pfk_u64_load_acquire(&header->owner) - (UINT64_C(1) << PFK_PROCESS_PID_BITS));
    prefork_segment_close(&segment);
    assert_verdict(PREFORK_SEGMENT_DEAD);
    ck_assert_int_eq(report.owner_pid, getpid());
}
END_TEST

START_TEST(owner_of_another_boot_is_dead)
{
    assert_adopts(CREATE);
    pfk_u64_store_release(&header_of(segment)->boot_id[1], 12345);
    prefork_segment_close(&segment);
    assert_verdict(PREFORK_SEGMENT_DEAD);
}
END_TEST

START_TEST(owner_in_another_pid_namespace_can_not_be_told)
{
    assert_adopts(CREATE);
    pfk_u64_store_release(&header_of(segment)->pid_namespace, 12345);
    prefork_segment_close(&segment);
    assert_verdict(PREFORK_SEGMENT_UNKNOWN);
    ck_assert_int_eq(report.owner_alive, -1);
    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EADDRINUSE, "give a lock file");
}
END_TEST

START_TEST(owner_without_start_time_can_not_be_told)
{
    assert_adopts(CREATE);
    pfk_u64_store_release(&header_of(segment)->owner, (uint64_t)getppid());
    prefork_segment_close(&segment);
    assert_verdict(PREFORK_SEGMENT_UNKNOWN);
}
END_TEST

START_TEST(lock_file_decides_over_the_recorded_process)
{
    layout.lock_path = lock_path;
    assert_adopts(CREATE);
    pfk_u64_store_release(&header_of(segment)->pid_namespace, 12345);
    assert_verdict(PREFORK_SEGMENT_ALIVE);
    prefork_segment_close(&segment); /* releases the lock */
    assert_verdict(PREFORK_SEGMENT_DEAD);
    assert_adopts(TAKE);
    assert_verdict(PREFORK_SEGMENT_ALIVE);
}
END_TEST

START_TEST(lock_file_is_released_by_the_owners_death)
{
    pid_t pid;

    layout.lock_path = lock_path;
    pid = start_child(own);
    assert_verdict(PREFORK_SEGMENT_ALIVE);
    assert_refused(CREATE | TAKE | REPLACE, -EBUSY, "is in use by process");
    kill_child(pid);
    assert_verdict(PREFORK_SEGMENT_DEAD);
    assert_adopts(TAKE);
}
END_TEST

START_TEST(who_joins_does_not_hold_the_lock)
{
    struct prefork_segment *own_segment;

    layout.lock_path = lock_path;
    assert_adopts(CREATE);
    own_segment = segment;
    segment = NULL;
    assert_adopts(CREATE | JOIN | TAKE);
    prefork_segment_close(&own_segment);
    prefork_segment_close(&segment);
    assert_verdict(PREFORK_SEGMENT_DEAD);
}
END_TEST

/* ---- not as wanted ---- */

START_TEST(other_version_or_fingerprint_is_refused)
{
    assert_adopts(CREATE);
    prefork_segment_close(&segment);
    layout.version = 4;
    assert_verdict(PREFORK_SEGMENT_OTHER_LAYOUT);
    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EPROTO, "version 3, fingerprint abc; version 4");
    layout.version = 3;
    layout.fingerprint = 0xabd;
    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EPROTO, "ipcrm -m");
}
END_TEST

START_TEST(strangers_contents_are_refused)
{
    const int id = make_raw(BYTES + PFK_HEADER_BYTES, 0600);
    char *bytes = shmat(id, NULL, 0);

    memset(bytes, 'x', BYTES);
    (void)shmdt(bytes);
    assert_verdict(PREFORK_SEGMENT_OTHER_LAYOUT);
    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EPROTO, "not made by this library");
}
END_TEST

START_TEST(other_size_is_refused)
{
    assert_adopts(CREATE);
    prefork_segment_close(&segment);
    options.bytes = BYTES + 1;
    assert_verdict(PREFORK_SEGMENT_OTHER_SIZE);
    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EMSGSIZE, "has 640 bytes, 641 are wanted");
    options.bytes = BYTES - 1;
    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EMSGSIZE, "has 640 bytes, 639 are wanted");
}
END_TEST

START_TEST(header_that_lies_about_its_size_is_refused)
{
    assert_adopts(CREATE);
    pfk_u64_store_release(&header_of(segment)->bytes, UINT64_MAX);
    prefork_segment_close(&segment);
    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EMSGSIZE, "says it holds");
}
END_TEST

START_TEST(segment_open_to_others_is_foreign)
{
    (void)make_raw(BYTES + PFK_HEADER_BYTES, 0666);
    assert_verdict(PREFORK_SEGMENT_FOREIGN);
    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EACCES, "has mode 0666, which grants more than 0600");
}
END_TEST

START_TEST(senseless_requests_are_refused)
{
    const struct prefork_segment_options good = options;

    ck_assert_int_eq(adopt(1u << 20), -EINVAL);
    options.by = PREFORK_SEGMENT_BY_NOTHING;
    ck_assert_int_eq(adopt(CREATE), -EINVAL);
    options = good;
    options.bytes = 0;
    ck_assert_int_eq(adopt(CREATE), -EINVAL);
    options.bytes = SIZE_MAX;
    ck_assert_int_eq(adopt(CREATE), -EINVAL);
    options = good;
    layout.size = 1;
    ck_assert_int_eq(adopt(CREATE), -EINVAL);
    ck_assert_int_eq(prefork_segment_judge(&options, NULL, &report), -EINVAL);
    ck_assert_ptr_null(segment);
    ck_assert_str_eq(prefork_segment_verdict_name((enum prefork_segment_verdict)99), "no verdict");
}
END_TEST

/* ---- unfinished ---- */

static void make_and_stop(void)
{
    (void)make_raw(BYTES + PFK_HEADER_BYTES, 0600);
}

static int die_in_the_middle(void *address, size_t bytes, void *context)
{
    (void)address;
    (void)bytes;
    (void)context;
    (void)prefork_semaphore_post(&common->ready);
    return kill(getpid(), SIGKILL);
}

static void own_and_die_in_the_middle(void)
{
    layout.initialise = die_in_the_middle;
    own();
}

START_TEST(creator_killed_before_the_header_is_mended_when_allowed)
{
    kill_child(start_child(make_and_stop));
    assert_verdict(PREFORK_SEGMENT_UNFINISHED);
    ck_assert_int_eq(report.creator_alive, 0);
    assert_refused(CREATE | JOIN | TAKE | REPLACE, -ENOTRECOVERABLE, "is dead; ipcrm -m");
    assert_adopts(CREATE | MEND);
    ck_assert_int_eq(prefork_segment_is_new(segment), 1);
}
END_TEST

START_TEST(creator_killed_in_the_initialiser_is_mended_when_allowed)
{
    const pid_t pid = start_child(own_and_die_in_the_middle);

    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    assert_verdict(PREFORK_SEGMENT_UNFINISHED);
    ck_assert_int_eq(report.owner_pid, pid);
    assert_adopts(CREATE | MEND);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->initialised), 1);
}
END_TEST

START_TEST(slow_creator_is_waited_for_but_not_for_ever)
{
    const uint64_t start_ns = prefork_clock_now_ns();
    const pid_t pid = start_child(make_and_stop);

    assert_refused(CREATE | JOIN | TAKE | REPLACE | MEND, -EBUSY, "lives; wait for it");
    ck_assert_uint_ge(prefork_clock_now_ns() - start_ns, UINT64_C(1000000000));
    ck_assert_uint_lt(prefork_clock_now_ns() - start_ns, UINT64_C(2000000000));
    kill_child(pid);
}
END_TEST

static int initialise_when_told(void *address, size_t bytes, void *context)
{
    (void)prefork_semaphore_post(&common->ready);
    (void)prefork_semaphore_wait(&common->go, PREFORK_NO_DEADLINE);
    return initialise(address, bytes, context);
}

static int fail_when_told(void *address, size_t bytes, void *context)
{
    (void)initialise_when_told(address, bytes, context);
    return -ENODATA;
}

/* A child that creates and holds still in the initialiser. */
static pid_t start_slow_creator(prefork_segment_initialise_fn slowly)
{
    const pid_t pid = fork();

    if (pid == 0) {
        layout.initialise = slowly;
        (void)adopt(CREATE);
        (void)prefork_semaphore_wait(&common->go, PREFORK_NO_DEADLINE);
        _exit(0);
    }
    ck_assert_int_eq(prefork_semaphore_wait(&common->ready, prefork_deadline_after_ms(FAR_MS)), 0);
    return pid;
}

START_TEST(joiner_sees_a_slow_creators_contents_whole)
{
    const pid_t pid = start_slow_creator(initialise_when_told);

    ck_assert_int_eq(prefork_semaphore_post(&common->go), 0);
    assert_adopts(CREATE | JOIN);
    ck_assert_int_eq(((char *)prefork_segment_address(segment))[0], 'i');
    ck_assert_int_eq(((char *)prefork_segment_address(segment))[BYTES - 1], 'i');
    kill_child(pid);
}
END_TEST

START_TEST(failed_initialiser_undoes_the_creation)
{
    layout.initialise = fail_when_told;
    ck_assert_int_eq(prefork_semaphore_post(&common->go), 0);
    ck_assert_int_eq(adopt(CREATE), -ENODATA);
    ck_assert_ptr_null(segment);
    assert_verdict(PREFORK_SEGMENT_ABSENT);
}
END_TEST

START_TEST(waiter_creates_when_the_creator_gives_up)
{
    const pid_t pid = start_slow_creator(fail_when_told);

    ck_assert_int_eq(prefork_semaphore_post(&common->go), 0);
    assert_adopts(CREATE | JOIN);
    ck_assert_int_eq(prefork_segment_is_new(segment), 1);
    kill_child(pid);
}
END_TEST

/* ---- many at once ---- */

#define RACERS 12

/* All adopt at the same moment and stay until all have. */
static void race(unsigned allow)
{
    pid_t pids[RACERS];

    for (int i = 0; i < RACERS; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        (void)prefork_semaphore_wait(&common->go, PREFORK_NO_DEADLINE);
        common->ids[i] = -1;
        if (adopt(allow) != 0)
            (void)pfk_u32_add_acq_rel(&common->failed, 1);
        else if (prefork_segment_is_new(segment))
            (void)pfk_u32_add_acq_rel(&common->created, 1);
        else if (pfk_process_pid(pfk_u64_load_acquire(&header_of(segment)->owner)) == getpid())
            (void)pfk_u32_add_acq_rel(&common->taken, 1);
        else
            (void)pfk_u32_add_acq_rel(&common->joined, 1);
        if (segment != NULL)
            common->ids[i] = prefork_segment_id(segment);
        (void)prefork_semaphore_post(&common->ready);
        for (;;)
            (void)pause();
    }
    for (int i = 0; i < RACERS; i++)
        ck_assert_int_eq(prefork_semaphore_post(&common->go), 0);
    for (int i = 0; i < RACERS; i++)
        ck_assert_int_eq(prefork_semaphore_wait(&common->ready, prefork_deadline_after_ms(FAR_MS)), 0);
    for (int i = 0; i < RACERS; i++) {
        ck_assert(common->ids[i] == -1 || common->ids[i] == shmget(options.key, 0, 0));
        kill_child(pids[i]);
    }
}

static void assert_race(unsigned created, unsigned taken, unsigned joined, unsigned failed)
{
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->created), created);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->taken), taken);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->joined), joined);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->failed), failed);
}

/* Who may join may also meet another that is attached just then, and take it for a user. */
static void assert_race_of_joiners(unsigned most_created, unsigned most_taken)
{
    const unsigned created = pfk_u32_load_acquire(&common->created);
    const unsigned taken = pfk_u32_load_acquire(&common->taken);

    ck_assert_uint_le(created, most_created);
    ck_assert_uint_le(taken, most_taken);
    assert_race(created, taken, RACERS - created - taken, 0);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->initialised), 1 + created);
}

START_TEST(of_many_one_creates_and_the_others_join)
{
    race(CREATE | JOIN);
    assert_race(1, 0, RACERS - 1, 0);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->initialised), 1);
}
END_TEST

START_TEST(of_many_masters_one_creates_and_the_others_are_refused)
{
    race(CREATE | TAKE);
    assert_race(1, 0, 0, RACERS - 1);
}
END_TEST

START_TEST(of_many_masters_with_a_lock_file_one_creates)
{
    layout.lock_path = lock_path;
    race(CREATE | TAKE);
    assert_race(1, 0, 0, RACERS - 1);
}
END_TEST

START_TEST(of_many_one_takes_what_is_dead)
{
    leave_dead();
    race(TAKE);
    assert_race(0, 1, 0, RACERS - 1);
}
END_TEST

START_TEST(of_many_one_replaces_what_is_dead)
{
    leave_dead();
    race(CREATE | REPLACE);
    assert_race(1, 0, 0, RACERS - 1);
    ck_assert_uint_eq(pfk_u32_load_acquire(&common->initialised), 2);
}
END_TEST

START_TEST(of_many_one_replaces_and_the_others_join)
{
    leave_dead();
    race(CREATE | JOIN | REPLACE);
    assert_race_of_joiners(1, 0);
}
END_TEST

START_TEST(of_many_one_takes_and_the_others_join)
{
    leave_dead();
    race(JOIN | TAKE);
    assert_race_of_joiners(0, 1);
}
END_TEST

START_TEST(of_many_one_mends_what_is_unfinished)
{
    kill_child(start_child(make_and_stop));
    race(CREATE | JOIN | MEND);
    assert_race(1, 0, RACERS - 1, 0);
}
END_TEST

/* A replacer that was killed after pfk_header_retire. */
START_TEST(half_replaced_is_mended_but_not_under_others)
{
    int id;

    leave_dead();
    assert_adopts(TAKE);
    id = prefork_segment_id(segment);
    pfk_header_retire(header_of(segment));
    pfk_u64_store_release(&header_of(segment)->owner, UINT64_C(1) << PFK_PROCESS_PID_BITS | 4000000);
    {
        struct prefork_segment *in_it = segment;

        segment = NULL;
        assert_refused(CREATE | JOIN | MEND, -EBUSY, "others changed");
        prefork_segment_close(&in_it);
    }
    assert_adopts(CREATE | JOIN | MEND);
    ck_assert_int_ne(prefork_segment_id(segment), id);
}
END_TEST

START_TEST(joiner_of_what_is_replaced_keeps_it)
{
    struct prefork_segment *in_it;
    uint64_t owner;

    leave_dead();
    assert_adopts(TAKE);
    in_it = segment;
    segment = NULL;
    owner = pfk_u64_load_acquire(&header_of(in_it)->owner);
    pfk_header_retire(header_of(in_it));
    pfk_header_revive(header_of(in_it), owner);
    assert_adopts(JOIN | REPLACE | CREATE);
    ck_assert_int_eq(prefork_segment_id(segment), prefork_segment_id(in_it));
    prefork_segment_close(&in_it);
}
END_TEST

START_TEST(nothing_is_left_open)
{
    const int before = pfk_test_fds_open();
    struct prefork_segment_status status;

    layout.lock_path = lock_path;
    assert_adopts(CREATE);
    assert_verdict(PREFORK_SEGMENT_ALIVE);
    ck_assert_int_eq(prefork_segment_stat(segment, &status), 0);
    ck_assert_uint_eq(status.attached, 1);
    prefork_segment_close(&segment);
    layout.version++;
    ck_assert_int_eq(adopt(CREATE | JOIN | TAKE), -EPROTO);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

START_TEST(fingerprint_depends_on_each_number_and_on_order)
{
    const uint64_t numbers[][2] = {{1, 2}, {2, 1}, {1, 3}, {1, 0}, {UINT64_C(1) << 63, 2}};

    ck_assert_uint_eq(prefork_segment_fingerprint(numbers[0], 0), UINT64_C(0xcbf29ce484222325));
    for (size_t i = 0; i < PFK_COUNT_OF(numbers); i++)
        for (size_t k = 0; k < i; k++)
            ck_assert_uint_ne(prefork_segment_fingerprint(numbers[i], 2), prefork_segment_fingerprint(numbers[k], 2));
}
END_TEST

static Suite *judge_suite(void)
{
    Suite *suite = suite_create("judge");
    TCase *verdicts = tcase_create("verdicts");
    TCase *processes = tcase_create("recorded processes");
    TCase *races = tcase_create("races");

    tcase_add_checked_fixture(verdicts, set_up, tear_down);
    tcase_add_test(verdicts, absent_is_created_only_when_allowed);
    tcase_add_test(verdicts, alive_is_joined_only_when_allowed);
    tcase_add_test(verdicts, dead_is_taken_only_when_allowed);
    tcase_add_test(verdicts, dead_is_replaced_when_allowed);
    tcase_add_test(verdicts, orphans_of_a_dead_owner_keep_it_alive);
    tcase_add_test(verdicts, owner_without_start_time_can_not_be_told);
    tcase_add_test(verdicts, lock_file_decides_over_the_recorded_process);
    tcase_add_test(verdicts, lock_file_is_released_by_the_owners_death);
    tcase_add_test(verdicts, who_joins_does_not_hold_the_lock);
    tcase_add_test(verdicts, other_version_or_fingerprint_is_refused);
    tcase_add_test(verdicts, strangers_contents_are_refused);
    tcase_add_test(verdicts, other_size_is_refused);
    tcase_add_test(verdicts, header_that_lies_about_its_size_is_refused);
    tcase_add_test(verdicts, segment_open_to_others_is_foreign);
    tcase_add_test(verdicts, senseless_requests_are_refused);
    tcase_add_test(verdicts, creator_killed_before_the_header_is_mended_when_allowed);
    tcase_add_test(verdicts, creator_killed_in_the_initialiser_is_mended_when_allowed);
    tcase_add_test(verdicts, slow_creator_is_waited_for_but_not_for_ever);
    tcase_add_test(verdicts, joiner_sees_a_slow_creators_contents_whole);
    tcase_add_test(verdicts, failed_initialiser_undoes_the_creation);
    tcase_add_test(verdicts, waiter_creates_when_the_creator_gives_up);
    tcase_add_test(verdicts, half_replaced_is_mended_but_not_under_others);
    tcase_add_test(verdicts, joiner_of_what_is_replaced_keeps_it);
    tcase_add_test(verdicts, nothing_is_left_open);
    tcase_add_test(verdicts, fingerprint_depends_on_each_number_and_on_order);
    tcase_add_checked_fixture(processes, set_up, tear_down);
    tcase_set_tags(processes, PFK_UNIT_NEEDS_PROC);
    tcase_add_test(processes, owner_is_dead_before_it_is_reaped);
    tcase_add_test(processes, reused_pid_is_another_process);
    tcase_add_test(processes, owner_of_another_boot_is_dead);
    tcase_add_test(processes, owner_in_another_pid_namespace_can_not_be_told);
    tcase_add_checked_fixture(races, set_up, tear_down);
    tcase_set_timeout(races, 20);
    tcase_add_test(races, of_many_one_creates_and_the_others_join);
    tcase_add_test(races, of_many_masters_one_creates_and_the_others_are_refused);
    tcase_add_test(races, of_many_masters_with_a_lock_file_one_creates);
    tcase_add_test(races, of_many_one_takes_what_is_dead);
    tcase_add_test(races, of_many_one_replaces_what_is_dead);
    tcase_add_test(races, of_many_one_replaces_and_the_others_join);
    tcase_add_test(races, of_many_one_takes_and_the_others_join);
    tcase_add_test(races, of_many_one_mends_what_is_unfinished);
    suite_add_tcase(suite, verdicts);
    suite_add_tcase(suite, processes);
    suite_add_tcase(suite, races);
    return suite;
}

PFK_UNIT_MAIN(judge_suite)
