#include <stdlib.h>
#include <unistd.h>
#include <criterion/criterion.h>

#include "shield/upstreams.h"

static conf_t *conf_of(const char *text)
{
    conf_t *c;
    conf_error_t err;
    cr_assert_eq(conf_parse(span_str(text), "f", &c, &err), ERR_OK, "%d: %s", err.line, err.message);
    return c;
}

#define TWO "listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://a', 'http://b'] }]\n"

static void fail(health_server_t *s, msec_t boot)
{
    health_begin(s);
    health_end(s, HEALTH_FAILED, boot);
}

static void succeed(health_server_t *s, msec_t boot)
{
    health_begin(s);
    health_end(s, HEALTH_OK, boot);
}

static health_state_t state(const health_server_t *s, msec_t boot)
{
    health_state_t out;
    health_read(s, boot, &out);
    return out;
}

Test(health, failures_in_a_row_eject)
{
    conf_t *c = conf_of(TWO);
    health_t *h = health_new();
    health_view_t *v = health_view_new(h, c);
    health_server_t *s = health_at(v, 0);
    fail(s, 1000);
    fail(s, 1000);
    succeed(s, 1000);
    fail(s, 1000);
    fail(s, 1000);
    cr_assert(health_usable(s, 1000));
    fail(s, 1000);
    cr_assert_not(health_usable(s, 1000));
    cr_assert_not(health_admit(s, 1999));
    cr_assert(health_usable(s, 2000));
    cr_assert_eq(state(s, 1500).ejected_for, 500);
    cr_assert_not(state(s, 1500).healthy);
    cr_assert_eq(state(s, 1500).ejections, 1);
    cr_assert_eq(state(s, 1500).requests, 6);
    cr_assert_eq(state(s, 1500).failures, 5);
    cr_assert(health_usable(health_at(v, 1), 1000));
    health_view_unref(v);
    health_free(h);
    conf_unref(c);
}

Test(health, one_trial_at_a_time_and_longer_each_time)
{
    conf_t *c = conf_of(TWO);
    health_t *h = health_new();
    health_view_t *v = health_view_new(h, c);
    health_server_t *s = health_at(v, 0);
    msec_t now = 1000, wait = HEALTH_BACKOFF_FIRST;
    for (int i = 0; i < HEALTH_EJECT_AFTER; i++)
        fail(s, now);
    for (int round = 0; round < 10; round++) {
        /* Those that were under way when it was ejected change nothing. */
        fail(s, now);
        fail(s, now);
        cr_assert_not(health_admit(s, now + wait - 1), "round %d", round);
        now += wait;
        cr_assert(health_admit(s, now), "round %d", round);
        cr_assert_not(health_admit(s, now));
        cr_assert_not(health_usable(s, now));
        health_begin(s);
        health_end(s, HEALTH_FAILED, now);
        wait = wait * 2 < HEALTH_BACKOFF_MOST ? wait * 2 : HEALTH_BACKOFF_MOST;
    }
    cr_assert_eq(wait, HEALTH_BACKOFF_MOST);
    now += wait;
    cr_assert(health_admit(s, now));
    health_begin(s);
    /* A trial that tells nothing makes room for the next. */
    health_end(s, HEALTH_UNKNOWN, now);
    cr_assert(health_admit(s, now));
    cr_assert_not(health_admit(s, now));
    succeed(s, now);
    cr_assert(health_admit(s, now));
    cr_assert(health_admit(s, now));
    cr_assert(state(s, now).healthy);
    cr_assert_eq(state(s, now).consecutive_failures, 0);
    health_view_unref(v);
    health_free(h);
    conf_unref(c);
}

Test(health, a_trial_that_never_ends_is_not_waited_for)
{
    conf_t *c = conf_of(TWO);
    health_t *h = health_new();
    health_view_t *v = health_view_new(h, c);
    health_server_t *s = health_at(v, 0);
    for (int i = 0; i < HEALTH_EJECT_AFTER; i++)
        fail(s, 0);
    cr_assert(health_admit(s, 1000));
    cr_assert_not(health_admit(s, 20000));
    cr_assert(health_admit(s, 31000));
    health_view_unref(v);
    health_free(h);
    conf_unref(c);
}

Test(health, state_survives_a_reload)
{
    conf_t *c = conf_of(TWO),
           *d = conf_of("listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://c', 'http://b'] }]\n");
    health_t *h = health_new();
    health_view_t *v = health_view_new(h, c);
    health_server_t *b = health_at(v, c->sites[0].origins[1].index);
    health_begin(b);
    for (int i = 0; i < HEALTH_EJECT_AFTER; i++)
        fail(b, 0);
    health_view_t *w = health_view_new(h, d);
    cr_assert_eq(health_count(w), 2);
    cr_assert_eq(health_at(w, d->sites[0].origins[1].index), b);
    health_view_unref(v);
    cr_assert_not(health_usable(b, 10));
    cr_assert_eq(health_in_flight(b), 1);
    cr_assert(span_eq(state(b, 0).url, SPAN("http://b")));
    health_end(b, HEALTH_OK, 10);
    cr_assert_eq(health_in_flight(b), 0);
    health_view_unref(health_view_ref(w));
    health_view_unref(w);
    health_free(h);
    conf_unref(c);
    conf_unref(d);
}

Test(upstreams, a_way_through_an_edge)
{
    char dir[] = "/tmp/brink-upstreams-XXXXXX", text[600];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(text, sizeof text, "%s/s", dir);
    FILE *f = fopen(text, "w");
    fputs("0123456789abcdef", f);
    fclose(f);
    snprintf(text, sizeof text,
             TWO "shield: { nodes: ['http://s1', 'http://s2'], secret_file: %s/s }\nupstream: { retries: 0 }\n", dir);
    conf_t *c = conf_of(text);
    health_t *h = health_new();
    upstreams_t *u = upstreams_new(h, c);
    conf_unref(c);
    digest_t key = hash_digest(SPAN("http://x/1"));
    const conf_site_t *site = &upstreams_conf(u)->sites[0];
    route_t r = {.idempotent = true};
    upstreams_target_t first = upstreams_next(u, site, key, &r, 0);
    cr_assert_eq(first.kind, ROUTE_SHIELD);
    route_failed(&r, ROUTE_UNSENT);
    upstreams_target_t second = upstreams_next(u, site, key, &r, 0);
    cr_assert_eq(second.kind, ROUTE_SHIELD);
    cr_assert_neq(second.server, first.server);
    route_failed(&r, ROUTE_UNSENT);
    upstreams_target_t third = upstreams_next(u, site, key, &r, 0);
    cr_assert_eq(third.kind, ROUTE_ORIGIN);
    route_failed(&r, ROUTE_UNSENT);
    cr_assert_eq(upstreams_next(u, site, key, &r, 0).kind, ROUTE_NONE);

    /* The owner is out: everybody goes to the second; when its time is over, one request tries it. */
    for (int i = 0; i < HEALTH_EJECT_AFTER; i++)
        fail(first.health, 0);
    for (int i = 0; i < 10; i++) {
        r = (route_t){.idempotent = true};
        cr_assert_eq(upstreams_next(u, site, key, &r, 500).server, second.server);
    }
    r = (route_t){.idempotent = true};
    cr_assert_eq(upstreams_next(u, site, key, &r, 1000).server, first.server);
    r = (route_t){.idempotent = true};
    cr_assert_eq(upstreams_next(u, site, key, &r, 1000).server, second.server);

    /* Both origins are out and the shield can't be used: an origin is tried all the same. */
    for (size_t o = 0; o < 2; o++)
        for (int i = 0; i < HEALTH_EJECT_AFTER; i++)
            fail(health_at(upstreams_health(u), site->origins[o].index), 0);
    r = (route_t){.idempotent = true, .no_shield = true};
    cr_assert_eq(upstreams_next(u, site, key, &r, 0).kind, ROUTE_ORIGIN);
    upstreams_unref(upstreams_ref(u));
    upstreams_unref(u);
    health_free(h);
    snprintf(text, sizeof text, "rm -r %s", dir);
    cr_assert_eq(system(text), 0);
}
