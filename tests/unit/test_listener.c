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
#include "prefork/error.h"

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

static Suite *listener_suite(void)
{
    Suite *suite = suite_create("listener");
    TCase *tcp = tcase_create("tcp");
    TCase *local = tcase_create("unix");

    tcase_add_test(tcp, port_0_is_resolved_and_answers);
    tcase_add_test(tcp, every_address_answers_on_ipv4);
    tcase_add_test(tcp, a_port_in_use_is_told_with_its_address);
    tcase_add_test(tcp, an_address_of_no_interface_is_told);
    suite_add_tcase(suite, tcp);
    tcase_add_checked_fixture(local, make_directory, remove_directory);
    tcase_add_test(local, a_unix_path_is_made_and_removed);
    tcase_add_test(local, a_stale_unix_path_is_replaced);
    tcase_add_test(local, a_live_unix_path_is_refused_and_stays);
    tcase_add_test(local, a_file_in_the_way_is_refused_and_stays);
    tcase_add_test(local, a_child_does_not_remove_the_path);
    tcase_add_test(local, a_path_that_became_another_ones_is_left_alone);
    suite_add_tcase(suite, local);
    return suite;
}

PFK_UNIT_MAIN(listener_suite)
