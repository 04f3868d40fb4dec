/* The warm tier by itself: what it sustains at a full disk, and how long a start takes.
 *
 *     bench_disk write DIRECTORY MIB PASSES      PASSES times the size in random, web-like sizes, after the file
 * system's own sequential rate; a line a pass bench_disk restart DIRECTORY MIB OBJECTS   OBJECTS of 1 KB, then starts
 * after a clean stop and after kill -9
 *
 * The directory must not exist; it is removed at the end. Answers are lines of "name value …". */
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/edge/warm/disk.h"

enum { BLOCK = 1 << 20, PROBE_MIB = 1024 };

static disk_t d;

static double seconds(void)
{
    return (double)clock_nanos() / 1e9;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bench_disk: %s\n", what);
    exit(1);
}

/* A body is this, from some place on: random enough, and costs no time to make. */
static char noise[8 << 20];

static object_t *object_of(uint64_t n, size_t size)
{
    char key[64];
    int key_n = snprintf(key, sizeof key, "http://host/%llu", (unsigned long long)n);
    fieldblock_t *fields = mem_zalloc(sizeof *fields);
    body_t *body = body_new((int64_t)size);
    (void)body_append(body, span_of(noise + make_mix(n) % (sizeof noise / 2), size), NULL);
    body_end(body, BODY_COMPLETE);
    stored_t meta = {.status = 200, .lifetime = 3600000, .last_modified = -1, .content_length = (int64_t)size};
    return object_restore(make_digest(n), 0, span_of(key, (size_t)key_n), 7, (uint32_t)key_n - 7, SPAN_NONE, &meta, 1,
                          fields, body, NULL, 0);
}

static bool right(const object_t *o, uint64_t n)
{
    const char *want = noise + make_mix(n) % (sizeof noise / 2);
    body_cursor_t c = {0};
    struct iovec v;
    for (size_t at = 0; body_read(object_body(o), &c, UINT64_MAX, &v, 1, SIZE_MAX) == 1; at += v.iov_len)
        if (memcmp(v.iov_base, want + at, v.iov_len) != 0)
            return false;
    return true;
}

/* Log-normal, median 9 KB, mean about 30 KB, at most 2 MiB. */
static size_t web_size(uint64_t n)
{
    double u = ((double)(make_mix(n * 3 + 1) >> 11) + 1) / 9007199254740994.0,
           v = (double)(make_mix(n * 7 + 2) >> 11) / 9007199254740992.0;
    double size = exp(log(9000) + 1.5 * sqrt(-2 * log(u)) * cos(2 * 3.14159265358979 * v));
    return size > 2 << 20 ? 2 << 20 : (size_t)size;
}

static double sequential_rate(uint64_t mib)
{
    char path[512];
    snprintf(path, sizeof path, "%.400s.probe", d.path);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0)
        fail("the probe file can't be made");
    double began = seconds();
    for (uint64_t k = 0; k < mib; k++)
        if (write(fd, noise + k % 7 * BLOCK, BLOCK) != BLOCK)
            fail("the probe file can't be written");
    fdatasync(fd);
    double rate = (double)mib / (seconds() - began);
    close(fd);
    unlink(path);
    return rate;
}

/* Nothing is written twice or hit here, so what is there are the newest ones. */
static double live_part(const warm_stats_t *s, uint64_t n)
{
    uint64_t bytes = 0;
    for (uint64_t k = 0; k < s->objects && k < n; k++)
        bytes += web_size(n - 1 - k);
    return (double)bytes / (double)s->budget;
}

static void bench_write(uint64_t mib, unsigned passes)
{
    double rate = sequential_rate(mib < PROBE_MIB ? mib : PROBE_MIB);
    printf("sequential_mib_s %.0f\n", rate);
    if (disk_open(&d) != ERR_OK)
        fail(d.sentence);
    uint64_t n = 0, most = 0, refused = 0, first_n = 0;
    warm_stats_t before = {0};
    for (unsigned pass = 1; pass <= passes; pass++) {
        double began = seconds();
        uint64_t put = 0;
        first_n = n;
        for (; put < mib << 20; n++) {
            size_t size = web_size(n);
            refused += disk_put(&d, object_of(n, size)) != ERR_OK;
            put += size;
            if (n % 512 == 0) {
                uint64_t used = disk_usage(&d);
                most = used > most ? used : most;
            }
        }
        if (disk_flush(&d) != ERR_OK)
            fail("the flush took too long");
        double took = seconds() - began;
        warm_stats_t s = disk_stats(&d);
        printf("pass %u mib_s %.0f objects_s %.0f amplification %.3f live %.3f\n", pass, (double)put / took / (1 << 20),
               (double)(n - first_n) / took,
               (double)(s.written_bytes - before.written_bytes) / (double)(s.put_bytes - before.put_bytes),
               live_part(&s, n));
        fflush(stdout);
        before = s;
    }
    /* what is said to be live is asked for */
    uint64_t live = 0, asked = 0, found = 0;
    for (uint64_t k = n; k-- > 0 && asked < mib << 20; asked += web_size(k)) {
        object_t *o = disk_get(&d, k, 0);
        if (o != NULL && !right(o, k))
            fail("WRONG BYTES");
        live += o != NULL ? body_length(object_body(o)) : 0;
        found += o != NULL;
        object_unref(o);
    }
    warm_stats_t s = disk_stats(&d);
    printf("found %llu live_bodies %.3f most_of_budget %.3f refused %llu errors %llu corrupt %llu segments %llu\n",
           (unsigned long long)found, (double)live / (double)s.budget, (double)most / (double)s.budget,
           (unsigned long long)refused, (unsigned long long)s.dropped_error, (unsigned long long)s.corrupt,
           (unsigned long long)s.segments);
    disk_close(&d);
}

static void drop_page_cache(void)
{
    DIR *dir = opendir(d.path);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        int fd = openat(dirfd(dir), e->d_name, O_RDWR);
        if (fd >= 0 && fsync(fd) == 0)
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    closedir(dir);
}

static void start(const char *how, uint64_t objects)
{
    double began = seconds();
    if (disk_open(&d) != ERR_OK)
        fail(d.sentence);
    double opened = seconds();
    uint64_t n = make_mix(objects) % objects, found = 0;
    object_t *o = disk_get(&d, n, 0);
    double hit = seconds();
    if (o == NULL || !right(o, n))
        fail("the first object isn't there");
    object_unref(o);
    for (uint64_t k = 0; k < 10000; k++) {
        uint64_t x = make_mix(k) % objects;
        if ((o = disk_get(&d, x, 0)) != NULL && !right(o, x))
            fail("WRONG BYTES");
        found += o != NULL;
        object_unref(o);
    }
    warm_stats_t s = disk_stats(&d);
    printf("%s open_ms %.1f first_hit_ms %.1f found %.4f objects %llu memory_mib %.1f\n", how, (opened - began) * 1e3,
           (hit - opened) * 1e3, (double)found / 10000, (unsigned long long)s.objects, (double)s.memory / (1 << 20));
}

static void bench_restart(uint64_t objects)
{
    _Atomic bool *written = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double began = seconds();
    pid_t pid = fork();
    if (pid == 0) {
        if (disk_open(&d) != ERR_OK)
            fail(d.sentence);
        for (uint64_t n = 0; n < objects; n++)
            if (disk_put(&d, object_of(n, 1024)) != ERR_OK)
                fail("not written");
        if (disk_flush(&d) != ERR_OK)
            fail("not flushed");
        *written = true;
        pause();
    }
    int status;
    while (!*written)
        if (waitpid(pid, &status, WNOHANG) != 0)
            fail("the writer died");
        else
            usleep(10000);
    printf("written objects_s %.0f\n", (double)objects / (seconds() - began));
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    start("after_kill", objects);
    disk_close(&d);
    start("after_stop", objects);
    disk_close(&d);
    drop_page_cache();
    start("after_stop_cold", objects);
    disk_close(&d);
    munmap((void *)written, 4096);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench_disk write|restart DIRECTORY MIB PASSES|OBJECTS\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof noise; i += 8) {
        uint64_t x = make_mix(i);
        memcpy(noise + i, &x, 8);
    }
    uint64_t mib = strtoull(argv[3], NULL, 10), number = strtoull(argv[4], NULL, 10);
    snprintf(d.path, sizeof d.path, "%s", argv[2]);
    if (mkdir(d.path, 0700) != 0)
        fail("the directory exists, or can't be made");
    d.options = (warm_options_t){.size = mib << 20, .epoch = 7};
    (void)loop_init(&d.loop, 0, false);
    if (strcmp(argv[1], "write") == 0)
        bench_write(mib, (unsigned)number);
    else
        bench_restart(number);
    disk_remove(&d);
    return 0;
}
