/* A warm tier in a directory of its own, asked and answered on a loop that the test turns by hand. */
#ifndef BRINK_TESTS_WARM_DISK_H
#define BRINK_TESTS_WARM_DISK_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/warm/warm.h"
#include "tests/unit/edge/store/make.h"

#define DISK_MIB ((uint64_t)1024 * 1024)

typedef struct disk {
    char path[256];
    char sentence[WARM_ERROR_BYTES];
    loop_t loop;
    warm_t *warm;
    warm_options_t options;
} disk_t;

static inline err_t disk_open(disk_t *d)
{
    d->sentence[0] = 0;
    d->options.path = d->path;
    return warm_open(&d->options, &d->warm, d->sentence);
}

static inline void disk_init(disk_t *d, uint64_t size)
{
    *d = (disk_t){.options = {.size = size, .epoch = 7, .commit_ms = 5, .threads = 2}};
    const char *base = getenv("TMPDIR");
    snprintf(d->path, sizeof d->path, "%s/brink-warm-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(d->path) == NULL)
        abort();
    (void)loop_init(&d->loop, 0, false);
}

static inline void disk_remove(disk_t *d)
{
    DIR *dir = opendir(d->path);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        unlinkat(dirfd(dir), e->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    rmdir(d->path);
    loop_release(&d->loop);
}

static inline void disk_close(disk_t *d)
{
    warm_close(d->warm);
    d->warm = NULL;
    loop_run_messages(&d->loop);
}

/* Bytes of the directory as `du` counts them. */
static inline uint64_t disk_usage(disk_t *d)
{
    uint64_t bytes = 0;
    DIR *dir = opendir(d->path);
    struct stat st;
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.' && fstatat(dirfd(dir), e->d_name, &st, 0) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    if (dir != NULL)
        closedir(dir);
    return bytes;
}

typedef struct disk_question {
    warm_get_t get;
    uint64_t n, variant;
    bool any_variant, done, refuse;
    object_t *o;
} disk_question_t;

static inline bool disk_match(const warm_get_t *g, span_t key, span_t selecting, const stored_t *meta)
{
    const disk_question_t *q = CONTAINER_OF(g, disk_question_t, get);
    char text[64], sel[32];
    int n = snprintf(text, sizeof text, "http://host/%llu", (unsigned long long)q->n);
    int m = q->variant != 0 ? snprintf(sel, sizeof sel, "v%llu", (unsigned long long)q->variant) : 0;
    return span_eq(key, span_of(text, (size_t)n)) && meta->status == 200 &&
           (q->any_variant || span_eq(selecting, span_of(sel, (size_t)m)));
}

static inline bool disk_admit(warm_get_t *g, uint64_t bytes)
{
    return bytes > 0 && !CONTAINER_OF(g, disk_question_t, get)->refuse;
}

static inline void disk_done(warm_get_t *g, object_t *o)
{
    disk_question_t *q = CONTAINER_OF(g, disk_question_t, get);
    q->done = true;
    q->o = o;
}

static inline void disk_ask(disk_t *d, disk_question_t *q, uint64_t n, uint64_t variant)
{
    *q = (disk_question_t){.n = n, .variant = variant};
    q->get = (warm_get_t){
        .loop = &d->loop, .digest = make_digest(n), .match = disk_match, .admit = disk_admit, .done = disk_done};
}

static inline object_t *disk_answer(disk_t *d, disk_question_t *q)
{
    while (!q->done)
        if (loop_run_messages(&d->loop) == 0)
            usleep(50);
    return q->o;
}

/* A reference, or NULL. */
static inline object_t *disk_get(disk_t *d, uint64_t n, uint64_t variant)
{
    disk_question_t q;
    disk_ask(d, &q, n, variant);
    warm_get(d->warm, &q.get);
    return disk_answer(d, &q);
}

static inline err_t disk_put(disk_t *d, object_t *o)
{
    err_t e = warm_put_wait(d->warm, o, clock_now().boot + 20000);
    object_unref(o);
    return e;
}

static inline err_t disk_flush(disk_t *d)
{
    return warm_flush(d->warm, clock_now().boot + 20000);
}

static inline warm_stats_t disk_stats(disk_t *d)
{
    warm_stats_t s;
    warm_stats(d->warm, &s);
    return s;
}

#endif
