/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/trust.h"

#include <errno.h>
#include <string.h>

#include "../lib/unit.h"

#include "prefork/error.h"

static const struct {
    const char *set;
    const char *address;
    bool has;
} asked[] = {
    {"10.0.0.0/8", "tcp:10.255.0.1:1", true},
    {"10.0.0.0/8", "tcp:11.0.0.1:1", false},
    {"10.0.0.0/8", "tcp:[::ffff:10.1.2.3]:1", true},
    {"10.0.0.0/8", "tcp:[::10.1.2.3]:1", false},
    {"10.0.0.0/8", "unix:x", false},
    {"192.168.1.128/25", "tcp:192.168.1.127:1", false},
    {"192.168.1.128/25", "tcp:192.168.1.128:1", true},
    {"192.168.1.7", "tcp:192.168.1.7:1", true},
    {"192.168.1.7", "tcp:192.168.1.6:1", false},
    {"192.168.1.7/32", "tcp:192.168.1.6:1", false},
    {"0.0.0.0/0", "tcp:1.2.3.4:1", true},
    {"0.0.0.0/0", "tcp:[::1]:1", false},
    {"::/0", "tcp:[::1]:1", true},
    {"::/0", "tcp:1.2.3.4:1", true},
    {"2001:db8::/33", "tcp:[2001:db8:7fff::1]:1", true},
    {"2001:db8::/33", "tcp:[2001:db8:8000::1]:1", false},
    {"::1", "tcp:[::1]:1", true},
    {"::1", "tcp:[::2]:1", false},
    {"unix", "unix:x", true},
    {"unix", "unix:@x", true},
    {"unix", "tcp:127.0.0.1:1", false},
    {"*", "tcp:127.0.0.1:1", true},
    {"*", "unix:x", true},
    {" ::1, 127.0.0.1 ,unix", "tcp:127.0.0.1:1", true},
    {" ::1, 127.0.0.1 ,unix", "unix:x", true},
    {" ::1, 127.0.0.1 ,unix", "tcp:127.0.0.2:1", false},
};

START_TEST(knows_whom_it_has)
{
    struct pfk_address address;
    struct pfk_trust *trust;

    ck_assert_int_eq(pfk_address_parse(asked[_i].address, &address), 0);
    ck_assert_msg(pfk_trust_open(asked[_i].set, &trust) == 0, "%s: %s", asked[_i].set, prefork_last_error());
    ck_assert_msg(pfk_trust_has(trust, &address) == asked[_i].has, "%s in %s", asked[_i].address, asked[_i].set);
    pfk_trust_close(&trust);
    ck_assert_ptr_null(trust);
    pfk_trust_close(&trust);
}
END_TEST

static const char *const bad[] = {
    "",
    ",",
    " ",
    "localhost",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/8x",
    "10.0.0",
    "::/129",
    "::/0128",
    "/8",
    "**",
    "unix:/x",
    "1.2.3.4;1.2.3.5",
    "1.2.3.4,x",
    "x,1.2.3.4",
    "10.0.0.0/8/8",
    "[::1]",
    "10.0.0.0/00008",
    "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
};

START_TEST(refuses_what_is_none)
{
    struct pfk_trust *trust;

    ck_assert_msg(pfk_trust_open(bad[_i], &trust) == -EINVAL, "\"%s\" was taken", bad[_i]);
    ck_assert_ptr_null(trust);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "everybody"));
}
END_TEST

static Suite *trust_suite(void)
{
    Suite *suite = suite_create("trust");
    TCase *cases = tcase_create("trust");

    tcase_add_loop_test(cases, knows_whom_it_has, 0, (int)(sizeof(asked) / sizeof(asked[0])));
    tcase_add_loop_test(cases, refuses_what_is_none, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(trust_suite)
