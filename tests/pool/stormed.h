/* SPDX-License-Identifier: BSD-2-Clause */
/* The server that storms meet: a pool of one worker that echoes by every ready-made protocol, on the I/O thread and
 * through the table; its requests and answers; and what it must look like when a storm is over. */
#ifndef PFK_TESTS_POOL_STORMED_H
#define PFK_TESTS_POOL_STORMED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "prefork.h"

/* HTTP is there when it was configured. */
enum stormed_protocol { STORMED_RAW, STORMED_LINES, STORMED_LENGTH, STORMED_HTTP };
#ifdef STORMED_HAS_HTTP
#define STORMED_PROTOCOLS 4
#else
#define STORMED_PROTOCOLS 3
#endif
enum stormed_way { STORMED_INLINE, STORMED_TABLE, STORMED_WAYS };

struct stormed_options {
    bool local; /* Unix sockets, in TMPDIR; else TCP */
    uint32_t slots;
    uint32_t request_bytes;       /* 0: the default */
    uint32_t job_threads;         /* 0: the default */
    prefork_connection_fn opened; /* NULL: nothing; not told of HTTP. Its context is a const enum stormed_protocol * */
    void (*prepare)(int fd);      /* NULL: nothing; is given each client's TCP socket before it connects */
};

struct stormed {
    struct prefork_pool *pool;
    size_t fds; /* of the worker, at rest */
    void (*prepare)(int fd);
    int release_fd; /* a byte written here ends one job that holds */
    int released_fd;
};

/* Starts it. On failure says why in a TAP comment. */
bool stormed_start(struct stormed *stormed, const struct stormed_options *options);

/* Stops it; whether that was in order. A report of a sanitizer in the worker is not. */
bool stormed_end(struct stormed *stormed);

/* Waits until nothing of a storm is left: connections, slots, descriptors, each as at the start. Otherwise says what
 * is. */
bool stormed_is_at_rest(struct stormed *stormed);

/* What the worker has allocated, of all threads, in bytes; 0: unknown; UINT64_MAX: LeakSanitizer found a leak there, or
 * nobody answers. */
uint64_t stormed_allocated_bytes(const struct stormed *stormed);

/* The address of a listener. */
const char *stormed_address(const struct stormed *stormed, enum stormed_protocol protocol, enum stormed_way way);

/* Connects, blocking; over TCP from an address of the loopback that differs with `number`: ports in TIME_WAIT last
 * longer so. A descriptor or -1. */
int stormed_connect(const struct stormed *stormed, enum stormed_protocol protocol, enum stormed_way way,
                    unsigned number);

/* Closes so that the peer is told by a reset. */
void stormed_reset(int fd);

/* The numbers of the pool, and of its table. */
struct prefork_pool_statistics stormed_pool_statistics(const struct stormed *stormed);
struct prefork_statistics stormed_table_statistics(const struct stormed *stormed);

/* -- Requests and answers -------------------------------------------------- */

#define STORMED_CONTENT_MAX 65536

struct stormed_request {
    enum stormed_protocol protocol;
    size_t length;
    size_t content_at; /* the content is the rest */
    unsigned char bytes[STORMED_CONTENT_MAX + 256];
};

/* Makes a whole request of `length` bytes of content, at least 32, that no other `number` has. */
void stormed_make_request(struct stormed_request *request, enum stormed_protocol protocol, enum stormed_way way,
                          uint64_t number, size_t length);

/* The same of a job that ends only when a byte is written to release_fd. */
void stormed_make_holding_request(struct stormed_request *request, enum stormed_protocol protocol);

/* Whether the first `length` bytes of an answer are those of the answer to `request`: -1 they are not, 0 so far they
 * are, 1 they are all of it. */
int stormed_judge(const struct stormed_request *request, const unsigned char *answer, size_t length);

/* Sends all of the bytes, blocking. */
bool stormed_send(int fd, const void *bytes, size_t length);

/* Reads the answer to `request`, whole and nothing else; its length, or 0 when it is wrong or does not come. */
size_t stormed_hear(int fd, const struct stormed_request *request);

#endif
