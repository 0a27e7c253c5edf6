/* SPDX-License-Identifier: BSD-2-Clause */
/* run-test: runs one test and fails it when it leaves something behind.
 *
 *     run-test [--tap] TEST [ARGUMENT...]
 *
 * The test gets a session of its own, descriptors 0 to 2 and no other, an empty
 * TMPDIR, and a deadline. When its first process has ended, nothing may be left
 * of it: no process, no System V segment or semaphore set, no file in TMPDIR, no
 * file of libprefork's name in /dev/shm.
 *
 * Processes: run-test is the subreaper of the test, so every orphan becomes its
 * child, and "I have no child" means that no descendant lives.
 * Segments: in an IPC namespace of the test's own whatever is left belongs to it.
 * Where no such namespace can be had, an object counts when the process that
 * made it was seen to be the test's; that can miss one made by a process which
 * the test itself has waited for.
 *
 * The test's output goes to standard output, what it says on standard error too,
 * as TAP comments. A fault found here is said as TAP's "Bail out!".
 *
 * Exit status: 0 the test passed; 1 it failed; 2 run-test could not do its work.
 * With --tap, a test that printed "not ok" has told its failure itself and the
 * status is 0, so that the harness does not count it twice.
 *
 * Environment: PFK_TEST_TIME_FACTOR multiplies the deadline; PFK_TEST_DEADLINE
 * replaces the seconds; PFK_RUN_TEST_IPC=pid does without the namespace. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_SECONDS 60.0
/* For what the test has killed already to be gone; no time to end by itself. */
#define GRACE_SECONDS 0.5
/* For what run-test kills. */
#define KILL_SECONDS 10.0

#define EXIT_CANNOT_RUN 2

enum ipc_mode {
    IPC_NAMESPACE, /* the test's own: all that is in it at the end is its own */
    IPC_BY_PID     /* shared with the machine: ask who made what is new */
};

/* One of the test's two output streams, passed on line by line. */
struct stream {
    int fd; /* -1 once it has ended */
    const char *prefix;
    bool at_line_start;
    char line[4096];
    size_t length;
};

struct numbers {
    long *items;
    size_t count, room;
};

static double time_factor = 1.0;
static bool tap_wanted;
static bool told_not_ok;
static char faults[2048];

static struct numbers pids_seen, pids_told;
static struct numbers segments_before, semaphores_before, shm_files_before;
static char tmpdir[256];

static void die(const char *what)
{
    fprintf(stderr, "run-test: %s: %s\n", what, strerror(errno));
    exit(EXIT_CANNOT_RUN);
}

static void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fault(const char *format, ...)
{
    const size_t used = strlen(faults);
    va_list values;

    if (used + 4 >= sizeof(faults))
        return;
    if (used > 0)
        strcat(faults, "; ");
    va_start(values, format);
    (void)vsnprintf(faults + strlen(faults), sizeof(faults) - strlen(faults), format, values);
    va_end(values);
}

static bool numbers_have(const struct numbers *numbers, long number)
{
    for (size_t i = 0; i < numbers->count; i++)
        if (numbers->items[i] == number)
            return true;
    return false;
}

static void numbers_add(struct numbers *numbers, long number)
{
    if (numbers_have(numbers, number))
        return;
    if (numbers->count == numbers->room) {
        numbers->room = numbers->room == 0 ? 64 : numbers->room * 2;
        numbers->items = realloc(numbers->items, numbers->room * sizeof(long));
        if (numbers->items == NULL)
            die("realloc");
    }
    numbers->items[numbers->count++] = number;
}

static double now_seconds(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        die("clock_gettime");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double environment_number(const char *name, double otherwise)
{
    const char *text = getenv(name);
    char *end;
    double value;

    if (text == NULL || *text == '\0')
        return otherwise;
    value = strtod(text, &end);
    if (*end != '\0' || !(value > 0)) {
        fprintf(stderr, "run-test: %s=%s is no positive number\n", name, text);
        exit(EXIT_CANNOT_RUN);
    }
    return value;
}

/* --- System V objects ---------------------------------------------------- */

static bool write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok;

    if (fd < 0)
        return false;
    ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    (void)close(fd);
    return ok;
}

/* A user namespace in which one keeps one's own number, for those who may not
 * make an IPC namespace otherwise. */
static bool enter_user_and_ipc_namespace(void)
{
    const long uid = (long)getuid(), gid = (long)getgid();
    char uids[64], gids[64];

    (void)snprintf(uids, sizeof(uids), "%ld %ld 1", uid, uid);
    (void)snprintf(gids, sizeof(gids), "%ld %ld 1", gid, gid);
    return unshare(CLONE_NEWUSER | CLONE_NEWIPC) == 0 && write_text("/proc/self/setgroups", "deny") &&
           write_text("/proc/self/uid_map", uids) && write_text("/proc/self/gid_map", gids);
}

/* There is no way back out of a user namespace, so a child tries first. */
static bool user_and_ipc_namespace_works(void)
{
    const pid_t child = fork();
    int status;

    if (child == 0)
        _exit(enter_user_and_ipc_namespace() ? 0 : 1);
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static enum ipc_mode isolate_ipc(void)
{
    const char *asked = getenv("PFK_RUN_TEST_IPC");

    if (asked != NULL && strcmp(asked, "pid") == 0)
        return IPC_BY_PID;
    if (unshare(CLONE_NEWIPC) == 0)
        return IPC_NAMESPACE;
    if (user_and_ipc_namespace_works() && enter_user_and_ipc_namespace())
        return IPC_NAMESPACE;
    return IPC_BY_PID;
}

/* Walks the kernel's own index, which needs neither /proc nor read permission
 * on the object. */
static int segment_at(int index, struct shmid_ds *segment)
{
    const int id = shmctl(index, SHM_STAT_ANY, segment);

    return id >= 0 ? id : shmctl(index, SHM_STAT, segment);
}

static int semaphores_at(int index, struct semid_ds *set)
{
    union {
        struct semid_ds *set;
    } argument = {set};
    const int id = semctl(index, 0, SEM_STAT_ANY, argument);

    return id >= 0 ? id : semctl(index, 0, SEM_STAT, argument);
}

static int segments_highest(void)
{
    struct shm_info info;

    return shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);
}

static int semaphores_highest(void)
{
    struct seminfo info;
    union {
        struct seminfo *info;
    } argument = {&info};

    return semctl(0, 0, SEM_INFO, argument);
}

/* Whether a process of the test was the last to work on one of the set's
 * semaphores: a set, unlike a segment, does not keep its maker's pid. */
static bool semaphores_are_ours(int id, unsigned long count)
{
    for (unsigned long i = 0; i < count; i++) {
        const int pid = semctl(id, (int)i, GETPID);
        if (pid > 0 && numbers_have(&pids_seen, pid))
            return true;
    }
    return false;
}

static void remember_ipc(void)
{
    struct shmid_ds segment;
    struct semid_ds set;
    int id;

    for (int i = 0; i <= segments_highest(); i++)
        if ((id = segment_at(i, &segment)) >= 0)
            numbers_add(&segments_before, id);
    for (int i = 0; i <= semaphores_highest(); i++)
        if ((id = semaphores_at(i, &set)) >= 0)
            numbers_add(&semaphores_before, id);
}

static void check_segments(enum ipc_mode mode)
{
    struct shmid_ds segment;

    for (int i = 0; i <= segments_highest(); i++) {
        const int id = segment_at(i, &segment);
        if (id < 0 || numbers_have(&segments_before, id))
            continue;
        if (mode == IPC_BY_PID && !numbers_have(&pids_seen, segment.shm_cpid))
            continue;
        fault("left segment %d: key 0x%08x, %zu bytes, made by pid %ld, %lu attached%s", id,
              (unsigned int)segment.shm_perm.__key, segment.shm_segsz, (long)segment.shm_cpid,
              (unsigned long)segment.shm_nattch, mode == IPC_BY_PID ? " (told by its maker's pid)" : "");
        (void)shmctl(id, IPC_RMID, NULL);
    }
}

static void check_semaphores(enum ipc_mode mode)
{
    struct semid_ds set;

    for (int i = 0; i <= semaphores_highest(); i++) {
        const int id = semaphores_at(i, &set);
        if (id < 0 || numbers_have(&semaphores_before, id))
            continue;
        if (mode == IPC_BY_PID && !semaphores_are_ours(id, set.sem_nsems))
            continue;
        fault("left semaphore set %d: key 0x%08x, %lu semaphores%s", id, (unsigned int)set.sem_perm.__key,
              (unsigned long)set.sem_nsems, mode == IPC_BY_PID ? " (told by its last user's pid)" : "");
        (void)semctl(id, 0, IPC_RMID);
    }
}

/* --- Files --------------------------------------------------------------- */

static void make_tmpdir(void)
{
    const char *base = getenv("TMPDIR");

    /* a Unix socket's address has 108 bytes, so a long base is no use */
    if (base == NULL || *base != '/' || strlen(base) > 40)
        base = "/tmp";
    (void)snprintf(tmpdir, sizeof(tmpdir), "%s/prefork-test-XXXXXX", base);
    if (mkdtemp(tmpdir) == NULL)
        die(tmpdir);
    if (setenv("TMPDIR", tmpdir, 1) != 0)
        die("setenv");
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Removes what lies in the folder open as `fd`, and says it when `told`. */
static void empty_folder(int fd, bool told)
{
    DIR *folder = fdopendir(fd);
    struct dirent *entry;

    if (folder == NULL)
        die("fdopendir");
    while ((entry = readdir(folder)) != NULL) {
        int inner;

        if (is_dot(entry->d_name))
            continue;
        if (told)
            fault("left file %s in TMPDIR", entry->d_name);
        if (unlinkat(dirfd(folder), entry->d_name, 0) == 0)
            continue;
        inner = openat(dirfd(folder), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0)
            empty_folder(inner, false);
        (void)unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR);
    }
    (void)closedir(folder);
}

static void check_tmpdir(void)
{
    const int fd = open(tmpdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        fault("removed its TMPDIR");
        return;
    }
    empty_folder(fd, true);
    (void)rmdir(tmpdir);
}

static bool shm_file_is_named_by_us(const char *name)
{
    return strstr(name, "prefork") != NULL || strstr(name, "pfk") != NULL;
}

/* Calls fault for each new one, or remembers all. */
static void walk_shm_files(bool remember)
{
    DIR *folder = opendir("/dev/shm");
    struct dirent *entry;

    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL) {
        if (!shm_file_is_named_by_us(entry->d_name))
            continue;
        if (remember)
            numbers_add(&shm_files_before, (long)entry->d_ino);
        else if (!numbers_have(&shm_files_before, (long)entry->d_ino))
            fault("left /dev/shm/%s", entry->d_name);
    }
    (void)closedir(folder);
}

/* --- Processes ----------------------------------------------------------- */

/* Reads the parent and the name of a process; false when it is gone. */
static bool process_read(long pid, long *parent_out, char name_out[32])
{
    char path[64], text[512];
    const char *open_paren, *close_paren;
    FILE *file;
    size_t length;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    length = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[length] = '\0';
    open_paren = strchr(text, '(');
    close_paren = strrchr(text, ')'); /* a name may hold parentheses itself */
    if (open_paren == NULL || close_paren == NULL || sscanf(close_paren + 1, " %*c %ld", parent_out) != 1)
        return false;
    (void)snprintf(name_out, 32, "%.*s", (int)(close_paren - open_paren - 1), open_paren + 1);
    return true;
}

/* Kills run-test's children, one generation; their children come to us next. */
static void kill_children(bool told)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    if (proc == NULL)
        return;
    while ((entry = readdir(proc)) != NULL) {
        const long pid = isdigit((unsigned char)entry->d_name[0]) ? atol(entry->d_name) : 0;
        long parent;
        char name[32];

        if (pid <= 0 || !process_read(pid, &parent, name) || parent != (long)getpid())
            continue;
        numbers_add(&pids_seen, pid);
        if (told && !numbers_have(&pids_told, pid))
            fault("left process %ld (%s)", pid, name);
        numbers_add(&pids_told, pid);
        (void)kill((pid_t)pid, SIGKILL);
    }
    (void)closedir(proc);
}

/* Collects what has ended. Returns false when no child is left, dead or alive.
 * The test's own status goes to *status_out. */
static bool reap(pid_t test, bool *test_ended, int *status_out)
{
    for (;;) {
        int status;
        const pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid == 0)
            return true;
        if (pid < 0)
            return errno == EINTR;
        numbers_add(&pids_seen, pid);
        if (pid == test) {
            *test_ended = true;
            *status_out = status;
        }
    }
}

static void close_all_but_standard(void)
{
    const long limit = sysconf(_SC_OPEN_MAX);

    if (syscall(SYS_close_range, 3U, ~0U, 0U) == 0)
        return;
    for (int fd = 3; fd < (limit > 0 && limit < 65536 ? (int)limit : 65536); fd++)
        (void)close(fd);
}

static void become_test(char **command, int out_fd, int err_fd, const sigset_t *mask)
{
    const int null_fd = open("/dev/null", O_RDONLY);
    const struct rlimit no_core = {0, 0};

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || setsid() < 0 || null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
        dup2(out_fd, STDOUT_FILENO) < 0 || dup2(err_fd, STDERR_FILENO) < 0 || setrlimit(RLIMIT_CORE, &no_core) != 0 ||
        sigprocmask(SIG_SETMASK, mask, NULL) != 0)
        die("preparing the test");
    (void)signal(SIGPIPE, SIG_DFL);
    close_all_but_standard();
    (void)execvp(command[0], command);
    die(command[0]);
}

/* --- Output -------------------------------------------------------------- */

static void stream_flush(struct stream *stream, bool line_ended)
{
    if (stream->at_line_start) {
        fputs(stream->prefix, stdout);
        if (*stream->prefix == '\0' && strncmp(stream->line, "not ok", 6) == 0)
            told_not_ok = true;
    }
    (void)fwrite(stream->line, 1, stream->length, stdout);
    if (line_ended)
        (void)putchar('\n');
    (void)fflush(stdout);
    stream->at_line_start = line_ended;
    stream->length = 0;
    stream->line[0] = '\0';
}

static void stream_take(struct stream *stream, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n') {
            stream_flush(stream, true);
            continue;
        }
        stream->line[stream->length++] = bytes[i];
        stream->line[stream->length] = '\0';
        if (stream->length == sizeof(stream->line) - 1)
            stream_flush(stream, false);
    }
}

/* Reads all that is there now. */
static void stream_read(struct stream *stream)
{
    char bytes[4096];

    while (stream->fd >= 0) {
        const ssize_t got = read(stream->fd, bytes, sizeof(bytes));

        if (got > 0) {
            stream_take(stream, bytes, (size_t)got);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            (void)close(stream->fd);
            stream->fd = -1;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static void stream_end(struct stream *stream)
{
    stream_read(stream);
    if (stream->length > 0 || !stream->at_line_start)
        stream_flush(stream, true);
}

/* --- The test's life ------------------------------------------------------ */

struct run {
    pid_t test;
    int signal_fd;
    struct stream out, err;
    bool ended;        /* the test's first process */
    bool children;     /* something of it may still live */
    int status;        /* valid once ended */
    int ended_by_user; /* a signal that run-test itself got */
};

static void run_turn(struct run *run, double until)
{
    struct pollfd fds[3] = {{.fd = run->signal_fd, .events = POLLIN},
                            {.fd = run->out.fd, .events = POLLIN},
                            {.fd = run->err.fd, .events = POLLIN}};
    const double rest = until - now_seconds();
    struct signalfd_siginfo info;

    (void)poll(fds, 3, rest <= 0 ? 0 : (int)(rest * 1000) + 1);
    stream_read(&run->out);
    stream_read(&run->err);
    while (read(run->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            run->ended_by_user = (int)info.ssi_signo;
    run->children = reap(run->test, &run->ended, &run->status);
}

static void run_until_ended(struct run *run, double seconds)
{
    const double until = now_seconds() + seconds;

    while (!run->ended && run->ended_by_user == 0 && now_seconds() < until)
        run_turn(run, until);
    if (run->ended_by_user != 0)
        fault("stopped by signal %d", run->ended_by_user);
    else if (!run->ended)
        fault("the deadline of %.0f s has passed", seconds);
}

static void run_until_nobody_left(struct run *run, bool told)
{
    const double grace = now_seconds() + GRACE_SECONDS * time_factor;
    const double until = now_seconds() + KILL_SECONDS * time_factor;

    while (run->ended && run->children && now_seconds() < grace)
        run_turn(run, grace);
    if (run->children && run->test > 0 && !run->ended)
        (void)kill(-run->test, SIGKILL); /* all there is to do without /proc */
    while (run->children && now_seconds() < until) {
        kill_children(told);
        run_turn(run, now_seconds() + 0.02);
    }
    if (run->children)
        fault("left a process that could not be ended");
}

static void run_start(struct run *run, char **command)
{
    int out[2], err[2];
    sigset_t mask, before;

    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGCHLD);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)sigaddset(&mask, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &mask, &before) != 0 ||
        (run->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        die("signalfd");
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || fcntl(out[0], F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(err[0], F_SETFL, O_NONBLOCK) != 0)
        die("pipe");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        die("prctl(PR_SET_CHILD_SUBREAPER)");
    run->test = fork();
    if (run->test < 0)
        die("fork");
    if (run->test == 0)
        become_test(command, out[1], err[1], &before);
    (void)close(out[1]);
    (void)close(err[1]);
    numbers_add(&pids_seen, run->test);
    run->children = true;
    run->out = (struct stream){.fd = out[0], .prefix = "", .at_line_start = true};
    run->err = (struct stream){.fd = err[0], .prefix = "# ", .at_line_start = true};
}

static void judge_status(const struct run *run)
{
    if (WIFSIGNALED(run->status))
        fault("killed by signal %d", WTERMSIG(run->status));
    else if (WEXITSTATUS(run->status) != 0 && !(tap_wanted && told_not_ok))
        fault("exit status %d", WEXITSTATUS(run->status));
}

static int run_test(char **command)
{
    const double deadline = environment_number("PFK_TEST_DEADLINE", DEADLINE_SECONDS) * time_factor;
    const enum ipc_mode mode = isolate_ipc();
    struct run run = {0};
    bool ended_by_itself;

    remember_ipc();
    walk_shm_files(true);
    make_tmpdir();
    run_start(&run, command);
    run_until_ended(&run, deadline);
    ended_by_itself = run.ended;
    run_until_nobody_left(&run, ended_by_itself);
    stream_end(&run.out);
    stream_end(&run.err);
    if (ended_by_itself)
        judge_status(&run);
    check_segments(mode);
    check_semaphores(mode);
    check_tmpdir();
    walk_shm_files(false);
    if (faults[0] == '\0')
        return EXIT_SUCCESS;
    printf("Bail out! %s\n", faults);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    char **command = argv + 1;

    (void)argc;
    if (*command != NULL && strcmp(*command, "--tap") == 0) {
        tap_wanted = true;
        command++;
    }
    if (*command == NULL || **command == '-') {
        fprintf(stderr, "usage: run-test [--tap] TEST [ARGUMENT...]\n");
        return EXIT_CANNOT_RUN;
    }
    time_factor = environment_number("PFK_TEST_TIME_FACTOR", 1.0);
    /* not the make that runs this, should the test run one of its own */
    (void)unsetenv("MAKEFLAGS");
    (void)unsetenv("MFLAGS");
    (void)unsetenv("MAKELEVEL");
    return run_test(command);
}
