/* SPDX-License-Identifier: BSD-2-Clause */
/* Semaphore, mutex and file lock: what they promise between processes, above all when an owner is killed. */
#include "prefork/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/unit.h"
#include "ipc/file_lock.h"
#include "prefork/clock.h"
#include "prefork/error.h"

/* Long enough never to be met by a test that passes. */
#define FAR_MS 3000

/* What parent and children share. */
struct common {
    struct prefork_semaphore semaphore;
    struct prefork_semaphore ready; /* a child has come as far as it should */
    struct prefork_mutex mutex;
    int number;
};

static struct common *common;
static char lock_path[PATH_MAX];

static void set_up(void)
{
    const char *directory = getenv("TMPDIR");

    common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(common, MAP_FAILED);
    ck_assert_int_eq(prefork_semaphore_init(&common->semaphore, 0), 0);
    ck_assert_int_eq(prefork_semaphore_init(&common->ready, 0), 0);
    ck_assert_int_eq(prefork_mutex_init(&common->mutex), 0);
    (void)snprintf(lock_path, sizeof(lock_path), "%s/lock.%ld", directory == NULL ? "/tmp" : directory, (long)getpid());
}

static void tear_down(void)
{
    const struct itimerval never = {.it_value = {0}};

    (void)setitimer(ITIMER_REAL, &never, NULL); /* of interrupt_me_often */
    (void)unlink(lock_path);
    (void)munmap(common, sizeof(*common));
}

static uint64_t soon(void)
{
    return prefork_deadline_after_ms(FAR_MS);
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
    ck_assert_int_eq(prefork_semaphore_wait(&common->ready, soon()), 0);
    return pid;
}

static void kill_child(pid_t pid)
{
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void do_nothing(int number)
{
    (void)number;
}

/* A handler that interrupts, again and again: the first signal may come before the wait. */
static void interrupt_me_often(void)
{
    const struct itimerval often = {.it_interval = {.tv_usec = 2000}, .it_value = {.tv_usec = 2000}};
    struct sigaction action = {.sa_handler = do_nothing};

    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
}

/* ---- semaphore ---- */

START_TEST(semaphore_counts_tokens)
{
    ck_assert_int_eq(prefork_semaphore_value(&common->semaphore), 0);
    ck_assert_int_eq(prefork_semaphore_post(&common->semaphore), 0);
    ck_assert_int_eq(prefork_semaphore_post(&common->semaphore), 0);
    ck_assert_int_eq(prefork_semaphore_value(&common->semaphore), 2);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, PREFORK_NO_WAIT), 0);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, PREFORK_NO_DEADLINE), 0);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, PREFORK_NO_WAIT), -EAGAIN);
}
END_TEST

START_TEST(semaphore_deadline_is_kept)
{
    const uint64_t deadline_ns = prefork_deadline_after_ms(30);

    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, deadline_ns), -ETIMEDOUT);
    ck_assert_uint_ge(prefork_clock_now_ns(), deadline_ns);
}
END_TEST

START_TEST(semaphore_with_a_token_ignores_a_passed_deadline)
{
    ck_assert_int_eq(prefork_semaphore_post(&common->semaphore), 0);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, 1), 0);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, 1), -ETIMEDOUT);
}
END_TEST

START_TEST(semaphore_wait_is_interrupted)
{
    interrupt_me_often();
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, PREFORK_NO_DEADLINE), -EINTR);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, soon()), -EINTR);
}
END_TEST

START_TEST(semaphore_overflow_is_told_and_adds_nothing)
{
    ck_assert_int_eq(prefork_semaphore_init(&common->semaphore, INT_MAX), 0);
    ck_assert_int_eq(prefork_semaphore_post(&common->semaphore), -EOVERFLOW);
    ck_assert_int_eq(prefork_semaphore_value(&common->semaphore), INT_MAX);
    ck_assert_int_eq(prefork_semaphore_init(&common->semaphore, (unsigned)INT_MAX + 1), -EINVAL);
    ck_assert_str_eq(prefork_last_error(), "prefork_semaphore_init: 2147483648 tokens; at most 2147483647");
}
END_TEST

START_TEST(semaphore_of_zeroes_is_refused)
{
    struct prefork_semaphore zeroes = {{0}};

    ck_assert_int_eq(prefork_semaphore_wait(&zeroes, PREFORK_NO_WAIT), -EINVAL);
    ck_assert_int_eq(prefork_semaphore_destroy(&zeroes), -EINVAL);
    ck_assert_int_eq(prefork_semaphore_destroy(&common->semaphore), 0);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, PREFORK_NO_WAIT), -EINVAL);
}
END_TEST

static void take_a_token(void)
{
    (void)prefork_semaphore_wait(&common->semaphore, PREFORK_NO_WAIT);
}

START_TEST(semaphore_token_dies_with_its_taker)
{
    pid_t pid;

    ck_assert_int_eq(prefork_semaphore_post(&common->semaphore), 0);
    pid = start_child(take_a_token);
    kill_child(pid);
    ck_assert_int_eq(prefork_semaphore_value(&common->semaphore), 0);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, prefork_deadline_after_ms(10)), -ETIMEDOUT);
}
END_TEST

START_TEST(semaphore_wakes_a_sleeper_in_another_process)
{
    const pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(prefork_semaphore_wait(&common->semaphore, soon()) == 0 ? 0 : 1);
    ck_assert_int_eq(prefork_semaphore_post(&common->semaphore), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(semaphore_serves_others_after_a_sleeper_was_killed)
{
    pid_t sleeper = fork();

    if (sleeper == 0) {
        (void)prefork_semaphore_post(&common->ready);
        (void)prefork_semaphore_wait(&common->semaphore, PREFORK_NO_DEADLINE);
        _exit(0);
    }
    ck_assert_int_eq(prefork_semaphore_wait(&common->ready, soon()), 0);
    kill_child(sleeper);
    ck_assert_int_eq(prefork_semaphore_post(&common->semaphore), 0);
    ck_assert_int_eq(prefork_semaphore_wait(&common->semaphore, soon()), 0);
}
END_TEST

/* ---- mutex ---- */

static void lock_the_mutex(void)
{
    if (prefork_mutex_lock(&common->mutex, PREFORK_NO_WAIT) != 0)
        abort();
}

START_TEST(mutex_excludes_other_processes)
{
    const pid_t pid = start_child(lock_the_mutex);
    const uint64_t deadline_ns = prefork_deadline_after_ms(30);

    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, PREFORK_NO_WAIT), -EAGAIN);
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, deadline_ns), -ETIMEDOUT);
    ck_assert_uint_ge(prefork_clock_now_ns(), deadline_ns);
    ck_assert_int_eq(prefork_mutex_destroy(&common->mutex), -EBUSY);
    kill_child(pid);
}
END_TEST

START_TEST(mutex_tells_of_a_killed_owner_and_is_held_then)
{
    kill_child(start_child(lock_the_mutex));
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, PREFORK_NO_WAIT), -EOWNERDEAD);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "repair the data"));
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, PREFORK_NO_WAIT), -EDEADLK);
    ck_assert_int_eq(prefork_mutex_consistent(&common->mutex), 0);
    ck_assert_int_eq(prefork_mutex_unlock(&common->mutex), 0);
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, soon()), 0);
    ck_assert_int_eq(prefork_mutex_unlock(&common->mutex), 0);
}
END_TEST

START_TEST(mutex_wakes_a_sleeper_when_the_owner_is_killed)
{
    const pid_t owner = start_child(lock_the_mutex);
    const pid_t sleeper = fork();
    int status;

    if (sleeper == 0) {
        (void)prefork_semaphore_post(&common->ready);
        _exit(prefork_mutex_lock(&common->mutex, PREFORK_NO_DEADLINE) == -EOWNERDEAD ? 0 : 1);
    }
    ck_assert_int_eq(prefork_semaphore_wait(&common->ready, soon()), 0);
    kill_child(owner);
    ck_assert_int_eq(waitpid(sleeper, &status, 0), sleeper);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(mutex_that_nobody_repaired_is_lost)
{
    kill_child(start_child(lock_the_mutex));
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, soon()), -EOWNERDEAD);
    ck_assert_int_eq(prefork_mutex_unlock(&common->mutex), 0);
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, soon()), -ENOTRECOVERABLE);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "initialise it and its data anew"));
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, PREFORK_NO_WAIT), -ENOTRECOVERABLE);
    ck_assert_int_eq(prefork_mutex_init(&common->mutex), 0);
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, soon()), 0);
    ck_assert_int_eq(prefork_mutex_unlock(&common->mutex), 0);
}
END_TEST

static void *lock_and_end(void *context)
{
    (void)context;
    lock_the_mutex();
    return NULL;
}

START_TEST(mutex_tells_of_an_ended_thread)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, lock_and_end, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, soon()), -EOWNERDEAD);
}
END_TEST

START_TEST(mutex_tells_of_wrong_use)
{
    struct prefork_mutex zeroes = {{0}};

    ck_assert_int_eq(prefork_mutex_unlock(&common->mutex), -EPERM);
    ck_assert_int_eq(prefork_mutex_consistent(&common->mutex), -EINVAL);
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, PREFORK_NO_DEADLINE), 0);
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, PREFORK_NO_DEADLINE), -EDEADLK);
    ck_assert_int_eq(prefork_mutex_consistent(&common->mutex), -EINVAL);
    ck_assert_int_eq(prefork_mutex_unlock(&common->mutex), 0);
    ck_assert_int_eq(prefork_mutex_destroy(&common->mutex), 0);
    ck_assert_int_eq(prefork_mutex_lock(&common->mutex, PREFORK_NO_WAIT), -EINVAL);
    ck_assert_int_eq(prefork_mutex_lock(&zeroes, PREFORK_NO_WAIT), -EINVAL);
    ck_assert_int_eq(prefork_mutex_unlock(&zeroes), -EINVAL);
    ck_assert_int_eq(prefork_mutex_consistent(&zeroes), -EINVAL);
    ck_assert_int_eq(prefork_mutex_destroy(&zeroes), -EINVAL);
}
END_TEST

#define COUNTERS 4
#define COUNTS   5000

START_TEST(mutex_guards_a_plain_counter)
{
    pid_t pids[COUNTERS];

    for (int i = 0; i < COUNTERS; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        for (int n = 0; n < COUNTS; n++) {
            if (prefork_mutex_lock(&common->mutex, PREFORK_NO_DEADLINE) != 0)
                _exit(1);
            common->number++;
            if (prefork_mutex_unlock(&common->mutex) != 0)
                _exit(1);
        }
        _exit(0);
    }
    for (int i = 0; i < COUNTERS; i++) {
        int status;

        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_int_eq(common->number, COUNTERS * COUNTS);
}
END_TEST

/* ---- file lock ---- */

static struct prefork_file_lock *open_lock(void)
{
    struct prefork_file_lock *lock = NULL;

    ck_assert_msg(prefork_file_lock_open(lock_path, 0600, &lock) == 0, "%s", prefork_last_error());
    return lock;
}

START_TEST(file_lock_excludes_handles_of_one_process)
{
    struct prefork_file_lock *one = open_lock(), *other = open_lock();
    const uint64_t deadline_ns = prefork_deadline_after_ms(30);

    ck_assert_int_eq(prefork_file_lock_lock(one, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), 0);
    ck_assert_int_eq(prefork_file_lock_lock(other, PREFORK_FILE_LOCK_SHARED, PREFORK_NO_WAIT), -EAGAIN);
    ck_assert_int_eq(prefork_file_lock_lock(other, PREFORK_FILE_LOCK_EXCLUSIVE, deadline_ns), -ETIMEDOUT);
    ck_assert_uint_ge(prefork_clock_now_ns(), deadline_ns);
    ck_assert_int_eq(pfk_file_lock_is_held(lock_path), 1);
    ck_assert_int_eq(prefork_file_lock_unlock(one), 0);
    ck_assert_int_eq(pfk_file_lock_is_held(lock_path), 0);
    ck_assert_int_eq(prefork_file_lock_lock(other, PREFORK_FILE_LOCK_EXCLUSIVE, soon()), 0);
    prefork_file_lock_close(&other);
    ck_assert_ptr_null(other);
    ck_assert_int_eq(prefork_file_lock_lock(one, PREFORK_FILE_LOCK_SHARED, PREFORK_NO_DEADLINE), 0);
    prefork_file_lock_close(&one);
    prefork_file_lock_close(&one);
}
END_TEST

START_TEST(file_lock_is_shared_by_readers)
{
    struct prefork_file_lock *one = open_lock(), *other = open_lock();

    ck_assert_int_eq(prefork_file_lock_lock(one, PREFORK_FILE_LOCK_SHARED, PREFORK_NO_WAIT), 0);
    ck_assert_int_eq(prefork_file_lock_lock(other, PREFORK_FILE_LOCK_SHARED, PREFORK_NO_WAIT), 0);
    ck_assert_int_eq(prefork_file_lock_lock(one, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), -EAGAIN);
    prefork_file_lock_close(&other);
    ck_assert_int_eq(prefork_file_lock_lock(one, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), 0);
    prefork_file_lock_close(&one);
}
END_TEST

static void lock_the_file(void)
{
    struct prefork_file_lock *lock;

    if (prefork_file_lock_open(lock_path, 0600, &lock) != 0 ||
        prefork_file_lock_lock(lock, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT) != 0)
        abort();
}

START_TEST(file_lock_is_released_when_its_owner_is_killed)
{
    struct prefork_file_lock *lock = open_lock();
    const pid_t pid = start_child(lock_the_file);

    ck_assert_int_eq(prefork_file_lock_lock(lock, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), -EAGAIN);
    kill_child(pid);
    ck_assert_int_eq(prefork_file_lock_lock(lock, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), 0);
    prefork_file_lock_close(&lock);
}
END_TEST

START_TEST(file_lock_wakes_a_sleeper_when_the_owner_is_killed)
{
    const pid_t owner = start_child(lock_the_file);
    pid_t sleepers[2];

    for (int i = 0; i < 2; i++) { /* one asleep in the kernel, one that tries again and again */
        sleepers[i] = fork();
        if (sleepers[i] == 0) {
            struct prefork_file_lock *lock = NULL;

            (void)prefork_semaphore_post(&common->ready);
            _exit(prefork_file_lock_open(lock_path, 0600, &lock) == 0 &&
                          prefork_file_lock_lock(lock, PREFORK_FILE_LOCK_EXCLUSIVE,
                                                 i == 0 ? PREFORK_NO_DEADLINE : soon()) == 0
                      ? 0
                      : 1);
        }
        ck_assert_int_eq(prefork_semaphore_wait(&common->ready, soon()), 0);
    }
    kill_child(owner);
    for (int i = 0; i < 2; i++) {
        int status;

        ck_assert_int_eq(waitpid(sleepers[i], &status, 0), sleepers[i]);
        ck_assert_int_eq(status, 0);
    }
}
END_TEST

/* Valgrind 3.19 does not know that F_OFD_SETLKW sleeps, and holds signals back until it returns. */
static bool under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");

    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

START_TEST(file_lock_wait_is_interrupted)
{
    struct prefork_file_lock *one = open_lock(), *other = open_lock();

    ck_assert_int_eq(prefork_file_lock_lock(one, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), 0);
    interrupt_me_often();
    if (!under_valgrind())
        ck_assert_int_eq(prefork_file_lock_lock(other, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_DEADLINE), -EINTR);
    ck_assert_int_eq(prefork_file_lock_lock(other, PREFORK_FILE_LOCK_EXCLUSIVE, soon()), -EINTR);
    prefork_file_lock_close(&one);
    prefork_file_lock_close(&other);
}
END_TEST

START_TEST(file_lock_of_a_removed_file_is_refused)
{
    struct prefork_file_lock *lock = open_lock();

    ck_assert_int_eq(unlink(lock_path), 0);
    ck_assert_int_eq(prefork_file_lock_lock(lock, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), -ESTALE);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "never remove a lock file"));
    prefork_file_lock_close(&lock);
}
END_TEST

static struct prefork_file_lock *inherited;

static void use_and_close_the_inherited(void)
{
    if (prefork_file_lock_lock(inherited, PREFORK_FILE_LOCK_SHARED, PREFORK_NO_WAIT) != -ECHILD ||
        prefork_file_lock_unlock(inherited) != -ECHILD)
        abort();
    prefork_file_lock_close(&inherited);
}

static void keep_the_inherited(void)
{
}

START_TEST(file_lock_in_a_child_is_its_parents)
{
    struct prefork_file_lock *other = open_lock();
    pid_t closer, keeper;

    inherited = open_lock();
    ck_assert_int_eq(prefork_file_lock_lock(inherited, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), 0);
    closer = start_child(use_and_close_the_inherited);
    ck_assert_int_eq(prefork_file_lock_lock(other, PREFORK_FILE_LOCK_SHARED, PREFORK_NO_WAIT), -EAGAIN);
    keeper = start_child(keep_the_inherited);
    prefork_file_lock_close(&inherited);
    ck_assert_int_eq(prefork_file_lock_lock(other, PREFORK_FILE_LOCK_SHARED, PREFORK_NO_WAIT), 0);
    kill_child(closer);
    kill_child(keeper);
    prefork_file_lock_close(&other);
}
END_TEST

START_TEST(file_lock_takes_regular_files_only)
{
    struct prefork_file_lock *lock = NULL;

    ck_assert_int_eq(symlink("/dev/null", lock_path), 0);
    ck_assert_int_eq(prefork_file_lock_open(lock_path, 0600, &lock), -ELOOP);
    ck_assert_int_eq(unlink(lock_path), 0);
    ck_assert_int_eq(mkfifo(lock_path, 0600), 0);
    ck_assert_int_eq(prefork_file_lock_open(lock_path, 0600, &lock), -EINVAL);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "not a regular file"));
    ck_assert_int_eq(prefork_file_lock_open("/nonexistent/lock", 0600, &lock), -ENOENT);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "/nonexistent/lock"));
    ck_assert_ptr_null(lock);
}
END_TEST

static Suite *sync_suite(void)
{
    Suite *suite = suite_create("sync");
    TCase *semaphore = tcase_create("semaphore");
    TCase *mutex = tcase_create("mutex");
    TCase *file_lock = tcase_create("file lock");
    TCase *file_lock_signal = tcase_create("file lock, signal");

    tcase_add_checked_fixture(semaphore, set_up, tear_down);
    tcase_add_test(semaphore, semaphore_counts_tokens);
    tcase_add_test(semaphore, semaphore_deadline_is_kept);
    tcase_add_test(semaphore, semaphore_with_a_token_ignores_a_passed_deadline);
    tcase_add_test(semaphore, semaphore_wait_is_interrupted);
    tcase_add_test(semaphore, semaphore_overflow_is_told_and_adds_nothing);
    tcase_add_test(semaphore, semaphore_of_zeroes_is_refused);
    tcase_add_test(semaphore, semaphore_token_dies_with_its_taker);
    tcase_add_test(semaphore, semaphore_wakes_a_sleeper_in_another_process);
    tcase_add_test(semaphore, semaphore_serves_others_after_a_sleeper_was_killed);
    tcase_add_checked_fixture(mutex, set_up, tear_down);
    tcase_add_test(mutex, mutex_excludes_other_processes);
    tcase_add_test(mutex, mutex_tells_of_a_killed_owner_and_is_held_then);
    tcase_add_test(mutex, mutex_wakes_a_sleeper_when_the_owner_is_killed);
    tcase_add_test(mutex, mutex_that_nobody_repaired_is_lost);
    tcase_add_test(mutex, mutex_tells_of_an_ended_thread);
    tcase_add_test(mutex, mutex_tells_of_wrong_use);
    tcase_add_test(mutex, mutex_guards_a_plain_counter);
    tcase_add_checked_fixture(file_lock, set_up, tear_down);
    tcase_add_test(file_lock, file_lock_excludes_handles_of_one_process);
    tcase_add_test(file_lock, file_lock_is_shared_by_readers);
    tcase_add_test(file_lock, file_lock_is_released_when_its_owner_is_killed);
    tcase_add_test(file_lock, file_lock_wakes_a_sleeper_when_the_owner_is_killed);
    tcase_add_test(file_lock, file_lock_of_a_removed_file_is_refused);
    tcase_add_test(file_lock, file_lock_in_a_child_is_its_parents);
    tcase_add_test(file_lock, file_lock_takes_regular_files_only);
    suite_add_tcase(suite, semaphore);
    suite_add_tcase(suite, mutex);
    suite_add_tcase(suite, file_lock);
    tcase_add_checked_fixture(file_lock_signal, set_up, tear_down);
    tcase_add_test(file_lock_signal, file_lock_wait_is_interrupted);
    /* valgrind 3.19 delivers no signal to a process that waits for an open file description's lock */
    tcase_set_tags(file_lock_signal, PFK_UNIT_NO_VALGRIND);
    suite_add_tcase(suite, file_lock_signal);
    return suite;
}

PFK_UNIT_MAIN(sync_suite)
