/* SPDX-License-Identifier: BSD-2-Clause */
/* http_files DIRECTORY: serves the files below a directory.
 *
 * The I/O thread that read a request opens the file and leaves the rest to the
 * kernel (sendfile). That is right for files in the page cache; a slow disk
 * would hold up the thread's other connections. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <prefork.h>
#include <prefork/http.h>

#include "http_range.h"
#include "mime_types.h"
#include "serve.h"
#include "tree.h"

#define INDEX            "index.html"
#define HEADERS_MAX      6
#define HEADER_TEXT_MAX  64
#define HTTP_DATE_FORMAT "%a, %d %b %Y %H:%M:%S GMT" /* of the C locale, which this program keeps */

static int tree_fd = -1;

/* A file that was asked for. */
struct file {
    char path[PATH_MAX];
    int fd;
    struct stat stat;
};

/* Headers of an answer, and the memory that they lie in. */
struct headers {
    struct prefork_http_header list[HEADERS_MAX];
    char text[HEADERS_MAX][HEADER_TEXT_MAX];
    size_t n;
};

/* -- Small answers -------------------------------------------------------------- */

static int answer(struct prefork_connection *connection, const struct prefork_http_request *request, unsigned status,
                  const struct headers *headers)
{
    char body[32];
    const int length = snprintf(body, sizeof(body), "%u\n", status);

    return prefork_http_respond(connection, request,
                                &(struct prefork_http_response){.status = status,
                                                                .content_type = status == 304 ? NULL : "text/plain",
                                                                .headers = headers == NULL ? NULL : headers->list,
                                                                .n_headers = headers == NULL ? 0 : headers->n,
                                                                .body = body,
                                                                .body_bytes = (size_t)length});
}

static unsigned status_of(int code)
{
    switch (code) {
    case -EINVAL:
        return 400;
    case -ENAMETOOLONG:
        return 414;
    case -EACCES:
    case -EPERM:
        return 403;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
        return 503;
    default: /* also for what would lead out of the tree */
        return 404;
    }
}

static struct prefork_http_text text_of(const char *string)
{
    return (struct prefork_http_text){.bytes = string, .length = strlen(string)};
}

/* Adds a header whose value has been written to the next text. */
static void add_header(struct headers *headers, const char *name)
{
    headers->list[headers->n].name = text_of(name);
    headers->list[headers->n].value = text_of(headers->text[headers->n]);
    headers->n++;
}

/* -- Which file ------------------------------------------------------------------- */

/* A directory stands for its index. Its name must end with a slash, or relative
 * links in it would miss: -EISDIR. */
static int open_index(struct file *file)
{
    const size_t length = strlen(file->path);
    int index_fd;

    if (strcmp(file->path, ".") != 0 && file->path[length - 1] != '/')
        return -EISDIR;
    index_fd = tree_open(file->fd, INDEX);
    (void)close(file->fd);
    file->fd = index_fd;
    (void)snprintf(file->path, sizeof(file->path), "%s", INDEX);
    return index_fd < 0 ? index_fd : 0;
}

static int open_file(struct file *file, struct prefork_http_text url_path)
{
    int rc = tree_path(url_path.bytes, url_path.length, file->path, sizeof(file->path));

    file->fd = -1;
    if (rc < 0)
        return rc;
    file->fd = tree_open(tree_fd, file->path);
    if (file->fd < 0)
        return file->fd;
    rc = fstat(file->fd, &file->stat) != 0 ? -errno : 0;
    if (rc == 0 && S_ISDIR(file->stat.st_mode)) {
        rc = open_index(file);
        if (rc == 0 && fstat(file->fd, &file->stat) != 0)
            rc = -errno;
    }
    if (rc == 0 && !S_ISREG(file->stat.st_mode))
        rc = -ENOENT;
    return rc;
}

static void close_file(struct file *file)
{
    if (file->fd >= 0)
        (void)close(file->fd);
    file->fd = -1;
}

/* -- Conditions ---------------------------------------------------------------------- */

static void add_validators(struct headers *headers, const struct file *file)
{
    struct tm tm;

    (void)snprintf(headers->text[headers->n], HEADER_TEXT_MAX, "\"%" PRIx64 "-%" PRIx64 ".%lx\"",
                   (uint64_t)file->stat.st_size, (uint64_t)file->stat.st_mtim.tv_sec,
                   (unsigned long)file->stat.st_mtim.tv_nsec);
    add_header(headers, "ETag");
    if (gmtime_r(&file->stat.st_mtim.tv_sec, &tm) != NULL &&
        strftime(headers->text[headers->n], HEADER_TEXT_MAX, HTTP_DATE_FORMAT, &tm) > 0)
        add_header(headers, "Last-Modified");
}

static bool contains(struct prefork_http_text text, struct prefork_http_text part)
{
    return text.length > 0 && memmem(text.bytes, text.length, part.bytes, part.length) != NULL;
}

/* Whether the client has the file as it is (RFC 9110, 13.2.2). */
static bool is_not_modified(const struct prefork_http_request *request, const struct file *file,
                            const struct headers *headers)
{
    const struct prefork_http_text *header = prefork_http_header(request, "If-None-Match");
    char date[HEADER_TEXT_MAX];
    struct tm tm = {.tm_mday = 0};

    if (header != NULL)
        return prefork_http_text_is(*header, "*") || contains(*header, headers->list[0].value);
    header = prefork_http_header(request, "If-Modified-Since");
    if (header == NULL || header->length >= sizeof(date))
        return false;
    memcpy(date, header->bytes, header->length);
    date[header->length] = '\0';
    return strptime(date, HTTP_DATE_FORMAT, &tm) != NULL && timegm(&tm) >= file->stat.st_mtim.tv_sec;
}

/* The range counts only if the client's other parts are of the file as it is. */
static const struct prefork_http_text *range_header(const struct prefork_http_request *request,
                                                    const struct headers *headers)
{
    const struct prefork_http_text *const condition = prefork_http_header(request, "If-Range");
    const bool holds = condition == NULL || prefork_http_text_is(*condition, headers->text[0]) ||
                       (headers->n > 1 && prefork_http_text_is(*condition, headers->text[1]));

    return holds ? prefork_http_header(request, "Range") : NULL;
}

/* -- Answers ---------------------------------------------------------------------------- */

static int send_file(struct prefork_connection *connection, const struct prefork_http_request *request,
                     struct file *file, struct headers *headers)
{
    struct prefork_http_response response = {
        .status = 200, .content_type = mime_types_of(file->path), .headers = headers->list};
    const uint64_t bytes = (uint64_t)file->stat.st_size;
    uint64_t first, length;
    const enum http_range range = http_range_of(range_header(request, headers), bytes, &first, &length);
    const int fd = file->fd;

    if (range == HTTP_RANGE_NONE) {
        (void)snprintf(headers->text[headers->n], HEADER_TEXT_MAX, "bytes */%" PRIu64, bytes);
        add_header(headers, "Content-Range");
        return answer(connection, request, 416, headers);
    }
    if (range == HTTP_RANGE_PART) {
        (void)snprintf(headers->text[headers->n], HEADER_TEXT_MAX, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first,
                       first + length - 1, bytes);
        add_header(headers, "Content-Range");
        response.status = 206;
    }
    (void)snprintf(headers->text[headers->n], HEADER_TEXT_MAX, "bytes");
    add_header(headers, "Accept-Ranges");
    response.n_headers = headers->n;
    file->fd = -1; /* the library closes it */
    return prefork_http_respond_file(connection, request, &response, fd, (off_t)first, (size_t)length);
}

/* To the same with a slash behind it. */
static int redirect(struct prefork_connection *connection, const struct prefork_http_request *request)
{
    char location[PATH_MAX + 2];
    const int length =
        snprintf(location, sizeof(location), "/%.*s/", (int)request->path.length - 1, request->path.bytes + 1);
    const struct prefork_http_header header = {.name = text_of("Location"),
                                               .value = {.bytes = location, .length = (size_t)length}};

    if ((size_t)length >= sizeof(location) || location[1] == '/') /* "//host" would be another host */
        return answer(connection, request, 404, NULL);
    return prefork_http_respond(connection, request,
                                &(struct prefork_http_response){.status = 301, .headers = &header, .n_headers = 1});
}

static int answer_with_file(struct prefork_connection *connection, const struct prefork_http_request *request,
                            struct file *file)
{
    struct headers headers = {.n = 0};

    add_validators(&headers, file);
    if (is_not_modified(request, file, &headers))
        return answer(connection, request, 304, &headers);
    return send_file(connection, request, file, &headers);
}

static int on_request(struct prefork_connection *connection, const struct prefork_http_request *request, void *context)
{
    static const struct prefork_http_header allow = {.name = {.bytes = "Allow", .length = 5},
                                                     .value = {.bytes = "GET, HEAD", .length = 9}};
    struct file file;
    int rc;

    (void)context;
    if (!prefork_http_text_is(request->method, "GET") && !prefork_http_text_is(request->method, "HEAD"))
        return prefork_http_respond(connection, request,
                                    &(struct prefork_http_response){.status = 405, .headers = &allow, .n_headers = 1});
    rc = open_file(&file, request->path);
    if (rc == 0)
        rc = answer_with_file(connection, request, &file);
    else if (rc == -EISDIR)
        rc = redirect(connection, request);
    else
        rc = answer(connection, request, status_of(rc), NULL);
    close_file(&file);
    return rc;
}

/* -- The server ---------------------------------------------------------------------------- */

static const struct prefork_protocol *set_up(struct prefork_pool *pool, char **arguments, int *rc_out)
{
    static const struct prefork_http_options options = {.size = sizeof(options), .on_request = on_request};

    (void)pool;
    tree_fd = open(arguments[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (tree_fd < 0) {
        *rc_out = -errno;
        fprintf(stderr, "http_files: %s: %s\n", arguments[0], strerror(errno));
        return NULL;
    }
    *rc_out = mime_types_read("/etc/mime.types");
    return prefork_protocol_http(&options);
}

int main(int argc, char **argv)
{
    static const struct serve server = {.name = "http_files",
                                        .options = "",
                                        .arguments = " DIRECTORY",
                                        .n_arguments = 1,
                                        .usage = "",
                                        .set_up = set_up};

    return serve_main(&server, argc, argv);
}
