/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include <stdlib.h>

int pfk_unit_run(Suite *(*make_suite)(void))
{
    SRunner *runner;
    const char *const factor = getenv("PFK_TEST_TIME_FACTOR");
    int failed;

    if (factor != NULL && *factor != '\0')
        (void)setenv("CK_TIMEOUT_MULTIPLIER", factor, 1);
    runner = srunner_create(make_suite());
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
