/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/table.h>: the job table alone.
 *
 * A table is a fixed number of slots in System V shared memory. Participants
 * submit jobs to it and claim jobs from it, from any thread of any process of
 * one family: the process that creates the table, and its children; a durable
 * table (prefork_table_adopt) takes producers from outside, too. Any of
 * them may be killed at any machine instruction; after prefork_table_repair
 * no job is lost, none was run by two at once, and nobody hangs.
 *
 *     submitter: reserve -> write the request -> submit -> wait -> collect
 *     worker:    claim -> read the request, write the reply -> complete
 *
 * Life cycle. The master creates the table before it forks; children inherit
 * the mapping. Each participating thread opens a lane, its own place in the
 * table, and is the only one to use it. The master learns of a child's death
 * by waitpid(2) and calls prefork_table_repair with the child's lanes; until
 * then these lanes can't be opened again.
 *
 * Threads and fork. Calls that take a lane belong to the thread that opened
 * it. Calls that take a table may come from any thread. A table handle works
 * in children forked after its creation; a lane handle does not: in a child
 * every call on it gives -ECHILD.
 *
 * Delivery is at least once: a job whose worker died is claimed again, up to
 * the table's max_attempts. Source of the design: docs/ARCHITECTURE.md,
 * docs/INVARIANTS.md. */
#ifndef PREFORK_TABLE_H
#define PREFORK_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include <prefork/clock.h>
#include <prefork/error.h>
#include <prefork/job.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A process's view of a table. */
struct prefork_table;
/* A participant thread's place in a table. */
struct prefork_lane;

/* The geometry of a table, fixed when it is created. Set `size` to
 * sizeof(struct prefork_table_options); a field that is 0 takes its default. */
struct prefork_table_options {
    size_t size;                 /* of this struct, as the caller compiled it */
    uint32_t slots;              /* 2 ... 1,048,576; default 1,024 */
    uint32_t request_bytes;      /* of each slot, 1 ... 1 GiB, rounded up to 64; default 8,192 */
    uint32_t reply_bytes;        /* of each slot, likewise; default 8,192 */
    uint32_t max_workers;        /* worker processes in one generation, 1 ... 1,024; default 1 */
    uint32_t threads_per_worker; /* threads of one worker that open a lane, 1 ... 256; default 4 */
    uint32_t generations;        /* generations of workers alive at once, 1 ... 8; default 2 */
    uint32_t outside_producers;  /* lanes for threads that are no worker's, up to 1,024; default 1 */
    uint32_t max_attempts;       /* claims of one job before it is given up, 1 ... 254; default 3 */
    uint32_t attached_producers; /* lanes for processes that come by key (prefork_table_attach), up to 1,024;
                                    default 0; needs prefork_table_adopt */
};

/* The master's own lane; the process that repairs the table holds it. */
#define PREFORK_LANE_MASTER UINT32_C(1)

/* Creates a table in two private segments (removed by the kernel with the last
 * process that maps them, whatever killed it) and one eventfd for each lane.
 * `options` may be NULL. The caller destroys *table_out with
 * prefork_table_destroy. Call it before forking the participants.
 *   -EINVAL    an option is out of range; the text names it, or the table
 *              would need more than 4,094 lanes, or more than kernel.shmmax
 *   -EMFILE    fewer descriptors left than lanes; the text has the number
 *   -ENOMEM, -ENOSPC   no memory, or no segment id (kernel.shmmni, shmall)
 *   -ENOSYS    a C library whose semaphores the repair does not know
 * May block while the kernel provides every page of the table. */
int prefork_table_create(const struct prefork_table_options *options, struct prefork_table **table_out);

/* Releases this process's view: mapping, eventfds, memory. The table itself
 * ends with the last process. Lanes that this process opened must be closed.
 * NULL in *table is allowed; *table becomes NULL. A child may call it too. */
void prefork_table_destroy(struct prefork_table **table);

/* Returns the lane number of thread `thread` (from 0) of the worker in seat
 * `seat` (from 0) of generation `generation` (taken modulo the table's
 * generations), or 0 when the table has no such lane. */
uint32_t prefork_table_worker_lane(const struct prefork_table *table, uint32_t seat, uint32_t generation,
                                   uint32_t thread);

/* Returns the lane number of outside producer `index` (from 0), or 0 when the
 * table has no such lane. */
uint32_t prefork_table_outside_lane(const struct prefork_table *table, uint32_t index);

/* -- A table that outlives its master ---------------------------------------- */

/* Where a durable table lies and how its participants are known to live. The
 * table has a System V key, so it stays when all its processes have ended, to a
 * reboot at the longest; accepted jobs stay in it and run under the next master.
 * A lock file beside it tells by byte locks (fcntl(2), F_SETLK) who lives: they
 * belong to a process, are not inherited by fork, and end with the process
 * whatever ended it.
 *
 * The trap of such locks: a process that closes ANY descriptor of the lock file
 * loses all its locks. So open nothing under that path, and beware of functions
 * that close all descriptors; a second opening through this library is refused
 * (-EALREADY). A participant that has lost its lock so is not taken for dead as
 * long as its process runs (where /proc tells); but two masters, or a removal,
 * would no longer be kept apart. Never remove the lock file.
 *
 * All parties name the same key and lock file. Set `size`. */
struct prefork_table_store {
    size_t size;
    int key;               /* not 0, not 0x7066xxxx; see <prefork/segment.h> */
    const char *lock_path; /* on a local file system; made when absent, never removed. Borrowed during the call */
    unsigned mode;         /* permission bits of segment and lock file; default 0600. Existing ones that grant more are
                              refused; 0660 lets processes of the group attach */
    uint32_t owner_uid;    /* whose segment and lock file are trusted beside root's; 0: the caller's own */
    uint32_t wait_ms;      /* adopt: how long living processes of the last master are waited for; default 35,000 */
};

/* What an adoption found and did. Set `size`. */
struct prefork_adoption {
    size_t size;
    int segment_id;        /* as ipcs(1) shows it */
    uint32_t made;         /* 1: there was no table, or an unfinished one */
    uint32_t epoch;        /* how many masters the table has had, this one included */
    uint32_t dead_lanes;   /* lanes of the dead that were repaired */
    uint32_t living_lanes; /* lanes of attached producers that go on */
    uint32_t waiting_jobs; /* accepted jobs that are not running, after that */
    uint32_t redelivered, buried, freed, detached, suspect; /* as in struct prefork_repair */
};

/* Makes a durable table, or takes over the one that is there. The calling
 * process becomes its master, until prefork_table_destroy or its end; its
 * children are the family, as with prefork_table_create. Of an existing table
 * owner, creator, mode and size are judged by the kernel's word before it is
 * attached, then its version and geometry; it is used as it is, or refused.
 * What dead participants left is repaired; jobs whose submitter is dead are
 * detached and run. Processes of the last master that live on (its workers, who
 * end when they miss it, its outside producers) are waited for until they have
 * closed their lanes; nobody is killed. Attached producers just go on.
 * `options` as for prefork_table_create; `adoption_out` may be NULL and is
 * filled in failure, too. Log: a line that tells what was found.
 *   -EINVAL    an option or a field of the store is out of range
 *   -EALREADY  this process has the store open already
 *   -EBUSY     another process is its master, or was quicker to become it; or
 *              processes of the last master held lanes until wait_ms were over:
 *              the text has their pids
 *   -EMSGSIZE  the table that is there is of another size
 *   -EPROTO    it is of another version or geometry, or is no table. For both
 *              the text says what differs and how to remove it
 *   -ENOTRECOVERABLE  words of it hold what no participant writes: some process
 *              wrote where it must not. It is left as it is
 *   -EACCES    segment or lock file are another's, or open to more than `mode`
 *   -ESTALE    the lock file was replaced meanwhile
 *   and errors of prefork_table_create and open(2). Blocks up to wait_ms. */
int prefork_table_adopt(const struct prefork_table_options *options, const struct prefork_table_store *store,
                        struct prefork_table **table_out, struct prefork_adoption *adoption_out);

/* Attaches to a durable table as a producer that need not be the master's
 * child, nor have a master at all just now. Each thread opens a lane with
 * prefork_table_open_attached_lane, submits, waits, collects. Killed at any
 * moment, such a process leaves nothing that the master does not repair; its
 * accepted jobs run. It can't be notified (PREFORK_SUBMIT_NOTIFY and the calls
 * for event loops give -ENOTSUP: it has no eventfd) and can't claim.
 * Jobs are accepted while no master lives, until the table is full, and wait
 * for the next one: so give reserve and wait a deadline, and ask
 * prefork_table_master when it passes. Ends with prefork_table_destroy, lanes
 * closed before.
 *   -ENOENT    no such lock file or segment: no master has made it yet
 *   -EAGAIN    its first master is just making it
 *   -EALREADY  this process has the store open already
 *   -EBUSY     it is just being removed
 *   -EPROTO    it is of another version, or is no table
 *   -EACCES, -EINVAL, -ENOMEM  as prefork_table_adopt */
int prefork_table_attach(const struct prefork_table_store *store, struct prefork_table **table_out);

/* Opens a free lane of an attached table for the calling thread.
 *   -EBUSY   all attached_producers lanes are in use, or their holders died and
 *            the master has not repaired them yet
 *   -EINVAL  the table was not attached; -ENOMEM */
int prefork_table_open_attached_lane(struct prefork_table *table, struct prefork_lane **lane_out);

/* Returns the lane number of attached producer `index` (from 0), or 0. */
uint32_t prefork_table_attached_lane(const struct prefork_table *table, uint32_t index);

/* Tells whether a durable table has a master now, and its pid (0: in a pid
 * namespace that can't be seen from here). Any process that has it open.
 *   -ESRCH   none; -EINVAL: the table is not durable */
int prefork_table_master(const struct prefork_table *table, int *pid_out);

/* Looks for dead attached producers and returns how many lanes, at most `max`,
 * it has written to lanes_out, to be handed to prefork_table_repair. They are
 * kept from everybody until then. The master calls it once a second or so (a
 * pool does); never blocks.
 *   -EPERM   this process is not the master */
int prefork_table_look_for_dead(struct prefork_table *table, uint32_t *lanes_out, uint32_t max);

/* Removes a durable table with all its jobs, unless somebody uses it. The lock
 * file stays.
 *   -ENOENT  there is none
 *   -EBUSY   a process is its master, is attached, or holds a lane: the text
 *            has its pid
 *   -EALREADY, -EACCES, -EINVAL  as prefork_table_adopt */
int prefork_table_remove(const struct prefork_table_store *store);

/* Returns how many lanes the table has; they are numbered from 1. */
uint32_t prefork_table_lanes(const struct prefork_table *table);

/* Returns the capacity of the request and reply region of each slot, in bytes. */
size_t prefork_table_request_bytes(const struct prefork_table *table);
size_t prefork_table_reply_bytes(const struct prefork_table *table);

/* Opens lane `number` for the calling thread, which is then the only one to
 * use *lane_out and closes it with prefork_lane_close.
 *   -EINVAL  the table has no such lane
 *   -EBUSY   the lane is in use, or its last holder died and
 *            prefork_table_repair was not yet called for it
 *   -ENOMEM  no memory for the private part
 *   -ESTALE  a durable table has another master by now */
int prefork_lane_open(struct prefork_table *table, uint32_t number, struct prefork_lane **lane_out);

/* Leaves the table in order: hands back a claimed job, abandons reserved
 * slots, detaches submitted jobs that were not collected (their results are
 * dropped), and makes the lane free for others. NULL in *lane is allowed;
 * *lane becomes NULL. A child that inherited the handle just forgets it. */
void prefork_lane_close(struct prefork_lane **lane);

/* Returns the lane's number; 0 in a forked child. */
uint32_t prefork_lane_number(const struct prefork_lane *lane);

/* -- Submitting ------------------------------------------------------------ */

/* Reserves a slot for one job and returns the job's id. When the table is
 * full, waits until `deadline_ns` for a slot.
 *   -EAGAIN     full, and the deadline is PREFORK_NO_WAIT
 *   -ETIMEDOUT  full until the deadline
 *   -EINTR      prefork_lane_interrupt was called
 *   -ECHILD     the lane belongs to the parent process */
int prefork_lane_reserve(struct prefork_lane *lane, uint64_t deadline_ns, uint64_t *job_out);

/* Returns the request region of a reserved slot, *capacity_out bytes, to be
 * written before submit; NULL when `job` is not reserved by this lane. */
void *prefork_lane_request_buffer(struct prefork_lane *lane, uint64_t job, size_t *capacity_out);

/* How a job is submitted. */
enum {
    /* Nobody will collect it: its slot is freed as soon as it is complete. */
    PREFORK_SUBMIT_DETACHED = 1,
    /* Its completion is announced by prefork_lane_wake_fd and found by
     * prefork_lane_next; without it the submitter calls prefork_lane_wait. */
    PREFORK_SUBMIT_NOTIFY = 2
};

/* What goes with a job. Set `size` to sizeof(struct prefork_submission). */
struct prefork_submission {
    size_t size;          /* of this struct, as the caller compiled it */
    size_t request_bytes; /* how much of the request buffer is the request */
    uint32_t handler;     /* a number for the worker, 0 ... 65,535 */
    uint32_t flags;       /* PREFORK_SUBMIT_* */
    void *user;           /* given back in struct prefork_result; private, never in shared memory */
};

/* Submits a reserved job: from here on it is accepted, and ends exactly once.
 * A worker that sleeps is woken. The request must not be touched any more.
 *   -EMSGSIZE  request_bytes exceeds the capacity; the job stays reserved
 *   -EINVAL    `job` is not reserved by this lane, or a field is out of range
 *   -ECHILD    the lane belongs to the parent process
 *   -ESTALE    the slot no longer holds the job: shared memory was damaged */
int prefork_lane_submit(struct prefork_lane *lane, uint64_t job, const struct prefork_submission *submission);

/* Reserves, copies `request` and submits, in one call; submission->request_bytes
 * is the length. Errors of prefork_lane_reserve and _submit; -EMSGSIZE comes
 * before a slot is taken or a byte is written. */
int prefork_lane_put(struct prefork_lane *lane, const void *request, const struct prefork_submission *submission,
                     uint64_t deadline_ns, uint64_t *job_out);

/* Gives a reserved slot back without submitting it.
 *   -EINVAL  `job` is not reserved by this lane
 *   -ESTALE  the slot no longer holds the job: shared memory was damaged */
int prefork_lane_abandon(struct prefork_lane *lane, uint64_t job);

/* How a job ended. */
struct prefork_result {
    uint64_t job;         /* its id */
    void *user;           /* as submitted */
    const void *reply;    /* in the slot; borrowed until collect or detach */
    size_t reply_bytes;   /* clamped to the slot, whatever the worker wrote */
    int status;           /* 0, or the handler's negative code; -EOWNERDEAD:
                             max_attempts workers died with it */
    uint32_t attempts;    /* how often it was claimed, hand-backs not counted */
};

/* Waits until the job is complete and fills *result_out; the slot stays the
 * submitter's until prefork_lane_collect.
 *   -EAGAIN     not complete, and the deadline is PREFORK_NO_WAIT
 *   -ETIMEDOUT  not complete at the deadline; it can be waited for again
 *   -EINTR      prefork_lane_interrupt was called
 *   -EINVAL     `job` is not one that this lane submitted and may collect
 *   -ESTALE     the slot no longer holds the job: shared memory was damaged */
int prefork_lane_wait(struct prefork_lane *lane, uint64_t job, uint64_t deadline_ns,
                      struct prefork_result *result_out);

/* Gives the slot of a complete job back; result and reply end here.
 *   -EBUSY   not complete yet
 *   -EINVAL, -ESTALE  as prefork_lane_wait */
int prefork_lane_collect(struct prefork_lane *lane, uint64_t job);

/* Gives up the interest in a submitted job: it still runs, its result is
 * dropped and its slot freed. Also for a job that is complete already.
 *   -EINVAL, -ESTALE  as prefork_lane_wait */
int prefork_lane_detach(struct prefork_lane *lane, uint64_t job);

/* -- Completions and room in an event loop --------------------------------- */

/* Returns the lane's eventfd, to be watched for reading: it becomes readable
 * when prefork_lane_next or prefork_lane_reserve may succeed after it said
 * -EAGAIN. Borrowed; the loop must not close it. Never fails on a lane that is
 * this process's, -ECHILD otherwise. */
int prefork_lane_wake_fd(const struct prefork_lane *lane);

/* Returns the next complete job among those submitted with
 * PREFORK_SUBMIT_NOTIFY, each once; collect or detach it when done with it.
 *   0        *result_out is filled
 *   1        none, but a slot may be free: the answer to prefork_lane_want_room
 *   -EAGAIN  none; the eventfd is cleared and tells when to look again
 * The loop is: when the eventfd is readable, call while it returns 0; reserve
 * again if it returned 1. A process that is stopped (SIGSTOP) just before it
 * signals delays the signal: a loop that has jobs in flight, or asked for room,
 * calls it once a second besides. */
int prefork_lane_next(struct prefork_lane *lane, struct prefork_result *result_out);

/* After a refused reserve: asks to be woken through the eventfd when a slot is
 * free; prefork_lane_next then returns 1. Returns 1 when a slot seems free
 * already (try again now), else 0. One request, one answer; it may be in vain:
 * then ask again. A successful reserve takes the request back. */
int prefork_lane_want_room(struct prefork_lane *lane);

/* Makes the lane's present or next blocking call (reserve, claim, wait) return
 * -EINTR, soon: a sleeper looks at it when it is woken, within about a second
 * at the worst; repeat the call to hurry it. Any thread of the process, and
 * signal handlers. */
void prefork_lane_interrupt(struct prefork_lane *lane);

/* -- Working --------------------------------------------------------------- */

/* Claims the oldest job, waiting for one until `deadline_ns`. A lane holds one
 * job at a time; *job_out is valid until it is completed or handed back.
 *   -EAGAIN     none, and the deadline is PREFORK_NO_WAIT
 *   -ETIMEDOUT  none until the deadline
 *   -EINTR      prefork_lane_interrupt was called
 *   -EBUSY      the lane holds a job already
 *   -ENOTSUP    the process came by key: it produces only
 *   -ECHILD     the lane belongs to the parent process */
int prefork_lane_claim(struct prefork_lane *lane, uint64_t deadline_ns, struct prefork_job **job_out);

/* Ends the job with `status` (0, or a negative code for the submitter) and the
 * reply that was declared; the submitter is told. The handle ends here.
 *   -EINVAL  `status` is positive; the job stays claimed
 *   -ESTALE  the job was taken away meanwhile (fencing); it counts as not done
 *   -ECHILD  the job belongs to the parent process */
int prefork_job_complete(struct prefork_job *job, int status);

/* Gives the job back to be claimed by another; doesn't count as an attempt.
 * The handle ends here.
 *   -ESTALE  the job was taken away meanwhile (fencing)
 *   -ECHILD  the job belongs to the parent process */
int prefork_job_hand_back(struct prefork_job *job);

/* -- The master's duties ---------------------------------------------------- */

/* What a repair found. Set `size` to sizeof(struct prefork_repair). */
struct prefork_repair {
    size_t size;
    uint32_t redelivered; /* claimed jobs of the dead, ready again */
    uint32_t buried;      /* jobs given up: max_attempts workers died with them */
    uint32_t freed;       /* slots that the dead had reserved, or that only they could collect */
    uint32_t detached;    /* live jobs whose submitter is dead; they will run */
    uint32_t deferred;    /* slots that kept moving: call again with the same lanes */
    uint32_t suspect;     /* words that no participant writes: shared memory was damaged */
};

/* Pays the debts of dead participants: makes their claimed jobs claimable,
 * frees what only they could free, wakes everybody who might have waited for
 * them. `lanes` holds the numbers of lanes whose process has been reaped
 * (waitpid), or whose thread has ended without closing them; calling it for a
 * living one breaks the promise that no job is run by two at once.
 * Afterwards these lanes can be opened again, unless out->deferred is not 0.
 * Idempotent: killed in the middle, it is simply run again. One caller at a
 * time, the master; never blocks, bounded in time (about 5 ns for each slot).
 * `repair_out` may be NULL.
 *   -EINVAL  no such lane; -EPERM: this process came by key */
int prefork_table_repair(struct prefork_table *table, const uint32_t *lanes, uint32_t n_lanes,
                         struct prefork_repair *repair_out);

/* Walks a table that nobody is using and checks every invariant of
 * docs/INVARIANTS.md. Returns 0, or the number of the first broken invariant;
 * prefork_last_error() then names the slot, lane or cell, and what was found.
 * Reads only, trusts nothing it reads, bounded in time. While participants
 * are active its answer means nothing. -ENOMEM: no memory for its notes. */
int prefork_table_verify(const struct prefork_table *table);

/* Sums over all lanes since the table was created; each is exact to within one
 * event for each participant that was killed. Set `size` to
 * sizeof(struct prefork_statistics). */
struct prefork_statistics {
    size_t size;
    uint64_t submitted;    /* accepted jobs */
    uint64_t claimed;      /* claims, those of redelivered jobs included */
    uint64_t completed;    /* jobs completed by a worker, whatever their status */
    uint64_t failed;       /* of these, with a status other than 0 */
    uint64_t handed_back;  /* claims given back */
    uint64_t collected;    /* results taken or dropped by their submitter */
    uint64_t refused;      /* reserves that found the table full */
    uint64_t slept;        /* waits of claimers, submitters and reservers in the kernel */
    uint64_t woken;        /* posts and eventfd writes that woke somebody */
    uint64_t redelivered;  /* claimed jobs taken over from the dead */
    uint64_t buried;       /* jobs given up after max_attempts deaths */
    uint64_t repairs;      /* passes of prefork_table_repair */
    uint64_t suspect;      /* damaged words that repairs met */
    uint32_t slots;        /* slots by state, from a scan just now; they add up */
    uint32_t free_slots;   /* FREE, and on the way there */
    uint32_t reserved_slots;
    uint32_t ready_slots;  /* READY, and on the way there */
    uint32_t claimed_slots;
    uint32_t done_slots;
    /* Latencies of one job in 64: counts by floor(log2(nanoseconds)). */
    uint64_t waited_log2_ns[32]; /* from submit to claim */
    uint64_t ran_log2_ns[32];    /* from claim to complete */
};

/* Fills *statistics_out. Any process of the family, any thread; never blocks. */
int prefork_table_statistics(const struct prefork_table *table, struct prefork_statistics *statistics_out);

#ifdef __cplusplus
}
#endif

#endif
