/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/header.h"

static void header_write_world(struct pfk_header_shm *header)
{
    const struct pfk_process_world here = pfk_process_here();

    pfk_u64_store_relaxed(&header->boot_id[0], here.boot_id[0]);
    pfk_u64_store_relaxed(&header->boot_id[1], here.boot_id[1]);
    pfk_u64_store_relaxed(&header->pid_namespace, here.pid_namespace);
}

void pfk_header_begin(struct pfk_header_shm *header)
{
    header_write_world(header);
    pfk_u64_store_release(&header->owner, pfk_process_self()); /* who reads it reads its world, too */
}

void pfk_header_finish(struct pfk_header_shm *header, const struct prefork_segment_layout *layout, size_t bytes)
{
    pfk_u64_store_relaxed(&header->bytes, bytes);
    pfk_u64_store_relaxed(&header->fingerprint, layout->fingerprint);
    pfk_u32_store_relaxed(&header->version, layout->version);
    /* orders header and user area before the magic; pairs with pfk_header_read, without it a reader that sees the
     * magic could see zeroes behind it */
    pfk_u64_store_release(&header->magic, PFK_HEADER_MAGIC);
}

void pfk_header_read(const struct pfk_header_shm *header, struct pfk_header *header_out)
{
    header_out->magic = pfk_u64_load_acquire(&header->magic);
    header_out->owner = pfk_u64_load_acquire(&header->owner);
    header_out->world.boot_id[0] = pfk_u64_load_relaxed(&header->boot_id[0]);
    header_out->world.boot_id[1] = pfk_u64_load_relaxed(&header->boot_id[1]);
    header_out->world.pid_namespace = pfk_u64_load_relaxed(&header->pid_namespace);
    header_out->bytes = pfk_u64_load_relaxed(&header->bytes);
    header_out->fingerprint = pfk_u64_load_relaxed(&header->fingerprint);
    header_out->version = pfk_u32_load_relaxed(&header->version);
}

bool pfk_header_take(struct pfk_header_shm *header, uint64_t owner)
{
    uint64_t expected = owner;

    /* The world comes first. Should the taker die before its CAS, the dead owner stays named, now in the taker's
     * world: the same one, unless the memory was carried over from another boot or namespace, and then the pair
     * names a process that never was. Either way it is dead. */
    if (pfk_u64_load_acquire(&header->owner) != owner)
        return false;
    header_write_world(header);
    return pfk_u64_cas_acq_rel(&header->owner, &expected, pfk_process_self());
}

bool pfk_header_is_finished(const struct pfk_header_shm *header)
{
    return pfk_u64_load_acquire(&header->magic) == PFK_HEADER_MAGIC;
}

void pfk_header_retire(struct pfk_header_shm *header)
{
    pfk_u64_store_release(&header->magic, 0);
    /* orders the store before the look at the mappings; the joiner's half is shmat, a system call that takes the
     * lock under which they are counted */
    pfk_fence_seq_cst();
}

void pfk_header_revive(struct pfk_header_shm *header, uint64_t owner)
{
    /* the magic first: without it a dead owner means "unfinished", and somebody might mend what others use */
    pfk_u64_store_release(&header->magic, PFK_HEADER_MAGIC);
    pfk_u64_store_release(&header->owner, owner);
}
