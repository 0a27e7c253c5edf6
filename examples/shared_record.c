/* SPDX-License-Identifier: BSD-2-Clause */
/* shared_record: a record in shared memory that outlives the program.
 *
 *     shared_record [-k KEY] [-p MODE] [--keep] ID NAME
 *
 *     $ shared_record --keep 1 ada       finds id 0 and no name, leaves id 1 and "ada"
 *     $ shared_record 2 bob              finds id 1 and "ada", removes the segment
 *
 * Shows a named segment (made by whoever comes first, joined by the others, judged before it is used) and a mutex
 * whose owner may be killed at any moment: the record lies there twice, a change is written to the spare copy, and
 * one store makes that the current one. So whoever finds the owner dead finds a whole record, the old or the new. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <prefork/clock.h>
#include <prefork/error.h>
#include <prefork/segment.h>
#include <prefork/sync.h>

#define DEFAULT_KEY  0x7A2F
#define DEFAULT_MODE 0640u
#define NAME_BYTES   64
#define LOCK_WAIT_MS 10000u

struct record {
    int64_t id;
    char name[NAME_BYTES]; /* ends with a NUL */
};

/* What lies in the segment. */
struct shared {
    struct prefork_mutex mutex;
    struct record copies[2]; /* the spare one may be half written */
    uint32_t current;        /* 0 or 1 */
    uint32_t unused;
};

struct arguments {
    struct prefork_segment_options options;
    bool keep;
    struct record record;
};

static void usage(FILE *to)
{
    (void)fprintf(to, "usage: shared_record [-k KEY] [-p MODE] [--keep] ID NAME\n"
                      "  -k KEY   key of the segment, decimal or 0x… (default 0x7a2f)\n"
                      "  -p MODE  its permissions, octal (default 640)\n"
                      "  --keep   leave the segment for the next run\n"
                      "  ID       a number\n"
                      "  NAME     at most 63 bytes\n");
}

/* ---- arguments ---- */

static bool parse_number(const char *text, int base, int64_t least, int64_t most, int64_t *number_out)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(text, &end, base);
    if (end == text || *end != '\0' || errno != 0 || number < least || number > most)
        return false;
    *number_out = number;
    return true;
}

static bool parse_option(int option, struct arguments *arguments)
{
    int64_t number;

    switch (option) {
    case 'k':
        if (!parse_number(optarg, 0, 1, UINT32_MAX, &number)) {
            (void)fprintf(stderr, "shared_record: key '%s' is not a number from 1 to 0xffffffff\n", optarg);
            return false;
        }
        arguments->options.key = (int)(uint32_t)number;
        return true;
    case 'p':
        if (!parse_number(optarg, 8, 0, 0777, &number)) {
            (void)fprintf(stderr, "shared_record: mode '%s' is not an octal number up to 777\n", optarg);
            return false;
        }
        arguments->options.mode = (unsigned)number;
        return true;
    case 'K':
        arguments->keep = true;
        return true;
    default:
        usage(stderr);
        return false;
    }
}

static bool parse_record(char **words, int count, struct record *record)
{
    if (count != 2) {
        usage(stderr);
        return false;
    }
    if (!parse_number(words[0], 10, INT64_MIN, INT64_MAX, &record->id)) {
        (void)fprintf(stderr, "shared_record: id '%s' is not a number, or too large for 64 bits\n", words[0]);
        return false;
    }
    if (strlen(words[1]) >= NAME_BYTES) {
        (void)fprintf(stderr, "shared_record: the name has %zu bytes; at most %d fit\n", strlen(words[1]),
                      NAME_BYTES - 1);
        return false;
    }
    (void)memcpy(record->name, words[1], strlen(words[1]));
    return true;
}

static bool parse_arguments(int argc, char **argv, struct arguments *arguments)
{
    static const struct option long_options[] = {{"keep", no_argument, NULL, 'K'}, {NULL, 0, NULL, 0}};
    int option;

    /* "+": a negative id is not an option if it stands behind "--" */
    while ((option = getopt_long(argc, argv, "+k:p:", long_options, NULL)) != -1)
        if (!parse_option(option, arguments))
            return false;
    return parse_record(argv + optind, argc - optind, &arguments->record);
}

/* ---- the segment ---- */

static int initialise(void *address, size_t bytes, void *context)
{
    struct shared *shared = address;

    (void)bytes;
    (void)context;
    return prefork_mutex_init(&shared->mutex); /* the rest is zero: id 0, no name */
}

static int adopt(const struct prefork_segment_options *options, struct prefork_segment **segment_out)
{
    const uint64_t shape[] = {sizeof(struct shared), offsetof(struct shared, copies), offsetof(struct shared, current),
                              sizeof(struct record)};
    struct prefork_segment_layout layout = PREFORK_SEGMENT_LAYOUT_INIT;

    layout.fingerprint = prefork_segment_fingerprint(shape, sizeof(shape) / sizeof(shape[0]));
    layout.initialise = initialise;
    return prefork_segment_adopt(options, &layout,
                                 PREFORK_SEGMENT_MAY_CREATE | PREFORK_SEGMENT_MAY_JOIN | PREFORK_SEGMENT_MAY_TAKE |
                                     PREFORK_SEGMENT_MAY_MEND,
                                 segment_out, NULL);
}

static int lock(struct shared *shared)
{
    int rc = prefork_mutex_lock(&shared->mutex, prefork_deadline_after_ms(LOCK_WAIT_MS));

    if (rc == -EOWNERDEAD) /* nothing to repair: the current copy is whole, whatever it was doing */
        rc = prefork_mutex_consistent(&shared->mutex);
    return rc;
}

/* Swaps the record for `record`, which gets the one that was there. */
static int exchange(struct shared *shared, struct record *record)
{
    struct record *spare;
    struct record found;
    uint32_t current;
    int rc = lock(shared);

    if (rc != 0)
        return rc;
    current = shared->current & 1; /* whoever may write the segment may have written anything */
    found = shared->copies[current];
    spare = &shared->copies[1 - current];
    *spare = *record;
    __atomic_store_n(&shared->current, 1 - current, __ATOMIC_RELEASE); /* after the copy, also if killed here */
    rc = prefork_mutex_unlock(&shared->mutex);
    *record = found;
    return rc;
}

static void print(const char *what, const struct record *record)
{
    (void)printf("%s id %lld name \"%.*s\"\n", what, (long long)record->id, NAME_BYTES - 1, record->name);
}

static int fail(int rc, const char *doing)
{
    if (rc == -ETIMEDOUT)
        (void)fprintf(stderr, "shared_record: %s: another run holds the lock for %u s\n", doing, LOCK_WAIT_MS / 1000);
    else
        (void)fprintf(stderr, "shared_record: %s: %s\n", doing, prefork_last_error());
    return EXIT_FAILURE;
}

static int use(struct prefork_segment *segment, const struct arguments *arguments)
{
    struct record found = arguments->record;
    int rc;

    (void)printf("segment %d key 0x%x %s\n", prefork_segment_id(segment), (unsigned)prefork_segment_key(segment),
                 prefork_segment_is_new(segment) ? "created" : "found");
    rc = exchange(prefork_segment_address(segment), &found);
    if (rc != 0)
        return fail(rc, "lock");
    print("found", &found);
    print("wrote", &arguments->record);
    rc = prefork_segment_detach(segment);
    if (rc == 0 && !arguments->keep)
        rc = prefork_segment_remove(segment);
    if (rc == -EIDRM) /* another run removed it at the same time */
        rc = 0;
    return rc == 0 ? EXIT_SUCCESS : fail(rc, "remove");
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.options = PREFORK_SEGMENT_OPTIONS_INIT};
    struct prefork_segment *segment = NULL;
    int rc, status;

    arguments.options.by = PREFORK_SEGMENT_BY_KEY;
    arguments.options.key = DEFAULT_KEY;
    arguments.options.mode = DEFAULT_MODE;
    arguments.options.bytes = sizeof(struct shared);
    if (!parse_arguments(argc, argv, &arguments))
        return 2;
    prefork_log_set_level(PREFORK_LOG_WARNING); /* that it took over from the last run is no news */
    rc = adopt(&arguments.options, &segment);
    if (rc != 0)
        return fail(rc, "segment");
    status = use(segment, &arguments);
    prefork_segment_close(&segment);
    return status;
}
