/* SPDX-License-Identifier: BSD-2-Clause */
/* What either of two victims does, and pairs of it. */
#ifndef PAIR_ROLES_H
#define PAIR_ROLES_H

#include <stddef.h>
#include <stdint.h>

struct pair_role {
    const char *name;
    uint32_t jobs;         /* that the master submits for it to claim */
    uint32_t slots;        /* that it holds when its scene begins */
    void (*prepare)(void); /* not stepped; may be NULL */
    void (*act)(void);     /* stepped */
    void (*run)(void);     /* the master, between the two: makes its job complete; may be NULL */
};

extern const struct pair_role pair_roles[];
extern const size_t pair_role_count;

/* The role of that name, or NULL. */
const struct pair_role *pair_role(const char *name);

/* The calls that a stepper wants, for the victim `victim` in that role. */
void pair_cast(uint32_t victim, const struct pair_role *role);
void pair_prepare(void);
void pair_act(void);

#endif
