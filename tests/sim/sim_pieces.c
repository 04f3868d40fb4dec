/* Responses that are too large for memory: cut into pieces that go to disk while they are served, and served from
 * there. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/tbl/metrics.h"
#include "large.h"

Test(sim_pieces, a_large_response_is_served_from_disk)
{
    world_t *w = large_world();
    large_stored(w, FRESH);
    world_client_t *c = large_get(w, 1, NULL);
    large_is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(c->content_length, LENGTH);
    cr_expect(world_says(c, "cache-status", "; hit; ttl=") && world_says(c, "cache-status", "detail=disk"));
    large_forget(w);
    large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'a');
    large_is(large_get(w, 0, "range: bytes=0-9"), 206, 0, 10, 'a');
    large_is(large_get(w, 0, "range: bytes=-1"), 206, LENGTH - 1, LENGTH, 'a');
    large_is(large_get(w, 0, "range: bytes=262143-262144"), 206, 262143, 262145, 'a');
    large_is(large_get(w, 0, "range: bytes=300000-"), 206, 300000, LENGTH, 'a');
    cr_expect_eq(large_get(w, 0, "range: bytes=99999999-")->status, 416);
    cr_expect_eq(large_get(w, 0, "if-none-match: \"v1\"")->status, 304);
    c = large_get(w, 0, "range: bytes=1000000-1000009,5-9,700000-700001");
    cr_assert(c->done && c->status == 206 && world_says(c, "content-type", "multipart/byteranges"));
    cr_expect_eq(c->content_length, (int64_t)c->n);
    char *all = large_bytes('a');
    cr_expect(memmem(c->body, c->n, all + 1000000, 10) != NULL && memmem(c->body, c->n, all + 700000, 2) != NULL);
    free(all);
    world_client_t *head = world_request(w, 0, "HEAD", "/a", NULL, NULL);
    world_disk(w);
    cr_expect(head->status == 200 && head->content_length == LENGTH && head->n == 0);
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

/* Its bytes are told of, though the head that memory keeps has none. */
Test(sim_pieces, explained)
{
    world_t *w = large_world();
    world_get(w, 0, "/a", NULL);
    large_answers(w, FRESH, 'a');
    w->env[0].purge_method = explain_handle;
    world_client_t *c = world_request(w, 0, "PURGE", "/v1/explain?url=http://site.example/a", NULL, NULL);
    for (int ms = 0; !c->done && ms < 10000; ms++) {
        usleep(1000);
        world_run(w);
    }
    char text[64];
    snprintf(text, sizeof text, "\"bytes\":%d,\"length\":%d", LENGTH, LENGTH);
    cr_assert(c->done && c->status == 200);
    cr_expect(strstr(c->body, "\"decision\":\"hit\"") != NULL && strstr(c->body, "detail=disk") != NULL, "%s", c->body);
    cr_expect(strstr(c->body, text) != NULL && strstr(c->body, "in pieces on disk") != NULL, "%s", c->body);
    world_free(w);
}

Test(sim_pieces, a_slow_disk_is_waited_for)
{
    world_t *w = large_world();
    large_stored(w, FRESH);
    warm_stall(w->warm, 3);
    large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'a');
    world_client_t *leaves = world_get(w, 0, "/a", NULL);
    world_leave(w, leaves);
    world_disk(w);
    warm_stall(w->warm, 0);
    world_free(w);
}

Test(sim_pieces, memory_stays_bounded_while_it_arrives)
{
    world_t *w = large_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    char *all = large_bytes('a');
    store_stats_t s;
    for (uint64_t i = 0; i < LENGTH;) {
        uint64_t n = LENGTH - i < BLOCK ? LENGTH - i : BLOCK;
        if (world_bytes(w, call, all + i, n))
            i += n;
        world_pass(w, 5);
        world_disk(w);
        world_run(w);
        store_stats(w->store, &s);
        cr_expect_leq(s.used, 8 * PIECE_BYTES, "%llu bytes", (unsigned long long)s.used);
    }
    free(all);
    world_end(w, call, UPSTREAM_OK);
    large_lands(w);
    large_is(c, 200, 0, LENGTH, 'a');
    world_free(w);
}

Test(sim_pieces, what_was_cut_is_not_there)
{
    world_t *w = large_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, WEAK, LENGTH);
    large_sends(w, call, 0, 3 * PIECE_BYTES + 100, 'a');
    world_end(w, call, UPSTREAM_CUT);
    world_disk(w);
    cr_expect(c->aborted);
    c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_expect(!c->head && w->calls == 2, "nothing of it is found");
    world_free(w);
}

Test(sim_pieces, a_client_that_leaves_does_not_stop_it)
{
    world_t *w = large_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, WEAK, LENGTH);
    large_sends(w, call, 0, 2 * PIECE_BYTES, 'a');
    world_leave(w, c);
    world_run(w);
    cr_assert(call->open);
    large_sends(w, call, 2 * PIECE_BYTES, LENGTH, 'a');
    world_end(w, call, UPSTREAM_OK);
    large_lands(w);
    large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_pieces, a_purge_covers_head_and_pieces)
{
    static const char *const kinds[] = {FRESH, WEAK};
    for (size_t i = 0; i < 2; i++) {
        world_t *w = large_world();
        large_stored(w, kinds[i]);
        world_purge(w, LEDGER_TAG, "t", MARK_HARD);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert(w->calls == 2 && !fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
        large_answers(w, kinds[i], 'A'); /* the same validator, and other bytes: what was purged never comes back */
        large_is(c, 200, 0, LENGTH, 'A');
        large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'A');
        world_free(w);
    }
}

Test(sim_pieces, a_purge_while_it_arrives_counts)
{
    world_t *w = large_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    large_sends(w, call, 0, 2 * PIECE_BYTES, 'a');
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    large_sends(w, call, 2 * PIECE_BYTES, LENGTH, 'a');
    world_end(w, call, UPSTREAM_OK);
    large_lands(w);
    large_is(c, 200, 0, LENGTH, 'a');
    c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_expect(!c->head && w->calls == 2);
    world_free(w);
}

Test(sim_pieces, a_validation_keeps_the_pieces)
{
    world_t *w = large_world();
    large_stored(w, WEAK);
    world_pass(w, 3601 * MSEC_PER_SEC);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert(w->calls == 2 && fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
    world_answer(w, world_last_call(w), 304, WEAK, "");
    world_disk(w);
    large_is(c, 200, 0, LENGTH, 'a');
    large_is(large_get(w, 1, "range: bytes=-7"), 206, LENGTH - 7, LENGTH, 'a');
    large_forget(w);
    large_is(large_get(w, 1, NULL), 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_pieces, a_length_that_is_not_known_before)
{
    world_t *w = large_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, -1);
    large_sends(w, call, 0, LENGTH, 'a');
    world_end(w, call, UPSTREAM_OK);
    large_lands(w);
    large_is(c, 200, 0, LENGTH, 'a');
    c = large_get(w, 0, NULL);
    large_is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(c->content_length, LENGTH);
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

static void given_up(const char *fields, size_t calls)
{
    world_t *w = large_world();
    warm_stall(w->warm, 600000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, fields, LENGTH);
    char *all = large_bytes('a');
    for (uint64_t i = 0; i < LENGTH;) {
        uint64_t n = LENGTH - i < BLOCK ? LENGTH - i : BLOCK;
        if (world_bytes(w, call, all + i, n))
            i += n;
        world_pass(w, 500);
    }
    free(all);
    world_end(w, call, UPSTREAM_OK);
    world_pass(w, 5000);
    large_is(c, 200, 0, LENGTH, 'a');
    warm_stall(w->warm, 0);
    world_disk(w);
    large_get(w, 0, NULL);
    cr_expect(w->calls == calls || calls == 0, "%s: %zu", fields, w->calls);
    world_free(w);
}

Test(sim_pieces, a_disk_that_takes_nothing_is_given_up)
{
    given_up(WEAK, 2);  /* it isn't stored */
    given_up(FRESH, 0); /* what it took before is found, and the rest is asked for */
}

/* ---- who comes while it arrives ---- */

Test(sim_pieces, one_fetch_for_all_who_come_while_it_arrives)
{
    world_t *w = large_world();
    world_client_t *c[4], *ahead;
    c[0] = world_get(w, 0, "/a", NULL);
    c[1] = world_get(w, 1, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    large_sends(w, call, 0, 2 * PIECE_BYTES + 5, 'a');
    c[2] = world_get(w, 1, "/a", NULL);
    c[3] = world_get(w, 0, "/a", "range: bytes=5-600000");
    ahead = world_get(w, 1, "/a", "range: bytes=-7");
    world_leave(w, c[0]); /* nobody depends on who came first */
    large_sends(w, call, 2 * PIECE_BYTES + 5, LENGTH, 'a');
    world_end(w, call, UPSTREAM_OK);
    large_lands(w);
    large_is(c[1], 200, 0, LENGTH, 'a');
    large_is(c[2], 200, 0, LENGTH, 'a');
    large_is(c[3], 206, 5, 600001, 'a');
    large_is(ahead, 206, LENGTH - 7, LENGTH, 'a');
    cr_expect(world_says(c[1], "cache-status", "stored; collapsed") && world_says(c[2], "cache-status", "; hit"));
    cr_expect_eq(w->calls, 1, "%zu", w->calls);
    large_forget(w);
    large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'a');
    world_free(w);
}

Test(sim_pieces, what_was_cut_is_completed)
{
    world_t *w = large_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    large_sends(w, call, 0, 2 * PIECE_BYTES + 5, 'a');
    world_leave(w, c);
    for (int i = 0; i < 6 && call->open; i++) { /* nor does the origin answer the requests for the rest */
        world_end(w, call, UPSTREAM_CUT);
        world_pass(w, 1000);
        call = world_last_call(w);
    }
    large_lands(w);
    size_t calls = w->calls;
    c = large_get(w, 0, "range: bytes=300-400000");
    large_is(c, 206, 300, 400001, 'a');
    cr_expect(world_says(c, "cache-status", "; hit"));
    cr_expect_eq(w->calls, calls, "that much is there");
    c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert_eq(w->calls, calls + 1);
    large_asked(w, "bytes=0-1048575", "\"v1\"");
    large_brings(w, 0, SLICE, 'a', FRESH);
    large_asked(w, "bytes=1048576-1323064", "\"v1\"");
    large_brings(w, SLICE, LENGTH, 'a', FRESH);
    large_is(c, 200, 0, LENGTH, 'a');
    world_free(w);
}

Test(sim_pieces, a_server_that_cant_answer_now_costs_nothing_that_is_stored)
{
    world_t *w = large_world();
    large_stored(w, FRESH);
    large_drop(w, 4);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    for (int i = 0; i < 10; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    cr_assert_eq(w->calls, 2);
    world_answer(w, world_last_call(w), 503, "", "");
    world_run(w);
    cr_expect(c->aborted);
    large_is(large_get(w, 0, "range: bytes=0-1000000"), 206, 0, 1000001, 'a');
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

/* A response that has begun may be finished with what it began with; who asks then gets none of it. */
Test(sim_pieces, a_purge_while_it_is_read)
{
    world_t *w = large_world();
    large_stored(w, FRESH);
    warm_stall(w->warm, 1);
    world_client_t *c = world_get(w, 0, "/a", NULL), *after;
    world_pass(w, 5);
    cr_assert(!c->done);
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    for (int i = 0; i < 50 && !c->done; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    warm_stall(w->warm, 0);
    large_is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 1);
    after = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert(w->calls == 2 && !after->head);
    large_answers(w, "cache-control: max-age=3600\netag: \"v2\"", 'A');
    large_is(after, 200, 0, LENGTH, 'A');
    world_free(w);
}

Test(sim_pieces, what_takes_the_place_of_another_is_on_disk)
{
    static const char *const kinds[] = {FRESH, WEAK};
    for (size_t i = 0; i < 2; i++) {
        world_t *w = large_world();
        large_stored(w, kinds[i]);
        world_pass(w, 3601 * MSEC_PER_SEC);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert_eq(w->calls, 2);
        large_answers(w, i == 0 ? "cache-control: max-age=3600\netag: \"v2\"" : "cache-control: max-age=3600", 'A');
        large_is(c, 200, 0, LENGTH, 'A');
        large_forget(w);
        large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'A');
        cr_expect_eq(w->calls, 2, "%s", kinds[i]);
        world_free(w);
    }
}
