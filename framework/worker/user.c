/* SPDX-License-Identifier: BSD-2-Clause */
/* From a name to ids in the starter, from ids to an unprivileged process in each worker. */
#include "worker/user.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/error.h"

#define USER_RECORD_BYTES_FIRST 1024u
#define USER_RECORD_BYTES_LAST  (1024u * 1024u)
#define USER_GROUPS_MAX         65536 /* NGROUPS_MAX of Linux */

/* -- Finding -------------------------------------------------------------------- */

/* An id is a decimal number without sign; the one with all bits set means "leave it" to the kernel. */
static bool user_parse_id(const char *text, char end, uint32_t *id_out, const char **rest_out)
{
    unsigned long long id;
    char *rest;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    id = strtoull(text, &rest, 10);
    if (errno != 0 || id >= UINT32_MAX || *rest != end)
        return false;
    *id_out = (uint32_t)id;
    *rest_out = rest + 1;
    return true;
}

static bool user_parse_ids(const char *text, struct pfk_user *user)
{
    const char *rest;
    uint32_t uid, gid;

    if (!user_parse_id(text, ':', &uid, &rest) || !user_parse_id(rest, '\0', &gid, &rest))
        return false;
    user->uid = uid;
    user->gid = gid;
    return true;
}

static int user_read_record(const char *name, char *record, size_t bytes, struct pfk_user *user)
{
    struct passwd entry, *found;
    const int code = getpwnam_r(name, &entry, record, bytes, &found);

    if (code != 0)
        return -code;
    if (found == NULL)
        return pfk_error(ENOENT,
                         "prefork_pool_user: there is no user \"%s\"; give a name of the user database, or uid:gid "
                         "in numbers",
                         name);
    user->uid = entry.pw_uid;
    user->gid = entry.pw_gid;
    return 0;
}

static int user_find_name(const char *name, struct pfk_user *user)
{
    int rc = -ERANGE;

    for (size_t bytes = USER_RECORD_BYTES_FIRST; rc == -ERANGE && bytes <= USER_RECORD_BYTES_LAST; bytes *= 2) {
        char *const record = malloc(bytes);

        if (record == NULL)
            return pfk_error_call(ENOMEM, "prefork_pool_user");
        rc = user_read_record(name, record, bytes, user);
        free(record);
    }
    return rc == 0 || rc == -ENOENT ? rc : pfk_error_call(-rc, "prefork_pool_user: getpwnam_r");
}

static int user_find_groups(const char *name, struct pfk_user *user)
{
    int n = 16;

    for (;;) {
        const int room = n;
        gid_t *const groups = realloc(user->groups, (size_t)room * sizeof(*groups));

        if (groups == NULL)
            return pfk_error_call(ENOMEM, "prefork_pool_user");
        user->groups = groups;
        if (getgrouplist(name, user->gid, groups, &n) >= 0)
            break;
        n = n > room ? n : room * 2; /* musl tells how many there are, and so does glibc */
        if (n > USER_GROUPS_MAX)
            return pfk_error(E2BIG, "prefork_pool_user: \"%s\" is in more than %d groups", name, USER_GROUPS_MAX);
    }
    user->n_groups = (size_t)n;
    return 0;
}

/* The effective set: what this process may do now. */
static bool user_has_capabilities(void)
{
    const uint32_t needed = 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capget, &header, sets) == 0 && (sets[0].effective & needed) == needed;
}

static int user_check(const struct pfk_user *user)
{
    if (user->uid == 0 || user->uid == geteuid() || user->uid == getuid())
        return pfk_error(EINVAL,
                         "prefork_pool_user: uid %u is %s, who may write what only the master may; choose another user",
                         (unsigned)user->uid, user->uid == 0 ? "the superuser" : "this process's own");
    if (!user_has_capabilities())
        return pfk_error(EPERM,
                         "prefork_pool_user: uid %u can't have workers of another user, it takes CAP_SETUID, "
                         "CAP_SETGID and CAP_KILL; start as root, or leave the user out",
                         (unsigned)geteuid());
    return 0;
}

int pfk_user_find(const char *text, struct pfk_user *user_out)
{
    struct pfk_user user = {0};
    int rc = 0;

    if (text == NULL || *text == '\0')
        return pfk_error(EINVAL, "prefork_pool_user: no user; give a name of the user database, or uid:gid in numbers");
    if (!user_parse_ids(text, &user)) {
        rc = user_find_name(text, &user);
        if (rc == 0)
            rc = user_find_groups(text, &user);
    }
    if (rc == 0)
        rc = user_check(&user);
    if (rc == 0)
        *user_out = user;
    else
        pfk_user_free(&user);
    return rc;
}

void pfk_user_free(struct pfk_user *user)
{
    free(user->groups);
    *user = (struct pfk_user){0};
}

/* -- Becoming ------------------------------------------------------------------- */

/* A change of uid takes the capabilities away, unless the program was started with securebits that say otherwise. */
static int user_drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capset, &header, none) == 0 ? 0 : pfk_error_call(errno, "worker: capset");
}

static bool user_is(const struct pfk_user *user)
{
    uid_t real_uid, uid, saved_uid;
    gid_t real_gid, gid, saved_gid;

    if (getresuid(&real_uid, &uid, &saved_uid) != 0 || getresgid(&real_gid, &gid, &saved_gid) != 0)
        return false;
    return real_uid == user->uid && uid == user->uid && saved_uid == user->uid && real_gid == user->gid &&
           gid == user->gid && saved_gid == user->gid;
}

/* The groups first: without the uid nothing else may be changed. */
int pfk_user_become(const struct pfk_user *user)
{
    int rc;

    if (setgroups(user->n_groups, user->groups) != 0)
        return pfk_error_call(errno, "worker: setgroups");
    if (setresgid(user->gid, user->gid, user->gid) != 0)
        return pfk_error_call(errno, "worker: setresgid");
    if (setresuid(user->uid, user->uid, user->uid) != 0)
        return pfk_error(errno, "worker: setresuid to %u: %s%s", (unsigned)user->uid, strerror(errno),
                         errno == EAGAIN ? "; that user has as many processes as it may (ulimit -u)" : "");
    rc = user_drop_capabilities();
    if (rc != 0)
        return rc;
    if (!user_is(user) || setuid(0) == 0)
        return pfk_error(EPERM, "worker: uid %u does not hold; a module of the kernel interferes", (unsigned)user->uid);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return pfk_error_call(errno, "worker: prctl PR_SET_NO_NEW_PRIVS");
    /* The kernel does this at a change of uid, unless fs.suid_dumpable says otherwise. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return pfk_error_call(errno, "worker: prctl PR_SET_DUMPABLE");
    return 0;
}
