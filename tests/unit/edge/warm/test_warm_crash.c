/* kill -9 at any moment, bytes flipped, files cut: what comes back is right or doesn't come back. */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/unit/edge/warm/disk.h"

static disk_t d;

/* For every process that writes: how far it is known to be safe. */
typedef struct progress {
    _Atomic uint64_t put, flushed;
} progress_t;

static _Noreturn void write_until_killed(progress_t *p, uint64_t from)
{
    if (disk_open(&d) != ERR_OK)
        _exit(3);
    for (uint64_t n = from;; n++) {
        size_t size = make_mix(n) % (n % 16 == 0 ? 700000 : 20000);
        if (disk_put(&d, make_object(n, size)) != ERR_OK)
            _exit(4);
        atomic_store(&p->put, n + 1);
        if (n % 64 == 63) {
            usleep(1000 * (d.options.commit_ms + 25)); /* commits come by themselves; no flush */
            if (disk_stats(&d).write_queue_bytes == 0)
                atomic_store(&p->flushed, n + 1);
        }
    }
}

Test(warm_crash, killed_while_writing_loses_nothing_that_was_committed, .timeout = 120)
{
    disk_init(&d, 32 * DISK_MIB);
    progress_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t checked = 0;
    for (unsigned round = 0; round < 8; round++) {
        uint64_t from = atomic_load(&p->put);
        pid_t pid = fork();
        if (pid == 0)
            write_until_killed(p, from);
        while (atomic_load(&p->flushed) < from + 100)
            usleep(500);
        usleep(1000 * (round * 7));
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        cr_assert(WIFSIGNALED(status), "the writer failed by itself: %d", WEXITSTATUS(status));
        uint64_t flushed = atomic_load(&p->flushed), put = atomic_load(&p->put);
        cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
        for (uint64_t n = 0; n < put + 5; n++) {
            object_t *o = disk_get(&d, n, 0);
            cr_assert(o == NULL || make_verify(o, n), "wrong bytes");
            cr_assert(o != NULL || n >= flushed || n < flushed - 100, "%llu of %llu was committed and is gone",
                      (unsigned long long)n, (unsigned long long)flushed);
            checked += o != NULL;
            object_unref(o);
        }
        cr_assert_eq(disk_stats(&d).corrupt, 0);
        cr_assert_eq(disk_stats(&d).segments_dropped_bad, 0);
        disk_close(&d);
        cr_assert_leq(disk_usage(&d), 32 * DISK_MIB);
    }
    cr_assert_gt(checked, 3000);
    munmap(p, 4096);
    disk_remove(&d);
}

Test(warm_crash, what_had_only_been_begun_is_no_damage)
{
    char path[sizeof d.path + 32];
    disk_init(&d, 32 * DISK_MIB);
    snprintf(path, sizeof path, "%s/0000000000000000.begin", d.path);
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    cr_assert_eq(disk_put(&d, make_object(1, 1000)), ERR_OK);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    cr_assert_neq(access(path, F_OK), 0, "it is called otherwise as soon as it can be read");
    disk_close(&d);
    FILE *f = fopen(path, "w");
    cr_assert(f != NULL && fputs("half a page", f) >= 0 && fclose(f) == 0);
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    cr_assert_eq(disk_stats(&d).segments_dropped_bad, 0);
    cr_assert_neq(access(path, F_OK), 0, "it takes no room");
    object_t *o = disk_get(&d, 1, 0);
    cr_assert(o != NULL && make_verify(o, 1));
    object_unref(o);
    disk_close(&d);
    disk_remove(&d);
}

/* Calls `damage` for each segment file that matches `suffix`. */
static unsigned each_segment(const char *suffix, void (*damage)(int fd, uint64_t size, uint64_t seed), uint64_t seed)
{
    unsigned n = 0;
    DIR *dir = opendir(d.path);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        size_t len = strlen(e->d_name);
        struct stat st;
        if (len < 5 || strcmp(e->d_name + len - strlen(suffix), suffix) != 0)
            continue;
        int fd = openat(dirfd(dir), e->d_name, O_RDWR);
        cr_assert_eq(fstat(fd, &st), 0);
        damage(fd, (uint64_t)st.st_size, seed + n++);
        close(fd);
    }
    closedir(dir);
    return n;
}

static void fill(uint64_t objects)
{
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    for (uint64_t n = 0; n < objects; n++)
        disk_put(&d, make_object(n, make_mix(n) % 400000));
    disk_close(&d);
}

/* How many of them come back; none may be wrong. */
static unsigned count_right(uint64_t objects)
{
    unsigned right = 0;
    for (uint64_t n = 0; n < objects; n++) {
        object_t *o = disk_get(&d, n, 0);
        cr_assert(o == NULL || make_verify(o, n), "wrong bytes served");
        right += o != NULL;
        object_unref(o);
    }
    return right;
}

/* Overflow pages (large values: chunks of bodies) begin with their number, two bytes, and these flags. Damage inside
 * them is damage to records, not to LMDB's own tree. */
static void flip_in_records(int fd, uint64_t size, uint64_t seed)
{
    for (uint64_t page = 2; page < size / 4096; page++) {
        uint16_t flags;
        uint32_t pages;
        cr_assert_eq(pread(fd, &flags, 2, (off_t)(page * 4096 + 10)), 2);
        cr_assert_eq(pread(fd, &pages, 4, (off_t)(page * 4096 + 12)), 4);
        if (flags != 0x04 || pages == 0 || pages > 64)
            continue;
        if (make_mix(seed + page) % 3 == 0) {
            uint64_t at = page * 4096 + 16 + make_mix(seed * 3 + page) % (pages * 4096 - 16);
            char c;
            cr_assert_eq(pread(fd, &c, 1, (off_t)at), 1);
            c ^= (char)(1 << make_mix(seed + at) % 8);
            cr_assert_eq(pwrite(fd, &c, 1, (off_t)at), 1);
        }
        page += pages - 1;
    }
}

Test(warm_crash, flipped_bytes_in_records_are_misses, .timeout = 120)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        disk_init(&d, 64 * DISK_MIB);
        fill(150);
        cr_assert_gt(each_segment(".seal", flip_in_records, seed * 1000), 1);
        cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
        unsigned right = count_right(150);
        cr_assert(right > 30 && right < 140, "%u", right);
        cr_assert_gt(disk_stats(&d).corrupt, 10);
        /* and life goes on */
        for (uint64_t n = 0; n < 150; n++)
            disk_put(&d, make_object(n, 1000));
        cr_assert_eq(disk_flush(&d), ERR_OK);
        cr_assert_eq(count_right(150), 150);
        disk_close(&d);
        disk_remove(&d);
    }
}

static void cut(int fd, uint64_t size, uint64_t seed)
{
    cr_assert_eq(ftruncate(fd, (off_t)(size * (make_mix(seed) % 90) / 100)), 0);
}

static void garbage(int fd, uint64_t size, uint64_t seed)
{
    char page[8192];
    (void)size;
    for (size_t i = 0; i < sizeof page; i++)
        page[i] = (char)make_mix(seed + i);
    cr_assert_eq(pwrite(fd, page, sizeof page, 0), (ssize_t)sizeof page);
}

static void empty(int fd, uint64_t size, uint64_t seed)
{
    (void)size;
    (void)seed;
    cr_assert_eq(ftruncate(fd, 0), 0);
}

static void zeros(int fd, uint64_t size, uint64_t seed)
{
    (void)seed;
    cr_assert_eq(ftruncate(fd, 0), 0);
    cr_assert_eq(ftruncate(fd, (off_t)size), 0);
}

Test(warm_crash, files_that_are_no_segments_are_dropped_and_counted)
{
    static void (*const damage[])(int, uint64_t, uint64_t) = {cut, garbage, empty, zeros};
    for (size_t k = 0; k < sizeof damage / sizeof *damage; k++) {
        disk_init(&d, 64 * DISK_MIB);
        fill(150);
        unsigned n = each_segment(".seal", damage[k], k * 100);
        cr_assert_gt(n, 1);
        cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
        cr_assert_eq(disk_stats(&d).segments_dropped_bad, n);
        cr_assert_eq(count_right(150), 0);
        cr_assert_eq(disk_put(&d, make_object(1, 1000)), ERR_OK);
        cr_assert_eq(disk_flush(&d), ERR_OK);
        cr_assert_eq(count_right(5), 1);
        disk_close(&d);
        disk_remove(&d);
    }
}

Test(warm_crash, odd_names_in_the_directory_are_left_alone)
{
    disk_init(&d, 64 * DISK_MIB);
    static const char *const names[] = {"README", "0000000000000001.txt", "1.seal", "zzzzzzzzzzzzzzzz.seal",
                                        "0000000000000001.sealed"};
    for (size_t i = 0; i < 5; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", d.path, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        cr_assert_geq(fd, 0);
        close(fd);
    }
    cr_assert_eq(disk_open(&d), ERR_OK);
    cr_assert_eq(disk_stats(&d).segments_dropped_bad, 0);
    disk_put(&d, make_object(1, 100));
    disk_close(&d);
    for (size_t i = 0; i < 5; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", d.path, names[i]);
        cr_assert_eq(access(path, F_OK), 0, "%s", names[i]);
    }
    disk_remove(&d);
}

static void set_boot(const char *id)
{
    char path[512];
    snprintf(path, sizeof path, "%s/boot", d.path);
    FILE *f = fopen(path, "w");
    fprintf(f, "%s\n", id);
    fclose(f);
}

static void poison(int fd, uint64_t size, uint64_t seed)
{
    (void)seed;
    char page[4096];
    memset(page, 0xff, sizeof page);
    for (uint64_t at = 8192; at + 4096 <= size; at += 4096)
        cr_assert_eq(pwrite(fd, page, sizeof page, (off_t)at), 4096);
}

Test(warm_crash, after_a_reboot_unsealed_segments_are_not_even_opened)
{
    disk_init(&d, 64 * DISK_MIB);
    fill(100);
    cr_assert_eq(disk_open(&d), ERR_OK);
    unsigned before = count_right(100);
    cr_assert_eq(before, 100);
    disk_close(&d);
    progress_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0)
        write_until_killed(p, 1000);
    while (atomic_load(&p->flushed) < 1064)
        usleep(1000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_assert_eq(each_segment(".open", poison, 0), 1); /* what a lost write-back leaves: LMDB would crash on it */
    set_boot("another-boot");
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    cr_assert_eq(disk_stats(&d).segments_dropped_boot, 1);
    cr_assert_gt(count_right(100), 50, "the sealed ones are there");
    cr_assert_null(disk_get(&d, 1000, 0));
    disk_close(&d);
    munmap(p, 4096);
    disk_remove(&d);
}

Test(warm_crash, a_disk_that_refuses_writes_costs_only_what_was_written)
{
    disk_init(&d, 64 * DISK_MIB);
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    signal(SIGXFSZ, SIG_IGN);
    for (uint64_t n = 0; n < 50; n++)
        disk_put(&d, make_object(n, 50000));
    cr_assert_eq(disk_flush(&d), ERR_OK);
    struct rlimit all, few;
    getrlimit(RLIMIT_FSIZE, &all);
    few = (struct rlimit){.rlim_cur = 3 * DISK_MIB, .rlim_max = all.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &few), 0);
    object_t *o = object_ref(make_object(99, 1000000));
    for (uint64_t n = 50; n < 60; n++)
        disk_put(&d, make_object(n, 200000));
    disk_put(&d, o);
    for (int i = 0; i < 1000 && disk_stats(&d).write_queue_bytes > 0; i++)
        usleep(10000);
    cr_assert_geq(disk_stats(&d).dropped_error, 1);
    count_right(100);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &all), 0);
    for (uint64_t n = 100; n < 130; n++)
        disk_put(&d, make_object(n, 50000));
    cr_assert_eq(disk_flush(&d), ERR_OK);
    for (uint64_t n = 100; n < 130; n++) {
        object_t *back = disk_get(&d, n, 0);
        cr_assert(back != NULL && make_verify(back, n));
        object_unref(back);
    }
    object_unref(o);
    disk_close(&d);
    disk_remove(&d);
}
