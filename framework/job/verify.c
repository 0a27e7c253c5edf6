/* SPDX-License-Identifier: BSD-2-Clause */
/* Walks a table that is at rest and names the first broken invariant of
 * docs/INVARIANTS.md. Reads only; every number it reads is checked against the
 * private geometry before it is used. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "job/magazine.h"
#include "job/table.h"

struct verify {
    const struct prefork_table *table;
    uint8_t *in_free, *in_ready; /* entries that name each slot, counted up to 255 */
};

/* Sets the text and returns the number, so that a check reads
 * `return verify_broken(7, "slot %u …", i)`. */
static int verify_broken(int number, const char *format, ...) PFK_PRINTF(2, 3);

static int verify_broken(int number, const char *format, ...)
{
    char finding[256];
    va_list values;

    va_start(values, format);
    (void)vsnprintf(finding, sizeof(finding), format, values);
    va_end(values);
    (void)pfk_error(0, "prefork_table_verify: I-%d: %s", number, finding);
    return number;
}

/* I-1 */
static int verify_geometry(const struct pfk_geometry_shm *shm, const struct pfk_geometry *geometry, uint64_t magic,
                           const char *segment)
{
    const uint64_t found_magic = pfk_u64_load_acquire(&shm->magic);
    struct pfk_layout_difference difference;

    if (found_magic != magic)
        return verify_broken(1, "the %s segment's magic is %llx", segment, (unsigned long long)found_magic);
    if (pfk_layout_differs(shm, geometry, &difference))
        return verify_broken(1, "the %s segment says %s %u; it was made with %u", segment, difference.name,
                             difference.found, difference.wanted);
    return 0;
}

static bool verify_state_has_owner(uint32_t state)
{
    return state == PFK_RESERVED || state == PFK_QUEUING || state == PFK_CLAIMED || state == PFK_FREEING ||
           state == PFK_SPARE;
}

/* I-2, I-3 */
static int verify_word(const struct verify *verify, uint32_t i, uint64_t word)
{
    const uint32_t state = pfk_word_state(word), owner = pfk_word_owner(word);

    if (state < PFK_FREE || state > PFK_LAST_STATE || (pfk_word_flags(word) & ~(uint32_t)PFK_FLAGS) != 0)
        return verify_broken(2, "slot %u: word %016llx has no known state or flags", i, (unsigned long long)word);
    if (verify_state_has_owner(state) != pfk_table_is_lane(verify->table, owner))
        return verify_broken(3, "slot %u is %s and its owner is lane %u", i, pfk_state_name(state), owner);
    if (!verify_state_has_owner(state) && owner != PFK_NOBODY)
        return verify_broken(3, "slot %u is %s and its owner is lane %u", i, pfk_state_name(state), owner);
    return 0;
}

/* I-4, I-5, I-6, I-7 */
static int verify_entries(const struct verify *verify, uint32_t i, uint64_t word)
{
    const uint32_t state = pfk_word_state(word);
    const uint8_t in_free = verify->in_free[i], in_ready = verify->in_ready[i];

    if ((state == PFK_FREEING && in_free == 0) || (state == PFK_QUEUING && in_ready == 0))
        return verify_broken(4, "slot %u is %s and lane %u still owes its entry", i, pfk_state_name(state),
                             pfk_word_owner(word));
    if (pfk_word_is_free(word) && in_free != 1)
        return verify_broken(5, "slot %u is %s and has %u entries in the free rings", i, pfk_state_name(state),
                             in_free);
    if (pfk_word_is_claimable(word) && in_ready != 1)
        return verify_broken(6, "slot %u is %s and has %u entries in the ready ring", i, pfk_state_name(state),
                             in_ready);
    if ((!pfk_word_is_free(word) && in_free != 0) || (!pfk_word_is_claimable(word) && in_ready != 0))
        return verify_broken(7, "slot %u is %s and has %u free and %u ready entries", i, pfk_state_name(state), in_free,
                             in_ready);
    return 0;
}

static bool verify_has_job(uint32_t state)
{
    return state == PFK_QUEUING || state == PFK_READY || state == PFK_CLAIMED || state == PFK_DONE;
}

/* I-10, I-11, I-12 */
static int verify_descriptor(const struct verify *verify, uint32_t i, uint64_t word)
{
    const struct pfk_geometry *const geometry = &verify->table->geometry;
    const struct pfk_descriptor_shm *const descriptor = pfk_table_descriptor(verify->table, i);
    const uint32_t state = pfk_word_state(word);
    const uint32_t submitter = pfk_u32_load_relaxed(&descriptor->submitter);
    const uint32_t request_bytes = pfk_u32_load_relaxed(&descriptor->request_bytes);
    const uint64_t reply_end = (uint64_t)pfk_u32_load_relaxed(&descriptor->reply_offset) +
                               pfk_u32_load_relaxed(&descriptor->reply_bytes);
    const uint32_t attempts = (pfk_word_attempt(word) - pfk_u32_load_relaxed(&descriptor->hand_backs)) & 255;

    if (!verify_has_job(state))
        return 0;
    if (!pfk_table_is_lane(verify->table, submitter))
        return verify_broken(10, "slot %u is %s and its submitter is lane %u", i, pfk_state_name(state), submitter);
    if (request_bytes > geometry->request_bytes)
        return verify_broken(11, "slot %u: a request of %u bytes in %u", i, request_bytes, geometry->request_bytes);
    if (state == PFK_DONE && reply_end > pfk_geometry_payload_bytes(geometry))
        return verify_broken(11, "slot %u: a reply that ends at byte %llu of %zu", i, (unsigned long long)reply_end,
                             pfk_geometry_payload_bytes(geometry));
    if (attempts > geometry->max_attempts || (state == PFK_CLAIMED && attempts == 0) ||
        (pfk_word_is_claimable(word) && attempts >= geometry->max_attempts))
        return verify_broken(12, "slot %u is %s after %u attempts of %u", i, pfk_state_name(state), attempts,
                             geometry->max_attempts);
    return 0;
}

/* What nobody but the owner, or repair, can move on. */
static bool verify_needs_owner(uint32_t state)
{
    return state == PFK_RESERVED || state == PFK_CLAIMED || state == PFK_SPARE;
}

/* I-13 */
static int verify_holders(const struct verify *verify, uint32_t i, uint64_t word)
{
    const uint32_t owner = pfk_word_owner(word);
    const uint32_t submitter = pfk_u32_load_relaxed(&pfk_table_descriptor(verify->table, i)->submitter);
    const bool collectable = verify_has_job(pfk_word_state(word)) && (pfk_word_flags(word) & PFK_DETACHED) == 0;

    if (verify_needs_owner(pfk_word_state(word)) &&
        pfk_u32_load_relaxed(&pfk_table_lane(verify->table, owner)->in_use) == 0)
        return verify_broken(13, "slot %u is %s of lane %u, which nobody uses", i,
                             pfk_state_name(pfk_word_state(word)), owner);
    if (collectable && pfk_table_is_lane(verify->table, submitter) && /* read anew: it may have changed */
        pfk_u32_load_relaxed(&pfk_table_lane(verify->table, submitter)->in_use) == 0)
        return verify_broken(13, "slot %u is %s for lane %u, which nobody uses", i,
                             pfk_state_name(pfk_word_state(word)), submitter);
    return 0;
}

/* I-15 */
static int verify_spare(const struct verify *verify, uint32_t i, uint64_t word)
{
    if (pfk_word_state(word) != PFK_SPARE || pfk_magazine_names(verify->table, pfk_word_owner(word), i, word))
        return 0;
    return verify_broken(15, "slot %u is SPARE and the magazine of lane %u has no hint at it", i, pfk_word_owner(word));
}

/* I-8, I-9; counts the entries that name each slot. */
static int verify_ring(const struct verify *verify, const struct pfk_ring *ring, const char *name, uint8_t *entries)
{
    const uint64_t cells = pfk_ring_cells(ring);
    const uint64_t tail = pfk_ring_end(ring), head = pfk_ring_first(ring);

    if (tail - head > cells)
        return verify_broken(8, "%s: head %llu and tail %llu of %llu cells", name, (unsigned long long)head,
                             (unsigned long long)tail, (unsigned long long)cells);
    /* From head to tail the cells are full; the others wait for their next round. */
    for (uint64_t ticket = head; ticket - head < cells; ticket++) {
        const uint64_t cell = pfk_u64_load_relaxed(pfk_ring_cell_at(ring, ticket));
        const uint32_t index = pfk_ring_cell_index(cell);

        if (pfk_ring_cell_round(cell) != pfk_ring_round(ring, ticket) ||
            (index != PFK_RING_EMPTY) != (ticket - head < tail - head))
            return verify_broken(8, "%s: cell %llu of ticket %llu holds round %llu, index %x", name,
                                 (unsigned long long)(ticket & (cells - 1)), (unsigned long long)ticket,
                                 (unsigned long long)pfk_ring_cell_round(cell), index);
        if (index == PFK_RING_EMPTY)
            continue;
        if (index >= verify->table->geometry.slots)
            return verify_broken(9, "%s: cell %llu names slot %u of %u", name,
                                 (unsigned long long)(ticket & (cells - 1)), index, verify->table->geometry.slots);
        if (entries[index] < UINT8_MAX)
            entries[index]++;
    }
    return 0;
}

static int verify_rings(const struct verify *verify)
{
    int broken = verify_ring(verify, &verify->table->rings.free_hot, "free_hot", verify->in_free);

    if (broken == 0)
        broken = verify_ring(verify, &verify->table->rings.free_cold, "free_cold", verify->in_free);
    if (broken == 0)
        broken = verify_ring(verify, &verify->table->rings.ready, "ready", verify->in_ready);
    return broken;
}

/* I-14 */
static int verify_lane(const struct verify *verify, uint32_t number)
{
    const struct pfk_lane_shm *const lane = pfk_table_lane(verify->table, number);
    const struct pfk_ring mailbox = pfk_table_mailbox(verify->table, number);
    const uint64_t hints = pfk_ring_length(&mailbox);

    if (pfk_u32_load_relaxed(&lane->armed) == 0)
        return 0;
    if (hints != 0)
        return verify_broken(14, "lane %u sleeps and its mailbox holds %llu hints", number, (unsigned long long)hints);
    if (pfk_u32_load_relaxed(&lane->rescan) != 0)
        return verify_broken(14, "lane %u sleeps and was asked to rescan", number);
    return 0;
}

static int verify_slot(const struct verify *verify, uint32_t i)
{
    const uint64_t word = pfk_u64_load_acquire(&pfk_table_descriptor(verify->table, i)->word);
    int broken = verify_word(verify, i, word);

    if (broken == 0)
        broken = verify_entries(verify, i, word);
    if (broken == 0)
        broken = verify_descriptor(verify, i, word);
    if (broken == 0)
        broken = verify_holders(verify, i, word);
    if (broken == 0)
        broken = verify_spare(verify, i, word);
    return broken;
}

static int verify_all(const struct verify *verify)
{
    const struct prefork_table *const table = verify->table;
    int broken = verify_geometry(&table->work->geometry, &table->geometry, PFK_WORK_MAGIC, "work");

    if (broken == 0 && table->control != NULL) /* a process that came by key has none */
        broken = verify_geometry(&table->control->geometry, &table->geometry, PFK_CONTROL_MAGIC, "control");
    if (broken == 0)
        broken = verify_rings(verify);
    for (uint32_t i = 0; broken == 0 && i < table->geometry.slots; i++)
        broken = verify_slot(verify, i);
    for (uint32_t lane = 1; broken == 0 && lane <= table->geometry.lanes; lane++)
        broken = verify_lane(verify, lane);
    return broken;
}

PFK_EXPORT int prefork_table_verify(const struct prefork_table *table)
{
    struct verify verify = {.table = table};
    uint8_t *const entries = calloc(2, table->geometry.slots);
    int broken;

    if (entries == NULL)
        return pfk_error(ENOMEM, "prefork_table_verify: no memory for notes on %u slots", table->geometry.slots);
    verify.in_free = entries;
    verify.in_ready = entries + table->geometry.slots;
    broken = verify_all(&verify);
    free(entries);
    return broken;
}
