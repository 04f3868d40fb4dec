/* Damage anywhere in the files, LMDB's own trees included: every start succeeds, no byte is wrong, writing goes on, and
 * the process lives. Ten rounds here; BRINK_ROUNDS=200 for more by hand. */
#include <criterion/criterion.h>
#include <signal.h>

#include "edge/warm/guard.h"
#include "tests/unit/edge/warm/disk.h"

static disk_t d;

enum { OBJECTS = 1500 };

static uint64_t rounds(uint64_t usual)
{
    const char *asked = getenv("BRINK_ROUNDS");
    return asked != NULL ? strtoull(asked, NULL, 10) : usual;
}

static size_t size_of(uint64_t n)
{
    return make_mix(n) % (n % 100 == 0 ? 600000 : n % 10 == 0 ? 30000 : 900);
}

static void put(uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n < to; n++)
        disk_put(&d, make_object(n, size_of(n)));
}

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

static void flip(int fd, uint64_t at, uint64_t seed)
{
    char c;
    if (pread(fd, &c, 1, (off_t)at) != 1)
        return;
    c ^= (char)(seed % 255 + 1);
    cr_assert_eq(pwrite(fd, &c, 1, (off_t)at), 1);
}

/* A tree page at random (LMDB's kinds 1 and 2), or UINT64_MAX. */
static uint64_t tree_page(int fd, uint64_t size, uint64_t seed)
{
    for (uint64_t k = 0; k < 200; k++) {
        uint64_t page = 2 + make_mix(seed + k) % (size / 4096 - 2), says = 0;
        uint16_t flags = 0;
        if (pread(fd, &flags, 2, (off_t)(page * 4096 + 10)) == 2 && pread(fd, &says, 8, (off_t)(page * 4096)) == 8 &&
            says == page && (flags == 1 || flags == 2))
            return page;
    }
    return UINT64_MAX;
}

static void damage(int fd, uint64_t size, uint64_t seed)
{
    uint64_t page, kind = seed % 6;
    char copy[4096];
    switch (kind) {
    case 0: /* anywhere */
        for (uint64_t k = 0; k < 1 + seed % 300; k++)
            flip(fd, make_mix(seed * 1000 + k) % size, make_mix(k + seed));
        break;
    case 1: /* in trees */
    case 2:
        for (uint64_t k = 0; k < 1 + seed % 40; k++)
            if ((page = tree_page(fd, size, seed * 77 + k * 1000)) != UINT64_MAX)
                flip(fd, page * 4096 + make_mix(seed + k) % (kind == 1 ? 32 : 4096), make_mix(k * seed));
        break;
    case 3: /* cut */
        cr_assert_eq(ftruncate(fd, (off_t)(make_mix(seed) % size)), 0);
        break;
    case 4: /* one page in the place of another */
        if ((page = tree_page(fd, size, seed)) != UINT64_MAX && pread(fd, copy, 4096, (off_t)(page * 4096)) == 4096)
            cr_assert_eq(pwrite(fd, copy, 4096, (off_t)((2 + make_mix(seed + 1) % (size / 4096 - 2)) * 4096)), 4096);
        break;
    case 5: /* what a disk does that forgets */
        memset(copy, seed % 12 < 6 ? 0 : 0xff, sizeof copy);
        for (uint64_t k = 0; k < 1 + seed % 20; k++)
            if ((page = tree_page(fd, size, seed * 31 + k)) != UINT64_MAX)
                cr_assert_eq(pwrite(fd, copy, 4096, (off_t)(page * 4096)), 4096);
        break;
    }
}

static unsigned damage_all(uint64_t seed)
{
    unsigned n = 0;
    DIR *dir = opendir(d.path);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat st;
        size_t len = strlen(e->d_name);
        if (len != 21 || (strcmp(e->d_name + 16, ".seal") != 0 && strcmp(e->d_name + 16, ".open") != 0))
            continue;
        int fd = openat(dirfd(dir), e->d_name, O_RDWR);
        cr_assert_eq(fstat(fd, &st), 0);
        if (st.st_size > 3 * 4096)
            damage(fd, (uint64_t)st.st_size, seed * 10 + n++);
        close(fd);
    }
    closedir(dir);
    return n;
}

static void write_on(uint64_t seed)
{
    for (uint64_t n = 0; n < 300; n++) {
        uint64_t x = make_mix(seed + n) % OBJECTS;
        if (n % 3 == 0)
            warm_remove(d.warm, make_digest(x), 0);
        else
            disk_put(&d, make_object(x, size_of(x)));
    }
    disk_flush(&d);
}

Test(warm_damage, damage_between_two_starts, .timeout = 3000)
{
    uint64_t n = rounds(10);
    unsigned found = 0, dropped = 0, corrupt = 0;
    for (uint64_t seed = 1; seed <= n; seed++) {
        disk_init(&d, 16 * DISK_MIB);
        cr_assert_eq(disk_open(&d), ERR_OK);
        put(0, OBJECTS);
        if (seed % 2 == 0) { /* an unsealed one, as kill -9 leaves it */
            cr_assert_eq(disk_flush(&d), ERR_OK);
            pid_t pid = fork();
            if (pid == 0)
                _exit(damage_all(seed) > 0 ? 0 : 1);
            int status;
            waitpid(pid, &status, 0);
            cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            count_right(OBJECTS); /* damaged under the running tier */
            write_on(seed);
            count_right(OBJECTS);
            disk_close(&d);
        } else {
            disk_close(&d);
            cr_assert_gt(damage_all(seed), 1);
        }
        cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
        found += count_right(OBJECTS);
        write_on(seed);
        count_right(OBJECTS);
        corrupt += (unsigned)disk_stats(&d).corrupt;
        dropped += (unsigned)disk_stats(&d).segments_dropped_bad;
        disk_close(&d);
        cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
        count_right(OBJECTS);
        /* what is written now is there */
        cr_assert_eq(disk_put(&d, make_object(OBJECTS + 1, 5000)), ERR_OK);
        cr_assert_eq(disk_flush(&d), ERR_OK);
        object_t *o = disk_get(&d, OBJECTS + 1, 0);
        cr_assert(o != NULL && make_verify(o, OBJECTS + 1));
        object_unref(o);
        disk_close(&d);
        disk_remove(&d);
    }
    printf("%llu rounds: %u objects found, %u records and %u segments dropped\n", (unsigned long long)n, found, corrupt,
           dropped);
    cr_assert_gt(found, 0);
    cr_assert_gt(dropped + corrupt, 0);
}

static int touch(volatile char *p)
{
    return *p;
}

Test(warm_damage, a_fault_in_a_guarded_call_is_an_answer)
{
    guard_install();
    for (int i = 0; i < 3; i++) {
        int rc = 0;
        GUARD(rc, touch((char *)(uintptr_t)4096));
        cr_assert_eq(rc, GUARD_FAULT);
        GUARD(rc, 7);
        cr_assert_eq(rc, 7);
    }
    int rc = 0;
    GUARD(rc, (guard_assert(NULL, "made up"), 0));
    cr_assert_eq(rc, GUARD_FAULT);
}

/* Dies by itself while a segment is open: that segment is left out by the next start, the others are there. */
Test(warm_damage, a_death_leaves_out_what_was_being_written)
{
    disk_init(&d, 16 * DISK_MIB);
    cr_assert_eq(disk_open(&d), ERR_OK);
    for (uint64_t n = 0; n < 400; n++)
        disk_put(&d, make_object(n, 20000)); /* over several segments */
    disk_close(&d);
    pid_t pid = fork();
    if (pid == 0) {
        if (disk_open(&d) != ERR_OK)
            _exit(3);
        for (uint64_t n = 1000; n < 1040; n++)
            disk_put(&d, make_object(n, 20000));
        if (disk_flush(&d) != ERR_OK)
            _exit(4);
        signal(SIGABRT, SIG_DFL);
        raise(SIGSEGV);
        _exit(5);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 1, "%d", status); /* a sanitizer makes it an exit */
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    cr_assert_eq(disk_stats(&d).segments_dropped_bad, 1);
    cr_assert_null(disk_get(&d, 1039, 0));
    cr_assert_gt(count_right(400), 200);
    disk_close(&d);
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    cr_assert_eq(disk_stats(&d).segments_dropped_bad, 0, "once");
    disk_close(&d);
    disk_remove(&d);
}
