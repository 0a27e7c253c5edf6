/* SPDX-License-Identifier: BSD-2-Clause */
/* HTTP on connections: answers at once and by jobs, in order; what is refused;
 * files; ends. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../io/stage.h"
#include "../lib/leak.h"
#include "../lib/unit.h"

#include "prefork/http.h"

#define H "Host: a\r\n"

static struct stage stage;
static int fds_before;
static int client;
static int file_fd; /* what /file answers with; file_bytes of it */
static size_t file_bytes;

static void set_up(void)
{
    fds_before = pfk_test_fds_open();
    (void)signal(SIGPIPE, SIG_IGN); /* as an I/O thread has it blocked */
    stage_open(&stage, 8, 1024, 1024);
    client = -1;
    file_fd = -1;
}

static void tear_down(void)
{
    if (client >= 0)
        (void)close(client);
    if (file_fd >= 0)
        (void)close(file_fd);
    stage_close(&stage);
    ck_assert_int_eq(pfk_test_fds_open(), fds_before);
}

/* -- Allocations: malloc and its like are wrapped by the linker --------------------- */

static unsigned allocations;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    allocations++;
    return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    allocations++;
    return __real_realloc(memory, bytes);
}

/* -- The server ------------------------------------------------------------------ */

static int respond_text(struct prefork_connection *connection, const struct prefork_http_request *request,
                        const char *text)
{
    return prefork_http_respond(
        connection, request, &(struct prefork_http_response){.status = 200, .body = text, .body_bytes = strlen(text)});
}

static int on_request(struct prefork_connection *connection, const struct prefork_http_request *request, void *context)
{
    (void)context;
    if (prefork_http_text_is(request->path, "/job"))
        return prefork_http_submit(connection, request, 0);
    if (prefork_http_text_is(request->path, "/file"))
        return prefork_http_respond_file(connection, request, &(struct prefork_http_response){.status = 200},
                                         fcntl(file_fd, F_DUPFD_CLOEXEC, 0), 0, file_bytes);
    if (prefork_http_text_is(request->path, "/fail"))
        return -EIO;
    if (prefork_http_text_is(request->path, "/forget"))
        return 0;
    if (prefork_http_text_is(request->path, "/none"))
        return prefork_http_respond(connection, request, &(struct prefork_http_response){.status = 204});
    if (prefork_http_text_is(request->path, "/inject")) {
        const struct prefork_http_header header = {.name = {"X", 1}, .value = {"a\r\nY: b", 7}};

        return prefork_http_respond(connection, request,
                                    &(struct prefork_http_response){.status = 200, .headers = &header, .n_headers = 1});
    }
    if (request->body.length > 0)
        return prefork_http_respond(
            connection, request,
            &(struct prefork_http_response){
                .status = 200, .content_type = "x/y", .body = request->body.bytes, .body_bytes = request->body.length});
    return respond_text(connection, request, "hi");
}

static const struct prefork_http_options options = {
    .size = sizeof(options), .on_request = on_request, .max_head_bytes = 512, .max_in_flight = 4};

static void connect_client(void)
{
    const struct prefork_protocol *protocol = prefork_protocol_http(&options);

    ck_assert_ptr_nonnull(protocol);
    client = stage_connect(&stage, stage_protocol(protocol));
}

/* Runs a job as a handler would: the reply is the body in brackets. */
static void run_job(struct prefork_lane *worker, int status)
{
    struct prefork_job *job = NULL;
    const struct prefork_http_request *request;
    char text[64];
    int length;

    STAGE_UNTIL(&stage, prefork_lane_claim(worker, PREFORK_NO_WAIT, &job) == 0);
    request = prefork_http_job_request(job);
    ck_assert_ptr_nonnull(request);
    length = snprintf(text, sizeof(text), "[%.*s]", (int)request->body.length, request->body.bytes);
    ck_assert_int_eq(
        prefork_http_reply(job,
                           &(struct prefork_http_response){.status = 200, .body = text, .body_bytes = (size_t)length}),
        0);
    ck_assert_int_eq(prefork_job_complete(job, status), 0);
}

/* -- The client -------------------------------------------------------------------- */

static char received[65536];
static size_t n_received;

static void receive(void)
{
    const ssize_t got = recv(client, received + n_received, sizeof(received) - 1 - n_received, 0);

    if (got > 0)
        n_received += (size_t)got;
    received[n_received] = '\0';
}

static size_t count(const char *needle)
{
    size_t n = 0;

    for (const char *at = strstr(received, needle); at != NULL; at = strstr(at + 1, needle))
        n++;
    return n;
}

/* Turns the loop until `answers` heads have come, and a round more. */
static void expect_answers(size_t answers)
{
    STAGE_UNTIL(&stage, (receive(), count("HTTP/1.1 ") >= answers));
    stage_turn(&stage);
    receive();
    ck_assert_msg(count("HTTP/1.1 ") == answers, "%zu answers, not %zu:\n%s", count("HTTP/1.1 "), answers, received);
}

static void expect_text(const char *text)
{
    ck_assert_msg(strstr(received, text) != NULL, "there is no \"%s\" in\n%s", text, received);
}

static void expect_no_text(const char *text)
{
    ck_assert_msg(strstr(received, text) == NULL, "there is \"%s\" in\n%s", text, received);
}

/* -- Answers ------------------------------------------------------------------------ */

START_TEST(an_answer_is_whole)
{
    connect_client();
    stage_send(client, "GET / HTTP/1.1\r\n" H "\r\n");
    expect_answers(1);
    expect_text("HTTP/1.1 200 OK\r\nDate: ");
    expect_text(" GMT\r\nContent-Length: 2\r\n\r\nhi");
    expect_no_text("Connection");
    ck_assert_ptr_null(prefork_connection_user(stage_last(&stage)));
    ck_assert_ptr_null(stage_last(&stage)->input);
}
END_TEST

static void ask_once(const char *request, bool by_job)
{
    n_received = 0;
    stage_send(client, request);
    if (by_job)
        run_job(stage.workers[0], 0);
    expect_answers(1);
}

/* Without an assertion: those allocate. */
static bool ask_quietly(const char *request)
{
    n_received = 0;
    if (send(client, request, strlen(request), 0) < 0)
        return false;
    for (int turn = 0; turn < 1000 && n_received == 0; turn++) {
        struct prefork_job *job;

        stage_turn(&stage);
        if (prefork_lane_claim(stage.workers[0], PREFORK_NO_WAIT, &job) == 0) {
            (void)prefork_http_reply(job,
                                     &(struct prefork_http_response){.status = 200, .body = "job", .body_bytes = 3});
            (void)prefork_job_complete(job, 0);
        }
        receive();
    }
    return n_received > 0;
}

START_TEST(no_request_allocates)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\n" H "\r\n", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "GET /job HTTP/1.1\r\n" H "\r\n"};
    unsigned before, answered = 0;

    connect_client();
    ck_assert(ask_quietly(requests[_i]));
    before = allocations;
    for (int i = 0; i < 100; i++)
        answered += ask_quietly(requests[_i]);
    before = allocations - before;
    ck_assert_uint_eq(answered, 100);
    ck_assert_uint_eq(before, 0);
}
END_TEST

START_TEST(requests_that_dribble_in)
{
    static const char text[] =
        "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        "GET / HTTP/1.1\r\n" H "\r\n";

    connect_client();
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        ck_assert_int_eq(send(client, text + i, 1, 0), 1);
        stage_turn(&stage);
    }
    expect_answers(2);
    expect_text("Content-Length: 3\r\nContent-Type: x/y\r\n\r\nabcHTTP/1.1");
    ck_assert_ptr_null(prefork_connection_user(stage_last(&stage)));
}
END_TEST

START_TEST(without_a_function_all_are_jobs)
{
    static const struct prefork_http_options bare = {.size = sizeof(bare)};

    client = stage_connect(&stage, stage_protocol(prefork_protocol_http(&bare)));
    ask_once("POST /whatever HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", true);
    expect_text("\r\n\r\n[abc]");
}
END_TEST

START_TEST(head_has_no_body)
{
    connect_client();
    stage_send(client, "HEAD / HTTP/1.1\r\n" H "\r\nHEAD /job HTTP/1.1\r\n" H "\r\nGET /none HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
    run_job(stage.workers[0], 0);
    expect_answers(3);
    ck_assert_uint_eq(count("Content-Length: 2\r\n\r\nHTTP"), 2);
    expect_text("204 No Content");
    expect_no_text("hi");
    expect_no_text("[]");
    ck_assert_uint_eq(count("Content-Length"), 2);
}
END_TEST

START_TEST(answers_come_in_order)
{
    connect_client();
    stage_send(client, "POST /job HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n1GET / HTTP/1.1\r\n" H "\r\n"
                       "POST /job HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n2");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 2);
    stage_expect_nothing(&stage, client);
    {
        struct prefork_job *first, *second;

        ck_assert_int_eq(prefork_lane_claim(stage.workers[0], PREFORK_NO_WAIT, &first), 0);
        ck_assert_int_eq(prefork_lane_claim(stage.workers[1], PREFORK_NO_WAIT, &second), 0);
        ck_assert_int_eq(prefork_http_reply(second, &(struct prefork_http_response){.status = 202}), 0);
        ck_assert_int_eq(prefork_job_complete(second, 0), 0);
        stage_expect_nothing(&stage, client);
        ck_assert_int_eq(prefork_http_reply(first, &(struct prefork_http_response){.status = 201}), 0);
        ck_assert_int_eq(prefork_job_complete(first, 0), 0);
    }
    expect_answers(3);
    ck_assert(strstr(received, " 201 ") < strstr(received, " 200 "));
    ck_assert(strstr(received, " 200 ") < strstr(received, " 202 "));
}
END_TEST

START_TEST(more_than_may_be_in_flight_waits)
{
    connect_client();
    for (int i = 0; i < 20; i++)
        stage_send(client, "GET /job HTTP/1.1\r\n" H "\r\n");
    for (int i = 0; i < 20; i++)
        run_job(stage.workers[0], 0);
    expect_answers(20);
    ck_assert_uint_eq(count("[]"), 20);
}
END_TEST

/* The table is full: the request is offered again, and parsed again. */
START_TEST(a_full_table_delays)
{
    int others[2];

    for (int i = 0; i < 2; i++) {
        connect_client();
        others[i] = client;
        for (int job = 0; job < 4; job++)
            stage_send(client, "GET /job HTTP/1.1\r\n" H "\r\n");
        STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 4);
    }
    connect_client();
    stage_send(client, "POST /job HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\n");
    stage_turn(&stage);
    stage_send(client, "late");
    for (int i = 0; i < 4; i++)
        stage_turn(&stage);
    for (int i = 0; i < 9; i++) {
        STAGE_UNTIL(&stage, i < 8 || stage_last(&stage)->in_flight == 1);
        run_job(stage.workers[0], 0);
        stage_turn(&stage);
    }
    expect_answers(1);
    expect_text("[late]");
    (void)close(others[0]);
    (void)close(others[1]);
}
END_TEST

/* -- Who stays ---------------------------------------------------------------------- */

START_TEST(close_is_kept)
{
    connect_client();
    stage_send(client, "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n");
    expect_answers(1);
    expect_text("Connection: close\r\n");
    stage_expect_end(&stage, client);
}
END_TEST

START_TEST(close_waits_for_the_job)
{
    connect_client();
    stage_send(client, "GET /job HTTP/1.0\r\n\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
    stage_expect_nothing(&stage, client);
    run_job(stage.workers[0], 0);
    expect_answers(1);
    expect_text("Connection: close\r\n\r\n[]");
    stage_expect_end(&stage, client);
}
END_TEST

START_TEST(old_clients_may_stay)
{
    connect_client();
    stage_send(client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect_answers(1);
    expect_text("Connection: keep-alive\r\n");
    stage_send(client, "GET / HTTP/1.1\r\n" H "\r\n");
    expect_answers(2);
}
END_TEST

START_TEST(a_drain_says_close_with_the_last_answer)
{
    connect_client();
    for (int i = 0; i < 4; i++)
        stage_send(client, "GET /job HTTP/1.1\r\n" H "\r\n");
    stage_send(client, "GET / HTTP/1.1\r\n" H "\r\nGET / HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 4);
    pfk_connection_drain(stage_last(&stage));
    for (int i = 0; i < 4; i++)
        run_job(stage.workers[0], 0);
    expect_answers(6);
    ck_assert_uint_eq(count("Connection: close"), 1);
    ck_assert(strstr(strstr(received, "Connection: close"), "HTTP/1.1") == NULL);
    stage_expect_end(&stage, client);
}
END_TEST

START_TEST(half_closed_clients_are_answered)
{
    connect_client();
    stage_send(client, "GET / HTTP/1.1\r\n" H "\r\nGET / HT");
    (void)shutdown(client, SHUT_WR);
    expect_answers(1);
    stage_expect_end(&stage, client);
}
END_TEST

/* -- Expectations --------------------------------------------------------------------- */

START_TEST(who_expects_is_told_to_go_on)
{
    connect_client();
    stage_send(client, "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    expect_answers(1);
    ck_assert_str_eq(received, "HTTP/1.1 100 Continue\r\n\r\n");
    stage_send(client, "a");
    stage_turn(&stage);
    stage_send(client, "bc");
    expect_answers(2);
    expect_text("\r\n\r\nabc");
}
END_TEST

START_TEST(who_expects_in_vain_is_told_too)
{
    connect_client();
    stage_send(client, "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3000\r\n\r\n");
    expect_answers(1);
    expect_text("HTTP/1.1 413 Payload Too Large\r\n");
    stage_expect_end(&stage, client);
}
END_TEST

START_TEST(who_sends_anyway_is_not_told)
{
    connect_client();
    stage_send(client, "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc");
    expect_answers(1);
    expect_text(" 200 ");
}
END_TEST

/* -- Refusals and failures -------------------------------------------------------------- */

static const struct {
    const char *request, *answer;
} refused[] = {
    {"nonsense\r\n\r\n", "400 Bad Request"},
    {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"},
    {"GET / HTTP/3.0\r\n" H "\r\n", "505 HTTP Version Not Supported"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", "501 Not Implemented"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 1025\r\n\r\n", "413 Payload Too Large"},
    {"POST / HTTP/1.1\r\n" H "Expect: x\r\n\r\n", "417 Expectation Failed"},
    {"GET /fail HTTP/1.1\r\n" H "\r\n", "500 Internal Server Error"},
    {"GET /forget HTTP/1.1\r\n" H "\r\n", "500 Internal Server Error"},
    {"GET /inject HTTP/1.1\r\n" H "\r\n", "500 Internal Server Error"},
};

/* Behind the answers to what came before, also to jobs. */
START_TEST(refusals_come_in_order_and_are_the_last)
{
    connect_client();
    stage_send(client, "GET /job HTTP/1.1\r\n" H "\r\n");
    stage_send(client, refused[_i].request);
    stage_send(client, "GET / HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
    stage_expect_nothing(&stage, client);
    run_job(stage.workers[0], 0);
    expect_answers(2);
    expect_text(refused[_i].answer);
    expect_text("Connection: close\r\n");
    ck_assert(strstr(received, "[]") < strstr(received, refused[_i].answer));
    stage_expect_end(&stage, client);
}
END_TEST

START_TEST(a_failed_job_is_an_answer)
{
    connect_client();
    stage_send(client, "GET /job HTTP/1.1\r\n" H "\r\nGET /job HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 2);
    run_job(stage.workers[0], -EIO);
    run_job(stage.workers[0], 0);
    expect_answers(2);
    ck_assert(strstr(received, " 500 ") < strstr(received, " 200 "));
    expect_no_text("Connection: close");
}
END_TEST

/* It fits the limit of bodies, but not, with its head, the slot. */
START_TEST(a_request_too_large_for_a_slot)
{
    char body[1001];

    memset(body, 'x', 1000);
    body[1000] = '\0';
    connect_client();
    stage_send(client, "POST /job HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\n");
    stage_send(client, body);
    stage_send(client, "GET / HTTP/1.1\r\n" H "\r\n");
    expect_answers(2);
    ck_assert(strstr(received, " 413 ") < strstr(received, " 200 "));
}
END_TEST

START_TEST(a_reply_too_large_is_the_handlers_error)
{
    static const char body[1024];
    struct prefork_job *job;

    connect_client();
    stage_send(client, "GET /job HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
    ck_assert_int_eq(prefork_lane_claim(stage.workers[0], PREFORK_NO_WAIT, &job), 0);
    ck_assert_int_eq(prefork_http_reply(
                         job, &(struct prefork_http_response){.status = 200, .body = body, .body_bytes = sizeof(body)}),
                     -EMSGSIZE);
    ck_assert_int_eq(prefork_http_reply(job, &(struct prefork_http_response){.status = 199}), -EINVAL);
    ck_assert_int_eq(prefork_job_complete(job, -EMSGSIZE), 0);
    expect_answers(1);
    expect_text(" 500 ");
}
END_TEST

/* Where the head will be: it is moved. */
START_TEST(the_body_may_lie_in_the_reply_buffer)
{
    struct prefork_job *job;
    size_t capacity;
    char *reply;

    connect_client();
    stage_send(client, "GET /job HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
    ck_assert_int_eq(prefork_lane_claim(stage.workers[0], PREFORK_NO_WAIT, &job), 0);
    reply = prefork_job_reply_buffer(job, &capacity);
    memcpy(reply, "in place", 8);
    ck_assert_int_eq(
        prefork_http_reply(job, &(struct prefork_http_response){.status = 200, .body = reply, .body_bytes = 8}), 0);
    ck_assert_int_eq(prefork_job_complete(job, 0), 0);
    expect_answers(1);
    expect_text("Content-Length: 8\r\n\r\nin place");
}
END_TEST

START_TEST(options_are_checked)
{
    struct prefork_http_options bad = options;

    ck_assert_ptr_null(prefork_protocol_http(NULL));
    bad.size = 1;
    ck_assert_ptr_null(prefork_protocol_http(&bad));
    bad = options;
    bad.max_headers = 101;
    ck_assert_ptr_null(prefork_protocol_http(&bad));
    bad = options;
    bad.max_head_bytes = 63;
    ck_assert_ptr_null(prefork_protocol_http(&bad));
    bad.max_head_bytes = 16385;
    ck_assert_ptr_null(prefork_protocol_http(&bad));
}
END_TEST

/* -- Files ------------------------------------------------------------------------------ */

static unsigned char file_byte(size_t at)
{
    return (unsigned char)(at * 31 + at / 4096);
}

static void make_file(size_t bytes)
{
    unsigned char *content = malloc(bytes);

    for (size_t i = 0; i < bytes; i++)
        content[i] = file_byte(i);
    file_fd = memfd_create("file", MFD_CLOEXEC);
    ck_assert_int_ge(file_fd, 0);
    ck_assert_int_eq(write(file_fd, content, bytes), (ssize_t)bytes);
    free(content);
    file_bytes = bytes;
}

/* Reads up to the end of the next head. */
static void read_head(void)
{
    n_received = 0;
    do {
        STAGE_UNTIL(&stage, recv(client, received + n_received, 1, 0) == 1);
        received[++n_received] = '\0';
    } while (strstr(received, "\r\n\r\n") == NULL);
}

static void read_file(void)
{
    static unsigned char piece[50000];
    size_t at = 0, wrong = 0;

    read_head();
    while (at < file_bytes) {
        const size_t wanted = file_bytes - at < sizeof(piece) ? file_bytes - at : sizeof(piece);
        ssize_t got = -1;

        STAGE_UNTIL(&stage, (got = recv(client, piece, wanted, 0)) > 0);
        for (size_t i = 0; i < (size_t)got; i++)
            wrong += piece[i] != file_byte(at + i);
        at += (size_t)got;
    }
    ck_assert_uint_eq(wrong, 0);
}

static void shrink_buffers(void)
{
    const int least = 1;

    ck_assert_int_eq(setsockopt(stage_last(&stage)->watcher.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
}

START_TEST(a_file_is_sent)
{
    connect_client();
    make_file(5000000);
    stage_send(client, "GET /file HTTP/1.1\r\n" H "\r\nGET / HTTP/1.1\r\n" H "\r\n");
    read_file();
    expect_answers(2);
    expect_text("\r\n\r\nhi");
}
END_TEST

/* A few wait, each with a descriptor; the others have not been looked at. */
START_TEST(files_that_wait_stop_the_reading)
{
    connect_client();
    shrink_buffers();
    make_file(300000);
    for (int i = 0; i < 40; i++)
        stage_send(client, "GET /file HTTP/1.1\r\n" H "\r\n");
    for (int i = 0; i < 10; i++)
        stage_turn(&stage);
    ck_assert_int_le(pfk_test_fds_open(), fds_before + 40);
    ck_assert_ptr_nonnull(stage_last(&stage)->input);
    for (int i = 0; i < 40; i++)
        read_file();
    stage_expect_nothing(&stage, client);
    ck_assert_ptr_null(stage_last(&stage)->input);
}
END_TEST

/* Sent at once as they are, they stop nothing. */
START_TEST(small_files_in_a_row)
{
    connect_client();
    make_file(10);
    for (int i = 0; i < 100; i++)
        stage_send(client, "GET /file HTTP/1.1\r\n" H "\r\n");
    for (int i = 0; i < 100; i++)
        read_file();
    stage_expect_nothing(&stage, client);
}
END_TEST

/* A peer that does not read its file keeps no slot. */
START_TEST(replies_behind_a_file_leave_their_slots)
{
    connect_client();
    shrink_buffers();
    make_file(300000);
    stage_send(client, "GET /file HTTP/1.1\r\n" H "\r\nGET /job HTTP/1.1\r\n" H "\r\nGET /job HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 2);
    run_job(stage.workers[0], 0);
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
    run_job(stage.workers[0], 0);
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 0);
    read_file();
    n_received = 0;
    expect_answers(2);
    ck_assert_uint_eq(count("[]"), 2);
}
END_TEST

START_TEST(a_file_behind_a_job)
{
    connect_client();
    make_file(1000);
    stage_send(client, "GET /job HTTP/1.1\r\n" H "\r\nGET /file HTTP/1.1\r\n" H "\r\nGET / HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage_last(&stage)->in_flight == 1);
    stage_expect_nothing(&stage, client);
    run_job(stage.workers[0], 0);
    read_head();
    STAGE_UNTIL(&stage, recv(client, received, 2, 0) == 2); /* [] */
    read_file();
    n_received = 0;
    expect_answers(1);
}
END_TEST

START_TEST(a_client_that_goes_while_a_file_is_sent)
{
    connect_client();
    shrink_buffers();
    make_file(300000);
    for (int i = 0; i < 3; i++)
        stage_send(client, "GET /file HTTP/1.1\r\n" H "\r\n");
    for (int i = 0; i < 4; i++)
        stage_turn(&stage);
    (void)close(client);
    client = -1;
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}
END_TEST

START_TEST(a_file_that_became_shorter_ends_the_connection)
{
    connect_client();
    shrink_buffers();
    make_file(300000);
    stage_send(client, "GET /file HTTP/1.1\r\n" H "\r\n");
    for (int i = 0; i < 4; i++)
        stage_turn(&stage);
    ck_assert_int_eq(ftruncate(file_fd, 10), 0);
    STAGE_UNTIL(&stage, (n_received = 0, receive(), stage.loop.n_connections == 0));
}
END_TEST

START_TEST(a_file_for_head_and_close)
{
    connect_client();
    make_file(1000);
    stage_send(client, "HEAD /file HTTP/1.1\r\n" H "\r\nGET /file HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    read_head();
    expect_text("Content-Length: 1000\r\n");
    read_file();
    stage_expect_end(&stage, client);
}
END_TEST

/* -- Time ------------------------------------------------------------------------------ */

START_TEST(half_a_request_gets_408)
{
    stage.loop.timeouts.length_ms[PFK_TIMEOUT_MESSAGE] = 30;
    connect_client();
    stage_send(client, "GET / HTTP/1.1\r\n" H "\r\nGET / HTTP/1.1\r\nHo");
    expect_answers(2);
    expect_text("HTTP/1.1 408 Request Timeout\r\n");
    stage_expect_end(&stage, client);
}
END_TEST

START_TEST(who_does_not_read_a_file_is_closed)
{
    stage.loop.timeouts.length_ms[PFK_TIMEOUT_WRITE] = 30;
    connect_client();
    shrink_buffers();
    make_file(300000);
    stage_send(client, "GET /file HTTP/1.1\r\n" H "\r\n");
    STAGE_UNTIL(&stage, stage.loop.n_connections == 0);
}
END_TEST

static Suite *http_suite(void)
{
    Suite *suite = suite_create("http");
    TCase *tcase = tcase_create("http");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 20);
    tcase_add_test(tcase, an_answer_is_whole);
    tcase_add_loop_test(tcase, no_request_allocates, 0, 4);
    tcase_add_test(tcase, requests_that_dribble_in);
    tcase_add_test(tcase, without_a_function_all_are_jobs);
    tcase_add_test(tcase, head_has_no_body);
    tcase_add_test(tcase, answers_come_in_order);
    tcase_add_test(tcase, more_than_may_be_in_flight_waits);
    tcase_add_test(tcase, a_full_table_delays);
    tcase_add_test(tcase, close_is_kept);
    tcase_add_test(tcase, close_waits_for_the_job);
    tcase_add_test(tcase, old_clients_may_stay);
    tcase_add_test(tcase, a_drain_says_close_with_the_last_answer);
    tcase_add_test(tcase, half_closed_clients_are_answered);
    tcase_add_test(tcase, who_expects_is_told_to_go_on);
    tcase_add_test(tcase, who_expects_in_vain_is_told_too);
    tcase_add_test(tcase, who_sends_anyway_is_not_told);
    tcase_add_loop_test(tcase, refusals_come_in_order_and_are_the_last, 0, (int)(sizeof(refused) / sizeof(refused[0])));
    tcase_add_test(tcase, a_failed_job_is_an_answer);
    tcase_add_test(tcase, a_request_too_large_for_a_slot);
    tcase_add_test(tcase, a_reply_too_large_is_the_handlers_error);
    tcase_add_test(tcase, the_body_may_lie_in_the_reply_buffer);
    tcase_add_test(tcase, options_are_checked);
    tcase_add_test(tcase, a_file_is_sent);
    tcase_add_test(tcase, files_that_wait_stop_the_reading);
    tcase_add_test(tcase, small_files_in_a_row);
    tcase_add_test(tcase, replies_behind_a_file_leave_their_slots);
    tcase_add_test(tcase, a_file_behind_a_job);
    tcase_add_test(tcase, a_client_that_goes_while_a_file_is_sent);
    tcase_add_test(tcase, a_file_that_became_shorter_ends_the_connection);
    tcase_add_test(tcase, a_file_for_head_and_close);
    tcase_add_test(tcase, half_a_request_gets_408);
    tcase_add_test(tcase, who_does_not_read_a_file_is_closed);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(http_suite)
