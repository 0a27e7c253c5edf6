/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/sync.h>: waiting and locking between processes.
 *
 *                     works between         if the owner dies
 *   semaphore         all who map it        a token it had taken is gone; nobody is told
 *   mutex             all who map it        the next to lock is told (-EOWNERDEAD) and must repair the data
 *   file lock         all who open the file the kernel releases it; nobody is told
 *
 * Semaphores and mutexes are plain memory that the caller provides, in a segment that all parties map
 * (<prefork/segment.h>) or in private memory between threads. Aligned to 8 bytes; 64 keeps them from sharing a cache
 * line. They are valid at any address, so each process may map them elsewhere, but they must not be copied or moved.
 * One process initialises them before any other looks: see the initialiser of prefork_segment_adopt.
 *
 * Trust: whoever may write that memory can make every caller wait for ever, and worse for the mutex (see there).
 *
 * fork: a child may use semaphores and mutexes that it inherited; what its parent has locked is its parent's.
 *
 * Deadlines are those of <prefork/clock.h>: CLOCK_MONOTONIC nanoseconds, PREFORK_NO_WAIT, PREFORK_NO_DEADLINE. */
#ifndef PREFORK_SYNC_H
#define PREFORK_SYNC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- semaphore ----------------------------------------------------------------------------------------------- */

/* A process-shared POSIX semaphore: a count of tokens and a place to sleep.
 *
 * It has no owner. A process that is killed between taking a token and putting it back takes the token with it;
 * one that is killed inside post may have raised the value without waking the sleeper. So use it as a hint that
 * says "look", never as the count of anything and never as a lock: keep the truth elsewhere, look again after each
 * wait, wait with a deadline, and post once more after each death. */
struct prefork_semaphore {
    uint64_t opaque[8];
};

/* Starts it with `value` tokens. Nobody may be using it. Returns 0, or -EINVAL (over 2147483647). */
int prefork_semaphore_init(struct prefork_semaphore *semaphore, unsigned value);

/* Ends it. Nobody may be waiting on it. Frees nothing. Returns 0, or -EINVAL (not initialised). */
int prefork_semaphore_destroy(struct prefork_semaphore *semaphore);

/* Adds a token and wakes one sleeper. Any thread, any process, async-signal-safe. Never blocks. Returns 0, or
 * -EOVERFLOW (2147483647 tokens lie there already; none was added). */
int prefork_semaphore_post(struct prefork_semaphore *semaphore);

/* Takes a token; sleeps until there is one or the deadline passes. Returns 0, or -EAGAIN (none there, and the
 * deadline is PREFORK_NO_WAIT), -ETIMEDOUT, -EINTR (a signal handler ran; look at what it may have said, then call
 * again. A handler installed with SA_RESTART may let the wait go on instead). These three do not change the text
 * of prefork_last_error(), for speed. */
int prefork_semaphore_wait(struct prefork_semaphore *semaphore, uint64_t deadline_ns);

/* Returns the tokens that lie there, 0 if somebody sleeps; true at some moment during the call. */
int prefork_semaphore_value(const struct prefork_semaphore *semaphore);

/* ---- mutex --------------------------------------------------------------------------------------------------- */

/* A robust, error-checking, process-shared mutex.
 *
 *     rc = prefork_mutex_lock(&shared->mutex, prefork_deadline_after_ms(1000));
 *     if (rc == -EOWNERDEAD) {
 *         repair(shared);                       // its owner died in the middle: the data may be half written
 *         rc = prefork_mutex_consistent(&shared->mutex);
 *     }
 *     if (rc != 0)
 *         return rc;
 *     … use shared …
 *     prefork_mutex_unlock(&shared->mutex);
 *
 * If the owner dies (its thread ends, or its process is killed) the kernel marks the mutex; the next to lock it gets
 * -EOWNERDEAD *and holds it*. Calling prefork_mutex_consistent without repairing the data only hides the damage.
 * Unlocking without calling it makes the mutex unusable for ever: all get -ENOTRECOVERABLE.
 *
 * NEVER in a process with more rights than another that can write the memory, such as a root master over its
 * workers: the C library keeps list pointers in the object and follows them at lock and unlock, so whoever
 * scribbles there writes into the other process's private memory. Use a file lock or atomics for that. */
struct prefork_mutex {
    uint64_t opaque[8];
};

/* Starts it unlocked. Nobody may be using it. Returns 0, or -ENOMEM, -ENOTSUP (no robust mutexes here). */
int prefork_mutex_init(struct prefork_mutex *mutex);

/* Ends it. Returns 0, or -EBUSY (locked), -EINVAL (not initialised). */
int prefork_mutex_destroy(struct prefork_mutex *mutex);

/* Locks it; sleeps until it is free or the deadline passes. Returns 0 (locked), -EOWNERDEAD (locked; see above),
 * or, not locked: -EAGAIN (held, and the deadline is PREFORK_NO_WAIT), -ETIMEDOUT, -EDEADLK (this thread holds it),
 * -ENOTRECOVERABLE, -EINVAL (not initialised). Signals don't interrupt it. -EAGAIN and -ETIMEDOUT do not change
 * the text of prefork_last_error(). */
int prefork_mutex_lock(struct prefork_mutex *mutex, uint64_t deadline_ns);

/* Says that the data is repaired, after -EOWNERDEAD. Returns 0, or -EINVAL (not locked in that state). */
int prefork_mutex_consistent(struct prefork_mutex *mutex);

/* Unlocks it. Returns 0, or -EPERM (this thread does not hold it), -EINVAL (not initialised). */
int prefork_mutex_unlock(struct prefork_mutex *mutex);

/* ---- file lock ----------------------------------------------------------------------------------------------- */

/* A lock on a file that belongs to the handle (open file description lock, fcntl(2)), not to the process as other
 * fcntl locks do: two handles exclude each other even in two threads of one process, and closing another descriptor
 * of the file does not drop it. One handle for each contender; calls on one handle need the caller's own order.
 *
 * If the owner dies: the kernel closes its descriptors, which releases the lock. Nobody is told, so the guarded data
 * must bear a half-done change (write anew and rename, say).
 *
 * fork: a child shares the handle and so keeps a lock alive that its parent held, even after the parent's death,
 * until the child closes its copy (which does not release its parent's), executes a program or ends. lock and unlock
 * give -ECHILD in a child.
 *
 * A lock file is never removed: one that is removed while locked lets a second party lock a new file of that name. */
struct prefork_file_lock;

/* Many may hold it shared, or one exclusive. */
enum prefork_file_lock_kind { PREFORK_FILE_LOCK_SHARED = 0, PREFORK_FILE_LOCK_EXCLUSIVE = 1 };

/* Opens the file, and makes it with permission bits `mode` if it is absent. A symbolic link is not followed.
 * Close-on-exec. Returns 0 and a handle, or -ENOMEM, -EINVAL (not a regular file), or what open(2) gives. */
int prefork_file_lock_open(const char *path, unsigned mode, struct prefork_file_lock **lock_out);

/* Locks it, shared with other shared holders or exclusive. A handle that holds it already changes the kind; while it
 * waits for that it may have neither. The kernel has no deadline for such locks: with PREFORK_NO_DEADLINE the caller
 * sleeps in the kernel and is served in turn; with a deadline it tries, sleeping between tries 50 us, doubling to
 * 10 ms, so it may notice a release up to 10 ms late and those who sleep in the kernel come first.
 * Returns 0, or -EAGAIN (held, and the deadline is PREFORK_NO_WAIT), -ETIMEDOUT, -EINTR (a signal handler ran),
 * -ESTALE (the file was removed: nobody else can meet this lock; close and open again), -ECHILD, -EINVAL (a kind that
 * is none), -ENOLCK. -EAGAIN, -ETIMEDOUT and -EINTR do not change the text of prefork_last_error(). */
int prefork_file_lock_lock(struct prefork_file_lock *lock, enum prefork_file_lock_kind kind, uint64_t deadline_ns);

/* Releases it; fine when not held. Returns 0, or -ECHILD, -ENOLCK. */
int prefork_file_lock_unlock(struct prefork_file_lock *lock);

/* Releases it (but in a forked child only closes the child's copy), frees the handle and sets it to NULL; NULL in
 * it is fine. Never removes the file. */
void prefork_file_lock_close(struct prefork_file_lock **lock);

#ifdef __cplusplus
}
#endif

#endif
