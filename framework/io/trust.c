/* SPDX-License-Identifier: BSD-2-Clause */
/* Every network is one of IPv6: 10.0.0.0/8 is ::ffff:10.0.0.0/104. */
#include "io/trust.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define TRUST_SEPARATORS  ", \t\n"
#define TRUST_IPV4_PREFIX 96 /* of the IPv6 addresses that stand for IPv4 ones */

struct trust_network {
    struct in6_addr address;
    unsigned prefix; /* so many bits of it count */
};

struct pfk_trust {
    bool everybody;
    bool local; /* peers over Unix sockets */
    size_t n_networks;
    struct trust_network networks[];
};

/* -- Reading ------------------------------------------------------------------ */

static bool trust_read_prefix(const char *text, unsigned greatest, unsigned *prefix_out)
{
    unsigned prefix = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && at - text < 3; at++)
        prefix = prefix * 10 + (unsigned)(*at - '0');
    *prefix_out = prefix;
    return at != text && *at == '\0' && prefix <= greatest;
}

static void trust_map(struct in_addr host, struct in6_addr *address_out)
{
    memset(address_out, 0, sizeof(*address_out));
    address_out->s6_addr[10] = address_out->s6_addr[11] = 0xff;
    memcpy(address_out->s6_addr + 12, &host, sizeof(host));
}

/* `entry` is changed. */
static bool trust_read_network(char *entry, struct trust_network *network)
{
    char *const slash = strchr(entry, '/');
    unsigned prefix = 0;
    struct in_addr ipv4;

    if (slash != NULL)
        *slash = '\0';
    if (inet_pton(AF_INET, entry, &ipv4) == 1) {
        if (slash != NULL && !trust_read_prefix(slash + 1, 32, &prefix))
            return false;
        trust_map(ipv4, &network->address);
        network->prefix = TRUST_IPV4_PREFIX + (slash != NULL ? prefix : 32);
        return true;
    }
    if (inet_pton(AF_INET6, entry, &network->address) != 1)
        return false;
    if (slash != NULL && !trust_read_prefix(slash + 1, 128, &prefix))
        return false;
    network->prefix = slash != NULL ? prefix : 128;
    return true;
}

static int trust_read_entry(struct pfk_trust *trust, const char *text, size_t length)
{
    char entry[INET6_ADDRSTRLEN + 4]; /* with /PREFIX */

    if (length < sizeof(entry)) {
        memcpy(entry, text, length);
        entry[length] = '\0';
        if (strcmp(entry, "*") == 0)
            trust->everybody = true;
        else if (strcmp(entry, "unix") == 0)
            trust->local = true;
        else if (trust_read_network(entry, &trust->networks[trust->n_networks]))
            trust->n_networks++;
        else
            length = 0;
        if (length > 0)
            return 0;
    }
    return pfk_error(EINVAL,
                     "trusted addresses \"%.80s\": an entry is none; use 10.0.0.0/8, 192.168.1.7, 2001:db8::/32, "
                     "unix, or * (everybody), with commas between",
                     text);
}

int pfk_trust_open(const char *text, struct pfk_trust **trust_out)
{
    /* an entry takes two bytes of the text at least, the last one one */
    const size_t n_most = strlen(text) / 2 + 1;
    struct pfk_trust *trust = calloc(1, sizeof(*trust) + n_most * sizeof(trust->networks[0]));
    const char *at = text + strspn(text, TRUST_SEPARATORS);
    int rc = 0;

    *trust_out = NULL;
    if (trust == NULL)
        return pfk_error(ENOMEM, "trusted addresses: no memory");
    if (*at == '\0')
        rc = pfk_error(EINVAL, "trusted addresses: there is none; use * for everybody");
    while (rc == 0 && *at != '\0') {
        const size_t length = strcspn(at, TRUST_SEPARATORS);

        rc = trust_read_entry(trust, at, length);
        at += length;
        at += strspn(at, TRUST_SEPARATORS);
    }
    if (rc == 0)
        *trust_out = trust;
    else
        free(trust);
    return rc;
}

/* -- Asking ------------------------------------------------------------------- */

static bool trust_network_has(const struct trust_network *network, const struct in6_addr *address)
{
    const unsigned whole = network->prefix / 8;
    const unsigned rest = network->prefix % 8;
    const unsigned differ =
        whole < sizeof(address->s6_addr) ? (unsigned)network->address.s6_addr[whole] ^ address->s6_addr[whole] : 0;

    return memcmp(network->address.s6_addr, address->s6_addr, whole) == 0 && differ >> (8 - rest) == 0;
}

bool pfk_trust_has(const struct pfk_trust *trust, const struct pfk_address *address)
{
    struct in6_addr asked;

    if (trust->everybody)
        return true;
    if (address->socket.any.sa_family == AF_UNIX)
        return trust->local;
    if (address->socket.any.sa_family == AF_INET)
        trust_map(address->socket.ipv4.sin_addr, &asked);
    else if (address->socket.any.sa_family == AF_INET6)
        asked = address->socket.ipv6.sin6_addr;
    else
        return false;
    for (size_t i = 0; i < trust->n_networks; i++)
        if (trust_network_has(&trust->networks[i], &asked))
            return true;
    return false;
}

void pfk_trust_close(struct pfk_trust **trust)
{
    free(*trust);
    *trust = NULL;
}
