/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a fuzz target over its corpus, once each, under any compiler.
 *
 *     TARGET [FILE]...
 *
 * Without files: all in $PFK_SRCDIR/tests/fuzz/corpus/TARGET. */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "target.h"

static unsigned points;
static bool failed;

static void tell(bool ok, const char *what)
{
    failed = failed || !ok;
    printf("%sok %u - %s\n", ok ? "" : "not ", ++points, what);
    (void)fflush(stdout);
}

/* A copy of just that size, so that AddressSanitizer sees a read beyond it. */
static bool run(const char *path)
{
    FILE *const file = fopen(path, "rb");
    unsigned char *bytes;
    size_t length;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        return false;
    length = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(length > 0 ? length : 1);
    if (bytes == NULL || fread(bytes, 1, length, file) != length)
        return false;
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(bytes, length);
    free(bytes);
    return true;
}

static void run_all(const char *target)
{
    const char *const tree = getenv("PFK_SRCDIR");
    char path[4096];
    struct dirent *entry;
    DIR *folder;

    (void)snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", tree != NULL ? tree : ".", target);
    folder = opendir(path);
    if (folder == NULL) {
        tell(false, path);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s/%s", tree != NULL ? tree : ".", target,
                       entry->d_name);
        tell(run(path), entry->d_name);
    }
    (void)closedir(folder);
    if (points == 0)
        tell(false, "the corpus is empty");
}

int main(int argc, char **argv)
{
    const char *const slash = strrchr(argv[0], '/');

    for (int i = 1; i < argc; i++)
        tell(run(argv[i]), argv[i]);
    if (argc == 1)
        run_all(slash != NULL ? slash + 1 : argv[0]);
    printf("1..%u\n", points);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
