/* Coded forms: made once, found only through what they were made of, gone with it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/mem.h"
#include "edge/coding/coder.h"
#include "edge/policy/key.h"

static store_t *s;
static coder_t *c; /* without a thread of its own */

static void setup(void)
{
    s = store_open(&(store_options_t){.bytes = 64 << 20, .shards = 4});
    c = coder_open(s, false);
}

static void teardown(void)
{
    coder_close(c);
    store_close(s);
}
TestSuite(coder, .init = setup, .fini = teardown);

static object_t *response(const char *path, uint64_t began, msec_t at, size_t n, bool noise)
{
    arena_t a;
    arena_init(&a, 0);
    cache_key_t key;
    key_rules_t rules = {.query = KEY_QUERY_ALL};
    fields_t none = {0};
    cr_assert_eq(key_make(&a, SPAN("http"), SPAN("h"), span_str(path), &rules, &none, &key), ERR_OK);
    fieldblock_t *fields;
    cr_assert_eq(fieldblock_pack(&none, &fields), ERR_OK);
    body_t *body = body_new((int64_t)n);
    char *p = mem_alloc(n + 64);
    unsigned r = 7;
    for (size_t i = 0; i < n; i++)
        p[i] = noise ? (char)((r = r * 1664525 + 1013904223) >> 24) : (char)('a' + i % 13);
    cr_assert_eq(body_append(body, span_of(p, n), NULL), ERR_OK);
    free(p);
    body_end(body, BODY_COMPLETE);
    stored_t meta = {
        .status = 200, .flags = STORED_CODABLE, .response_time = at, .date = at, .content_length = (int64_t)n};
    object_t *o = object_new(&key, SPAN_NONE, &meta, began, fields, body, NULL, 0);
    arena_release(&a);
    return o;
}

/* One that is in the store, too. */
static object_t *stored(const char *path, uint64_t began, msec_t at, size_t n, bool noise)
{
    object_t *o = response(path, began, at, n, noise);
    cr_assert_eq(store_insert(s, o, 0), ERR_OK);
    return o;
}

static uint64_t used(void)
{
    store_stats_t stats;
    store_stats(s, &stats);
    cr_expect_eq(stats.reserved, 0);
    return stats.used;
}

static size_t held(const object_t *o, coding_t coding)
{
    object_t *coded = coded_peek(s, o, coding);
    size_t n = coded != NULL ? body_length(object_body(coded)) : 0;
    object_unref(coded);
    return n;
}

Test(coder, makes_each_form_once)
{
    object_t *o = stored("/a", 1, 1000, 100000, false);
    for (int i = 0; i < 1000; i++)
        coder_ask(c, o, i % 2 ? CODING_GZIP : CODING_BR);
    cr_expect_eq(coder_waiting(c), 2);
    uint64_t before = used();
    coder_work(c);
    cr_expect(held(o, CODING_GZIP) > 0 && held(o, CODING_BR) > 0 && held(o, CODING_ZSTD) == 0);
    cr_expect_gt(used(), before, "they count");
    cr_expect_lt(used(), before + 10000);
    object_unref(o);
}

Test(coder, a_form_belongs_to_one_response)
{
    object_t *o = response("/a", 1, 1000, 100000, false),
             *other[] = {response("/a", 2, 1000, 100000, false), response("/a", 1, 1001, 100000, false),
                         response("/b", 1, 1000, 100000, false)};
    cr_assert_eq(store_insert(s, o, 0), ERR_OK);
    coder_ask(c, o, CODING_GZIP);
    coder_work(c);
    cr_expect(held(o, CODING_GZIP) > 0);
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(held(other[i], CODING_GZIP), 0, "%zu", i);
        object_unref(other[i]);
    }
    object_t *copy = object_packed(o);
    cr_expect_null(copy, "too large to be one allocation");
    object_unref(o);
}

Test(coder, a_304_carries_it_over)
{
    for (size_t n = 20000; n <= 2000000; n *= 100) {
        object_t *o = stored("/a", 1, 1000, n, false), *fresh = response("/a", 2, 5000, n, false);
        coder_ask(c, o, CODING_ZSTD);
        coder_work(c);
        size_t bytes = held(o, CODING_ZSTD);
        cr_expect_gt(bytes, 0);
        cr_assert_eq(store_insert(s, fresh, 0), ERR_OK);
        coded_carry(s, o, fresh);
        cr_expect_eq(held(fresh, CODING_ZSTD), bytes);
        cr_expect_eq(held(o, CODING_ZSTD), 0, "it took the other's place");
        object_unref(o);
        object_unref(fresh);
    }
}

Test(coder, what_does_not_become_smaller_is_tried_once)
{
    object_t *o = stored("/a", 1, 1000, 50000, true);
    coder_ask(c, o, CODING_GZIP);
    coder_work(c);
    cr_expect_eq(held(o, CODING_GZIP), 0);
    cr_expect(atomic_load(&o->flags) & OBJECT_DENSE);
    coder_ask(c, o, CODING_GZIP);
    coder_ask(c, o, CODING_BR);
    cr_expect_eq(coder_waiting(c), 0);
    object_unref(o);
}

Test(coder, ceilings)
{
    object_t *big = response("/big", 1, 1000, CODER_BODY_MOST + 1, false);
    coder_ask(c, big, CODING_GZIP);
    cr_expect_eq(coder_waiting(c), 0, "too large");
    object_unref(big);
    object_t *o[CODER_QUEUE_MOST + 1];
    for (int i = 0; i <= CODER_QUEUE_MOST; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%d", i);
        o[i] = response(path, 1, 1000, 2000, false);
        cr_assert_eq(store_insert(s, o[i], 0), ERR_OK);
        coder_ask(c, o[i], CODING_GZIP);
    }
    cr_expect_eq(coder_waiting(c), CODER_QUEUE_MOST);
    coder_work(c);
    cr_expect_eq(held(o[CODER_QUEUE_MOST], CODING_GZIP), 0);
    coder_ask(c, o[CODER_QUEUE_MOST], CODING_GZIP);
    coder_work(c);
    cr_expect_gt(held(o[CODER_QUEUE_MOST], CODING_GZIP), 0, "the next hit asks again");
    for (int i = 0; i <= CODER_QUEUE_MOST; i++)
        object_unref(o[i]);
}

Test(coder, what_was_removed_meanwhile_gets_none)
{
    object_t *o = stored("/a", 1, 1000, 100000, false);
    coder_ask(c, o, CODING_GZIP);
    store_remove(s, o);
    coder_work(c);
    cr_expect_eq(held(o, CODING_GZIP), 0);
    object_unref(o);
    coder_ask(c, o = response("/b", 1, 1000, 100000, false), CODING_GZIP);
    object_unref(o);
    /* closed with a job that waits */
}

Test(coder, its_own_thread)
{
    coder_close(c);
    c = coder_open(s, true);
    object_t *o = stored("/a", 1, 1000, 100000, false);
    coder_ask(c, o, CODING_BR);
    for (int ms = 0; held(o, CODING_BR) == 0; ms++) {
        cr_assert_lt(ms, 20000, "nothing was made");
        usleep(1000);
    }
    object_unref(o);
}
