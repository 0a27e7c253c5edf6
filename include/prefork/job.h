/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/job.h>: a claimed job, as its handler sees it.
 *
 * A job lies in a slot of the table: two regions of shared memory, the request
 * and the reply. The handler reads the one and writes the other where they
 * lie; nothing is copied. The request is never written by anybody while the
 * job lives, so a job whose worker died is run again on the whole request.
 *
 * Handle, pointers and buffers are valid on the thread that claimed the job,
 * until the handler returns (or prefork_job_complete or _hand_back is called).
 * In a forked child they are not valid: the child has no mapping of the table.
 * Nothing that outlives the handler (a thread, a child, asynchronous I/O) may
 * go on writing into them. */
#ifndef PREFORK_JOB_H
#define PREFORK_JOB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A claimed job. Owned by the lane that claimed it. */
struct prefork_job;

/* Returns the request where it lies in shared memory, *length_out bytes of it.
 * Borrowed, read-only. Never NULL, also when the length is 0. */
const void *prefork_job_request(const struct prefork_job *job, size_t *length_out);

/* Returns the reply region, *capacity_out bytes that the handler may write.
 * Borrowed. It may hold what an earlier job, or an earlier attempt at this
 * one, left there. */
void *prefork_job_reply_buffer(struct prefork_job *job, size_t *capacity_out);

/* Declares the first `length` bytes of the reply buffer to be the reply. The
 * last call before the handler returns counts; none means an empty reply.
 * -EMSGSIZE: `length` exceeds the capacity; what was declared before stays. */
int prefork_job_reply(struct prefork_job *job, size_t length);

/* Declares `length` bytes of the request, from `offset` on, to be the reply:
 * an echo copies nothing. -EINVAL: not within the request; what was declared
 * before stays. */
int prefork_job_reply_request(struct prefork_job *job, size_t offset, size_t length);

/* Returns the job's id, as its submitter got it. Unique within the table. */
uint64_t prefork_job_id(const struct prefork_job *job);

/* Returns how many times the job was claimed, this time included: 1 at first,
 * more after a worker died with it, so (id, attempt) tells a late attempt from
 * its successor. Hand-backs are not counted: a job that was handed back comes
 * again with the same number. */
uint32_t prefork_job_attempt(const struct prefork_job *job);

/* Returns the handler number that the submitter asked for. */
uint32_t prefork_job_handler(const struct prefork_job *job);

#ifdef __cplusplus
}
#endif

#endif
