/* Parts of representations: stored, put together, completed (RFC 9111 3.3, 3.4). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/tbl/metrics.h"
#include "world.h"

#define HEAD "cache-control: max-age=60\netag: \"v1\"\ncontent-type: text/plain"
#define WHOLE "0123456789"

static void is(const world_client_t *c, int status, const char *body)
{
    cr_assert(c->head, "no answer");
    cr_expect_eq(c->status, status, "status %d, not %d", c->status, status);
    cr_expect(c->done && !c->aborted);
    cr_expect(c->n == strlen(body) && (c->n == 0 || memcmp(c->body, body, c->n) == 0), "%.*s, not %s", (int)c->n,
              c->body, body);
    cr_expect(c->status == 304 || c->content_length == (int64_t)c->n);
}

static void asked(world_t *w, const char *range, const char *if_range)
{
    const fields_t *f = &world_last_call(w)->fields;
    span_t r = fields_get(f, SPAN("range")), i = fields_get(f, SPAN("if-range"));
    cr_expect(range == NULL ? r.p == NULL : span_eq(r, span_str(range)), "Range %.*s", SPAN_ARG(r));
    cr_expect(if_range == NULL ? i.p == NULL : span_eq(i, span_str(if_range)), "If-Range %.*s", SPAN_ARG(i));
}

/* A client asks for a range that goes up, and is answered so. */
static world_client_t *part(world_t *w, const char *range, const char *content_range, const char *more,
                            const char *body)
{
    char lines[512];
    snprintf(lines, sizeof lines, "range: %s", range);
    size_t before = w->calls;
    world_client_t *c = world_get(w, 0, "/a", lines);
    cr_assert_eq(w->calls, before + 1, "%s", range);
    asked(w, range, NULL);
    snprintf(lines, sizeof lines, "%s\ncontent-range: %s", more, content_range);
    world_answer(w, world_last_call(w), 206, lines, body);
    return c;
}

static world_client_t *hit(world_t *w, const char *lines, int status, const char *body)
{
    size_t before = w->calls;
    world_client_t *c = world_get(w, 1, "/a", lines);
    cr_assert_eq(w->calls, before, "%s was asked from the upstream", lines);
    is(c, status, body);
    cr_expect(world_says(c, "cache-status", "; hit"));
    return c;
}

static void misses(world_t *w, const char *lines)
{
    size_t before = w->calls;
    world_client_t *c = world_get(w, 0, "/a", lines);
    cr_expect_eq(w->calls, before + 1, "%s was answered", lines);
    world_leave(w, c);
}

Test(sim_parts, a_part_answers_what_it_holds)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = part(w, "bytes=-6", "bytes 4-9/10", HEAD, "456789");
    is(c, 206, "456789");
    cr_expect(world_says(c, "content-range", "bytes 4-9/10"));
    cr_expect(world_says(c, "cache-status", "fwd=uri-miss; fwd-status=206; stored"));
    c = hit(w, "range: bytes=-6", 206, "456789");
    cr_expect(world_says(c, "content-range", "bytes 4-9/10") && world_says(c, "content-type", "text/plain"));
    c = hit(w, "range: bytes=5-7", 206, "567");
    cr_expect(world_says(c, "content-range", "bytes 5-7/10"));
    hit(w, "range: bytes=9-", 206, "9");
    hit(w, "range: bytes=8-\nif-range: \"v1\"", 206, "89");
    hit(w, "range: bytes=8-\nif-none-match: \"v1\"", 304, "");
    c = world_get(w, 0, "/a", "range: bytes=4-5, 8-9");
    cr_expect(c->done && c->status == 206 && world_says(c, "content-type", "multipart/byteranges"));
    cr_expect(memmem(c->body, c->n, "bytes 4-5/10\r\n\r\n45\r\n", 20) != NULL &&
              memmem(c->body, c->n, "bytes 8-9/10\r\n\r\n89\r\n", 20) != NULL);
    cr_expect_eq(w->calls, 1);
    world_pass(w, 70000);
    misses(w, "range: bytes=-6");
    world_free(w);
}

Test(sim_parts, others_wait_for_the_same_range_and_not_for_another)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/a", "range: bytes=-2"), *b = world_get(w, 1, "/a", "range: bytes=-2");
    cr_assert_eq(w->calls, 1);
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=-3");
    cr_assert_eq(w->calls, 2);
    world_client_t *d = world_get(w, 0, "/a", NULL);
    cr_assert_eq(w->calls, 3);
    asked(w, NULL, NULL);
    world_answer(w, w->call[0], 206, HEAD "\ncontent-range: bytes 8-9/10", "89");
    world_answer(w, w->call[1], 206, HEAD "\ncontent-range: bytes 7-9/10", "789");
    world_answer(w, w->call[2], 200, HEAD, WHOLE);
    is(a, 206, "89");
    is(b, 206, "89");
    is(c, 206, "789");
    is(d, 200, WHOLE);
    cr_expect(world_says(b, "cache-status", "collapsed"));
    world_free(w);
}

Test(sim_parts, what_is_missing_is_asked_for_and_makes_the_whole)
{
    static const struct {
        const char *range, *content_range, *body, *then, *rest, *rest_body;
    } rows[] = {
        {"bytes=-10", "bytes 0-5/10", "012345", "bytes=6-", "bytes 6-9/10", "6789"},
        {"bytes=-6", "bytes 4-9/10", "456789", "bytes=0-3", "bytes 0-3/10", "0123"},
    };
    for (size_t i = 0; i < 2; i++) {
        world_t *w = world_new(NULL, NULL);
        char lines[256];
        part(w, rows[i].range, rows[i].content_range, HEAD "\nx: old\ny: kept", rows[i].body);
        world_pass(w, 70000); /* stale: the validator tells that it is still the same */
        world_client_t *a = world_get(w, 0, "/a", NULL), *b = world_get(w, 1, "/a", "range: bytes=1-8");
        cr_assert_eq(w->calls, 2);
        asked(w, rows[i].then, "\"v1\"");
        snprintf(lines, sizeof lines, "cache-control: max-age=60\netag: \"v1\"\nx: new\ncontent-range: %s",
                 rows[i].rest);
        world_answer(w, world_last_call(w), 206, lines, rows[i].rest_body);
        is(a, 200, WHOLE);
        is(b, 206, "12345678");
        cr_expect(world_says(a, "cache-status", "fwd=partial; fwd-status=206; stored"));
        cr_expect(world_says(a, "x", "new") && world_says(a, "y", "kept") && world_field(a, "content-range").p == NULL);
        is(hit(w, NULL, 200, WHOLE), 200, WHOLE);
        cr_expect_eq(w->calls, 2);
        store_stats_t s;
        store_stats(w->store, &s);
        cr_expect_eq(s.objects, 1, "the part has gone");
        world_free(w);
    }
}

Test(sim_parts, another_representation_is_fetched_whole)
{
    static const struct {
        const char *why, *head;
        int status;
        const char *body;
    } rows[] = {
        {"another validator", "cache-control: max-age=60\netag: \"v2\"\ncontent-range: bytes 6-9/10", 206, "abcd"},
        {"none", "cache-control: max-age=60\ncontent-range: bytes 6-9/10", 206, "abcd"},
        {"a weak one", "cache-control: max-age=60\netag: W/\"v1\"\ncontent-range: bytes 6-9/10", 206, "abcd"},
        {"another place", HEAD "\ncontent-range: bytes 5-9/10", 206, "abcde"},
        {"another length", HEAD "\ncontent-range: bytes 6-9/11", 206, "abcd"},
        {"less", HEAD "\ncontent-range: bytes 6-8/10", 206, "abc"},
        {"it has become shorter", "content-range: bytes */4", 416, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_t *w = world_new(NULL, NULL);
        part(w, "bytes=-10", "bytes 0-5/10", HEAD, "012345");
        world_client_t *c = world_get(w, 0, "/a", NULL);
        asked(w, "bytes=6-", "\"v1\"");
        world_answer(w, world_last_call(w), rows[i].status, rows[i].head, rows[i].body);
        cr_assert_eq(w->calls, 3, "%s", rows[i].why);
        asked(w, NULL, NULL);
        world_answer(w, world_last_call(w), 200, "cache-control: max-age=60\netag: \"v2\"", "abcdefghij");
        is(c, 200, "abcdefghij");
        hit(w, NULL, 200, "abcdefghij");
        hit(w, "range: bytes=0-3", 206, "abcd");
        world_free(w);
    }
    world_t *w = world_new(NULL, NULL); /* If-Range says so itself */
    part(w, "bytes=-10", "bytes 0-5/10", HEAD, "012345");
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=60\netag: \"v2\"", "abcdefghij");
    is(c, 200, "abcdefghij");
    cr_expect_eq(w->calls, 2);
    hit(w, "range: bytes=0-3", 206, "abcd");
    world_free(w);
}

Test(sim_parts, without_a_strong_validator_nothing_is_put_together)
{
    static const char *const heads[] = {"cache-control: max-age=60", "cache-control: max-age=60\netag: W/\"v1\""};
    for (size_t i = 0; i < 2; i++) {
        world_t *w = world_new(NULL, NULL);
        part(w, "bytes=-10", "bytes 0-5/10", heads[i], "012345");
        part(w, "bytes=-4", "bytes 6-9/10", heads[i], "6789");
        world_client_t *c = world_get(w, 0, "/a", NULL);
        asked(w, NULL, NULL);
        world_answer(w, world_last_call(w), 200, heads[i], WHOLE);
        is(c, 200, WHOLE);
        world_free(w);
    }
}

Test(sim_parts, parts_that_touch_become_one)
{
    world_t *w = world_new(NULL, NULL);
    part(w, "bytes=-3", "bytes 7-9/10", HEAD, "789");
    part(w, "bytes=-8", "bytes 2-3/10", HEAD, "23");
    misses(w, "range: bytes=3-8");
    part(w, "bytes=-7", "bytes 3-7/10", HEAD "\nx: newest", "34567"); /* overlaps both */
    store_stats_t s;
    store_stats(w->store, &s);
    cr_expect_eq(s.objects, 1);
    world_client_t *c = hit(w, "range: bytes=2-9", 206, "23456789");
    cr_expect(world_says(c, "x", "newest") && world_says(c, "content-range", "bytes 2-9/10"));
    part(w, "bytes=-10", "bytes 0-1/10", HEAD, "01");
    c = hit(w, NULL, 200, WHOLE);
    cr_expect(world_field(c, "content-range").p == NULL);
    store_stats(w->store, &s);
    cr_expect_eq(s.objects, 1);
    world_free(w);
}

Test(sim_parts, of_another_version_they_stay_apart)
{
    world_t *w = world_new(NULL, NULL);
    part(w, "bytes=-6", "bytes 4-9/10", HEAD, "456789");
    world_pass(w, 1000);
    part(w, "bytes=-10", "bytes 0-3/10", "cache-control: max-age=60\netag: \"v2\"", "abcd");
    hit(w, "range: bytes=0-3", 206, "abcd");
    misses(w, "range: bytes=0-9");
    world_free(w);
}

/* What was put together is as old as its oldest bytes. */
Test(sim_parts, a_purge_of_any_of_its_bytes_is_a_purge_of_all)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", "range: bytes=-6");
    world_call_t *early = world_last_call(w);
    world_head(w, early, 206, HEAD "\ncontent-range: bytes 4-9/10\nsurrogate-key: t", 6);
    world_body(w, early, "456789");
    world_end(w, early, UPSTREAM_OK);

    world_get(w, 0, "/a", NULL);
    world_call_t *rest = world_last_call(w);
    asked(w, "bytes=0-3", "\"v1\"");
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    world_answer(w, rest, 206, HEAD "\ncontent-range: bytes 0-3/10\nsurrogate-key: t", "0123");
    misses(w, NULL);
    asked(w, NULL, NULL);

    world_t *v = world_new(NULL, NULL);
    part(v, "bytes=-6", "bytes 4-9/10", HEAD, "456789");
    world_purge(v, LEDGER_URL, "site.example/a", MARK_SOFT);
    misses(v, "range: bytes=-6");
    misses(v, NULL);
    asked(v, NULL, NULL);
    world_free(v);
    world_free(w);
}

Test(sim_parts, an_unsafe_method_is_about_parts_too)
{
    world_t *w = world_new(NULL, NULL);
    part(w, "bytes=-6", "bytes 4-9/10", HEAD, "456789");
    hit(w, "range: bytes=-6", 206, "456789");
    world_request(w, 0, "POST", "/a", NULL, "x");
    world_answer(w, world_last_call(w), 200, "cache-control: no-store", "");
    misses(w, "range: bytes=-6");
    misses(w, NULL);
    asked(w, NULL, NULL);

    world_t *v = world_new(NULL, NULL); /* and while the rest is on its way */
    part(v, "bytes=-6", "bytes 4-9/10", HEAD, "456789");
    world_get(v, 0, "/a", NULL);
    world_call_t *rest = world_last_call(v);
    asked(v, "bytes=0-3", "\"v1\"");
    world_request(v, 1, "POST", "/a", NULL, "x");
    world_answer(v, world_last_call(v), 200, "cache-control: no-store", "");
    world_answer(v, rest, 206, HEAD "\ncontent-range: bytes 0-3/10", "0123");
    misses(v, NULL);
    world_free(v);
    world_free(w);
}

/* What the ledger has forgotten since the first bytes were fetched was known of them when they were put together. */
Test(sim_parts, a_ledger_that_forgets_costs_no_part)
{
    for (int rest = 0; rest < 2; rest++) {
        world_t *w = world_new(NULL, NULL);
        part(w, "bytes=-6", "bytes 4-9/10", HEAD "\nsurrogate-key: t", "456789");
        world_purge(w, LEDGER_TAG, "other", MARK_HARD);
        hit(w, "range: bytes=-6", 206, "456789"); /* is checked */
        ledger_compact(w->ledger, ledger_head(w->ledger));
        if (rest == 0) {
            part(w, "bytes=-10", "bytes 0-3/10", HEAD "\nsurrogate-key: t", "0123");
        } else {
            world_client_t *c = world_get(w, 0, "/a", NULL);
            asked(w, "bytes=0-3", "\"v1\"");
            world_answer(w, world_last_call(w), 206, HEAD "\nsurrogate-key: t\ncontent-range: bytes 0-3/10", "0123");
            is(c, 200, WHOLE);
        }
        hit(w, NULL, 200, WHOLE);
        world_purge(w, LEDGER_TAG, "t", MARK_HARD);
        misses(w, NULL);
        world_free(w);
    }
}

/* The disk's records are whole responses. */
Test(sim_parts, they_live_in_memory_only)
{
    world_t *w = world_open(&(world_options_t){.disk = true});
    part(w, "bytes=-6", "bytes 4-9/10", HEAD, "456789");
    for (int i = 0; i < 5; i++) {
        hit(w, "range: bytes=-6", 206, "456789");
        world_disk(w);
    }
    warm_stats_t s;
    warm_stats(w->warm, &s);
    cr_expect_eq(s.objects, 0);
    part(w, "bytes=-10", "bytes 0-3/10", HEAD, "0123");
    for (int i = 0; i < 5; i++) {
        hit(w, NULL, 200, WHOLE);
        world_disk(w);
    }
    warm_stats(w->warm, &s);
    cr_expect_eq(s.objects, 1, "the whole is");
    world_free(w);
}

Test(sim_parts, what_was_cut_is_a_part)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_head(w, world_last_call(w), 200, HEAD, 10);
    world_body(w, world_last_call(w), "0123");
    for (int i = 0; i < 16 && world_last_call(w)->open; i++) /* the rest doesn't come however often it is asked for */
        world_end(w, world_last_call(w), UPSTREAM_CUT);
    cr_assert(c->done && c->aborted);
    hit(w, "range: bytes=1-2", 206, "12");
    c = world_get(w, 0, "/a", NULL);
    asked(w, "bytes=4-", "\"v1\"");
    world_answer(w, world_last_call(w), 206, HEAD "\ncontent-range: bytes 4-9/10", "456789");
    is(c, 200, WHOLE);
    hit(w, NULL, 200, WHOLE);
    world_free(w);
}

Test(sim_parts, the_rest_may_be_cut_as_well)
{
    world_t *w = world_new(NULL, NULL);
    part(w, "bytes=-10", "bytes 0-3/10", HEAD, "0123");
    world_client_t *c = world_get(w, 0, "/a", NULL);
    asked(w, "bytes=4-", "\"v1\"");
    world_head(w, world_last_call(w), 206, HEAD "\ncontent-range: bytes 4-9/10", 6);
    world_body(w, world_last_call(w), "45");
    world_run(w);
    cr_expect_eq(c->n, 6, "what is there is sent at once");
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    cr_expect(c->done && c->aborted);
    hit(w, "range: bytes=0-5", 206, "012345");
    c = world_get(w, 0, "/a", NULL);
    asked(w, "bytes=6-", "\"v1\"");
    world_answer(w, world_last_call(w), 206, HEAD "\ncontent-range: bytes 6-9/10", "6789");
    is(c, 200, WHOLE);
    world_free(w);
}

/* Where the upstream contradicts itself, whoever asked for the range is told what it said. */
Test(sim_parts, who_it_was_fetched_for_gets_it_as_it_came)
{
    static const struct {
        const char *content_range, *body;
        bool stored;
    } rows[] = {
        {"bytes 4-9/10", "45678", true},
        {"bytes 4-9/10", "456789", true},
        {"bytes 2-5/10", "2345", true},
        {"bytes 4-9/10", "45", true},
        {"bytes 4-7/10", "45", false},
        {"bytes 4-9/10", "456789ab", false},
        {"bytes 4-9/*", "456789", false},
        {"bytes 9-4/10", "456789", false},
        {"bytes 4-9/5", "456789", false},
        {"lines 4-9/10", "456789", false},
        {"bytes 4-9/10, 1-2/10", "456789", false},
        {"", "456789", false},
        {"bytes 18446744073709551615-18446744073709551616/18446744073709551617", "456789", false},
        {"bytes 9223372036854775806-9223372036854775807/9223372036854775807", "45", false},
        {"bytes 0-9223372036854775805/9223372036854775806", "45", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_t *w = world_new(NULL, NULL);
        world_client_t *c = part(w, "bytes=-6", rows[i].content_range, HEAD "\ncache-tag: t\nx: y", rows[i].body);
        is(c, 206, rows[i].body);
        cr_expect(span_eq(world_field(c, "content-range"), span_str(rows[i].content_range)), "%s",
                  rows[i].content_range);
        cr_expect(world_says(c, "x", "y") && world_field(c, "cache-tag").p == NULL);
        store_stats_t s;
        store_stats(w->store, &s);
        cr_expect_eq(s.objects, rows[i].stored, "%s", rows[i].content_range);
        c = world_get(w, 0, "/a", "range: bytes=-6\nif-none-match: \"v1\"");
        if (!c->done)
            world_answer(w, world_last_call(w), 206, HEAD "\ncontent-range: bytes 4-9/10", "456789");
        cr_expect_eq(c->status, 304);
        cr_expect_eq(world_field(c, "content-range").p, NULL);
        world_free(w);
    }
    world_t *w = world_new(NULL, NULL); /* his condition fails: nothing of the part's is said */
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=-6\nif-match: \"v0\"");
    world_answer(w, world_last_call(w), 206, HEAD "\ncontent-range: bytes 4-9/10", "456789");
    is(c, 412, "");
    cr_expect_eq(world_field(c, "content-range").p, NULL);
    world_free(w);
}

/* A known mistake of origins: the last place is off by one. It answers for itself and is put together with nothing. */
Test(sim_parts, a_part_that_says_more_than_it_holds)
{
    world_t *w = world_new(NULL, NULL);
    part(w, "bytes=-5", "bytes 4-9/10", HEAD, "45678");
    hit(w, "range: bytes=-5", 206, "45678");
    hit(w, "range: bytes=6-7", 206, "67");
    part(w, "bytes=-10", "bytes 0-3/9", HEAD, "0123");
    misses(w, NULL);
    world_free(w);
}

Test(sim_parts, what_may_not_be_stored_passes_as_it_came)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = part(w, "bytes=-6", "bytes 4-9/10", "cache-control: private", "456789");
    is(c, 206, "456789");
    cr_expect(world_says(c, "content-range", "bytes 4-9/10"));
    misses(w, "range: bytes=-6");
    world_free(w);

    w = world_new(NULL, NULL); /* an origin that knows no ranges, or has no such one */
    c = world_get(w, 0, "/a", "range: bytes=-6");
    world_answer(w, world_last_call(w), 200, HEAD, WHOLE);
    is(c, 206, "456789");
    hit(w, NULL, 200, WHOLE);
    c = world_get(w, 0, "/b", "range: bytes=2000000-");
    world_answer(w, world_last_call(w), 416, "content-range: bytes */10", "");
    cr_expect(c->done && c->status == 416 && world_says(c, "content-range", "bytes */10"));
    c = world_get(w, 0, "/c", "range: bytes=1-2"); /* near: the whole is asked for, and a 206 is none */
    asked(w, NULL, NULL);
    world_answer(w, world_last_call(w), 206, HEAD "\ncontent-range: bytes 1-2/10", "12");
    cr_expect_eq(c->status, 206);
    size_t before = w->calls;
    world_leave(w, world_get(w, 0, "/c", "range: bytes=1-2"));
    cr_expect_eq(w->calls, before + 1);
    world_free(w);
}

Test(sim_parts, there_are_not_too_many)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", "accept-language: de"); /* another variant isn't pushed out by parts */
    world_answer(w, world_last_call(w), 200, HEAD "\nvary: accept-language", "deutsch");
    for (int i = 0; i < 100; i++) {
        char lines[128], content_range[256];
        snprintf(lines, sizeof lines, "range: bytes=%d-%d\naccept-language: en", 2000000 + 10 * i, 2000001 + 10 * i);
        snprintf(content_range, sizeof content_range,
                 HEAD "\nvary: accept-language\ncontent-range: bytes %d-%d/9000000", 2000000 + 10 * i,
                 2000001 + 10 * i);
        world_get(w, 0, "/a", lines);
        world_answer(w, world_last_call(w), 206, content_range, "xx");
        world_pass(w, 1);
    }
    store_stats_t s;
    store_stats(w->store, &s);
    cr_expect_eq(s.objects, 9, "%llu", (unsigned long long)s.objects);
    hit(w, "accept-language: de", 200, "deutsch");
    hit(w, "accept-language: en\nrange: bytes=2000990-2000991", 206, "xx");
    world_free(w);
}

/* The origin's word that nothing may be kept is also about the part that was stored. */
Test(sim_parts, what_the_origin_forbids_goes)
{
    world_t *w = world_new(NULL, NULL);
    part(w, "bytes=-6", "bytes 4-9/10", HEAD, "456789");
    world_client_t *c = world_get(w, 0, "/a", NULL);
    asked(w, "bytes=0-3", "\"v1\"");
    world_answer(w, world_last_call(w), 206, "cache-control: no-store\netag: \"v1\"\ncontent-range: bytes 0-3/10",
                 "0123");
    is(c, 200, WHOLE);
    misses(w, "range: bytes=-6");
    world_free(w);
}

/* A range far behind doesn't wait for what lies before it, unless that has nearly arrived. */
Test(sim_parts, far_ranges_and_a_whole_that_is_arriving)
{
    enum { BIG = 3 << 20 };
    world_t *w = world_new(NULL, NULL);
    char *bytes = calloc(1, BIG);
    world_get(w, 0, "/a", NULL);
    world_call_t *whole = world_last_call(w);
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=2000000-2000001");
    cr_assert_eq(w->calls, 2, "nobody knows how long the other takes");
    world_leave(w, c);
    world_head(w, whole, 200, HEAD, BIG);
    c = world_get(w, 1, "/a", "range: bytes=2000000-2000003");
    cr_assert_eq(w->calls, 3);
    world_leave(w, c);
    world_bytes(w, whole, bytes, 1500000);
    c = world_get(w, 1, "/a", "range: bytes=2000000-2000005");
    cr_assert_eq(w->calls, 3, "it is near now");
    world_bytes(w, whole, bytes, BIG - 1500000);
    world_end(w, whole, UPSTREAM_OK);
    cr_expect(c->done && c->status == 206 && c->n == 6);
    free(bytes);
    world_free(w);
}

Test(sim_parts, through_a_shield)
{
    world_t *edge = world_open(&(world_options_t){.node = "edge", .shield = true});
    world_t *shield = world_open(&(world_options_t){.node = "shield", .tier = true});
    world_client_t *c = world_get(edge, 0, "/a", "range: bytes=-6");
    world_call_t *up = world_last_call(edge);
    world_client_t *s = world_carry(edge, up, shield);
    asked(shield, "bytes=-6", NULL);
    world_answer(shield, world_last_call(shield), 206, HEAD "\ncontent-range: bytes 4-9/10", "456789");
    world_brought(edge, up, s);
    is(c, 206, "456789");
    c = world_get(edge, 0, "/a", NULL);
    up = world_last_call(edge);
    asked(edge, "bytes=0-3", "\"v1\"");
    s = world_carry(edge, up, shield); /* near: the shield completes what it has, and answers the part */
    asked(shield, "bytes=0-3", "\"v1\"");
    world_answer(shield, world_last_call(shield), 206, HEAD "\ncontent-range: bytes 0-3/10", "0123");
    world_brought(edge, up, s);
    is(c, 200, WHOLE);
    is(world_get(edge, 1, "/a", NULL), 200, WHOLE);
    cr_expect_eq(edge->calls, 2);
    cr_expect_eq(shield->calls, 2);
    world_free(edge);
    world_free(shield);
}
