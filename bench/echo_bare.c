/* SPDX-License-Identifier: BSD-2-Clause */
/* echo_bare: what an echo costs with libev alone. One process and one loop, or
 * several that share the listening socket; no jobs, no crash safety. The library
 * is measured beside it. */
#include <errno.h>
#include <ev.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"

#define BACKLOG       1024
#define BUFFER_BYTES  ((size_t)64 * 1024)
#define MAX_PROCESSES 256

static const char usage_text[] = "usage: echo_bare [-l ADDRESS] [-w PROCESSES]\n"
                                 "Echoes every byte until SIGTERM or SIGINT.\n"
                                 "  -l ADDRESS    tcp:127.0.0.1:PORT, tcp:[::1]:PORT or unix:/path (tcp:127.0.0.1:0)\n"
                                 "  -w PROCESSES  that share the listening socket, 1 to 256 (1)\n";

/* What was read and can't be written yet; it isn't read on before that is out. */
struct client {
    ev_io watcher;
    unsigned char *pending;
    size_t length, written;
};

static unsigned char buffer[BUFFER_BYTES]; /* one loop, one call at a time */

static void client_close(struct ev_loop *loop, struct client *client)
{
    ev_io_stop(loop, &client->watcher);
    (void)close(client->watcher.fd);
    free(client->pending);
    free(client);
}

static void client_watch(struct ev_loop *loop, struct client *client, int events)
{
    ev_io_stop(loop, &client->watcher);
    ev_io_set(&client->watcher, client->watcher.fd, events);
    ev_io_start(loop, &client->watcher);
}

/* Returns what was written, 0 when the socket is full, -1 when it is broken. */
static ssize_t client_send(const struct client *client, const unsigned char *bytes, size_t length)
{
    const ssize_t written = send(client->watcher.fd, bytes, length, MSG_NOSIGNAL);

    return written < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : written;
}

static void client_flush(struct ev_loop *loop, struct client *client)
{
    const ssize_t written = client_send(client, client->pending + client->written, client->length - client->written);

    if (written < 0) {
        client_close(loop, client);
        return;
    }
    client->written += (size_t)written;
    if (client->written < client->length)
        return;
    free(client->pending);
    client->pending = NULL;
    client_watch(loop, client, EV_READ);
}

static void client_keep_for_later(struct ev_loop *loop, struct client *client, const unsigned char *bytes,
                                  size_t length)
{
    client->pending = malloc(length);
    if (client->pending == NULL) {
        client_close(loop, client);
        return;
    }
    memcpy(client->pending, bytes, length);
    client->length = length;
    client->written = 0;
    client_watch(loop, client, EV_WRITE);
}

static void client_echo(struct ev_loop *loop, struct client *client)
{
    const ssize_t length = recv(client->watcher.fd, buffer, sizeof(buffer), 0);
    ssize_t written;

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    written = length > 0 ? client_send(client, buffer, (size_t)length) : -1;
    if (written < 0)
        client_close(loop, client);
    else if (written < length)
        client_keep_for_later(loop, client, buffer + written, (size_t)(length - written));
}

static void client_event(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct client *client = watcher->data;

    (void)events;
    if (client->pending != NULL)
        client_flush(loop, client);
    else
        client_echo(loop, client);
}

static void accept_event(struct ev_loop *loop, ev_io *watcher, int events)
{
    const int on = 1;
    const int fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *client;

    (void)events;
    if (fd < 0)
        return;
    client = calloc(1, sizeof(*client));
    if (client == NULL) {
        (void)close(fd);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* no harm on a Unix socket */
    ev_io_init(&client->watcher, client_event, fd, EV_READ);
    client->watcher.data = client;
    ev_io_start(loop, &client->watcher);
}

static void signal_event(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static int serve(int listener)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_signal terminate, interrupt;
    ev_io acceptor;

    if (loop == NULL)
        return EXIT_FAILURE;
    ev_signal_init(&terminate, signal_event, SIGTERM);
    ev_signal_init(&interrupt, signal_event, SIGINT);
    ev_signal_start(loop, &terminate);
    ev_signal_start(loop, &interrupt);
    ev_io_init(&acceptor, accept_event, listener, EV_READ);
    ev_io_start(loop, &acceptor);
    (void)ev_run(loop, 0);
    return EXIT_SUCCESS; /* the clients go with the process */
}

/* Children die with the parent, whatever ends it. Returns in the parent. */
static void spawn(int listener, pid_t *children, size_t count)
{
    const pid_t parent = getpid();

    for (size_t i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] < 0)
            perror("echo_bare: fork");
        if (children[i] != 0)
            continue;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)prctl(PR_SET_NAME, "echo_bare_child");
        (void)signal(SIGTERM, SIG_DFL);
        _exit(getppid() == parent ? serve(listener) : EXIT_FAILURE);
    }
}

static void block_end_signals(sigset_t *set_out)
{
    (void)sigemptyset(set_out);
    (void)sigaddset(set_out, SIGTERM);
    (void)sigaddset(set_out, SIGINT);
    (void)sigprocmask(SIG_BLOCK, set_out, NULL);
}

/* The parent only waits for the end; libev unblocks the signals in the children. */
static int supervise(int listener, size_t count)
{
    pid_t children[MAX_PROCESSES];
    sigset_t set;
    int number;

    block_end_signals(&set);
    spawn(listener, children, count);
    (void)sigwait(&set, &number);
    for (size_t i = 0; i < count; i++) {
        if (children[i] <= 0)
            continue;
        (void)kill(children[i], SIGKILL);
        (void)waitpid(children[i], NULL, 0);
    }
    return EXIT_SUCCESS;
}

static int listen_at(const char *text, struct address *address_out)
{
    const int on = 1;
    int fd;

    if (address_parse(text, address_out) != 0) {
        errno = EINVAL;
        return -1;
    }
    fd = socket(address_out->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&address_out->socket, address_out->length) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address_out->socket, &address_out->length) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(const char *text, size_t processes)
{
    char shown[ADDRESS_TEXT_BYTES];
    struct address address;
    const int listener = listen_at(text, &address);
    int status;

    if (listener < 0) {
        (void)fprintf(stderr, "echo_bare: %s: %s\n", text, strerror(errno));
        return EXIT_FAILURE;
    }
    raise_fd_limit();
    address_format(&address, shown);
    (void)printf("listening on %s\n", shown);
    (void)fflush(stdout);
    status = processes == 1 ? serve(listener) : supervise(listener, processes);
    if (address.socket.ss_family == AF_UNIX)
        (void)unlink(shown + strlen("unix:"));
    return status;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    const char *address = "tcp:127.0.0.1:0";
    long processes = 1;
    int option;

    while ((option = getopt_long(argc, argv, "l:w:h", long_options, NULL)) != -1) {
        if (option == 'l') {
            address = optarg;
        } else if (option == 'w') {
            processes = strtol(optarg, NULL, 10);
        } else {
            (void)fputs(usage_text, option == 'h' ? stdout : stderr);
            return option == 'h' ? EXIT_SUCCESS : 2;
        }
    }
    if (optind != argc || processes < 1 || processes > MAX_PROCESSES) {
        (void)fputs(usage_text, stderr);
        return 2;
    }
    return run(address, (size_t)processes);
}
