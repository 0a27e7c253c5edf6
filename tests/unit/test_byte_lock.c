/* SPDX-License-Identifier: BSD-2-Clause */
/* Byte locks between processes; what tables make of them is tests/job/test_durable.c. */
#include "ipc/byte_lock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/unit.h"

enum { TRIES = 5000 };

static struct pfk_byte_lock *lock;

static void setup(void)
{
    const char *const folder = getenv("TMPDIR");
    char path[256];
    struct pfk_byte_lock_options options = {
        .path = path, .mode = 0600, .owner_uid = (uint32_t)geteuid(), .create = true};

    (void)snprintf(path, sizeof(path), "%s/byte_lock.%ld", folder != NULL ? folder : "/tmp", (long)getpid());
    ck_assert_int_eq(pfk_byte_lock_open(&options, &lock), 0);
    (void)unlink(path); /* the descriptor is enough from here on */
}

static void teardown(void)
{
    pfk_byte_lock_close(&lock);
}

static void take_and_drop_for_ever(void)
{
    pid_t holder;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        if (pfk_byte_lock_take(lock, 0, PFK_BYTE_LOCK_EXCLUSIVE, &holder) == 0)
            pfk_byte_lock_drop(lock, 0);
}

/* Who is told that a byte is held is told by whom, also when the holder lets go
 * while it is asked who that is. */
START_TEST(a_held_byte_has_a_holder)
{
    const pid_t child = fork();
    int held_by_child = 0, held_by_nobody = 0;

    ck_assert_int_ge(child, 0);
    if (child == 0)
        take_and_drop_for_ever();
    for (int i = 0; i < TRIES || held_by_child < 100; i++) {
        pid_t holder = -1;
        const int rc = pfk_byte_lock_take(lock, 0, PFK_BYTE_LOCK_EXCLUSIVE, &holder);

        if (rc == 0)
            pfk_byte_lock_drop(lock, 0);
        held_by_child += rc == -EBUSY && holder == child;
        held_by_nobody += rc == -EBUSY && holder != child;
    }
    (void)kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_int_eq(held_by_nobody, 0);
}
END_TEST

static Suite *byte_lock_suite(void)
{
    Suite *const suite = suite_create("byte_lock");
    TCase *const one = tcase_create("byte_lock");

    tcase_add_checked_fixture(one, setup, teardown);
    tcase_add_test(one, a_held_byte_has_a_holder);
    suite_add_tcase(suite, one);
    return suite;
}

PFK_UNIT_MAIN(byte_lock_suite)
