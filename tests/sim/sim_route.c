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

/* ---- answers that say that the server is failing ---- */

static world_t *world_of(const char *origins, const char *upstream)
{
    return world_open(&(world_options_t){.origins = origins, .more = upstream});
}

#define TWO "['http://127.0.0.1:21', 'http://127.0.0.1:22']"
#define ONCE "memory: {size: 64MiB}\nupstream: {retries: 1}"

Test(sim_route, a_gateway_error_is_tried_at_another_origin)
{
    static const int statuses[] = {502, 503, 504};
    world_t *w = world_of(TWO, ONCE);
    uint64_t retries = metrics_total(METRIC_UPSTREAM_RETRIES);
    for (int i = 0; i < 3; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%d", i);
        world_client_t *c = world_get(w, 0, path, NULL);
        world_call_t *first = world_last_call(w);
        world_head(w, first, statuses[i], "retry-after: 5", 100);
        world_run(w);
        cr_assert(first->cancelled && !c->head && world_last_call(w) != first);
        cr_expect_neq(world_last_call(w)->port, first->port);
        world_answer(w, world_last_call(w), 200, "cache-control: max-age=60", "well");
        is(c, 200, "well");
        is(world_get(w, 1, path, NULL), 200, "well");
    }
    cr_expect_eq(w->calls, 6);
    cr_expect_eq(metrics_total(METRIC_UPSTREAM_RETRIES), retries + 3);
    world_free(w);
}

Test(sim_route, what_both_say_is_passed_on)
{
    world_t *w = world_of(TWO, ONCE);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 503, PASS, "one");
    world_answer(w, world_last_call(w), 503, PASS, "two");
    is(c, 503, "two");
    cr_expect_eq(w->calls, 2);
    c = world_get(w, 0, "/b", NULL);
    world_answer(w, world_last_call(w), 503, PASS, "one");
    world_end(w, world_last_call(w), UPSTREAM_REFUSED);
    is(c, 502, NULL);
    world_free(w);
}

Test(sim_route, not_where_it_must_not_or_cannot)
{
    static const struct {
        const char *origins, *upstream, *method;
        int status;
    } cases[] = {
        {TWO, ONCE, "POST", 503},
        {TWO, "memory: {size: 64MiB}\nupstream: {retries: 0}", "GET", 503},
        {TWO, ONCE, "GET", 500}, /* an application's own */
        {"['http://127.0.0.1:21']", ONCE, "GET", 503},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_t *w = world_of(cases[i].origins, cases[i].upstream);
        world_client_t *c = world_request(w, 0, cases[i].method, "/a", NULL, "");
        world_answer(w, world_last_call(w), cases[i].status, PASS, "failing");
        is(c, cases[i].status, "failing");
        cr_expect_eq(w->calls, 1, "case %zu", i);
        world_free(w);
    }
    world_t *w = world_of(TWO, ONCE); /* the other one is out: nobody finds out here */
    while (health_usable(health_at(upstreams_health(w->upstreams), 0), w->now.boot)) {
        health_ask_t ask = {.last = true, .limit = 1000};
        cr_assert_eq(health_enter(health_at(upstreams_health(w->upstreams), 0), &ask, w->now.boot), HEALTH_GO);
        health_end(health_at(upstreams_health(w->upstreams), 0), HEALTH_FAILED, 0, w->now.boot);
    }
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 503, PASS, "failing");
    is(c, 503, "failing");
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

/* ---- a crowd that waits for what fails ---- */

enum { CROWD = 50 };

static void crowd(world_t *w, world_client_t **c, const char *lines)
{
    for (unsigned i = 0; i < CROWD; i++)
        c[i] = world_get(w, i % WORLD_LOOPS, "/hot", i == 0 ? lines : NULL);
}

Test(sim_route, a_crowd_gets_the_failure_that_it_waited_for)
{
    static const struct {
        int status;
        const char *fields, *leader;
        bool same; /* the very answer, or one of ours that says the same */
    } cases[] = {
        {502, "content-type: text/plain", NULL, true},
        {503, "retry-after: 9", NULL, true},
        {504, "expires: 0", NULL, true},
        {500, "content-type: text/plain", NULL, true},
        {503, "cache-control: no-store", NULL, false},
        {503, "cache-control: private", NULL, false},
        {503, "cache-control: no-cache, max-age=5", NULL, false}, /* RFC 9111 5.2.2.4: for no other request */
        {502, "set-cookie: a=b", NULL, false},
        {503, "vary: x-kind", "x-kind: other", false},
        {500, "cache-control: no-store", NULL, false},
        {503, "content-type: text/plain", "cookie: me", true}, /* a gateway's, whoever asks */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_t *w = world_new(NULL, "memory: {size: 64MiB}\nupstream: {retries: 0}");
        world_client_t *c[CROWD];
        crowd(w, c, cases[i].leader);
        cr_assert_eq(w->calls, 1);
        world_answer(w, world_last_call(w), cases[i].status, cases[i].fields, "out of order");
        cr_expect_eq(w->calls, 1, "case %zu: %zu requests", i, w->calls);
        for (int n = 0; n < CROWD; n++) {
            is(c[n], cases[i].status, n == 0 || cases[i].same ? "out of order" : NULL);
            cr_expect(n == 0 || cases[i].same || memcmp(c[n]->body, "out of order", 12) != 0);
            cr_expect(n == 0 || cases[i].same || world_field(c[n], "set-cookie").p == NULL);
        }
        world_get(w, 0, "/hot", NULL);
        cr_expect_eq(w->calls, 2, "nobody keeps it");
        world_answer(w, world_last_call(w), 200, "cache-control: max-age=60", "well");
        world_free(w);
    }
}

Test(sim_route, what_may_be_about_one_user_is_nobody_elses)
{
    static const struct {
        int status;
        const char *fields, *leader;
    } cases[] = {{500, "content-type: text/plain", "cookie: me"}, {404, "cache-control: private", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_t *w = world_new(NULL, "memory: {size: 64MiB}\nupstream: {retries: 0}");
        world_client_t *c[CROWD];
        crowd(w, c, cases[i].leader);
        world_answer(w, world_last_call(w), cases[i].status, cases[i].fields, "yours");
        cr_expect_eq(w->calls, CROWD, "all at once");
        while (world_last_call(w)->open || w->call[1]->open)
            for (size_t n = 1; n < w->calls; n++)
                if (w->call[n]->open)
                    world_answer(w, w->call[n], 200, PASS, "mine");
        for (int n = 0; n < CROWD; n++)
            is(c[n], n == 0 ? cases[i].status : 200, n == 0 ? "yours" : "mine");
        world_free(w);
    }
}

Test(sim_route, a_crowd_with_something_stale_asks_once)
{
    static const int statuses[] = {500, 502, 503, 504};
    for (size_t i = 0; i < 4; i++) {
        world_t *w = world_new(NULL, "memory: {size: 64MiB}\nupstream: {retries: 0}");
        world_client_t *c[CROWD];
        world_get(w, 0, "/hot", NULL);
        world_answer(w, world_last_call(w), 200, "cache-control: max-age=1, stale-if-error=600\netag: \"1\"", "kept");
        world_pass(w, 2000);
        crowd(w, c, NULL);
        cr_assert_eq(w->calls, 2);
        world_answer(w, world_last_call(w), statuses[i], "cache-control: no-store", "out of order");
        cr_expect_eq(w->calls, 2, "%d: %zu requests", statuses[i], w->calls);
        for (int n = 0; n < CROWD; n++) {
            is(c[n], 200, "kept");
            cr_expect(world_says(c[n], "x-cache", "STALE"));
        }
        world_free(w);
    }
}

/* One reader of a shared failure stands still: short, so the others have it all the same. */
Test(sim_route, a_waiter_that_stalls_holds_no_failure_back)
{
    world_t *w = world_new(NULL, "memory: {size: 64MiB}\nupstream: {retries: 0}");
    static char page[65536];
    world_client_t *leader = world_get(w, 0, "/hot", NULL), *slow = world_get(w, 1, "/hot", NULL);
    slow->stalled = true;
    world_call_t *call = world_last_call(w);
    world_head(w, call, 503, "content-type: text/plain", sizeof page);
    for (size_t at = 0; at < sizeof page; at += sizeof page / 16) {
        world_run(w);
        cr_assert(world_bytes(w, call, page + at, sizeof page / 16), "held back at %zu", at);
    }
    world_end(w, call, UPSTREAM_OK);
    cr_expect(leader->done && leader->n == sizeof page);
    world_leave(w, slow);
    world_free(w);
}
