/* SPDX-License-Identifier: BSD-2-Clause */
/* <prefork/segment.h>: System V shared memory.
 *
 * Three ways in, from the lowest:
 *
 *   the four steps      prefork_segment_create or _open, _attach, _detach, _remove
 *   a private segment   prefork_segment_create_private: nothing of it can be left behind
 *   a named segment     prefork_segment_adopt: has a header that tells whose it is and what lies
 *                       in it, and is judged before it is used
 *
 * Life cycle of a handle: create, open or adopt makes it, prefork_segment_close frees it. Closing detaches but
 * never removes: a segment that somebody can still find by key or id lives until it is removed or the machine
 * restarts. (A process in an IPC namespace of its own: until that namespace ends.)
 *
 * Threads: different handles may be used by different threads at once. Calls on one handle need the caller's own
 * order, except prefork_segment_address, _bytes, _id, _key, which are safe next to each other.
 *
 * fork: children inherit the mapping at the same address and may use address, bytes, id, key, stat, detach and
 * close on their copy of the handle; what changes the segment for everybody (remove, set_mode, set_owner) gives
 * -ECHILD there. A mapping is not inherited after prefork_segment_keep_from_children. exec drops all mappings.
 *
 * If a process dies: the kernel detaches it, whatever killed it, and frees the segment if it was removed and
 * nobody else is attached. Bytes it was writing stay half written: what lies in shared memory must bear that, or
 * be guarded by a lock that tells of a dead owner (prefork_mutex of <prefork/sync.h>).
 *
 * Security: whoever may write a segment may write anything at any moment. Check what you read from it. Owner,
 * creator, mode and size of an existing segment are the kernel's own words and are checked before it is attached;
 * nothing in the segment is believed before that.
 *
 * Every function that can fail returns -errno and sets prefork_last_error() (<prefork/error.h>): the text names
 * the key or id, what was found, what was wanted, and the command or limit that helps. */
#ifndef PREFORK_SEGMENT_H
#define PREFORK_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A handle, private to the process. */
struct prefork_segment;

/* How a segment is mapped. A write through READ_ONLY raises SIGSEGV. */
enum prefork_segment_access { PREFORK_SEGMENT_READ_WRITE = 0, PREFORK_SEGMENT_READ_ONLY = 1 };

/* How a segment is found. */
enum prefork_segment_by {
    /* No key: only this handle, its id and inherited mappings lead to it. Create only. */
    PREFORK_SEGMENT_BY_NOTHING = 0,
    /* `key`, a number that all parties agree on; not 0, and not 0x7066xxxx, which private segments use. */
    PREFORK_SEGMENT_BY_KEY = 1,
    /* The key that ftok(3) folds out of `path` and the low 8 bits of `project`. It keeps 16 bits of the inode
     * and 8 of the device: over 60,000 files of one machine every fifth shared its key with another, the first
     * pair appeared after 2,205. Replacing the file changes the key. So use it as a starting point only, with a
     * named segment, whose header tells a stranger's apart. */
    PREFORK_SEGMENT_BY_PATH = 2,
    /* `id`, as prefork_segment_id or ipcs(1) tells it. Open only. */
    PREFORK_SEGMENT_BY_ID = 3
};

/* Whose segment may be used, beside root's: the caller's (effective uid), anybody's. Or a uid. */
#define PREFORK_SEGMENT_OWNER_SELF UINT32_MAX
#define PREFORK_SEGMENT_OWNER_ANY  (UINT32_MAX - 1)

/* What is asked for. Start from PREFORK_SEGMENT_OPTIONS_INIT and set fields by name; fields may be added at the
 * end in later versions. */
struct prefork_segment_options {
    size_t size;                /* sizeof(struct prefork_segment_options) */
    enum prefork_segment_by by; /* default: by nothing */
    int key;
    int id;
    const char *path; /* borrowed during the call */
    int project;      /* for ftok, 1 … 255; default 'p' */
    size_t bytes;     /* create, adopt: wanted. open: least acceptable; 0 takes any size */
    /* Permission bits as for a file: r and w for owner, group, others. New segments get them (the umask plays no
     * part); an existing one that grants more than them is refused. Default 0600. */
    unsigned mode;
    int exclusive;      /* create only: 1 (default): fail with -EEXIST if it exists. 0: take the existing one */
    uint32_t owner_uid; /* an existing one must be owned and created by this uid or root; default: self */
};

/* The defaults of struct prefork_segment_options. */
#define PREFORK_SEGMENT_OPTIONS_INIT                                                                                   \
    {                                                                                                                  \
        sizeof(struct prefork_segment_options), PREFORK_SEGMENT_BY_NOTHING, 0, -1, NULL, 'p', 0, 0600u, 1,             \
            PREFORK_SEGMENT_OWNER_SELF                                                                                 \
    }

/* ---- the four steps ------------------------------------------------------------------------------------------ */

/* Makes a segment of `options->bytes` zero bytes, or, with `exclusive` 0, takes an existing one of at least that
 * size; prefork_segment_is_new tells which. Does not attach it. Never blocks.
 * Returns 0 and a handle, or
 *   -EINVAL   bytes is 0 or over kernel.shmmax; the existing segment is smaller; an option makes no sense: the text
 *             tells which, with the numbers
 *   -EEXIST   it exists and `exclusive` is set
 *   -EACCES   it exists and is another's, or grants more than `mode`
 *   -ENOSPC   kernel.shmmni or kernel.shmall is used up: the text tells which, and the number to set
 *   -ENOMEM   no memory for it, or for the handle
 *   -EPERM, -ENOSYS  the system call is forbidden here (seccomp) or missing
 *   -EIDRM    it was removed and made again by others each time it was looked at
 *   -ENOENT and other errors of stat(2): `path` can't be looked at */
int prefork_segment_create(const struct prefork_segment_options *options, struct prefork_segment **segment_out);

/* Opens an existing segment by key, path or id and learns its size. Owner, creator, mode and size are checked
 * against the options. Does not attach it. Never blocks.
 * Returns 0 and a handle, or -ENOENT (nothing under that key), -EIDRM (nothing under that id, any more),
 * -EINVAL (smaller than `bytes`; bad options), -EACCES (another's, or grants more than `mode`), -ENOMEM. */
int prefork_segment_open(const struct prefork_segment_options *options, struct prefork_segment **segment_out);

/* Maps the segment into this process at an address of the kernel's choice; it may differ in each process that
 * attaches, so shared contents hold offsets, never pointers. Returns 0, or -EACCES (mode forbids that access),
 * -EIDRM (it was removed meanwhile), -ENOMEM (address space; the text names RLIMIT_AS), -EALREADY (attached).
 * READ_ONLY is a guard against mistakes: under the same uid a process can still attach it read-write. */
int prefork_segment_attach(struct prefork_segment *segment, enum prefork_segment_access access);

/* Unmaps it from this process. Pointers into it are dead. Returns 0, or -EINVAL (not attached). */
int prefork_segment_detach(struct prefork_segment *segment);

/* Marks the segment for removal: nobody finds it by key any more, and it is freed when the last process detaches.
 * The handle stays usable and must still be closed. Returns 0, or -EIDRM (was removed already), -EPERM (only
 * owner, creator or root may), -ECHILD (see above). */
int prefork_segment_remove(struct prefork_segment *segment);

/* Detaches if need be, frees the handle and sets it to NULL; NULL in it is fine. Never removes the segment.
 * Lets go of the lock file that prefork_segment_adopt took. */
void prefork_segment_close(struct prefork_segment **segment);

/* ---- what a handle tells ------------------------------------------------------------------------------------- */

/* The first byte the caller may use: the start of the segment, or for an adopted one what follows its header,
 * aligned to 128 bytes. NULL while not attached. */
void *prefork_segment_address(const struct prefork_segment *segment);

/* How many bytes the caller may use, from that address on. */
size_t prefork_segment_bytes(const struct prefork_segment *segment);

/* The kernel's id: what ipcs(1) shows and ipcrm -m takes. */
int prefork_segment_id(const struct prefork_segment *segment);

/* The key, 0 if it has none. */
int prefork_segment_key(const struct prefork_segment *segment);

/* 1 if the call that made this handle also made the segment, else 0. */
int prefork_segment_is_new(const struct prefork_segment *segment);

/* What the kernel knows of a segment (IPC_STAT). */
struct prefork_segment_status {
    size_t bytes;      /* whole segment, header included */
    uint64_t attached; /* mappings now, in all processes */
    uint32_t uid, gid; /* owner */
    uint32_t creator_uid, creator_gid;
    int creator_pid;                               /* 0: not visible from this pid namespace */
    int last_pid;                                  /* of the last attach or detach; 0: none, or not visible */
    unsigned mode;                                 /* permission bits */
    int removed;                                   /* 1: marked for removal */
    int64_t attach_time, detach_time, change_time; /* seconds since 1970; 0: never */
};

/* Asks the kernel. Returns 0, or -EIDRM (gone), -EACCES (no right to read it). */
int prefork_segment_stat(const struct prefork_segment *segment, struct prefork_segment_status *status_out);

/* Changes the permission bits (IPC_SET). Mappings that exist keep their rights. Returns 0, or -EPERM, -EIDRM,
 * -ECHILD, -EINVAL (bits outside 0777). */
int prefork_segment_set_mode(struct prefork_segment *segment, unsigned mode);

/* Changes owner and group (IPC_SET); UINT32_MAX leaves one as it is. The creator never changes and keeps an
 * owner's rights. Returns 0, or -EPERM, -EIDRM, -ECHILD, -EINVAL. */
int prefork_segment_set_owner(struct prefork_segment *segment, uint32_t uid, uint32_t gid);

/* Children that this process forks from now on do not inherit the mapping; touching it is SIGSEGV in them. For
 * workers, so that no program started by a handler keeps the segment alive or writes into it. Returns 0, or
 * -EINVAL (not attached). */
int prefork_segment_keep_from_children(struct prefork_segment *segment);

/* ---- a private segment: what a pool uses --------------------------------------------------------------------- */

/* Makes a segment for this process and the children it forks: random key 0x7066xxxx, exclusive, mode 0600, attached
 * read-write, removed at once, so that the kernel frees it with its last process, whatever kills that. Zero-filled,
 * and every page is touched: no later access can fail for want of memory. A process killed in the few instructions
 * between making and removing leaves a stray, which prefork_segment_remove_strays finds. Time: some 0.5 ms a MiB.
 * Returns 0 and a handle, or -EINVAL, -ENOSPC, -ENOMEM, -EPERM, -ENOSYS as prefork_segment_create. */
int prefork_segment_create_private(size_t bytes, struct prefork_segment **segment_out);

/* Removes what killed predecessors left of private segments: key 0x7066xxxx, owned and created by this uid, mode
 * 0600, nobody attached, its creator dead (a creator that can't be seen from this pid namespace counts as alive).
 * Needs no /proc. Returns how many it removed, or -ENOSYS, -EPERM. Log: one line for each. */
int prefork_segment_remove_strays(void);

/* ---- a named segment: found by key, judged, adopted ---------------------------------------------------------- */

/* What may lie under the key. */
enum prefork_segment_verdict {
    PREFORK_SEGMENT_ABSENT = 0,       /* nothing */
    PREFORK_SEGMENT_ALIVE = 1,        /* as wanted, and its owner lives or somebody is attached */
    PREFORK_SEGMENT_DEAD = 2,         /* as wanted, its owner is dead and nobody is attached */
    PREFORK_SEGMENT_OTHER_LAYOUT = 3, /* no header of this library, or another version or fingerprint */
    PREFORK_SEGMENT_OTHER_SIZE = 4,   /* of another size */
    PREFORK_SEGMENT_FOREIGN = 5,      /* of another uid, or open to more than `mode`: may be a trap; never attached */
    PREFORK_SEGMENT_UNFINISHED = 6,   /* made, but its header was not written: creator died, or took more than 1 s */
    PREFORK_SEGMENT_UNKNOWN = 7       /* as wanted, but whether its owner lives can't be told from here */
};

/* Fills a new segment before anybody else may see its contents: `address` and `bytes` are what the handle will
 * tell, all zero. Return 0, or a negative errno, which undoes the creation and is handed through. */
typedef int (*prefork_segment_initialise_fn)(void *address, size_t bytes, void *context);

/* What the contents must be. */
struct prefork_segment_layout {
    size_t size;          /* sizeof(struct prefork_segment_layout) */
    uint32_t version;     /* raise it whenever the meaning of the contents changes */
    uint64_t fingerprint; /* of sizes and offsets, prefork_segment_fingerprint; catches what nobody versioned */
    prefork_segment_initialise_fn initialise; /* NULL: zeroes are right */
    void *context;
    /* A file whose lock says that the owner lives (or NULL): a prefork_file_lock of <prefork/sync.h> that the owner's
     * handle holds until it is closed, and that the kernel releases at the owner's death (children that it forked
     * keep it alive until they close their copy of the handle, execute a program or end). Where it is given it
     * decides, and the process recorded in the header is only told: needed without /proc and across pid namespaces.
     * Made with the segment's mode if absent, never removed. Borrowed during the call. */
    const char *lock_path;
};

/* The defaults of struct prefork_segment_layout. */
#define PREFORK_SEGMENT_LAYOUT_INIT                                                                                    \
    {                                                                                                                  \
        sizeof(struct prefork_segment_layout), 1u, 0u, NULL, NULL, NULL                                                \
    }

/* Folds `count` numbers (sizeof and offsetof values, say) into a fingerprint (FNV-1a, 64 bits). Never fails. */
uint64_t prefork_segment_fingerprint(const uint64_t *numbers, size_t count);

/* A judgement with its evidence. */
struct prefork_segment_report {
    enum prefork_segment_verdict verdict;
    int key;
    int id;                               /* -1 when absent */
    struct prefork_segment_status status; /* zero when absent, or foreign and not readable */
    int owner_pid;                        /* from the header; 0 when not read */
    int owner_alive;                      /* 1 yes, 0 no, -1 can't tell */
    int creator_alive;                    /* 1 yes, 0 no, -1 can't tell; by the pid that the kernel recorded */
    char text[320];                       /* one line for an operator, with the remedy */
};

/* Looks at what lies under the key (by key or by path) without changing it. A segment that is as wanted but whose
 * header is not written yet is waited for, up to 1 s or until its creator is seen dead.
 * How an owner is known to live: its lock file is locked, if there is one; else the process with the recorded pid
 * exists, began at the recorded time (/proc/PID/stat) in this boot (boot id) and in this pid namespace. Where /proc
 * is missing and the pid exists, it can't be told. A dead owner with somebody still attached after 50 ms counts as
 * alive: its orphans may be writing.
 * Returns 0 with the report, or -EINVAL (bad options), or what shmctl or ftok gave. */
int prefork_segment_judge(const struct prefork_segment_options *options, const struct prefork_segment_layout *layout,
                          struct prefork_segment_report *report_out);

/* What prefork_segment_adopt may do; add them up. Whatever is not allowed is refused. */
enum prefork_segment_allow {
    PREFORK_SEGMENT_MAY_CREATE = 1,  /* absent: make it, be its owner */
    PREFORK_SEGMENT_MAY_JOIN = 2,    /* alive: attach, the owner stays */
    PREFORK_SEGMENT_MAY_TAKE = 4,    /* dead: attach as it is and become its owner; of several, one gets it */
    PREFORK_SEGMENT_MAY_REPLACE = 8, /* dead: remove it and make a new one (with MAY_CREATE) */
    PREFORK_SEGMENT_MAY_MEND = 16    /* unfinished and its creator dead: remove it, make a new one (with MAY_CREATE) */
};

/* Judges, then makes, joins, takes or replaces as `allow` permits, and attaches read-write. Never uses a segment
 * that is foreign, of another layout or of another size. What others do at the same moment is met: of many
 * processes that call it at once exactly one creates, the others join it. Of many that find it dead at most one takes
 * or replaces it; the others join that, or, if MAY_JOIN was not given, get -EBUSY. (With MAY_JOIN it may be none: on a
 * busy machine each may meet another that is attached just then, and join what the dead one left. So whoever must own
 * it, such as a master, does not give MAY_JOIN.) Nobody's segment is removed after the call gave it to him.
 * `report_out` may be NULL; it is filled in every case but bad options, with what was found before anything was
 * done. Log: one line when a segment is removed or its owner replaced. May block up to 2 s.
 * Returns 0 and a handle, or
 *   -ENOENT     absent, and MAY_CREATE was not given
 *   -EBUSY      alive, and MAY_JOIN was not given; or its owner was still busy making it after 1 s
 *   -EOWNERDEAD dead, and neither MAY_TAKE nor MAY_REPLACE was given
 *   -EPROTO     of another layout
 *   -EMSGSIZE   of another size
 *   -EACCES     foreign; or the lock file can't be opened
 *   -ENOTRECOVERABLE  unfinished, its creator dead, and MAY_MEND was not given
 *   -EADDRINUSE whether its owner lives can't be told
 *   and what prefork_segment_create and the initialiser give. */
int prefork_segment_adopt(const struct prefork_segment_options *options, const struct prefork_segment_layout *layout,
                          unsigned allow, struct prefork_segment **segment_out,
                          struct prefork_segment_report *report_out);

/* A word for a verdict: "absent", "alive", … Never NULL. */
const char *prefork_segment_verdict_name(enum prefork_segment_verdict verdict);

#ifdef __cplusplus
}
#endif

#endif
