/* SPDX-License-Identifier: BSD-2-Clause */
/* Durable tables: adoption by the next master, producers that come by key, removal. Every party is a process of its
 * own, told what to do and killed where it stands. Attacks D-10 to D-14. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/unit.h"
#include "actors.h"
#include "base/clock.h"

enum { RACES = 100, ERRANDS = 5 };

static struct actor master, second, worker, producer;

static void tear_down(void)
{
    actor_kill(&worker);
    actor_kill(&producer);
    actor_kill(&second);
    actor_kill(&master);
    actors_tear_down();
}

static void expect(struct actor *actor, int result, const char *command)
{
    const int got = actor_do(actor, "%s", command);

    ck_assert_msg(got == result, "%s: %d, not %d: %s", command, got, result, actor->text);
}

static void expect_value(struct actor *actor, long long value, const char *command)
{
    expect(actor, 0, command);
    ck_assert_msg(actor->value == value, "%s: value %lld, not %lld", command, actor->value, value);
}

static void expect_text(const struct actor *actor, const char *part)
{
    ck_assert_msg(strstr(actor->text, part) != NULL, "%s", actor->text);
}

static void expect_pid(const struct actor *actor, const struct actor *named)
{
    char pid[32];

    (void)snprintf(pid, sizeof(pid), " %ld", (long)named->pid);
    expect_text(actor, pid);
}

/* What an adoption found, as the actor folds it into one number. */
static long long found(int made, int dead_lanes, int living_lanes, int waiting_jobs)
{
    return made * 1000000LL + dead_lanes * 10000LL + living_lanes * 100LL + waiting_jobs;
}

static void start_master(void)
{
    actor_start(&master);
    expect_value(&master, found(1, 0, 0, 0), "adopt 4");
}

static void start_second(long long what)
{
    actor_start(&second);
    expect_value(&second, what, "adopt 4");
}

static void start_producer(void)
{
    actor_start(&producer);
    expect(&producer, 0, "attach");
    expect(&producer, 0, "open a");
}

/* Runs what waits, on worker 0's lane of that master. */
static void run_jobs(struct actor *actor, int n)
{
    expect(actor, 0, "open w 0");
    for (int i = 0; i < n; i++) {
        expect(actor, 0, "claim");
        expect(actor, 0, "complete");
    }
    expect(actor, -EAGAIN, "claim");
    expect(actor, 0, "close");
}

static void expect_empty(struct actor *actor)
{
    expect(actor, 0, "verify");
    expect_value(actor, 4, "free_slots");
}

static int segment_id(void)
{
    const int id = shmget(actors_key(), 0, 0);

    ck_assert_int_ge(id, 0);
    return id;
}

static struct shmid_ds segment_state(void)
{
    struct shmid_ds state;

    ck_assert_int_eq(shmctl(segment_id(), IPC_STAT, &state), 0);
    return state;
}

/* -- the next master ------------------------------------------------------------------ */

START_TEST(stays_after_a_clean_stop)
{
    start_master();
    expect(&master, 0, "open o 0");
    expect(&master, 0, "put d");
    expect(&master, 0, "put d");
    expect(&master, 0, "close");
    expect(&master, 0, "destroy");
    ck_assert_uint_eq(segment_state().shm_nattch, 0);
    start_second(found(0, 0, 0, 2));
    expect(&second, 0, "verify");
    run_jobs(&second, 2);
    expect_empty(&second);
}
END_TEST

START_TEST(stays_after_the_master_was_killed)
{
    start_master();
    expect(&master, 0, "open o 0");
    expect(&master, 0, "put w"); /* waited for by who dies */
    expect(&master, 0, "put d");
    expect(&master, 0, "reserve");
    expect(&master, 0, "open w 0");
    expect(&master, 0, "claim");
    actor_kill(&master);
    start_second(found(0, 2, 0, 2));
    expect(&second, 0, "verify");
    run_jobs(&second, 2);
    expect_empty(&second);
}
END_TEST

START_TEST(stays_after_everybody_was_killed)
{
    start_master();
    actor_fork(&master, &worker);
    start_producer();
    expect(&producer, 0, "put w");
    expect(&producer, 0, "put d");
    expect(&worker, 0, "open w 0");
    expect(&worker, 0, "claim");
    actor_kill(&producer);
    actor_kill(&master);
    actor_kill(&worker);
    start_second(found(0, 2, 0, 2));
    run_jobs(&second, 2);
    expect_empty(&second);
}
END_TEST

START_TEST(one_master_after_the_other)
{
    start_master();
    for (int i = 0; i < 10; i++) {
        expect(&master, 0, "open o 0");
        expect(&master, 0, "put w");
        expect(&master, 0, "open w 0");
        expect(&master, 0, "claim");
        actor_kill(&master);
        actor_start(&master);
        expect_value(&master, found(0, 2, 0, 1), "adopt 4");
        run_jobs(&master, 1);
        expect_empty(&master);
    }
}
END_TEST

START_TEST(an_orphan_finishes_its_job_first)
{
    start_master();
    actor_fork(&master, &worker);
    expect(&master, 0, "open o 0");
    expect(&master, 0, "put d");
    expect(&worker, 0, "open w 0");
    expect(&worker, 0, "claim");
    actor_kill(&master);
    actor_start(&second);
    actor_tell(&second, "adopt 4 2 20000");
    expect(&worker, 0, "complete");
    expect(&worker, 0, "close");
    ck_assert_int_eq(actor_hear(&second), 0);
    ck_assert_int_eq(second.value, found(0, 1, 0, 0)); /* the master's outside lane; nothing was redelivered */
    expect_empty(&second);
}
END_TEST

START_TEST(an_orphan_that_dies_meanwhile_is_repaired)
{
    start_master();
    actor_fork(&master, &worker);
    expect(&master, 0, "open o 0");
    expect(&master, 0, "put d");
    expect(&worker, 0, "open w 0");
    expect(&worker, 0, "claim");
    actor_kill(&master);
    actor_start(&second);
    actor_tell(&second, "adopt 4 2 20000");
    actor_kill(&worker);
    ck_assert_int_eq(actor_hear(&second), 0);
    run_jobs(&second, 1);
    expect_empty(&second);
}
END_TEST

START_TEST(an_orphan_that_stays_is_named)
{
    start_master();
    actor_fork(&master, &worker);
    expect(&worker, 0, "open w 0");
    actor_kill(&master);
    actor_start(&second);
    expect(&second, -EBUSY, "adopt 4 2 20");
    expect_pid(&second, &worker);
    /* it has missed its time: no lane any more for the family of the dead */
    expect(&worker, -ESTALE, "open w 1");
    expect(&worker, 0, "close");
    expect(&worker, -ESTALE, "open o 0");
    expect_value(&second, found(0, 0, 0, 0), "adopt 4");
    expect_empty(&second);
}
END_TEST

START_TEST(a_second_master_is_refused)
{
    start_master();
    actor_start(&second);
    expect(&second, -EBUSY, "adopt 4");
    expect_pid(&second, &master);
    expect(&master, 0, "destroy");
    expect_value(&second, found(0, 0, 0, 0), "adopt 4");
}
END_TEST

START_TEST(of_two_masters_one_wins)
{
    int firsts = 0;

    actor_start(&master);
    actor_start(&second);
    for (int i = 0; i < RACES; i++) {
        int one, other;

        actor_tell(i % 2 == 0 ? &master : &second, "adopt 4");
        actor_tell(i % 2 == 0 ? &second : &master, "adopt 4");
        one = actor_hear(&master);
        other = actor_hear(&second);
        ck_assert_msg((one == 0 && other == -EBUSY) || (one == -EBUSY && other == 0), "round %d: %d %s, %d %s", i, one,
                      master.text, other, second.text);
        firsts += one == 0;
        expect_value(one == 0 ? &master : &second, 4, "free_slots");
        expect(one == 0 ? &master : &second, 0, "destroy");
    }
    printf("# the first one won %d of %d\n", firsts, RACES);
}
END_TEST

/* It has resigned, and the process that it has started is not yet the master. */
START_TEST(nobody_comes_between_a_starter_and_its_master)
{
    actor_start(&master);
    expect_value(&master, found(1, 0, 0, 0), "adopt_for_another 4");
    expect(&master, 0, "resign");
    actor_start(&second);
    expect(&second, -EBUSY, "adopt 4");
    expect_pid(&second, &master);
    expect(&second, -EBUSY, "remove");
    expect(&master, 0, "destroy");
    expect_value(&second, found(0, 0, 0, 0), "adopt 4");
}
END_TEST

START_TEST(an_unfinished_table_is_made_anew)
{
    start_master();
    expect(&master, 0, "unfinish");
    actor_start(&producer);
    expect(&producer, -EAGAIN, "attach");
    actor_kill(&master);
    start_second(found(1, 0, 0, 0));
    expect_empty(&second);
}
END_TEST

START_TEST(twice_in_one_process_is_refused)
{
    start_master();
    expect(&master, -EALREADY, "attach");
    expect(&master, -EALREADY, "remove");
    actor_fork(&master, &worker);
    expect(&worker, -EALREADY, "attach"); /* it has its parent's descriptor */
    expect(&worker, 0, "destroy");
    expect(&worker, 0, "attach"); /* a stranger like any other from here on */
    actor_start(&second);
    expect(&second, -EBUSY, "adopt 4"); /* none of this took the master's lock */
}
END_TEST

/* -- what is not adopted ------------------------------------------------------------- */

static void expect_left_alone(const struct shmid_ds *before)
{
    const struct shmid_ds after = segment_state();

    ck_assert_uint_eq(after.shm_segsz, before->shm_segsz);
    ck_assert_int_eq(after.shm_cpid, before->shm_cpid);
}

START_TEST(another_size_is_refused)
{
    struct shmid_ds before;

    start_master();
    expect(&master, 0, "destroy");
    before = segment_state();
    actor_start(&second);
    expect(&second, -EMSGSIZE, "adopt 8"); /* what is there is smaller */
    expect_text(&second, "ipcrm -m");
    expect(&second, -EMSGSIZE, "adopt 2"); /* and larger */
    expect_text(&second, "prefork_table_remove");
    expect_left_alone(&before);
    expect_value(&second, found(0, 0, 0, 0), "adopt 4");
}
END_TEST

/* As many bytes, cut otherwise: an outside lane less, an attached one more. */
START_TEST(another_geometry_is_refused)
{
    actor_start(&master);
    expect(&master, 0, "adopt 4 3 50 64 1");
    expect(&master, 0, "destroy");
    actor_start(&second);
    expect(&second, -EPROTO, "adopt 4 2 50 64 2");
    expect_text(&second, "outside");
    expect(&second, 0, "adopt 4 3 50 64 1");
}
END_TEST

START_TEST(another_version_is_refused)
{
    struct shmid_ds before;

    start_master();
    expect(&master, 0, "version 1");
    expect(&master, 0, "destroy");
    before = segment_state();
    actor_start(&second);
    expect(&second, -EPROTO, "adopt 4");
    expect_text(&second, "version");
    expect_text(&second, "ipcrm -m");
    actor_start(&producer);
    expect(&producer, -EPROTO, "attach");
    expect_left_alone(&before);
    expect(&second, 0, "remove"); /* the remedy */
    expect_value(&second, found(1, 0, 0, 0), "adopt 4");
}
END_TEST

START_TEST(what_is_no_table_is_refused)
{
    struct shmid_ds before;
    char *bytes;
    int id;

    start_master();
    before = segment_state();
    actor_end(&master);
    ck_assert_int_eq(shmctl(segment_id(), IPC_RMID, NULL), 0);
    id = shmget(actors_key(), before.shm_segsz, IPC_CREAT | IPC_EXCL | 0600);
    bytes = shmat(id, NULL, 0);
    ck_assert_ptr_ne(bytes, (void *)-1);
    memset(bytes, 0x11, 4096);
    actor_start(&second);
    expect(&second, -EPROTO, "adopt 4");
    expect(&second, -EPROTO, "attach");
    ck_assert_int_eq(bytes[4095], 0x11);
    ck_assert_int_eq(shmdt(bytes), 0);
}
END_TEST

START_TEST(a_damaged_table_is_refused)
{
    start_master();
    expect(&master, 0, "damage");
    actor_kill(&master);
    actor_start(&second);
    expect(&second, -ENOTRECOVERABLE, "adopt 4");
    expect_text(&second, "ipcrm -m");
    expect(&second, 0, "remove");
    expect_value(&second, found(1, 0, 0, 0), "adopt 4");
}
END_TEST

static void set_segment(unsigned mode, uid_t uid)
{
    struct shmid_ds state = segment_state();

    state.shm_perm.mode = (__mode_t)mode;
    state.shm_perm.uid = uid;
    ck_assert_int_eq(shmctl(segment_id(), IPC_SET, &state), 0);
}

START_TEST(a_foreign_segment_is_refused)
{
    start_master();
    expect(&master, 0, "destroy");
    set_segment(0606, geteuid());
    actor_start(&second);
    expect(&second, -EACCES, "adopt 4");
    expect(&second, -EACCES, "attach");
    expect(&second, -EACCES, "remove");
    if (geteuid() == 0) {
        set_segment(0600, 54321);
        expect(&second, -EACCES, "adopt 4");
        expect(&second, -EACCES, "attach");
    }
    set_segment(0600, geteuid());
    expect_value(&second, found(0, 0, 0, 0), "adopt 4");
}
END_TEST

START_TEST(a_foreign_lock_file_is_refused)
{
    start_master();
    expect(&master, 0, "destroy");
    ck_assert_int_eq(chmod(actors_lock_path(), 0606), 0);
    actor_start(&second);
    expect(&second, -EACCES, "adopt 4");
    expect_text(&second, "chmod");
    if (geteuid() == 0) {
        ck_assert_int_eq(chmod(actors_lock_path(), 0600) + chown(actors_lock_path(), 54321, 0), 0);
        expect(&second, -EACCES, "adopt 4");
        ck_assert_int_eq(chown(actors_lock_path(), 0, 0), 0);
    }
    ck_assert_int_eq(chmod(actors_lock_path(), 0600), 0);
    ck_assert_int_eq(rename(actors_lock_path(), "aside"), 0);
    ck_assert_int_eq(symlink("aside", actors_lock_path()), 0);
    expect(&second, -ELOOP, "adopt 4");
    ck_assert_int_eq(rename("aside", actors_lock_path()), 0);
    expect_value(&second, found(0, 0, 0, 0), "adopt 4");
}
END_TEST

/* -- producers that come by key -------------------------------------------------------- */

START_TEST(a_stranger_submits_and_waits)
{
    start_master();
    start_producer();
    expect(&producer, 0, "put w");
    run_jobs(&master, 1);
    expect(&producer, 0, "wait 20000");
    expect(&producer, 0, "collect");
    expect(&producer, 0, "reserve");
    expect(&producer, 0, "submit");
    expect(&master, 0, "open w 0");
    expect(&master, 0, "claim");
    actor_tell(&producer, "wait 20000");
    expect(&master, 0, "complete");
    ck_assert_int_eq(actor_hear(&producer), 0);
    expect(&producer, 0, "collect");
    expect_empty(&producer);
    expect(&producer, 0, "close");
    expect(&producer, 0, "destroy");
    expect_empty(&master);
}
END_TEST

START_TEST(a_stranger_is_refused_what_it_cannot_do)
{
    start_master();
    start_producer();
    expect(&producer, -ENOTSUP, "put n");
    expect_text(&producer, "prefork_lane_wait");
    expect(&producer, -ENOTSUP, "claim");
    expect_value(&producer, 3, "loop_calls");
    expect(&producer, -EINVAL, "open w 0");
    expect(&producer, -EINVAL, "open o 0");
    expect(&producer, -EPERM, "look");
    expect(&producer, -EPERM, "repair");
    expect(&master, -EINVAL, "open a");
    expect(&master, -EINVAL, "open 4"); /* a lane of the attached, by its number */
    expect_empty(&master);
}
END_TEST

START_TEST(nothing_there_to_attach_to)
{
    actor_start(&producer);
    expect(&producer, -ENOENT, "attach");
    start_master();
    expect(&master, 0, "destroy");
    ck_assert_int_eq(shmctl(segment_id(), IPC_RMID, NULL), 0);
    expect(&producer, -ENOENT, "attach");
}
END_TEST

START_TEST(lanes_are_each_for_one)
{
    actor_start(&master);
    expect(&master, 0, "adopt 4 1");
    start_producer();
    expect(&producer, -EBUSY, "open a"); /* another thread of the process, say */
    actor_start(&second);
    expect(&second, 0, "attach");
    expect(&second, -EBUSY, "open a");
    expect(&producer, 0, "close");
    expect(&second, 0, "open a");
    expect(&producer, -EBUSY, "open a");
    actor_kill(&second);
    expect(&producer, -EBUSY, "open a"); /* not before the repair */
    expect_value(&master, 1, "look");
    expect_value(&master, 0, "look");
    expect(&producer, 0, "open a");
}
END_TEST

/* In which state the dead one's job was. */
static const char *const death_scenes[][3] = {
    {NULL, NULL, NULL},       {"reserve", NULL, NULL},  {"put w", NULL, NULL},          {"put d", NULL, NULL},
    {"put w", "claim", NULL}, {"put d", "claim", NULL}, {"put w", "claim", "complete"},
};

START_TEST(a_stranger_dies)
{
    const char *const *const scene = death_scenes[_i];

    actor_start(&master);
    expect(&master, 0, "adopt 4 1");
    expect(&master, 0, "open w 0");
    start_producer();
    if (scene[0] != NULL)
        expect(&producer, 0, scene[0]);
    if (scene[1] != NULL)
        expect(&master, 0, scene[1]);
    if (scene[2] != NULL)
        expect(&master, 0, scene[2]);
    actor_kill(&producer);
    expect_value(&master, 1, "look");
    if (scene[1] != NULL && scene[2] == NULL)
        expect(&master, 0, "complete");
    expect(&master, 0, "close");
    if (scene[0] != NULL && scene[0][0] == 'p' && scene[1] == NULL)
        run_jobs(&master, 1);
    expect_empty(&master);
    start_producer();
    expect_value(&master, 0, "look");
}
END_TEST

START_TEST(a_stranger_outlives_the_master)
{
    start_master();
    start_producer();
    expect_value(&producer, master.pid, "master");
    expect(&producer, 0, "put w");
    expect(&master, 0, "open w 0");
    expect(&master, 0, "claim");
    actor_kill(&master);
    expect(&producer, -ESRCH, "master");
    expect(&producer, -ETIMEDOUT, "wait 20");
    start_second(found(0, 1, 1, 1));
    expect_value(&producer, second.pid, "master");
    run_jobs(&second, 1);
    expect(&producer, 0, "wait 20000");
    expect(&producer, 0, "collect");
    expect_empty(&second);
}
END_TEST

START_TEST(who_lost_its_lock_is_not_dead)
{
    start_master();
    start_producer();
    expect(&producer, 0, "put w");
    expect(&producer, 0, "trap");
    expect_value(&master, 0, "look");
    actor_kill(&master);
    start_second(found(0, 0, 1, 1));
    run_jobs(&second, 1);
    expect(&producer, 0, "wait 20000");
    expect(&producer, 0, "collect");
    actor_kill(&producer);
    expect_value(&second, 1, "look");
    expect_empty(&second);
}
END_TEST

/* It can't write the eventfd of a loop that waits for room; a claimer does it. Without that errand the claimer would
 * look after 0.9 s at the soonest. */
START_TEST(a_stranger_frees_the_slot_that_a_loop_waits_for)
{
    uint64_t quickest_ns = UINT64_MAX;

    start_master();
    actor_fork(&master, &worker);
    start_producer();
    expect(&worker, 0, "open w 0");
    for (int i = 0; i < ERRANDS; i++) {
        uint64_t begun_ns;

        expect(&producer, 0, "put w");
        expect(&worker, 0, "claim");
        expect(&worker, 0, "complete");
        expect(&master, 0, "open o 0");
        for (int slot = 0; slot < 3; slot++)
            expect(&master, 0, "reserve");
        expect(&master, -EAGAIN, "reserve");
        expect(&master, 0, "want_room");
        expect(&master, -EAGAIN, "next");
        begun_ns = prefork_clock_now_ns();
        actor_tell(&worker, "claim 20000");
        actor_tell(&master, "next 20000");
        expect(&producer, 0, "wait 20000");
        expect(&producer, 0, "collect");
        ck_assert_int_eq(actor_hear(&master), 1);
        if (prefork_clock_now_ns() - begun_ns < quickest_ns)
            quickest_ns = prefork_clock_now_ns() - begun_ns;
        expect(&master, 0, "close");
        expect(&producer, 0, "put d");
        ck_assert_int_eq(actor_hear(&worker), 0);
        expect(&worker, 0, "complete");
    }
    printf("# quickest errand: %llu us\n", (unsigned long long)(quickest_ns / PFK_NS_PER_US));
    ck_assert_uint_lt(quickest_ns, 500 * PFK_NS_PER_MS);
}
END_TEST

/* -- removal --------------------------------------------------------------------------- */

START_TEST(is_removed_when_nobody_uses_it)
{
    start_master();
    actor_fork(&master, &worker);
    actor_start(&second);
    expect(&second, -EBUSY, "remove");
    expect_pid(&second, &master);
    start_producer();
    expect(&worker, 0, "open w 0");
    actor_kill(&master);
    expect(&second, -EBUSY, "remove");
    expect_pid(&second, &producer);
    actor_kill(&producer);
    expect(&second, -EBUSY, "remove");
    expect_pid(&second, &worker);
    expect(&worker, 0, "close");
    expect(&second, -EBUSY, "remove"); /* it is still attached */
    actor_kill(&worker);
    expect(&second, 0, "remove");
    expect(&second, -ENOENT, "remove");
    ck_assert_int_eq(shmget(actors_key(), 0, 0), -1);
}
END_TEST

/* Long only where everything waits for everything: 20 s. */
static TCase *durable_case(Suite *suite, const char *name)
{
    TCase *const tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, actors_set_up, tear_down);
    tcase_set_timeout(tcase, 30);
    suite_add_tcase(suite, tcase);
    return tcase;
}

static Suite *durable_suite(void)
{
    Suite *const suite = suite_create("durable");
    TCase *const adopt = durable_case(suite, "adopt");
    TCase *const refuse = durable_case(suite, "refuse");
    TCase *const attach = durable_case(suite, "attach");
    TCase *const trap = durable_case(suite, "trap");
    TCase *const removal = durable_case(suite, "remove");

    tcase_add_test(adopt, stays_after_a_clean_stop);
    tcase_add_test(adopt, stays_after_the_master_was_killed);
    tcase_add_test(adopt, stays_after_everybody_was_killed);
    tcase_add_test(adopt, one_master_after_the_other);
    tcase_add_test(adopt, an_orphan_finishes_its_job_first);
    tcase_add_test(adopt, an_orphan_that_dies_meanwhile_is_repaired);
    tcase_add_test(adopt, an_orphan_that_stays_is_named);
    tcase_add_test(adopt, a_second_master_is_refused);
    tcase_add_test(adopt, of_two_masters_one_wins);
    tcase_add_test(adopt, nobody_comes_between_a_starter_and_its_master);
    tcase_add_test(adopt, an_unfinished_table_is_made_anew);
    tcase_add_test(adopt, twice_in_one_process_is_refused);
    tcase_add_test(refuse, another_size_is_refused);
    tcase_add_test(refuse, another_geometry_is_refused);
    tcase_add_test(refuse, another_version_is_refused);
    tcase_add_test(refuse, what_is_no_table_is_refused);
    tcase_add_test(refuse, a_damaged_table_is_refused);
    tcase_add_test(refuse, a_foreign_segment_is_refused);
    tcase_add_test(refuse, a_foreign_lock_file_is_refused);
    tcase_add_test(attach, a_stranger_submits_and_waits);
    tcase_add_test(attach, a_stranger_is_refused_what_it_cannot_do);
    tcase_add_test(attach, nothing_there_to_attach_to);
    tcase_add_test(attach, lanes_are_each_for_one);
    tcase_add_loop_test(attach, a_stranger_dies, 0, (int)(sizeof(death_scenes) / sizeof(death_scenes[0])));
    tcase_add_test(attach, a_stranger_outlives_the_master);
    tcase_add_test(attach, a_stranger_frees_the_slot_that_a_loop_waits_for);
    tcase_set_tags(trap, PFK_UNIT_NEEDS_PROC);
    tcase_add_test(trap, who_lost_its_lock_is_not_dead);
    tcase_add_test(removal, is_removed_when_nobody_uses_it);
    return suite;
}

PFK_UNIT_MAIN(durable_suite)
