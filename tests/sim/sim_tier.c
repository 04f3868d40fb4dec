/* Two nodes: what an edge asks its shield, what the shield makes of it, and that no word of a shield is older than what
 * the edge knows. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/tbl/metrics.h"
#include "world.h"

#define FRESH "cache-control: max-age=60\netag: \"v1\""

typedef struct pair {
    world_t *edge, *shield;
} pair_t;

static void pair_pass(pair_t p, msec_t ms)
{
    world_pass(p.edge, ms);
    world_pass(p.shield, ms);
}

static pair_t pair_open(const char *edge_site, msec_t clock)
{
    pair_t p = {world_open(&(world_options_t){.node = "edge-1", .shield = true, .site = edge_site}),
                world_open(&(world_options_t){.node = "shield-1", .tier = true, .clock = clock})};
    pair_pass(p, 20000); /* what was sent before the shield started is refused as a replay, by its own clock */
    return p;
}

static void pair_close(pair_t p)
{
    world_free(p.edge);
    world_free(p.shield);
}

static void is_body(const world_client_t *c, int status, const char *body)
{
    cr_expect(c->head && c->done && !c->aborted, "complete");
    cr_expect_eq(c->status, status, "status %d", c->status);
    cr_expect(c->n == strlen(body) && (c->n == 0 || memcmp(c->body, body, c->n) == 0), "%s instead of %s",
              c->body != NULL ? c->body : "", body);
}

/* Through both: the edge misses, the shield asks the origin. */
static world_client_t *fill(pair_t p, const char *target, const char *lines, const char *fields, const char *body)
{
    world_client_t *c = world_get(p.edge, 0, target, lines);
    world_call_t *up = world_last_call(p.edge);
    size_t before = p.shield->calls;
    world_client_t *at_shield = world_carry(p.edge, up, p.shield);
    if (p.shield->calls > before)
        world_answer(p.shield, world_last_call(p.shield), 200, fields, body);
    world_brought(p.edge, up, at_shield);
    return c;
}

Test(sim_tier, a_miss_goes_through_both_and_is_kept_in_both)
{
    pair_t p = pair_open(NULL, 7000); /* the shield's clock is ahead */
    world_client_t *c = fill(p, "/a?x=1", "x-forwarded-for: 10.0.0.1", FRESH "\nsurrogate-key: t1 t2", "hello");
    is_body(c, 200, "hello");
    cr_expect(world_says(c, "cache-status",
                         "shield-1; fwd=uri-miss; fwd-status=200; stored, edge-1; fwd=uri-miss; "
                         "fwd-status=200; stored"),
              "%.*s", SPAN_ARG(world_field(c, "cache-status")));
    cr_expect(!fields_has(&c->fields, SPAN("surrogate-key")), "the tier's own business");
    cr_expect(world_says(c, "via", "1.1 shield-1 (brink), 1.1 edge-1 (brink)"));
    const fields_t *up = &world_last_call(p.shield)->fields;
    cr_expect(!fields_has(up, TIER_FIELD), "origins don't see it");
    cr_expect(span_eq(fields_get(up, SPAN("cdn-loop")), SPAN("brink")), "once, not once a node");
    cr_expect(span_eq(fields_get(up, SPAN("x-forwarded-for")), SPAN("192.0.2.7, 192.0.2.7")),
              "what the client said of itself is gone, what the tier said is kept: %.*s",
              SPAN_ARG(fields_get(up, SPAN("x-forwarded-for"))));
    cr_expect(span_eq(fields_get(up, SPAN("via")), SPAN("1.1 edge-1 (brink), 1.1 shield-1 (brink)")));
    is_body(world_get(p.edge, 1, "/a?x=1", NULL), 200, "hello");
    cr_expect_eq(p.edge->calls, 1);

    pair_pass(p, 30000);
    world_purge(p.edge, LEDGER_URL, "site.example/a?x=1", MARK_HARD); /* known to be behind the cursor */
    uint64_t before = metrics_value(METRIC_HITS, LABEL_TIER_SHIELD);
    c = fill(p, "/a?x=1", NULL, FRESH, "must not be asked");
    cr_expect_eq(metrics_value(METRIC_HITS, LABEL_TIER_SHIELD) - before, 1);
    is_body(c, 200, "hello");
    cr_expect_eq(p.shield->calls, 1);
    cr_expect(world_says(c, "cache-status", "shield-1; hit; ttl=30; detail=memory, edge-1; fwd="));
    cr_expect(world_says(c, "age", "30"));
    pair_close(p);
}

Test(sim_tier, the_scheme_of_the_client_reaches_the_shield_with_the_signature)
{
    pair_t p = pair_open(NULL, 0);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    (void)c;
    world_call_t *up = world_last_call(p.edge);
    cr_expect(span_eq(fields_get(&up->fields, SPAN("x-forwarded-proto")), SPAN("http")));
    for (size_t i = 0; i < up->fields.n; i++) /* somebody on the way says otherwise */
        if (span_eq(up->fields.v[i].name, SPAN("x-forwarded-proto")))
            up->fields.v[i].value = SPAN("https");
    world_client_t *at_shield = world_carry(p.edge, up, p.shield);
    cr_expect_eq(at_shield->status, 403);
    cr_expect(span_eq(world_field(at_shield, "brink-tier-refused"), SPAN("mac")));
    cr_expect_eq(p.shield->calls, 0);
    pair_close(p);
}

Test(sim_tier, a_shield_that_does_not_believe_us_is_as_good_as_none)
{
    pair_t p = pair_open(NULL, 60000); /* the clocks are a minute apart */
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_client_t *at_shield = world_carry(p.edge, up, p.shield);
    cr_expect_eq(at_shield->status, 403);
    cr_expect(span_eq(world_field(at_shield, "brink-tier-refused"), SPAN("clock")));
    world_brought(p.edge, up, at_shield);
    cr_assert_eq(p.edge->calls, 2);
    cr_expect(!world_last_call(p.edge)->to_shield && !fields_has(&world_last_call(p.edge)->fields, TIER_FIELD));
    world_answer(p.edge, world_last_call(p.edge), 200, FRESH, "from the origin");
    is_body(c, 200, "from the origin");
    cr_expect(!fields_has(&c->fields, TIER_REFUSED_FIELD));
    pair_close(p);
}

Test(sim_tier, a_replayed_request_is_refused)
{
    pair_t p = pair_open(NULL, 0);
    world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_carry(p.edge, up, p.shield);
    world_client_t *again = world_carry(p.edge, up, p.shield);
    cr_expect_eq(again->status, 403);
    cr_expect(span_eq(world_field(again, "brink-tier-refused"), SPAN("replay")));
    world_client_t *forged = world_get(p.shield, 0, "/a", "brink-tier: v=1; nonsense");
    cr_expect_eq(forged->status, 403);
    cr_expect(span_eq(world_field(forged, "brink-tier-refused"), SPAN("syntax")));
    pair_close(p);
}

Test(sim_tier, a_loop_is_found_by_the_signed_list_of_nodes)
{
    pair_t p = pair_open(NULL, 0);
    world_t *same = world_open(&(world_options_t){.node = "edge-1", .tier = true}); /* the edge's own name */
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_client_t *looped = world_carry(p.edge, up, same);
    cr_expect_eq(looped->status, 508);
    cr_expect(span_eq(world_field(looped, "brink-tier-refused"), SPAN("loop")));
    world_brought(p.edge, up, looped);
    cr_expect(!world_last_call(p.edge)->to_shield, "round the loop");
    world_answer(p.edge, world_last_call(p.edge), 200, FRESH, "a");
    is_body(c, 200, "a");
    world_client_t *client = world_get(p.shield, 0, "/a", "cdn-loop: brink");
    cr_expect_eq(client->status, 508, "without a signature, the field decides");
    world_free(same);
    pair_close(p);
}

Test(sim_tier, a_shield_that_is_down_is_gone_round)
{
    pair_t p = pair_open(NULL, 0);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    while (world_last_call(p.edge)->to_shield && world_last_call(p.edge)->open)
        world_end(p.edge, world_last_call(p.edge), UPSTREAM_REFUSED);
    cr_assert(!world_last_call(p.edge)->to_shield);
    world_answer(p.edge, world_last_call(p.edge), 200, FRESH, "from the origin");
    is_body(c, 200, "from the origin");
    pair_close(p);
}

/* ---- purges ---- */

Test(sim_tier, a_purge_that_the_shield_cannot_know_goes_past_its_copy)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, FRESH "\ncache-tag: t", "old");
    pair_pass(p, 5000);
    ledger_value_t v = {.kind = LEDGER_URL, .digest = key_uri_digest(SPAN("site.example/a"))};
    ledger_append(
        p.edge->ledger,
        &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1, .outside = true, .boot = p.edge->now.boot}, NULL);
    pair_pass(p, 1000);
    world_client_t *c = fill(p, "/a", NULL, FRESH, "new");
    is_body(c, 200, "new");
    cr_expect_eq(p.shield->calls, 2);
    cr_expect(!fields_has(&world_last_call(p.shield)->fields, SPAN("if-none-match")),
              "a 304 would bring the old one back");
    world_purge(p.edge, LEDGER_URL, "site.example/a", MARK_HARD);
    pair_pass(p, 1000);
    is_body(fill(p, "/a", NULL, FRESH, "newer"), 200, "new");
    cr_expect_eq(p.shield->calls, 2, "the shield's copy is younger than the purge");
    pair_close(p);
}

Test(sim_tier, a_shield_on_no_or_another_redis_does_not_answer_from_its_cache)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, FRESH, "old");
    ledger_set_cursor(p.edge->ledger, &(ledger_cursor_t){.ms = 1700000000000, .seq = 1, .run_id = "0123456789"});
    world_purge(p.edge, LEDGER_URL, "site.example/a", MARK_HARD);
    world_client_t *c = fill(p, "/a", NULL, FRESH, "new");
    is_body(c, 200, "new");
    cr_expect_eq(p.shield->calls, 2);
    pair_close(p);
}

Test(sim_tier, such_a_request_does_not_join_a_fetch_from_before_the_purge)
{
    pair_t p = pair_open(NULL, 0);
    world_client_t *direct = world_get(p.shield, 1, "/a", NULL); /* the shield fetches already */
    pair_pass(p, 2000);
    ledger_value_t v = {.kind = LEDGER_URL, .digest = key_uri_digest(SPAN("site.example/a"))};
    ledger_append(
        p.edge->ledger,
        &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1, .outside = true, .boot = p.edge->now.boot}, NULL);
    pair_pass(p, 100);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_client_t *at_shield = world_carry(p.edge, world_last_call(p.edge), p.shield);
    cr_assert_eq(p.shield->calls, 2);
    world_answer(p.shield, p.shield->call[1], 200, FRESH, "new");
    world_brought(p.edge, world_last_call(p.edge), at_shield);
    is_body(c, 200, "new");
    world_answer(p.shield, p.shield->call[0], 200, FRESH, "old");
    is_body(direct, 200, "old");
    pair_close(p);
}

static now_t late;

static now_t clock_of_late(void)
{
    return late;
}

/* The edge purges (outside the stream) at the very ms in which the shield's fetch began, and asks at once. */
static void purge_and_ask(pair_t p)
{
    ledger_value_t v = {.kind = LEDGER_URL, .digest = key_uri_digest(SPAN("site.example/a"))};
    ledger_append(
        p.edge->ledger,
        &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1, .outside = true, .boot = p.edge->now.boot}, NULL);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_client_t *at_shield = world_carry(p.edge, world_last_call(p.edge), p.shield);
    cr_assert_eq(p.shield->calls, 2, "it waits for a fetch that may be from before the purge");
    world_answer(p.shield, p.shield->call[1], 200, FRESH, "new");
    world_brought(p.edge, world_last_call(p.edge), at_shield);
    is_body(c, 200, "new");
    world_answer(p.shield, p.shield->call[0], 200, FRESH, "old");
}

Test(sim_tier, clocks_that_count_whole_milliseconds_do_not_hide_an_older_fetch)
{
    pair_t p = pair_open(NULL, 0);
    world_get(p.shield, 1, "/a", NULL);
    purge_and_ask(p);
    pair_close(p);
}

Test(sim_tier, nor_does_a_turn_of_the_loop_that_took_long)
{
    pair_t p = pair_open(NULL, 0);
    world_get(p.shield, 1, "/a", NULL);
    world_pass(p.edge, 300); /* the shield read its clock 300 ms ago, and then this request */
    late = p.shield->now;
    late.wall += 300;
    late.boot += 300;
    p.shield->env[0].clock = clock_of_late;
    purge_and_ask(p);
    pair_close(p);
}

/* ---- stale ---- */

/* Both clocks were an hour ahead, and are set right. */
Test(sim_tier, nor_does_a_clock_that_is_set_back)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, "cache-control: max-age=86400", "old");
    pair_pass(p, 120000);
    fill(p, "/b", NULL, FRESH, "b");
    p.edge->now.wall -= 3600000;
    p.shield->now.wall -= 3600000;
    pair_pass(p, 1000);
    ledger_value_t v = {.kind = LEDGER_URL, .digest = key_uri_digest(SPAN("site.example/a"))};
    ledger_append(
        p.edge->ledger,
        &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1, .outside = true, .boot = p.edge->now.boot}, NULL);
    pair_pass(p, 1000);
    size_t before = p.edge->calls;
    is_body(fill(p, "/a", NULL, FRESH, "new"), 200, "new");
    cr_expect_eq(p.edge->calls, before + 1, "the shield takes its edge's requests");
    cr_expect(world_last_call(p.edge)->to_shield);
    pair_pass(p, 1000);
    is_body(fill(p, "/a?2", NULL, FRESH, "2"), 200, "2");
    pair_close(p);
}

Test(sim_tier, what_a_shield_marks_as_stale_is_passed_on_as_stale_and_not_kept)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, "cache-control: max-age=10, stale-while-revalidate=600\netag: \"v1\"", "old");
    pair_pass(p, 20000);
    world_purge(p.edge, LEDGER_URL, "site.example/a", MARK_HARD); /* nothing of its own to serve */
    world_client_t *c = world_get(p.edge, 0, "/a", NULL), *waits = world_get(p.edge, 1, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_client_t *at_shield = world_carry(p.edge, up, p.shield);
    is_body(at_shield, 200, "old");
    cr_expect(span_eq(world_field(at_shield, "brink-tier-stale"), SPAN("1")));
    world_brought(p.edge, up, at_shield);
    is_body(c, 200, "old");
    is_body(waits, 200, "old");
    cr_expect(world_says(c, "x-cache", "STALE") && !fields_has(&c->fields, TIER_STALE_FIELD));
    cr_expect(!world_says(c, "cache-status", "edge-1; fwd=uri-miss; fwd-status=200; stored"));
    world_get(p.edge, 0, "/a", NULL);
    cr_expect_eq(p.edge->calls, 3, "kept as fresh");
    pair_close(p);
}

Test(sim_tier, a_softly_purged_copy_is_marked_too)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, "cache-control: max-age=60, stale-while-revalidate=600\netag: \"v1\"\ncache-tag: t", "old");
    world_purge(p.shield, LEDGER_TAG, "t", MARK_SOFT);
    world_purge(p.edge, LEDGER_TAG, "t", MARK_HARD);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_client_t *at_shield = world_carry(p.edge, world_last_call(p.edge), p.shield);
    cr_expect(span_eq(world_field(at_shield, "brink-tier-stale"), SPAN("1")));
    world_brought(p.edge, world_last_call(p.edge), at_shield);
    cr_expect(world_says(c, "x-cache", "STALE"));
    pair_close(p);
}

Test(sim_tier, a_stale_304_of_the_shield_does_not_make_fresh)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, "cache-control: max-age=10, stale-while-revalidate=600\netag: \"v1\"", "old");
    pair_pass(p, 700000); /* too old for the edge to serve by itself; the shield got it later */
    fill(p, "/b", NULL, FRESH, "other");
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    cr_assert(fields_has(&up->fields, SPAN("if-none-match")));
    world_head(p.edge, up, 304, "etag: \"v1\"\ncache-control: max-age=10\nbrink-tier-stale: 1", -1);
    world_end(p.edge, up, UPSTREAM_OK);
    is_body(c, 200, "old");
    cr_expect(world_says(c, "x-cache", "STALE"));
    size_t before = p.edge->calls;
    world_get(p.edge, 0, "/a", NULL);
    cr_expect_eq(p.edge->calls, before + 1, "not kept as validated");
    pair_close(p);
}

Test(sim_tier, after_a_gap_the_edge_goes_past_the_shield)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, FRESH, "a");
    world_purge(p.edge, LEDGER_ALL, "", MARK_STRICT);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    cr_expect(!world_last_call(p.edge)->to_shield, "its word may be from before");
    cr_expect(fields_has(&world_last_call(p.edge)->fields, SPAN("if-none-match")));
    world_answer(p.edge, world_last_call(p.edge), 304, FRESH, "");
    is_body(c, 200, "a");
    pair_close(p);
}

/* The shield is told that nothing from before the POST will do; then it has the answer for the other edges, too. */
Test(sim_tier, after_a_post_the_shield_asks_the_origin_once)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, FRESH, "old");
    pair_pass(p, 2000);
    world_request(p.edge, 0, "POST", "/a", NULL, "q");
    world_answer(p.edge, world_last_call(p.edge), 200, "cache-control: no-store",
                 "done"); /* not by way of this shield */
    pair_pass(p, 3000);
    size_t before = p.shield->calls;
    world_client_t *c = fill(p, "/a", NULL, "cache-control: max-age=60\netag: \"v2\"", "new");
    cr_expect(world_last_call(p.edge)->to_shield);
    is_body(c, 200, "new");
    cr_expect(world_says(c, "cache-status", "edge-1; fwd=stale; fwd-status=200; stored; detail=invalidated"), "%.*s",
              SPAN_ARG(world_field(c, "cache-status")));
    cr_expect_eq(p.shield->calls, before + 1, "it had a copy that was fresh, and too old");
    is_body(world_get(p.edge, 0, "/a", NULL), 200, "new");
    world_client_t *other = world_get(p.shield, 1, "/a", NULL);
    is_body(other, 200, "new");
    cr_expect_eq(p.shield->calls, before + 1);
    /* a gap is not in the demand: past the shield, and called what it is */
    world_request(p.edge, 0, "POST", "/a", NULL, "q");
    world_answer(p.edge, world_last_call(p.edge), 200, "cache-control: no-store", "done");
    world_purge(p.edge, LEDGER_ALL, "", MARK_STRICT);
    c = world_get(p.edge, 0, "/a", NULL);
    cr_expect(!world_last_call(p.edge)->to_shield);
    world_answer(p.edge, world_last_call(p.edge), 200, FRESH, "newer");
    is_body(c, 200, "newer");
    cr_expect(world_says(c, "cache-status", "detail=gap"));
    pair_close(p);
}

Test(sim_tier, a_strangers_stale_mark_means_nothing)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH "\nbrink-tier-stale: 1\nbrink-tier-refused: mac", "a");
    is_body(c, 200, "a");
    cr_expect(world_says(c, "x-cache", "MISS"));
    cr_expect(!fields_has(&c->fields, TIER_STALE_FIELD) && !fields_has(&c->fields, TIER_REFUSED_FIELD));
    is_body(world_get(w, 0, "/a", NULL), 200, "a");
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

/* Origins that hang must not make the edge think that its shield does: the shield has answered before the edge gives it
 * up, and tries the second only for as long as is left. */
Test(sim_tier, the_shield_tells_of_silent_origins_in_time)
{
    pair_t p = {world_open(&(world_options_t){.node = "edge-1", .shield = true}),
                world_open(&(world_options_t){
                    .node = "shield-1", .tier = true, .origins = "['http://127.0.0.1:21', 'http://127.0.0.1:22']"})};
    pair_pass(p, 20000);
    world_client_t *c = world_get(p.edge, 0, "/silent", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_client_t *at_shield = world_carry(p.edge, up, p.shield);
    msec_t waited = 0;
    for (int i = 0; i < 2; i++) {
        cr_assert(!at_shield->done && p.shield->calls == (size_t)i + 1);
        msec_t waits = world_last_call(p.shield)->first_byte_timeout;
        waited += waits;
        pair_pass(p, waits);
        world_end(p.shield, world_last_call(p.shield), UPSTREAM_FIRST_BYTE_TIMEOUT);
    }
    cr_expect(at_shield->done && at_shield->status == 504);
    cr_expect(waited < up->first_byte_timeout - 1000 && waited > up->first_byte_timeout / 2, "%lld of %lld ms",
              (long long)waited, (long long)up->first_byte_timeout);
    world_brought(p.edge, up, at_shield);
    cr_expect(c->done && c->status == 504, "%d", c->status);
    pair_close(p);
}

Test(sim_tier, a_quick_failure_is_tried_again_within_the_edges_patience)
{
    pair_t p = pair_open(NULL, 0);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_client_t *at_shield = world_carry(p.edge, up, p.shield);
    size_t before = p.shield->calls;
    pair_pass(p, 1000);
    world_end(p.shield, world_last_call(p.shield), UPSTREAM_REFUSED);
    cr_assert_eq(p.shield->calls, before + 1);
    cr_expect_lt(world_last_call(p.shield)->first_byte_timeout, p.edge->conf->upstream.first_byte_timeout);
    world_answer(p.shield, world_last_call(p.shield), 200, FRESH, "well");
    world_brought(p.edge, up, at_shield);
    is_body(c, 200, "well");
    pair_close(p);
}

/* What the phases of an attempt may take together is more than what is left: the shield answers all the same. */
Test(sim_tier, the_shield_answers_in_time_whatever_an_attempt_takes)
{
    pair_t p = pair_open(NULL, 0);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_client_t *at_shield = world_carry(p.edge, up, p.shield);
    pair_pass(p, up->first_byte_timeout * 7 / 8 - 1000);
    cr_assert(!at_shield->done);
    pair_pass(p, 1100);
    cr_assert(at_shield->done);
    cr_expect_eq(at_shield->status, 504);
    cr_expect(world_last_call(p.shield)->cancelled && p.shield->calls == 1);
    world_brought(p.edge, up, at_shield);
    cr_expect_eq(c->status, 504);
    pair_close(p);
}

/* Whoever began the fetch at the shield may wait for longer than the edge that joins it. */
Test(sim_tier, who_joins_a_fetch_is_told_in_time_for_his_own_edge)
{
    pair_t p = pair_open(NULL, 0);
    world_client_t *patient = world_get(p.shield, 0, "/a", NULL);
    world_call_t *at_origin = world_last_call(p.shield);
    pair_pass(p, 10000);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_client_t *at_shield = world_carry(p.edge, up, p.shield), *gone = world_get(p.edge, 1, "/b", NULL);
    world_carry(p.edge, world_last_call(p.edge), p.shield);
    world_leave(p.edge, gone);
    cr_assert_eq(p.shield->calls, 2, "/a is waited for, /b is asked for");
    pair_pass(p, up->first_byte_timeout * 7 / 8 - 1000);
    cr_expect(!at_shield->done);
    pair_pass(p, 1100);
    cr_assert(at_shield->done && at_shield->status == 504);
    cr_expect(world_says(at_shield, "cache-status", "collapsed; detail=http_response_timeout"), "%.*s",
              SPAN_ARG(world_field(at_shield, "cache-status")));
    world_brought(p.edge, up, at_shield);
    cr_expect_eq(c->status, 504);
    cr_expect(!patient->done, "the fetch goes on");
    world_answer(p.shield, at_origin, 200, FRESH, "late");
    is_body(patient, 200, "late");
    cr_expect_eq(world_get(p.shield, 0, "/a", NULL)->status, 200);
    cr_expect_eq(p.shield->calls, 2, "and what it brought is kept");
    pair_close(p);
}

/* ---- a shield that can reach nobody ---- */

/* The edge has a copy that has become stale, the shield none; no origin answers. What the shield says of that, and what
 * the client gets. */
static world_client_t *cut_off(pair_t p, const char *fields, upstream_result_t how, world_client_t **at_shield)
{
    fill(p, "/a", NULL, fields, "kept");
    world_purge(p.shield, LEDGER_URL, "site.example/a", MARK_HARD);
    pair_pass(p, 70000);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    cr_assert(up->open && up->to_shield);
    *at_shield = world_carry(p.edge, up, p.shield);
    while (!(*at_shield)->done)
        world_end(p.shield, world_last_call(p.shield), how);
    world_brought(p.edge, up, *at_shield);
    return c;
}

Test(sim_tier, an_edge_whose_shield_is_cut_off_is_cut_off_too)
{
    static const upstream_result_t how[] = {UPSTREAM_REFUSED, UPSTREAM_FIRST_BYTE_TIMEOUT, UPSTREAM_MALFORMED};
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        pair_t p = pair_open(NULL, 0);
        world_client_t *at_shield, *c = cut_off(p, FRESH, how[i], &at_shield);
        cr_expect_eq(at_shield->status, how[i] == UPSTREAM_FIRST_BYTE_TIMEOUT ? 504 : 502);
        cr_expect(span_eq(world_field(at_shield, "brink-tier-unreached"), SPAN("1")));
        is_body(c, 200, "kept");
        cr_expect(world_says(c, "cache-status", "edge-1; fwd=stale; fwd-status=50") &&
                      world_says(c, "cache-status", "detail=disconnected"),
                  "%.*s", SPAN_ARG(world_field(c, "cache-status")));
        cr_expect(world_says(c, "x-cache", "STALE"));
        pair_pass(p, 80000); /* it was fresh for 60 s, and is sent for as long again */
        world_client_t *late = world_get(p.edge, 0, "/a", NULL);
        world_call_t *up = world_last_call(p.edge);
        at_shield = world_carry(p.edge, up, p.shield);
        while (!at_shield->done)
            world_end(p.shield, world_last_call(p.shield), how[i]);
        world_brought(p.edge, up, at_shield);
        cr_expect(late->status >= 502 && !fields_has(&late->fields, TIER_UNREACHED_FIELD), "the tier's own business");
        pair_close(p);
    }
}

Test(sim_tier, nothing_stale_is_sent_for_a_shield_that_is_cut_off_where_it_may_not)
{
    pair_t p = pair_open(NULL, 0);
    world_client_t *at_shield,
        *c = cut_off(p, "etag: \"v1\"\ncache-control: max-age=60, must-revalidate", UPSTREAM_REFUSED, &at_shield);
    cr_expect_eq(c->status, 502);
    cr_expect(world_says(c, "cache-status", "shield-1; fwd=") && world_says(c, "cache-status", ", edge-1; fwd=stale"));
    cr_expect(!fields_has(&c->fields, TIER_UNREACHED_FIELD));
    pair_close(p);
}

/* An answer of 5xx is an answer, and a shield's limit is no upstream that can't be reached. */
Test(sim_tier, an_answer_of_the_origin_is_an_answer_through_a_shield_too)
{
    pair_t p = pair_open(NULL, 0);
    fill(p, "/a", NULL, FRESH, "kept");
    world_purge(p.shield, LEDGER_URL, "site.example/a", MARK_HARD);
    pair_pass(p, 70000);
    world_client_t *c = world_get(p.edge, 0, "/a", NULL);
    world_call_t *up = world_last_call(p.edge);
    world_client_t *at_shield = world_carry(p.edge, up, p.shield);
    world_answer(p.shield, world_last_call(p.shield), 503, "brink-tier-unreached: 1", "so it says");
    cr_expect(!fields_has(&at_shield->fields, TIER_UNREACHED_FIELD), "nobody's word but the shield's");
    world_brought(p.edge, up, at_shield);
    is_body(c, 503, "so it says");
    pair_close(p);

    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "kept");
    world_pass(w, 70000);
    c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 503, "brink-tier-unreached: 1", "a stranger's");
    is_body(c, 503, "a stranger's");
    cr_expect(!fields_has(&c->fields, TIER_UNREACHED_FIELD));
    world_free(w);
}
