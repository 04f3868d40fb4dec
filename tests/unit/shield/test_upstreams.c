#include <stdlib.h>
#include <unistd.h>
#include <criterion/criterion.h>

#include "shield/upstreams.h"

/* A configuration's upstreams, and requests that hold their places until they are told to end. */
typedef struct way {
    health_t *h;
    upstreams_t *u;
    const conf_site_t *site;
} way_t;

static way_t way_of(const char *origins, const char *more)
{
    char dir[] = "/tmp/brink-upstreams-XXXXXX", text[1200];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(text, sizeof text, "%s/s", dir);
    FILE *f = fopen(text, "w");
    fputs("0123456789abcdef", f);
    fclose(f);
    snprintf(text, sizeof text, "listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: [%s] }]\n%s", origins, more);
    for (char *at; (at = strstr(text, "SECRET")) != NULL;) { /* "SECRET" and spaces enough behind it */
        char path[64];
        int n = snprintf(path, sizeof path, "%s/s", dir);
        memcpy(at, path, (size_t)n);
    }
    conf_t *c;
    conf_error_t err;
    cr_assert_eq(conf_parse(span_str(text), "f", &c, &err), ERR_OK, "%d: %s\n%s", err.line, err.message, text);
    snprintf(text, sizeof text, "rm -r %s", dir);
    cr_assert_eq(system(text), 0);
    way_t w = {.h = health_new()};
    w.u = upstreams_new(w.h, c);
    w.site = &upstreams_conf(w.u)->sites[0];
    conf_unref(c);
    return w;
}

#define SHIELD(nodes) "shield: { nodes: [" nodes "], secret_file: SECRET                                   }\n"

static void way_close(way_t w)
{
    for (size_t i = 0; i < health_count(upstreams_health(w.u)); i++)
        cr_expect_eq(health_in_flight(health_at(upstreams_health(w.u), i)), 0);
    upstreams_unref(upstreams_ref(w.u));
    upstreams_unref(w.u);
    health_free(w.h);
}

static digest_t key_of(unsigned i)
{
    return hash_digest(span_of((const char *)&i, sizeof i));
}

static upstreams_target_t next(way_t w, unsigned key, bool shared, route_t *r, msec_t boot)
{
    return upstreams_next(w.u, &(upstreams_want_t){.site = w.site, .key = key_of(key), .shared = shared}, r, boot);
}

static upstreams_target_t first(way_t w, unsigned key, bool shared, msec_t boot)
{
    route_t r = {.idempotent = true};
    return next(w, key, shared, &r, boot);
}

static upstreams_target_t failing(way_t w, route_t *r, msec_t boot)
{
    upstreams_target_t t = next(w, 1, true, r, boot);
    if (t.verdict == UPSTREAMS_GO) {
        health_end(t.health, HEALTH_FAILED, 0, boot);
        route_failed(r, ROUTE_UNSENT);
    }
    return t;
}

static void eject(health_server_t *s, msec_t boot)
{
    for (int i = 0; i < HEALTH_FAILURES; i++) {
        cr_assert_eq(health_enter(s, &(health_ask_t){.last = true, .limit = 1000}, boot), HEALTH_GO);
        health_end(s, HEALTH_FAILED, 0, boot);
    }
}

static health_server_t *origin(way_t w, size_t i)
{
    return health_at(upstreams_health(w.u), w.site->origins[i].index);
}

Test(upstreams, a_way_through_an_edge)
{
    way_t w = way_of("'http://a', 'http://b'", SHIELD("'http://s1', 'http://s2'") "upstream: { retries: 0 }\n");
    route_t r = {.idempotent = true};
    upstreams_target_t one = failing(w, &r, 0), two = failing(w, &r, 0);
    cr_assert(one.kind == ROUTE_SHIELD && two.kind == ROUTE_SHIELD && one.server != two.server);
    cr_assert_eq(failing(w, &r, 0).kind, ROUTE_ORIGIN);
    cr_assert_eq(failing(w, &r, 0).verdict, UPSTREAMS_NONE);

    /* The owner is out: everybody goes to the second; when its time is over, one request tries it. */
    eject(one.health, 0);
    for (int i = 0; i < 10; i++) {
        upstreams_target_t t = first(w, 1, true, 500);
        cr_assert_eq(t.server, two.server);
        health_end(t.health, HEALTH_OK, 0, 500);
    }
    upstreams_target_t trial = first(w, 1, true, 4000), other = first(w, 1, true, 4000);
    cr_assert_eq(trial.server, one.server);
    cr_assert_eq(other.server, two.server);
    health_end(trial.health, HEALTH_OK, 0, 4000);
    health_end(other.health, HEALTH_OK, 0, 4000);
    way_close(w);
}

Test(upstreams, a_shield_node_that_comes_back_gets_its_keys_little_by_little)
{
    way_t w = way_of("'http://a'", SHIELD("'http://s1', 'http://s2'"));
    upstreams_target_t t = first(w, 1, true, 0);
    const conf_origin_t *one = t.server;
    health_end(t.health, HEALTH_OK, 0, 0);
    eject(t.health, 0);
    cr_assert_eq(health_enter(t.health, &(health_ask_t){.limit = 9}, 1000), HEALTH_GO);
    health_end(t.health, HEALTH_OK, 0, 1000);
    unsigned own = 0, half = 0, then = 0;
    for (unsigned k = 0; k < 4000; k++) {
        msec_t at[3] = {1000 + 2 * HEALTH_SLOW_START, 1000 + HEALTH_SLOW_START / 2, 1000};
        bool there[3];
        for (int i = 0; i < 3; i++) {
            upstreams_target_t x = first(w, k, true, at[i]);
            there[i] = x.server == one;
            health_end(x.health, HEALTH_OK, 0, at[i]);
        }
        own += there[0], half += there[1], then += there[2];
        cr_assert(there[0] >= there[1] && there[1] >= there[2], "a key that it has got stays");
    }
    cr_assert(own > 1800 && own < 2200);
    cr_assert(half > own * 45 / 100 && half < own * 65 / 100, "%u of %u", half, own);
    cr_assert(then > own * 6 / 100 && then < own * 14 / 100, "%u of %u", then, own);
    way_close(w);
}

Test(upstreams, weights_of_shield_nodes)
{
    way_t w = way_of("'http://a'", SHIELD("{ url: 'http://s1', weight: 3 }, 'http://s2'"));
    unsigned count = 0;
    for (unsigned k = 0; k < 20000; k++) {
        upstreams_target_t t = first(w, k, true, 0);
        count += t.server == &upstreams_conf(w.u)->shield.nodes[0];
        health_end(t.health, HEALTH_OK, 0, 0);
    }
    cr_assert(count > 14700 && count < 15300, "%u", count);
    way_close(w);
}

/* ---- bounded load ---- */

Test(upstreams, a_hot_key_spreads_over_the_two_best)
{
    enum { NODES = 5, BUSY = 200 };
    way_t w = way_of("'http://a'", SHIELD("'http://s1', 'http://s2', 'http://s3', 'http://s4', 'http://s5'"));
    upstreams_target_t t[BUSY];
    unsigned count[NODES] = {0}, used = 0;
    /* requests for one key that can't be collapsed, all under way at once */
    for (int i = 0; i < BUSY; i++) {
        t[i] = first(w, 7, false, 0);
        count[t[i].server - upstreams_conf(w.u)->shield.nodes]++;
    }
    for (int i = 0; i < NODES; i++) {
        used += count[i] > 0;
        cr_assert(count[i] == 0 || count[i] > BUSY / 4, "%u", count[i]);
    }
    cr_assert_eq(used, 2, "on %u nodes", used);
    /* one fetch for many stays with the owner */
    const conf_origin_t *owner = t[0].server;
    for (int i = 0; i < 20; i++) {
        upstreams_target_t shared = first(w, 7, true, 0);
        cr_assert_eq(shared.server, owner);
        health_end(shared.health, HEALTH_OK, 0, 0);
    }
    for (int i = 0; i < BUSY; i++)
        health_end(t[i].health, HEALTH_OK, 0, 0);
    way_close(w);
}

Test(upstreams, no_key_spills_while_the_load_is_even)
{
    way_t w = way_of("'http://a'", SHIELD("'http://s1', 'http://s2', 'http://s3', 'http://s4'"));
    enum { BUSY = 4000 };
    static upstreams_target_t t[BUSY];
    unsigned spilled = 0;
    for (unsigned i = 0; i < BUSY; i++) {
        t[i] = first(w, i, false, 0);
        upstreams_target_t owner = first(w, i, true, 0);
        spilled += t[i].server != owner.server;
        health_end(owner.health, HEALTH_OK, 0, 0);
    }
    cr_assert_lt(spilled, BUSY / 100, "%u of %u", spilled, (unsigned)BUSY);
    for (unsigned i = 0; i < BUSY; i++)
        health_end(t[i].health, HEALTH_OK, 0, 0);
    way_close(w);
}

Test(upstreams, a_full_node_leaves_its_keys_to_the_next_and_not_to_the_origin)
{
    way_t w = way_of("'http://a'", SHIELD("'http://s1', 'http://s2'") "upstream: { max_in_flight: 2, max_queue: 0 }\n");
    upstreams_target_t t[4];
    for (int i = 0; i < 4; i++) {
        t[i] = first(w, 7, true, 0);
        cr_assert(t[i].verdict == UPSTREAMS_GO && t[i].kind == ROUTE_SHIELD);
    }
    cr_assert(t[0].server == t[1].server && t[2].server == t[3].server && t[0].server != t[2].server);
    cr_assert_eq(first(w, 7, true, 0).verdict, UPSTREAMS_FULL);
    for (int i = 0; i < 4; i++)
        health_end(t[i].health, HEALTH_OK, 0, 0);
    way_close(w);
}

/* ---- origins ---- */

Test(upstreams, origins_by_weight_and_load)
{
    way_t w = way_of("{ url: 'http://a', weight: 3 }, 'http://b'", "");
    unsigned count = 0;
    for (unsigned i = 0; i < 4000; i++) { /* quiet: the weights alone decide */
        upstreams_target_t t = first(w, 1, false, 0);
        count += t.server == &w.site->origins[0];
        health_end(t.health, HEALTH_OK, 0, 0);
    }
    cr_assert(count > 2880 && count < 3120, "%u", count);
    upstreams_target_t t[400];
    for (int i = 0; i < 400; i++)
        t[i] = first(w, 1, false, 0);
    uint32_t load = health_in_flight(origin(w, 0));
    cr_assert(load >= 298 && load <= 302, "%u of 400", load);
    for (int i = 0; i < 400; i++)
        health_end(t[i].health, HEALTH_OK, 0, 0);
    way_close(w);
}

Test(upstreams, backups_are_for_when_the_others_are_out)
{
    way_t w = way_of("{ url: 'http://spare', backup: true }, 'http://a', 'http://b'", "");
    for (int i = 0; i < 100; i++) {
        upstreams_target_t t = first(w, 1, false, 0);
        cr_assert_not(t.server->backup);
        health_end(t.health, HEALTH_OK, 0, 0);
    }
    eject(origin(w, 1), 0);
    for (int i = 0; i < 100; i++) {
        upstreams_target_t t = first(w, 1, false, 0);
        cr_assert_eq(t.server, &w.site->origins[2]);
        health_end(t.health, HEALTH_OK, 0, 0);
    }
    route_t r = {.idempotent = true}; /* its last one fails: the spare is next */
    cr_assert_eq(failing(w, &r, 0).server, &w.site->origins[2]);
    cr_assert_eq(failing(w, &r, 0).server, &w.site->origins[0]);
    eject(origin(w, 2), 0);
    for (int i = 0; i < 100; i++) {
        upstreams_target_t t = first(w, 1, false, 0);
        cr_assert(t.server->backup);
        health_end(t.health, HEALTH_OK, 0, 0);
    }
    upstreams_target_t back = first(w, 1, false, 60000);
    cr_assert_not(back.server->backup, "one tries whether they are back");
    health_end(back.health, HEALTH_OK, 0, 60000);
    way_close(w);
}

Test(upstreams, the_last_is_never_left_out_though_tried_by_one_alone)
{
    way_t w = way_of("'http://a', 'http://b'", "");
    eject(origin(w, 0), 0);
    eject(origin(w, 1), 0);
    upstreams_target_t one = first(w, 1, false, 10), two = first(w, 1, false, 10), three = first(w, 1, false, 10);
    cr_assert_eq(one.verdict, UPSTREAMS_GO);
    cr_assert(three.verdict == UPSTREAMS_OUT || three.server != one.server, "one at a time and server");
    route_t r = {.idempotent = true, .optional = true}; /* there is something stale: it isn't even tried */
    cr_assert_eq(next(w, 1, false, &r, 20).verdict, UPSTREAMS_OUT);
    health_end(one.health, HEALTH_FAILED, 0, 20);
    if (two.verdict == UPSTREAMS_GO)
        health_end(two.health, HEALTH_FAILED, 0, 20);
    if (three.verdict == UPSTREAMS_GO)
        health_end(three.health, HEALTH_FAILED, 0, 20);
    way_close(w);
}

Test(upstreams, down_for_an_hour_it_is_tried_by_one_at_a_time_and_seldom)
{
    way_t w = way_of("'http://a'", "");
    unsigned tries = 0;
    for (msec_t now = 0; now < 3600 * 1000; now += 100) { /* ten requests a second that have something stale */
        route_t r = {.idempotent = true, .optional = true};
        upstreams_target_t t = failing(w, &r, now);
        if (t.verdict == UPSTREAMS_GO) {
            tries++;
            cr_assert_eq(health_in_flight(t.health), 0);
        }
    }
    cr_assert(tries > 60 && tries < 75, "%u tries", tries); /* 3 to find out, 6 while it doubles, then one a minute */
    way_close(w);
}

Test(upstreams, retries_end_with_the_budget)
{
    way_t w = way_of("'http://a', 'http://b', 'http://c'", "upstream: { retries: 8, retry_budget: 20 }\n");
    unsigned tries = 0, requests = 2000;
    for (unsigned i = 0; i < requests; i++) {
        route_t r = {.idempotent = true};
        while (failing(w, &r, 1000).verdict == UPSTREAMS_GO)
            tries++;
    }
    cr_assert_leq(tries, requests + requests / 5 + BUDGET_FLOOR, "%u requests for %u", tries, requests);
    cr_assert_geq(tries, requests);
    way_close(w);
}

Test(upstreams, a_slow_one_is_taken_out_but_never_the_half_of_them)
{
    way_t w = way_of("'http://a', 'http://b', 'http://c', 'http://d'", "");
    static const int64_t took[4] = {10, 12, 200, 9}; /* ms */
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < 4; i++)
            for (int n = 0; n < HEALTH_RATE_LEAST; n++)
                health_answered(origin(w, i), took[i] * 1000000, 1000);
    upstreams_sweep(w.u, 1000);
    for (size_t i = 0; i < 4; i++) {
        health_state_t s;
        health_read(origin(w, i), 1000, &s);
        cr_assert_eq(s.healthy, i != 2, "%zu", i);
        cr_assert_eq(s.why, i == 2 ? HEALTH_WHY_LATENCY : HEALTH_WHY_NONE);
    }
    for (int n = 0; n < 2000; n++) {
        health_answered(origin(w, 1), 900 * 1000000, 1500);
        health_answered(origin(w, 3), 900 * 1000000, 1500);
    }
    upstreams_sweep(w.u, 1500);
    unsigned well = 0;
    for (size_t i = 0; i < 4; i++)
        well += health_usable(origin(w, i), 1500);
    cr_assert_geq(well, 2);
    way_close(w);
    w = way_of("'http://a', 'http://b'", "");
    for (int n = 0; n < HEALTH_RATE_LEAST; n++) {
        health_answered(origin(w, 0), 10 * 1000000, 0);
        health_answered(origin(w, 1), 40 * 1000000, 0);
    }
    upstreams_sweep(w.u, 0);
    cr_assert(health_usable(origin(w, 1), 0), "four times as long, and still quick");
    way_close(w);
}
