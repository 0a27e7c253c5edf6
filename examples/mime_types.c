/* SPDX-License-Identifier: BSD-2-Clause */
#include "mime_types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UNKNOWN_TYPE "application/octet-stream"
#define BLANKS       " \t\r\n"

struct entry {
    const char *ending; /* "html" */
    const char *type;
};

static struct entry *entries; /* by ending; of equal ones, the first in the file is first */
static size_t n_entries, room_for;

static const char common[] = "text/html html htm\ntext/css css\ntext/javascript js mjs\ntext/plain txt\n"
                             "application/json json\napplication/pdf pdf\napplication/wasm wasm\n"
                             "image/png png\nimage/jpeg jpg jpeg\nimage/gif gif\nimage/svg+xml svg\nimage/webp webp\n"
                             "font/woff2 woff2\nvideo/mp4 mp4\n";

static int compare(const void *left, const void *right)
{
    const struct entry *const a = left, *const b = right;
    const int order = strcasecmp(a->ending, b->ending);

    return order != 0 ? order : (a->type > b->type) - (a->type < b->type);
}

static int add_entry(const char *ending, const char *type)
{
    if (n_entries == room_for) {
        const size_t room = room_for == 0 ? 2048 : room_for * 2;
        struct entry *const grown = realloc(entries, room * sizeof(*grown));

        if (grown == NULL)
            return -ENOMEM;
        entries = grown;
        room_for = room;
    }
    entries[n_entries++] = (struct entry){.ending = ending, .type = type};
    return 0;
}

/* "type ending ending …"; `line` stays. */
static int add_line(char *line)
{
    char *rest = NULL;
    const char *const type = strtok_r(line, BLANKS, &rest);
    int rc = 0;

    if (type == NULL || type[0] == '#')
        return 0;
    for (const char *ending = strtok_r(NULL, BLANKS, &rest); rc == 0 && ending != NULL;
         ending = strtok_r(NULL, BLANKS, &rest))
        rc = add_entry(ending, type);
    return rc;
}

/* What is there of a file, as a string; NULL: nothing. */
static char *read_text(const char *file)
{
    FILE *const stream = fopen(file, "re");
    char *text = NULL;
    size_t room = 0;
    ssize_t length = stream == NULL ? -1 : getdelim(&text, &room, '\0', stream);

    if (stream != NULL)
        (void)fclose(stream);
    if (length > 0)
        return text;
    free(text);
    return NULL;
}

int mime_types_read(const char *file)
{
    char *text = read_text(file);
    char *rest = NULL;
    int rc = 0;

    if (text == NULL)
        text = strdup(common);
    if (text == NULL)
        return -ENOMEM;
    for (char *line = strtok_r(text, "\n", &rest); rc == 0 && line != NULL; line = strtok_r(NULL, "\n", &rest))
        rc = add_line(line);
    qsort(entries, n_entries, sizeof(*entries), compare);
    return rc; /* `text` stays: the entries point into it */
}

const char *mime_types_of(const char *name)
{
    const char *const dot = strrchr(name, '.');
    const char *const slash = strrchr(name, '/');
    size_t low = 0, high = n_entries;

    if (dot == NULL || (slash != NULL && dot < slash))
        return UNKNOWN_TYPE;
    while (low < high) { /* the first that is not less */
        const size_t middle = low + (high - low) / 2;

        if (strcasecmp(entries[middle].ending, dot + 1) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n_entries && strcasecmp(entries[low].ending, dot + 1) == 0 ? entries[low].type : UNKNOWN_TYPE;
}
