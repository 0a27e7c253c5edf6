/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections that begin with a PROXY header. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/leak.h"
#include "../lib/unit.h"
#include "stage.h"

#define HEADER "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"

static struct stage stage;
static struct pfk_trust *trust;
static int fds_before, count_opened, count_closed;
static char peer_when_opened[PREFORK_PEER_BYTES];

static void open_stage(void)
{
    fds_before = pfk_test_fds_open();
    stage_open(&stage, 64, 64, 128);
}

static void close_stage(void)
{
    stage_close(&stage);
    pfk_trust_close(&trust);
    ck_assert_int_eq(count_opened, count_closed);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

static void on_opened(struct prefork_connection *connection, void *context)
{
    (void)context;
    count_opened++;
    ck_assert_int_gt(prefork_connection_peer(connection, peer_when_opened, sizeof(peer_when_opened)), 0);
}

static void on_closed(struct prefork_connection *connection, void *context)
{
    (void)connection;
    (void)context;
    count_closed++;
}

static int tell_peer(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    char text[PREFORK_PEER_BYTES + 1];
    const int text_length = prefork_connection_peer(connection, text, PREFORK_PEER_BYTES);

    (void)message;
    (void)length;
    (void)context;
    ck_assert_int_gt(text_length, 0);
    ck_assert_uint_eq(strlen(text), (size_t)text_length);
    text[text_length] = '\n';
    return prefork_connection_write(connection, text, (size_t)text_length + 1);
}

/* Lines that are answered with the peer's address, behind headers of `from`. */
static const struct pfk_protocol *proxied_lines(const char *from, uint32_t limit_ms)
{
    static struct pfk_protocol protocol;
    struct prefork_protocol given = *prefork_protocol_lines(NULL);

    given.message = tell_peer;
    given.opened = on_opened;
    given.closed = on_closed;
    ck_assert_int_eq(pfk_protocol_complete(&given, -1, &protocol), 0);
    ck_assert_int_eq(pfk_trust_open(from, &trust), 0);
    protocol.proxy = (struct pfk_proxy_rule){trust, limit_ms};
    return &protocol;
}

static void expect_announced(int client)
{
    stage_expect(&stage, client, "tcp:192.0.2.1:56324\n");
    ck_assert_str_eq(peer_when_opened, "tcp:192.0.2.1:56324");
    (void)close(client);
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}

START_TEST(a_trusted_header_announces_the_peer)
{
    const int client = stage_connect(&stage, proxied_lines("unix", 10000));

    ck_assert_int_eq(count_opened, 0);
    stage_send(client, HEADER "who\n");
    expect_announced(client);
    ck_assert_int_eq(count_opened, 1);
}
END_TEST

START_TEST(a_header_may_come_in_pieces_of_a_byte)
{
    const int client = stage_connect(&stage, proxied_lines("unix", 10000));

    for (const char *at = HEADER "who\n"; *at != '\0'; at++) {
        ck_assert_int_eq(send(client, at, 1, 0), 1);
        stage_turn(&stage);
    }
    expect_announced(client);
}
END_TEST

START_TEST(a_binary_header_of_65551_bytes_is_skipped)
{
    static char bytes[PFK_PROXY_HEADER_BYTES_MAX] =
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff\300\0\2\1\300\0\2\2\xdc\x04\1\xbb";
    const int client = stage_connect(&stage, proxied_lines("unix", 10000));

    for (size_t sent = 0; sent < sizeof(bytes);) {
        const ssize_t piece = send(client, bytes + sent, sizeof(bytes) - sent, MSG_NOSIGNAL);

        ck_assert(piece > 0 || errno == EAGAIN);
        sent += piece > 0 ? (size_t)piece : 0;
        stage_turn(&stage);
    }
    stage_send(client, "who\n");
    expect_announced(client);
}
END_TEST

START_TEST(a_proxy_that_speaks_for_itself_is_the_peer)
{
    const int client = stage_connect_tcp(&stage, proxied_lines("127.0.0.0/8", 10000));
    char expected[PREFORK_PEER_BYTES];

    stage_send(client, "PROXY UNKNOWN\r\nwho\n");
    STAGE_UNTIL(&stage, count_opened == 1);
    ck_assert_int_eq(strncmp(peer_when_opened, "tcp:127.0.0.1:", 14), 0);
    (void)snprintf(expected, sizeof(expected), "%.100s\n", peer_when_opened);
    stage_expect(&stage, client, expected);
    (void)close(client);
}
END_TEST

START_TEST(a_stranger_speaks_the_protocol_from_the_first_byte)
{
    const int client = stage_connect(&stage, proxied_lines("192.0.2.0/24", 1));

    ck_assert_int_eq(count_opened, 1);
    stage_send(client, HEADER);
    stage_expect(&stage, client, "unix:\n"); /* to him it is a line like any other */
    (void)close(client);
}
END_TEST

START_TEST(what_is_no_header_closes)
{
    const int client = stage_connect(&stage, proxied_lines("*", 10000));

    stage_send(client, "who\n");
    stage_expect_end(&stage, client);
    ck_assert_uint_eq(stage.loop.n_connections, 0);
    ck_assert_int_eq(count_opened, 0);
    (void)close(client);
}
END_TEST

/* On a slow machine the time is over before the bytes were read: then it ends with a reset. */
START_TEST(half_a_header_then_silence_closes)
{
    const int client = stage_connect(&stage, proxied_lines("unix", 20));
    char byte;

    stage_send(client, "PROXY TCP4 192.0.2.1");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
    ck_assert_int_le(recv(client, &byte, 1, 0), 0);
    ck_assert_int_eq(count_opened, 0);
    (void)close(client);
}
END_TEST

START_TEST(half_a_header_then_the_end_closes)
{
    const int client = stage_connect(&stage, proxied_lines("unix", 10000));

    stage_send(client, "PROXY TCP4 192.0.2.1");
    ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
    stage_expect_end(&stage, client);
    ck_assert_int_eq(count_opened, 0);
    (void)close(client);
}
END_TEST

START_TEST(a_drain_does_not_wait_for_a_header)
{
    const int client = stage_connect(&stage, proxied_lines("unix", 10000));

    stage_send(client, "PROXY TCP4 192.0.2.1");
    stage_turn(&stage);
    pfk_loop_drain(&stage.loop);
    stage_expect_end(&stage, client);
    ck_assert_int_eq(count_opened, 0);
    (void)close(client);
}
END_TEST

START_TEST(a_path_with_control_characters_can_not_forge_a_log_line)
{
    unsigned char bytes[16 + 216] = "\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8/a\nb\x7f";
    const int client = stage_connect(&stage, proxied_lines("unix", 10000));

    ck_assert_int_eq(send(client, bytes, sizeof(bytes), 0), sizeof(bytes));
    stage_send(client, "who\n");
    stage_expect(&stage, client, "unix:/a?b?\n");
    (void)close(client);
}
END_TEST

static Suite *proxy_suite(void)
{
    Suite *suite = suite_create("proxy");
    TCase *cases = tcase_create("proxy");

    tcase_add_checked_fixture(cases, open_stage, close_stage);
    tcase_set_timeout(cases, 30);
    tcase_add_test(cases, a_trusted_header_announces_the_peer);
    tcase_add_test(cases, a_header_may_come_in_pieces_of_a_byte);
    tcase_add_test(cases, a_binary_header_of_65551_bytes_is_skipped);
    tcase_add_test(cases, a_proxy_that_speaks_for_itself_is_the_peer);
    tcase_add_test(cases, a_stranger_speaks_the_protocol_from_the_first_byte);
    tcase_add_test(cases, what_is_no_header_closes);
    tcase_add_test(cases, half_a_header_then_silence_closes);
    tcase_add_test(cases, half_a_header_then_the_end_closes);
    tcase_add_test(cases, a_drain_does_not_wait_for_a_header);
    tcase_add_test(cases, a_path_with_control_characters_can_not_forge_a_log_line);
    suite_add_tcase(suite, cases);
    return suite;
}

PFK_UNIT_MAIN(proxy_suite)
