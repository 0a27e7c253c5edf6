/* SPDX-License-Identifier: BSD-2-Clause */
/* The README's server, compiled as it stands there: tests/project/upper_server. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/unit.h"
#include "support.h"

static char address[256];
static pid_t server;

static void start_server(void)
{
    const char *const build = getenv("PFK_BUILDDIR");
    const char *const folder = getenv("TMPDIR");
    char program[4096];

    (void)snprintf(program, sizeof(program), "%s/tests/project/upper_server", build != NULL ? build : ".");
    (void)snprintf(address, sizeof(address), "unix:%s/upper.%ld", folder != NULL ? folder : "/tmp", (long)getpid());
    server = fork();
    ck_assert_int_ge(server, 0);
    if (server == 0) {
        (void)execl(program, program, address, (char *)NULL);
        _exit(127);
    }
}

static bool connected(void *context)
{
    *(int *)context = support_connect(address);
    return *(int *)context >= 0;
}

static int connect_to_server(void)
{
    int fd = -1;

    ck_assert(support_wait_until(connected, &fd, prefork_deadline_after_ms(SUPPORT_LIMIT_MS)));
    return fd;
}

static void read_to_end(int fd, char *text, size_t room)
{
    size_t length = 0;
    ssize_t n;

    while (length < room - 1 && (n = read(fd, text + length, room - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
}

START_TEST(lines_come_back_in_capitals)
{
    static const char lines[] = "Hello\n\nworld 1\nno end";
    char reply[64];
    int status;
    int fd;

    start_server();
    fd = connect_to_server();
    ck_assert_int_eq(write(fd, lines, strlen(lines)), (ssize_t)strlen(lines));
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    read_to_end(fd, reply, sizeof(reply));
    ck_assert_str_eq(reply, "HELLO\n\nWORLD 1\nNO END");
    (void)close(fd);
    ck_assert_int_eq(kill(server, SIGTERM), 0);
    ck_assert_int_eq(waitpid(server, &status, 0), server);
    ck_assert_int_eq(status, 0);
    ck_assert_int_ne(access(address + strlen("unix:"), F_OK), 0);
}
END_TEST

static Suite *upper_suite(void)
{
    Suite *const suite = suite_create("upper");
    TCase *const tcase = tcase_create("upper");

    tcase_set_timeout(tcase, 20);
    tcase_add_test(tcase, lines_come_back_in_capitals);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(upper_suite)
