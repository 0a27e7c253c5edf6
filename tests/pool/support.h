/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the pool share: a client, and waiting for events with a
 * deadline. */
#ifndef PFK_TESTS_POOL_SUPPORT_H
#define PFK_TESTS_POOL_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "prefork.h"

/* The longest that anything may take here; an event that comes ends the wait. */
#define SUPPORT_LIMIT_MS 20000

/* Connects to an address in the form of prefork_pool_address, blocking. A
 * descriptor or -errno. */
int support_connect(const char *address);

/* Sends `length` bytes and reads as many back; whether they are the same. */
bool support_echo(int fd, const void *data, size_t length);

/* Waits until any process `pid` has ended (it may be nobody's child here). */
bool support_wait_gone(pid_t pid, uint64_t deadline_ns);

/* Waits until `condition` holds; it is looked at every millisecond. */
typedef bool support_condition_fn(void *context);
bool support_wait_until(support_condition_fn *condition, void *context, uint64_t deadline_ns);

/* The pid of the worker in a seat; 0: none. */
pid_t support_worker_pid(const struct prefork_pool *pool, uint32_t seat);

/* Waits until `n` workers are ready. */
bool support_wait_ready(const struct prefork_pool *pool, uint32_t n);

/* Waits until the worker in `seat` is ready and not `before`; its pid, or 0. */
pid_t support_wait_replaced(const struct prefork_pool *pool, uint32_t seat, pid_t before);

#endif
