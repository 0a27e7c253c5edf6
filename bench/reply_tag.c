/* SPDX-License-Identifier: BSD-2-Clause */
#include "reply_tag.h"

#include <stdlib.h>
#include <string.h>

static const char TAG_START[] = "[worker ";
#define TAG_START_BYTES (sizeof(TAG_START) - 1)
/* A pid has at most seven digits (kernel limit 4194304). */
#define TAG_MAX_PID_BYTES 7

/* A table that is nearly full makes each look-up long. */
#define TAG_COUNT_MAX_DISTINCT (TAG_COUNT_CAPACITY / 4 * 3)

enum reply_tag_state reply_tag_feed(struct reply_tag *tag, unsigned char byte)
{
    const uint32_t at = tag->length++;

    if (tag->closed)
        return byte == ' ' ? REPLY_TAG_COMPLETE : REPLY_TAG_BAD;
    if (at < TAG_START_BYTES)
        return byte == (unsigned char)TAG_START[at] ? REPLY_TAG_MORE : REPLY_TAG_BAD;
    if (byte == ']' && tag->pid != 0) {
        tag->closed = true;
        return REPLY_TAG_MORE;
    }
    if (byte < '0' || byte > '9' || at >= TAG_START_BYTES + TAG_MAX_PID_BYTES)
        return REPLY_TAG_BAD;
    tag->pid = tag->pid * 10 + (uint32_t)(byte - '0');
    return REPLY_TAG_MORE;
}

static struct tag_count_entry *tag_count_find(struct tag_count *count, uint32_t pid)
{
    uint32_t at = (pid * UINT32_C(2654435761)) & (TAG_COUNT_CAPACITY - 1);

    while (count->entries[at].pid != 0 && count->entries[at].pid != pid)
        at = (at + 1) & (TAG_COUNT_CAPACITY - 1);
    return &count->entries[at];
}

void tag_count_add(struct tag_count *count, uint32_t pid)
{
    struct tag_count_entry *entry = tag_count_find(count, pid);

    if (entry->pid == 0) {
        if (count->distinct == TAG_COUNT_MAX_DISTINCT) {
            count->lines_of_others++;
            return;
        }
        entry->pid = pid;
        count->distinct++;
    }
    entry->lines++;
}

static int tag_count_compare(const void *left, const void *right)
{
    const struct tag_count_entry *a = left, *b = right;

    return (a->lines < b->lines) - (a->lines > b->lines);
}

void tag_count_sort(struct tag_count *count)
{
    qsort(count->entries, TAG_COUNT_CAPACITY, sizeof(count->entries[0]), tag_count_compare);
}
