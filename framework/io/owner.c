/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define OWNER_NAME_BYTES         256
#define OWNER_RECORD_BYTES_FIRST 1024u
#define OWNER_RECORD_BYTES_LAST  (1024u * 1024u)

/* Looks a name up: 0 and *id_out, -ENOENT, -ERANGE when `record` is too small. */
typedef int (*owner_look_up_fn)(const char *name, char *record, size_t bytes, uint32_t *id_out);

static int owner_look_up_user(const char *name, char *record, size_t bytes, uint32_t *id_out)
{
    struct passwd entry, *found;
    const int code = getpwnam_r(name, &entry, record, bytes, &found);

    if (code == 0 && found != NULL)
        *id_out = entry.pw_uid;
    return code != 0 ? -code : found != NULL ? 0 : -ENOENT;
}

static int owner_look_up_group(const char *name, char *record, size_t bytes, uint32_t *id_out)
{
    struct group entry, *found;
    const int code = getgrnam_r(name, &entry, record, bytes, &found);

    if (code == 0 && found != NULL)
        *id_out = entry.gr_gid;
    return code != 0 ? -code : found != NULL ? 0 : -ENOENT;
}

/* A decimal number without sign; the one with all bits set means "leave it". */
static bool owner_read_id(const char *name, uint32_t *id_out)
{
    unsigned long long id;
    char *end;

    if (name[0] < '0' || name[0] > '9')
        return false;
    errno = 0;
    id = strtoull(name, &end, 10);
    *id_out = (uint32_t)id;
    return errno == 0 && *end == '\0' && id < UINT32_MAX;
}

static int owner_find_name(const char *name, owner_look_up_fn look_up, uint32_t *id_out)
{
    int rc = -ERANGE;

    if (owner_read_id(name, id_out))
        return 0;
    for (size_t bytes = OWNER_RECORD_BYTES_FIRST; rc == -ERANGE && bytes <= OWNER_RECORD_BYTES_LAST; bytes *= 2) {
        char *const record = malloc(bytes);

        rc = record != NULL ? look_up(name, record, bytes, id_out) : -ENOMEM;
        free(record);
    }
    return rc;
}

/* An empty name leaves *id_out as it is. */
static int owner_find_part(const char *name, const char *kind, owner_look_up_fn look_up, const char *what,
                           uint32_t *id_out)
{
    const int rc = *name != '\0' ? owner_find_name(name, look_up, id_out) : 0;

    if (rc == 0)
        return 0;
    if (rc == -ENOENT)
        return pfk_error(ENOENT, "%.120s: there is no %s \"%.64s\"; give a name of the database, or a number", what,
                         kind, name);
    return pfk_error(-rc, "%.120s: looking the %s \"%.64s\" up: %s", what, kind, name, strerror(-rc));
}

int pfk_owner_find(const char *text, const char *what, uid_t *uid_out, gid_t *gid_out)
{
    char user[OWNER_NAME_BYTES];
    uint32_t uid = UINT32_MAX, gid = UINT32_MAX;
    char *group;
    int rc;

    if (strlen(text) >= sizeof(user) || *text == '\0' || strcmp(text, ":") == 0)
        return pfk_error(EINVAL, "%.120s: the owner \"%.64s\" is none; use user, user:group or :group", what, text);
    memcpy(user, text, strlen(text) + 1);
    group = strchr(user, ':');
    if (group != NULL)
        *group++ = '\0';
    rc = owner_find_part(user, "user", owner_look_up_user, what, &uid);
    if (rc == 0)
        rc = owner_find_part(group != NULL ? group : "", "group", owner_look_up_group, what, &gid);
    *uid_out = uid;
    *gid_out = gid;
    return rc;
}
