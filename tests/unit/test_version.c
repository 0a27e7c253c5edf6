/* SPDX-License-Identifier: BSD-2-Clause */
#include "prefork/version.h"

#include <stdio.h>
#include <stdlib.h>

#include "../lib/unit.h"

START_TEST(string_number_and_function_agree)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "%d.%d.%d", PREFORK_VERSION_MAJOR, PREFORK_VERSION_MINOR, PREFORK_VERSION_PATCH);
    ck_assert_str_eq(text, PREFORK_VERSION_STRING);
    ck_assert_str_eq(prefork_version(), PREFORK_VERSION_STRING);
    ck_assert_int_eq(PREFORK_VERSION_NUM >> 16, PREFORK_VERSION_MAJOR);
    ck_assert_int_eq(PREFORK_VERSION_NUM >> 8 & 255, PREFORK_VERSION_MINOR);
    ck_assert_int_eq(PREFORK_VERSION_NUM & 255, PREFORK_VERSION_PATCH);
}
END_TEST

START_TEST(number_serves_the_preprocessor)
{
#if PREFORK_VERSION_NUM < 0x000100
    ck_abort_msg("older than the first version");
#endif
}
END_TEST

static Suite *version_suite(void)
{
    Suite *const suite = suite_create("version");
    TCase *const version = tcase_create("version");

    tcase_add_test(version, string_number_and_function_agree);
    tcase_add_test(version, number_serves_the_preprocessor);
    suite_add_tcase(suite, version);
    return suite;
}

PFK_UNIT_MAIN(version_suite)
