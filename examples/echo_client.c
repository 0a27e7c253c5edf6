/* SPDX-License-Identifier: BSD-2-Clause */
/* echo_client: talks to a line echo server and survives the death of its workers.
 *
 * It opens a few connections, sends numbered lines on each at a pace that a
 * reader can follow, and prints the replies as they come. When a connection falls,
 * because the worker that held it died, it opens a new one and sends again what
 * was not answered. Nothing beyond libc: sockets and poll(2). */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define MAX_LINES       100000
#define MAX_LINE_BYTES  128
#define MAX_WORKERS     256

/* Give up when no reply came for so long. */
#define SILENCE_LIMIT_MS 10000
/* Between two attempts to connect. */
#define RETRY_MS 100
/* Lines that a connection has on their way at most. */
#define MAX_IN_FLIGHT 16

static const char usage_text[] = "usage: echo_client [-c CONNECTIONS] [-n LINES] [-p MILLISECONDS] ADDRESS\n"
                                 "Sends numbered lines to an echo server (echo_pool -t) and checks the replies.\n"
                                 "ADDRESS is tcp:127.0.0.1:PORT, tcp:[::1]:PORT or unix:/path.\n"
                                 "  -c CONNECTIONS   1 to 64 (4)\n"
                                 "  -n LINES         on each connection (10)\n"
                                 "  -p MILLISECONDS  between two lines of a connection, 0 to 10000 (100)\n"
                                 "A connection that falls is opened again; its unanswered lines are sent again.\n"
                                 "Exits with 0 when every line was answered, and correctly.\n";

struct connection {
    int number; /* from 1 on */
    int fd;     /* -1: to be opened */
    int begun;  /* lines of which a part was sent, on this or an earlier connection */
    int answered;
    bool half_sent;   /* of line `begun` the first half only */
    long long due_ms; /* when to send next, or to connect */
    char input[2 * MAX_LINE_BYTES];
    size_t input_length;
};

static struct {
    struct sockaddr_storage address;
    socklen_t address_length;
    int connections, lines, pace_ms;
    int resent, wrong;
    long workers[MAX_WORKERS]; /* pids seen in replies */
    int worker_count;
    long long last_reply_ms;
} client = {.connections = 4, .lines = 10, .pace_ms = 100};

static long long now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- sending ------------------------------------------------------------- */

static size_t line_text(const struct connection *connection, int line, char text_out[MAX_LINE_BYTES])
{
    return (size_t)snprintf(text_out, MAX_LINE_BYTES, "hello %d from connection %d\n", line, connection->number);
}

static void connection_fell(struct connection *connection, const char *why)
{
    const int unanswered = connection->begun - connection->answered;

    printf("conn %d fell (%s); reconnecting, resending %d unanswered line%s\n", connection->number, why, unanswered,
           unanswered == 1 ? "" : "s");
    client.resent += unanswered;
    (void)close(connection->fd);
    connection->fd = -1;
    connection->due_ms = now_ms();
}

/* The text is far smaller than a socket's buffer: what doesn't fit at once
 * means a server that has stopped reading, and is treated like its death. */
static bool connection_send(struct connection *connection, const char *text, size_t length)
{
    const ssize_t sent = send(connection->fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent == (ssize_t)length)
        return true;
    connection_fell(connection, sent < 0 ? strerror(errno) : "it takes no more");
    return false;
}

/* Sends the rest of the line under way and the first half of the next one, as a
 * slow typist would: so there is always a line in flight when a worker dies. */
static void connection_send_more(struct connection *connection)
{
    char text[2 * MAX_LINE_BYTES], line[MAX_LINE_BYTES];
    size_t length = 0, line_length;
    const bool had_half = connection->half_sent;

    if (had_half) {
        line_length = line_text(connection, connection->begun, line);
        length = line_length - line_length / 2;
        memcpy(text, line + line_length / 2, length);
        connection->half_sent = false;
    }
    if (connection->begun < client.lines) {
        line_length = line_text(connection, ++connection->begun, line);
        memcpy(text + length, line, line_length / 2);
        length += line_length / 2;
        connection->half_sent = true;
    }
    connection->due_ms = now_ms() + client.pace_ms;
    (void)connection_send(connection, text, length);
}

/* On a new connection everything that is unanswered goes out again, the line
 * that was under way up to its half. */
static void connection_resend(struct connection *connection)
{
    char line[MAX_LINE_BYTES];

    for (int number = connection->answered + 1; number <= connection->begun; number++) {
        size_t length = line_text(connection, number, line);

        if (connection->half_sent && number == connection->begun)
            length /= 2;
        if (!connection_send(connection, line, length))
            return;
    }
}

static void connection_open(struct connection *connection)
{
    const struct timeval limit = {.tv_sec = 5}; /* connect() honours the limit for sending */

    connection->fd = socket(client.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connection->input_length = 0;
    connection->due_ms = now_ms() + client.pace_ms;
    if (connection->fd >= 0 && setsockopt(connection->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
        connect(connection->fd, (const struct sockaddr *)&client.address, client.address_length) == 0) {
        connection_resend(connection);
        return;
    }
    printf("conn %d: connect: %s; trying again\n", connection->number, strerror(errno));
    if (connection->fd >= 0)
        (void)close(connection->fd);
    connection->fd = -1;
    connection->due_ms = now_ms() + RETRY_MS;
}

/* --- receiving ----------------------------------------------------------- */

static void note_worker(long pid)
{
    for (int i = 0; i < client.worker_count; i++)
        if (client.workers[i] == pid)
            return;
    if (client.worker_count < MAX_WORKERS)
        client.workers[client.worker_count++] = pid;
}

/* Returns the reply without its `[worker PID] `, if it has one. */
static const char *strip_worker(const char *reply)
{
    static const char start[] = "[worker ";
    char *end;
    long pid;

    if (strncmp(reply, start, strlen(start)) != 0)
        return reply;
    pid = strtol(reply + strlen(start), &end, 10);
    if (pid <= 0 || strncmp(end, "] ", 2) != 0)
        return reply;
    note_worker(pid);
    return end + 2;
}

/* `reply` ends with its newline. */
static void connection_take_reply(struct connection *connection, const char *reply)
{
    char expected[MAX_LINE_BYTES];

    printf("conn %d: %s", connection->number, reply);
    (void)line_text(connection, connection->answered + 1, expected);
    if (connection->answered < connection->begun && strcmp(strip_worker(reply), expected) == 0) {
        connection->answered++;
        client.last_reply_ms = now_ms();
        return;
    }
    printf("conn %d: WRONG, expected: %s", connection->number, expected);
    client.wrong++;
}

/* Takes whole lines out of what was read; the rest waits for its end. */
static void connection_take_replies(struct connection *connection)
{
    char line[sizeof(connection->input) + 1];
    const char *newline;

    while ((newline = memchr(connection->input, '\n', connection->input_length)) != NULL) {
        const size_t length = (size_t)(newline - connection->input) + 1;

        memcpy(line, connection->input, length);
        line[length] = '\0';
        connection->input_length -= length;
        memmove(connection->input, connection->input + length, connection->input_length);
        connection_take_reply(connection, line);
    }
    if (connection->input_length == sizeof(connection->input)) {
        printf("conn %d: WRONG, a reply longer than any line\n", connection->number);
        client.wrong++;
    }
}

static void connection_receive(struct connection *connection)
{
    const ssize_t length = recv(connection->fd, connection->input + connection->input_length,
                                sizeof(connection->input) - connection->input_length, MSG_DONTWAIT);

    if (length > 0) {
        connection->input_length += (size_t)length;
        connection_take_replies(connection);
    } else if (length == 0) {
        connection_fell(connection, "its worker died");
    } else if (errno == ECONNRESET) {
        connection_fell(connection, "its worker died with work at hand");
    } else if (errno != EAGAIN && errno != EINTR) {
        connection_fell(connection, strerror(errno));
    }
}

/* --- the loop ------------------------------------------------------------ */

static bool connection_finished(const struct connection *connection)
{
    return connection->answered == client.lines;
}

/* Whether it has something to do by itself: to connect or to send. */
static bool connection_has_plans(const struct connection *connection)
{
    if (connection_finished(connection))
        return false;
    if (connection->fd < 0)
        return true;
    return connection->begun - connection->answered < MAX_IN_FLIGHT &&
           (connection->begun < client.lines || connection->half_sent);
}

static void connection_act_when_due(struct connection *connection)
{
    if (!connection_has_plans(connection) || now_ms() < connection->due_ms)
        return;
    if (connection->fd < 0)
        connection_open(connection);
    else
        connection_send_more(connection);
}

/* How long poll() may sleep before a connection has something to do. */
static int next_due_ms(const struct connection *connections)
{
    const long long now = now_ms();
    long long next = now + 1000;

    for (int i = 0; i < client.connections; i++)
        if (connection_has_plans(&connections[i]) && connections[i].due_ms < next)
            next = connections[i].due_ms;
    return next > now ? (int)(next - now) : 0;
}

static void wait_and_receive(struct connection *connections)
{
    struct pollfd polled[MAX_CONNECTIONS];

    for (int i = 0; i < client.connections; i++) {
        polled[i].fd = connection_finished(&connections[i]) ? -1 : connections[i].fd; /* -1: poll skips it */
        polled[i].events = POLLIN;
        polled[i].revents = 0;
    }
    (void)poll(polled, (nfds_t)client.connections, next_due_ms(connections));
    for (int i = 0; i < client.connections; i++)
        if (polled[i].revents != 0)
            connection_receive(&connections[i]);
}

static int count_answered(const struct connection *connections)
{
    int sum = 0;

    for (int i = 0; i < client.connections; i++)
        sum += connections[i].answered;
    return sum;
}

/* Until every line is answered, a reply is wrong, or the server is silent. */
static void converse(struct connection *connections)
{
    const long long start_ms = now_ms();

    client.last_reply_ms = start_ms;
    for (int i = 0; i < client.connections; i++) {
        connections[i].number = i + 1;
        connections[i].fd = -1;
        connections[i].due_ms = start_ms + (long long)i * client.pace_ms / client.connections;
    }
    while (client.wrong == 0 && count_answered(connections) < client.connections * client.lines) {
        for (int i = 0; i < client.connections; i++)
            connection_act_when_due(&connections[i]);
        wait_and_receive(connections);
        if (now_ms() - client.last_reply_ms > SILENCE_LIMIT_MS + client.pace_ms) {
            printf("no reply for %d s\n", SILENCE_LIMIT_MS / 1000);
            return;
        }
    }
}

static bool report(const struct connection *connections)
{
    const int answered = count_answered(connections), all = client.connections * client.lines;

    printf("workers that answered: %d", client.worker_count);
    for (int i = 0; i < client.worker_count; i++)
        printf("%s %ld", i == 0 ? ", pids" : "", client.workers[i]);
    printf("\n%d of %d lines answered, %d resent\n", answered, all, client.resent);
    return answered == all && client.wrong == 0;
}

/* --- the command line ---------------------------------------------------- */

static bool parse_number(const char *text, int min, int max, int *number_out)
{
    char *end;
    const long number = strtol(text, &end, 10);

    *number_out = (int)number;
    return end != text && *end == '\0' && number >= min && number <= max;
}

/* `text` is HOST:PORT or [HOST]:PORT; the host in digits. */
static bool parse_tcp(char *text)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&client.address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&client.address;
    char *colon = strrchr(text, ':');
    int port;

    if (colon == NULL || colon == text || !parse_number(colon + 1, 1, 65535, &port))
        return false;
    *colon = '\0';
    if (text[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((in_port_t)port);
        client.address_length = sizeof(*in6);
        return inet_pton(AF_INET6, text + 1, &in6->sin6_addr) == 1;
    }
    in->sin_family = AF_INET;
    in->sin_port = htons((in_port_t)port);
    client.address_length = sizeof(*in);
    return inet_pton(AF_INET, text, &in->sin_addr) == 1;
}

static bool parse_unix(const char *path)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&client.address;

    if (*path == '\0' || strlen(path) >= sizeof(un->sun_path))
        return false;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, strlen(path) + 1);
    client.address_length = sizeof(*un);
    return true;
}

static bool parse_address(const char *text)
{
    char copy[MAX_LINE_BYTES];

    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5);
    (void)snprintf(copy, sizeof(copy), "%s", text);
    return strncmp(copy, "tcp:", 4) == 0 && parse_tcp(copy + 4);
}

static bool parse_option(int option, const char *value)
{
    switch (option) {
    case 'c':
        return parse_number(value, 1, MAX_CONNECTIONS, &client.connections);
    case 'n':
        return parse_number(value, 1, MAX_LINES, &client.lines);
    case 'p':
        return parse_number(value, 0, 10000, &client.pace_ms);
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    static struct connection connections[MAX_CONNECTIONS];
    bool understood = true;
    int option;

    while (understood && (option = getopt_long(argc, argv, "c:n:p:h", long_options, NULL)) != -1) {
        if (option == 'h') {
            (void)fputs(usage_text, stdout);
            return EXIT_SUCCESS;
        }
        understood = parse_option(option, optarg);
    }
    if (!understood || argc - optind != 1 || !parse_address(argv[optind])) {
        (void)fputs(usage_text, stderr);
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* replies are shown as they come, through a pipe too */
    converse(connections);
    return report(connections) ? EXIT_SUCCESS : EXIT_FAILURE;
}
