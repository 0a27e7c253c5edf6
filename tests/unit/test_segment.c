/* SPDX-License-Identifier: BSD-2-Clause */
/* The four steps, what a handle tells, and the private segment. Keys are random; what is made is removed. */
#include "prefork/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "ipc/segment.h"
#include "prefork/error.h"

static struct prefork_segment_options options;
static int page_bytes;

static uint32_t random_bits(void)
{
    uint32_t bits;

    ck_assert_int_eq(getrandom(&bits, sizeof(bits), 0), sizeof(bits));
    return bits;
}

static void set_up(void)
{
    options = (struct prefork_segment_options)PREFORK_SEGMENT_OPTIONS_INIT;
    options.by = PREFORK_SEGMENT_BY_KEY;
    options.key = (int)(0x51000000u | (random_bits() & 0xffffffu));
    options.bytes = 5000;
    page_bytes = (int)sysconf(_SC_PAGESIZE);
}

static struct prefork_segment *make(void)
{
    struct prefork_segment *segment = NULL;

    ck_assert_msg(prefork_segment_create(&options, &segment) == 0, "%s", prefork_last_error());
    return segment;
}

static void end(struct prefork_segment *segment)
{
    ck_assert_int_eq(prefork_segment_remove(segment), 0);
    prefork_segment_close(&segment);
    ck_assert_ptr_null(segment);
}

#define assert_text_has(part) ck_assert_msg(strstr(prefork_last_error(), (part)) != NULL, "%s", prefork_last_error())

static void assert_text_has_number(const char *format, long number)
{
    char part[64];

    (void)snprintf(part, sizeof(part), format, number);
    assert_text_has(part);
}

/* Runs `body` in a child and returns its wait status. */
static int status_of_child(int (*body)(void *), void *context)
{
    const pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(body(context));
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* ---- making and opening ---- */

START_TEST(new_segment_is_zero_and_has_the_wanted_size_and_mode)
{
    struct prefork_segment *segment = make();
    struct prefork_segment_status status;
    const unsigned char *bytes;

    ck_assert_int_eq(prefork_segment_is_new(segment), 1);
    ck_assert_int_eq(prefork_segment_key(segment), options.key);
    ck_assert_uint_eq(prefork_segment_bytes(segment), 5000);
    ck_assert_ptr_null(prefork_segment_address(segment));
    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE), 0);
    bytes = prefork_segment_address(segment);
    ck_assert_int_eq(bytes[0], 0);
    ck_assert_int_eq(memcmp(bytes, bytes + 1, 4999), 0);
    ck_assert_int_eq(prefork_segment_stat(segment, &status), 0);
    ck_assert_uint_eq(status.bytes, 5000);
    ck_assert_uint_eq(status.mode, 0600);
    ck_assert_uint_eq(status.uid, geteuid());
    ck_assert_uint_eq(status.creator_uid, geteuid());
    ck_assert_uint_eq(status.attached, 1);
    ck_assert_int_eq(status.creator_pid, getpid());
    ck_assert_int_eq(status.removed, 0);
    end(segment);
}
END_TEST

START_TEST(umask_plays_no_part)
{
    struct prefork_segment *segment;
    struct prefork_segment_status status;

    const mode_t before = umask(0777);

    options.mode = 0664;
    segment = make();
    (void)umask(before);
    ck_assert_int_eq(prefork_segment_stat(segment, &status), 0);
    ck_assert_uint_eq(status.mode, 0664);
    end(segment);
}
END_TEST

START_TEST(exclusive_create_refuses_what_exists)
{
    struct prefork_segment *segment = make(), *other = NULL;

    ck_assert_int_eq(prefork_segment_create(&options, &other), -EEXIST);
    ck_assert_ptr_null(other);
    assert_text_has_number("key 0x%lx is in use", options.key);
    assert_text_has_number("ipcrm -m %ld", prefork_segment_id(segment));
    end(segment);
}
END_TEST

START_TEST(get_or_create_takes_what_exists_and_learns_its_size)
{
    struct prefork_segment *segment = make(), *other = NULL;

    options.exclusive = 0;
    options.bytes = 100;
    ck_assert_int_eq(prefork_segment_create(&options, &other), 0);
    ck_assert_int_eq(prefork_segment_is_new(other), 0);
    ck_assert_int_eq(prefork_segment_id(other), prefork_segment_id(segment));
    ck_assert_uint_eq(prefork_segment_bytes(other), 5000);
    prefork_segment_close(&other);
    options.bytes = 5001;
    ck_assert_int_eq(prefork_segment_create(&options, &other), -EINVAL);
    assert_text_has_number("under key 0x%lx has 5000 bytes, 5001 are wanted", options.key);
    assert_text_has_number("ipcrm -m %ld", prefork_segment_id(segment));
    end(segment);
}
END_TEST

START_TEST(size_over_the_limit_names_the_limit)
{
    struct prefork_segment *segment = NULL;
    struct shminfo limits;
    char part[64];

    ck_assert_int_ge(shmctl(0, IPC_INFO, (struct shmid_ds *)(void *)&limits), 0);
    options.bytes = SIZE_MAX;
    ck_assert_int_eq(prefork_segment_create(&options, &segment), -EINVAL);
    (void)snprintf(part, sizeof(part), "kernel.shmmax = %lu", limits.shmmax);
    assert_text_has(part);
    assert_text_has("sysctl -w kernel.shmmax=18446744073709551615");
    options.bytes = 0;
    ck_assert_int_eq(prefork_segment_create(&options, &segment), -EINVAL);
    assert_text_has("0 bytes");
    ck_assert_ptr_null(segment);
}
END_TEST

START_TEST(open_learns_size_by_key_and_by_id)
{
    struct prefork_segment *segment = make(), *other = NULL;

    options.bytes = 0;
    ck_assert_int_eq(prefork_segment_open(&options, &other), 0);
    ck_assert_uint_eq(prefork_segment_bytes(other), 5000);
    ck_assert_int_eq(prefork_segment_is_new(other), 0);
    prefork_segment_close(&other);
    options.by = PREFORK_SEGMENT_BY_ID;
    options.id = prefork_segment_id(segment);
    ck_assert_int_eq(prefork_segment_open(&options, &other), 0);
    ck_assert_uint_eq(prefork_segment_bytes(other), 5000);
    ck_assert_int_eq(prefork_segment_key(other), prefork_segment_key(segment));
    prefork_segment_close(&other);
    options.bytes = 5001;
    ck_assert_int_eq(prefork_segment_open(&options, &other), -EINVAL);
    assert_text_has("has 5000 bytes, 5001 are wanted");
    end(segment);
}
END_TEST

START_TEST(open_tells_absent_from_removed)
{
    struct prefork_segment *segment = make(), *other = NULL;

    options.id = prefork_segment_id(segment);
    end(segment);
    ck_assert_int_eq(prefork_segment_open(&options, &other), -ENOENT);
    assert_text_has_number("no segment under key 0x%lx", options.key);
    options.by = PREFORK_SEGMENT_BY_ID;
    ck_assert_int_eq(prefork_segment_open(&options, &other), -EIDRM);
    assert_text_has_number("segment id %ld was removed", options.id);
    options.id = -1;
    ck_assert_int_eq(prefork_segment_open(&options, &other), -EINVAL);
    options.by = PREFORK_SEGMENT_BY_NOTHING;
    ck_assert_int_eq(prefork_segment_open(&options, &other), -EINVAL);
}
END_TEST

START_TEST(path_gives_the_key_of_ftok)
{
    const char *directory = getenv("TMPDIR");
    struct prefork_segment *segment, *other = NULL;

    options.by = PREFORK_SEGMENT_BY_PATH;
    options.path = directory == NULL ? "/tmp" : directory;
    options.project = (int)(1 + random_bits() % 100);
    segment = make();
    ck_assert_int_eq(prefork_segment_key(segment), ftok(options.path, options.project));
    ck_assert_int_eq(prefork_segment_open(&options, &other), 0);
    ck_assert_int_eq(prefork_segment_id(other), prefork_segment_id(segment));
    prefork_segment_close(&other);
    end(segment);
    options.path = "/nonexistent";
    ck_assert_int_eq(prefork_segment_open(&options, &other), -ENOENT);
    assert_text_has("/nonexistent");
    options.project = 256;
    ck_assert_int_eq(prefork_segment_open(&options, &other), -EINVAL);
}
END_TEST

START_TEST(senseless_options_are_refused)
{
    const struct prefork_segment_options good = options;
    struct prefork_segment *segment = NULL;

    ck_assert_int_eq(prefork_segment_create(NULL, &segment), -EINVAL);
    options.size = 0;
    ck_assert_int_eq(prefork_segment_create(&options, &segment), -EINVAL);
    assert_text_has("PREFORK_SEGMENT_OPTIONS_INIT");
    options = good;
    options.key = 0;
    ck_assert_int_eq(prefork_segment_create(&options, &segment), -EINVAL);
    options.key = 0x70661234;
    ck_assert_int_eq(prefork_segment_create(&options, &segment), -EINVAL);
    assert_text_has("0x7066xxxx is kept for private segments");
    options = good;
    options.mode = 01600;
    ck_assert_int_eq(prefork_segment_create(&options, &segment), -EINVAL);
    options = good;
    options.by = PREFORK_SEGMENT_BY_ID;
    ck_assert_int_eq(prefork_segment_create(&options, &segment), -EINVAL);
    options.by = (enum prefork_segment_by)17;
    ck_assert_int_eq(prefork_segment_create(&options, &segment), -EINVAL);
    ck_assert_ptr_null(segment);
}
END_TEST

START_TEST(segment_that_grants_more_is_refused)
{
    struct prefork_segment *segment, *other = NULL;

    options.mode = 0644;
    segment = make();
    options.mode = 0640;
    ck_assert_int_eq(prefork_segment_open(&options, &other), -EACCES);
    assert_text_has("has mode 0644, which grants more than 0640");
    options.exclusive = 0;
    ck_assert_int_eq(prefork_segment_create(&options, &other), -EACCES);
    ck_assert_ptr_null(other);
    options.mode = 0664;
    ck_assert_int_eq(prefork_segment_open(&options, &other), 0);
    prefork_segment_close(&other);
    end(segment);
}
END_TEST

/* ---- attaching ---- */

START_TEST(mappings_show_the_same_memory)
{
    struct prefork_segment *segment = make(), *other = NULL;

    options.bytes = 0;
    ck_assert_int_eq(prefork_segment_open(&options, &other), 0);
    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE), 0);
    ck_assert_int_eq(prefork_segment_attach(other, PREFORK_SEGMENT_READ_ONLY), 0);
    ck_assert_ptr_ne(prefork_segment_address(segment), prefork_segment_address(other));
    strcpy(prefork_segment_address(segment), "ada");
    ck_assert_str_eq(prefork_segment_address(other), "ada");
    prefork_segment_close(&other);
    end(segment);
}
END_TEST

static int write_to(void *address)
{
    *(volatile char *)address = 1;
    return 0;
}

START_TEST(read_only_mapping_can_not_be_written)
{
    struct prefork_segment *segment = make();
    int status;

    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_ONLY), 0);
    status = status_of_child(write_to, prefork_segment_address(segment));
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    end(segment);
}
END_TEST

START_TEST(attach_and_detach_come_in_pairs)
{
    struct prefork_segment *segment = make();

    ck_assert_int_eq(prefork_segment_detach(segment), -EINVAL);
    ck_assert_int_eq(prefork_segment_keep_from_children(segment), -EINVAL);
    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE), 0);
    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE), -EALREADY);
    ck_assert_int_eq(prefork_segment_detach(segment), 0);
    ck_assert_ptr_null(prefork_segment_address(segment));
    ck_assert_int_eq(prefork_segment_attach(segment, (enum prefork_segment_access)7), -EINVAL);
    end(segment);
}
END_TEST

/* ---- changing ---- */

START_TEST(removed_segment_is_not_found_but_stays_usable)
{
    struct prefork_segment *segment = make(), *other = NULL;
    struct prefork_segment_status status;

    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE), 0);
    ck_assert_int_eq(prefork_segment_remove(segment), 0);
    ck_assert_int_eq(prefork_segment_open(&options, &other), -ENOENT);
    ck_assert_int_eq(prefork_segment_stat(segment, &status), 0);
    ck_assert_int_eq(status.removed, 1);
    strcpy(prefork_segment_address(segment), "still here");
    ck_assert_int_eq(prefork_segment_remove(segment), -EIDRM);
    ck_assert_int_eq(prefork_segment_detach(segment), 0);
    ck_assert_int_eq(prefork_segment_stat(segment, &status), -EIDRM);
    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE), -EIDRM);
    prefork_segment_close(&segment);
}
END_TEST

START_TEST(mode_and_owner_can_be_changed)
{
    struct prefork_segment *segment = make();
    struct prefork_segment_status status;

    ck_assert_int_eq(prefork_segment_set_mode(segment, 0640), 0);
    ck_assert_int_eq(prefork_segment_set_owner(segment, geteuid(), UINT32_MAX), 0);
    ck_assert_int_eq(prefork_segment_set_owner(segment, UINT32_MAX, getegid()), 0);
    ck_assert_int_eq(prefork_segment_stat(segment, &status), 0);
    ck_assert_uint_eq(status.mode, 0640);
    ck_assert_uint_eq(status.uid, geteuid());
    ck_assert_uint_eq(status.gid, getegid());
    ck_assert_int_eq(prefork_segment_set_mode(segment, 01000), -EINVAL);
    end(segment);
}
END_TEST

static int use_inherited(void *context)
{
    struct prefork_segment *segment = context;
    struct prefork_segment_status status;

    if (prefork_segment_remove(segment) != -ECHILD || prefork_segment_set_mode(segment, 0600) != -ECHILD ||
        prefork_segment_set_owner(segment, 0, 0) != -ECHILD)
        return 1;
    if (prefork_segment_stat(segment, &status) != 0 || status.attached != 2)
        return 2;
    if (strcmp(prefork_segment_address(segment), "ada") != 0)
        return 3;
    strcpy(prefork_segment_address(segment), "bob");
    if (prefork_segment_detach(segment) != 0)
        return 4;
    prefork_segment_close(&segment);
    return 0;
}

START_TEST(child_uses_its_mapping_but_can_not_remove)
{
    struct prefork_segment *segment = make();

    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE), 0);
    strcpy(prefork_segment_address(segment), "ada");
    ck_assert_int_eq(status_of_child(use_inherited, segment), 0);
    ck_assert_str_eq(prefork_segment_address(segment), "bob");
    end(segment);
}
END_TEST

START_TEST(mapping_is_kept_from_children)
{
    struct prefork_segment *segment = make();
    int status;

    ck_assert_int_eq(prefork_segment_attach(segment, PREFORK_SEGMENT_READ_WRITE), 0);
    ck_assert_int_eq(prefork_segment_keep_from_children(segment), 0);
    status = status_of_child(write_to, prefork_segment_address(segment));
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    ck_assert_int_eq(write_to(prefork_segment_address(segment)), 0);
    end(segment);
}
END_TEST

/* ---- the private segment ---- */

START_TEST(private_segment_can_not_be_left_behind)
{
    struct prefork_segment *segment = NULL;
    struct prefork_segment_status status;

    ck_assert_int_eq(prefork_segment_create_private(3 * (size_t)page_bytes + 1, &segment), 0);
    ck_assert_int_eq(prefork_segment_stat(segment, &status), 0);
    ck_assert_int_eq(status.removed, 1);
    ck_assert_uint_eq(status.mode, 0600);
    ck_assert_uint_eq(status.attached, 1);
    ck_assert_uint_eq((uint32_t)prefork_segment_key(segment) & PFK_SEGMENT_PRIVATE_MASK, PFK_SEGMENT_PRIVATE_PREFIX);
    ck_assert_int_eq(shmget(prefork_segment_key(segment), 0, 0), -1);
    ck_assert_int_eq(prefork_segment_is_new(segment), 1);
    prefork_segment_close(&segment);
}
END_TEST

START_TEST(private_segment_is_zero_and_has_all_its_pages)
{
    struct prefork_segment *segment = NULL;
    unsigned char resident[64];
    unsigned char *bytes;

    ck_assert_int_eq(prefork_segment_create_private(64 * (size_t)page_bytes, &segment), 0);
    bytes = prefork_segment_address(segment);
    ck_assert_int_eq(mincore(bytes, 64 * (size_t)page_bytes, resident), 0);
    for (int page = 0; page < 64; page++)
        ck_assert_int_eq(resident[page] & 1, 1);
    ck_assert_int_eq(bytes[0], 0);
    ck_assert_int_eq(memcmp(bytes, bytes + 1, 64 * (size_t)page_bytes - 1), 0);
    prefork_segment_close(&segment);
}
END_TEST

START_TEST(private_segment_of_a_killed_process_is_gone)
{
    int ends[2], id;
    pid_t pid;

    ck_assert_int_eq(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        struct prefork_segment *segment = NULL;

        (void)prefork_segment_create_private(1, &segment);
        id = prefork_segment_id(segment);
        (void)!write(ends[1], &id, sizeof(id));
        for (;;)
            (void)pause();
    }
    ck_assert_int_eq(read(ends[0], &id, sizeof(id)), sizeof(id));
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    options.by = PREFORK_SEGMENT_BY_ID;
    options.id = id;
    options.bytes = 0;
    {
        struct prefork_segment *segment = NULL;

        ck_assert_int_eq(prefork_segment_open(&options, &segment), -EIDRM);
    }
}
END_TEST

START_TEST(private_segment_leaves_nothing_when_refused)
{
    const int before = pfk_test_fds_open();
    struct prefork_segment *segment = NULL;

    ck_assert_int_eq(prefork_segment_create_private(SIZE_MAX, &segment), -EINVAL);
    ck_assert_int_eq(prefork_segment_create_private(0, &segment), -EINVAL);
    ck_assert_ptr_null(segment);
    ck_assert_int_eq(prefork_segment_remove_strays(), 0);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

/* ---- strays ---- */

static int stray_key(void)
{
    return (int)(PFK_SEGMENT_PRIVATE_PREFIX | (random_bits() & 0xffffu));
}

static int make_raw(int key, int mode)
{
    int id = shmget(key, 100, IPC_CREAT | IPC_EXCL | mode);

    return id;
}

/* Made by a child that has died. */
static int make_stray(int key, int mode)
{
    const pid_t pid = fork();

    if (pid == 0) {
        (void)make_raw(key, mode);
        (void)kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    return shmget(key, 0, 0);
}

START_TEST(stray_of_a_dead_process_is_removed)
{
    const int key = stray_key();

    prefork_log_set_level(PREFORK_LOG_ERROR);
    ck_assert_int_ge(make_stray(key, 0600), 0);
    ck_assert_int_eq(prefork_segment_remove_strays(), 1);
    ck_assert_int_eq(shmget(key, 0, 0), -1);
    ck_assert_int_eq(prefork_segment_remove_strays(), 0);
}
END_TEST

START_TEST(what_is_no_stray_stays)
{
    const int alive = make_raw(stray_key(), 0600);
    const int other_mode = make_stray(stray_key(), 0660);
    const int other_key = make_stray(options.key, 0600);
    const int attached = make_stray(stray_key(), 0600);
    void *mapping = shmat(attached, NULL, 0);
    const int all[] = {alive, other_mode, other_key, attached};

    ck_assert_ptr_ne(mapping, (void *)-1);
    ck_assert_int_eq(prefork_segment_remove_strays(), 0);
    ck_assert_int_eq(shmdt(mapping), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(shmctl(all[i], IPC_RMID, NULL), 0);
}
END_TEST

#define KILLS 40

START_TEST(makers_killed_at_any_moment_leave_at_most_strays)
{
    struct shm_info used;
    struct shmid_ds state;
    int last;

    prefork_log_set_level(PREFORK_LOG_ERROR);
    for (int i = 0; i < KILLS; i++) {
        int ends[2];
        char byte;
        const int piped = pipe(ends);
        const pid_t pid = fork();

        ck_assert_int_eq(piped, 0);
        if (pid == 0) {
            (void)!write(ends[1], "x", 1);
            for (;;) {
                struct prefork_segment *segment = NULL;

                if (prefork_segment_create_private(1, &segment) == 0)
                    prefork_segment_close(&segment);
            }
        }
        ck_assert_int_eq(read(ends[0], &byte, 1), 1);
        for (volatile uint32_t spin = random_bits() % 200000; spin > 0; spin--)
            continue;
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
    ck_assert_int_ge(prefork_segment_remove_strays(), 0);
    last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&used);
    for (int index = 0; index <= last; index++)
        if (shmctl(index, SHM_STAT, &state) >= 0)
            ck_assert(((uint32_t)state.shm_perm.__key & PFK_SEGMENT_PRIVATE_MASK) != PFK_SEGMENT_PRIVATE_PREFIX ||
                      kill(state.shm_cpid, 0) == 0);
}
END_TEST

static Suite *segment_suite(void)
{
    Suite *suite = suite_create("segment");
    TCase *steps = tcase_create("steps");
    TCase *private_segment = tcase_create("private");

    tcase_add_checked_fixture(steps, set_up, NULL);
    tcase_add_test(steps, new_segment_is_zero_and_has_the_wanted_size_and_mode);
    tcase_add_test(steps, umask_plays_no_part);
    tcase_add_test(steps, exclusive_create_refuses_what_exists);
    tcase_add_test(steps, get_or_create_takes_what_exists_and_learns_its_size);
    tcase_add_test(steps, size_over_the_limit_names_the_limit);
    tcase_add_test(steps, open_learns_size_by_key_and_by_id);
    tcase_add_test(steps, open_tells_absent_from_removed);
    tcase_add_test(steps, path_gives_the_key_of_ftok);
    tcase_add_test(steps, senseless_options_are_refused);
    tcase_add_test(steps, segment_that_grants_more_is_refused);
    tcase_add_test(steps, mappings_show_the_same_memory);
    tcase_add_test(steps, read_only_mapping_can_not_be_written);
    tcase_add_test(steps, attach_and_detach_come_in_pairs);
    tcase_add_test(steps, removed_segment_is_not_found_but_stays_usable);
    tcase_add_test(steps, mode_and_owner_can_be_changed);
    tcase_add_test(steps, child_uses_its_mapping_but_can_not_remove);
    tcase_add_test(steps, mapping_is_kept_from_children);
    tcase_add_checked_fixture(private_segment, set_up, NULL);
    tcase_add_test(private_segment, private_segment_can_not_be_left_behind);
    tcase_add_test(private_segment, private_segment_is_zero_and_has_all_its_pages);
    tcase_add_test(private_segment, private_segment_of_a_killed_process_is_gone);
    tcase_add_test(private_segment, private_segment_leaves_nothing_when_refused);
    tcase_add_test(private_segment, stray_of_a_dead_process_is_removed);
    tcase_add_test(private_segment, what_is_no_stray_stays);
    tcase_add_test(private_segment, makers_killed_at_any_moment_leave_at_most_strays);
    suite_add_tcase(suite, steps);
    suite_add_tcase(suite, private_segment);
    return suite;
}

PFK_UNIT_MAIN(segment_suite)
