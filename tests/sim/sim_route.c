/* Where fetches go when servers fail, hang, are full or come back: on a clock that the scenario moves. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/tbl/metrics.h"
#include "world.h"

#define PASS "cache-control: no-store"

static void is(const world_client_t *c, int status, const char *body)
{
    cr_expect(c->head && c->done && !c->aborted, "complete");
    cr_expect_eq(c->status, status, "status %d", c->status);
    cr_expect(body == NULL || (c->n == strlen(body) && memcmp(c->body, body, c->n) == 0), "%s", c->body);
}

/* Fails requests until the origin is out. */
static void take_out(world_t *w)
{
    for (int i = 0; i < HEALTH_FAILURES; i++) {
        char path[16];
        snprintf(path, sizeof path, "/out%d", i);
        world_client_t *c = world_get(w, 0, path, NULL);
        world_end(w, world_last_call(w), UPSTREAM_REFUSED);
        is(c, 502, NULL);
    }
}

#define FULL "memory: {size: 64MiB}\nupstream: {retries: 0, max_in_flight: 2, max_queue: 2, queue_timeout: 1s}"

Test(sim_route, places_are_handed_from_loop_to_loop)
{
    world_t *w = world_new(NULL, FULL);
    world_client_t *c[5];
    uint64_t shed = metrics_total(METRIC_SHED);
    for (unsigned i = 0; i < 5; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%u", i);
        c[i] = world_get(w, i % 2, path, NULL);
    }
    cr_assert_eq(w->calls, 2);
    is(c[4], 503, NULL);
    cr_expect(world_says(c[4], "retry-after", "1") && world_says(c[4], "cache-status", "connection_limit_reached"));
    cr_expect_eq(metrics_total(METRIC_SHED), shed + 1);
    cr_expect(!c[2]->head && !c[3]->head);
    world_answer(w, w->call[0], 200, PASS, "a");
    cr_assert_eq(w->calls, 3, "the first who waits goes");
    cr_expect_str_eq(w->call[2]->target, "/2");
    world_end(w, w->call[1], UPSTREAM_CUT);
    cr_assert_eq(w->calls, 4);
    world_answer(w, w->call[2], 200, PASS, "c");
    world_answer(w, w->call[3], 200, PASS, "d");
    is(c[0], 200, "a");
    is(c[1], 502, NULL);
    is(c[2], 200, "c");
    is(c[3], 200, "d");
    world_free(w);
}

Test(sim_route, who_waits_too_long_or_leaves_is_out_of_the_queue)
{
    world_t *w = world_new(NULL, FULL);
    world_client_t *a = world_get(w, 0, "/a", NULL), *b = world_get(w, 1, "/b", NULL);
    world_client_t *late = world_request(w, 0, "POST", "/late", NULL, "x"),
                   *gone = world_request(w, 1, "POST", "/gone", NULL, "x");
    world_leave(w, gone);
    world_client_t *next = world_request(w, 1, "POST", "/next", NULL, "x");
    cr_expect(!next->head, "its place in the queue was free");
    world_pass(w, 500);
    world_answer(w, w->call[0], 200, PASS, "a");
    cr_expect_eq(w->calls, 3);
    cr_expect_str_eq(world_last_call(w)->target, "/late");
    world_pass(w, 500);
    is(next, 503, NULL);
    world_answer(w, w->call[1], 200, PASS, "b");
    world_answer(w, w->call[2], 200, PASS, "late");
    is(late, 200, "late");
    is(a, 200, "a");
    is(b, 200, "b");
    cr_expect_eq(w->calls, 3, "nothing was sent for those who had gone");
    world_free(w);
}

Test(sim_route, the_last_is_tried_by_one_and_the_others_share_its_failure)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB}\nupstream: {retries: 0}");
    take_out(w);
    size_t before = w->calls;
    world_client_t *c[6];
    for (unsigned i = 0; i < 6; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%u", i);
        c[i] = world_get(w, i % 2, path, NULL);
    }
    cr_assert_eq(w->calls, before + 1, "%zu at once", w->calls - before);
    world_end(w, world_last_call(w), UPSTREAM_FIRST_BYTE_TIMEOUT);
    is(c[0], 504, NULL);
    for (int i = 1; i < 6; i++) {
        is(c[i], 503, NULL);
        cr_expect(world_says(c[i], "cache-status", "destination_unavailable"));
    }
    cr_assert_eq(w->calls, before + 1);
    for (unsigned i = 0; i < 6; i++) {
        char path[16];
        snprintf(path, sizeof path, "/n%u", i);
        c[i] = world_get(w, i % 2, path, NULL);
    }
    cr_assert_eq(w->calls, before + 2);
    world_answer(w, world_last_call(w), 200, PASS, "back");
    cr_assert_eq(w->calls, before + 7, "it is back, and all of them go");
    for (size_t i = before + 2; i < before + 7; i++)
        world_answer(w, w->call[i], 200, PASS, "back");
    for (int i = 0; i < 6; i++)
        is(c[i], 200, "back");
    world_free(w);
}

Test(sim_route, a_trial_whose_client_leaves_passes_it_on)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB}\nupstream: {retries: 0}");
    take_out(w);
    size_t before = w->calls;
    world_client_t *one = world_request(w, 0, "POST", "/1", NULL, "x"),
                   *two = world_request(w, 1, "POST", "/2", NULL, "x");
    cr_assert_eq(w->calls, before + 1);
    world_leave(w, one);
    cr_assert_eq(w->calls, before + 2, "the next one finds out");
    world_answer(w, world_last_call(w), 200, PASS, "ok");
    is(two, 200, "ok");
    world_free(w);
}

/* A minute without an origin: ten requests a second on twenty keys that may be served stale. */
Test(sim_route, an_origin_down_for_a_minute_costs_nobody_an_error)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB}\nupstream: {retries: 0}");
    char path[16];
    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof path, "/%d", i);
        world_get(w, 0, path, NULL);
        world_answer(w, world_last_call(w), 200, "cache-control: max-age=1, stale-if-error=600", "kept");
    }
    world_pass(w, 1500);
    size_t before = w->calls, waited = 0, requests = 0;
    for (msec_t ms = 0; ms < 60000; ms += 10) { /* the origin takes two seconds to fail: a black hole */
        snprintf(path, sizeof path, "/%d", (int)(ms / 10 % 20));
        if (w->clients == WORLD_CLIENTS - 1) {
            world_run(w);
            world_forget(w);
        }
        world_client_t *c = world_get(w, (unsigned)(ms / 10) % WORLD_LOOPS, path, NULL);
        requests++;
        waited += !c->done;
        if (c->done)
            is(c, 200, "kept");
        if (ms % 2000 == 1990)
            for (size_t i = before; i < w->calls; i++)
                if (w->call[i]->open)
                    world_end(w, w->call[i], UPSTREAM_CONNECT_TIMEOUT);
        world_pass(w, 10);
    }
    for (size_t i = before; i < w->calls; i++)
        if (w->call[i]->open)
            world_end(w, w->call[i], UPSTREAM_CONNECT_TIMEOUT);
    for (size_t i = 0; i < w->clients; i++)
        if (w->client[i]->n > 0)
            is(w->client[i], 200, "kept");
    cr_expect_leq(w->calls - before, 20 + 10, "%zu tries for %zu requests", w->calls - before, requests);
    fprintf(stderr, "a minute down: %zu requests, %zu waited for a try, %zu tries\n", requests, waited,
            w->calls - before);
    world_free(w);
}
