/* Refreshing before anybody has to wait: popular responses early, mass refreshes at a pace. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "world.h"

Test(sim_refresh, a_popular_response_is_refreshed_before_it_expires)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/hot", NULL);
    world_pass(w, 100); /* the origin takes 100 ms */
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=2", "1");
    size_t waited = 0, answered = 0;
    for (int ms = 0; ms < 10000; ms += 5) { /* 200 requests a second, five lifetimes */
        world_client_t *c = world_get(w, (unsigned)ms % WORLD_LOOPS, "/hot", NULL);
        waited += !c->done;
        answered++;
        world_leave(w, c);
        world_pass(w, 5);
        if (world_last_call(w)->open && ms % 100 == 95)
            world_answer(w, world_last_call(w), 200, "cache-control: max-age=2", "n");
    }
    cr_expect_leq(waited * 100, answered, "%zu of %zu requests waited for the origin", waited, answered);
    cr_expect_leq(w->calls, 12, "%zu fetches in ten seconds of a lifetime of two", w->calls);
    cr_expect_geq(w->calls, 5);
    world_free(w);
}

/* A sequence of its own, so that every run is the same. */
static unsigned chance(uint64_t *seed, unsigned n)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)((*seed >> 33) % n);
}

/* 1,000 requests a second at random on ten keys of 2 s lifetime, from an origin that takes 100 ms: 100 a second each,
 * the least that counts as popular. */
static void load(bool early, size_t *waited, size_t *fetches)
{
    enum { KEYS = 10, WARM = 500, TIME = 10000 };
    world_t *w = world_new(early ? NULL : "    early_refresh: off", NULL);
    uint64_t seed = 1;
    msec_t due[WORLD_CALLS];
    size_t answered = 0, known = 0;
    *waited = *fetches = 0;
    for (int ms = 0; ms < WARM + TIME; ms++) {
        char path[8];
        snprintf(path, sizeof path, "/%u", chance(&seed, KEYS));
        if (w->clients == WORLD_CLIENTS - 1)
            world_forget(w);
        world_client_t *c = world_get(w, (unsigned)ms % WORLD_LOOPS, path, NULL);
        *waited += ms >= WARM && !c->done;
        while (known < w->calls)
            due[known++] = ms + 100;
        for (; answered < w->calls && due[answered] <= ms; answered++)
            world_answer(w, w->call[answered], 200, "cache-control: max-age=2", "n");
        world_pass(w, 1);
    }
    *fetches = w->calls;
    while (answered < w->calls)
        world_answer(w, w->call[answered++], 200, "cache-control: max-age=2", "n");
    world_free(w);
}

Test(sim_refresh, at_a_steady_load_next_to_nobody_waits)
{
    size_t waited, fetches, waited_off, fetches_off;
    load(true, &waited, &fetches);
    load(false, &waited_off, &fetches_off);
    cr_expect_leq(waited, 10000 / 100, "%zu of 10000 requests waited", waited);
    cr_expect_geq(waited_off, 300, "without it %zu did", waited_off);
    cr_expect_leq(fetches, fetches_off * 5 / 2, "%zu fetches, %zu without", fetches, fetches_off);
    fprintf(stderr, "early refresh: %zu of 10000 requests waited, %zu without; %zu fetches, %zu without\n", waited,
            waited_off, fetches, fetches_off);
}

Test(sim_refresh, a_quiet_response_and_a_site_that_says_off_see_no_extra_fetch)
{
    static const char *const sites[] = {NULL, "    early_refresh: off"};
    for (int i = 0; i < 2; i++) {
        world_t *w = world_new(sites[i], NULL);
        world_get(w, 0, "/a", NULL);
        world_pass(w, 100);
        world_answer(w, world_last_call(w), 200, "cache-control: max-age=2", "1");
        int step = i == 0 ? 50 : 5; /* 20 a second; or 200, but switched off */
        for (int ms = 0; ms < 1900; ms += step) {
            cr_expect(world_get(w, 0, "/a", NULL)->done);
            world_pass(w, step);
        }
        cr_expect_eq(w->calls, 1);
        world_free(w);
    }
}

Test(sim_refresh, after_a_mass_purge_the_origin_is_asked_at_a_pace)
{
    world_t *w = world_new("    refill: 3", NULL);
    _Atomic uint32_t running[1] = {0};
    for (int i = 0; i < WORLD_LOOPS; i++)
        w->env[i].refreshing = running;
    char path[16];
    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof path, "/%d", i);
        world_get(w, 0, path, NULL);
        world_answer(w, world_last_call(w), 200, "cache-control: s-maxage=60, stale-while-revalidate=60\ncache-tag: t",
                     "old");
    }
    size_t before = w->calls;
    world_purge(w, LEDGER_TAG, "t", MARK_SOFT);
    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof path, "/%d", i);
        world_client_t *c = world_get(w, (unsigned)i % WORLD_LOOPS, path, NULL);
        cr_expect(c->done && world_says(c, "x-cache", "STALE"), "nobody waits");
    }
    cr_expect_eq(w->calls, before + 3, "%zu at once", w->calls - before);
    world_answer(w, w->call[before], 200, "cache-control: s-maxage=60", "new");
    world_get(w, 0, "/10", NULL);
    cr_expect_eq(w->calls, before + 4, "one ended, so one more may begin");
    while (w->call[before + 1]->open)
        world_end(w, w->call[before + 1], UPSTREAM_REFUSED);
    world_free(w);
    cr_expect_eq(running[0], 0, "every one is given back, however it ended");
}
