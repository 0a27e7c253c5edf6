/* SPDX-License-Identifier: BSD-2-Clause */
#include "stormed.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "support.h"

#ifdef STORMED_HAS_HTTP
#include "prefork/http.h"
#endif

#define HOLD "hold "

enum { PREFIX_BYTES = 4, CONTROL = STORMED_PROTOCOLS * STORMED_WAYS };

/* -- Answers --------------------------------------------------------------- */

static int echo_inline(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    (void)context;
    return prefork_connection_write(connection, message, length);
}

static void hold(const void *content, size_t length, const struct stormed *stormed)
{
    char byte;

    if (length >= sizeof(HOLD) - 1 && memcmp(content, HOLD, sizeof(HOLD) - 1) == 0)
        while (read(stormed->released_fd, &byte, 1) < 0 && errno == EINTR)
            continue;
}

static int echo(struct prefork_job *job, void *context)
{
    size_t length;
    const unsigned char *const request = prefork_job_request(job, &length);

    hold(request, length, context);
    if (length > PREFIX_BYTES)
        hold(request + PREFIX_BYTES, length - PREFIX_BYTES, context);
    return prefork_job_reply_request(job, 0, length);
}

/* Of a library that may not be there. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static uint64_t allocated_bytes(void)
{
    if (__sanitizer_get_current_allocated_bytes != NULL)
        return __sanitizer_get_current_allocated_bytes();
#if defined __GLIBC__ && __GLIBC_PREREQ(2, 33)
    return mallinfo2().uordblks + mallinfo2().hblkhd;
#else
    return 0;
#endif
}

static int tell_memory(struct prefork_connection *connection, const void *message, size_t length, void *context)
{
    char text[32];

    (void)message, (void)length, (void)context;
    if (__lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0)
        return -ENOTRECOVERABLE; /* it has said what */
    length = (size_t)snprintf(text, sizeof(text), "%" PRIu64 "\n", allocated_bytes());
    return prefork_connection_write(connection, text, length);
}

#ifdef STORMED_HAS_HTTP
static int echo_http(struct prefork_job *job, void *context)
{
    const struct prefork_http_request *const request = prefork_http_job_request(job);

    if (request == NULL)
        return -EBADMSG;
    hold(request->body.bytes, request->body.length, context);
    return prefork_http_reply(job, &(struct prefork_http_response){
                                       .status = 200, .body = request->body.bytes, .body_bytes = request->body.length});
}

static int on_http(struct prefork_connection *connection, const struct prefork_http_request *request, void *context)
{
    (void)context;
    if (prefork_http_text_is(request->path, "/job"))
        return prefork_http_submit(connection, request, 1);
    return prefork_http_respond(connection, request,
                                &(struct prefork_http_response){
                                    .status = 200, .body = request->body.bytes, .body_bytes = request->body.length});
}

static const struct prefork_protocol *http_protocol(void)
{
    static const struct prefork_http_options http = {.size = sizeof(http), .on_request = on_http};

    return prefork_protocol_http(&http);
}
#else
static const struct prefork_protocol *http_protocol(void)
{
    return NULL;
}
#endif

/* -- The pool -------------------------------------------------------------- */

static const struct prefork_protocol *ready_made(enum stormed_protocol protocol)
{
    switch (protocol) {
    case STORMED_RAW:
        return prefork_protocol_raw("echo");
    case STORMED_LINES:
        return prefork_protocol_lines("echo");
    case STORMED_LENGTH:
        return prefork_protocol_length("echo", PREFIX_BYTES, 0);
    case STORMED_HTTP:
        break;
    }
    return http_protocol();
}

static int listen_at(struct prefork_pool *pool, int number, const struct prefork_protocol *protocol, bool local)
{
    const char *const directory = getenv("TMPDIR");
    char address[200] = "tcp:127.0.0.1:0";

    if (local)
        (void)snprintf(address, sizeof(address), "unix:%s/%d", directory != NULL ? directory : "/tmp", number);
    return prefork_pool_listen(pool, address, protocol);
}

static int listen_for(struct prefork_pool *pool, enum stormed_protocol number, enum stormed_way way,
                      const struct stormed_options *options)
{
    static const enum stormed_protocol contexts[] = {STORMED_RAW, STORMED_LINES, STORMED_LENGTH};
    struct prefork_protocol protocol = *ready_made(number);

    if (number != STORMED_HTTP) {
        protocol.opened = options->opened;
        protocol.context = (void *)(uintptr_t)&contexts[number];
        if (way == STORMED_INLINE) {
            protocol.handler = NULL;
            protocol.message = echo_inline;
        }
    }
    return listen_at(pool, (int)number * STORMED_WAYS + (int)way, &protocol, options->local);
}

/* CONTROL is the last one. */
static int listen_for_all(struct prefork_pool *pool, const struct stormed_options *options)
{
    struct prefork_protocol control = *prefork_protocol_lines("echo");
    int rc = 0;

    for (int number = 0; rc == 0 && number < CONTROL; number++)
        rc = listen_for(pool, (enum stormed_protocol)(number / STORMED_WAYS), (enum stormed_way)(number % STORMED_WAYS),
                        options);
    control.handler = NULL;
    control.message = tell_memory;
    return rc != 0 ? rc : listen_at(pool, CONTROL, &control, options->local);
}

static int set(struct prefork_pool *pool, enum prefork_pool_option option, uint64_t value)
{
    return value == 0 ? 0 : prefork_pool_set(pool, option, value);
}

static int set_up(struct stormed *stormed, const struct stormed_options *options)
{
    uint64_t request_bytes = 0;
    int rc = prefork_pool_create(&stormed->pool);

    if (rc == 0)
        rc = set(stormed->pool, PREFORK_POOL_WORKERS, 1);
    if (rc == 0)
        rc = set(stormed->pool, PREFORK_POOL_SLOTS, options->slots);
    if (rc == 0)
        rc = set(stormed->pool, PREFORK_POOL_JOB_THREADS, options->job_threads);
    if (rc == 0)
        rc = set(stormed->pool, PREFORK_POOL_REQUEST_BYTES, options->request_bytes);
    if (rc == 0)
        rc = prefork_pool_get(stormed->pool, PREFORK_POOL_REQUEST_BYTES, &request_bytes);
    if (rc == 0)
        rc = set(stormed->pool, PREFORK_POOL_REPLY_BYTES, request_bytes + 512); /* with a head */
    if (rc == 0)
        rc = prefork_pool_handle(stormed->pool, "echo", echo, stormed);
#ifdef STORMED_HAS_HTTP
    if (rc == 0)
        rc = prefork_pool_handle(stormed->pool, "echo_http", echo_http, stormed);
#endif
    return rc != 0 ? rc : listen_for_all(stormed->pool, options);
}

struct prefork_pool_statistics stormed_pool_statistics(const struct stormed *stormed)
{
    struct prefork_pool_statistics now = {.size = sizeof(now)};

    (void)prefork_pool_statistics(stormed->pool, &now);
    return now;
}

struct prefork_statistics stormed_table_statistics(const struct stormed *stormed)
{
    struct prefork_statistics now = {.size = sizeof(now)};

    (void)prefork_table_statistics(prefork_pool_table(stormed->pool), &now);
    return now;
}

/* Each connection is a descriptor here and one in the worker, which inherits the limit. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* 0 where there is no /proc. */
static size_t worker_fds(const struct stormed *stormed)
{
    char path[64];
    DIR *directory;
    size_t entries = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)support_worker_pid(stormed->pool, 0));
    directory = opendir(path);
    if (directory == NULL)
        return 0;
    while (readdir(directory) != NULL)
        entries++;
    (void)closedir(directory);
    return entries;
}

bool stormed_start(struct stormed *stormed, const struct stormed_options *options)
{
    int ends[2];
    int fd;
    bool ready;

    *stormed = (struct stormed){.prepare = options->prepare};
    raise_descriptor_limit();
    if (pipe(ends) != 0)
        return false;
    stormed->released_fd = ends[0];
    stormed->release_fd = ends[1];
    ready = set_up(stormed, options) == 0 && prefork_pool_start(stormed->pool, &fd) == 0 &&
            support_wait_ready(stormed->pool, 1) && stormed_allocated_bytes(stormed) != UINT64_MAX &&
            stormed_is_at_rest(stormed);
    if (!ready)
        printf("# the server does not run: %s\n", prefork_last_error());
    stormed->fds = worker_fds(stormed);
    return ready;
}

bool stormed_end(struct stormed *stormed)
{
    const bool none_lost = stormed_pool_statistics(stormed).workers_lost == 0;
    int rc;

    if (!none_lost)
        printf("# the worker died\n");
    (void)prefork_pool_stop(stormed->pool);
    rc = prefork_pool_wait(stormed->pool, prefork_deadline_after_ms(SUPPORT_LIMIT_MS));
    if (rc != 0)
        printf("# it did not stop in order: %s\n", prefork_last_error());
    prefork_pool_destroy(&stormed->pool);
    pfk_fd_close(&stormed->release_fd);
    pfk_fd_close(&stormed->released_fd);
    return none_lost && rc == 0;
}

static bool at_rest(void *context)
{
    const struct stormed *const stormed = context;
    const struct prefork_statistics table = stormed_table_statistics(stormed);

    return stormed_pool_statistics(stormed).connections_now == 0 && table.free_slots == table.slots &&
           (stormed->fds == 0 || worker_fds(stormed) == stormed->fds);
}

bool stormed_is_at_rest(struct stormed *stormed)
{
    const bool rests = support_wait_until(at_rest, stormed, prefork_deadline_after_ms(SUPPORT_LIMIT_MS));
    const struct prefork_statistics table = stormed_table_statistics(stormed);

    if (!rests)
        printf("# left: %" PRIu64 " connections, %" PRIu32 " of %" PRIu32 " slots, descriptors %zu, at first %zu\n",
               stormed_pool_statistics(stormed).connections_now, table.slots - table.free_slots, table.slots,
               worker_fds(stormed), stormed->fds);
    return rests;
}

/* -- Clients --------------------------------------------------------------- */

static int connect_tcp(const char *address, unsigned number, void (*prepare)(int fd))
{
    const int port = atoi(strrchr(address, ':') + 1);
    const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001u + number % 250)};
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && prepare != NULL)
        prepare(fd);
    if (fd >= 0 && setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) == 0 &&
        bind(fd, (const struct sockaddr *)&from, sizeof(from)) == 0 &&
        connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    printf("# connect: %s\n", strerror(errno));
    pfk_fd_close(&fd);
    return -1;
}

static int connect_to(const struct stormed *stormed, unsigned listener, unsigned number)
{
    const char *const address = prefork_pool_address(stormed->pool, listener);

    return strncmp(address, "tcp:", 4) == 0 ? connect_tcp(address, number, stormed->prepare) : support_connect(address);
}

const char *stormed_address(const struct stormed *stormed, enum stormed_protocol protocol, enum stormed_way way)
{
    return prefork_pool_address(stormed->pool, (unsigned)protocol * STORMED_WAYS + (unsigned)way);
}

int stormed_connect(const struct stormed *stormed, enum stormed_protocol protocol, enum stormed_way way,
                    unsigned number)
{
    return connect_to(stormed, (unsigned)protocol * STORMED_WAYS + (unsigned)way, number);
}

void stormed_reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    (void)close(fd);
}

/* Waits for bytes; 0: the end, or nothing comes. */
static size_t receive(int fd, void *bytes, size_t room)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    const ssize_t got = poll(&readable, 1, SUPPORT_LIMIT_MS) == 1 ? recv(fd, bytes, room, 0) : -1;

    return got > 0 ? (size_t)got : 0;
}

uint64_t stormed_allocated_bytes(const struct stormed *stormed)
{
    const int fd = connect_to(stormed, CONTROL, 0);
    char text[32] = "";

    if (fd < 0 || !stormed_send(fd, "\n", 1) || receive(fd, text, sizeof(text) - 1) == 0)
        text[0] = '\0';
    (void)close(fd);
    return text[0] == '\0' ? UINT64_MAX : strtoull(text, NULL, 10);
}

/* -- Requests and answers -------------------------------------------------- */

static size_t put_head(struct stormed_request *request, enum stormed_way way, size_t content_length)
{
    char *const head = (char *)request->bytes;

    switch (request->protocol) {
    case STORMED_RAW:
    case STORMED_LINES:
        break;
    case STORMED_LENGTH:
        for (size_t i = 0; i < PREFIX_BYTES; i++)
            request->bytes[i] = (unsigned char)(content_length >> 8 * (PREFIX_BYTES - 1 - i));
        return PREFIX_BYTES;
    case STORMED_HTTP:
        return (size_t)snprintf(head, 256, "POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                                way == STORMED_TABLE ? "job" : "", content_length);
    }
    return 0;
}

/* Letters, and no two numbers alike in their first 32. */
static void put_content(unsigned char *content, uint64_t number, size_t length)
{
    uint64_t state = number;

    for (size_t i = 0; i < length; i++) {
        if (i % 16 == 0)
            state = (number + i / 16) * UINT64_C(0x9e3779b97f4a7c15);
        content[i] = (unsigned char)('a' + ((i < 16 ? number : state) >> 4 * (i % 16)) % 16);
    }
}

void stormed_make_request(struct stormed_request *request, enum stormed_protocol protocol, enum stormed_way way,
                          uint64_t number, size_t length)
{
    request->protocol = protocol;
    request->content_at = put_head(request, way, length);
    request->length = request->content_at + length;
    put_content(request->bytes + request->content_at, number, length);
    if (protocol == STORMED_LINES)
        request->bytes[request->length - 1] = '\n';
}

void stormed_make_holding_request(struct stormed_request *request, enum stormed_protocol protocol)
{
    stormed_make_request(request, protocol, STORMED_TABLE, 0, 32);
    memcpy(request->bytes + request->content_at, HOLD, sizeof(HOLD) - 1);
}

static int judge_rest(const unsigned char *right, size_t right_length, const unsigned char *bytes, size_t length)
{
    if (length > right_length || memcmp(right, bytes, length) != 0)
        return -1;
    return length == right_length;
}

static int judge_http(const struct stormed_request *request, const unsigned char *answer, size_t length)
{
    static const char status[] = "HTTP/1.1 200 OK\r\n";
    const unsigned char *const end = memmem(answer, length, "\r\n\r\n", 4);

    if (memcmp(status, answer, length < sizeof(status) - 1 ? length : sizeof(status) - 1) != 0)
        return -1;
    if (end == NULL)
        return length < 512 ? 0 : -1;
    return judge_rest(request->bytes + request->content_at, request->length - request->content_at, end + 4,
                      length - (size_t)(end + 4 - answer));
}

int stormed_judge(const struct stormed_request *request, const unsigned char *answer, size_t length)
{
    if (request->protocol == STORMED_HTTP)
        return judge_http(request, answer, length);
    return judge_rest(request->bytes, request->length, answer, length);
}

bool stormed_send(int fd, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;

    while (length > 0) {
        const ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);

        if (sent < 0)
            return false;
        at += sent;
        length -= (size_t)sent;
    }
    return true;
}

size_t stormed_hear(int fd, const struct stormed_request *request)
{
    static unsigned char answer[STORMED_CONTENT_MAX + 1024];
    size_t length = 0;
    int verdict = 0;

    while (verdict == 0) {
        const size_t got = receive(fd, answer + length, sizeof(answer) - length);

        length += got;
        verdict = got == 0 ? -1 : stormed_judge(request, answer, length);
    }
    return verdict == 1 ? length : 0;
}
