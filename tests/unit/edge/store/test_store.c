/* The memory tier: what is found, what is replaced, what goes, and that the bytes always add up. */
#include <criterion/criterion.h>

#include "edge/store/store.h"
#include "tests/unit/edge/store/make.h"

typedef struct seen {
    unsigned why[STORE_WHYS];
    unsigned worthy;
    object_t *keep; /* takes a reference to the first evicted */
    bool mark;      /* on_worthy sets OBJECT_ON_DISK */
} seen_t;

static void saw(object_t *o, store_why_t why, void *arg)
{
    seen_t *s = arg;
    s->why[why]++;
    if (why == STORE_EVICTED && s->keep == NULL)
        s->keep = object_ref(o);
}

static void worthy(object_t *o, void *arg)
{
    seen_t *s = arg;
    s->worthy++;
    if (s->mark)
        atomic_fetch_or(&o->flags, OBJECT_ON_DISK);
}

static store_t *open_store(uint64_t bytes, seen_t *seen)
{
    /* budgets are small here, and so are the tables of this policy */
    store_options_t o = {
        .bytes = bytes, .shards = 4, .policy = &evict_s3fifo, .on_evict = saw, .on_worthy = worthy, .arg = seen};
    return store_open(&o);
}

static bool any(const object_t *o, void *arg)
{
    (void)o;
    (void)arg;
    return true;
}

static bool is_variant(const object_t *o, void *arg)
{
    return object_variant(o) == *(uint64_t *)arg;
}

static store_fate_t every_one(object_t *o, void *arg)
{
    (void)o;
    (void)arg;
    return STORE_REMOVE;
}

static err_t put(store_t *s, object_t *o)
{
    err_t e = store_insert(s, o, 0);
    object_unref(o);
    return e;
}

static bool has(store_t *s, uint64_t n)
{
    object_t *o = store_peek(s, make_digest(n), any, NULL);
    bool right = o != NULL && make_verify(o, n);
    object_unref(o);
    return right;
}

static store_stats_t stats(store_t *s)
{
    store_stats_t st;
    store_stats(s, &st);
    return st;
}

Test(store, finds_what_was_put_and_nothing_else)
{
    seen_t seen = {0};
    store_t *s = open_store(1 << 20, &seen);
    for (uint64_t n = 0; n < 200; n++)
        cr_assert_eq(put(s, make_object(n, (size_t)n)), ERR_OK);
    for (uint64_t n = 0; n < 200; n++)
        cr_assert(has(s, n));
    cr_assert_not(has(s, 200));
    cr_assert_eq(stats(s).objects, 200);
    store_close(s);
}

Test(store, a_newer_response_replaces_the_same_variant)
{
    seen_t seen = {0};
    store_t *s = open_store(1 << 20, &seen);
    object_t *old = make_object_full(1, 0, 1, 100);
    cr_assert_eq(store_insert(s, old, 0), ERR_OK);
    cr_assert_eq(store_insert(s, old, 0), ERR_EXISTS);
    cr_assert_eq(put(s, make_object_full(1, 5, 1, 100)), ERR_OK);
    cr_assert_eq(put(s, make_object_full(1, 0, 2, 100)), ERR_OK);
    cr_assert_eq(stats(s).objects, 2);
    cr_assert_eq(seen.why[STORE_REPLACED], 1);
    cr_assert(object_dead(old));
    cr_assert_eq(store_insert(s, old, 0), ERR_REFUSED, "what was replaced never comes back");
    cr_assert(make_verify(old, 1), "whoever still has it reads on");
    cr_assert_not(store_remove(s, old));
    object_unref(old);
    uint64_t v = 0;
    object_t *o = store_lookup(s, make_digest(1), is_variant, &v);
    cr_assert_eq(object_meta(o).date, 2);
    object_unref(o);
    store_close(s);
}

Test(store, the_newest_match_wins)
{
    seen_t seen = {0};
    store_t *s = open_store(1 << 20, &seen);
    for (uint64_t v = 1; v <= 9; v++)
        put(s, make_object_full(7, v, v * 13 % 10, 10)); /* dates in no order: the highest is 9 */
    object_t *o = store_lookup(s, make_digest(7), any, NULL);
    cr_assert_eq(object_meta(o).date, 9);
    object_unref(o);
    uint64_t v = 77;
    cr_assert_null(store_lookup(s, make_digest(7), is_variant, &v));
    store_close(s);
}

Test(store, variants_of_a_key_are_bounded_and_the_oldest_goes)
{
    seen_t seen = {0};
    store_t *s = open_store(1 << 20, &seen);
    for (uint64_t v = 1; v <= STORE_MAX_VARIANTS + 10; v++)
        cr_assert_eq(put(s, make_object_full(7, v, v, 10)), ERR_OK);
    cr_assert_eq(stats(s).objects, STORE_MAX_VARIANTS);
    cr_assert_eq(seen.why[STORE_CROWDED], 10);
    for (uint64_t v = 1; v <= STORE_MAX_VARIANTS + 10; v++) {
        object_t *o = store_peek(s, make_digest(7), is_variant, &v);
        cr_assert_eq(o != NULL, v > 10);
        object_unref(o);
    }
    store_close(s);
}

Test(store, the_budget_is_hard)
{
    seen_t seen = {0};
    store_t *s = open_store(256 * 1024, &seen);
    for (uint64_t n = 0; n < 3000; n++) {
        cr_assert_eq(put(s, make_object(n, 100 + n % 3000)), ERR_OK);
        cr_assert_leq(stats(s).used, stats(s).budget);
    }
    cr_assert_eq(seen.why[STORE_EVICTED] + stats(s).objects, 3000);
    cr_assert_gt(stats(s).object_bytes, 128 * 1024, "it is full, not empty");
    cr_assert_eq(put(s, make_object(9999, 300 * 1024)), ERR_TOO_BIG);
    cr_assert_eq(put(s, make_object(9998, 200 * 1024)), ERR_OK, "what fits alone gets its room");
    object_unref(seen.keep);
    store_close(s);
}

Test(store, what_is_being_sent_counts_until_it_is_let_go)
{
    seen_t seen = {0};
    store_t *s = open_store(256 * 1024, &seen);
    uint64_t empty = stats(s).used;
    object_t *held[100];
    size_t n = 0;
    for (; n < 100; n++) {
        held[n] = make_object(n, 10000);
        if (store_insert(s, held[n], 0) != ERR_OK)
            break;
    }
    cr_assert(n > 10 && n < 27, "%zu", n);
    object_unref(held[n]);
    cr_assert_eq(seen.why[STORE_EVICTED], 0, "evicting them would free nothing");
    cr_assert_not(store_reserve(s, 20000));
    cr_assert_eq(stats(s).refused, 2);
    for (size_t i = 0; i < n; i++)
        cr_assert(has(s, i));
    /* removed but held: still counted */
    uint64_t used = stats(s).used;
    cr_assert(store_remove(s, held[0]));
    cr_assert_eq(stats(s).used, used);
    uint64_t bytes = object_bytes(held[0]);
    object_unref(held[0]);
    cr_assert_eq(stats(s).used, used - bytes);
    for (size_t i = 1; i < n; i++) {
        cr_assert(store_remove(s, held[i]));
        object_unref(held[i]);
    }
    cr_assert_eq(stats(s).used, empty, "everything that was charged came back");
    store_close(s);
}

Test(store, reservations_count_and_pass_to_the_object)
{
    seen_t seen = {0};
    store_t *s = open_store(256 * 1024, &seen);
    uint64_t empty = stats(s).used;
    for (uint64_t n = 0; n < 40; n++)
        put(s, make_object(n, 5500));
    cr_assert(store_reserve(s, 100000));
    cr_assert_gt(seen.why[STORE_EVICTED], 8, "made room");
    cr_assert_leq(stats(s).used, stats(s).budget);
    cr_assert_eq(stats(s).reserved, 100000);
    cr_assert_not(store_reserve(s, 200000));
    cr_assert_not(store_reserve(s, UINT64_MAX));
    object_t *o = make_object(500, 50000);
    cr_assert_eq(store_insert(s, o, 100000), ERR_OK);
    cr_assert_eq(stats(s).reserved, 0);
    object_unref(o);
    cr_assert(store_reserve(s, 10));
    store_unreserve(s, 10);
    uint64_t cursor = 0;
    do
        store_sweep(s, &cursor, 10, every_one, NULL);
    while (cursor != 0);
    object_unref(seen.keep);
    cr_assert_eq(stats(s).used, empty);
    cr_assert_eq(stats(s).objects, 0);
    store_close(s);
}

Test(store, one_body_of_two_responses_is_counted_once)
{
    seen_t seen = {0};
    store_t *s = open_store(256 * 1024, &seen);
    object_t *a = make_object_full(1, 0, 1, 150000);
    cr_assert_eq(store_insert(s, a, 0), ERR_OK);
    uint64_t used = stats(s).used;
    /* freshened by a 304: the same bytes under new metadata (RFC 9111 4.3.4) */
    stored_t meta = object_meta(a);
    meta.date = 2;
    object_t *b = object_restore(a->digest, 0, object_key(a), a->uri_at, a->uri_len, SPAN_NONE, &meta, 2,
                                 mem_zalloc(sizeof(fieldblock_t)), object_share_body(a), object_tags(a), a->tags_n);
    cr_assert_eq(store_insert(s, b, 0), ERR_OK, "needs no second room for the body");
    cr_assert_eq(stats(s).used, used + object_own_bytes(b));
    object_unref(a);
    cr_assert_eq(stats(s).used, used);
    object_unref(b);
    store_close(s);
}

Test(store, what_was_evicted_may_come_back_while_it_is_held)
{
    seen_t seen = {0};
    store_t *s = open_store(128 * 1024, &seen);
    for (uint64_t n = 0; seen.keep == NULL; n++)
        put(s, make_object(n, 2000));
    cr_assert_not(object_dead(seen.keep));
    cr_assert_eq(store_insert(s, seen.keep, 0), ERR_OK);
    cr_assert(has(s, 0));
    object_unref(seen.keep);
    cr_assert(store_reserve(s, 100 * 1024));
    store_unreserve(s, 100 * 1024);
    store_close(s);
}

Test(store, the_second_hit_is_told_until_it_is_on_disk)
{
    seen_t seen = {0};
    store_t *s = open_store(1 << 20, &seen);
    put(s, make_object(1, 10));
    object_unref(store_lookup(s, make_digest(1), any, NULL));
    cr_assert_eq(seen.worthy, 0);
    object_unref(store_peek(s, make_digest(1), any, NULL));
    cr_assert_eq(seen.worthy, 0, "looking on is not a hit");
    object_unref(store_lookup(s, make_digest(1), any, NULL));
    cr_assert_eq(seen.worthy, 1);
    seen.mark = true;
    for (int i = 0; i < 3; i++)
        object_unref(store_lookup(s, make_digest(1), any, NULL));
    cr_assert_eq(seen.worthy, 2);
    store_close(s);
}

static store_fate_t odd(object_t *o, void *arg)
{
    unsigned *count = arg;
    (*count)++;
    return o->digest.lo % 2 == 1 ? STORE_REMOVE : STORE_KEEP;
}

Test(store, a_sweep_meets_everything_in_bounded_steps)
{
    seen_t seen = {0};
    store_t *s = open_store(8 << 20, &seen);
    for (uint64_t n = 0; n < 1000; n++)
        put(s, make_object(n, 10));
    uint64_t cursor = 0, more = 1000;
    unsigned count = 0, calls = 0;
    do {
        cr_assert_leq(store_sweep(s, &cursor, 20, odd, &count), 40);
        calls++;
        put(s, make_object(more++, 10)); /* tables grow meanwhile */
    } while (cursor != 0);
    cr_assert_geq(count, 1000);
    cr_assert_geq(calls, 25);
    for (uint64_t n = 0; n < 1000; n++)
        cr_assert_eq(has(s, n), make_digest(n).lo % 2 == 0);
    cr_assert_gt(seen.why[STORE_REMOVED], 300);
    store_close(s);
}

static void note(object_t *o, void *arg)
{
    *(uint64_t *)arg += object_variant(o);
}

Test(store, each_visits_all_variants)
{
    seen_t seen = {0};
    store_t *s = open_store(1 << 20, &seen);
    for (uint64_t v = 0; v < 4; v++)
        put(s, make_object_full(1, v, 1, 10));
    put(s, make_object_full(2, 100, 1, 10));
    uint64_t sum = 0;
    store_each(s, make_digest(1), note, &sum);
    cr_assert_eq(sum, 6);
    store_close(s);
}

Test(store, objects_outlive_the_store)
{
    seen_t seen = {0};
    store_t *s = open_store(1 << 20, &seen);
    object_t *o = make_object(1, 1000);
    cr_assert_eq(store_insert(s, o, 0), ERR_OK);
    store_close(s);
    cr_assert(make_verify(o, 1));
    object_unref(o);
}

Test(store, what_comes_late_from_disk_does_not_replace_what_was_fetched)
{
    seen_t seen = {0};
    store_t *s = open_store(1 << 20, &seen);
    object_t *late = make_object_full(1, 0, 9, 100), *other = make_object_full(1, 4, 1, 100);
    atomic_fetch_or(&late->flags, OBJECT_FROM_DISK | OBJECT_ON_DISK);
    atomic_fetch_or(&other->flags, OBJECT_FROM_DISK | OBJECT_ON_DISK);
    put(s, make_object_full(1, 0, 2, 100));
    cr_assert(store_reserve(s, 5000));
    cr_assert_eq(store_insert(s, late, 5000), ERR_EXISTS);
    cr_assert_eq(store_insert(s, late, 0), ERR_EXISTS);
    cr_assert_eq(stats(s).reserved, 5000, "stays the caller's");
    store_unreserve(s, 5000);
    cr_assert_eq(store_insert(s, other, 0), ERR_OK, "another variant");
    uint64_t v = 0;
    object_t *o = store_lookup(s, make_digest(1), is_variant, &v);
    cr_assert_eq(object_meta(o).date, 2);
    object_unref(o);
    object_unref(late);
    object_unref(other);
    store_close(s);
}

static store_fate_t stale_ones(object_t *o, void *arg)
{
    (void)arg;
    return o->digest.lo == make_digest(3).lo || o->digest.lo == make_digest(7).lo ? STORE_DEMOTE : STORE_KEEP;
}

Test(store, what_is_stale_makes_room_before_what_is_fresh)
{
    for (unsigned p = 0; evict_at(p) != NULL; p++) {
        store_options_t o = {.bytes = 1 << 20, .shards = 4, .policy = evict_at(p)};
        store_t *s = store_open(&o);
        for (uint64_t n = 0; n < 10; n++)
            put(s, make_object(n, 50000));
        uint64_t cursor = 0;
        do
            store_sweep(s, &cursor, 100, stale_ones, NULL);
        while (cursor != 0);
        cr_assert(has(s, 3) && has(s, 7));
        uint64_t n = 10;
        while (stats(s).gone[STORE_EVICTED] < 2)
            put(s, make_object(n++, 50000));
        cr_assert(!has(s, 3) && !has(s, 7), "%s", evict_at(p)->name);
        for (uint64_t k = 0; k < 3; k++)
            cr_assert(has(s, k), "%s: %llu", evict_at(p)->name, (unsigned long long)k);
        store_close(s);
    }
}

/* Parts of one variant are told apart by where they begin, also those of a response without Vary. */
Test(store, parts_stand_beside_each_other_and_the_whole)
{
    store_t *s = open_store(1 << 20, &(seen_t){0});
    object_t *whole = make_object(1, 100), *part[3];
    cr_assert_eq(store_insert(s, whole, 0), ERR_OK);
    for (int i = 0; i < 3; i++) {
        stored_t meta = object_meta(whole);
        meta.flags |= STORED_PART;
        meta.part_first = i < 2 ? i : 1; /* the third takes the place of the second */
        cache_key_t key = {
            .digest = whole->digest, .scheme = SPAN("http"), .uri = object_uri(whole), .text = object_key(whole)};
        body_t *body = body_new(100);
        cr_assert_eq(body_append(body, SPAN("0123456789"), NULL), ERR_OK);
        body_end(body, BODY_COMPLETE);
        part[i] = object_new(&key, SPAN_NONE, &meta, 1, mem_zalloc(sizeof(fieldblock_t)), body, NULL, 0);
        cr_expect(object_part(part[i]) && object_selecting(part[i]).n == 0);
        cr_expect_eq(object_length(part[i]), 10);
        stored_t back = object_meta(part[i]);
        cr_expect_eq(back.part_first, meta.part_first);
        cr_assert_eq(store_insert(s, part[i], 0), ERR_OK);
    }
    cr_expect(!object_part(whole));
    cr_expect(object_dead(part[1]) && !object_dead(part[0]) && !object_dead(whole));
    store_stats_t stats;
    store_stats(s, &stats);
    cr_expect_eq(stats.objects, 3);
    for (int i = 0; i < 3; i++)
        object_unref(part[i]);
    object_unref(whole);
    store_close(s);
}

/* A part keeps what it is also where its body is copied into its own allocation. */
Test(store, a_packed_part_is_a_part)
{
    object_t *whole = make_object(1, 100);
    stored_t meta = object_meta(whole);
    meta.flags |= STORED_PART;
    meta.part_first = 1000000;
    cache_key_t key = {
        .digest = whole->digest, .scheme = SPAN("http"), .uri = object_uri(whole), .text = object_key(whole)};
    body_t *body = body_new(10);
    object_t *o = object_new(&key, SPAN_NONE, &meta, 1, mem_zalloc(sizeof(fieldblock_t)), body, NULL, 0);
    cr_expect_eq(object_length(o), 10, "what is coming");
    cr_assert_eq(body_append(body, SPAN("0123456789"), NULL), ERR_OK);
    body_end(body, BODY_COMPLETE);
    object_t *packed = object_packed(o);
    cr_assert(packed != NULL && object_flat(packed) && object_part(packed));
    cr_expect_eq(object_variant(packed), object_variant(o));
    cr_expect(span_eq(object_key(packed), object_key(o)));
    meta = object_meta(packed);
    cr_expect_eq(meta.part_first, 1000000);
    object_unref(packed);
    object_unref(o);
    object_unref(whole);
}
