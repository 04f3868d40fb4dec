/* What is foretold is what happens: explain is asked before a request, and the request is then made. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "edge/tbl/metrics.h"
#include "world.h"

/* Asks the worker's loop as the admin listener does (PURGE is the other way to a handler). */
static json_t *asked(world_t *w, unsigned loop, const char *query)
{
    char target[600];
    snprintf(target, sizeof target, "/v1/explain?%s", query);
    w->env[loop].purge_method = explain_handle;
    world_client_t *c = world_request(w, loop, "PURGE", target, NULL, NULL);
    for (int ms = 0; !c->done && ms < 60000; ms++) { /* (really) for the helper thread that reads from the disk */
        usleep(1000);
        world_run(w);
    }
    cr_assert(c->done && c->status == 200, "%d %s", c->status, c->body != NULL ? c->body : "");
    json_t *j = json_loadb(c->body, c->n, 0, NULL);
    cr_assert_not_null(j, "%s", c->body);
    return j;
}

static const char *text(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));
    return s != NULL ? s : "";
}

static const json_t *part(const json_t *j, const char *name)
{
    return json_object_get(j, name);
}

static void says(world_t *w, const char *query, const char *decision, const char *reason)
{
    json_t *j = asked(w, 0, query);
    cr_expect_str_eq(text(j, "decision"), decision);
    cr_expect_str_eq(text(part(j, "because"), "reason"), reason);
    json_decref(j);
}

#define URL "url=http://site.example/a"

Test(sim_explain, as_time_goes_by)
{
    world_t *w = world_new(NULL, NULL);
    says(w, URL, "miss", "uri-miss");
    world_get(w, 0, "/a", NULL);
    world_answer(w, w->call[0], 200, "cache-control: s-maxage=60, stale-while-revalidate=30\netag: \"1\"", "hello");
    says(w, URL, "hit", "fresh");
    says(w, URL "&header=Cache-Control:min-fresh%3D61", "revalidate", "min-fresh");
    world_pass(w, 59999);
    says(w, URL, "hit", "fresh");
    world_pass(w, 1);
    says(w, URL, "stale", "stale-while-revalidate");
    cr_expect_eq(w->calls, 1, "nothing was refreshed for being asked about");
    world_pass(w, 30000);
    says(w, URL, "stale", "stale-while-revalidate");
    world_pass(w, 1);
    says(w, URL, "revalidate", "stale");
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_explain, a_note_tells_what_it_stands_for)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, w->call[0], 200, "cache-control: private", "mine");
    json_t *j = asked(w, 1, URL);
    cr_expect_str_eq(text(j, "decision"), "pass");
    cr_expect_str_eq(text(part(json_array_get(part(j, "stored"), 0), "not_stored"), "reason"), "private");
    json_decref(j);
    world_pass(w, 5000);
    says(w, URL, "miss", "uri-miss");
    j = asked(w, 1, URL);
    cr_expect_str_eq(text(part(json_array_get(part(j, "stored"), 0), "not_stored"), "section"), "RFC 9111 5.2.2.7",
                     "it is told after its time, too");
    json_decref(j);
    world_free(w);
}

Test(sim_explain, a_running_fetch)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    json_t *j = asked(w, 1, URL);
    cr_expect(json_is_true(part(part(j, "upstream"), "waits_for_running_fetch")));
    cr_expect_str_eq(text(j, "decision"), "miss");
    json_decref(j);
    j = asked(w, 1, URL "&header=Authorization:x");
    cr_expect(json_is_false(part(part(j, "upstream"), "waits_for_running_fetch")));
    json_decref(j);
    world_answer(w, w->call[0], 200, "cache-control: max-age=60", "hello");
    cr_expect_eq(w->calls, 1);
    cr_expect(c->done);
    world_free(w);
}

Test(sim_explain, what_the_rules_were)
{
    world_t *w =
        world_new("    rules: [{path: /a, ttl: 60s}, {path: \"/*\", override_ttl: 10s}, {path: /b, ttl: 1s}]", NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, w->call[0], 200, "cache-control: no-cache, max-age=5", "hello");
    json_t *j = asked(w, 0, URL);
    const json_t *s = json_array_get(part(j, "stored"), 0);
    cr_expect_str_eq(text(part(s, "lifetime_from"), "source"), "override_ttl");
    cr_expect_eq(json_integer_value(part(s, "lifetime")), 10);
    cr_expect_eq(json_array_size(part(j, "site_rules")), 2);
    cr_expect_eq(json_integer_value(part(part(j, "settings"), "ttl")), 60);
    json_decref(j);
    world_free(w);
}

/* Parts are told of as what they are: one answers for itself, and only the rest of the other is asked for. */
Test(sim_explain, parts)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", "range: bytes=2000000-2000004");
    world_answer(w, w->call[0], 206,
                 "cache-control: max-age=60\netag: \"1\"\ncontent-range: bytes 2000000-2000004/2000005", "hello");
    json_t *j = asked(w, 0, URL "&header=range:bytes%3D2000001-2000003");
    const json_t *s = json_array_get(part(j, "stored"), 0);
    cr_expect_str_eq(text(j, "decision"), "hit");
    cr_expect_eq(json_integer_value(part(s, "part_first")), 2000000);
    cr_expect_eq(json_integer_value(part(s, "bytes")), 5);
    cr_expect_eq(json_integer_value(part(s, "length")), 2000005);
    json_decref(j);
    says(w, URL, "miss", "partial");
    cr_expect_eq(w->calls, 1);
    world_pass(w, 60000);
    says(w, URL "&header=range:bytes%3D2000001-2000003", "miss", "uri-miss");
    world_free(w);
}

static store_fate_t everything(object_t *o, void *arg)
{
    (void)o;
    (void)arg;
    return STORE_REMOVE;
}

/* What memory has forgotten is told from its head on disk, and stays there. */
Test(sim_explain, disk)
{
    static const char *const languages[] = {"accept-language: de", "accept-language: en"};
    world_t *w = world_open(&(world_options_t){.disk = true});
    for (int v = 0; v < 2; v++)
        for (int i = 0; i < 4; i++) {
            size_t calls = w->calls;
            world_get(w, 0, "/a", languages[v]);
            if (w->calls > calls)
                world_answer(w, world_last_call(w), 200,
                             "cache-control: max-age=60\nvary: accept-language\netag: \"1\"", "hello");
        }
    world_disk(w);
    json_t *j = asked(w, 0, URL "&header=accept-language:de");
    cr_expect_eq(json_array_size(part(j, "stored")), 4, "memory has both, and the disk");
    cr_expect_str_eq(text(j, "cache_status"), "sim-1; hit; ttl=60; detail=memory");
    json_decref(j);
    warm_t *warm = w->warm;
    uint64_t cursor = 0;
    w->warm = NULL; /* only memory forgets */
    store_sweep(w->store, &cursor, 1000, everything, w);
    w->warm = warm;
    world_pass(w, 10000);
    warm_stats_t before, after;
    warm_stats(w->warm, &before);
    j = asked(w, 0, URL "&header=accept-language:de");
    cr_expect_str_eq(text(j, "cache_status"), "sim-1; hit; ttl=50; detail=disk");
    cr_expect_eq(json_array_size(part(j, "stored")), 2);
    int chosen = 0;
    for (size_t i = 0; i < 2; i++) {
        const json_t *s = json_array_get(part(j, "stored"), i);
        cr_expect_str_eq(text(s, "tier"), "disk");
        cr_expect_eq(json_integer_value(part(s, "bytes")), 5);
        cr_expect_eq(json_is_true(part(s, "chosen")), json_is_true(part(s, "selected")));
        chosen += json_is_true(part(s, "chosen"));
    }
    cr_expect_eq(chosen, 1);
    json_decref(j);
    says(w, URL "&header=accept-language:fr", "miss", "uri-miss");
    world_purge(w, LEDGER_URL, "site.example/a", MARK_SOFT);
    says(w, URL "&header=accept-language:en", "revalidate", "soft-purge");
    warm_stats(w->warm, &after);
    store_stats_t stats;
    store_stats(w->store, &stats);
    cr_expect(before.hits == after.hits && before.misses == after.misses && stats.objects == 0, "nothing was promoted");
    cr_expect_eq(w->calls, 2);
    world_purge(w, LEDGER_URL, "site.example/a", MARK_HARD);
    says(w, URL "&header=accept-language:en", "miss", "uri-miss");
    world_free(w);
}

static uint64_t noise(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#define PICK(list, seed) (list)[noise(seed) % (sizeof(list) / sizeof *(list))]

/* Cache-Status as it was foretold, against the one that came: what the upstream has done by then stands there too. */
static void compare(const char *told, span_t came, const char *why)
{
    char rest[256], *cut;
    snprintf(rest, sizeof rest, "%.*s", SPAN_ARG(came));
    static const char *const later[] = {"; fwd-status=200", "; fwd-status=304", "; stored"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if ((cut = strstr(rest, later[i])) != NULL)
            memmove(cut, cut + strlen(later[i]), strlen(cut + strlen(later[i])) + 1);
    /* a detail that says what the answer was can't be foretold */
    if ((cut = strstr(rest, "; detail=")) != NULL && strstr(told, "; detail=") == NULL)
        *cut = '\0';
    cr_assert_str_eq(rest, told, "%s instead of %s: %s", rest, told, why);
}

Test(sim_explain, what_is_foretold_happens)
{
    static const char *const responses[] = {"cache-control: max-age=20\netag: \"1\"",
                                            "cache-control: s-maxage=5, stale-while-revalidate=10",
                                            "cache-control: private",
                                            "cache-control: no-store",
                                            "cache-control: no-cache\netag: \"1\"",
                                            "cache-control: max-age=10, immutable",
                                            "cache-control: public, max-age=10, stale-if-error=30",
                                            "cache-control: max-age=30\nvary: accept-language",
                                            "cache-control: max-age=5\ncdn-cache-control: max-age=30",
                                            "set-cookie: a=b",
                                            "last-modified: Mon, 13 Nov 2023 22:13:20 GMT",
                                            "cache-control: max-age=20, must-revalidate"};
    static const char *const requests[][2] = {{NULL, ""},
                                              {NULL, ""},
                                              {NULL, ""},
                                              {"cache-control: no-cache", "&header=cache-control:no-cache"},
                                              {"cache-control: max-age=3", "&header=cache-control:max-age%3D3"},
                                              {"cache-control: max-stale", "&header=cache-control:max-stale"},
                                              {"cache-control: no-store", "&header=cache-control:no-store"},
                                              {"cache-control: only-if-cached", "&header=cache-control:only-if-cached"},
                                              {"cache-control: min-fresh=4", "&header=cache-control:min-fresh%3D4"},
                                              {"authorization: x", "&header=authorization:x"},
                                              {"accept-language: de", "&header=accept-language:de"},
                                              {"accept-language: en", "&header=accept-language:en"}};
    world_t *w = world_new("    rules: [{path: /p3, cache: false}, {path: /p4, ttl: 7s}]", NULL);
    uint64_t seed = 20261;
    for (int round = 0; round < 1500; round++) {
        char url[700], target[8];
        snprintf(target, sizeof target, "/p%d", (int)(noise(&seed) % 6));
        const char *const *request = PICK(requests, &seed);
        snprintf(url, sizeof url, "url=http://site.example%s%s", target, request[1]);
        size_t calls = w->calls;
        uint64_t hits = metrics_total(METRIC_HITS), misses = metrics_total(METRIC_HIT_FOR_MISS),
                 background = metrics_total(METRIC_BACKGROUND);
        json_t *j = asked(w, 0, url), *again = asked(w, 1, url);
        cr_assert_eq(json_equal(j, again), 1, "asking has changed something");
        cr_assert(w->calls == calls && metrics_total(METRIC_HITS) == hits &&
                  metrics_total(METRIC_HIT_FOR_MISS) == misses && metrics_total(METRIC_BACKGROUND) == background);
        const char *asks = text(part(j, "upstream"), "asked"), *decision = text(j, "decision");
        json_object_del(j, "rules");
        char *why = json_dumps(j, JSON_COMPACT);
        world_client_t *c = world_get(w, 0, target, request[0]);
        cr_assert_eq(w->calls - calls, strcmp(asks, "no") != 0, "%s: %s", asks, why);
        if (w->calls > calls) {
            world_call_t *call = world_last_call(w);
            const json_t *validators = part(part(j, "upstream"), "validators");
            cr_assert_eq(fields_has(&call->fields, SPAN("if-none-match")), part(validators, "if-none-match") != NULL,
                         "%s", why);
            if (fields_has(&call->fields, SPAN("if-none-match")) && noise(&seed) % 2)
                world_answer(w, call, 304, "etag: \"1\"", "");
            else
                world_answer(w, call, 200, PICK(responses, &seed), "hello");
        }
        cr_assert(c->done, "%s", why);
        if (strcmp(decision, "refuse") == 0)
            cr_assert_eq(c->status, json_integer_value(part(j, "status")), "%s", why);
        else
            cr_assert_eq(c->status, 200, "%s", why);
        compare(text(j, "cache_status"), world_field(c, "cache-status"), why);
        free(why);
        json_decref(j);
        json_decref(again);
        if (noise(&seed) % 20 == 0)
            world_purge(w, LEDGER_URL, noise(&seed) % 2 ? "site.example/p1" : "site.example/p0",
                        noise(&seed) % 2 ? MARK_SOFT : MARK_HARD);
        if (noise(&seed) % 30 == 0)
            world_purge(w, LEDGER_ALL, "", MARK_STRICT);
        world_pass(w, (msec_t)(noise(&seed) % 4000));
        world_forget(w);
    }
    world_free(w);
}
