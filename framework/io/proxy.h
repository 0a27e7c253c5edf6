/* SPDX-License-Identifier: BSD-2-Clause */
/* PROXY headers in front of a protocol: of a connection that a trusted proxy
 * opened, what comes before the first message, and when it is too late. The
 * home thread only. */
#ifndef PFK_IO_PROXY_H
#define PFK_IO_PROXY_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/proxy_header.h"
#include "io/trust.h"

struct prefork_connection;

/* Which connections of a listener begin with a header. */
struct pfk_proxy_rule {
    const struct pfk_trust *trust; /* those from here, all of them; NULL: none */
    uint32_t limit_ms;             /* a header that is not whole by then closes */
};

/* What a connection keeps of its proxy. */
struct pfk_proxied {
    bool awaited;                   /* no message before the header was read */
    struct pfk_proxy_header header; /* once it was */
    ev_timer limit;                 /* while it is awaited */
};

/* Lets a connection that was just accepted begin with a header, if its peer is
 * trusted: then *proxied_out is not NULL. `fd` is its socket. -ENOMEM. */
int pfk_proxy_await(const struct pfk_proxy_rule *rule, struct prefork_connection *connection, struct ev_loop *ev,
                    int fd, struct pfk_proxied **proxied_out);

/* Reads the header out of the first bytes. Its length; 0: more are needed;
 * -EPROTO: it is none. */
int64_t pfk_proxy_take(struct pfk_proxied *proxied, struct ev_loop *ev, const void *data, size_t length);

static inline bool pfk_proxy_awaited(const struct pfk_proxied *proxied)
{
    return proxied != NULL && proxied->awaited;
}

/* Frees it; *proxied may be NULL and becomes NULL. */
void pfk_proxy_forget(struct pfk_proxied **proxied, struct ev_loop *ev);

#endif
