/* SPDX-License-Identifier: BSD-2-Clause */
/* Making, filling and freeing a pool. Nothing here forks. */
#include "pool/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "io/datagram.h"
#include "job/store.h"

/* How long a trusted proxy may take over its header. */
#define POOL_PROXY_MS     5000
#define POOL_PROXY_MS_MAX 3600000

int pfk_pool_check_owner(const struct prefork_pool *pool, const char *call)
{
    if (pool->owner_pid == getpid())
        return 0;
    return pfk_error(ECHILD, "%s: the pool belongs to process %ld; a forked child can't use it", call,
                     (long)pool->owner_pid);
}

int pfk_pool_check_setting(const struct prefork_pool *pool, const char *call)
{
    const int rc = pfk_pool_check_owner(pool, call);

    if (rc != 0 || pool->stage == PFK_POOL_SETTING)
        return rc;
    return pfk_error(EBUSY, "%s: the pool was run or started already; set it up before", call);
}

PFK_EXPORT int prefork_pool_create(struct prefork_pool **pool_out)
{
    struct prefork_pool *const pool = calloc(1, sizeof(*pool));

    *pool_out = pool;
    if (pool == NULL)
        return pfk_error_call(ENOMEM, "prefork_pool_create");
    pool->owner_pid = getpid();
    pool->end_fd = -1;
    pfk_u32_store_relaxed(&pool->stop_fd, (uint32_t)-1);
    pfk_pool_set_defaults(pool);
    return 0;
}

static void pool_close_port(struct pfk_pool_port *port)
{
    pfk_listener_close(&port->listener);
    pfk_trust_close(&port->trust);
}

static void pool_free(struct prefork_pool *pool)
{
    for (size_t i = 0; i < pool->n_ports; i++)
        pool_close_port(&pool->ports[i]);
    free(pool->ports);
    free(pool->io_ports);
    free((char *)(uintptr_t)pool->store.lock_path);
    pfk_user_free(&pool->user);
    free(pool);
}

PFK_EXPORT void prefork_pool_destroy(struct prefork_pool **pool)
{
    struct prefork_pool *const mine = *pool;

    *pool = NULL;
    if (mine == NULL)
        return;
    if (mine->owner_pid == getpid()) {
        int stop_fd = (int)pfk_u32_load_relaxed(&mine->stop_fd);

        pfk_pool_end_started(mine);
        prefork_table_destroy(&mine->table);
        prefork_segment_close(&mine->region);
        if (mine->tally != NULL)
            (void)munmap(mine->tally, sizeof(*mine->tally));
        pfk_quota_destroy(&mine->quota);
        pfk_fd_close(&stop_fd);
        pfk_fd_close(&mine->end_fd);
    }
    pool_free(mine);
}

PFK_EXPORT int prefork_pool_handle(struct prefork_pool *pool, const char *name, prefork_handler_fn handler,
                                   void *context)
{
    const int rc = pfk_pool_check_setting(pool, "prefork_pool_handle");

    return rc != 0 ? rc : pfk_handler_add(&pool->handlers, name, handler, context);
}

PFK_EXPORT int prefork_pool_handler_number(const struct prefork_pool *pool, const char *name)
{
    const int number = name != NULL ? pfk_handler_find(&pool->handlers, name) : -ENOENT;

    if (number < 0)
        return pfk_error(ENOENT, "prefork_pool_handler_number: the pool has no handler \"%s\"",
                         name != NULL ? name : "(null)");
    return number;
}

/* -- Listening ---------------------------------------------------------------- */

static int pool_complete_protocol(const struct prefork_pool *pool, const struct prefork_protocol *given,
                                  struct pfk_protocol *protocol_out)
{
    int handler = -1;

    if (given == NULL)
        return pfk_error(EINVAL, "prefork_pool_listen: no protocol; prefork_protocol_raw, _lines and _length make one");
    if (given->handler != NULL) {
        handler = pfk_handler_find(&pool->handlers, given->handler);
        if (handler < 0)
            return pfk_error(EINVAL,
                             "prefork_pool_listen: the protocol names handler \"%s\", which the pool does not have; "
                             "call prefork_pool_handle first",
                             given->handler);
    }
    return pfk_protocol_complete(given, handler, protocol_out);
}

/* Fills `options` from what the caller gave, which may be of an older, shorter kind. */
static int pool_read_listen_options(const struct prefork_listen_options *given, struct prefork_listen_options *options)
{
    memset(options, 0, sizeof(*options));
    if (given != NULL) {
        if (given->size < sizeof(given->size) || given->size > sizeof(*options))
            return pfk_error(EINVAL, "prefork_pool_listen_with: size is %zu; set it to the sizeof of the struct, %zu",
                             given->size, sizeof(*options));
        memcpy(options, given, given->size);
    }
    if (options->backlog > 65535)
        return pfk_error(EINVAL, "prefork_pool_listen_with: backlog is %u, it must be from 1 to 65535, or 0",
                         options->backlog);
    if (options->shards > 1)
        return pfk_error(EINVAL, "prefork_pool_listen_with: shards is %u, it must be 0 or 1", options->shards);
    if (options->proxy_ms > POOL_PROXY_MS_MAX)
        return pfk_error(EINVAL, "prefork_pool_listen_with: proxy_ms is %u, it must be from 1 to %d, or 0",
                         options->proxy_ms, POOL_PROXY_MS_MAX);
    return 0;
}

static int pool_open_listener(const struct prefork_pool *pool, const char *address,
                              const struct prefork_listen_options *options, struct pfk_pool_port *port)
{
    const struct pfk_listener_options how = {
        .backlog = (int)(options->backlog > 0 ? options->backlog : pool->options[PREFORK_POOL_BACKLOG]),
        .sharded = options->shards != 0,
        .rights = {.mode = options->mode, .owner = options->owner},
    };

    return pfk_listener_open(address, &how, &port->listener);
}

/* What lies between the socket and the protocol. */
static int pool_fit_protocol(const char *address, const struct prefork_listen_options *options,
                             struct pfk_pool_port *port)
{
    if (pfk_listener_is_datagram(port->listener)) {
        port->protocol.face.frame = pfk_datagram_frame;
        if (options->proxy_from != NULL)
            return pfk_error(EINVAL, "prefork_pool_listen_with: %.120s: datagrams have no PROXY header", address);
    }
    if (options->proxy_from == NULL)
        return 0;
    port->protocol.proxy.limit_ms = options->proxy_ms > 0 ? options->proxy_ms : POOL_PROXY_MS;
    return pfk_trust_open(options->proxy_from, &port->trust);
}

static int pool_add_port(struct prefork_pool *pool, const struct pfk_pool_port *port)
{
    struct pfk_pool_port *const ports = realloc(pool->ports, (pool->n_ports + 1) * sizeof(*ports));

    if (ports == NULL)
        return pfk_error_call(ENOMEM, "prefork_pool_listen");
    pool->ports = ports;
    ports[pool->n_ports] = *port;
    ports[pool->n_ports].protocol.proxy.trust = port->trust;
    pool->n_ports++;
    return 0;
}

PFK_EXPORT int prefork_pool_listen_with(struct prefork_pool *pool, const char *address,
                                        const struct prefork_protocol *protocol,
                                        const struct prefork_listen_options *options)
{
    struct prefork_listen_options given;
    struct pfk_pool_port port = {.listener = NULL};
    int rc = pfk_pool_check_setting(pool, "prefork_pool_listen");

    if (rc == 0)
        rc = pool_read_listen_options(options, &given);
    if (rc == 0)
        rc = pool_complete_protocol(pool, protocol, &port.protocol);
    /* or the socket would be standard input of all handlers */
    if (rc == 0)
        rc = pfk_fd_open_standard();
    if (rc == 0)
        rc = pool_open_listener(pool, address, &given, &port);
    if (rc != 0)
        return rc;
    port.backlog = given.backlog;
    rc = pool_fit_protocol(address, &given, &port);
    if (rc == 0)
        rc = pool_add_port(pool, &port);
    if (rc != 0)
        pool_close_port(&port);
    return rc;
}

PFK_EXPORT int prefork_pool_listen(struct prefork_pool *pool, const char *address,
                                   const struct prefork_protocol *protocol)
{
    return prefork_pool_listen_with(pool, address, protocol, NULL);
}

PFK_EXPORT const char *prefork_pool_address(const struct prefork_pool *pool, unsigned index)
{
    return index < pool->n_ports ? pfk_listener_address(pool->ports[index].listener) : NULL;
}

/* -- The rest of the setting up ------------------------------------------------ */

PFK_EXPORT int prefork_pool_share(struct prefork_pool *pool, size_t bytes, prefork_share_fn init, void *context,
                                  void **region_out)
{
    int rc = pfk_pool_check_setting(pool, "prefork_pool_share");

    if (rc != 0)
        return rc;
    if (pool->region != NULL)
        return pfk_error(EEXIST, "prefork_pool_share: the pool has a shared region of %zu bytes already",
                         prefork_segment_bytes(pool->region));
    rc = prefork_segment_create_private(bytes, &pool->region);
    if (rc != 0)
        return rc;
    if (init != NULL)
        rc = init(prefork_segment_address(pool->region), bytes, context);
    if (rc == 0)
        *region_out = prefork_segment_address(pool->region);
    else
        prefork_segment_close(&pool->region);
    return rc;
}

PFK_EXPORT int prefork_pool_store(struct prefork_pool *pool, const struct prefork_table_store *store)
{
    struct prefork_table_store checked;
    char *lock_path;
    int rc = pfk_pool_check_setting(pool, "prefork_pool_store");

    if (rc == 0)
        rc = pfk_store_check(store, "prefork_pool_store", &checked);
    if (rc != 0)
        return rc;
    lock_path = strdup(checked.lock_path);
    if (lock_path == NULL)
        return pfk_error_call(ENOMEM, "prefork_pool_store");
    free((char *)(uintptr_t)pool->store.lock_path);
    pool->store = checked;
    pool->store.lock_path = lock_path;
    pool->durable = true;
    return 0;
}

PFK_EXPORT int prefork_pool_user(struct prefork_pool *pool, const char *user)
{
    struct pfk_user found;
    int rc = pfk_pool_check_setting(pool, "prefork_pool_user");

    if (rc == 0)
        rc = pfk_user_find(user, &found);
    if (rc != 0)
        return rc;
    pfk_user_free(&pool->user);
    pool->user = found;
    pool->has_user = true;
    return 0;
}

PFK_EXPORT int prefork_pool_on_ready(struct prefork_pool *pool, prefork_ready_fn ready, void *context)
{
    const int rc = pfk_pool_check_setting(pool, "prefork_pool_on_ready");

    if (rc != 0)
        return rc;
    pool->ready = ready;
    pool->ready_context = context;
    return 0;
}
