/* Who may be given what: authorization, cookies, the client's own conditions and wishes, notes about what can't be
 * shared, and purges that overtake a revalidation. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/tbl/metrics.h"
#include "world.h"

#define FRESH "cache-control: max-age=60\netag: \"v1\""

static void is_body(const world_client_t *c, int status, const char *body)
{
    cr_expect(c->head && c->done && !c->aborted, "complete");
    cr_expect_eq(c->status, status, "status %d", c->status);
    cr_expect(c->n == strlen(body) && (c->n == 0 || memcmp(c->body, body, c->n) == 0), "%s instead of %s",
              c->body != NULL ? c->body : "", body);
}

Test(sim_rules, what_one_user_was_answered_is_not_for_others)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/me", "authorization: Bearer a");
    world_client_t *b = world_get(w, 1, "/me", "authorization: Bearer b"), *c = world_get(w, 1, "/me", NULL);
    cr_assert_eq(w->calls, 3, "nobody waits for an answer that may be another user's");
    cr_expect(span_eq(fields_get(&w->call[1]->fields, SPAN("authorization")), SPAN("Bearer b")));
    world_answer(w, w->call[0], 200, FRESH, "for a");
    world_answer(w, w->call[1], 200, FRESH, "for b");
    is_body(a, 200, "for a");
    is_body(b, 200, "for b");
    cr_expect(world_says(a, "cache-status", "detail=authorization"));
    cr_expect(!c->head);
    world_answer(w, w->call[2], 200, FRESH, "for all");
    is_body(c, 200, "for all");
    is_body(world_get(w, 0, "/me", NULL), 200, "for all");
    world_client_t *again = world_get(w, 0, "/me", "authorization: Bearer a");
    cr_expect_eq(w->calls, 4, "nor is what all get for one who shows who he is (RFC 9111 3.5)");
    world_answer(w, world_last_call(w), 200, "cache-control: public, max-age=60", "public");
    is_body(again, 200, "public");
    is_body(world_get(w, 1, "/me", "authorization: Bearer c"), 200, "public");
    cr_expect_eq(w->calls, 4);
    world_free(w);
}

Test(sim_rules, cookies_are_given_to_one)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/", NULL), *b = world_get(w, 1, "/", NULL);
    world_answer(w, w->call[0], 200,
                 "cache-control: no-cache=\"x\"\nset-cookie: id=1\nlast-modified: Mon, 13 Nov 2023 22:13:20 GMT", "a");
    cr_expect(world_says(a, "set-cookie", "id=1"));
    cr_assert_eq(w->calls, 2, "not the first one's cookie");
    world_answer(w, w->call[1], 200, "set-cookie: id=2", "b");
    cr_expect(world_says(b, "set-cookie", "id=2"));
    world_get(w, 0, "/", NULL);
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

Test(sim_rules, a_request_with_no_store_goes_alone)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/x", "cache-control: no-store"), *b = world_get(w, 1, "/x", NULL);
    world_get(w, 1, "/x", NULL);
    cr_assert_eq(w->calls, 2, "nobody waits for what will not be stored");
    world_answer(w, w->call[0], 200, FRESH, "a");
    is_body(a, 200, "a");
    cr_expect(world_says(a, "cache-status", "sim-1; fwd=bypass; fwd-status=200; detail=no-store"));
    cr_expect(world_says(a, "x-cache", "BYPASS"));
    cr_expect(!b->head);
    world_answer(w, w->call[1], 200, FRESH, "b");
    is_body(b, 200, "b");
    is_body(world_get(w, 0, "/x", "cache-control: no-store"), 200, "b");
    cr_expect_eq(w->calls, 2, "what is stored may be used");
    world_free(w);
}

Test(sim_rules, head_is_answered_from_what_get_stored_and_else_forwarded)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *h = world_request(w, 0, "HEAD", "/a", NULL, NULL);
    cr_assert(world_last_call(w)->is_head);
    cr_expect_str_eq(world_last_call(w)->method, "HEAD");
    world_head(w, world_last_call(w), 200, FRESH, 1234);
    world_end(w, world_last_call(w), UPSTREAM_OK);
    cr_expect(h->status == 200 && h->done && h->n == 0 && h->content_length == 1234);
    cr_expect(!world_says(h, "cache-status", "stored"));
    world_get(w, 0, "/a", NULL);
    cr_expect_str_eq(world_last_call(w)->method, "GET", "an answer to HEAD is no content to store");
    world_answer(w, world_last_call(w), 200, FRESH, "hello");
    h = world_request(w, 0, "HEAD", "/a", NULL, NULL);
    cr_expect(h->status == 200 && h->n == 0 && h->content_length == 5 && world_says(h, "x-cache", "HIT"));
    world_pass(w, 70000);
    h = world_request(w, 0, "HEAD", "/a", NULL, NULL);
    cr_expect_str_eq(world_last_call(w)->method, "GET", "stale: a GET freshens it for all");
    world_answer(w, world_last_call(w), 200, FRESH, "hello again");
    cr_expect(h->status == 200 && h->n == 0 && h->content_length == 11, "%lld", (long long)h->content_length);
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

Test(sim_rules, head_of_what_cannot_be_shared_tells_the_length)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "hello");
    world_pass(w, 70000);
    world_client_t *g = world_get(w, 0, "/a", NULL), *h = world_request(w, 1, "HEAD", "/a", NULL, NULL);
    cr_assert_eq(w->calls, 2);
    world_answer(w, w->call[1], 200, "cache-control: private", "mine");
    is_body(g, 200, "mine");
    cr_assert_eq(w->calls, 3);
    cr_expect(w->call[2]->is_head);
    world_head(w, w->call[2], 200, "cache-control: private", 99);
    world_end(w, w->call[2], UPSTREAM_OK);
    cr_expect(h->status == 200 && h->n == 0 && h->content_length == 99, "%lld", (long long)h->content_length);
    world_free(w);
}

Test(sim_rules, only_if_cached)
{
    world_t *w = world_new("    rules: [{path: \"/raw/**\", cache: false}]", NULL);
    cr_expect_eq(world_get(w, 0, "/a", "cache-control: only-if-cached")->status, 504);
    cr_expect_eq(world_get(w, 0, "/raw/a", "cache-control: only-if-cached")->status, 504);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "a");
    is_body(world_get(w, 0, "/a", "cache-control: only-if-cached"), 200, "a");
    world_pass(w, 70000);
    world_client_t *c = world_get(w, 0, "/a", "cache-control: only-if-cached");
    cr_expect_eq(c->status, 504);
    cr_expect(world_says(c, "cache-status", "detail=only-if-cached"));
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_rules, the_note_that_nothing_can_be_shared_expires)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/p", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: no-store", "1");
    uint64_t before = metrics_value(METRIC_HIT_FOR_MISS, 0);
    world_client_t *a = world_get(w, 0, "/p", NULL);
    world_get(w, 0, "/p", NULL);
    cr_expect_eq(w->calls, 3, "nobody waits for anybody");
    cr_expect_eq(metrics_value(METRIC_HIT_FOR_MISS, 0) - before, 2);
    world_answer(w, w->call[1], 200, "cache-control: no-store", "2");
    cr_expect(world_says(a, "cache-status", "fwd=bypass; fwd-status=200; detail=hit-for-miss"));
    world_pass(w, 6000);
    world_client_t *b = world_get(w, 0, "/p", NULL), *c = world_get(w, 1, "/p", NULL);
    cr_expect_eq(w->calls, 4, "it may have become sharable: they queue again");
    world_answer(w, w->call[3], 200, FRESH, "shared");
    is_body(b, 200, "shared");
    is_body(c, 200, "shared");
    cr_expect(world_says(b, "cache-status", "sim-1; fwd=uri-miss; fwd-status=200; stored"));
    cr_expect(!world_says(b, "cache-status", "detail"));
    is_body(world_get(w, 0, "/p", NULL), 200, "shared");
    cr_expect_eq(w->calls, 4, "the note is replaced");
    world_free(w);
}

Test(sim_rules, a_note_is_for_its_variant)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/v", "accept-language: de");
    world_answer(w, world_last_call(w), 200, FRESH "\nvary: accept-language", "deutsch");
    world_get(w, 0, "/v", "accept-language: fr");
    world_answer(w, world_last_call(w), 200, "cache-control: no-store\nvary: accept-language", "pas encore");
    is_body(world_get(w, 0, "/v", "accept-language: de"), 200, "deutsch");
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_rules, an_error_that_is_not_stored_does_not_push_out_what_is)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "good");
    world_pass(w, 70000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 503, "cache-control: no-store", "down");
    cr_expect_eq(c->status, 503);
    world_client_t *d = world_get(w, 0, "/a", NULL);
    cr_expect(fields_has(&world_last_call(w)->fields, SPAN("if-none-match")), "its validator is still good");
    world_answer(w, world_last_call(w), 304, FRESH, "");
    is_body(d, 200, "good");
    world_free(w);
}

Test(sim_rules, the_clients_own_condition_is_answered_on_a_miss)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *same = world_get(w, 0, "/a", "if-none-match: \"v1\""),
                   *other = world_get(w, 1, "/a", "if-none-match: \"v0\"");
    cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("if-none-match")), "the cache wants the whole");
    world_answer(w, world_last_call(w), 200, FRESH, "hello");
    is_body(same, 304, "");
    cr_expect_eq(same->content_length, -1, "Content-Length: 0 would speak of the representation");
    cr_expect(world_says(same, "etag", "\"v1\""));
    is_body(other, 200, "hello");
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_rules, a_part_of_what_is_not_stored_is_asked_from_the_upstream)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_get(w, 0, "/video", "range: bytes=100-199\nif-range: \"v1\"");
    world_head(w, world_last_call(w), 200, "cache-control: no-store", 1 << 30);
    world_run(w);
    cr_assert_eq(w->calls, 2);
    cr_expect(w->call[0]->cancelled, "a gigabyte that nobody wants");
    cr_expect(span_eq(fields_get(&w->call[1]->fields, SPAN("range")), SPAN("bytes=100-199")));
    cr_expect(fields_has(&w->call[1]->fields, SPAN("if-range")));
    world_answer(w, w->call[1], 206, "cache-control: no-store\ncontent-range: bytes 100-199/1073741824", "the part");
    is_body(c, 206, "the part");
    world_free(w);
}

/* ---- purge against revalidation and refresh ---- */

Test(sim_rules, a_purge_during_a_revalidation_is_not_undone_by_its_304)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH "\ncache-tag: t", "old");
    world_pass(w, 70000);
    world_client_t *before = world_get(w, 0, "/a", NULL);
    world_call_t *revalidation = world_last_call(w);
    cr_assert(fields_has(&revalidation->fields, SPAN("if-none-match")));
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    world_client_t *after = world_get(w, 1, "/a", NULL);
    cr_assert_eq(w->calls, 3, "it doesn't wait for a validation from before the purge");
    cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
    world_answer(w, revalidation, 304, FRESH, "");
    is_body(before, 200, "old");
    world_client_t *third = world_get(w, 0, "/a", NULL);
    cr_expect(!third->head, "revived by the 304");
    world_answer(w, w->call[2], 200, FRESH "\ncache-tag: t", "new");
    is_body(after, 200, "new");
    is_body(third, 200, "new");
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

Test(sim_rules, a_gap_asks_the_origin_about_everything)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200,
                 "cache-control: max-age=60, stale-while-revalidate=60, stale-if-error=60\netag: \"v1\"", "a");
    world_purge(w, LEDGER_ALL, "", MARK_STRICT);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    cr_expect(!c->head, "not without a validation");
    cr_expect(fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
    while (world_last_call(w)->open)
        world_end(w, world_last_call(w), UPSTREAM_REFUSED);
    cr_expect_eq(c->status, 502, "nor when the origin is down");
    c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 304, FRESH, "");
    is_body(c, 200, "a");
    is_body(world_get(w, 1, "/a", NULL), 200, "a");
    world_free(w);
}

Test(sim_rules, stale_goes_on_when_the_refresh_is_cut)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=10, stale-while-revalidate=60", "old");
    world_pass(w, 20000);
    is_body(world_get(w, 0, "/a", NULL), 200, "old");
    world_head(w, world_last_call(w), 200, "cache-control: max-age=60", 10);
    world_body(w, world_last_call(w), "new, b");
    is_body(world_get(w, 1, "/a", NULL), 200, "old");
    cr_expect_eq(w->calls, 2, "one refresh");
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    is_body(world_get(w, 1, "/a", NULL), 200, "old");
    cr_expect_eq(w->calls, 3, "the next one tries again");
    world_answer(w, world_last_call(w), 200, FRESH, "new");
    is_body(world_get(w, 0, "/a", NULL), 200, "new");
    world_free(w);
}

/* A status of an answer that was not used must not be told of the next attempt. */
Test(sim_rules, cache_status_tells_of_the_answer_that_was_used)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=10, stale-if-error=600", "old");
    world_pass(w, 20000);
    world_get(w, 0, "/a", NULL);
    world_client_t *waits = world_get(w, 1, "/a", NULL);
    world_head(w, w->call[1], 200, "cache-control: private", 4); /* for the first one only */
    world_run(w);
    cr_assert_eq(w->calls, 3);
    while (world_last_call(w)->open && world_last_call(w) != w->call[1])
        world_end(w, world_last_call(w), UPSTREAM_REFUSED);
    is_body(waits, 200, "old");
    cr_expect(world_says(waits, "cache-status", "sim-1; hit; ttl=-10; detail=stale-if-error"), "%.*s",
              SPAN_ARG(world_field(waits, "cache-status")));
    world_free(w);
}

Test(sim_rules, many_variants_and_long_fields_do_not_use_up_a_request)
{
    world_t *w = world_new(NULL, NULL);
    static char lines[24000], *at = lines;
    for (int i = 0; i < 64; i++) {
        char line[64];
        snprintf(line, sizeof line, "accept-language: x%d", i);
        world_get(w, 0, "/v", line);
        world_answer(w, world_last_call(w), 200, FRESH "\nvary: accept-language", "one");
    }
    at += sprintf(at, "accept-language: ");
    for (int i = 0; i < 2000; i++)
        at += sprintf(at, "y%d,", i);
    world_client_t *c = world_get(w, 0, "/v", lines);
    world_answer(w, world_last_call(w), 200, "cache-control: no-store\nvary: accept-language", "two");
    is_body(c, 200, "two");
    cr_expect_lt(c->arena.used, 1024 * 1024, "%zu bytes for one request", c->arena.used);
    world_free(w);
}
