/* SPDX-License-Identifier: BSD-2-Clause */
/* Intrusive lists. A node that is in no list points at itself, so membership
 * can be asked for and removal is always allowed. */
#ifndef PFK_IO_LIST_H
#define PFK_IO_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

/* A list's head, or the place of a member in one. */
struct pfk_list {
    struct pfk_list *next;
    struct pfk_list *previous;
};

static inline void pfk_list_init(struct pfk_list *node)
{
    node->next = node;
    node->previous = node;
}

/* Of a head: it has no members. */
static inline bool pfk_list_empty(const struct pfk_list *head)
{
    return head->next == head;
}

/* Of a member: it is in some list. */
static inline bool pfk_list_linked(const struct pfk_list *node)
{
    return node->next != node;
}

static inline void pfk_list_insert(struct pfk_list *previous, struct pfk_list *node)
{
    node->previous = previous;
    node->next = previous->next;
    previous->next->previous = node;
    previous->next = node;
}

static inline void pfk_list_prepend(struct pfk_list *head, struct pfk_list *node)
{
    pfk_list_insert(head, node);
}

static inline void pfk_list_append(struct pfk_list *head, struct pfk_list *node)
{
    pfk_list_insert(head->previous, node);
}

static inline void pfk_list_remove(struct pfk_list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    pfk_list_init(node);
}

/* Moves all members of `from` to the empty list `to`, in their order. */
static inline void pfk_list_take(struct pfk_list *from, struct pfk_list *to)
{
    pfk_list_init(to);
    if (pfk_list_empty(from))
        return;
    to->next = from->next;
    to->previous = from->previous;
    to->next->previous = to;
    to->previous->next = to;
    pfk_list_init(from);
}

/* The member's struct, from its place in a list. */
#define pfk_list_entry(node, type, member) pfk_container_of(node, type, member)

#endif
