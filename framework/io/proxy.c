/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/proxy.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "io/connection.h"
#include "io/peer.h"

static void proxy_on_limit(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void)ev;
    (void)events;
    pfk_connection_abort(watcher->data);
}

int pfk_proxy_await(const struct pfk_proxy_rule *rule, struct prefork_connection *connection, struct ev_loop *ev,
                    int fd, struct pfk_proxied **proxied_out)
{
    struct pfk_address peer;
    struct pfk_proxied *proxied;

    *proxied_out = NULL;
    if (rule->trust == NULL || pfk_peer_of_socket(fd, &peer) != 0 || !pfk_trust_has(rule->trust, &peer))
        return 0;
    proxied = calloc(1, sizeof(*proxied));
    if (proxied == NULL)
        return pfk_error(ENOMEM, "accept: no memory for what a proxy announces");
    proxied->awaited = true;
    ev_timer_init(&proxied->limit, proxy_on_limit, rule->limit_ms / 1000., 0.);
    proxied->limit.data = connection;
    ev_timer_start(ev, &proxied->limit);
    *proxied_out = proxied;
    return 0;
}

int64_t pfk_proxy_take(struct pfk_proxied *proxied, struct ev_loop *ev, const void *data, size_t length)
{
    const int64_t size = pfk_proxy_header_read(data, length, &proxied->header);

    if (size > 0) {
        ev_timer_stop(ev, &proxied->limit);
        proxied->awaited = false;
    }
    return size;
}

void pfk_proxy_forget(struct pfk_proxied **proxied, struct ev_loop *ev)
{
    if (*proxied == NULL)
        return;
    ev_timer_stop(ev, &(*proxied)->limit);
    free(*proxied);
    *proxied = NULL;
}
