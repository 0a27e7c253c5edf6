/* SPDX-License-Identifier: BSD-2-Clause */
/* The mark `[worker PID] ` that a server may put in front of a line, and the
 * count of lines by the process that answered them. */
#ifndef BENCH_REPLY_TAG_H
#define BENCH_REPLY_TAG_H

#include <stdbool.h>
#include <stdint.h>

/* Reader of one mark, fed byte by byte, since it may arrive in pieces. */
struct reply_tag {
    uint32_t length; /* bytes of the mark seen so far */
    uint32_t pid;
    bool closed; /* the ']' was seen; a blank must follow */
    bool passed; /* kept by the caller: the line itself comes now */
};

enum reply_tag_state { REPLY_TAG_BAD, REPLY_TAG_MORE, REPLY_TAG_COMPLETE };

/* Takes the next byte; a zeroed reader expects the '['. */
enum reply_tag_state reply_tag_feed(struct reply_tag *tag, unsigned char byte);

/* Room for every pid that a long kill test meets; later ones are counted
 * together, not lost. A power of two. */
#define TAG_COUNT_CAPACITY 8192

struct tag_count_entry {
    uint32_t pid; /* 0: free */
    uint64_t lines;
};

struct tag_count {
    uint32_t distinct;
    uint64_t lines_of_others;
    struct tag_count_entry entries[TAG_COUNT_CAPACITY];
};

void tag_count_add(struct tag_count *count, uint32_t pid);

/* Sorts the entries, most lines first; the count can't be added to after. */
void tag_count_sort(struct tag_count *count);

#endif
