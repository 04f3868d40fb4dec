/* Fetches that go wrong, are left by their readers, or find no room: the right answer, and nothing left behind
 * (world_free looks). */
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
    cr_expect_eq(c->n, strlen(body), "%zu bytes: %s", c->n, c->body != NULL ? c->body : "");
    cr_expect(c->n == 0 || memcmp(c->body, body, c->n) == 0);
}

static size_t fail_all(world_t *w, upstream_result_t r)
{
    size_t before = w->calls;
    while (world_last_call(w)->open)
        world_end(w, world_last_call(w), r);
    return w->calls - before;
}

Test(sim_fetch, the_head_does_not_wait_for_the_first_bytes)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_get(w, 0, "/events", NULL);
    world_head(w, world_last_call(w), 200, "cache-control: no-store\ncontent-type: text/event-stream", -1);
    world_run(w);
    cr_expect(c->head && c->writable == false && c->n == 0 && !c->done, "the head went out alone");
    world_body(w, world_last_call(w), "data: 1\n\n");
    world_run(w);
    cr_expect_eq(c->n, 9);
    world_leave(w, c);
    cr_expect(world_last_call(w)->cancelled);
    world_free(w);
}

/* ---- who gives up what ---- */

Test(sim_fetch, what_cannot_be_stored_is_given_up_when_nobody_waits_for_it)
{
    world_t *w = world_new(NULL, NULL);
    world_leave(w, world_get(w, 0, "/left", NULL)); /* gone before the head: it may be for the cache, so it goes on */
    cr_assert(world_last_call(w)->open);
    world_head(w, world_last_call(w), 200, "cache-control: no-store", -1);
    world_run(w);
    cr_expect(world_last_call(w)->cancelled, "an endless answer would be read for ever");

    world_get(w, 0, "/swr", NULL);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=10, stale-while-revalidate=60", "old");
    world_pass(w, 20000);
    is_body(world_get(w, 0, "/swr", NULL), 200, "old"); /* refreshed in the background: no reader at all */
    world_head(w, world_last_call(w), 200, "cache-control: private", -1);
    world_run(w);
    cr_expect(world_last_call(w)->cancelled);
    world_free(w);
}

Test(sim_fetch, what_outgrows_the_cache_is_given_up_when_nobody_reads_it)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB, max_object: 128KiB}");
    static char block[65536];
    world_leave(w, world_get(w, 0, "/big", NULL));
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, -1);
    for (int i = 0; i < 8 && call->open; i++)
        world_bytes(w, call, block, sizeof block);
    cr_expect(call->cancelled, "too large after all, and without a reader");
    world_free(w);
}

Test(sim_fetch, an_overgrown_body_takes_no_late_readers)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB, max_object: 128KiB}");
    static char block[65536];
    world_client_t *first = world_get(w, 0, "/big", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, -1);
    for (int i = 0; i < 40; i++) {
        cr_assert(world_bytes(w, call, block, sizeof block), "%d", i);
        world_run(w);
    }
    cr_expect_eq(first->n, 40 * sizeof block);
    world_client_t *late = world_get(w, 1, "/big", NULL);
    cr_expect_eq(w->calls, 2, "what came first has been given back: it starts from the beginning, by itself");
    world_end(w, call, UPSTREAM_OK);
    cr_expect(first->done && !first->aborted && !late->head);
    world_leave(w, late);
    world_free(w);
}

Test(sim_fetch, a_reader_cannot_attach_to_what_is_given_back)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB, max_object: 64KiB}");
    static char block[65536];
    world_client_t *c = world_get(w, 0, "/big", NULL);
    fetch_t *f = fetch_ref(world_last_call(w)->arg); /* what the events are told to */
    fetch_reader_t late;
    world_head(w, world_last_call(w), 200, FRESH, -1);
    cr_expect(fetch_attach(f, &late, NULL));
    fetch_detach(&late);
    world_bytes(w, world_last_call(w), block, sizeof block);
    world_bytes(w, world_last_call(w), block, sizeof block);
    cr_expect(!fetch_attach(f, &late, NULL), "it is no longer whole");
    fetch_unref(f);
    world_leave(w, c);
    world_free(w);
}

/* ---- the budget ---- */

Test(sim_fetch, without_room_it_streams_through)
{
    world_t *w = world_new(NULL, "memory: {size: 1MiB, max_object: 1MiB}");
    static char block[65536];
    world_client_t *held[8];
    int i;
    for (i = 0; i < 8; i++) { /* fills that are being read can't be evicted */
        char target[16];
        snprintf(target, sizeof target, "/%d", i);
        held[i] = world_get(w, 0, target, NULL);
        held[i]->stalled = true;
        world_head(w, world_last_call(w), 200, FRESH, 256 * 1024);
        world_run(w);
    }
    cr_expect_gt(metrics_value(METRIC_FILLS, LABEL_FILL_BUDGET), 0);
    for (i = 0; i < 8; i++) {
        held[i]->stalled = false;
        for (int k = 0; k < 4; k++) {
            world_bytes(w, w->call[i], block, sizeof block);
            world_run(w);
        }
        world_end(w, w->call[i], UPSTREAM_OK);
        cr_expect(held[i]->done && !held[i]->aborted && held[i]->n == 256 * 1024, "%d: %zu", i, held[i]->n);
    }
    store_stats_t s;
    store_stats(w->store, &s);
    cr_expect_leq(s.used, s.budget);
    world_free(w);
}

Test(sim_fetch, a_body_that_is_not_kept_counts_as_long_as_it_is_read)
{
    world_t *w = world_new(NULL, NULL);
    static char block[65536];
    world_client_t *slow = world_get(w, 0, "/cut", NULL);
    slow->stalled = true;
    world_head(w, world_last_call(w), 200, "cache-control: max-age=60", 1024 * 1024);
    for (int i = 0; i < 8; i++)
        world_bytes(w, world_last_call(w), block, sizeof block);
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    store_stats_t s;
    store_stats(w->store, &s);
    cr_expect_geq(s.reserved, 1024 * 1024, "half a megabyte is still in memory");
    slow->stalled = false;
    world_run(w);
    cr_expect(slow->aborted);
    store_stats(w->store, &s);
    cr_expect_eq(s.reserved, 0);
    world_free(w);
}

/* ---- attempts ---- */

Test(sim_fetch, retries_as_often_as_configured)
{
    static const struct {
        const char *more;
        size_t calls;
    } rows[] = {{"upstream: {retries: 0}", 1}, {"upstream: {retries: 1}", 2}, {"upstream: {retries: 3}", 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_t *w = world_new(NULL, rows[i].more);
        uint64_t before = metrics_total(METRIC_UPSTREAM_RETRIES);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        fail_all(w, UPSTREAM_CLOSED);
        cr_expect_eq(w->calls, rows[i].calls);
        cr_expect_eq(metrics_total(METRIC_UPSTREAM_RETRIES) - before, rows[i].calls - 1);
        cr_expect_eq(c->status, 502);
        cr_expect(world_says(c, "cache-status", "detail=connection_terminated"));
        world_free(w);
    }
}

Test(sim_fetch, timeouts_are_504_and_the_rest_502)
{
    static const struct {
        upstream_result_t result;
        int status;
    } rows[] = {{UPSTREAM_DNS, 502},
                {UPSTREAM_REFUSED, 502},
                {UPSTREAM_CONNECT_TIMEOUT, 504},
                {UPSTREAM_TLS_CERTIFICATE, 502},
                {UPSTREAM_FIRST_BYTE_TIMEOUT, 504},
                {UPSTREAM_MALFORMED, 502},
                {UPSTREAM_HEAD_TOO_BIG, 502}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_t *w = world_new(NULL, NULL);
        world_client_t *c = world_get(w, 0, "/a", NULL), *waits = world_get(w, 1, "/a", NULL);
        fail_all(w, rows[i].result);
        cr_expect(c->status == rows[i].status && waits->status == rows[i].status, "%s: %d",
                  upstream_word(rows[i].result), c->status);
        world_free(w);
    }
}

Test(sim_fetch, a_request_that_may_have_been_acted_on_is_not_repeated)
{
    world_t *w = world_new(NULL, "upstream: {retries: 3}");
    world_client_t *post = world_request(w, 0, "POST", "/a", NULL, "order");
    cr_expect(world_last_call(w)->once);
    cr_expect_eq(fail_all(w, UPSTREAM_CLOSED), 0, "it may have reached the origin");
    cr_expect_eq(post->status, 502);
    world_request(w, 0, "POST", "/a", NULL, "order");
    cr_expect_eq(fail_all(w, UPSTREAM_REFUSED), 3, "nothing of it was sent");
    world_request(w, 0, "PUT", "/a", NULL, "state");
    cr_expect(!world_last_call(w)->once);
    cr_expect_eq(fail_all(w, UPSTREAM_CLOSED), 3, "idempotent");
    world_request(w, 0, "BREW", "/a", NULL, NULL);
    cr_expect_eq(fail_all(w, UPSTREAM_FIRST_BYTE_TIMEOUT), 0, "who knows what it does");
    world_free(w);
}

Test(sim_fetch, methods_with_content_say_when_there_is_none)
{
    world_t *w = world_new(NULL, NULL);
    world_request(w, 0, "POST", "/a", NULL, NULL);
    cr_expect(world_last_call(w)->has_body, "Content-Length: 0 (RFC 9110 8.6)");
    world_request(w, 0, "DELETE", "/a", NULL, NULL);
    cr_expect(!world_last_call(w)->has_body);
    world_free(w);
}

Test(sim_fetch, a_304_for_something_else_is_asked_again_without_condition)
{
    world_t *w = world_new(NULL, "upstream: {retries: 0}");
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "one");
    world_pass(w, 61000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 304, "cache-control: max-age=60\netag: \"v2\"", "");
    cr_assert_eq(w->calls, 3, "once more, although nothing may be retried: nothing failed");
    cr_expect(w->call[1]->cancelled && !fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=60\netag: \"v2\"", "two");
    is_body(c, 200, "two");
    world_free(w);
}

Test(sim_fetch, a_304_that_nobody_asked_for_is_no_answer)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 304, FRESH, "");
    cr_expect_eq(c->status, 502);
    world_client_t *d = world_get(w, 0, "/a", "authorization: x\nif-none-match: \"v1\"");
    world_answer(w, world_last_call(w), 304, FRESH, "");
    cr_expect_eq(d->status, 502, "its condition is answered here, so it was not passed on");
    world_free(w);
}

Test(sim_fetch, a_cut_body_counts_against_the_upstream)
{
    world_t *w = world_new(NULL, NULL);
    uint64_t before = metrics_total(METRIC_UPSTREAM_ERRORS);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_head(w, world_last_call(w), 200, "cache-control: max-age=60", 10);
    health_state_t h;
    health_read(health_at(upstreams_health(w->upstreams), 0), w->now.boot, &h);
    cr_expect_eq(h.in_flight, 1, "as long as its body comes");
    world_body(w, world_last_call(w), "12345");
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    cr_expect(c->aborted);
    health_read(health_at(upstreams_health(w->upstreams), 0), w->now.boot, &h);
    cr_expect(h.in_flight == 0 && h.failures == 1 && h.consecutive_failures == 1);
    cr_expect_eq(metrics_total(METRIC_UPSTREAM_ERRORS) - before, 1);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, FRESH, "whole");
    health_read(health_at(upstreams_health(w->upstreams), 0), w->now.boot, &h);
    cr_expect_eq(h.consecutive_failures, 0);
    world_free(w);
}

/* ---- several readers ---- */

Test(sim_fetch, waiters_of_a_response_that_cannot_be_shared_do_not_hold_it_back)
{
    world_t *w = world_new(NULL, NULL);
    static char block[65536];
    world_client_t *leader = world_get(w, 0, "/p", NULL), *other = world_get(w, 1, "/p", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, "cache-control: private", -1);
    for (int i = 0; i < 64; i++) {
        cr_assert(world_bytes(w, call, block, sizeof block), "held back at block %d", i);
        world_run(w);
    }
    world_end(w, call, UPSTREAM_OK);
    cr_expect(leader->done && leader->n == 64 * sizeof block);
    cr_expect(!other->head && w->calls == 2);
    world_free(w);
}

Test(sim_fetch, the_slowest_of_several_readers_holds_an_overgrown_body_back)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB, max_object: 256KiB}");
    static char block[65536];
    world_client_t *fast = world_get(w, 0, "/big", NULL), *slow = world_get(w, 1, "/big", NULL);
    world_call_t *call = world_last_call(w);
    slow->stalled = true;
    world_head(w, call, 200, FRESH, -1);
    int given = 0;
    for (; given < 100 && world_bytes(w, call, block, sizeof block); given++)
        world_run(w);
    cr_expect(given < 40 && call->paused, "after %d", given);
    cr_expect_eq(fast->n, (size_t)given * sizeof block);
    world_leave(w, slow);
    cr_expect(!call->paused, "who held it back is gone");
    for (; given < 100; given++) {
        cr_assert(world_bytes(w, call, block, sizeof block));
        world_run(w);
    }
    world_end(w, call, UPSTREAM_OK);
    cr_expect(fast->done && !fast->aborted && fast->n == 100 * sizeof block);
    world_free(w);
}

/* Many who read slowly what isn't stored: a window each, within a part of the budget, then little ones. */
Test(sim_fetch, windows_become_small_when_there_are_many)
{
    enum { CLIENTS = 40, BLOCK = 16384 };
    world_t *w = world_new(NULL, "memory: {size: 64MiB, max_object: 1MiB}");
    static char block[BLOCK];
    world_client_t *c[CLIENTS];
    size_t given[CLIENTS] = {0};
    store_stats_t s;
    w->env[0].fetch.windows_most = 4 << 20;
    for (int i = 0; i < CLIENTS; i++) {
        char target[16];
        snprintf(target, sizeof target, "/%d", i);
        c[i] = world_get(w, 0, target, NULL);
        c[i]->stalled = true;
        world_head(w, w->call[i], 200, "cache-control: no-store", -1);
        while (given[i] < 4 << 20 && world_bytes(w, w->call[i], block, BLOCK)) {
            given[i] += BLOCK;
            world_run(w);
        }
    }
    cr_expect_geq(given[0], FETCH_WINDOW);
    cr_expect_leq(given[CLIENTS - 1], 2 * FETCH_WINDOW_LEAST);
    store_stats(w->store, &s);
    cr_expect_geq(s.reserved, 4 << 20, "they count");
    cr_expect_leq(s.reserved, (5 << 20) + CLIENTS * 2 * FETCH_WINDOW_LEAST, "%llu bytes",
                  (unsigned long long)s.reserved);
    for (int i = 0; i < CLIENTS; i++) {
        c[i]->stalled = false;
        for (world_run(w); given[i] < 3 << 20; given[i] += BLOCK) {
            cr_assert(world_bytes(w, w->call[i], block, BLOCK), "%d: who reads gets on", i);
            world_run(w);
        }
        world_end(w, w->call[i], UPSTREAM_OK);
        cr_expect(c[i]->done && !c[i]->aborted && c[i]->n == given[i], "%d", i);
    }
    store_stats(w->store, &s);
    cr_expect_eq(s.reserved, 0);
    world_free(w);
}

/* An HTTP/2 client holds what came before it could stop the server: that counts as well. */
Test(sim_fetch, what_the_upstream_client_holds_counts)
{
    enum { BLOCK = 65536 };
    static char block[BLOCK];
    store_stats_t before, s;
    for (int end = 0; end < 3; end++) {
        world_t *w = world_new(NULL, "memory: {size: 64MiB, max_object: 1MiB}");
        world_client_t *c = world_get(w, 0, "/", NULL);
        world_call_t *call = world_last_call(w);
        c->stalled = true;
        world_head(w, call, 200, "cache-control: no-store", -1);
        while (world_bytes(w, call, block, BLOCK))
            world_run(w);
        store_stats(w->store, &before);
        call->events->aside(call->arg, 300000);
        call->events->aside(call->arg, 1000000);
        store_stats(w->store, &s);
        cr_expect_eq(s.reserved, before.reserved + 1000000);
        if (end == 0) {
            call->events->aside(call->arg, 0);
            store_stats(w->store, &s);
            cr_expect_eq(s.reserved, before.reserved);
        }
        if (end < 2) {
            world_end(w, call, UPSTREAM_CUT);
            store_stats(w->store, &s);
            cr_expect_leq(s.reserved, before.reserved, "it went with the call");
        }
        world_leave(w, c);
        world_run(w);
        store_stats(w->store, &s);
        cr_expect_eq(s.reserved, 0);
        world_free(w);
    }
}

Test(sim_fetch, a_newcomer_does_not_join_what_became_stale_on_its_way)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *first = world_get(w, 0, "/slow", NULL);
    world_head(w, world_last_call(w), 200, "cache-control: max-age=10", -1);
    world_body(w, world_last_call(w), "part ");
    world_run(w);
    world_pass(w, 5000);
    world_get(w, 1, "/slow", NULL);
    cr_expect_eq(w->calls, 1, "still fresh");
    world_get(w, 1, "/slow", "cache-control: no-cache");
    cr_expect_eq(w->calls, 2, "asked for something newer than what is half here");
    world_pass(w, 20000);
    world_client_t *late = world_get(w, 1, "/slow", "x: y");
    cr_expect_eq(w->calls, 2, "joins the one that is on its way");
    cr_expect(!late->head);
    world_body(w, w->call[0], "rest");
    world_end(w, w->call[0], UPSTREAM_OK);
    is_body(first, 200, "part rest");
    world_answer(w, w->call[1], 200, "cache-control: max-age=10", "new");
    is_body(late, 200, "new");
    world_free(w);
}
