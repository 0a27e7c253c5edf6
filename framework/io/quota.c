/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/quota.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/error.h"
#include "job/control.h"

#define QUOTA_ROWS        2u
#define QUOTA_COLUMNS_MAX 16384u /* in each row; a power of 2, as half of the hash has bits at most */
#define QUOTA_COLUMNS_MIN 256u
#define QUOTA_BYTES_MAX   (UINT64_C(64) << 20)

struct pfk_quota {
    pfk_atomic_u32 *cells; /* by row, by column, by thread: those that are summed lie side by side */
    uint64_t bytes;
    uint32_t threads;
    uint32_t columns; /* of a row */
    uint32_t connections_max;
    uint64_t salt[3];
};

/* -- The table -------------------------------------------------------------- */

static uint64_t quota_bytes(uint32_t threads, uint32_t columns)
{
    return (uint64_t)QUOTA_ROWS * columns * threads * sizeof(pfk_atomic_u32);
}

static void quota_choose_salt(struct pfk_quota *quota)
{
    if (getrandom(quota->salt, sizeof(quota->salt), GRND_NONBLOCK) == (ssize_t)sizeof(quota->salt))
        return;
    for (size_t i = 0; i < sizeof(quota->salt) / sizeof(quota->salt[0]); i++) /* too early after the boot */
        quota->salt[i] = (prefork_clock_now_ns() << 20 ^ (uint64_t)getpid() << 40 ^ (uintptr_t)quota) * (2 * i + 3);
}

int pfk_quota_create(uint32_t threads, uint32_t connections_max, struct pfk_quota **quota_out)
{
    struct pfk_quota *const quota = calloc(1, sizeof(*quota));
    void *cells;

    *quota_out = NULL;
    if (quota == NULL)
        return pfk_error(ENOMEM, "connections of each peer: no memory");
    quota->threads = threads;
    quota->connections_max = connections_max;
    quota->columns = QUOTA_COLUMNS_MAX;
    while (quota_bytes(threads, quota->columns) > QUOTA_BYTES_MAX && quota->columns > QUOTA_COLUMNS_MIN)
        quota->columns /= 2;
    quota->bytes = quota_bytes(threads, quota->columns);
    cells = mmap(NULL, quota->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (cells == MAP_FAILED) {
        free(quota);
        return pfk_error_call(errno, "mmap of the counts of peers");
    }
    quota->cells = cells;
    quota_choose_salt(quota);
    *quota_out = quota;
    return 0;
}

void pfk_quota_destroy(struct pfk_quota **quota)
{
    if (*quota == NULL)
        return;
    (void)munmap((void *)(*quota)->cells, (*quota)->bytes);
    free(*quota);
    *quota = NULL;
}

void pfk_quota_keep_from_children(const struct pfk_quota *quota)
{
    if (quota != NULL)
        (void)madvise((void *)quota->cells, quota->bytes, MADV_DONTFORK);
}

/* -- Cells ------------------------------------------------------------------ */

/* Where a peer's cells are in a thread's column of counts. */
static uint32_t quota_place(const struct pfk_quota *quota, uint32_t peer, uint32_t row)
{
    const uint32_t half = row == 0 ? peer & 0xffffu : peer >> 16;

    return row * quota->columns + (half & (quota->columns - 1));
}

static pfk_atomic_u32 *quota_cell(const struct pfk_quota *quota, uint32_t place, uint32_t thread)
{
    return &quota->cells[(uint64_t)place * quota->threads + thread];
}

static uint64_t quota_sum(const struct pfk_quota_share *share, uint32_t place)
{
    uint64_t sum = share->counts[place];

    for (uint32_t thread = 0; thread < share->quota->threads; thread++) {
        const uint32_t count = pfk_u32_load_relaxed(quota_cell(share->quota, place, thread));

        if (count > 0 && thread != share->number &&
            pfk_table_lane_open(share->table, pfk_load_lane(share->table, &share->family, thread)))
            sum += count;
    }
    return sum;
}

static void quota_count(struct pfk_quota_share *share, uint32_t peer, int by)
{
    for (uint32_t row = 0; row < QUOTA_ROWS; row++) {
        const uint32_t place = quota_place(share->quota, peer, row);

        share->counts[place] += (uint32_t)by;
        pfk_u32_store_relaxed(quota_cell(share->quota, place, share->number), share->counts[place]);
    }
}

/* -- A thread's share ------------------------------------------------------- */

int pfk_quota_open(struct pfk_quota_share *share, const struct pfk_quota *quota, const struct prefork_table *table,
                   const struct pfk_load_family *family, uint32_t number)
{
    *share = (struct pfk_quota_share){.quota = quota, .table = table, .family = *family, .number = number};
    share->counts = calloc((size_t)QUOTA_ROWS * quota->columns, sizeof(*share->counts));
    if (share->counts == NULL)
        return pfk_error(ENOMEM, "I/O thread: no memory for counts of peers");
    for (uint32_t place = 0; place < QUOTA_ROWS * quota->columns; place++)
        pfk_u32_store_relaxed(quota_cell(quota, place, number), 0); /* as a dead predecessor left it */
    return 0;
}

void pfk_quota_close(struct pfk_quota_share *share)
{
    free(share->counts);
    share->counts = NULL;
}

/* Secret steps, each of which can be undone, so that no two peers are the same
 * before the upper half is taken. Twice, since one product of a row of addresses,
 * as a network has them, is a row again, of which many may fall into few cells. */
static uint32_t quota_hash(const struct pfk_quota *quota, uint64_t address)
{
    uint64_t hash = address + quota->salt[0];

    hash = (hash ^ hash >> 32) * (quota->salt[1] | 1);
    hash = (hash ^ hash >> 32) * (quota->salt[2] | 1);
    return (uint32_t)(hash >> 32);
}

uint32_t pfk_quota_peer(const struct pfk_quota_share *share, const struct pfk_address *peer)
{
    struct pfk_address plain = *peer;
    uint64_t address = 0;
    uint32_t number;

    pfk_address_unmap(&plain);
    if (plain.socket.any.sa_family == AF_INET)
        memcpy(&address, &plain.socket.ipv4.sin_addr, sizeof(plain.socket.ipv4.sin_addr));
    else if (plain.socket.any.sa_family == AF_INET6)
        memcpy(&address, &plain.socket.ipv6.sin6_addr, sizeof(address));
    else
        return PFK_QUOTA_NOBODY;
    number = quota_hash(share->quota, address);
    return number != PFK_QUOTA_NOBODY ? number : 1;
}

bool pfk_quota_admit(struct pfk_quota_share *share, uint32_t peer)
{
    bool admitted = false;

    for (uint32_t row = 0; row < QUOTA_ROWS && !admitted; row++)
        admitted = quota_sum(share, quota_place(share->quota, peer, row)) < share->quota->connections_max;
    quota_count(share, peer, admitted ? 1 : 0); /* tells it anew, should somebody have written over it */
    return admitted;
}

void pfk_quota_release(struct pfk_quota_share *share, uint32_t peer)
{
    quota_count(share, peer, -1);
}
