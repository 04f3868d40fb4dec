#include <criterion/criterion.h>

#include "edge/tbl/metrics.h"
#include "shield/health.h"

static conf_t *conf_of(const char *text)
{
    conf_t *c;
    conf_error_t err;
    cr_assert_eq(conf_parse(span_str(text), "f", &c, &err), ERR_OK, "%d: %s", err.line, err.message);
    return c;
}

#define TWO "listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://a', 'http://b'] }]\n"

static const health_ask_t anyone = {.limit = 1000, .queue = 10}, last = {.last = true, .limit = 1000, .queue = 10};

static void end(health_server_t *s, health_result_t r, msec_t boot)
{
    health_end(s, r, 0, boot);
}

static void enter(health_server_t *s, const health_ask_t *ask, health_entry_t expected, msec_t boot)
{
    health_entry_t e = health_enter(s, ask, boot);
    cr_assert_eq(e, expected, "%d instead of %d", e, expected);
}

/* A request that was let in before and ends now. */
static void ends(health_server_t *s, health_result_t r, msec_t boot)
{
    enter(s, &(health_ask_t){.last = true, .limit = 1000}, HEALTH_GO, boot);
    end(s, r, boot);
}

static health_state_t state(health_server_t *s, msec_t boot)
{
    health_state_t out;
    health_read(s, boot, &out);
    return out;
}

typedef struct bench {
    conf_t *c;
    health_t *h;
    health_view_t *v;
    health_server_t *s;
} bench_t;

static bench_t set_up(void)
{
    bench_t b = {.c = conf_of(TWO), .h = health_new()};
    b.v = health_view_new(b.h, b.c);
    b.s = health_at(b.v, 0);
    return b;
}

static void tear_down(bench_t b)
{
    cr_expect_eq(health_in_flight(b.s), 0);
    health_view_unref(b.v);
    health_free(b.h);
    conf_unref(b.c);
}

static void eject(health_server_t *s, msec_t boot)
{
    for (int i = 0; i < HEALTH_FAILURES; i++)
        ends(s, HEALTH_FAILED, boot);
    cr_assert_not(state(s, boot).healthy);
}

/* A resource that hangs is not a server that hangs: others were answered since it was asked for. */
Test(health, silence_counts_only_where_nobody_is_answered)
{
    bench_t b = set_up();
    for (int i = 0; i < 3 * HEALTH_FAILURES; i++)
        enter(b.s, &anyone, HEALTH_GO, 1000);
    for (int i = 0; i < 2 * HEALTH_FAILURES; i++)
        health_end(b.s, HEALTH_SILENT, 1000, 16000 + i); /* asked at 1000; an answer at 1500 is what speaks for it: */
    cr_expect_not(state(b.s, 16000).healthy, "there was none");
    ends(b.s, HEALTH_OK, 20000);
    cr_assert(state(b.s, 20000).healthy);
    for (int i = 0; i < HEALTH_FAILURES; i++) {
        health_answered(b.s, 1000, 20001);
        health_end(b.s, HEALTH_SILENT, 20000, 21000);
    }
    health_state_t seen = state(b.s, 21000);
    cr_expect(seen.healthy);
    cr_expect_eq(seen.consecutive_failures, 0);
    cr_expect_eq(seen.failures, 3 * HEALTH_FAILURES, "but they are seen");
    tear_down(b);
}

Test(health, failures_in_a_row_eject)
{
    bench_t b = set_up();
    unsigned label = metrics_label_register(METRIC_DIM_UPSTREAM, SPAN("http://a"));
    uint64_t counted = metrics_value(METRIC_UPSTREAM_EJECTIONS, label);
    ends(b.s, HEALTH_FAILED, 1000);
    ends(b.s, HEALTH_FAILED, 1000);
    ends(b.s, HEALTH_OK, 1000);
    ends(b.s, HEALTH_FAILED, 1000);
    ends(b.s, HEALTH_FAILED, 1000);
    cr_assert(health_usable(b.s, 1000));
    cr_assert_str_eq(health_word(&(health_state_t){.healthy = true, .share = HEALTH_SHARE}), "closed");
    ends(b.s, HEALTH_FAILED, 1000);
    cr_assert_not(health_usable(b.s, 1000));
    enter(b.s, &anyone, HEALTH_OUT, 1999);
    cr_assert(health_usable(b.s, 2000));
    health_state_t now = state(b.s, 1500);
    cr_assert_eq(now.ejected_for, 500);
    cr_assert_not(now.healthy);
    cr_assert_eq(now.why, HEALTH_WHY_FAILURES);
    cr_assert_str_eq(health_word(&now), "open");
    cr_assert_eq(now.ejections, 1);
    cr_assert_eq(now.requests, 6);
    cr_assert_eq(now.failures, 5);
    cr_assert_eq(metrics_value(METRIC_UPSTREAM_EJECTIONS, label), counted + 1);
    cr_assert(health_usable(health_at(b.v, 1), 1000));
    tear_down(b);
}

Test(health, one_trial_at_a_time_and_longer_each_time)
{
    bench_t b = set_up();
    msec_t now = 1000, wait = HEALTH_BACKOFF_FIRST;
    for (int i = 0; i < 3; i++) /* under way when it is ejected */
        enter(b.s, &anyone, HEALTH_GO, now);
    eject(b.s, now);
    for (int i = 0; i < 3; i++)
        end(b.s, HEALTH_FAILED, now);
    for (int round = 0; round < 10; round++) {
        enter(b.s, &anyone, HEALTH_OUT, now + wait - 1);
        now += wait;
        cr_assert(health_usable(b.s, now));
        enter(b.s, &anyone, HEALTH_GO, now);
        enter(b.s, &anyone, HEALTH_OUT, now);
        cr_assert_not(health_usable(b.s, now));
        health_state_t trial = state(b.s, now);
        cr_assert_str_eq(health_word(&trial), "half-open");
        end(b.s, HEALTH_FAILED, now);
        wait = wait * 2 < HEALTH_BACKOFF_MOST ? wait * 2 : HEALTH_BACKOFF_MOST;
    }
    cr_assert_eq(wait, HEALTH_BACKOFF_MOST);
    now += wait;
    enter(b.s, &anyone, HEALTH_GO, now);
    /* A trial that tells nothing makes room for the next. */
    end(b.s, HEALTH_UNKNOWN, now);
    enter(b.s, &anyone, HEALTH_GO, now);
    enter(b.s, &anyone, HEALTH_OUT, now);
    end(b.s, HEALTH_OK, now);
    enter(b.s, &anyone, HEALTH_GO, now);
    enter(b.s, &anyone, HEALTH_GO, now);
    end(b.s, HEALTH_OK, now);
    end(b.s, HEALTH_OK, now);
    cr_assert(state(b.s, now).healthy);
    cr_assert_eq(state(b.s, now).consecutive_failures, 0);
    tear_down(b);
}

Test(health, who_fails_again_soon_stays_out_longer)
{
    bench_t b = set_up();
    eject(b.s, 1000);
    enter(b.s, &anyone, HEALTH_GO, 2000);
    end(b.s, HEALTH_OK, 2000);
    eject(b.s, 3000);
    cr_assert_eq(state(b.s, 3000).ejected_for, 2 * HEALTH_BACKOFF_FIRST);
    enter(b.s, &anyone, HEALTH_GO, 5000);
    end(b.s, HEALTH_OK, 5000);
    eject(b.s, 5000 + HEALTH_MEMORY);
    cr_assert_eq(state(b.s, 5000 + HEALTH_MEMORY).ejected_for, HEALTH_BACKOFF_FIRST);
    tear_down(b);
}

Test(health, a_trial_that_never_ends_is_not_waited_for)
{
    bench_t b = set_up();
    eject(b.s, 0);
    enter(b.s, &anyone, HEALTH_GO, 1000);
    enter(b.s, &anyone, HEALTH_OUT, 20000);
    enter(b.s, &anyone, HEALTH_GO, 31000);
    end(b.s, HEALTH_UNKNOWN, 31000);
    end(b.s, HEALTH_UNKNOWN, 31000);
    tear_down(b);
}

Test(health, answers_that_are_errors_eject_too)
{
    bench_t b = set_up();
    for (int i = 0; i < HEALTH_ERRORS; i++) {
        cr_assert(state(b.s, 0).healthy);
        ends(b.s, HEALTH_ERROR, 0);
    }
    cr_assert_eq(state(b.s, 0).why, HEALTH_WHY_ERRORS);
    /* as the last of its group it is asked without a limit, since it answers */
    enter(b.s, &anyone, HEALTH_OUT, 500);
    enter(b.s, &last, HEALTH_GO, 500);
    enter(b.s, &last, HEALTH_GO, 500);
    end(b.s, HEALTH_ERROR, 500);
    cr_assert_eq(state(b.s, 500).ejected_for, 500, "no trial, so no longer");
    end(b.s, HEALTH_OK, 500);
    cr_assert(state(b.s, 500).healthy);
    tear_down(b);
}

Test(health, half_of_the_requests_failing_ejects)
{
    bench_t b = set_up();
    for (int i = 0; i < HEALTH_RATE_LEAST - 1; i++)
        ends(b.s, i % 2 == 0 ? HEALTH_FAILED : HEALTH_OK, 100 * i);
    cr_assert(state(b.s, 2000).healthy, "too few to tell");
    ends(b.s, HEALTH_FAILED, 2000);
    cr_assert_eq(state(b.s, 2000).why, HEALTH_WHY_RATE);
    /* what was under way proves nothing, a trial does */
    ends(b.s, HEALTH_OK, 2000);
    cr_assert_not(state(b.s, 2000).healthy);
    enter(b.s, &anyone, HEALTH_GO, 3000);
    end(b.s, HEALTH_OK, 3000);
    cr_assert(state(b.s, 3000).healthy);
    ends(b.s, HEALTH_FAILED, 3000);
    cr_assert(state(b.s, 3000).healthy, "what was before is settled");
    tear_down(b);
    b = set_up();
    for (int i = 0; i < 40; i++)
        ends(b.s, i % 2 == 0 ? HEALTH_FAILED : HEALTH_OK, 800 * i);
    cr_assert(state(b.s, 32000).healthy, "spread over more than ten seconds");
    tear_down(b);
}

Test(health, it_comes_back_slowly)
{
    bench_t b = set_up();
    cr_assert_eq(health_share(b.s, 0), HEALTH_SHARE);
    eject(b.s, 0);
    enter(b.s, &anyone, HEALTH_GO, 1000);
    end(b.s, HEALTH_OK, 1000);
    cr_assert_eq(health_share(b.s, 1000), HEALTH_SHARE_FIRST);
    cr_assert_eq(health_share(b.s, 1000 + HEALTH_SLOW_START / 2), (HEALTH_SHARE + HEALTH_SHARE_FIRST) / 2);
    health_state_t slow = state(b.s, 2000);
    cr_assert_str_eq(health_word(&slow), "slow-start");
    cr_assert_eq(health_share(b.s, 1000 + HEALTH_SLOW_START), HEALTH_SHARE);
    tear_down(b);
}

Test(health, probes)
{
    bench_t b = set_up();
    const msec_t patience = 12000;
    health_probed(b.s, false, patience, 0);
    health_probed(b.s, false, patience, 5000);
    health_probed(b.s, true, patience, 10000);
    health_probed(b.s, false, patience, 15000);
    health_probed(b.s, false, patience, 20000);
    cr_assert(state(b.s, 20000).healthy);
    health_probed(b.s, false, patience, 25000);
    cr_assert_eq(state(b.s, 25000).why, HEALTH_WHY_PROBE);
    cr_assert_eq(state(b.s, 25000).ejected_for, patience);
    for (msec_t now = 30000; now < 3600 * 1000; now += 5000) {
        enter(b.s, &anyone, HEALTH_OUT, now); /* an hour long nobody but the probe asks it */
        health_probed(b.s, false, patience, now);
    }
    cr_assert_eq(state(b.s, 3600 * 1000).ejections, 1);
    ends(b.s, HEALTH_OK, 3600 * 1000); /* what was under way */
    cr_assert_not(state(b.s, 3600 * 1000).healthy);
    health_probed(b.s, true, patience, 3600 * 1000);
    cr_assert(state(b.s, 3600 * 1000).healthy);
    /* a probe that goes well is the trial of a server that requests took out, though not before its time */
    eject(b.s, 4000 * 1000);
    health_probed(b.s, true, patience, 4000 * 1000 + 999);
    cr_assert_not(state(b.s, 4000 * 1000 + 999).healthy);
    health_probed(b.s, true, patience, 4000 * 1000 + 1000);
    cr_assert(state(b.s, 4000 * 1000 + 1000).healthy);
    tear_down(b);
}

/* ---- places ---- */

typedef struct waiting {
    health_waiter_t w;
    int told;
} waiting_t;

static void told(health_waiter_t *w)
{
    CONTAINER_OF(w, waiting_t, w)->told++;
}

Test(health, places_are_handed_on_in_order)
{
    bench_t b = set_up();
    waiting_t w[4] = {{.w = {.run = told}}, {.w = {.run = told}}, {.w = {.run = told}}, {.w = {.run = told}}};
    health_ask_t ask = {.limit = 2, .queue = 3};
    enter(b.s, &ask, HEALTH_GO, 0);
    enter(b.s, &ask, HEALTH_GO, 0);
    enter(b.s, &ask, HEALTH_FULL, 0); /* doesn't want to wait */
    for (int i = 0; i < 3; i++) {
        ask.waiter = &w[i].w;
        enter(b.s, &ask, HEALTH_QUEUED, 0);
    }
    ask.waiter = &w[3].w;
    enter(b.s, &ask, HEALTH_FULL, 0);
    cr_assert_eq(state(b.s, 0).waiting, 3);
    cr_assert(health_leave(b.s, &w[1].w));
    end(b.s, HEALTH_OK, 0);
    cr_assert(w[0].told == 1 && w[0].w.granted && w[2].told == 0);
    cr_assert_eq(health_in_flight(b.s), 2, "the place was never free");
    cr_assert_not(health_leave(b.s, &w[0].w));
    end(b.s, HEALTH_UNKNOWN, 0);
    cr_assert(w[2].told == 1 && w[2].w.granted && w[1].told == 0);
    end(b.s, HEALTH_OK, 0);
    end(b.s, HEALTH_OK, 0);
    tear_down(b);
}

Test(health, the_last_is_tried_by_one_while_others_wait_for_how_it_ends)
{
    bench_t b = set_up();
    waiting_t w[2] = {{.w = {.run = told}}, {.w = {.run = told}}};
    health_ask_t ask = last;
    eject(b.s, 0);
    enter(b.s, &ask, HEALTH_GO, 10); /* long before its time is over */
    enter(b.s, &ask, HEALTH_OUT, 10);
    for (int i = 0; i < 2; i++) {
        ask.waiter = &w[i].w;
        enter(b.s, &ask, HEALTH_QUEUED, 10);
    }
    end(b.s, HEALTH_FAILED, 20);
    cr_assert(w[0].told == 1 && !w[0].w.granted && w[1].told == 1 && !w[1].w.granted, "one trial answers for all");
    ask.waiter = NULL;
    enter(b.s, &ask, HEALTH_GO, 30);
    ask.waiter = &w[0].w;
    enter(b.s, &ask, HEALTH_QUEUED, 30);
    ask.waiter = &w[1].w;
    enter(b.s, &ask, HEALTH_QUEUED, 30);
    end(b.s, HEALTH_UNKNOWN, 40);
    cr_assert(w[0].told == 2 && w[0].w.granted && w[1].told == 1, "the next one finds out");
    end(b.s, HEALTH_OK, 50);
    cr_assert(w[1].told == 2 && w[1].w.granted);
    end(b.s, HEALTH_OK, 50);
    tear_down(b);
}

Test(health, who_waits_is_sent_elsewhere_when_it_goes_out)
{
    bench_t b = set_up();
    waiting_t w = {.w = {.run = told}};
    health_ask_t ask = {.limit = 3, .queue = 3};
    for (int i = 0; i < 3; i++)
        enter(b.s, &ask, HEALTH_GO, 0);
    ask.waiter = &w.w;
    enter(b.s, &ask, HEALTH_QUEUED, 0);
    health_probed(b.s, false, 1000, 0);
    health_probed(b.s, false, 1000, 0);
    cr_assert_eq(w.told, 0);
    health_probed(b.s, false, 1000, 0);
    cr_assert(w.told == 1 && !w.w.granted);
    for (int i = 0; i < 3; i++)
        end(b.s, HEALTH_OK, 0);
    tear_down(b);
}

/* ---- budget, window ---- */

Test(budget, a_share_of_the_requests_and_a_floor)
{
    budget_t b;
    budget_init(&b);
    unsigned allowed = 0;
    for (int i = 0; i < 1000; i++)
        allowed += budget_retry(&b, 20, 1000);
    cr_assert_eq(allowed, BUDGET_FLOOR);
    for (int i = 0; i < 1000; i++)
        budget_request(&b, 2000);
    for (int i = 0; i < 1000; i++)
        allowed += budget_retry(&b, 20, 3000);
    cr_assert_eq(allowed, BUDGET_FLOOR + 200);
    cr_assert_not(budget_retry(&b, 20, 10999));
    cr_assert(budget_retry(&b, 20, 11000), "those of the first second are forgotten");
    budget_release(&b);
}

Test(window, forgets_second_by_second)
{
    window_t w = {0};
    for (msec_t s = 0; s < 25; s++) {
        window_now(&w, s * 1000)->all += 1;
        cr_assert_eq(window_sum(&w, s * 1000).all, s < WINDOW_SECONDS ? (uint32_t)s + 1 : WINDOW_SECONDS);
    }
    cr_assert_eq(window_sum(&w, 24999).all, 10);
    cr_assert_eq(window_sum(&w, 23000).all, 10, "a loop whose clock is a little behind");
    cr_assert_eq(window_sum(&w, 30000).all, 4);
    cr_assert_eq(window_sum(&w, 1000000).all, 0);
    window_now(&w, 1000000)->all++;
    cr_assert_eq(window_sum(&w, 1009999).all, 1);
    cr_assert_eq(window_sum(&w, 1010000).all, 0);
}

Test(health, state_survives_a_reload)
{
    conf_t *c = conf_of(TWO),
           *d = conf_of("listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://c', 'http://b'] }]\n");
    health_t *h = health_new();
    health_view_t *v = health_view_new(h, c);
    health_server_t *b = health_at(v, c->sites[0].origins[1].index);
    enter(b, &anyone, HEALTH_GO, 0);
    eject(b, 0);
    health_view_t *w = health_view_new(h, d);
    cr_assert_eq(health_count(w), 2);
    cr_assert_eq(health_at(w, d->sites[0].origins[1].index), b);
    health_view_unref(v);
    cr_assert_not(health_usable(b, 10));
    cr_assert_eq(health_in_flight(b), 1);
    cr_assert(span_eq(state(b, 0).url, SPAN("http://b")));
    health_end(b, HEALTH_OK, 0, 10);
    cr_assert_eq(health_in_flight(b), 0);
    health_view_unref(health_view_ref(w));
    health_view_unref(w);
    health_free(h);
    conf_unref(c);
    conf_unref(d);
}
