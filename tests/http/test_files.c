/* SPDX-License-Identifier: BSD-2-Clause */
/* What http_files is made of: paths, the tree they may name, ranges, types. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../examples/http_range.h"
#include "../../examples/mime_types.h"
#include "../../examples/tree.h"
#include "../lib/unit.h"

/* -- Paths ------------------------------------------------------------------------ */

static const struct {
    const char *url;
    const char *path; /* NULL: refused with `code` */
    int code;
} paths[] = {
    {"/", ".", 0},
    {"/a", "a", 0},
    {"/a/b", "a/b", 0},
    {"/a/", "a/", 0},
    {"//a//b//", "a/b/", 0},
    {"///", ".", 0},
    {"/a%20b", "a b", 0},
    {"/%41%c3%a4", "A\xc3\xa4", 0},
    {"/a..b/..", NULL, -EINVAL},
    {"/a..b", "a..b", 0},
    {"/..", NULL, -EINVAL},
    {"/../a", NULL, -EINVAL},
    {"/a/../b", NULL, -EINVAL},
    {"/a/..", NULL, -EINVAL},
    {"/%2e%2E/a", NULL, -EINVAL},
    {"/.%2e", NULL, -EINVAL},
    {"/a%2fb", NULL, -EINVAL},
    {"/%00", NULL, -EINVAL},
    {"/%", NULL, -EINVAL},
    {"/%4", NULL, -EINVAL},
    {"/%4g", NULL, -EINVAL},
    {"/%-1", NULL, -EINVAL},
    {"/.a", NULL, -ENOENT},
    {"/a/.b", NULL, -ENOENT},
    {"/.a/b", NULL, -ENOENT},
    {"/.", NULL, -ENOENT},
    {"/a/./b", NULL, -ENOENT},
    {"a", NULL, -EINVAL},
    {"*", NULL, -EINVAL},
    {"", NULL, -EINVAL},
    {"/123456789012345", NULL, -ENAMETOOLONG},
};

START_TEST(paths_of_urls)
{
    char path[16];
    const int rc = tree_path(paths[_i].url, strlen(paths[_i].url), path, sizeof(path));

    if (paths[_i].path == NULL) {
        ck_assert_int_eq(rc, paths[_i].code);
        return;
    }
    ck_assert_int_eq(rc, (int)strlen(paths[_i].path));
    ck_assert_str_eq(path, paths[_i].path);
}
END_TEST

/* -- The tree ---------------------------------------------------------------------- */

static char root[64];
static int tree = -1;

static void make_link(const char *name, const char *target)
{
    ck_assert_int_eq(symlinkat(target, tree, name), 0);
}

static void make_tree(void)
{
    (void)snprintf(root, sizeof(root), "%s/treeXXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
    tree = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(tree, 0);
    ck_assert_int_eq(mkdirat(tree, "inner", 0700), 0);
    ck_assert_int_eq(mkdirat(tree, "inner/deep", 0700), 0);
    (void)close(openat(tree, "inner/deep/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ck_assert_int_eq(mkfifoat(tree, "pipe", 0600), 0);
    make_link("absolute", "/etc/passwd");
    make_link("above", "../../etc/passwd");
    make_link("folder", "/etc");
    make_link("inside", "inner/deep/file");
    make_link("self", "self");
}

static void remove_tree(void)
{
    static const char *const names[] = {"inner/deep/file", "pipe", "absolute", "above", "folder", "inside", "self"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ck_assert_int_eq(unlinkat(tree, names[i], 0), 0);
    ck_assert_int_eq(unlinkat(tree, "inner/deep", AT_REMOVEDIR), 0);
    ck_assert_int_eq(unlinkat(tree, "inner", AT_REMOVEDIR), 0);
    (void)close(tree);
    ck_assert_int_eq(rmdir(root), 0);
}

static int opens(const char *path)
{
    const int fd = tree_open(tree, path);

    if (fd >= 0)
        (void)close(fd);
    return fd >= 0 ? 0 : fd;
}

static void check_tree(void)
{
    ck_assert_int_eq(opens("."), 0);
    ck_assert_int_eq(opens("inner"), 0);
    ck_assert_int_eq(opens("inner/"), 0);
    ck_assert_int_eq(opens("inner/deep/file"), 0);
    ck_assert_int_eq(opens("inner/nothing"), -ENOENT);
    ck_assert_int_eq(opens("inner/deep/file/"), -ENOTDIR);
    ck_assert_int_eq(opens("inner/deep/file/more"), -ENOTDIR);
    ck_assert_int_eq(opens("pipe"), 0); /* without waiting for who writes */
    ck_assert_int_lt(opens("absolute"), 0);
    ck_assert_int_lt(opens("above"), 0);
    ck_assert_int_lt(opens("folder/passwd"), 0);
    ck_assert_int_lt(opens("self"), 0);
}

/* Whatever a caller lets through. */
static void check_no_way_out(void)
{
    ck_assert_int_lt(opens(".."), 0);
    ck_assert_int_lt(opens("inner/../../etc/passwd"), 0);
    ck_assert_int_lt(opens("/etc/passwd"), 0);
}

START_TEST(nothing_leads_out_of_the_tree)
{
    make_tree();
    check_tree();
    check_no_way_out();
    remove_tree();
}
END_TEST

/* As in a sandbox that does not know the call. */
static void forbid_openat2(void)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {.len = sizeof(lines) / sizeof(lines[0]), .filter = lines};

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

START_TEST(nor_without_openat2)
{
    make_tree();
    forbid_openat2();
    check_tree();
    check_no_way_out();
    ck_assert_int_lt(opens("inside"), 0); /* no link is followed */
    remove_tree();
}
END_TEST

/* -- Ranges -------------------------------------------------------------------------- */

static const struct {
    const char *header;
    uint64_t bytes;
    enum http_range range;
    uint64_t first, length;
} ranges[] = {
    {"bytes=0-0", 10, HTTP_RANGE_PART, 0, 1},
    {"bytes=2-5", 10, HTTP_RANGE_PART, 2, 4},
    {"BYTES=2-", 10, HTTP_RANGE_PART, 2, 8},
    {"bytes=9-", 10, HTTP_RANGE_PART, 9, 1},
    {"bytes=0-99", 10, HTTP_RANGE_PART, 0, 10},
    {"bytes=-3", 10, HTTP_RANGE_PART, 7, 3},
    {"bytes=-99", 10, HTTP_RANGE_PART, 0, 10},
    {"bytes=5-18446744073709551615", 10, HTTP_RANGE_PART, 5, 5},
    {"bytes=5-99999999999999999999999", 10, HTTP_RANGE_PART, 5, 5},
    {"bytes=10-", 10, HTTP_RANGE_NONE, 0, 10},
    {"bytes=99999999999999999999999-", 10, HTTP_RANGE_NONE, 0, 10},
    {"bytes=-0", 10, HTTP_RANGE_NONE, 0, 10},
    {"bytes=0-0", 0, HTTP_RANGE_NONE, 0, 0},
    {"bytes=-1", 0, HTTP_RANGE_NONE, 0, 0},
    {"bytes=5-2", 10, HTTP_RANGE_ALL, 0, 10},
    {"bytes=0-1,3-4", 10, HTTP_RANGE_ALL, 0, 10},
    {"bytes=-", 10, HTTP_RANGE_ALL, 0, 10},
    {"bytes=", 10, HTTP_RANGE_ALL, 0, 10},
    {"bytes=1", 10, HTTP_RANGE_ALL, 0, 10},
    {"bytes=+1-2", 10, HTTP_RANGE_ALL, 0, 10},
    {"bytes=1- 2", 10, HTTP_RANGE_ALL, 0, 10},
    {"bytes=0x1-2", 10, HTTP_RANGE_ALL, 0, 10},
    {"rows=1-2", 10, HTTP_RANGE_ALL, 0, 10},
    {"", 10, HTTP_RANGE_ALL, 0, 10},
};

START_TEST(ranges_of_headers)
{
    const struct prefork_http_text header = {.bytes = ranges[_i].header, .length = strlen(ranges[_i].header)};
    uint64_t first, length;

    ck_assert_int_eq(http_range_of(&header, ranges[_i].bytes, &first, &length), ranges[_i].range);
    ck_assert_uint_eq(first, ranges[_i].first);
    ck_assert_uint_eq(length, ranges[_i].length);
}
END_TEST

/* -- Types ---------------------------------------------------------------------------- */

START_TEST(types_of_names)
{
    ck_assert_int_eq(mime_types_read("/nowhere/mime.types"), 0);
    ck_assert_str_eq(mime_types_of("a.html"), "text/html");
    ck_assert_str_eq(mime_types_of("a/b.HTM"), "text/html");
    ck_assert_str_eq(mime_types_of("a.b.css"), "text/css");
    ck_assert_str_eq(mime_types_of("a.css/b"), "application/octet-stream");
    ck_assert_str_eq(mime_types_of("css"), "application/octet-stream");
    ck_assert_str_eq(mime_types_of("a."), "application/octet-stream");
    ck_assert_str_eq(mime_types_of("a.unheard-of"), "application/octet-stream");
}
END_TEST

static Suite *files_suite(void)
{
    Suite *suite = suite_create("http/files");
    TCase *tcase = tcase_create("files");

    tcase_add_loop_test(tcase, paths_of_urls, 0, (int)(sizeof(paths) / sizeof(paths[0])));
    tcase_add_loop_test(tcase, ranges_of_headers, 0, (int)(sizeof(ranges) / sizeof(ranges[0])));
    tcase_add_test(tcase, nothing_leads_out_of_the_tree);
    tcase_add_test(tcase, nor_without_openat2);
    tcase_add_test(tcase, types_of_names);
    suite_add_tcase(suite, tcase);
    return suite;
}

PFK_UNIT_MAIN(files_suite)
