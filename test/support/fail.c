/*
 * Preloaded into qemu-trap: lets the file system fail once. Of the calls in the process FAIL_COMM that name a path below
 * FAIL_PATH, or write to a file there, number FAIL_AT fails with FAIL_ERRNO; which it was is written to FAIL_LOG.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int calls;

static int fails(const char *call, const char *path) {
    const char *below = getenv("FAIL_PATH"), *at = getenv("FAIL_AT");
    char comm[64] = "";
    if (below == NULL || at == NULL || path == NULL || strncmp(path, below, strlen(below)) != 0) return 0;
    if (readlink("/proc/self/exe", comm, sizeof comm - 1) < 0 || strstr(comm, "/node") == NULL) return 0;
    if (++calls != atoi(at)) return 0;
    FILE *log = fopen(getenv("FAIL_LOG"), "a");
    fprintf(log, "%s %s\n", call, path);
    fclose(log);
    errno = atoi(getenv("FAIL_ERRNO"));
    return 1;
}

static int fails_on(const char *call, int fd) {
    char name[64], path[PATH_MAX] = "";
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return readlink(name, path, sizeof path - 1) > 0 && fails(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return fails("open", path) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return fails("open", path) ? -1 : REAL(open64)(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) { return fails("mkdir", path) ? -1 : REAL(mkdir)(path, mode); }
int chmod(const char *path, mode_t mode) { return fails("chmod", path) ? -1 : REAL(chmod)(path, mode); }
int link(const char *from, const char *to) { return fails("link", to) ? -1 : REAL(link)(from, to); }
int rename(const char *from, const char *to) { return fails("rename", to) ? -1 : REAL(rename)(from, to); }
ssize_t write(int fd, const void *data, size_t size) { return fails_on("write", fd) ? -1 : REAL(write)(fd, data, size); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return fails_on("write", fd) ? -1 : REAL(pwrite64)(fd, data, size, at); }
