/* Most sweeps find nothing, so no room is taken before the first mark, and the file is a head alone. It is written
 * under another name and renamed, since half of it would say that what is dead was checked and found alive. */
#include "edge/warm/marks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

#define MARKS_MAGIC 0x316b72616d72b6u

enum { MARKS_STEP = 4096, MARKS_MOST = 1 << 30 /* records; a segment has far fewer */ };

typedef struct marks_head {
    uint64_t sum; /* of all that follows */
    uint64_t magic, epoch, swept, n;
} marks_head_t;

static uint64_t marks_bytes(uint64_t n)
{
    return (n + 3) / 4;
}

void marks_raise(marks_t *m, uint64_t at, uint32_t mark)
{
    CHECK(mark <= 3 && at < MARKS_MOST);
    if (mark <= marks_of(m, at))
        return;
    if (at >= m->n) {
        uint64_t n = (at / MARKS_STEP + 1) * MARKS_STEP;
        m->bits = mem_realloc(m->bits, marks_bytes(n));
        memset(m->bits + marks_bytes(m->n), 0, marks_bytes(n) - marks_bytes(m->n));
        m->n = n;
    }
    uint8_t *b = &m->bits[at / 4];
    *b = (uint8_t)((*b & ~(3u << at % 4 * 2)) | mark << at % 4 * 2);
}

void marks_copy(marks_t *to, const marks_t *from)
{
    *to = *from;
    to->bits = from->n > 0 ? (void *)mem_dup((const char *)from->bits, marks_bytes(from->n)) : NULL;
}

void marks_release(marks_t *m)
{
    free(m->bits);
    *m = (marks_t){0};
}

static err_t marks_read(int fd, void *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t r = read(fd, (char *)to + got, n - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r == 0 ? ERR_CORRUPT : ERR_IO;
        got += (size_t)r;
    }
    return ERR_OK;
}

static uint64_t marks_sum(const marks_head_t *h, const uint8_t *bits)
{
    uint64_t sum = XXH3_64bits(&h->magic, sizeof *h - sizeof h->sum);
    return h->n > 0 ? XXH3_64bits_withSeed(bits, marks_bytes(h->n), sum) : sum;
}

err_t marks_load(const char *path, uint64_t epoch, marks_t *out)
{
    marks_head_t h;
    *out = (marks_t){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    err_t e = marks_read(fd, &h, sizeof h);
    if (e == ERR_OK && (h.magic != MARKS_MAGIC || h.epoch != epoch || h.n > MARKS_MOST || h.n % MARKS_STEP != 0))
        e = ERR_CORRUPT;
    if (e == ERR_OK && h.n > 0) {
        out->bits = mem_alloc(marks_bytes(h.n));
        e = marks_read(fd, out->bits, marks_bytes(h.n));
    }
    close(fd);
    if (e == ERR_OK && marks_sum(&h, out->bits) != h.sum)
        e = ERR_CORRUPT;
    if (e != ERR_OK) {
        marks_release(out);
        return e;
    }
    out->n = h.n;
    out->swept = h.swept;
    return ERR_OK;
}

static err_t marks_write(int fd, const void *from, size_t n)
{
    for (size_t put = 0; put < n;) {
        ssize_t r = write(fd, (const char *)from + put, n - put);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return ERR_IO;
        put += (size_t)r;
    }
    return ERR_OK;
}

static err_t marks_sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = mem_dup(path, (size_t)(slash - path));
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(directory);
    if (fd < 0)
        return ERR_IO;
    int rc = fsync(fd);
    close(fd);
    return rc == 0 ? ERR_OK : ERR_IO;
}

err_t marks_store(const char *path, uint64_t epoch, const marks_t *m)
{
    marks_head_t h = {.magic = MARKS_MAGIC, .epoch = epoch, .swept = m->swept, .n = m->n};
    char *other;
    h.sum = marks_sum(&h, m->bits);
    CHECK(asprintf(&other, "%s~", path) > 0);
    int fd = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    err_t e = fd < 0 ? ERR_IO : marks_write(fd, &h, sizeof h);
    if (e == ERR_OK)
        e = marks_write(fd, m->bits, marks_bytes(m->n));
    if (e == ERR_OK && fsync(fd) != 0)
        e = ERR_IO;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    if (e == ERR_OK && rename(other, path) != 0) {
        saved = errno;
        e = ERR_IO;
    }
    if (e == ERR_OK)
        e = marks_sync_directory(path);
    else if (fd >= 0)
        unlink(other);
    free(other);
    if (e != ERR_OK && saved != 0)
        errno = saved;
    return e;
}
