/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../lib/unit.h"

#include "prefork/error.h"

/* What is read, and what is written again. */
static const char *const good[][2] = {
    {"tcp:127.0.0.1:7007", "tcp:127.0.0.1:7007"},
    {"tcp:127.0.0.1:0", "tcp:127.0.0.1:0"},
    {"tcp:0.0.0.0:65535", "tcp:0.0.0.0:65535"},
    {"tcp:[::1]:0", "tcp:[::1]:0"},
    {"tcp:[::]:80", "tcp:[::]:80"},
    {"tcp:[2001:db8:0:0::7]:00080", "tcp:[2001:db8::7]:80"},
    {"tcp:[::ffff:10.0.0.1]:1", "tcp:[::ffff:10.0.0.1]:1"},
    {"tcp:*:7007", "tcp:*:7007"},
    {"unix:/run/a b:c.sock", "unix:/run/a b:c.sock"},
    {"unix:relative", "unix:relative"},
    {"unix:./@path", "unix:./@path"},
    {"unix:@abstract", "unix:@abstract"},
    {"udp:127.0.0.1:0", "udp:127.0.0.1:0"},
    {"udp:[::1]:53", "udp:[::1]:53"},
    {"udp:*:53", "udp:*:53"},
};

static const char *const bad[][2] = {
    {"", "begins with none"},
    {"127.0.0.1:7007", "begins with none"},
    {"TCP:127.0.0.1:7007", "begins with none"},
    {"tcp:", "no port"},
    {"tcp:127.0.0.1", "no port"},
    {"tcp:127.0.0.1:", "the port must be"},
    {"tcp:127.0.0.1:65536", "the port must be"},
    {"tcp:127.0.0.1:99999999999999999999", "the port must be"},
    {"tcp:127.0.0.1:-1", "the port must be"},
    {"tcp:127.0.0.1:+1", "the port must be"},
    {"tcp:127.0.0.1: 80", "the port must be"},
    {"tcp:127.0.0.1:80x", "the port must be"},
    {"tcp:127.0.0.1:http", "the port must be"},
    {"tcp::80", "the host must be"},
    {"tcp:localhost:80", "the host must be"},
    {"tcp:127.0.0:80", "the host must be"},
    {"tcp:256.0.0.1:80", "the host must be"},
    {"tcp:::1:80", "the host must be"},
    {"tcp:[127.0.0.1]:80", "the host must be"},
    {"tcp:[]:80", "the host must be"},
    {"tcp:[::1:80", "the host must be"},
    {"tcp:[*]:80", "the host must be"},
    {"tcp:**:80", "the host must be"},
    {"tcp:[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80", "the host must be"},
    {"unix:", "no path"},
    {"unix:@", "no path"},
    {"udp:", "no port"},
    {"udp:localhost:80", "the host must be"},
    {"udp:127.0.0.1:65536", "the port must be"},
    {"unixgram:/path", "begins with none"},
};

START_TEST(reads_each_form_and_writes_it_again)
{
    struct pfk_address address;
    char text[PFK_ADDRESS_TEXT_BYTES];

    ck_assert_msg(pfk_address_parse(good[_i][0], &address) == 0, "%s: %s", good[_i][0], prefork_last_error());
    pfk_address_format(&address, text);
    ck_assert_str_eq(text, good[_i][1]);
}
END_TEST

START_TEST(refuses_with_the_reason_and_the_forms)
{
    struct pfk_address address;

    ck_assert_int_eq(pfk_address_parse(bad[_i][0], &address), -EINVAL);
    ck_assert_msg(strstr(prefork_last_error(), bad[_i][1]) != NULL, "%s: %s", bad[_i][0], prefork_last_error());
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "unix:/path"));
}
END_TEST

START_TEST(refuses_null)
{
    struct pfk_address address;

    ck_assert_int_eq(pfk_address_parse(NULL, &address), -EINVAL);
}
END_TEST

START_TEST(a_path_has_at_most_107_bytes)
{
    struct pfk_address address;
    char text[PFK_ADDRESS_TEXT_BYTES], again[PFK_ADDRESS_TEXT_BYTES];

    (void)snprintf(text, sizeof(text), "unix:/%0106d", 0);
    ck_assert_int_eq(pfk_address_parse(text, &address), 0);
    pfk_address_format(&address, again);
    ck_assert_str_eq(again, text);
    (void)snprintf(text, sizeof(text), "unix:/%0107d", 0);
    ck_assert_int_eq(pfk_address_parse(text, &address), -EINVAL);
    ck_assert_ptr_nonnull(strstr(prefork_last_error(), "107 bytes"));
}
END_TEST

START_TEST(every_address_becomes_ipv4_for_a_host_without_ipv6)
{
    struct pfk_address address;
    char text[PFK_ADDRESS_TEXT_BYTES];

    ck_assert_int_eq(pfk_address_parse("tcp:*:7007", &address), 0);
    ck_assert_int_eq(address.socket.any.sa_family, AF_INET6);
    pfk_address_every_ipv4(&address);
    ck_assert_int_eq(address.socket.any.sa_family, AF_INET);
    ck_assert_uint_eq(address.length, sizeof(struct sockaddr_in));
    pfk_address_format(&address, text);
    ck_assert_str_eq(text, "tcp:*:7007");
}
END_TEST

START_TEST(an_abstract_name_is_all_that_the_length_covers)
{
    struct pfk_address address;

    ck_assert_int_eq(pfk_address_parse("unix:@ab", &address), 0);
    ck_assert_uint_eq(address.length, offsetof(struct sockaddr_un, sun_path) + 3);
    ck_assert_mem_eq(address.socket.local.sun_path, "\0ab", 3);
    ck_assert(!pfk_address_is_path(&address));
    ck_assert_int_eq(pfk_address_parse("unix:ab", &address), 0);
    ck_assert(pfk_address_is_path(&address));
}
END_TEST

START_TEST(the_scheme_tells_the_type)
{
    struct pfk_address address;

    ck_assert_int_eq(pfk_address_parse("udp:*:1", &address), 0);
    ck_assert_int_eq(address.type, SOCK_DGRAM);
    ck_assert_int_eq(pfk_address_parse("unix:x", &address), 0);
    ck_assert_int_eq(address.type, SOCK_STREAM);
}
END_TEST

START_TEST(ipv4_over_ipv6_becomes_ipv4)
{
    struct pfk_address address;
    char text[PFK_ADDRESS_TEXT_BYTES];

    ck_assert_int_eq(pfk_address_parse("tcp:[::ffff:10.0.0.1]:7", &address), 0);
    pfk_address_unmap(&address);
    pfk_address_format(&address, text);
    ck_assert_str_eq(text, "tcp:10.0.0.1:7");
    ck_assert_int_eq(pfk_address_parse("tcp:[::1]:7", &address), 0);
    pfk_address_unmap(&address);
    pfk_address_format(&address, text);
    ck_assert_str_eq(text, "tcp:[::1]:7");
}
END_TEST

static Suite *address_suite(void)
{
    Suite *suite = suite_create("address");
    TCase *cases = tcase_create("text");

    tcase_add_loop_test(cases, reads_each_form_and_writes_it_again, 0, (int)(sizeof(good) / sizeof(good[0])));
    tcase_add_loop_test(cases, refuses_with_the_reason_and_the_forms, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(cases, refuses_null);
    tcase_add_test(cases, a_path_has_at_most_107_bytes);
    tcase_add_test(cases, every_address_becomes_ipv4_for_a_host_without_ipv6);
    tcase_add_test(cases, an_abstract_name_is_all_that_the_length_covers);
    tcase_add_test(cases, the_scheme_tells_the_type);
    tcase_add_test(cases, ipv4_over_ipv6_becomes_ipv4);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(address_suite)
