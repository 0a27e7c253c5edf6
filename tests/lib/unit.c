/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave_out(const char *tag, const char *reason)
{
    const char *const others = getenv("CK_EXCLUDE_TAGS");
    char tags[256];

    (void)snprintf(tags, sizeof(tags), "%s %s", others != NULL ? others : "", tag);
    (void)setenv("CK_EXCLUDE_TAGS", tags, 1);
    printf("# cases tagged %s are left out: %s\n", tag, reason);
    (void)fflush(stdout);
}

/* Tried, not guessed: a container may have root and no other user. */
static bool may_become_another(void)
{
    const pid_t pid = fork();
    int status = 1;

    if (pid == 0)
        _exit(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0
                  ? EXIT_SUCCESS
                  : EXIT_FAILURE);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int pfk_unit_run(Suite *(*make_suite)(void))
{
    SRunner *runner;
    const char *const factor = getenv("PFK_TEST_TIME_FACTOR");
    int failed;

    if (factor != NULL && *factor != '\0')
        (void)setenv("CK_TIMEOUT_MULTIPLIER", factor, 1);
    if (access("/proc/self/stat", R_OK) != 0)
        leave_out(PFK_UNIT_NEEDS_PROC, "/proc is not mounted");
    if (!may_become_another())
        leave_out(PFK_UNIT_NEEDS_ROOT, "this is not root, or the user namespace has no other user");
    runner = srunner_create(make_suite());
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
