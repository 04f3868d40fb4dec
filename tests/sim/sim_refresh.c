/* Refreshing before anybody has to wait: popular responses early, mass refreshes at a pace. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/mem.h"
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

/* A soft purge of a tag that is on 100,000 responses, and visitors who ask for them all: the origin has never more than
 * `refill` validations at once and never two of one response, nobody waits, and what is shown meanwhile says that it is
 * stale. */
enum { MASS = 100 * 1000, MASS_REFILL = 50, MASS_SLOW = 8, MASS_VISITORS = 25 };

static unsigned mass_number(const world_call_t *c)
{
    return (unsigned)atoi(c->target + 1);
}

static void mass_fill(world_t *w)
{
    char path[16];
    for (unsigned i = 0; i < MASS; i++) {
        snprintf(path, sizeof path, "/%u", i);
        world_get(w, 0, path, NULL);
        world_answer(w, world_last_call(w), 200,
                     "cache-control: s-maxage=86400, stale-while-revalidate=86400\netag: \"1\"\ncache-tag: all", "old");
        if (i % 1000 == 999) {
            world_forget(w);
            world_forget_calls(w);
        }
    }
    world_forget(w);
    world_forget_calls(w);
}

Test(sim_refresh, a_soft_purge_of_100000_responses_is_no_stampede)
{
    char site[32];
    snprintf(site, sizeof site, "    refill: %d", MASS_REFILL);
    world_t *w = world_new(site, "memory: {size: 512MiB, max_object: 256KiB}");
    _Atomic uint32_t running[1] = {0};
    unsigned char *asked = mem_zalloc(MASS);
    size_t most = 0, total = 0, waited = 0, unmarked = 0, twice = 0, stale = 0, seen = 0;
    for (int i = 0; i < WORLD_LOOPS; i++)
        w->env[i].refreshing = running;
    mass_fill(w);
    world_purge(w, LEDGER_TAG, "all", MARK_SOFT);
    char path[16];
    for (size_t turn = 0; total < MASS && turn < 4 * (size_t)MASS; turn++) {
        for (int v = 0; v < MASS_VISITORS; v++) { /* each response is asked for again and again, a long way apart */
            snprintf(path, sizeof path, "/%zu", (turn * MASS_VISITORS + (size_t)v) * 7919 % MASS);
            world_client_t *c = world_get(w, (unsigned)v % WORLD_LOOPS, path, NULL);
            bool validated = asked[(turn * MASS_VISITORS + (size_t)v) * 7919 % MASS] == 2;
            waited += !c->done;
            unmarked += c->done && !validated && !world_says(c, "x-cache", "STALE");
            stale += c->done && world_says(c, "x-cache", "STALE");
        }
        for (; seen < w->calls; seen++, total++) {
            twice += asked[mass_number(w->call[seen])] != 0;
            asked[mass_number(w->call[seen])] = 1;
        }
        most = w->calls > most ? w->calls : most; /* all of them are open */
        size_t answers = w->calls / MASS_SLOW + 1;
        for (size_t i = 0; i < answers && i < w->calls; i++) {
            asked[mass_number(w->call[i])] = 2;
            world_answer(w, w->call[i], 304, "cache-control: s-maxage=86400, stale-while-revalidate=86400", "");
        }
        world_forget(w);
        world_forget_calls(w);
        seen = w->calls;
    }
    cr_expect_eq(most, MASS_REFILL, "%zu validations at once", most);
    cr_expect_eq(total, MASS, "%zu validations of %d responses", total, MASS);
    cr_expect_eq(twice, 0, "%zu responses were asked for twice", twice);
    cr_expect_eq(waited, 0, "%zu visitors waited", waited);
    cr_expect_eq(unmarked, 0, "%zu were shown something stale as fresh", unmarked);
    cr_expect_gt(stale, MASS / 2);
    free(asked);
    world_free(w);
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
