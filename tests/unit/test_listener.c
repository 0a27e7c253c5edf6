/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"

#include "io/address.h"
#include "prefork/clock.h"
#include "prefork/error.h"
#include "prefork/sync.h"

static char directory[80], path[100], address_of_path[120];

static void make_directory(void)
{
    const char *base = getenv("TMPDIR");

    (void)snprintf(directory, sizeof(directory), "%.50s/listenerXXXXXX", base != NULL ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/s", directory);
    (void)snprintf(address_of_path, sizeof(address_of_path), "unix:%s", path);
}

static void remove_directory(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(directory), 0);
}

static const struct pfk_listener_options plain = {.backlog = 16};

static struct pfk_listener *open_listener(const char *address)
{
    struct pfk_listener *listener = NULL;
    int rc = pfk_listener_open(address, &plain, &listener);

    ck_assert_msg(rc == 0, "%s: %s", address, prefork_last_error());
    return listener;
}

/* Connects to where the listener says that it listens. */
static int connect_to(const char *text)
{
    struct pfk_address address;
    int fd, rc;

    ck_assert_int_eq(pfk_address_parse(text, &address), 0);
    fd = socket(address.socket.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    rc = connect(fd, &address.socket.any, address.length) == 0 ? 0 : -errno;
    (void)close(fd);
    return rc;
}

START_TEST(port_0_is_resolved_and_answers)
{
    struct pfk_listener *listener = open_listener("tcp:127.0.0.1:0");
    const char *text = pfk_listener_address(listener);
    int flag = 0;
    socklen_t length = sizeof(flag);

    ck_assert_int_eq(strncmp(text, "tcp:127.0.0.1:", 14), 0);
    ck_assert_int_gt(atoi(text + 14), 0);
    ck_assert_int_eq(connect_to(text), 0);
    ck_assert_int_ne(fcntl(pfk_listener_fd(listener, 0), F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(pfk_listener_fd(listener, 0), F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(getsockopt(pfk_listener_fd(listener, 0), IPPROTO_TCP, TCP_NODELAY, &flag, &length), 0);
    ck_assert_int_ne(flag, 0);
    ck_assert_int_eq(pfk_listener_prepare(listener, 7, 2), 0);
    pfk_listener_close(&listener);
    ck_assert_ptr_null(listener);
    pfk_listener_close(&listener);
}
END_TEST

START_TEST(every_address_answers_on_ipv4)
{
    struct pfk_listener *listener = open_listener("tcp:*:0");
    char text[64];

    ck_assert_int_eq(strncmp(pfk_listener_address(listener), "tcp:*:", 6), 0);
    (void)snprintf(text, sizeof(text), "tcp:127.0.0.1:%s", pfk_listener_address(listener) + 6);
    ck_assert_int_eq(connect_to(text), 0);
    pfk_listener_close(&listener);
}
END_TEST

START_TEST(a_port_in_use_is_told_with_its_address)
{
    struct pfk_listener *listener = open_listener("tcp:127.0.0.1:0");
    struct pfk_listener *second;
    char text[64];
    const int before = pfk_test_fds_open();

    (void)snprintf(text, sizeof(text), "%s", pfk_listener_address(listener));
    ck_assert_int_eq(pfk_listener_open(text, &plain, &second), -EADDRINUSE);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), text));
    ck_assert_int_eq(pfk_test_fds_open(), before);
    pfk_listener_close(&listener);
}
END_TEST

START_TEST(an_address_of_no_interface_is_told)
{
    struct pfk_listener *listener;

    ck_assert_int_eq(pfk_listener_open("tcp:192.0.2.1:0", &plain, &listener), -EADDRNOTAVAIL);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "tcp:192.0.2.1:0"));
    ck_assert_int_eq(pfk_listener_open("nonsense", &plain, &listener), -EINVAL);
}
END_TEST

START_TEST(a_unix_path_is_made_and_removed)
{
    struct pfk_listener *listener = open_listener(address_of_path);

    ck_assert_str_eq(pfk_listener_address(listener), address_of_path);
    ck_assert_int_eq(connect_to(address_of_path), 0);
    pfk_listener_close(&listener);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(a_stale_unix_path_is_replaced)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct pfk_listener *listener;
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    ck_assert_int_eq(bind(dead, (const struct sockaddr *)&name, sizeof(name)), 0);
    (void)close(dead);
    listener = open_listener(address_of_path);
    ck_assert_int_eq(connect_to(address_of_path), 0);
    pfk_listener_close(&listener);
}
END_TEST

START_TEST(a_live_unix_path_is_refused_and_stays)
{
    struct pfk_listener *listener = open_listener(address_of_path);
    struct pfk_listener *second;

    ck_assert_int_eq(pfk_listener_open(address_of_path, &plain, &second), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "another process listens"));
    ck_assert_int_eq(connect_to(address_of_path), 0);
    pfk_listener_close(&listener);
}
END_TEST

START_TEST(a_file_in_the_way_is_refused_and_stays)
{
    struct pfk_listener *listener;
    int fd = open(path, O_CREAT | O_WRONLY, 0600);

    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    ck_assert_int_eq(pfk_listener_open(address_of_path, &plain, &listener), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "is no socket"));
    ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(a_child_does_not_remove_the_path)
{
    struct pfk_listener *listener = open_listener(address_of_path);
    int status = -1;
    const pid_t child = fork();

    if (child == 0) {
        pfk_listener_close(&listener);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(connect_to(address_of_path), 0);
    pfk_listener_close(&listener);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(a_path_that_became_another_ones_is_left_alone)
{
    struct pfk_listener *listener = open_listener(address_of_path);
    struct pfk_listener *successor;

    ck_assert_int_eq(unlink(path), 0);
    successor = open_listener(address_of_path);
    pfk_listener_close(&listener);
    ck_assert_int_eq(connect_to(address_of_path), 0);
    pfk_listener_close(&successor);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

/* -- Shards, datagrams, names ------------------------------------------------- */

static const struct pfk_listener_options sharded = {.backlog = 64, .sharded = true};

static int accept_all(int fd)
{
    int n = 0;

    for (int peer = accept(fd, NULL, NULL); peer >= 0; peer = accept(fd, NULL, NULL), n++)
        (void)close(peer);
    return n;
}

START_TEST(shards_are_as_many_as_threads)
{
    struct pfk_listener *listener;
    int waiting[4] = {0};
    const int before = pfk_test_fds_open();

    ck_assert_int_eq(pfk_listener_open("tcp:127.0.0.1:0", &sharded, &listener), 0);
    ck_assert(pfk_listener_is_sharded(listener));
    ck_assert_int_eq(pfk_listener_prepare(listener, 64, 4), 0);
    ck_assert_int_eq(pfk_test_fds_open(), before + 4);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(connect_to(pfk_listener_address(listener)), 0);
    for (uint32_t i = 0; i < 4; i++)
        waiting[i] = accept_all(pfk_listener_fd(listener, i));
    ck_assert_int_eq(waiting[0] + waiting[1] + waiting[2] + waiting[3], 64);
    ck_assert(waiting[0] > 0 && waiting[1] > 0 && waiting[2] > 0 && waiting[3] > 0);
    ck_assert_int_eq(pfk_listener_prepare(listener, 64, 2), 0);
    ck_assert_int_eq(pfk_test_fds_open(), before + 2);
    ck_assert_int_eq(pfk_listener_prepare(listener, 64, 0), 0);
    ck_assert_int_eq(connect_to(pfk_listener_address(listener)), 0);
    pfk_listener_close(&listener);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

START_TEST(a_port_with_shards_is_in_use)
{
    struct pfk_listener *listener, *second;
    char text[64];

    ck_assert_int_eq(pfk_listener_open("tcp:127.0.0.1:0", &sharded, &listener), 0);
    ck_assert_int_eq(pfk_listener_prepare(listener, 64, 2), 0);
    (void)snprintf(text, sizeof(text), "%s", pfk_listener_address(listener));
    ck_assert_int_eq(pfk_listener_open(text, &sharded, &second), -EADDRINUSE);
    ck_assert_int_eq(pfk_listener_open(text, &plain, &second), -EADDRINUSE);
    pfk_listener_close(&listener);
}
END_TEST

START_TEST(a_udp_port_is_bound)
{
    struct pfk_listener *listener = open_listener("udp:127.0.0.1:0");
    struct pfk_listener *second;
    char text[64];

    ck_assert(pfk_listener_is_datagram(listener));
    ck_assert_int_eq(pfk_listener_prepare(listener, 64, 4), 0);
    (void)snprintf(text, sizeof(text), "%s", pfk_listener_address(listener));
    ck_assert_int_eq(strncmp(text, "udp:127.0.0.1:", 14), 0);
    ck_assert_int_eq(pfk_listener_open(text, &plain, &second), -EADDRINUSE);
    pfk_listener_close(&listener);
    ck_assert_int_eq(pfk_listener_open(text, &sharded, &listener), 0);
    ck_assert_int_eq(pfk_listener_prepare(listener, 64, 4), 0);
    ck_assert_int_ne(pfk_listener_fd(listener, 3), pfk_listener_fd(listener, 0));
    pfk_listener_close(&listener);
}
END_TEST

START_TEST(an_abstract_name_has_no_file)
{
    char text[80];
    struct pfk_listener *listener, *second;

    (void)snprintf(text, sizeof(text), "unix:@prefork-test-%ld", (long)getpid());
    listener = open_listener(text);
    ck_assert_str_eq(pfk_listener_address(listener), text);
    ck_assert_int_eq(connect_to(text), 0);
    ck_assert_int_eq(pfk_listener_open(text, &plain, &second), -EADDRINUSE);
    pfk_listener_close(&listener);
    ck_assert_int_eq(connect_to(text), -ECONNREFUSED);
}
END_TEST

/* -- Rights and races of a path ------------------------------------------------ */

START_TEST(a_path_has_its_mode_whatever_the_umask)
{
    const struct pfk_listener_options options = {.backlog = 16, .rights = {.mode = 0666}};
    struct pfk_listener *listener;
    struct stat made;

    (void)umask(0177);
    ck_assert_int_eq(pfk_listener_open(address_of_path, &options, &listener), 0);
    ck_assert_int_eq(lstat(path, &made), 0);
    ck_assert_uint_eq(made.st_mode & 07777, 0666);
    pfk_listener_close(&listener);
    listener = open_listener(address_of_path);
    ck_assert_int_eq(lstat(path, &made), 0);
    ck_assert_uint_eq(made.st_mode & 07777, 0600);
    pfk_listener_close(&listener);
}
END_TEST

START_TEST(an_owner_that_is_none_leaves_no_path)
{
    const struct pfk_listener_options options = {.backlog = 16, .rights = {.owner = "no such user"}};
    struct pfk_listener *listener;
    const int before = pfk_test_fds_open();

    ck_assert_int_eq(pfk_listener_open(address_of_path, &options, &listener), -ENOENT);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(pfk_test_fds_open(), before);
}
END_TEST

/* In a child, which can't become root again. */
static int refuse_owner(void)
{
    const struct pfk_listener_options options = {.backlog = 16, .rights = {.owner = "0:0"}};
    struct pfk_listener *listener;

    if (chmod(directory, 0777) != 0 || chdir(directory) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
        return 1;
    if (pfk_listener_open("unix:s", &options, &listener) != -EPERM)
        return 2;
    if (strstr(prefork_last_error(), "only root") == NULL)
        return 3;
    return access("s", F_OK) == 0 ? 4 : 0;
}

START_TEST(an_owner_that_may_not_be_leaves_no_path)
{
    int status = -1;
    const pid_t child = fork();

    if (child == 0)
        _exit(refuse_owner());
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* Where it is refused, nothing was removed: the other one still serves. */
static int race_once(int go_fd, int done_fd)
{
    struct pfk_listener *listener;
    char byte;
    int rc;

    if (read(go_fd, &byte, 1) != 0)
        return 2;
    rc = pfk_listener_open(address_of_path, &plain, &listener);
    if (rc == 0 && read(done_fd, &byte, 1) != 0) /* until the other one has tried, too */
        return 2;
    return rc == 0 ? 0 : rc == -EADDRINUSE ? 1 : 2;
}

static void leave_stale_path(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)unlink(path);
    (void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    ck_assert_int_eq(bind(dead, (const struct sockaddr *)&name, sizeof(name)), 0);
    (void)close(dead);
}

/* Two start at once on the path that a dead server left; one gets it. The child
 * that is refused ends first; then the test lets the other one end. */
static void race(void)
{
    int go[2], done[2], refused = 0, served = 0, status;

    leave_stale_path();
    ck_assert_int_eq(pipe(go), 0);
    ck_assert_int_eq(pipe(done), 0);
    for (int i = 0; i < 2; i++) {
        if (fork() != 0)
            continue;
        (void)close(go[1]);
        (void)close(done[1]);
        _exit(race_once(go[0], done[0]));
    }
    (void)close(go[1]); /* they are off */
    ck_assert_int_gt(wait(&status), 0);
    refused += status == 1 << 8;
    ck_assert_int_eq(connect_to(address_of_path), 0);
    (void)close(done[1]);
    ck_assert_int_gt(wait(&status), 0);
    served += status == 0;
    (void)close(go[0]);
    (void)close(done[0]);
    ck_assert_int_eq(refused, 1);
    ck_assert_int_eq(served, 1);
}

START_TEST(of_two_that_start_at_once_one_gets_the_path)
{
    for (int i = 0; i < 100; i++)
        race();
}
END_TEST

START_TEST(one_that_is_stuck_while_opening_is_told)
{
    struct prefork_file_lock *lock;
    struct pfk_listener *listener;
    char lock_path[120];

    (void)snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
    ck_assert_int_eq(prefork_file_lock_open(lock_path, 0600, &lock), 0);
    ck_assert_int_eq(prefork_file_lock_lock(lock, PREFORK_FILE_LOCK_EXCLUSIVE, PREFORK_NO_WAIT), 0);
    ck_assert_int_eq(pfk_listener_open(address_of_path, &plain, &listener), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "is just opening it"));
    prefork_file_lock_close(&lock);
    listener = open_listener(address_of_path); /* the file that a dead one left is in nobody's way */
    ck_assert_int_eq(access(lock_path, F_OK), -1);
    pfk_listener_close(&listener);
}
END_TEST

static Suite *listener_suite(void)
{
    Suite *suite = suite_create("listener");
    TCase *tcp = tcase_create("tcp");
    TCase *local = tcase_create("unix");
    TCase *root = tcase_create("root");

    tcase_add_test(tcp, port_0_is_resolved_and_answers);
    tcase_add_test(tcp, every_address_answers_on_ipv4);
    tcase_add_test(tcp, a_port_in_use_is_told_with_its_address);
    tcase_add_test(tcp, an_address_of_no_interface_is_told);
    tcase_add_test(tcp, shards_are_as_many_as_threads);
    tcase_add_test(tcp, a_port_with_shards_is_in_use);
    tcase_add_test(tcp, a_udp_port_is_bound);
    tcase_add_test(tcp, an_abstract_name_has_no_file);
    suite_add_tcase(suite, tcp);
    tcase_add_checked_fixture(local, make_directory, remove_directory);
    tcase_add_test(local, a_unix_path_is_made_and_removed);
    tcase_add_test(local, a_stale_unix_path_is_replaced);
    tcase_add_test(local, a_live_unix_path_is_refused_and_stays);
    tcase_add_test(local, a_file_in_the_way_is_refused_and_stays);
    tcase_add_test(local, a_child_does_not_remove_the_path);
    tcase_add_test(local, a_path_that_became_another_ones_is_left_alone);
    tcase_add_test(local, a_path_has_its_mode_whatever_the_umask);
    tcase_add_test(local, an_owner_that_is_none_leaves_no_path);
    tcase_add_test(local, of_two_that_start_at_once_one_gets_the_path);
    tcase_add_test(local, one_that_is_stuck_while_opening_is_told);
    suite_add_tcase(suite, local);
    tcase_add_checked_fixture(root, make_directory, remove_directory);
    tcase_set_tags(root, PFK_UNIT_NEEDS_ROOT);
    tcase_add_test(root, an_owner_that_may_not_be_leaves_no_path);
    suite_add_tcase(suite, root);
    return suite;
}

PFK_UNIT_MAIN(listener_suite)
