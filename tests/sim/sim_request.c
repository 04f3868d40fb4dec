/* What a cache must do, in scenarios with time in them. */
#include <criterion/criterion.h>
#include <string.h>

#include "world.h"

#define FRESH "cache-control: s-maxage=60\netag: \"v1\"\ncontent-type: text/plain"

static void is_body(const world_client_t *c, int status, const char *body)
{
    cr_assert(c->head, "no answer");
    cr_expect_eq(c->status, status, "status %d, not %d", c->status, status);
    cr_expect(c->done && !c->aborted);
    cr_expect_eq(c->n, strlen(body), "%zu bytes, not %zu", c->n, strlen(body));
    cr_expect(c->n == 0 || memcmp(c->body, body, c->n) == 0);
}

Test(sim_request, miss_then_hit_then_revalidated)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/a", NULL);
    cr_assert_eq(w->calls, 1);
    world_answer(w, world_last_call(w), 200, FRESH, "hello");
    is_body(a, 200, "hello");
    cr_expect(world_says(a, "cache-status", "sim-1; fwd=uri-miss; fwd-status=200; stored"));
    cr_expect(world_says(a, "x-cache", "MISS"));

    world_pass(w, 10000);
    world_client_t *b = world_get(w, 1, "/a", NULL); /* another worker */
    is_body(b, 200, "hello");
    cr_expect_eq(w->calls, 1);
    cr_expect(world_says(b, "cache-status", "sim-1; hit; ttl=50; detail=memory"));
    cr_expect(world_says(b, "age", "10"));

    world_pass(w, 60000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    cr_assert_eq(w->calls, 2);
    cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("if-none-match")), SPAN("\"v1\"")));
    world_answer(w, world_last_call(w), 304, FRESH, "");
    is_body(c, 200, "hello");
    cr_expect(world_says(c, "x-cache", "REVALIDATED"));
    cr_expect(world_says(c, "cache-status", "fwd=stale; fwd-status=304"));
    world_client_t *d = world_get(w, 0, "/a", NULL);
    is_body(d, 200, "hello");
    cr_expect_eq(w->calls, 2, "the 304 made it fresh again");
    world_free(w);
}

Test(sim_request, thousand_misses_on_two_workers_are_one_fetch_and_stream)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c[1000];
    for (int i = 0; i < 1000; i++)
        c[i] = world_get(w, (unsigned)i % WORLD_LOOPS, "/hot", NULL);
    cr_assert_eq(w->calls, 1);
    world_head(w, world_last_call(w), 200, FRESH, -1);
    world_body(w, world_last_call(w), "first ");
    world_run(w);
    for (int i = 0; i < 1000; i++)
        cr_assert(c[i]->head && c[i]->n == 6 && !c[i]->done, "client %d has no first bytes", i);
    world_body(w, world_last_call(w), "second");
    world_end(w, world_last_call(w), UPSTREAM_OK);
    for (int i = 0; i < 1000; i++)
        is_body(c[i], 200, "first second");
    cr_expect(world_says(c[999], "cache-status", "collapsed"));
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_request, the_fetch_outlives_the_client_that_began_it)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/a", NULL);
    world_client_t *b = world_get(w, 1, "/a", NULL);
    world_leave(w, a);
    cr_assert(world_last_call(w)->open);
    world_answer(w, world_last_call(w), 200, FRESH, "hello");
    is_body(b, 200, "hello");
    world_leave(w, world_get(w, 0, "/b", NULL));
    cr_assert(world_last_call(w)->open, "it fills the cache even when nobody waits");
    world_answer(w, world_last_call(w), 200, FRESH, "later");
    is_body(world_get(w, 0, "/b", NULL), 200, "later");
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_request, an_uncacheable_answer_lets_the_waiters_go)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c[10];
    for (int i = 0; i < 10; i++)
        c[i] = world_get(w, (unsigned)i % WORLD_LOOPS, "/private", NULL);
    cr_assert_eq(w->calls, 1);
    world_head(w, w->call[0], 200, "cache-control: private", 4);
    world_run(w);
    cr_expect_eq(w->calls, 10, "each of the others goes on alone, at once: %zu", w->calls);
    world_body(w, w->call[0], "mine");
    world_end(w, w->call[0], UPSTREAM_OK);
    for (size_t i = 1; i < 10; i++)
        world_answer(w, w->call[i], 200, "cache-control: private", "your");
    is_body(c[0], 200, "mine");
    for (int i = 1; i < 10; i++)
        is_body(c[i], 200, "your");
    world_client_t *next[3];
    for (int i = 0; i < 3; i++)
        next[i] = world_get(w, 0, "/private", NULL);
    cr_expect_eq(w->calls, 13, "known not to be cacheable: nobody queues");
    cr_expect(!next[0]->head);
    world_free(w);
}

Test(sim_request, a_cut_body_is_never_complete_and_never_stored)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/a", NULL);
    world_head(w, world_last_call(w), 200, "cache-control: max-age=60", 10);
    world_body(w, world_last_call(w), "12345");
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    cr_expect(a->head && a->done && a->aborted);
    world_client_t *b = world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, 2, "nothing was stored");
    world_head(w, world_last_call(w), 200, FRESH, 10); /* says ten, sends five, and claims to be whole */
    world_body(w, world_last_call(w), "12345");
    world_end(w, world_last_call(w), UPSTREAM_OK);
    cr_expect(b->aborted);
    world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

Test(sim_request, stale_while_revalidate_never_waits)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=10, stale-while-revalidate=60\netag: \"1\"",
                 "old");
    world_pass(w, 15000);
    for (int i = 0; i < 5; i++) {
        world_client_t *c = world_get(w, (unsigned)i % WORLD_LOOPS, "/a", NULL);
        is_body(c, 200, "old");
        cr_expect(world_says(c, "cache-status", "hit; ttl=-5; detail=stale-while-revalidate"));
        cr_expect(world_says(c, "x-cache", "STALE"));
    }
    cr_expect_eq(w->calls, 2, "one fetch in the background");
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=10", "new");
    is_body(world_get(w, 0, "/a", NULL), 200, "new");
    world_free(w);
}

Test(sim_request, stale_if_error_when_the_origin_is_down_or_says_503)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=10, stale-if-error=600", "old");
    world_pass(w, 60000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 503, "", "down");
    is_body(c, 200, "old");
    cr_expect(world_says(c, "cache-status", "fwd=stale; fwd-status=503; detail=stale-if-error"));
    world_client_t *d = world_get(w, 0, "/a", NULL);
    while (world_last_call(w)->open)
        world_end(w, world_last_call(w), UPSTREAM_REFUSED);
    is_body(d, 200, "old");
    cr_expect(world_says(d, "cache-status", "hit; ttl=-50; detail=stale-if-error"));
    world_pass(w, 700000);
    world_client_t *e = world_get(w, 0, "/a", NULL);
    while (world_last_call(w)->open)
        world_end(w, world_last_call(w), UPSTREAM_REFUSED);
    cr_expect_eq(e->status, 502, "too old by now");
    world_free(w);
}

/* RFC 9111 4.2.4: where nobody forbids it, a cache that is cut off from its upstream sends what it has; not so for an
 * answer that came, whatever it says. */
Test(sim_request, cut_off_it_serves_stale_as_long_again_as_it_was_fresh)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=200", "old");
    world_pass(w, 210000);
    static const upstream_result_t away[] = {UPSTREAM_REFUSED, UPSTREAM_DNS, UPSTREAM_CLOSED,
                                             UPSTREAM_FIRST_BYTE_TIMEOUT};
    for (size_t i = 0; i < sizeof away / sizeof *away; i++) {
        world_client_t *c = world_get(w, 0, "/a", NULL), *waits = world_get(w, 1, "/a", NULL);
        while (world_last_call(w)->open)
            world_end(w, world_last_call(w), away[i]);
        is_body(c, 200, "old");
        is_body(waits, 200, "old");
        cr_expect(world_says(c, "cache-status", "sim-1; hit; ttl=-10; detail=disconnected"), "%.*s",
                  SPAN_ARG(world_field(c, "cache-status")));
        cr_expect(world_says(c, "x-cache", "STALE"));
        world_pass(w, 0);
    }
    world_pass(w, 60000); /* servers that were left out are tried again */
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 503, "", "down");
    cr_expect_eq(c->status, 503, "that was an answer");
    world_client_t *wants = world_get(w, 0, "/a", "cache-control: no-cache");
    while (world_last_call(w)->open)
        world_end(w, world_last_call(w), UPSTREAM_CLOSED);
    cr_expect_eq(wants->status, 502, "it asked for no stale one");
    world_pass(w, 131000);
    c = world_get(w, 0, "/a", NULL);
    while (world_last_call(w)->open)
        world_end(w, world_last_call(w), UPSTREAM_CLOSED);
    cr_expect_eq(c->status, 502, "too old by now");
    world_free(w);
}

/* Error pages often carry Cache-Control. They don't take the place of what may be served instead of them. */
Test(sim_request, an_error_that_may_be_stored_does_not_replace_what_is_used_in_its_place)
{
    static const struct {
        const char *windows;
        msec_t wait, gone; /* until it is stale; until it may not be used any longer */
    } rows[] = {{"stale-if-error=600", 60000, 700000}, {"stale-while-revalidate=600", 60000, 700000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_t *w = world_new(NULL, NULL);
        char head[80];
        snprintf(head, sizeof head, "cache-control: max-age=10, %s", rows[i].windows);
        world_get(w, 0, "/a", NULL);
        world_answer(w, world_last_call(w), 200, head, "old");
        world_pass(w, rows[i].wait);
        for (int n = 0; n < 3; n++) {
            world_client_t *c = world_get(w, 0, "/a", NULL);
            world_answer(w, world_last_call(w), 503, "cache-control: max-age=5, stale-if-error=60", "out of order");
            is_body(c, 200, "old");
            world_pass(w, 6000);
        }
        world_pass(w, rows[i].gone);
        world_client_t *late = world_get(w, 0, "/a", NULL);
        world_answer(w, world_last_call(w), 503, "cache-control: max-age=60", "out of order");
        is_body(late, 503, "out of order");
        is_body(world_get(w, 0, "/a", NULL), 503, "out of order"); /* now it is all that there is, and stored */
        world_free(w);
    }
}

Test(sim_request, must_revalidate_is_never_served_stale)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=10, must-revalidate, stale-if-error=600", "old");
    world_pass(w, 60000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    while (world_last_call(w)->open)
        world_end(w, world_last_call(w), UPSTREAM_FIRST_BYTE_TIMEOUT);
    cr_expect_eq(c->status, 504);
    world_free(w);
}

/* ---- purge and fill ---- */

Test(sim_request, a_hard_purge_by_tag_and_by_url_takes_effect_at_once)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH "\nsurrogate-key: product:123 all", "old");
    world_purge(w, LEDGER_TAG, "product:999", MARK_HARD);
    is_body(world_get(w, 0, "/a", NULL), 200, "old");
    world_purge(w, LEDGER_TAG, "product:123", MARK_HARD);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    cr_assert_eq(w->calls, 2);
    cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("if-none-match")), "a 304 would revive it");
    world_answer(w, world_last_call(w), 200, FRESH, "new");
    is_body(c, 200, "new");
    world_purge(w, LEDGER_URL, "site.example/a", MARK_HARD);
    world_get(w, 1, "/a", NULL);
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

Test(sim_request, a_purge_during_a_fill_is_not_survived_by_it)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *before = world_get(w, 0, "/a", NULL);
    world_head(w, w->call[0], 200, FRESH "\ncache-tag: t1", 3);
    world_run(w);
    world_purge(w, LEDGER_TAG, "t1", MARK_HARD);
    world_client_t *after = world_get(w, 1, "/a", NULL);
    cr_assert_eq(w->calls, 2, "who comes after the purge does not join the older fetch");
    world_body(w, w->call[0], "old");
    world_end(w, w->call[0], UPSTREAM_OK);
    is_body(before, 200, "old");
    cr_expect(!after->head);
    world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, 2, "and joins the newer one");
    world_answer(w, w->call[1], 200, FRESH "\ncache-tag: t1", "new");
    is_body(after, 200, "new");
    is_body(world_get(w, 0, "/a", NULL), 200, "new");
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_request, a_purge_before_the_head_counts_whatever_the_tags_will_be)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_purge(w, LEDGER_TAG, "t1", MARK_HARD);
    world_client_t *after = world_get(w, 1, "/a", NULL);
    cr_assert_eq(w->calls, 2);
    world_answer(w, w->call[1], 200, FRESH "\ncache-tag: t1", "new");
    is_body(after, 200, "new");
    world_answer(w, w->call[0], 200, FRESH "\ncache-tag: t1", "old");
    is_body(world_get(w, 0, "/a", NULL), 200, "new");
    world_free(w);
}

Test(sim_request, a_soft_purge_makes_stale)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200,
                 "cache-control: s-maxage=60, stale-while-revalidate=30\netag: \"1\"\ncache-tag: t", "old");
    world_purge(w, LEDGER_TAG, "t", MARK_SOFT);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    is_body(c, 200, "old");
    cr_expect(world_says(c, "x-cache", "STALE"));
    cr_expect(world_says(c, "cache-status", "hit; ttl=0; detail=stale-while-revalidate"));
    cr_assert_eq(w->calls, 2);
    cr_expect(fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
    world_answer(w, world_last_call(w), 304, "cache-control: s-maxage=60\netag: \"1\"", "");
    world_client_t *d = world_get(w, 0, "/a", NULL);
    is_body(d, 200, "old");
    cr_expect(world_says(d, "x-cache", "HIT"), "validated after the purge");
    world_free(w);
}

/* ---- variants, parts, conditions ---- */

Test(sim_request, waiters_for_another_variant_fetch_their_own)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *gzip = world_get(w, 0, "/v", "accept-encoding: gzip"),
                   *br = world_get(w, 1, "/v", "accept-encoding: br");
    world_client_t *br2 = world_get(w, 0, "/v", "accept-encoding: br");
    cr_assert_eq(w->calls, 1);
    world_answer(w, w->call[0], 200, FRESH "\nvary: accept-encoding", "in gzip");
    is_body(gzip, 200, "in gzip");
    cr_assert_eq(w->calls, 2, "both of the others, one fetch");
    world_answer(w, w->call[1], 200, FRESH "\nvary: accept-encoding", "in br");
    is_body(br, 200, "in br");
    is_body(br2, 200, "in br");
    is_body(world_get(w, 0, "/v", "accept-encoding: gzip"), 200, "in gzip");
    is_body(world_get(w, 0, "/v", "accept-encoding: br"), 200, "in br");
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_request, ranges_and_conditions_are_answered_from_the_cache)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *first = world_get(w, 0, "/a", "range: bytes=2-4");
    cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("range")), "the whole is fetched");
    world_answer(w, world_last_call(w), 200, FRESH, "0123456789");
    is_body(first, 206, "234");
    cr_expect(world_says(first, "content-range", "bytes 2-4/10"));
    is_body(world_get(w, 0, "/a", "range: bytes=-3"), 206, "789");
    cr_expect_eq(world_get(w, 0, "/a", "range: bytes=50-")->status, 416);
    world_client_t *many = world_get(w, 0, "/a", "range: bytes=0-1,8-9");
    cr_expect_eq(many->status, 206);
    cr_expect(world_says(many, "content-type", "multipart/byteranges; boundary="));
    cr_expect_eq((int64_t)many->n, many->content_length, "%zu bytes, %lld announced", many->n,
                 (long long)many->content_length);
    is_body(world_get(w, 0, "/a", "if-none-match: \"v1\""), 304, "");
    cr_expect_eq(world_get(w, 0, "/a", "if-match: \"other\"")->status, 412);
    is_body(world_get(w, 0, "/a", "range: bytes=0-1\nif-range: \"old\""), 200, "0123456789");
    world_client_t *head = world_request(w, 0, "HEAD", "/a", NULL, NULL);
    cr_expect(head->status == 200 && head->n == 0 && head->content_length == 10);
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_request, unsafe_methods_pass_and_invalidate)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "one");
    world_client_t *post = world_request(w, 0, "POST", "/a", "content-type: text/plain", "body");
    cr_assert_eq(w->calls, 2);
    cr_expect_str_eq(world_last_call(w)->method, "POST");
    cr_expect_str_eq(world_last_call(w)->body, "body");
    world_answer(w, world_last_call(w), 201, "", "made");
    is_body(post, 201, "made");
    cr_expect(world_says(post, "cache-status", "fwd=method"));
    world_client_t *c = world_get(w, 0, "/a", NULL);
    cr_assert_eq(w->calls, 3, "it must be asked again");
    world_answer(w, world_last_call(w), 200, FRESH, "two");
    is_body(c, 200, "two");
    is_body(world_get(w, 0, "/a", NULL), 200, "two");
    world_free(w);
}

Test(sim_request, a_slow_reader_holds_back_only_what_is_not_stored)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB, max_object: 1MiB}");
    static char block[65536];
    memset(block, 'x', sizeof block - 1);
    world_client_t *c = world_get(w, 0, "/big", NULL);
    c->stalled = true;
    world_head(w, world_last_call(w), 200, FRESH, 64 << 20);
    size_t given = 0;
    while (given < 1000 && world_body(w, world_last_call(w), block)) {
        given++;
        world_run(w);
    }
    cr_expect_lt(given, 40, "the upstream is held back by its only reader, after %zu blocks", given);
    c->stalled = false;
    world_run(w);
    cr_expect(!world_last_call(w)->paused, "and let go on");
    world_leave(w, c);
    cr_expect(world_last_call(w)->cancelled, "nobody wants it any more");
    world_free(w);
}

Test(sim_request, loops_and_strangers_are_refused)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *loop = world_get(w, 0, "/a", "cdn-loop: other, brink");
    cr_expect_eq(loop->status, 508);
    cr_expect_eq(world_request(w, 0, "TRACE", "/a", NULL, NULL)->status, 405);
    cr_expect_eq(w->calls, 0);
    world_get(w, 0, "/a",
              "x-forwarded-host: evil.example\nx-original-url: /admin\nx-forwarded-for: 10.9.9.9\nbrink-tier: forged");
    const fields_t *f = &world_last_call(w)->fields;
    cr_expect(!fields_has(f, SPAN("x-forwarded-host")) && !fields_has(f, SPAN("x-original-url")) &&
              !fields_has(f, SPAN("brink-tier")));
    cr_expect(span_eq(fields_get(f, SPAN("x-forwarded-for")), SPAN("192.0.2.7")));
    cr_expect(span_eq(fields_get(f, SPAN("cdn-loop")), SPAN("brink")));
    cr_expect(span_eq(fields_get(f, SPAN("via")), SPAN("1.1 sim-1 (brink)")));
    world_free(w);
}

/* The clock was an hour ahead, and is set right. */
Test(sim_request, a_clock_that_is_set_back_keeps_nothing_fresh)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=60\netag: \"v1\"", "old");
    w->now.wall -= 3600000;
    world_pass(w, 600000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    cr_assert_eq(w->calls, 2, "nobody knows how old it is: it is validated");
    cr_expect(fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=60\netag: \"v2\"", "new");
    cr_expect(c->n == 3 && memcmp(c->body, "new", 3) == 0);
    world_pass(w, 30000);
    c = world_get(w, 1, "/a", NULL);
    cr_expect(w->calls == 2 && world_says(c, "age", "30"));
    world_free(w);
}
