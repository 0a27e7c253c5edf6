/* SPDX-License-Identifier: BSD-2-Clause */
#include "hostile_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 4096u

struct hostile {
    struct hostile_scene *scene;
    const struct prefork_table *table;
    unsigned char *work;
    size_t work_bytes;
    uint64_t dice;
};

/* xorshift: the C library's generators take locks. */
static uint64_t hostile_roll(struct hostile *hostile)
{
    hostile->dice ^= hostile->dice << 13;
    hostile->dice ^= hostile->dice >> 7;
    hostile->dice ^= hostile->dice << 17;
    return hostile->dice;
}

/* A piece of the segment; every other time all of it. */
static unsigned char *hostile_choose(struct hostile *hostile, size_t *length_out)
{
    const size_t at = (hostile_roll(hostile) & 1) != 0 ? 0 : hostile_roll(hostile) % hostile->work_bytes & ~7ul;

    *length_out = at == 0 ? hostile->work_bytes : 8 + hostile_roll(hostile) % (hostile->work_bytes - at - 7);
    if (at + *length_out > hostile->work_bytes)
        *length_out = hostile->work_bytes - at;
    return hostile->work + at;
}

static void hostile_fill(unsigned char *at, size_t length, uint32_t value)
{
    for (size_t i = 0; i + sizeof(value) <= length; i += sizeof(value))
        memcpy(at + i, &value, sizeof(value));
}

static void hostile_fill_randomly(struct hostile *hostile, unsigned char *at, size_t length)
{
    for (size_t i = 0; i + sizeof(uint64_t) <= length; i += sizeof(uint64_t)) {
        const uint64_t value = hostile_roll(hostile);

        memcpy(at + i, &value, sizeof(value));
    }
}

static void hostile_replay(struct hostile *hostile, unsigned char *at, size_t length)
{
    const size_t offset = (size_t)(at - hostile->work);
    const uint32_t image = (uint32_t)(hostile_roll(hostile) % HOSTILE_IMAGES);

    if (offset + length > HOSTILE_IMAGE_BYTES)
        length = offset < HOSTILE_IMAGE_BYTES ? HOSTILE_IMAGE_BYTES - offset : 0;
    memcpy(at, hostile->scene->image[image] + offset, length);
}

static uint32_t hostile_edge(struct hostile *hostile)
{
    const struct pfk_geometry *const geometry = &hostile->table->geometry;
    const uint32_t edges[] = {0,
                              1,
                              geometry->slots - 1,
                              geometry->slots,
                              geometry->slots + 1,
                              geometry->lanes,
                              geometry->lanes + 1,
                              INT32_MAX,
                              UINT32_C(0x80000000),
                              UINT32_MAX - 1,
                              UINT32_MAX};

    return edges[hostile_roll(hostile) % (sizeof(edges) / sizeof(edges[0]))];
}

static void hostile_poke(struct hostile *hostile)
{
    for (int i = 0; i < 64; i++) {
        const uint32_t edge = hostile_edge(hostile);

        memcpy(hostile->work + hostile_roll(hostile) % (hostile->work_bytes / 4) * 4, &edge, sizeof(edge));
    }
}

static void hostile_flip(struct hostile *hostile)
{
    for (int i = 0; i < 64; i++)
        hostile->work[hostile_roll(hostile) % hostile->work_bytes] ^=
            (unsigned char)(1u << (hostile_roll(hostile) % 8));
}

/* The kernel gives pages of zeros in their place. */
static void hostile_punch(struct hostile *hostile)
{
    const size_t page = hostile_roll(hostile) % (hostile->work_bytes / PAGE_BYTES);

    (void)madvise(hostile->work + page * PAGE_BYTES, PAGE_BYTES, MADV_REMOVE);
}

static void hostile_write(struct hostile *hostile)
{
    size_t length;
    unsigned char *const at = hostile_choose(hostile, &length);

    switch ((enum hostile_way)hostile->scene->way) {
    case HOSTILE_ZERO:
        memset(at, 0, length);
        break;
    case HOSTILE_ONES:
        memset(at, 0xff, length);
        break;
    case HOSTILE_REPLAY:
        hostile_replay(hostile, at, length);
        break;
    case HOSTILE_PIDS:
        hostile_fill(at, length, (uint32_t)hostile->scene->bystander_pid);
        break;
    case HOSTILE_EDGES:
        hostile_poke(hostile);
        break;
    case HOSTILE_BITS:
        hostile_flip(hostile);
        break;
    case HOSTILE_HOLES:
        hostile_punch(hostile);
        break;
    default:
        hostile_fill_randomly(hostile, at, length);
    }
}

/* Whoever writes to one of these eventfds without care sleeps for good, and whoever reads a pipe as long as there is
 * something never gets to anything else. */
static void hostile_tamper(const struct hostile *hostile)
{
    const uint64_t full = UINT64_MAX - 1;
    const char noise[64] = "RDRD";
    struct stat state;

    for (uint32_t lane = 1; lane <= hostile->table->geometry.lanes; lane++) {
        const int fd = hostile->table->wake_fds[lane];

        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
        if (write(fd, &full, sizeof(full)) >= 0 || errno == EAGAIN)
            (void)fcntl(fd, F_SETFL, 0);
    }
    for (int fd = 3; fd < 256; fd++)
        if (fstat(fd, &state) == 0 && S_ISFIFO(state.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
            while (write(fd, noise, sizeof(noise)) > 0)
                continue;
}

static void hostile_take_image(struct hostile *hostile)
{
    const uint32_t image = pfk_u32_add_acq_rel(&hostile->scene->images, 1) % HOSTILE_IMAGES;

    memcpy(hostile->scene->image[image], hostile->work,
           hostile->work_bytes < HOSTILE_IMAGE_BYTES ? hostile->work_bytes : HOSTILE_IMAGE_BYTES);
}

static void *hostile_main(void *argument)
{
    static struct hostile hostile; /* of this process */

    hostile = *(const struct hostile *)argument;
    hostile_take_image(&hostile);
    for (uint32_t i = 0; hostile.scene->times == 0 || i < hostile.scene->times; i++) {
        hostile_write(&hostile);
        (void)pfk_u32_add_acq_rel(&hostile.scene->written, 1);
        if (hostile.scene->tampers != 0)
            hostile_tamper(&hostile);
    }
    return NULL;
}

int hostile_worker_start(struct hostile_scene *scene, const struct prefork_table *table)
{
    static struct hostile orders;
    pthread_t thread;

    orders = (struct hostile){.scene = scene,
                              .table = table,
                              .work = prefork_segment_address(table->work_segment),
                              .work_bytes = prefork_segment_bytes(table->work_segment),
                              .dice = UINT64_C(0x9e3779b97f4a7c15) * (scene->seed + 1)};
    return -pthread_create(&thread, NULL, hostile_main, &orders);
}
