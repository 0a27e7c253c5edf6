/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include <stdlib.h>

int pfk_unit_run(Suite *suite)
{
    SRunner *const runner = srunner_create(suite);
    const char *const factor = getenv("PFK_TEST_TIME_FACTOR");
    int failed;

    if (factor != NULL && *factor != '\0')
        (void)setenv("CK_TIMEOUT_MULTIPLIER", factor, 1);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
