/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork.h>: a prefork server.
 *
 * A pool is a master process, worker processes, a job table in shared memory
 * and listening sockets. I/O threads of the workers accept connections, cut
 * the bytes that arrive into messages and submit each as a job; job threads of
 * any worker claim jobs and run handlers on them; the reply goes back to the
 * connection. A worker may be killed at any instruction: its connections fall,
 * its jobs are run again elsewhere, and it is replaced.
 *
 * Life cycle: create, set, handle, listen, share; then run or start, once;
 * then destroy.
 *
 * Processes. prefork_pool_run makes the caller the master and returns when the
 * pool has stopped. prefork_pool_start forks the master and returns; the
 * caller is then a producer. Workers never return into the caller: they end by
 * _exit(2), without atexit handlers. A pool handle used in a child that the
 * caller forked by itself gives -ECHILD. Calls on one pool come from one
 * thread at a time, except prefork_pool_stop.
 *
 * Signals. run takes over SIGTERM, SIGINT, SIGHUP and SIGCHLD (in the master,
 * whoever that is) and restores their mask and dispositions on return: SIGTERM
 * and SIGINT stop gracefully, a second one at once. SIGPIPE is never raised by
 * the library. In workers every signal is blocked on every thread but the main
 * one, and user code runs on the others.
 *
 * Threads. run and start fork, so they refuse with -EBUSY while the process
 * has other threads, unless PREFORK_POOL_ALLOW_THREADS is set. */
#ifndef PREFORK_H
#define PREFORK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <prefork/clock.h>
#include <prefork/error.h>
#include <prefork/job.h>
#include <prefork/table.h>
#include <prefork/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A pool, owned by the process that created it. */
struct prefork_pool;
/* An accepted connection, owned by the I/O thread that accepted it. */
struct prefork_connection;

/* -- The pool --------------------------------------------------------------- */

/* Creates a pool with defaults for everything. The caller destroys *pool_out.
 *   -ENOMEM  no memory */
int prefork_pool_create(struct prefork_pool **pool_out);

/* Ends a pool that does not run: closes its listening sockets, removes the
 * paths of its Unix sockets, frees everything. A pool that was started is
 * stopped first (gracefully, within its drain limit). NULL in *pool is
 * allowed; *pool becomes NULL. In a forked child it only frees memory. */
void prefork_pool_destroy(struct prefork_pool **pool);

/* What can be set before run or start, and asked for at any time. */
enum prefork_pool_option {
    PREFORK_POOL_WORKERS = 1,           /* 1 ... 1,024; default: cores, by affinity and cgroup quota */
    PREFORK_POOL_IO_THREADS = 2,        /* of each worker, 0 ... 64; default 1 */
    PREFORK_POOL_JOB_THREADS = 3,       /* of each worker, 0 ... 64; default 2 */
    PREFORK_POOL_SLOTS = 4,             /* 2 ... 1,048,576; default 1,024 */
    PREFORK_POOL_REQUEST_BYTES = 5,     /* of a slot; default 8,192 */
    PREFORK_POOL_REPLY_BYTES = 6,       /* of a slot; default 8,192 */
    PREFORK_POOL_MAX_ATTEMPTS = 7,      /* claims of one job, 1 ... 254; default 3 */
    PREFORK_POOL_OUTSIDE_PRODUCERS = 8, /* lanes for the program's own threads, 1 ... 1,024; default 1 */
    PREFORK_POOL_DRAIN_MS = 9,          /* limit of a graceful stop, 0 ... 86,400,000; default 30,000 */
    PREFORK_POOL_READY_MS = 10,         /* a worker not ready by then is killed; default 30,000 */
    PREFORK_POOL_BACKLOG = 11,          /* of each listening socket, 1 ... 65,535; default 4,096 (the kernel's
                                           net.core.somaxconn caps it) */
    PREFORK_POOL_ALLOW_THREADS = 12,    /* 0 or 1; default 0. With 1, run and start fork although other threads
                                           live: these must hold no lock that a handler takes, malloc's excepted */
    PREFORK_POOL_ON_DAMAGE = 13,        /* enum prefork_damage; default PREFORK_DAMAGE_REBUILD */
    PREFORK_POOL_ATTACHED_PRODUCERS = 14, /* lanes for processes that come by key, 0 ... 1,024; default 0; needs
                                             prefork_pool_store */

    /* Limits on connections; 0: none. One above the first two is accepted, closed
     * at once, and counted. Each I/O thread keeps its own count and reads those of
     * the others, so a moment's race may let one more in for each thread. What a
     * dead worker had counts until its jobs are taken over. */
    PREFORK_POOL_CONNECTIONS = 15,          /* open in the pool at once; default 0 */
    PREFORK_POOL_CONNECTIONS_PER_PEER = 16, /* of these from one address (IPv6: one /64), 0 ... 65,535; default 0. Unix
                                               sockets, and proxies that a listener trusts, are not limited. Counted
                                               by a salted hash: a peer that shares both its counts with others,
                                               which is rare below some thousands of peers, may be refused early.
                                               Costs each I/O thread 256 KiB, half of it shared memory */
    /* What a peer may keep its connection waiting for, in ms, 0 ... 86,400,000;
     * 0: for ever. Then it is closed. While the server itself is at work on the
     * connection's requests, none runs. They may end by a 64th early. */
    PREFORK_POOL_FIRST_BYTE_MS = 17, /* the first byte; default 60,000 */
    PREFORK_POOL_MESSAGE_MS = 18,    /* the rest of a message, since its first byte, however it dribbles; default
                                        60,000. The protocol's `failed` is told -ETIMEDOUT */
    PREFORK_POOL_IDLE_MS = 19,       /* the next message, all earlier ones being answered; default 75,000 */
    PREFORK_POOL_WRITE_MS = 20       /* that it takes some more of its replies; default 60,000 */
};

/* What the master does about a job table that holds what no participant writes,
 * or that repair can't bring to rest (some worker wrote where it must not). It
 * notices at the repair that follows a worker's death. Either way all workers
 * are killed first, and the accepted jobs are lost. */
enum prefork_damage {
    PREFORK_DAMAGE_REBUILD = 0, /* makes the table anew and goes on; again within a minute not before 100 ms,
                                   200 ms, ... 30 s have passed. The shared region of prefork_pool_share stays
                                   as it is. A pool that was started by prefork_pool_start, and a durable
                                   table, are not made anew: as PREFORK_DAMAGE_STOP */
    PREFORK_DAMAGE_STOP = 1     /* stops the pool; run and wait return -ENOTRECOVERABLE */
};

/* Sets an option. -EINVAL: no such option, or out of range (the text has the
 * range); -EBUSY: the pool was run or started already. */
int prefork_pool_set(struct prefork_pool *pool, enum prefork_pool_option option, uint64_t value);

/* Returns in *value_out what holds now, the default included. -EINVAL. */
int prefork_pool_get(const struct prefork_pool *pool, enum prefork_pool_option option, uint64_t *value_out);

/* Runs a job on a job thread of a worker. The request and reply lie in the
 * job. Returns 0 (replied, or no reply), or a negative code that the submitter
 * sees. It may block, crash or leak without harm to other workers; it must not
 * call prefork_job_complete, and must not fork a child that uses the job. Job
 * threads have the policy SCHED_BATCH (sched(7)) unless the program chose another
 * than SCHED_OTHER: they leave a processor to the I/O thread that wakes them. What a
 * handler starts inherits it. */
typedef int (*prefork_handler_fn)(struct prefork_job *job, void *context);

/* Gives a handler a name. `name` is copied; `context` is handed through, and
 * lies in each worker as it was when run or start forked it.
 *   -EEXIST  the name is taken; -EINVAL: empty, or over 63 bytes; -ENOSPC: 64
 *   handlers exist; -EBUSY: the pool runs already */
int prefork_pool_handle(struct prefork_pool *pool, const char *name, prefork_handler_fn handler, void *context);

/* Returns the number of a handler, for struct prefork_submission, or -ENOENT. */
int prefork_pool_handler_number(const struct prefork_pool *pool, const char *name);

/* What a listener's connections speak; defined below. */
struct prefork_protocol;

/* Binds and listens at once: what fails, fails here, leaves nothing bound, and
 * is told with the address; a port of 0 is known from here on. Connections wait
 * in the backlog until workers run. Addresses:
 *     tcp:127.0.0.1:7007   tcp:[::1]:0   tcp:*:7007 (IPv6 and IPv4)
 *     udp:127.0.0.1:7007   and so on: datagrams, see "Datagrams" below
 *     unix:/path           the path of a socket nobody listens on is replaced; it
 *                          is removed at destroy. Of two servers that open one
 *                          path at once, one gets it (by a lock on "/path.lock",
 *                          which is there for that moment)
 *     unix:@name           abstract: a name without a file, gone with its last
 *                          holder; without permissions, too
 *     fd:NAME   fd:3       a listening (or UDP) socket that a service manager
 *                          handed over (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES),
 *                          by name (each call takes the next of that name) or by
 *                          number. Never shut down, nor its path removed. The
 *                          first such call makes all of them close-on-exec and
 *                          unsets these variables
 * `protocol` is copied, its context and strings are not.
 *   -EINVAL  the address can't be read (the text shows the forms), the protocol
 *            names a handler that does not exist, or the socket handed over is of
 *            no use
 *   -ENOENT  no such socket was handed over to this process
 *   -EADDRINUSE, -EADDRNOTAVAIL, -EACCES …   from bind(2), with the address
 *   -EBUSY   the pool runs already */
int prefork_pool_listen(struct prefork_pool *pool, const char *address, const struct prefork_protocol *protocol);

/* How a listener differs from the common one. Set `size`; 0 and NULL take the
 * default. */
struct prefork_listen_options {
    size_t size;
    uint32_t backlog;       /* 1 ... 65,535; default: PREFORK_POOL_BACKLOG */
    uint32_t shards;        /* 1: each I/O thread has a socket of its own (SO_REUSEPORT), among which the kernel
                               spreads connections, or datagrams, by the peer's address; default: all share one.
                               Costs less at high rates, and spreads worse: what waits in the shard of a worker that
                               died waits until its seat is filled, and of one that is stopped, until it goes on */
    uint32_t mode;          /* of a Unix path: permission bits, e.g. 0660; default: 0777 less the umask */
    const char *owner;      /* of a Unix path: "user", "user:group" or ":group", names or numbers; default: whoever
                               makes it */
    const char *proxy_from; /* peers whose connections begin with a header of the PROXY protocol, version 1 or 2:
                               addresses and networks as in "10.0.0.0/8, ::1, unix" (Unix sockets), or "*"
                               (everybody). Connections from elsewhere have no header: what looks like one is the
                               protocol's. Default: nobody */
    uint32_t proxy_ms;      /* by then the header must be there, or the connection is closed, as it is when the header
                               is malformed; 1 ... 3,600,000; default 5,000 */
};

/* The same with options, which are copied; NULL: none. Mode and owner hold
 * before anybody can connect.
 *   -EINVAL  size or a field is out of range, or the address can't have what was
 *            asked: mode and owner are for unix:/path, shards for tcp and udp,
 *            proxy_from for all but udp
 *   -ENOENT  there is no such user or group
 *   -EPERM   this process may not give the path to that owner
 *   and the errors of prefork_pool_listen */
int prefork_pool_listen_with(struct prefork_pool *pool, const char *address, const struct prefork_protocol *protocol,
                             const struct prefork_listen_options *options);

/* Returns the address of listener `index` (from 0, in the order of listen
 * calls) as it is really bound, in the same form; borrowed until destroy. NULL
 * when there is no such listener. */
const char *prefork_pool_address(const struct prefork_pool *pool, unsigned index);

/* Initialises a shared region before any worker exists; 0 or -errno. */
typedef int (*prefork_share_fn)(void *region, size_t bytes, void *context);

/* Gives the pool a shared region of the user's own, which every worker sees at
 * the same address, zero-filled and then initialised by `init` (may be NULL)
 * in the calling process. What lies in it is the user's to guard, e.g. by a
 * lock of <prefork/sync.h>; it ends with the last process. Once for each pool.
 *   -EEXIST  the pool has one; -EINVAL: 0 bytes, or over kernel.shmmax;
 *   -ENOMEM; what `init` returned; -EBUSY: the pool runs already */
int prefork_pool_share(struct prefork_pool *pool, size_t bytes, prefork_share_fn init, void *context,
                       void **region_out);

/* Makes every worker run as `user`: a name of the user database, with all its
 * groups, or "uid:gid" in numbers, with no other group. Looked up here, once;
 * each worker changes before any handler or protocol function runs in it, and
 * can't go back: it has no capability, setuid programs that it starts get no
 * rights (no_new_privs), and it is not dumpable (no core, no debugger, no
 * /proc/self/fd; prctl(2) in a handler can undo that). Such a worker can't write
 * the control segment, signal the master, or look into its memory. It keeps
 * what it inherited: listening sockets, the program's descriptors and a copy of
 * its memory; close and wipe what it must not have before run or start.
 *   -EINVAL  no user; or one who could write what only the master may: the
 *            superuser, or the caller's own
 *   -ENOENT  no such user
 *   -EPERM   not root (it takes CAP_SETUID, CAP_SETGID and CAP_KILL)
 *   -EBUSY   the pool runs already; -ENOMEM */
int prefork_pool_user(struct prefork_pool *pool, const char *user);

/* Makes the pool durable: its job table gets a key and outlives the master
 * (see struct prefork_table_store in <prefork/table.h>). run and start then
 * adopt the table that is there, or make it: accepted jobs of a predecessor
 * that was killed, or stopped, are run. They wait for its workers, which end
 * after the job at hand when they miss their master (at the latest after its
 * PREFORK_POOL_DRAIN_MS), up to store->wait_ms; 0: this pool's drain limit and
 * 5 s. A stop finishes the jobs at hand and keeps those that wait, in the table,
 * for the next master; prefork_table_remove removes it. Producers from outside
 * the family come by prefork_table_attach, see PREFORK_POOL_ATTACHED_PRODUCERS.
 * run and start also give the errors of prefork_table_adopt: -EBUSY when
 * another master lives. The geometry is made of the pool's options: a table
 * made with others is refused. `store` is copied, its lock_path too.
 *   -EINVAL  a field is out of range; -EBUSY: the pool runs already; -ENOMEM */
int prefork_pool_store(struct prefork_pool *pool, const struct prefork_table_store *store);

/* Called once, in the master, when the first worker accepts connections. It
 * must return soon: the master does nothing else meanwhile. */
typedef void (*prefork_ready_fn)(struct prefork_pool *pool, void *context);

/* Sets the function that is told of readiness; NULL for none. -EBUSY. */
int prefork_pool_on_ready(struct prefork_pool *pool, prefork_ready_fn ready, void *context);

/* Makes the calling process the master and serves until the pool is stopped:
 * by SIGTERM, SIGINT or prefork_pool_stop. Returns 0 after a graceful stop.
 *   -ETIMEDOUT  the drain limit passed, or a second signal came: workers were
 *               killed, or jobs were left; the text says how many
 *   -ENOTRECOVERABLE  the job table was damaged (PREFORK_POOL_ON_DAMAGE), or
 *               found damaged in the stop
 *   -EINVAL     nothing to do: no handler and no listener
 *   -EBUSY      other threads live (the text says how many), or run already
 *   and errors of prefork_table_create, fork(2) of the first worker excepted:
 *   that is tried again. */
int prefork_pool_run(struct prefork_pool *pool);

/* Forks the master and returns when it has forked the first workers.
 * *descriptor_out becomes readable when the master has ended; borrowed, the
 * pool closes it. The caller goes on as a producer (prefork_pool_producer).
 * When the caller's process dies, the pool stops gracefully. Errors as
 * prefork_pool_run, and -EAGAIN from fork(2). */
int prefork_pool_start(struct prefork_pool *pool, int *descriptor_out);

/* Asks a pool that runs, or was started, to stop gracefully; the second call
 * stops it at once (signals are counted apart, and destroy does not count). Returns without waiting. Any thread of the
 * process that called run or start, and signal handlers (the text is not set). -ESRCH  it does not run */
int prefork_pool_stop(struct prefork_pool *pool);

/* Waits for the master of a started pool to end. Returns what run would have
 * returned; -EOWNERDEAD when the master was killed; -ETIMEDOUT when it lives
 * at the deadline (told apart by the text); -ESRCH when it was not started. */
int prefork_pool_wait(struct prefork_pool *pool, uint64_t deadline_ns);

/* Opens outside producer `index` (from 0, below
 * PREFORK_POOL_OUTSIDE_PRODUCERS) of a started pool for the calling thread;
 * closed with prefork_lane_close before the pool is destroyed. Errors of
 * prefork_lane_open; -ESRCH when the pool was not started. */
int prefork_pool_producer(struct prefork_pool *pool, uint32_t index, struct prefork_lane **lane_out);

/* Returns the pool's table once it runs or was started, else NULL. Borrowed
 * until destroy. */
struct prefork_table *prefork_pool_table(struct prefork_pool *pool);

/* What the pool did so far. Set `size` to sizeof(struct prefork_pool_statistics). */
struct prefork_pool_statistics {
    size_t size;
    uint64_t connections;    /* accepted */
    uint64_t bytes_in;       /* read from connections */
    uint64_t bytes_out;      /* written to connections */
    uint64_t jobs;           /* completed */
    uint64_t redelivered;    /* jobs taken over from dead workers */
    uint64_t buried;         /* jobs given up after max_attempts deaths */
    uint64_t workers_forked; /* since the start */
    uint64_t workers_lost;   /* of these, ended without being told to */
    uint32_t workers_ready;  /* now */
    uint64_t rebuilds;       /* times that a damaged job table was made anew; counts of jobs, connections and
                                bytes begin at 0 then */
    uint64_t datagrams;         /* handed to a protocol */
    uint64_t datagrams_dropped; /* longer than a request, or empty; or a reply that could not be sent */
    uint64_t connections_now;       /* open; a dead worker's are counted until its jobs are taken over */
    uint64_t connections_refused;   /* closed as soon as accepted: one of PREFORK_POOL_CONNECTIONS... was reached,
                                       or no descriptor was left for long */
    uint64_t connections_timed_out; /* ended by one of the options PREFORK_POOL_..._MS */
    uint64_t accept_errors;         /* calls of accept(2) that failed, for whatever reason but that none waited */
};

/* Fills *statistics_out; also after run returned, until destroy. -ESRCH: the
 * pool never ran; -ECHILD: in a worker, too. */
int prefork_pool_statistics(const struct prefork_pool *pool, struct prefork_pool_statistics *statistics_out);

/* One worker, as the master knows it. Set `size`. */
struct prefork_worker_status {
    size_t size;
    int32_t pid;          /* 0: the seat is empty */
    uint32_t incarnation; /* how often the seat was filled */
    uint32_t ready;       /* 1 once it accepts */
    uint32_t first_lane;  /* its lanes are first_lane … first_lane + lanes - 1 */
    uint32_t lanes;
};

/* Fills *status_out for the worker in `seat` (from 0). -ENOENT: no such seat;
 * -ESRCH: the pool never ran; -ECHILD: in a worker, too. */
int prefork_pool_worker(const struct prefork_pool *pool, uint32_t seat, struct prefork_worker_status *status_out);

/* -- Protocols and connections ---------------------------------------------- */

/* In which order jobs of one connection run and replies are written. */
enum prefork_order {
    PREFORK_ORDER_ORDERED = 0,  /* jobs in parallel, replies in the order of the requests */
    PREFORK_ORDER_SERIAL = 1,   /* the next job is submitted after the last reply */
    PREFORK_ORDER_UNORDERED = 2 /* jobs in parallel, replies as they come */
};

/* Finds the first message in `length` (> 0) bytes that have arrived. Returns
 * its length, 0 when more bytes are needed, or -errno to fail the connection.
 * `final` is 1 when no more bytes will come: what is no message then is
 * dropped. `capacity` is the longest message that a job can carry. */
typedef int64_t (*prefork_frame_fn)(struct prefork_connection *connection, const void *data, size_t length,
                                    size_t capacity, int final, void *context);

/* Does something with a message on the I/O thread, which must not block: calls
 * prefork_connection_submit or prefork_connection_write. Returns 0; the -EAGAIN
 * of a refused submit when the message can't be taken now: it is offered again,
 * whole, when there is room (nothing else makes it be offered again); another
 * -errno fails the connection. */
typedef int (*prefork_message_fn)(struct prefork_connection *connection, const void *message, size_t length,
                                  void *context);

/* Is told that a job ended with `status` (the handler's, or -EOWNERDEAD), when
 * its reply would have been due: what it writes takes the reply's place. Returns
 * 0 to go on, -errno to close after what was written is flushed; replies that
 * would follow are dropped then. Also told that a message could not be cut or
 * taken (-errno of frame or message), or was not whole in time (-ETIMEDOUT): the
 * connection is then closed after all that was written, whatever it returns. */
typedef int (*prefork_failed_fn)(struct prefork_connection *connection, int status, void *context);

/* Is told of the connection's begin or end: of one that begins with a PROXY
 * header, once that was read; `closed` is only called after `opened` was. */
typedef void (*prefork_connection_fn)(struct prefork_connection *connection, void *context);

/* How bytes become jobs and results become bytes. All functions run on the
 * connection's home thread. Set `size`; NULL and 0 take the default. */
struct prefork_protocol {
    size_t size;                  /* sizeof(struct prefork_protocol) */
    const char *handler;          /* which handler gets the messages; NULL: `message` decides */
    enum prefork_order order;     /* default ordered */
    uint32_t max_in_flight;       /* jobs of one connection at once, 1 ... 1,024; default 16 */
    prefork_frame_fn frame;       /* default: each piece that arrives is a message, cut at the capacity */
    prefork_message_fn message;   /* default: submit to `handler` */
    prefork_failed_fn failed;     /* default: close */
    prefork_connection_fn opened; /* default: nothing */
    prefork_connection_fn closed; /* default: nothing; the connection ends when it returns */
    void *context;                /* handed to all of them */
    uint32_t frames_in_place;     /* 1: `frame` may be shown bytes that were read into a slot, in shared memory,
                                     where a long message then stays: no copy. Another process of the pool that
                                     has gone mad can change them between two looks, so `frame` must look at each
                                     byte once, or bear it. 0, the default: private memory only. Needs a handler
                                     and no `message` */
};

/* Datagrams. A listener for UDP takes the same protocols. Each datagram is a
 * connection of its own with one message, the whole datagram, which `frame` is
 * not asked about; it ends when what was written and submitted has been sent, all
 * of it as one datagram, to the sender, from the address that it had sent to.
 * `opened`, `failed` and `closed` are told of it, prefork_connection_peer names the
 * sender.
 * max_in_flight counts the datagrams in hand of one listener in one I/O thread:
 * when they are as many, or the table is full, the others wait in the socket's
 * buffer, where the kernel drops what does not fit. One that is longer than a
 * request, or empty, is dropped and counted (datagrams_dropped), and so is a
 * reply that the socket does not take at once. */

/* Return a ready-made protocol that hands messages to `handler`; borrowed until
 * the next such call on the same thread (prefork_pool_listen copies it).
 * raw: each piece that arrives is a message. lines: each line is one, its
 * newline included; an unterminated last line is one without; a line longer
 * than a request gets an error line, and the connection is closed. */
const struct prefork_protocol *prefork_protocol_raw(const char *handler);
const struct prefork_protocol *prefork_protocol_lines(const char *handler);

/* The number before a message of prefork_protocol_length; may be or-ed. */
enum prefork_length {
    PREFORK_LENGTH_LITTLE = 1,   /* least significant byte first; default: most significant first */
    PREFORK_LENGTH_INCLUSIVE = 2 /* it counts its own bytes, too; default: what follows */
};

/* Returns likewise a protocol whose messages begin with their length: a number
 * of 1, 2, 4 or 8 bytes; `flags` is of enum prefork_length, or 0. A message is
 * handed over whole, its number included, and a reply is sent as it is: who
 * replies writes its number, too. With its number it may be as long as a request;
 * one that says it is longer closes the connection before its bytes have come,
 * and so does an inclusive number that is less than its own bytes. A message that
 * the end of the stream cuts off is dropped. NULL: no such number of bytes, or
 * such flags. */
const struct prefork_protocol *prefork_protocol_length(const char *handler, unsigned prefix_bytes, unsigned flags);

/* Writes `length` bytes to the connection, behind the replies of all earlier
 * messages when the order is ordered. Copied when they can't be sent at once.
 * Home thread only. -ENOMEM; -EPIPE: the connection is closing. */
int prefork_connection_write(struct prefork_connection *connection, const void *data, size_t length);

/* Sends `length` bytes of a regular file from `offset` on, as if they were
 * written: behind replies of earlier messages when the order is ordered. The
 * kernel moves them, as fast as the peer takes them; nothing is copied. While
 * such files wait, the connection soon takes no more messages. Takes `fd` over
 * and closes it in any case, now or when all is sent; its file position is left
 * alone. A file that turns out to be shorter ends the connection. Home thread
 * only, and not within `failed`. -ENOMEM; -EPIPE: the connection is closing; -EOPNOTSUPP: it is
 * a datagram. */
int prefork_connection_send_file(struct prefork_connection *connection, int fd, off_t offset, size_t length);

/* Submits a message as a job; its reply is written to the connection. Home
 * thread only. -EAGAIN: the table is full, other connections of the thread wait
 * for it already, or max_in_flight is reached; -EMSGSIZE: longer than a
 * request; -ENOENT: no such handler number; -EPIPE: the connection is closing;
 * -ENOMEM. */
int prefork_connection_submit(struct prefork_connection *connection, uint32_t handler, const void *message,
                              size_t length);

/* Closes the connection after what was written, and what is in flight, is
 * flushed. Home thread only; `closed` is called later. */
void prefork_connection_close(struct prefork_connection *connection);

/* Room for any peer in its written form. */
#define PREFORK_PEER_BYTES 128

/* Writes who is at the other end: tcp:192.0.2.7:4711, tcp:[2001:db8::7]:4711,
 * unix: (most clients' sockets have no name), unix:/path; control characters are
 * written as "?". Behind a proxy that the listener trusts it is whom the proxy
 * announced, or the proxy itself when it announced nobody. At most `bytes` are
 * written, with the NUL that ends them; cut if need be. Returns the text's whole
 * length, or -ENOTCONN when the peer is gone. Home thread only. */
int prefork_connection_peer(const struct prefork_connection *connection, char *text_out, size_t bytes);

/* Returns 1 when nothing more will be read from the connection, for the pool
 * stops, the peer has ended its side, or the connection is closing; messages
 * that have arrived are still taken, unless it is closing. Home thread only. */
int prefork_connection_is_draining(const struct prefork_connection *connection);

/* A pointer of the user's own, NULL at first. Home thread only. */
void prefork_connection_set_user(struct prefork_connection *connection, void *user);
void *prefork_connection_user(const struct prefork_connection *connection);

#ifdef __cplusplus
}
#endif

#endif
