/* The warm tier as its users see it: put, get, remove, restart, full disk, full queues. */
#include <criterion/criterion.h>
#include <sys/uio.h>

#include "edge/policy/reuse.h"
#include "tests/unit/edge/warm/disk.h"

static disk_t d;

static void begin_with(uint64_t size)
{
    disk_init(&d, size);
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
}

static void begin(void)
{
    begin_with(64 * DISK_MIB);
}

static void end(void)
{
    disk_close(&d);
    disk_remove(&d);
}

/* Is n there, byte for byte? */
static bool has(uint64_t n)
{
    object_t *o = disk_get(&d, n, 0);
    if (o == NULL)
        return false;
    cr_assert(make_verify(o, n), "wrong bytes for %llu", (unsigned long long)n);
    object_unref(o);
    return true;
}

Test(warm_io, what_was_put_comes_back)
{
    begin();
    static const size_t sizes[] = {0, 1, 100, 4000, 100000, 262000, 262119, 262120, 262121, 600000, 1000000};
    for (uint64_t n = 0; n < 11; n++) {
        object_t *o = object_ref(make_object(n, sizes[n]));
        cr_assert_eq(disk_put(&d, o), ERR_OK);
        cr_assert_eq(warm_put(d.warm, o), ERR_EXISTS);
        object_unref(o);
    }
    cr_assert_eq(disk_flush(&d), ERR_OK);
    for (uint64_t n = 0; n < 11; n++) {
        cr_assert(warm_maybe(d.warm, make_digest(n)));
        object_t *o = disk_get(&d, n, 0);
        cr_assert_not_null(o, "%zu bytes", sizes[n]);
        cr_assert(make_verify(o, n));
        cr_assert_eq(atomic_load(&o->flags) & ~OBJECT_FLAT, OBJECT_ON_DISK | OBJECT_FROM_DISK);
        cr_assert_neq(atomic_load(&o->disk_id), 0);
        cr_assert_eq(warm_put(d.warm, o), ERR_EXISTS);
        object_unref(o);
    }
    cr_assert_not(has(11));
    cr_assert_not(warm_maybe(d.warm, make_digest(11)));
    warm_stats_t s = disk_stats(&d);
    cr_assert_eq(s.puts, 11);
    cr_assert_eq(s.objects, 11);
    cr_assert_eq(s.hits, 11);
    cr_assert_eq(s.corrupt, 0);
    end();
}

Test(warm_io, the_newest_matching_variant_is_the_answer)
{
    begin();
    for (uint64_t v = 1; v <= 20; v++)
        disk_put(&d, make_object_full(1, v, v * 7 % 23, 500));
    disk_put(&d, make_object_full(1, 3, 50, 600)); /* replaces 21 */
    cr_assert_eq(disk_flush(&d), ERR_OK);
    for (uint64_t v = 1; v <= 20; v++) {
        object_t *o = disk_get(&d, 1, v);
        cr_assert_not_null(o);
        cr_assert_eq(object_variant(o), v);
        cr_assert_eq(object_meta(o).date, v == 3 ? 50 : (msec_t)(v * 7 % 23));
        cr_assert(make_verify(o, 1));
        object_unref(o);
    }
    cr_assert_null(disk_get(&d, 1, 21));
    disk_question_t q;
    disk_ask(&d, &q, 1, 0);
    q.any_variant = true;
    warm_get(d.warm, &q.get);
    object_t *o = disk_answer(&d, &q);
    cr_assert_eq(object_meta(o).date, 50);
    object_unref(o);
    end();
}

Test(warm_io, a_restart_finds_it_and_goes_on)
{
    begin();
    for (uint64_t round = 0; round < 5; round++) {
        for (uint64_t n = 0; n < 50; n++)
            cr_assert_eq(disk_put(&d, make_object(round * 50 + n, 5000)), ERR_OK);
        disk_close(&d); /* without a flush */
        cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
        for (uint64_t n = 0; n < (round + 1) * 50; n++)
            cr_assert(has(n), "round %llu, %llu", (unsigned long long)round, (unsigned long long)n);
    }
    cr_assert_eq(disk_stats(&d).segments, 1, "restarts don't leave small segments behind");
    cr_assert_eq(disk_stats(&d).objects, 250);
    end();
}

Test(warm_io, another_purge_ledger_is_another_cache)
{
    begin();
    disk_put(&d, make_object(1, 100));
    disk_close(&d);
    d.options.epoch = 8;
    cr_assert_eq(disk_open(&d), ERR_OK);
    cr_assert_not(has(1));
    cr_assert_eq(disk_stats(&d).segments_dropped_epoch, 1);
    cr_assert_eq(disk_put(&d, make_object(1, 100)), ERR_OK);
    disk_flush(&d);
    cr_assert(has(1));
    end();
}

Test(warm_io, removed_is_gone_also_after_a_restart)
{
    begin();
    for (uint64_t n = 0; n < 20; n++)
        disk_put(&d, make_object(n, 100));
    disk_put(&d, make_object_full(3, 5, 1, 100));
    warm_remove(d.warm, make_digest(3), 0);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    disk_close(&d);
    cr_assert_eq(disk_open(&d), ERR_OK);
    warm_remove(d.warm, make_digest(4), 0);
    warm_remove(d.warm, make_digest(999), 0);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    cr_assert_not(has(3));
    cr_assert_not(has(4));
    cr_assert(has(5));
    object_t *other = disk_get(&d, 3, 5);
    cr_assert_not_null(other, "only that variant");
    object_unref(other);
    end();
}

Test(warm_io, a_key_is_removed_with_all_its_variants)
{
    begin_with(16 * DISK_MIB);
    for (uint64_t v = 0; v < 10; v++) {
        disk_put(&d, make_object_full(1, v, 1, 1000));
        for (uint64_t n = 0; n < 60; n++) /* over several segments */
            disk_put(&d, make_object(1000 + v * 100 + n, 15000));
    }
    disk_put(&d, make_object(2, 1000));
    cr_assert_eq(disk_flush(&d), ERR_OK);
    cr_assert_gt(disk_stats(&d).segments, 3);
    warm_remove_key(d.warm, make_digest(1));
    cr_assert_eq(disk_flush(&d), ERR_OK);
    for (uint64_t v = 0; v < 10; v++)
        cr_assert_null(disk_get(&d, 1, v));
    cr_assert_eq(disk_stats(&d).removed, 10);
    cr_assert(has(2));
    disk_put(&d, make_object_full(1, 3, 2, 1000));
    disk_flush(&d);
    object_t *o = disk_get(&d, 1, 3);
    cr_assert_not_null(o);
    object_unref(o);
    end();
}

/* An erasure that finds the open segment full begins another one, and must not miss what the full one has. */
static void remove_from_a_full_segment(bool whole_key)
{
    begin_with(16 * DISK_MIB);
    uint64_t n = 0, full = d.options.size / 8;
    for (; disk_stats(&d).bytes < full; n++) {
        disk_put(&d, make_object_full(n, n % 2, 1, disk_stats(&d).bytes + 64 * 1024 < full ? 15000 : 100));
        cr_assert_eq(disk_flush(&d), ERR_OK);
    }
    cr_assert_eq(disk_stats(&d).segments, 1, "one more would begin another");
    n--;
    if (whole_key)
        warm_remove_key(d.warm, make_digest(n));
    else
        warm_remove(d.warm, make_digest(n), n % 2);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    cr_assert_eq(disk_stats(&d).segments, 2);
    cr_assert_null(disk_get(&d, n, n % 2));
    cr_assert_eq(disk_stats(&d).removed, 1);
    end();
}

Test(warm_io, a_variant_of_a_full_segment_is_removed)
{
    remove_from_a_full_segment(false);
}

Test(warm_io, a_key_of_a_full_segment_is_removed)
{
    remove_from_a_full_segment(true);
}

Test(warm_io, a_later_put_is_not_removed_by_an_earlier_remove)
{
    begin();
    disk_put(&d, make_object_full(1, 0, 1, 100));
    warm_remove(d.warm, make_digest(1), 0);
    disk_put(&d, make_object_full(1, 0, 2, 100));
    cr_assert_eq(disk_flush(&d), ERR_OK);
    object_t *o = disk_get(&d, 1, 0);
    cr_assert_not_null(o);
    cr_assert_eq(object_meta(o).date, 2);
    object_unref(o);
    end();
}

Test(warm_io, marks_are_kept_and_hard_ones_never_answered)
{
    begin();
    object_t *soft = make_object(1, 100), *hard = make_object(2, 100), *dead = make_object(3, 100);
    stored_t meta = {.flags = STORED_HIT_FOR_MISS, .lifetime = 1000};
    object_t *note = object_restore(make_digest(4), 0, SPAN("http://host/4"), 7, 6, SPAN_NONE, &meta, 1,
                                    mem_zalloc(sizeof(fieldblock_t)), body_new(0), NULL, 0);
    body_end(object_body(note), BODY_COMPLETE);
    atomic_store(&soft->stamp.mark, MARK_SOFT);
    atomic_store(&hard->stamp.mark, MARK_HARD);
    atomic_fetch_or(&dead->flags, OBJECT_DEAD);
    cr_assert_eq(disk_put(&d, soft), ERR_OK);
    cr_assert_eq(disk_put(&d, hard), ERR_OK);
    cr_assert_eq(disk_put(&d, dead), ERR_REFUSED);
    cr_assert_eq(disk_put(&d, note), ERR_REFUSED);
    disk_flush(&d);
    object_t *o = disk_get(&d, 1, 0);
    cr_assert_not_null(o);
    cr_assert_eq(atomic_load(&o->stamp.mark), MARK_SOFT);
    object_unref(o);
    cr_assert_not(has(2));
    end();
}

Test(warm_io, a_full_disk_stays_within_its_size_and_goes_on)
{
    begin_with(16 * DISK_MIB);
    uint64_t n = 0, bytes = 0, x = 1;
    while (bytes < 100 * DISK_MIB) {
        x = make_mix(x);
        size_t size = x % 10 == 0 ? x % 900000 : x % 30000;
        cr_assert_eq(disk_put(&d, make_object(n++, size)), ERR_OK);
        bytes += size;
        if (n % 100 == 0)
            cr_assert_leq(disk_usage(&d), 16 * DISK_MIB);
    }
    cr_assert_eq(disk_flush(&d), ERR_OK);
    cr_assert_leq(disk_usage(&d), 16 * DISK_MIB);
    warm_stats_t s = disk_stats(&d);
    cr_assert_leq(s.bytes, s.budget);
    cr_assert_gt(s.bytes, s.budget / 2);
    cr_assert_eq(s.dropped_error, 0);
    cr_assert_eq(s.dropped_big, 0);
    cr_assert_gt(s.segments_dropped_full, 30);
    uint64_t found = 0;
    for (uint64_t k = 0; k < n; k++)
        found += has(k);
    cr_assert_eq(found, s.objects);
    cr_assert(has(n - 1));
    cr_assert_not(has(0));
    /* the same under a smaller size after a restart */
    disk_close(&d);
    d.options.size = 16 * DISK_MIB + 4096;
    cr_assert_eq(disk_open(&d), ERR_OK);
    cr_assert(has(n - 1));
    end();
}

Test(warm_io, what_is_hit_survives_the_rotation)
{
    begin_with(16 * DISK_MIB);
    for (uint64_t n = 0; n < 20; n++)
        disk_put(&d, make_object(n, 10000));
    uint64_t version_of_3 = 0;
    for (uint64_t n = 1000; n < 1000 + 4000; n++) {
        disk_put(&d, make_object(n, 15000));
        if (n % 50 == 0) {
            disk_flush(&d);
            for (uint64_t k = 0; k < 10; k++)
                cr_assert(has(k), "%llu was hit all the time", (unsigned long long)k);
        }
        if (n == 1500) { /* replaced while an older one is popular */
            disk_put(&d, make_object_full(3, 0, version_of_3 = 9, 10000));
            warm_remove(d.warm, make_digest(5), 0);
            disk_put(&d, make_object(5, 10000));
        }
    }
    for (uint64_t k = 10; k < 20; k++)
        cr_assert_not(has(k), "%llu was never hit", (unsigned long long)k);
    object_t *o = disk_get(&d, 3, 0);
    cr_assert_eq((uint64_t)object_meta(o).date, version_of_3);
    object_unref(o);
    warm_stats_t s = disk_stats(&d);
    cr_assert_gt(s.reinserted, 10);
    cr_assert_lt(s.reinserted, 1000);
    end();
}

Test(warm_io, removed_is_not_reinserted)
{
    begin_with(16 * DISK_MIB);
    for (uint64_t n = 0; n < 10; n++)
        disk_put(&d, make_object(n, 10000));
    for (uint64_t n = 1000; n < 1000 + 300; n++)
        disk_put(&d, make_object(n, 15000));
    disk_flush(&d);
    for (uint64_t k = 0; k < 10; k++)
        cr_assert(has(k));
    warm_remove(d.warm, make_digest(4), 0);
    for (uint64_t n = 2000; n < 2000 + 2000; n++)
        disk_put(&d, make_object(n, 15000));
    disk_flush(&d);
    cr_assert_not(has(4));
    cr_assert_gt(disk_stats(&d).reinserted, 5);
    end();
}

Test(warm_io, an_object_that_fell_off_can_be_put_again)
{
    begin_with(16 * DISK_MIB);
    object_t *o = make_object(1, 1000);
    cr_assert_eq(warm_put(d.warm, o), ERR_OK);
    disk_flush(&d);
    cr_assert_eq(warm_put(d.warm, o), ERR_EXISTS);
    for (uint64_t n = 1000; n < 1000 + 1500; n++)
        disk_put(&d, make_object(n, 15000));
    disk_flush(&d);
    /* the ERR_EXISTS above came while its segment was open: no hit was noted, so it has fallen off */
    cr_assert_not(has(1));
    cr_assert_eq(warm_put(d.warm, o), ERR_OK);
    disk_flush(&d);
    cr_assert(has(1));
    object_unref(o);
    end();
}

Test(warm_io, a_slow_disk_drops_writes_and_reads_and_never_blocks)
{
    begin();
    disk_put(&d, make_object(0, 10));
    disk_flush(&d);
    disk_close(&d);
    d.options.queue_bytes = 100000;
    cr_assert_eq(disk_open(&d), ERR_OK);
    warm_stall(d.warm, 1000);
    int64_t began = clock_nanos();
    unsigned full = 0;
    for (uint64_t n = 1; n < 100; n++) {
        object_t *o = make_object(n, 10000);
        err_t e = warm_put(d.warm, o);
        cr_assert(e == ERR_OK || e == ERR_AGAIN);
        full += e == ERR_AGAIN;
        cr_assert_eq((atomic_load(&o->flags) & OBJECT_ON_DISK) != 0, e == ERR_OK);
        object_unref(o);
    }
    cr_assert_geq(full, 80);
    cr_assert_eq(disk_stats(&d).dropped_full, full);
    cr_assert_leq(disk_stats(&d).write_queue_bytes, 100000 + 12000);
    static disk_question_t q[WARM_MAX_READS + 100];
    for (size_t i = 0; i < WARM_MAX_READS + 100; i++) {
        disk_ask(&d, &q[i], 0, 0);
        warm_get(d.warm, &q[i].get);
    }
    cr_assert_lt(clock_nanos() - began, 700 * (int64_t)1000000, "nothing of this waits for the disk");
    cr_assert_geq(disk_stats(&d).refused_reads, 90);
    cr_assert_eq(warm_flush(d.warm, clock_now().boot + 120), ERR_TIMEOUT);
    cr_assert(warm_stalled(d.warm, 50));
    cr_assert_not(warm_stalled(d.warm, 10000));
    warm_stall(d.warm, 0);
    unsigned found = 0;
    for (size_t i = 0; i < WARM_MAX_READS + 100; i++) {
        object_t *o = disk_answer(&d, &q[i]);
        found += o != NULL;
        object_unref(o);
    }
    cr_assert_geq(found, WARM_MAX_READS - 4);
    cr_assert_geq(disk_stats(&d).stalls, 1);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    end();
}

Test(warm_io, closing_answers_those_who_wait)
{
    begin();
    disk_put(&d, make_object(0, 10));
    disk_flush(&d);
    warm_stall(d.warm, 50);
    disk_question_t q[20];
    for (size_t i = 0; i < 20; i++) {
        disk_ask(&d, &q[i], 0, 0);
        warm_get(d.warm, &q[i].get);
    }
    disk_close(&d);
    for (size_t i = 0; i < 20; i++) {
        cr_assert(q[i].done);
        object_unref(q[i].o);
    }
    disk_remove(&d);
}

Test(warm_io, without_room_in_memory_it_is_a_miss)
{
    begin();
    disk_put(&d, make_object(0, 10000));
    disk_flush(&d);
    disk_question_t q;
    disk_ask(&d, &q, 0, 0);
    q.refuse = true;
    warm_get(d.warm, &q.get);
    cr_assert_null(disk_answer(&d, &q));
    cr_assert_eq(q.get.granted, 0);
    disk_ask(&d, &q, 0, 0);
    warm_get(d.warm, &q.get);
    object_t *o = disk_answer(&d, &q);
    cr_assert_geq(q.get.granted, object_bytes(o), "what is granted covers what it takes");
    object_unref(o);
    end();
}

Test(warm_io, one_object_takes_at_most_a_quarter_of_the_disk)
{
    begin_with(16 * DISK_MIB);
    object_t *o = make_object(1, 5 * DISK_MIB);
    cr_assert_eq(warm_put(d.warm, o), ERR_TOO_BIG);
    cr_assert_eq(atomic_load(&o->flags), 0);
    object_unref(o);
    for (uint64_t n = 2; n < 30; n++) { /* some larger than a usual segment */
        cr_assert_eq(disk_put(&d, make_object(n, n % 3 == 0 ? 3700 * 1024 : 700 * 1024)), ERR_OK);
        cr_assert_eq(disk_flush(&d), ERR_OK);
        cr_assert_leq(disk_usage(&d), 16 * DISK_MIB);
        cr_assert(has(n) && (n == 2 || has(n - 1)));
    }
    cr_assert_eq(disk_stats(&d).dropped_error, 0);
    disk_close(&d);
    cr_assert_eq(disk_open(&d), ERR_OK);
    cr_assert(has(29) && has(28) && has(27));
    end();
}

Test(warm_io, what_can_not_be_opened_says_why)
{
    begin();
    disk_t other = d;
    cr_assert_eq(disk_open(&other), ERR_EXISTS);
    cr_assert(strstr(other.sentence, "in use") != NULL, "%s", other.sentence);
    other.options.size = (uint64_t)1 << 60;
    snprintf(other.path, sizeof other.path, "%.200s/sub", d.path);
    cr_assert_eq(disk_open(&other), ERR_RANGE);
    cr_assert(strstr(other.sentence, "smaller size") != NULL, "%s", other.sentence);
    unlink(strcat(strcpy(other.sentence, other.path), "/lock"));
    rmdir(other.path);
    other.options.size = 1000;
    cr_assert_eq(disk_open(&other), ERR_RANGE);
    cr_assert(strstr(other.sentence, "at least") != NULL, "%s", other.sentence);
    other.options.size = 64 * DISK_MIB;
    snprintf(other.path, sizeof other.path, "%.200s/lock/x", d.path);
    cr_assert_eq(disk_open(&other), ERR_IO);
    cr_assert(strstr(other.sentence, "can't be written") != NULL, "%s", other.sentence);
    end();
}

/* May this file system be asked for what is in the page cache alone? */
static bool answers_without_waiting(void)
{
    char path[512], byte = 0;
    struct iovec v = {.iov_base = &byte, .iov_len = 1};
    snprintf(path, sizeof path, "%s/lock", d.path);
    int fd = open(path, O_RDWR);
    bool yes = fd >= 0 && pwrite(fd, &byte, 1, 0) == 1 && preadv2(fd, &v, 1, 0, RWF_NOWAIT) == 1;
    close(fd);
    return yes;
}

Test(warm_io, what_is_in_the_page_cache_is_answered_at_once)
{
    begin();
    if (!answers_without_waiting()) {
        end();
        return;
    }
    static const size_t sizes[] = {0, 100, 3000, 15000, 100000};
    for (uint64_t n = 0; n < 5; n++)
        disk_put(&d, make_object(n, sizes[n]));
    disk_put(&d, make_object(9, 100));
    warm_remove(d.warm, make_digest(9), 0);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    disk_question_t q;
    object_t *o;
    for (uint64_t n = 0; n < 4; n++) {
        disk_ask(&d, &q, n, 0);
        cr_assert_eq(warm_get_now(d.warm, &q.get, &o), ERR_OK);
        cr_assert(make_verify(o, n));
        cr_assert_geq(q.get.granted, object_bytes(o));
        object_unref(o);
    }
    disk_ask(&d, &q, 4, 0);
    cr_assert_eq(warm_get_now(d.warm, &q.get, &o), ERR_AGAIN, "much to copy: not on a loop");
    disk_ask(&d, &q, 9, 0);
    cr_assert_eq(warm_get_now(d.warm, &q.get, &o), ERR_NOT_FOUND);
    cr_assert_eq(disk_stats(&d).gets_now, 5);
    /* out of the page cache, which takes that it is on the disk */
    DIR *dir = opendir(d.path);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        int fd = openat(dirfd(dir), e->d_name, O_RDWR);
        if (fd >= 0 && fsync(fd) == 0)
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    closedir(dir);
    disk_ask(&d, &q, 2, 0);
    cr_assert_eq(warm_get_now(d.warm, &q.get, &o), ERR_AGAIN);
    cr_assert(has(2));
    disk_ask(&d, &q, 2, 0);
    cr_assert_eq(warm_get_now(d.warm, &q.get, &o), ERR_OK);
    object_unref(o);
    end();
}
