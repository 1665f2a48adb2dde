/* LD_PRELOAD library: sees every fsync(2) and fdatasync(2) of a process, can hold them up, and can play a full disk.
 *
 * kill -9 keeps the page cache, so a daemon that never synced would pass every test that kills it. With this library a test holds
 * the sync back and sees that no answer leaves before it.
 *
 *   FSYNC_GATE_ROOT  only files below this directory are looked at (required)
 *   FSYNC_GATE_LOG   a line "<CLOCK_MONOTONIC ns> <pid> <begin|end|expired|failed> <call> <path>" is appended for each step
 *   FSYNC_GATE_SHUT  while this file exists, a sync waits before it happens, at most FSYNC_GATE_LIMIT_MS (30000)
 *   FSYNC_GATE_FULL  while this file exists, writes and syncs fail with ENOSPC
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

typedef int (*sync_call)(int);
typedef ssize_t (*write_call)(int, const void *, size_t);
typedef ssize_t (*pwrite_call)(int, const void *, size_t, off_t);
typedef ssize_t (*writev_call)(int, const struct iovec *, int);
typedef ssize_t (*pwritev_call)(int, const struct iovec *, int, off_t);
typedef ssize_t (*pwritev2_call)(int, const struct iovec *, int, off_t, int);
typedef int (*fallocate_call)(int, int, off_t, off_t);
typedef int (*posix_fallocate_call)(int, off_t, off_t);

static sync_call real_fsync, real_fdatasync;
static write_call real_write;
static pwrite_call real_pwrite, real_pwrite64;
static writev_call real_writev;
static pwritev_call real_pwritev;
static pwritev2_call real_pwritev64v2;
static fallocate_call real_fallocate;
static posix_fallocate_call real_posix_fallocate;

static const char *root, *log_path, *shut_path, *full_path;
static long limit_ms = 30000;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set_up(void)
{
    real_fsync = (sync_call)dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (sync_call)dlsym(RTLD_NEXT, "fdatasync");
    real_write = (write_call)dlsym(RTLD_NEXT, "write");
    real_pwrite = (pwrite_call)dlsym(RTLD_NEXT, "pwrite");
    real_pwrite64 = (pwrite_call)dlsym(RTLD_NEXT, "pwrite64");
    real_writev = (writev_call)dlsym(RTLD_NEXT, "writev");
    real_pwritev = (pwritev_call)dlsym(RTLD_NEXT, "pwritev");
    real_pwritev64v2 = (pwritev2_call)dlsym(RTLD_NEXT, "pwritev64v2");
    real_fallocate = (fallocate_call)dlsym(RTLD_NEXT, "fallocate");
    real_posix_fallocate = (posix_fallocate_call)dlsym(RTLD_NEXT, "posix_fallocate");
    root = getenv("FSYNC_GATE_ROOT");
    log_path = getenv("FSYNC_GATE_LOG");
    shut_path = getenv("FSYNC_GATE_SHUT");
    full_path = getenv("FSYNC_GATE_FULL");
    if (getenv("FSYNC_GATE_LIMIT_MS"))
        limit_ms = atol(getenv("FSYNC_GATE_LIMIT_MS"));
}

/* Is the file of this descriptor below the root? `path` (PATH_MAX) receives its name. Keeps errno. */
static int watched(int descriptor, char *path)
{
    char link[64];
    int before = errno;
    ssize_t length;

    if (!root)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, PATH_MAX - 1);
    errno = before;
    if (length <= 0)
        return 0;
    path[length] = 0;
    length = (ssize_t)strlen(root);
    return strncmp(path, root, (size_t)length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int there(const char *path)
{
    int before = errno, found = path && access(path, F_OK) == 0;

    errno = before;
    return found;
}

static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void note(const char *step, const char *call, const char *path)
{
    char line[PATH_MAX + 128];
    int before = errno, length, descriptor;

    if (!log_path)
        return;
    length = snprintf(line, sizeof line, "%lld %d %s %s %s\n", now_ns(), (int)getpid(), step, call, path);
    descriptor = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor >= 0) {
        /* One write: lines of several threads and processes do not mix. */
        if (real_write(descriptor, line, (size_t)length) < 0)
            abort();
        close(descriptor);
    }
    errno = before;
}

static int gated(const char *call, sync_call really, int descriptor)
{
    char path[PATH_MAX];
    struct timespec pause = {0, 1000000};
    long long until;
    int answer;

    if (!watched(descriptor, path))
        return really(descriptor);
    note("begin", call, path);
    until = now_ns() + limit_ms * 1000000LL;
    while (there(shut_path)) {
        if (now_ns() > until) {
            note("expired", call, path);
            break;
        }
        nanosleep(&pause, NULL);
    }
    if (there(full_path)) {
        note("failed", call, path);
        errno = ENOSPC;
        return -1;
    }
    answer = really(descriptor);
    note(answer == 0 ? "end" : "failed", call, path);
    return answer;
}

static int full(int descriptor)
{
    char path[PATH_MAX];

    pthread_once(&once, set_up);
    if (!there(full_path) || !watched(descriptor, path))
        return 0;
    errno = ENOSPC;
    return 1;
}

int fsync(int descriptor)
{
    pthread_once(&once, set_up);
    return gated("fsync", real_fsync, descriptor);
}

int fdatasync(int descriptor)
{
    pthread_once(&once, set_up);
    return gated("fdatasync", real_fdatasync, descriptor);
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    return full(descriptor) ? -1 : real_write(descriptor, data, size);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset)
{
    return full(descriptor) ? -1 : real_pwrite(descriptor, data, size, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off_t offset)
{
    return full(descriptor) ? -1 : real_pwrite64(descriptor, data, size, offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
    return full(descriptor) ? -1 : real_writev(descriptor, parts, count);
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset)
{
    return full(descriptor) ? -1 : real_pwritev(descriptor, parts, count, offset);
}

/* The names of large-file programs; off_t has 64 bits on every machine that we test on. */
ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(descriptor, parts, count, offset);
}

ssize_t pwritev64v2(int descriptor, const struct iovec *parts, int count, off_t offset, int flags)
{
    return full(descriptor) ? -1 : real_pwritev64v2(descriptor, parts, count, offset, flags);
}

ssize_t pwritev2(int descriptor, const struct iovec *parts, int count, off_t offset, int flags)
{
    return pwritev64v2(descriptor, parts, count, offset, flags);
}

int fallocate(int descriptor, int mode, off_t offset, off_t length)
{
    return full(descriptor) ? -1 : real_fallocate(descriptor, mode, offset, length);
}

int posix_fallocate(int descriptor, off_t offset, off_t length)
{
    /* Answers the number instead of setting errno. */
    return full(descriptor) ? ENOSPC : real_posix_fallocate(descriptor, offset, length);
}

int fallocate64(int descriptor, int mode, off_t offset, off_t length)
{
    return fallocate(descriptor, mode, offset, length);
}

int posix_fallocate64(int descriptor, off_t offset, off_t length)
{
    return posix_fallocate(descriptor, offset, length);
}
