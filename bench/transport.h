/* SPDX-License-Identifier: BSD-2-Clause */
/* A way to hand jobs from producers to workers, as the handoff benchmark sees
 * it. The queue is made before the fork; each participant, a process of its
 * own, opens an end of it. Whatever can lie in shared memory is written and
 * read where it lies. Requests go through one queue that all workers share;
 * replies go back to the producer that asked.
 *
 * A transport that can't go on (a failed call that has no cure) says so on
 * stderr and ends the process: see transport_fail. */
#ifndef BENCH_TRANSPORT_H
#define BENCH_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

/* What is handed over, by how many. */
struct shape {
    uint32_t producers, workers;
    uint32_t slots;  /* requests that the queue holds, where that can be chosen; a power of two */
    uint32_t window; /* jobs of one producer that await their reply at most; 0: there are no replies */
    uint32_t bytes;  /* of a request, and of a reply */
};

struct transport {
    const char *name;
    /* Returns why the transport can't carry this, or NULL. */
    const char *(*refuses)(const struct shape *shape);
    /* How many jobs of one producer can be in flight so that nobody blocks for
     * ever; the window is cut to it. NULL: any number. */
    uint32_t (*max_window)(const struct shape *shape);
    void *(*create)(const struct shape *shape);
    void (*destroy)(void *queue);
    /* Returns how often the participants that have closed their ends called
     * futex(2). NULL: nobody counts. */
    uint64_t (*futex_calls)(void *queue);

    void *(*open_producer)(void *queue, uint32_t index);
    void (*close_producer)(void *producer);
    /* Returns where to write the next request; waits for room. */
    uint64_t *(*begin_request)(void *producer);
    void (*send_request)(void *producer);
    /* Sends the message that ends a worker instead; never answered. */
    void (*send_stop)(void *producer);
    /* Waits for a reply, the oldest or any; it is valid until end_reply. */
    const uint64_t *(*take_reply)(void *producer);
    void (*end_reply)(void *producer);

    void *(*open_worker)(void *queue, uint32_t index);
    void (*close_worker)(void *worker);
    /* Waits for a request; it is valid until end_request or send_reply. */
    const uint64_t *(*take_request)(void *worker);
    /* Ends a request that has no reply. */
    void (*end_request)(void *worker);
    /* Returns where to write the reply to the request just taken. */
    uint64_t *(*begin_reply)(void *worker, uint32_t producer);
    void (*send_reply)(void *worker);
};

extern const struct transport transport_table;
extern const struct transport transport_ring;
extern const struct transport transport_ring_spin;
extern const struct transport transport_ring_sem;
extern const struct transport transport_mutex;
extern const struct transport transport_pipe;
extern const struct transport transport_stream;
extern const struct transport transport_seqpacket;
extern const struct transport transport_sysv_msg;
extern const struct transport transport_posix_mq;
extern const struct transport transport_futex;

/* Says which call failed, and why, and ends the process. */
__attribute__((noreturn)) void transport_fail(const char *transport, const char *call, int error);

/* Memory for all participants that is gone with the last of them, with every
 * page provided; and its opposite. */
void *transport_map_shared(const char *transport, uint64_t bytes);
void transport_unmap(void *at, uint64_t bytes);

/* Zeroed memory of this process; aligned to a cache line. */
void *transport_allocate(const char *transport, uint64_t bytes);

#endif
