/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/proxy_header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/unit.h"

#define SIGNATURE      "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(literal) literal, sizeof(literal) - 1

/* Whole headers, and whom they announce. */
static const struct {
    const char *bytes;
    size_t length;
    const char *peer; /* NULL: nobody */
} good[] = {
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), "tcp:192.0.2.1:56324"},
    {BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "tcp:255.255.255.255:65535"},
    {BYTES("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "tcp:0.0.0.0:0"},
    {BYTES("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "tcp:[2001:db8::1]:1"},
    {BYTES(
         "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     "tcp:[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
    {BYTES("PROXY UNKNOWN\r\n"), NULL},
    {BYTES("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), NULL},
    {BYTES(SIGNATURE "\x20\x00\0\0"), NULL},
    {BYTES(SIGNATURE "\x20\x11\0\x0c\1\2\3\4\5\6\7\x8\0\1\0\2"), NULL},
    {BYTES(SIGNATURE "\x20\x11\0\3abc"), NULL}, /* LOCAL: the addresses are not looked at */
    {BYTES(SIGNATURE "\x21\x00\0\0"), NULL},
    {BYTES(SIGNATURE "\x21\x01\0\4abcd"), NULL},
    {BYTES(SIGNATURE "\x21\x11\0\x0c\300\0\2\1\300\0\2\2\xdc\x04\1\xbb"), "tcp:192.0.2.1:56324"},
    {BYTES(SIGNATURE "\x21\x12\0\x0c\300\0\2\1\300\0\2\2\xdc\x04\1\xbb"), "tcp:192.0.2.1:56324"},
    {BYTES(SIGNATURE "\x21\x11\0\x13\300\0\2\1\300\0\2\2\xdc\x04\1\xbb\x04\0\4tlv!"), "tcp:192.0.2.1:56324"},
    {BYTES(SIGNATURE "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                     "0123456789abcdef\xdc\x04\1\xbb"),
     "tcp:[2001:db8::1]:56324"},
};

START_TEST(a_whole_header_is_read)
{
    struct pfk_proxy_header header;
    char text[PFK_ADDRESS_TEXT_BYTES] = "";
    char behind[512];

    memcpy(behind, good[_i].bytes, good[_i].length);
    memset(behind + good[_i].length, 'x', sizeof(behind) - good[_i].length);
    ck_assert_int_eq(pfk_proxy_header_read(behind, good[_i].length, &header), (int64_t)good[_i].length);
    ck_assert_int_eq(pfk_proxy_header_read(behind, sizeof(behind), &header), (int64_t)good[_i].length);
    ck_assert_int_eq(header.announced, good[_i].peer != NULL);
    if (!header.announced)
        return;
    pfk_address_format(&header.peer, text);
    ck_assert_str_eq(text, good[_i].peer);
}
END_TEST

START_TEST(a_part_of_a_header_wants_more)
{
    for (size_t length = 0; length < good[_i].length; length++) {
        char *const part = malloc(length + 1); /* of its own, for AddressSanitizer */
        struct pfk_proxy_header header;
        int64_t size;

        memcpy(part, good[_i].bytes, length);
        size = pfk_proxy_header_read(part, length, &header);
        free(part);
        if (size != 0)
            ck_abort_msg("the first %zu bytes give %lld", length, (long long)size);
    }
}
END_TEST

static const struct {
    const char *bytes;
    size_t length;
} bad[] = {
    {BYTES("GET / HTTP/1.1\r\n\r\n")},
    {BYTES("Q")},
    {BYTES("PROXX")},
    {BYTES("PROXY\r\n")},
    {BYTES("PROXY \r\n")},
    {BYTES("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n")},
    {BYTES("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n")},
    {BYTES("PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 100000 2\r\n")},
    {BYTES("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n")},
    {BYTES("PROXY TCP4 ::1 ::1 1 2\r\n")},
    {BYTES("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n")},
    {BYTES("PROXY TCP6 :: localhost 1 2\r\n")},
    {BYTES("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n")},
    {BYTES("PROXY TCP4\0192.0.2.1 192.0.2.2 1 2\r\n")},
    {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\0\r\n")},
    {BYTES("PROXY UNKNOWN "
           "3456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456")},
    {BYTES("PROXY UNKNOWN "
           "345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345\r\n")},
    {BYTES("\r\n\r\nx")},
    {BYTES(SIGNATURE "\x11")},
    {BYTES(SIGNATURE "\x31")},
    {BYTES(SIGNATURE "\x22")},
    {BYTES(SIGNATURE "\x2f")},
    {BYTES(SIGNATURE "\x21\x41")},
    {BYTES(SIGNATURE "\x21\x13")},
    {BYTES(SIGNATURE "\x21\x11\0\x0b\300\0\2\1\300\0\2\2\xdc\x04\1")},
    {BYTES(SIGNATURE "\x21\x21\0\x23"
                     "0123456789abcdef0123456789abcdef012")},
    {BYTES(SIGNATURE "\x21\x31\0\x0c\300\0\2\1\300\0\2\2\xdc\x04\1\xbb")},
};

START_TEST(what_is_no_header_is_refused)
{
    struct pfk_proxy_header header;

    ck_assert_int_eq(pfk_proxy_header_read(bad[_i].bytes, bad[_i].length, &header), -EPROTO);
}
END_TEST

START_TEST(a_path_is_announced)
{
    unsigned char bytes[16 + 216] = SIGNATURE "\x21\x31\0\xd8/run/client";
    struct pfk_proxy_header header;
    char text[PFK_ADDRESS_TEXT_BYTES];

    ck_assert_int_eq(pfk_proxy_header_read(bytes, sizeof(bytes), &header), sizeof(bytes));
    ck_assert(header.announced);
    pfk_address_format(&header.peer, text);
    ck_assert_str_eq(text, "unix:/run/client");
    memset(bytes + 16, 'p', 216); /* a path as long as can be */
    ck_assert_int_eq(pfk_proxy_header_read(bytes, sizeof(bytes), &header), sizeof(bytes));
    pfk_address_format(&header.peer, text);
    ck_assert_uint_eq(strlen(text), 5 + 108);
}
END_TEST

START_TEST(the_longest_header_is_taken_whole)
{
    unsigned char *const bytes = calloc(1, PFK_PROXY_HEADER_BYTES_MAX + 1);
    struct pfk_proxy_header header;

    memcpy(bytes, SIGNATURE "\x21\x00\xff\xff", 16);
    ck_assert_int_eq(pfk_proxy_header_read(bytes, PFK_PROXY_HEADER_BYTES_MAX - 1, &header), 0);
    ck_assert_int_eq(pfk_proxy_header_read(bytes, PFK_PROXY_HEADER_BYTES_MAX + 1, &header), PFK_PROXY_HEADER_BYTES_MAX);
    free(bytes);
}
END_TEST

static Suite *proxy_header_suite(void)
{
    Suite *suite = suite_create("proxy_header");
    TCase *cases = tcase_create("proxy_header");

    tcase_add_loop_test(cases, a_whole_header_is_read, 0, (int)(sizeof(good) / sizeof(good[0])));
    tcase_add_loop_test(cases, a_part_of_a_header_wants_more, 0, (int)(sizeof(good) / sizeof(good[0])));
    tcase_add_loop_test(cases, what_is_no_header_is_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(cases, a_path_is_announced);
    tcase_add_test(cases, the_longest_header_is_taken_whole);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(proxy_header_suite)
