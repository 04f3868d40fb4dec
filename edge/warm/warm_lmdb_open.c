/* Opening a warm tier: what is in the directory, what of it may be used, and the sentence for the operator when it
 * can't be.
 *
 * Not opened at all: segments that were not sealed before the machine was restarted (their pages may be in any state).
 * Dropped: files that don't look like a segment, and those of another purge ledger, whose positions mean nothing here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/warm/guard.h"
#include "edge/warm/warm_priv.h"

enum {
    WARM_SEGMENTS = 32,
    WARM_SEGMENTS_SMALL = 8, /* of a disk below WARM_SMALL */
    WARM_MARGIN_LEAST = WARM_SLACK
};

static bool warm_read_line(const char *path, char *line, size_t n)
{
    FILE *f = fopen(path, "re");
    line[0] = 0;
    if (f == NULL)
        return false;
    bool got = fgets(line, (int)n, f) != NULL;
    fclose(f);
    line[strcspn(line, "\n")] = 0;
    return got;
}

/* True: the machine has not been restarted since the directory was last written. */
static bool warm_same_boot(const char *directory)
{
    char path[4096], now[64], then[64];
    snprintf(path, sizeof path, "%s/boot", directory);
    warm_read_line("/proc/sys/kernel/random/boot_id", now, sizeof now);
    bool same = warm_read_line(path, then, sizeof then) && now[0] != 0 && strcmp(now, then) == 0;
    FILE *f = same ? NULL : fopen(path, "we");
    if (f != NULL) {
        fprintf(f, "%s\n", now);
        fclose(f);
    }
    return same;
}

static err_t warm_make_directory(const char *path)
{
    char *copy = mem_dup(path, strlen(path));
    for (char *slash = copy + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = 0;
        if (mkdir(copy, 0755) != 0 && errno != EEXIST) {
            free(copy);
            return ERR_IO;
        }
    }
    err_t e = mkdir(copy, 0700) == 0 || errno == EEXIST ? ERR_OK : ERR_IO;
    free(copy);
    return e;
}

typedef struct warm_file {
    uint64_t number;
    bool sealed;
} warm_file_t;

static int warm_file_newer(const void *a, const void *b)
{
    uint64_t x = ((const warm_file_t *)a)->number, y = ((const warm_file_t *)b)->number;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Segment files, newest first. */
static warm_file_t *warm_list(const char *directory, size_t *n, uint64_t *bytes)
{
    warm_file_t *files = NULL;
    size_t cap = 0;
    *n = 0;
    *bytes = 0;
    DIR *d = opendir(directory);
    if (d == NULL)
        return NULL;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        unsigned long long number;
        char kind[16], junk;
        struct stat st;
        if (sscanf(e->d_name, "%16llx.%15s%c", &number, kind, &junk) != 2 || strlen(e->d_name) < 21)
            continue;
        bool sealed = strcmp(kind, "seal") == 0;
        if (!sealed && strcmp(kind, "open") != 0) {
            if (strcmp(kind, "marks~") == 0 || strcmp(kind, "begin") == 0)
                unlinkat(dirfd(d), e->d_name, 0); /* it was being written */
            continue;
        }
        if (fstatat(dirfd(d), e->d_name, &st, 0) == 0)
            *bytes += (uint64_t)st.st_blocks * 512;
        if (*n == cap)
            files = mem_realloc(files, (cap = cap == 0 ? 32 : cap * 2) * sizeof *files);
        files[(*n)++] = (warm_file_t){number, sealed};
    }
    closedir(d);
    if (*n > 0)
        qsort(files, *n, sizeof *files, warm_file_newer);
    return files;
}

/* A sealed segment that is less than half full is written on: restarts would otherwise leave many small ones. */
static bool warm_lmdb_unseal(warm_lmdb_t *l, const char *path, char *opened, size_t n)
{
    struct stat st;
    if (stat(path, &st) != 0 || (uint64_t)st.st_size * 2 > l->limit)
        return false;
    snprintf(opened, n, "%.*s.open", (int)(strlen(path) - 5), path);
    return rename(path, opened) == 0;
}

/* With what was noted beside it. */
static void warm_discard(const char *path)
{
    char *marks = segment_marks_path(path);
    unlink(path);
    unlink(marks);
    free(marks);
}

static void warm_lmdb_load(warm_lmdb_t *l, const warm_file_t *files, size_t n, bool same_boot)
{
    uint64_t first_of_newer = UINT64_MAX, crashed = 0;
    if (!guard_take_mark(l->directory, &crashed))
        crashed = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        char path[4096], opened[4096];
        bool sealed = files[i].sealed;
        snprintf(path, sizeof path, "%s/%016llx.%s", l->directory, (unsigned long long)files[i].number,
                 sealed ? "seal" : "open");
        if (files[i].number >= l->next_number)
            l->next_number = files[i].number + 1;
        if (!sealed && !same_boot) {
            warm_discard(path);
            warm_count(&l->counts.dropped_boot);
            continue;
        }
        if (files[i].number == crashed) {
            log_warn("warm tier: the process died while it wrote %s: it is left out", path);
            warm_discard(path);
            warm_count(&l->counts.dropped_bad);
            continue;
        }
        if (l->n == WARM_MAX_SEGMENTS - 1) {
            warm_discard(path);
            warm_count(&l->counts.dropped_full);
            continue;
        }
        if (sealed && l->n == 0 && warm_lmdb_unseal(l, path, opened, sizeof opened)) {
            memcpy(path, opened, sizeof path);
            sealed = false;
        }
        segment_t *s;
        err_t e = segment_open(path, files[i].number, sealed, l->epoch, &s);
        if (e == ERR_OK && s->next_id > first_of_newer) {
            segment_unref(s); /* numbers that overlap: somebody has put files together */
            e = ERR_CORRUPT;
        }
        if (e != ERR_OK) {
            log_warn("warm tier: %s is dropped: %s", path,
                     e == ERR_REFUSED ? "it belongs to another purge ledger" : err_text(e));
            warm_discard(path);
            warm_count(e == ERR_REFUSED ? &l->counts.dropped_epoch : &l->counts.dropped_bad);
            continue;
        }
        first_of_newer = s->first_id;
        if (s->next_id > l->next_id)
            l->next_id = s->next_id;
        l->segment[l->n++] = s;
    }
    while (l->n > 0 && warm_lmdb_bytes(l) + l->margin > l->size)
        warm_lmdb_drop(l, l->segment[l->n - 1], &l->counts.dropped_full);
}

#define WARM_SMALL ((uint64_t)128 << 20)
#define WARM_MIB(n) ((double)(n) / (1024 * 1024))

err_t warm_lmdb_open(const warm_options_t *options, warm_lmdb_t **out, char *sentence)
{
    warm_lmdb_t *l = mem_zalloc(sizeof *l);
    warm_file_t *files = NULL;
    err_t e = ERR_IO;
    pthread_rwlock_init(&l->lock, NULL);
    l->directory = mem_dup(options->path, strlen(options->path));
    l->lock_fd = -1;
    l->size = options->size;
    l->epoch = options->epoch;
    l->limit = l->size / (l->size < WARM_SMALL ? WARM_SEGMENTS_SMALL : WARM_SEGMENTS) / 4096 * 4096;
    l->margin = l->limit / WARM_REINSERT_PART + WARM_MARGIN_LEAST;
    l->next_id = 1;
    if (options->size < WARM_MIN_SIZE) {
        snprintf(sentence, WARM_ERROR_BYTES, "disk size %.1f MiB is too small; it must be at least %.0f MiB",
                 WARM_MIB(options->size), WARM_MIB(WARM_MIN_SIZE));
        e = ERR_RANGE;
        goto err;
    }
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/lock", l->directory) >= sizeof path - 64) {
        snprintf(sentence, WARM_ERROR_BYTES, "the disk path is longer than %zu bytes", sizeof path - 64);
        e = ERR_TOO_BIG;
        goto err;
    }
    if (warm_make_directory(l->directory) != ERR_OK ||
        (l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0 || access(l->directory, W_OK) != 0) {
        snprintf(sentence, WARM_ERROR_BYTES,
                 "disk path %.300s can't be written: %s; it must be a directory of the node's user", l->directory,
                 strerror(errno));
        goto err;
    }
    if (flock(l->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        snprintf(sentence, WARM_ERROR_BYTES, "disk path %.300s is in use by another node; each needs its own",
                 l->directory);
        e = ERR_EXISTS;
        goto err;
    }
    size_t n;
    uint64_t have;
    struct statvfs fs;
    files = warm_list(l->directory, &n, &have);
    bool known = statvfs(l->directory, &fs) == 0;
    uint64_t whole = known ? (uint64_t)fs.f_blocks * fs.f_frsize : UINT64_MAX,
             room = known ? (uint64_t)fs.f_bavail * fs.f_frsize + have : UINT64_MAX;
    if (whole < l->size) {
        snprintf(sentence, WARM_ERROR_BYTES,
                 "disk size is %.0f MiB, but the file system of %.300s has only %.0f MiB; choose a smaller size",
                 WARM_MIB(l->size), l->directory, WARM_MIB(whole));
        e = ERR_RANGE;
        goto err;
    }
    if (room < l->size) /* others fill it, perhaps for a while: no reason not to start */
        log_warn("warm tier: disk size is %.0f MiB, but the file system of %s has only %.0f MiB left for it",
                 WARM_MIB(l->size), l->directory, WARM_MIB(room));
    warm_lmdb_load(l, files, n, warm_same_boot(l->directory));
    free(files);
    *out = l;
    return ERR_OK;
err:
    free(files);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    pthread_rwlock_destroy(&l->lock);
    free(l->directory);
    free(l);
    return e;
}
