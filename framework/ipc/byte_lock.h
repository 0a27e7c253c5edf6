/* SPDX-License-Identifier: BSD-2-Clause */
/* Locks on the bytes of one file that belong to a process (fcntl(2), F_SETLK): who lives, said by the kernel.
 *
 * Not inherited by fork, dropped at the process's end whatever ended it (after its memory map: a free byte means that
 * no thread of the holder runs any more), and F_GETLK tells the holder's pid.
 *
 * Their trap: closing any descriptor of the file drops all locks that the process has on it. So a process has one
 * descriptor of a lock file; this file keeps the list and refuses a second one. What it can't see (the program opens
 * and closes the file by itself) is why nobody is taken for dead by a free byte alone.
 *
 * fork: a child inherits the handle and the descriptor and holds no byte; it takes its own by them. Threads: any; two
 * threads of one process exclude each other here, which the kernel would not do for them. */
#ifndef PFK_IPC_BYTE_LOCK_H
#define PFK_IPC_BYTE_LOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct pfk_byte_lock;

/* Bytes that can be locked: 0 … */
#define PFK_BYTE_LOCK_BYTES UINT32_C(4224)

enum pfk_byte_lock_kind { PFK_BYTE_LOCK_SHARED, PFK_BYTE_LOCK_EXCLUSIVE };

/* What open asks for. */
struct pfk_byte_lock_options {
    const char *path;
    unsigned mode;      /* a new file gets these permission bits; an existing one may not grant more */
    uint32_t owner_uid; /* whose it may be, beside root's */
    bool create;        /* make it if it is absent */
};

/* Opens the lock file. 0; with the text set: -EALREADY (this process has it open), -EACCES (another's, or grants more
 * than `mode`), -EINVAL (not a regular file), -ENOENT, -ENOMEM and what open(2) gives. */
int pfk_byte_lock_open(const struct pfk_byte_lock_options *options, struct pfk_byte_lock **lock_out);

/* Drops this process's locks and closes its descriptor. Harms nobody else, in a forked child too. */
void pfk_byte_lock_close(struct pfk_byte_lock **lock);

/* Locks a byte; never waits. 0; -EALREADY: this process holds it; -EBUSY: another one does, *holder_out is its pid (0
 * when that can't be seen from here). No text for these. Else -errno with the text set. */
int pfk_byte_lock_take(struct pfk_byte_lock *lock, uint32_t byte, enum pfk_byte_lock_kind kind, pid_t *holder_out);

/* Unlocks a byte if this process holds it. */
void pfk_byte_lock_drop(struct pfk_byte_lock *lock, uint32_t byte);

/* Whether this process holds the byte. */
bool pfk_byte_lock_has(struct pfk_byte_lock *lock, uint32_t byte);

/* Asks whether another process holds one of `count` bytes from `byte` on: the pid of one, or 0 when it can't be seen
 * from here; -ESRCH when nobody does; else -errno. No text. */
pid_t pfk_byte_lock_holder(const struct pfk_byte_lock *lock, uint32_t byte, uint32_t count);

/* 0 while `path` still leads to the file that is locked; else -ESTALE with the text set: who comes later would lock
 * another one. */
int pfk_byte_lock_check_name(const struct pfk_byte_lock *lock, const char *path);

#endif
