/* The sweep that lets the purge ledger forget: what is dead goes from disk, other marks are kept there, and what comes
 * back says how far it was checked. With the real ledger behind the verdict. */
#include <criterion/criterion.h>

#include "purge/ledger.h"
#include "tests/unit/edge/warm/disk.h"

static disk_t d;
static ledger_t *ledger;
static _Atomic size_t asked;

static uint32_t verdict(void *arg, const warm_subject_t *s, uint64_t after, uint64_t *upto)
{
    (void)arg;
    atomic_fetch_add(&asked, 1);
    ledger_subject_t subject = {.uri = s->uri, .uri_digest = s->uri_digest, .tags = s->tags, .tags_n = s->tags_n};
    return ledger_check(ledger, &subject, after, upto);
}

static void begin_with(uint64_t size)
{
    disk_init(&d, size);
    d.options.verdict = verdict;
    ledger = ledger_new(7, 0);
    ledger_load_head(ledger, 10);
    atomic_store(&asked, 0);
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
    ledger_free(ledger);
}
TestSuite(warm_sweep, .init = begin, .fini = end);

static uint64_t purge(uint64_t n, mark_t level)
{
    char uri[64];
    int len = snprintf(uri, sizeof uri, "host/%llu", (unsigned long long)n);
    ledger_value_t v = {.kind = LEDGER_URL, .digest = key_uri_digest(span_of(uri, (size_t)len))};
    return ledger_append(ledger, &(ledger_entry_t){.level = level, .values = &v, .n = 1}, NULL);
}

static void put(uint64_t n)
{
    cr_assert_eq(disk_put(&d, make_object(n, 3000)), ERR_OK);
}

static void sweep(uint64_t position)
{
    warm_sweep(d.warm, position);
    for (int i = 0; warm_swept(d.warm) < position; i++) {
        cr_assert_lt(i, 20000, "the sweep never ends");
        usleep(1000);
    }
}

static uint32_t mark(uint64_t n, uint64_t *checked)
{
    object_t *o = disk_get(&d, n, 0);
    cr_assert_not_null(o, "%llu is gone", (unsigned long long)n);
    uint32_t m = atomic_load(&o->stamp.mark);
    *checked = atomic_load(&o->stamp.checked_to);
    cr_assert(make_verify(o, n));
    object_unref(o);
    return m;
}

static bool gone(uint64_t n)
{
    object_t *o = disk_get(&d, n, 0);
    object_unref(o);
    return o == NULL;
}

static void expect_swept(uint64_t head)
{
    uint64_t checked;
    cr_expect_eq(mark(1, &checked), MARK_NONE);
    cr_expect_geq(checked, head);
    cr_expect(gone(2), "hard");
    cr_expect_eq(mark(3, &checked), MARK_SOFT);
    cr_expect_geq(checked, head);
    cr_expect_eq(mark(4, &checked), MARK_STRICT);
    /* what the ledger forgets after the sweep makes no difference to what was swept */
    ledger_compact(ledger, head);
    object_t *o = disk_get(&d, 3, 0);
    ledger_subject_t s = {
        .uri = object_uri(o), .uri_digest = object_uri_digest(o), .tags = object_tags(o), .tags_n = o->tags_n};
    cr_expect_eq(ledger_stamp_check(ledger, &o->stamp, &s), MARK_SOFT);
    object_unref(o);
}

Test(warm_sweep, keeps_verdicts_and_erases_the_dead)
{
    for (uint64_t n = 1; n <= 600; n++) /* several slices */
        put(n);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    purge(2, MARK_HARD);
    purge(3, MARK_SOFT);
    uint64_t head = purge(4, MARK_STRICT);
    cr_assert_eq(mark(3, &(uint64_t){0}), MARK_NONE, "nobody has looked yet");
    sweep(head);
    expect_swept(head);
    size_t before = atomic_load(&asked);
    sweep(head + 1); /* a new goal: everything is asked about again, from where it was checked to */
    cr_expect_geq(atomic_load(&asked), before + 599);
}

Test(warm_sweep, a_restart_remembers_it)
{
    for (uint64_t n = 1; n <= 10; n++)
        put(n);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    purge(2, MARK_HARD);
    purge(3, MARK_SOFT);
    uint64_t head = purge(4, MARK_STRICT);
    sweep(head);
    disk_close(&d);
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    expect_swept(head);
    size_t before = atomic_load(&asked);
    sweep(head);
    cr_expect_eq(atomic_load(&asked), before, "segments remember that they were swept");
}

/* Without what was noted nobody knows what was purged, and the ledger has forgotten it. */
Test(warm_sweep, lost_notes_are_lost_objects_and_no_resurrection)
{
    for (uint64_t n = 1; n <= 10; n++)
        put(n);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    uint64_t head = purge(2, MARK_HARD);
    sweep(head);
    cr_expect(gone(2));
    ledger_compact(ledger, head);
    disk_close(&d);
    DIR *dir = opendir(d.path);
    size_t lost = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strstr(e->d_name, ".marks") != NULL)
            lost += unlinkat(dirfd(dir), e->d_name, 0) == 0;
    closedir(dir);
    cr_assert_eq(lost, 1);
    cr_assert_eq(disk_open(&d), ERR_OK, "%s", d.sentence);
    for (uint64_t n = 1; n <= 10; n++) {
        object_t *o = disk_get(&d, n, 0);
        cr_assert_not_null(o);
        ledger_subject_t s = {
            .uri = object_uri(o), .uri_digest = object_uri_digest(o), .tags = object_tags(o), .tags_n = o->tags_n};
        cr_expect_eq(ledger_stamp_check(ledger, &o->stamp, &s), MARK_HARD);
        object_unref(o);
    }
}

Test(warm_sweep, what_is_written_is_checked_when_it_is_written)
{
    uint64_t checked, head = purge(3, MARK_SOFT);
    head = purge(2, MARK_HARD);
    put(1); /* their fetches began before the purges, and nobody has asked since */
    cr_assert_eq(disk_put(&d, make_object(2, 100)), ERR_OK);
    put(3);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    cr_expect(gone(2));
    cr_expect_eq(disk_stats(&d).dropped_purged, 1);
    cr_expect_eq(mark(1, &checked), MARK_NONE);
    cr_expect_eq(checked, head);
    cr_expect_eq(mark(3, &checked), MARK_SOFT);
    cr_expect_eq(checked, head);
}

Test(warm_sweep, an_erased_copy_uncovers_no_older_one)
{
    object_t *first = make_object_full(9, 0, 1, 3000), *second = make_object_full(9, 0, 5, 3000);
    cr_assert_eq(disk_put(&d, first), ERR_OK);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    /* fills the segment, so that the second goes into another one */
    for (uint64_t n = 100; n < 112; n++)
        cr_assert_eq(disk_put(&d, make_object(n, 1000 * 1000)), ERR_OK);
    cr_assert_eq(disk_put(&d, second), ERR_OK);
    cr_assert_eq(disk_flush(&d), ERR_OK);
    cr_assert_gt(disk_stats(&d).segments, 1);
    sweep(purge(9, MARK_HARD));
    cr_expect(gone(9));
}

/* Writers, rotations and a sweep at the same time: whatever began before a purge is gone or marked when it is done. */
Test(warm_sweep, while_it_is_written_and_rotated)
{
    end();
    begin_with(16 * DISK_MIB); /* of which the oldest are dropped all the while */
    for (uint64_t n = 0; n < 2000; n++)
        put(n);
    uint64_t head = 0;
    for (uint64_t n = 0; n < 4000; n += 7)
        head = purge(n, n % 2 ? MARK_HARD : MARK_SOFT);
    warm_sweep(d.warm, head);
    for (uint64_t n = 2000; n < 6000; n++) {
        put(n);
        if (n % 500 == 0) /* so that what is asked for is there, however busy the machine is */
            cr_assert_eq(disk_flush(&d), ERR_OK);
        if (n % 4 == 0)
            object_unref(disk_get(&d, n - 1500, 0)); /* hit: copied when its segment falls off */
    }
    cr_assert_eq(disk_flush(&d), ERR_OK);
    sweep(head);
    size_t there = 0;
    for (uint64_t n = 0; n < 6000; n++) {
        object_t *o = disk_get(&d, n, 0);
        if (o == NULL)
            continue;
        there++;
        bool purged = n < 4000 && n % 7 == 0;
        cr_expect_geq(atomic_load(&o->stamp.checked_to), head, "%llu", (unsigned long long)n);
        cr_expect_eq(atomic_load(&o->stamp.mark), purged ? MARK_SOFT : MARK_NONE, "%llu", (unsigned long long)n);
        cr_expect(!purged || n % 2 == 0, "%llu is dead", (unsigned long long)n);
        object_unref(o);
    }
    cr_expect_gt(there, 1000);
    cr_expect_gt(disk_stats(&d).segments_dropped_full, 1);
    cr_expect_gt(disk_stats(&d).reinserted, 0);
}
