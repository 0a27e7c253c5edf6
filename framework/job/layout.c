/* SPDX-License-Identifier: BSD-2-Clause */
/* Turns a caller's wishes into a checked geometry and a geometry into offsets.
 * Pure functions: no shared memory is touched here. */
#include "job/layout.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "prefork/segment.h"

#define LAYOUT_MAX_LANES 4094u /* the word has 12 bits; 0 is nobody, 4095 stays unused to catch all ones */
#define LAYOUT_HOT_BYTES (1024u * 1024u)

struct layout_option {
    const char *name;
    uint32_t value, fallback, least, most;
};

static int layout_choose(struct layout_option option, uint32_t *chosen_out)
{
    const uint32_t value = option.value == 0 ? option.fallback : option.value;

    if (value < option.least || value > option.most)
        return pfk_error(EINVAL, "prefork_table_create: %s is %u; choose %u to %u", option.name, value, option.least,
                         option.most);
    *chosen_out = value;
    return 0;
}

static uint32_t layout_round_up(uint32_t bytes)
{
    return (bytes + PFK_CACHE_LINE - 1) & ~(uint32_t)(PFK_CACHE_LINE - 1);
}

static uint32_t layout_order(uint64_t cells)
{
    uint32_t order = PFK_RING_ORDER_MIN;

    while ((UINT64_C(1) << order) < cells)
        order++;
    return order;
}

/* The hot ring holds about 1 MiB of payload, so that a busy table goes round
 * in few slots that stay in the caches. */
static uint32_t layout_hot_order(const struct pfk_geometry *geometry)
{
    size_t cells = LAYOUT_HOT_BYTES / pfk_geometry_payload_bytes(geometry);

    if (cells < 16)
        cells = 16;
    if (cells > 1024)
        cells = 1024;
    if (cells > geometry->slots)
        cells = geometry->slots;
    return layout_order(cells);
}

static int layout_count_lanes(struct pfk_geometry *geometry)
{
    const uint64_t lanes = (uint64_t)geometry->workers * geometry->threads * geometry->generations + geometry->outside +
                           geometry->attached + 1;

    if (lanes > LAYOUT_MAX_LANES)
        return pfk_error(EINVAL,
                         "prefork_table_create: %u workers x %u threads x %u generations + %u outside + %u attached "
                         "producers + 1 make %llu lanes; a table has at most %u",
                         geometry->workers, geometry->threads, geometry->generations, geometry->outside,
                         geometry->attached, (unsigned long long)lanes, LAYOUT_MAX_LANES);
    geometry->lanes = (uint32_t)lanes;
    return 0;
}

int pfk_layout_geometry(const struct prefork_table_options *options, struct pfk_geometry *geometry_out)
{
    struct prefork_table_options asked = {0};
    struct pfk_geometry geometry = {0};

    if (options != NULL) {
        if (options->size < sizeof(options->size))
            return pfk_error(EINVAL,
                             "prefork_table_create: options.size is %zu; set it to sizeof(struct "
                             "prefork_table_options)",
                             options->size);
        memcpy(&asked, options, options->size < sizeof(asked) ? options->size : sizeof(asked));
    }
    const struct {
        struct layout_option option;
        uint32_t *chosen;
    } choices[] = {
        {{"slots", asked.slots, 1024, 2, 1048576}, &geometry.slots},
        {{"request_bytes", asked.request_bytes, 8192, 1, 1u << 30}, &geometry.request_bytes},
        {{"reply_bytes", asked.reply_bytes, 8192, 1, 1u << 30}, &geometry.reply_bytes},
        {{"max_workers", asked.max_workers, 1, 1, 1024}, &geometry.workers},
        {{"threads_per_worker", asked.threads_per_worker, 4, 1, 256}, &geometry.threads},
        {{"generations", asked.generations, 2, 1, 8}, &geometry.generations},
        {{"outside_producers", asked.outside_producers, 1, 1, 1024}, &geometry.outside},
        {{"max_attempts", asked.max_attempts, 3, 1, 254}, &geometry.max_attempts},
        {{"attached_producers", asked.attached_producers, 0, 0, 1024}, &geometry.attached},
    };
    for (size_t i = 0; i < PFK_COUNT_OF(choices); i++) {
        const int rc = layout_choose(choices[i].option, choices[i].chosen);

        if (rc != 0)
            return rc;
    }
    geometry.request_bytes = layout_round_up(geometry.request_bytes);
    geometry.reply_bytes = layout_round_up(geometry.reply_bytes);
    geometry.hot_order = layout_hot_order(&geometry);
    geometry.cold_order = layout_order(geometry.slots);
    *geometry_out = geometry;
    return layout_count_lanes(geometry_out);
}

/* -- the copy in a segment --------------------------------------------------- */

static uint32_t layout_fingerprint(void)
{
    const uint64_t numbers[] = {
        sizeof(struct pfk_work_shm),
        sizeof(struct pfk_lane_shm),
        sizeof(struct pfk_descriptor_shm),
        sizeof(struct prefork_semaphore),
        offsetof(struct pfk_work_shm, room_sem),
        offsetof(struct pfk_work_shm, free_hot),
        offsetof(struct pfk_work_shm, ready),
        offsetof(struct pfk_lane_shm, in_use),
        offsetof(struct pfk_lane_shm, counters),
        offsetof(struct pfk_lane_shm, mailbox),
        offsetof(struct pfk_descriptor_shm, submitter),
        PFK_MAILBOX_ORDER,
        PFK_COUNTERS,
    };
    const uint64_t fingerprint = prefork_segment_fingerprint(numbers, PFK_COUNT_OF(numbers));

    return (uint32_t)(fingerprint ^ fingerprint >> 32);
}

void pfk_layout_publish(struct pfk_geometry_shm *shm, const struct pfk_geometry *geometry, uint64_t magic)
{
    pfk_u32_store_relaxed(&shm->version, PFK_LAYOUT_VERSION);
    pfk_u32_store_relaxed(&shm->fingerprint, layout_fingerprint());
    pfk_u32_store_relaxed(&shm->slots, geometry->slots);
    pfk_u32_store_relaxed(&shm->request_bytes, geometry->request_bytes);
    pfk_u32_store_relaxed(&shm->reply_bytes, geometry->reply_bytes);
    pfk_u32_store_relaxed(&shm->workers, geometry->workers);
    pfk_u32_store_relaxed(&shm->threads, geometry->threads);
    pfk_u32_store_relaxed(&shm->generations, geometry->generations);
    pfk_u32_store_relaxed(&shm->outside, geometry->outside);
    pfk_u32_store_relaxed(&shm->attached, geometry->attached);
    pfk_u32_store_relaxed(&shm->max_attempts, geometry->max_attempts);
    pfk_u32_store_relaxed(&shm->lanes, geometry->lanes);
    pfk_u64_store_release(&shm->magic, magic);
}

void pfk_layout_read(const struct pfk_geometry_shm *shm, struct prefork_table_options *options_out)
{
    *options_out = (struct prefork_table_options){
        .size = sizeof(*options_out),
        .slots = pfk_u32_load_relaxed(&shm->slots),
        .request_bytes = pfk_u32_load_relaxed(&shm->request_bytes),
        .reply_bytes = pfk_u32_load_relaxed(&shm->reply_bytes),
        .max_workers = pfk_u32_load_relaxed(&shm->workers),
        .threads_per_worker = pfk_u32_load_relaxed(&shm->threads),
        .generations = pfk_u32_load_relaxed(&shm->generations),
        .outside_producers = pfk_u32_load_relaxed(&shm->outside),
        .max_attempts = pfk_u32_load_relaxed(&shm->max_attempts),
        .attached_producers = pfk_u32_load_relaxed(&shm->attached),
    };
}

bool pfk_layout_differs(const struct pfk_geometry_shm *shm, const struct pfk_geometry *geometry,
                        struct pfk_layout_difference *difference_out)
{
    const struct pfk_layout_difference fields[] = {
        {"version", pfk_u32_load_relaxed(&shm->version), PFK_LAYOUT_VERSION},
        {"fingerprint", pfk_u32_load_relaxed(&shm->fingerprint), layout_fingerprint()},
        {"slots", pfk_u32_load_relaxed(&shm->slots), geometry->slots},
        {"request_bytes", pfk_u32_load_relaxed(&shm->request_bytes), geometry->request_bytes},
        {"reply_bytes", pfk_u32_load_relaxed(&shm->reply_bytes), geometry->reply_bytes},
        {"workers", pfk_u32_load_relaxed(&shm->workers), geometry->workers},
        {"threads", pfk_u32_load_relaxed(&shm->threads), geometry->threads},
        {"generations", pfk_u32_load_relaxed(&shm->generations), geometry->generations},
        {"outside", pfk_u32_load_relaxed(&shm->outside), geometry->outside},
        {"attached", pfk_u32_load_relaxed(&shm->attached), geometry->attached},
        {"max_attempts", pfk_u32_load_relaxed(&shm->max_attempts), geometry->max_attempts},
        {"lanes", pfk_u32_load_relaxed(&shm->lanes), geometry->lanes},
    };

    for (size_t i = 0; i < PFK_COUNT_OF(fields); i++) {
        if (fields[i].found == fields[i].wanted)
            continue;
        *difference_out = fields[i];
        return true;
    }
    return false;
}

/* -- offsets ------------------------------------------------------------------ */

/* Sets *offset_out to the next place for `count` items of `bytes` and moves on. */
static int layout_place(size_t *end, size_t count, size_t bytes, size_t *offset_out)
{
    size_t length;

    *offset_out = (*end + PFK_CACHE_PAIR - 1) & ~(size_t)(PFK_CACHE_PAIR - 1);
    if (__builtin_mul_overflow(count, bytes, &length) || __builtin_add_overflow(*offset_out, length, end) ||
        *end > SIZE_MAX / 2)
        return pfk_error(EINVAL,
                         "prefork_table_create: %zu x %zu bytes exceed the address space; take fewer or "
                         "smaller slots",
                         count, bytes);
    return 0;
}

int pfk_layout_compute(const struct pfk_geometry *geometry, struct pfk_layout *layout_out)
{
    struct pfk_layout layout = {0};
    size_t end = sizeof(struct pfk_work_shm);
    int rc = layout_place(&end, (size_t)1 << geometry->hot_order, sizeof(uint64_t), &layout.hot_cells);

    if (rc == 0)
        rc = layout_place(&end, (size_t)1 << geometry->cold_order, sizeof(uint64_t), &layout.cold_cells);
    if (rc == 0)
        rc = layout_place(&end, (size_t)1 << geometry->cold_order, sizeof(uint64_t), &layout.ready_cells);
    if (rc == 0)
        rc = layout_place(&end, geometry->lanes, sizeof(struct pfk_lane_shm), &layout.lanes);
    if (rc == 0)
        rc = layout_place(&end, geometry->slots, sizeof(struct pfk_descriptor_shm), &layout.descriptors);
    if (rc == 0)
        rc = layout_place(&end, geometry->slots, pfk_geometry_payload_bytes(geometry), &layout.payloads);
    if (rc != 0)
        return rc;
    layout.work_bytes = end;
    layout.control_bytes = sizeof(struct pfk_control_shm) + geometry->workers * sizeof(struct pfk_seat_shm);
    *layout_out = layout;
    return 0;
}
