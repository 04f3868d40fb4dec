/* What random cases against a model of the RFCs found (tests/conform): one scenario each. */
#include <criterion/criterion.h>
#include <string.h>

#include "world.h"

#define FRESH "cache-control: max-age=60\netag: \"v1\""

static void is_body(const world_client_t *c, int status, const char *body)
{
    cr_expect(c->head && c->done && !c->aborted, "complete");
    cr_expect_eq(c->status, status, "status %d", c->status);
    cr_expect(c->n == strlen(body) && (c->n == 0 || memcmp(c->body, body, c->n) == 0), "%s instead of %s",
              c->body != NULL ? c->body : "", body);
}

/* RFC 9111 4.3.4: in the background, where no request is told of it, a 304 forbids as well as it freshens. */
Test(sim_conform, a_refresh_that_forbids_to_store_ends_stale_use)
{
    static const char *const words[] = {"cache-control: private\netag: \"v1\"", "cache-control: no-store"};
    for (int i = 0; i < 2; i++) {
        world_t *w = world_new(NULL, NULL);
        world_get(w, 0, "/a", NULL);
        world_answer(w, world_last_call(w), 200, "cache-control: max-age=10, stale-while-revalidate=600\netag: \"v1\"",
                     "all");
        world_pass(w, 20000);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        is_body(c, 200, "all");
        cr_assert_eq(w->calls, 2, "it is refreshed");
        world_answer(w, world_last_call(w), i == 0 ? 304 : 200, words[i], i == 0 ? "" : "one user's");
        world_get(w, 0, "/a", NULL);
        cr_expect_eq(w->calls, 3);
        cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("if-none-match")), "nothing is left to validate");
        world_free(w);
    }
}

/* RFC 9111 3.5: what one user may not have shared says nothing of what all may have. */
Test(sim_conform, a_users_own_answer_takes_nothing_from_others)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "all");
    world_get(w, 0, "/a", "authorization: Bearer a");
    world_answer(w, world_last_call(w), 200, "cache-control: private", "his");
    is_body(world_get(w, 0, "/a", NULL), 200, "all");
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

/* RFC 9111 4.3.4: of two validations at the same time, the second freshens what the first has left. */
Test(sim_conform, what_a_validation_forbade_is_not_lifted_by_another)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "a");
    world_get(w, 0, "/a", "cache-control: no-cache");
    world_client_t *b = world_get(w, 1, "/a", "cache-control: no-cache");
    world_answer(w, w->call[1], 304, "cache-control: no-cache\netag: \"v1\"", "");
    cr_assert_eq(w->calls, 3, "that one is for the first alone");
    world_answer(w, w->call[2], 304, "etag: \"v1\"", "");
    cr_expect(world_says(b, "cache-control", "no-cache"), "%.*s", SPAN_ARG(world_field(b, "cache-control")));
    world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, 4, "validated each time");
    world_free(w);
}

Test(sim_conform, what_is_forbidden_is_not_validated_back)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "a");
    world_get(w, 0, "/a", "cache-control: no-cache");
    world_get(w, 1, "/a", "cache-control: no-cache");
    world_answer(w, w->call[1], 304, "cache-control: private\netag: \"v1\"", "");
    cr_assert_eq(w->calls, 3);
    cr_expect(!fields_has(&w->call[2]->fields, SPAN("if-none-match")), "a 304 would bring back what may not be kept");
    world_free(w);
}

/* After a response that can't be shared, requests go alone. What they get is stored all the same. */
Test(sim_conform, who_goes_alone_stores_for_the_next)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_client_t *b = world_get(w, 1, "/a", NULL);
    world_answer(w, w->call[0], 200, "cache-control: no-store", "first");
    world_answer(w, w->call[1], 200, FRESH, "second");
    is_body(b, 200, "second");
    is_body(world_get(w, 0, "/a", NULL), 200, "second");
    cr_expect_eq(w->calls, 2);
    /* by the note that the first one leaves */
    world_get(w, 0, "/b", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: no-store", "first");
    world_client_t *c = world_get(w, 0, "/b", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "second");
    cr_expect(world_says(c, "cache-status", "fwd=bypass; fwd-status=200; stored; detail=hit-for-miss"), "%.*s",
              SPAN_ARG(world_field(c, "cache-status")));
    is_body(world_get(w, 0, "/b", NULL), 200, "second");
    cr_expect_eq(w->calls, 4);
    world_free(w);
}

/* Conditions are the upstream's to judge while nothing can be shared: a 304 is cheaper than the whole each time. */
Test(sim_conform, conditions_go_up_while_nothing_is_shared)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: private\netag: \"p\"", "mine");
    world_client_t *c = world_get(w, 0, "/a", "if-none-match: \"p\"");
    cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("if-none-match")), SPAN("\"p\"")));
    world_answer(w, world_last_call(w), 304, "etag: \"p\"", "");
    is_body(c, 304, "");
    world_free(w);
}

/* A note must not stand before what was stored in the same second, nor before anything when its time is over. */
Test(sim_conform, a_note_does_not_hide_what_came_after_it)
{
    world_t *w = world_new(NULL, NULL);
    world_pass(w, 800); /* within a second: Date is 800 ms older than the note */
    world_get(w, 0, "/a", "foo: 1");
    world_answer(w, world_last_call(w), 200, "cache-control: no-store\nvary: foo", "not shared");
    world_get(w, 0, "/a", "foo: 1");
    world_answer(w, world_last_call(w), 200, FRESH, "shared");
    is_body(world_get(w, 0, "/a", "foo: 1"), 200, "shared");
    cr_expect_eq(w->calls, 2);
    world_get(w, 0, "/b", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: no-store", "not shared");
    world_get(w, 0, "/b", NULL);
    world_answer(w, world_last_call(w), 200, "date: Tue, 14 Nov 2023 22:13:00 GMT\nvary: foo\n" FRESH,
                 "from a slow clock");
    world_pass(w, 6000);
    is_body(world_get(w, 0, "/b", NULL), 200, "from a slow clock");
    cr_expect_eq(w->calls, 4);
    world_free(w);
}

Test(sim_conform, a_failing_origin_costs_nothing_that_is_stored)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_get(w, 1, "/a", "cache-control: no-store"); /* on its own */
    world_get(w, 0, "/a", "authorization: x");
    world_answer(w, w->call[0], 200, FRESH, "a");
    world_answer(w, w->call[1], 500, "x: 1", "sorry");
    world_answer(w, w->call[2], 500, "x: 1", "sorry");
    is_body(world_get(w, 0, "/a", NULL), 200, "a");
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

/* RFC 9111 5.2.1.2: a client that says how stale it may be isn't given what is staler, whatever the window. */
Test(sim_conform, max_stale_limits_stale_while_revalidate)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=10, stale-while-revalidate=600", "a");
    world_pass(w, 18000);
    is_body(world_get(w, 0, "/a", "cache-control: max-stale=10"), 200, "a");
    cr_expect_eq(w->calls, 2, "refreshed behind it");
    world_answer(w, world_last_call(w), 503, NULL, "sorry");
    cr_expect(!world_get(w, 0, "/a", "cache-control: max-stale=5")->head);
    cr_expect_eq(w->calls, 3, "asked for");
    world_free(w);
}

/* An operator's override_ttl overrules no-cache for that long; what comes after it is the response's own. */
Test(sim_conform, no_cache_holds_when_the_override_is_over)
{
    world_t *w = world_new("    rules: [{path: \"/**\", override_ttl: 60s}]", NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: no-cache, stale-while-revalidate=600, stale-if-error=600",
                 "a");
    world_pass(w, 59000);
    is_body(world_get(w, 0, "/a", NULL), 200, "a");
    cr_expect_eq(w->calls, 1);
    world_pass(w, 2000);
    cr_expect(!world_get(w, 0, "/a", "cache-control: max-stale")->head);
    cr_assert_eq(w->calls, 2);
    world_end(w, world_last_call(w), UPSTREAM_FIRST_BYTE_TIMEOUT);
    world_free(w);
}

/* … nor, under another Vary, what came after it with an earlier Date. */
Test(sim_conform, a_note_of_another_variant_does_not_hide_what_came_after_it)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, w->call[0], 200, "cache-control: no-store\nvary: origin", "not shared");
    world_get(w, 0, "/a", NULL);
    world_answer(w, w->call[1], 200, "date: Tue, 14 Nov 2023 22:13:00 GMT\n" FRESH, "from a slow clock");
    is_body(world_get(w, 0, "/a", NULL), 200, "from a slow clock");
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

/* RFC 9111 4.3.4: a 304 updates what is stored, also where the request that it answers went alone. */
Test(sim_conform, a_validation_on_its_own_updates_what_is_stored)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "etag: \"v1\"", "abcdef");
    world_get(w, 0, "/a", NULL);
    world_client_t *b = world_get(w, 0, "/a", "range: bytes=0-3");
    world_answer(w, w->call[1], 304, "etag: \"v1\"", "");
    cr_assert_eq(w->calls, 3, "what is stale at once is shared with nobody who waited");
    world_answer(w, w->call[2], 304, "etag: \"v1\"\ncache-control: max-age=60", "");
    is_body(b, 206, "abcd");
    is_body(world_get(w, 0, "/a", NULL), 200, "abcdef");
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

/* … and one that forbids to keep it ends it, whoever asked. */
Test(sim_conform, a_validation_on_its_own_ends_what_may_not_be_kept)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, "etag: \"v1\"", "abcdef");
    world_get(w, 0, "/a", NULL);
    world_get(w, 0, "/a", "range: bytes=0-3");
    world_answer(w, w->call[1], 304, "etag: \"v1\"", "");
    world_answer(w, w->call[2], 304, "etag: \"v1\"\ncache-control: private", "");
    world_get(w, 0, "/a", NULL);
    cr_assert_eq(w->calls, 4);
    cr_expect(!fields_has(&w->call[3]->fields, SPAN("if-none-match")));
    world_free(w);
}

/* RFC 9111 4.3.4: what a 304 makes of it may not be stored for want of a word on its cookie; nor is the old one kept.
 */
Test(sim_conform, a_refresh_that_no_longer_shares_a_cookie_ends_stale_use)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200,
                 "cache-control: public, max-age=10, stale-while-revalidate=600\netag: \"v1\"\nset-cookie: a=b", "all");
    world_pass(w, 20000);
    is_body(world_get(w, 0, "/a", NULL), 200, "all");
    world_answer(w, world_last_call(w), 304, "cache-control: no-cache\netag: \"v1\"", "");
    cr_expect(!world_get(w, 0, "/a", NULL)->head);
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

/* What one validation forbade to keep is not brought back by another that was sent before. */
Test(sim_conform, what_a_validation_removed_is_not_stored_by_another)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "a");
    world_get(w, 0, "/a", "cache-control: no-cache");
    world_get(w, 1, "/a", "cache-control: no-cache\nauthorization: x"); /* doesn't wait for the other */
    cr_assert_eq(w->calls, 3);
    world_answer(w, w->call[1], 304, "cache-control: no-store\netag: \"v1\"", "");
    world_answer(w, w->call[2], 304, "cache-control: public\netag: \"v1\"", "");
    cr_expect(!world_get(w, 0, "/a", NULL)->head);
    cr_assert_eq(w->calls, 4);
    world_answer(w, w->call[3], 200, FRESH, "b");
    world_free(w);
}

/* RFC 9111 3.5, 5.2: what can't be read restricts, and permits nothing. */
Test(sim_conform, an_unreadable_permission_shares_nothing)
{
    static const char *const words[] = {"cache-control: foo=\", s-maxage=60", "cache-control: s-maxage=1m",
                                        "cache-control: must-revalidate=1", "cache-control: public=1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        world_t *w = world_new("    rules: [{path: \"/**\", override_ttl: 60s}]", NULL);
        world_get(w, 0, "/a", "authorization: Bearer a");
        world_answer(w, world_last_call(w), 200, words[i], "his");
        world_client_t *c = world_get(w, 0, "/a", NULL);
        cr_assert_eq(w->calls, 2, "%s", words[i]);
        world_answer(w, world_last_call(w), 200, "", "all");
        is_body(c, 200, "all");
        world_free(w);
    }
}

/* RFC 9111 5.2.2.3: a 304 may say it of a status that was stored before. */
Test(sim_conform, a_validation_may_ask_to_be_understood)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 299, FRESH, "odd");
    is_body(world_get(w, 0, "/a", NULL), 299, "odd");
    world_get(w, 0, "/a", "cache-control: no-cache");
    world_answer(w, world_last_call(w), 304, "cache-control: max-age=60, must-understand\netag: \"v1\"", "");
    cr_assert_eq(w->calls, 2);
    world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, 3, "it may no longer be kept");
    cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("if-none-match")), "nor validated");
    world_free(w);
}
