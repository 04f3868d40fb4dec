/* Each policy on traces small enough to follow by hand, and all of them against what none may do. */
#include <criterion/criterion.h>

#include "edge/store/evict.h"

enum { N = 4096 };
static evict_item_t items[N];
static bool in[N];

/* A cache of `budget` bytes over items of which only the identity and the size matter. */
typedef struct cache {
    const evict_policy_t *policy;
    void *self;
    uint64_t budget, used;
} cache_t;

/* Sizes are in units of the items' size. */
static cache_t cache_new(const evict_policy_t *policy, uint64_t budget)
{
    memset(in, 0, sizeof in);
    budget *= EVICT_UNIT;
    return (cache_t){.policy = policy, .self = policy->create(budget), .budget = budget};
}

static bool cache_request(cache_t *c, unsigned key, size_t size)
{
    size *= EVICT_UNIT;
    if (in[key]) {
        evict_touch(&items[key]);
        if (c->policy->hit != NULL)
            c->policy->hit(c->self, &items[key]);
        return true;
    }
    while (c->used + size > c->budget) {
        evict_item_t *gone = c->policy->victim(c->self);
        cr_assert_not_null(gone);
        cr_assert(in[gone - items]);
        in[gone - items] = false;
        c->used -= evict_size(gone);
    }
    evict_item_init(&items[key], (uint64_t)(key + 1) * 0x9e3779b97f4a7c15u, size);
    c->policy->insert(c->self, &items[key]);
    in[key] = true;
    c->used += evict_size(&items[key]);
    return false;
}

static void cache_free(cache_t *c)
{
    for (unsigned i = 0; i < N; i++)
        if (in[i])
            c->policy->remove(c->self, &items[i]);
    cr_assert_null(c->policy->victim(c->self));
    c->policy->destroy(c->self);
}

Test(evict, lru_lets_the_oldest_go_that_was_not_hit)
{
    cache_t c = cache_new(&evict_lru, 3);
    for (unsigned k = 0; k < 3; k++)
        cache_request(&c, k, 1);
    cr_assert(cache_request(&c, 0, 1));
    cache_request(&c, 3, 1);
    cr_assert(in[0] && !in[1] && in[2] && in[3]);
    cache_request(&c, 4, 1);
    cr_assert(in[0] && !in[2] && in[3] && in[4], "the hit one stands behind what came before its promotion");
    cache_free(&c);
}

Test(evict, sieve_leaves_what_was_hit_in_its_place)
{
    cache_t c = cache_new(&evict_sieve, 3);
    for (unsigned k = 0; k < 3; k++)
        cache_request(&c, k, 1);
    cache_request(&c, 0, 1);
    cache_request(&c, 3, 1); /* the hand passes 0, takes 1 */
    cr_assert(in[0] && !in[1] && in[2] && in[3]);
    cache_request(&c, 4, 1); /* goes on at 2 */
    cr_assert(in[0] && !in[2] && in[3] && in[4]);
    cache_request(&c, 5, 1); /* 3 is young, but the hand is there and nobody asked for it */
    cr_assert(in[0] && !in[3] && in[4] && in[5]);
    cache_free(&c);
}

Test(evict, sieve_survives_removal_under_its_hand)
{
    cache_t c = cache_new(&evict_sieve, 4);
    for (unsigned k = 0; k < 4; k++)
        cache_request(&c, k, 1);
    cache_request(&c, 4, 1); /* takes 0; the hand is at 1 */
    c.policy->remove(c.self, &items[1]);
    in[1] = false;
    c.used -= EVICT_UNIT;
    cache_request(&c, 5, 1);
    cache_request(&c, 6, 1);
    cr_assert(!in[2] && in[3] && in[4] && in[5] && in[6]);
    cache_free(&c);
}

Test(evict, s3fifo_lets_a_scan_pass_through_the_small_queue)
{
    cache_t c = cache_new(&evict_s3fifo, 100);
    for (unsigned k = 0; k < 50; k++)
        cache_request(&c, k, 1);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned k = 0; k < 50; k++)
            cr_assert(cache_request(&c, k, 1));
    for (unsigned k = 1000; k < 2000; k++)
        cache_request(&c, k, 1);
    for (unsigned k = 0; k < 50; k++)
        cr_assert(in[k], "%u was hit twice and must not fall to a scan", k);
    cache_free(&c);
}

Test(evict, s3fifo_takes_what_comes_back_soon_into_the_main_queue)
{
    cache_t c = cache_new(&evict_s3fifo, 100);
    for (unsigned k = 0; k < 101; k++)
        cache_request(&c, k, 1);
    cr_assert_not(in[0]);
    cr_assert_not(cache_request(&c, 0, 1));
    for (unsigned k = 1000; k < 1085; k++)
        cache_request(&c, k, 1);
    cr_assert(in[0], "the ghost remembered it");
    cr_assert_not(in[1]);
    cache_free(&c);
}

Test(evict, s3fifo_forgets_a_ghost_after_a_main_queue_of_bytes)
{
    cache_t c = cache_new(&evict_s3fifo, 1000 * 64);
    cache_request(&c, 0, 64);
    for (unsigned k = 1; k < 3500; k++)
        cache_request(&c, k, 64);
    cache_request(&c, 0, 64); /* left more than 900 objects ago */
    for (unsigned k = 3500; k < 3500 + 500; k++)
        cache_request(&c, k, 64);
    for (unsigned k = 1; k < 601; k++)
        cache_request(&c, k, 64);
    cr_assert_not(in[0]);
    cache_free(&c);
}

Test(evict, gdsf_prefers_small_ones_and_ages)
{
    cache_t c = cache_new(&evict_gdsf, 1000);
    cache_request(&c, 0, 800);
    for (unsigned k = 1; k <= 20; k++)
        cache_request(&c, k, 10);
    cache_request(&c, 21, 10);
    cr_assert(!in[0], "one large against many small");
    for (unsigned k = 1; k <= 21; k++)
        cr_assert(in[k]);
    /* old small ones that nobody wants must go in the end */
    for (unsigned k = 100; k < 2000; k++) {
        cache_request(&c, k, 20);
        cache_request(&c, k, 20);
    }
    cr_assert_not(in[1]);
    cache_free(&c);
}

Test(evict, gdsf_counts_hits)
{
    cache_t c = cache_new(&evict_gdsf, 300);
    cache_request(&c, 0, 100);
    cache_request(&c, 1, 100);
    cache_request(&c, 2, 100);
    cache_request(&c, 0, 100);
    cache_request(&c, 2, 100);
    cache_request(&c, 3, 100);
    cr_assert(in[0] && !in[1] && in[2] && in[3]);
    cache_free(&c);
}

static const evict_policy_t *const all[] = {&evict_lru,      &evict_sieve, &evict_s3fifo,
                                            &evict_wtinylfu, &evict_gdsf,  &evict_hindsight};

Test(evict, every_policy_keeps_its_books_under_random_use)
{
    for (size_t p = 0; p < sizeof all / sizeof *all; p++) {
        cache_t c = cache_new(all[p], 20000);
        uint64_t x = 12345 + p, hits = 0;
        for (int i = 0; i < 200000; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            unsigned r = (unsigned)(x >> 40), key = (r % 64) * ((r >> 8) % 64);
            if (r % 31 == 0 && in[key]) {
                c.policy->remove(c.self, &items[key]);
                in[key] = false;
                c.used -= evict_size(&items[key]);
            } else if (r % 37 == 0 && c.used > 0) {
                evict_item_t *v = c.policy->victim(c.self);
                cr_assert_not_null(v);
                c.policy->keep(c.self, v);
            } else {
                hits += cache_request(&c, key, 1 + key % 97);
            }
            cr_assert_leq(c.used, c.budget);
        }
        cr_assert_gt(hits, 50000, "%s: %llu hits", all[p]->name, (unsigned long long)hits);
        cr_assert_eq(evict_by_name(all[p]->name), all[p]);
        cache_free(&c);
    }
    cr_assert_null(evict_by_name("clairvoyant"));
}

Test(evict, what_is_demoted_goes_first_unless_it_is_hit)
{
    for (size_t p = 0; p < sizeof all / sizeof *all; p++) {
        cache_t c = cache_new(all[p], 100);
        for (unsigned k = 0; k < 100; k++)
            cache_request(&c, k, 1);
        c.policy->demote(c.self, &items[97]);
        c.policy->demote(c.self, &items[98]);
        for (int hits = 0; hits < 2; hits++)
            cr_assert(cache_request(&c, 98, 1));
        cache_request(&c, 200, 1);
        cr_assert_not(in[97], "%s", all[p]->name);
        cr_assert(in[98] && in[200], "%s", all[p]->name);
        cache_free(&c);
    }
}

Test(evict, wtinylfu_keeps_a_scan_in_its_window)
{
    cache_t c = cache_new(&evict_wtinylfu, 100);
    for (unsigned round = 0; round < 4; round++)
        for (unsigned k = 0; k < 80; k++)
            cache_request(&c, k, 1);
    for (unsigned k = 1000; k < 2000; k++)
        cache_request(&c, k, 1);
    unsigned kept = 0;
    for (unsigned k = 0; k < 80; k++)
        kept += in[k];
    cr_assert_geq(kept, 60, "a scan stays in the window: %u", kept);
    cache_free(&c);
}

Test(evict, hindsight_knows_what_comes_back)
{
    enum { SIZE = 1024 };
    cache_t c = cache_new(&evict_hindsight, 100 * SIZE);
    for (unsigned k = 0; k < 50; k++)
        for (unsigned round = 0; round < 4; round++)
            cache_request(&c, k, SIZE);
    for (unsigned k = 1000; k < 3000; k++) /* until all that was popular is gone */
        cache_request(&c, k, SIZE);
    cr_assert_not(in[0]);
    for (unsigned k = 0; k < 50; k++)
        cache_request(&c, k, SIZE);
    for (unsigned k = 3000; k < 3300; k++)
        cache_request(&c, k, SIZE);
    unsigned kept = 0;
    for (unsigned k = 0; k < 50; k++)
        kept += in[k];
    cr_assert_gt(kept, 40, "asked for once since, but remembered: %u", kept);
    cache_free(&c);
}

/* ---- a workload that shifts ---- */

static uint64_t shift_random(uint64_t *x)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return *x >> 33;
}

/* Popularity that stands still, with one-hit wonders among it; and one that drifts: what is asked for is among the
 * latest few hundred. */
static unsigned shift_steady(uint64_t *x)
{
    uint64_t r = shift_random(x) % 3000;
    return shift_random(x) % 3 == 0 ? (unsigned)(1000 + r) : (unsigned)(r * r / 3000 * r / 3000 / 3);
}

static unsigned shift_drifting(uint64_t *x, unsigned at)
{
    uint64_t back = shift_random(x) % 1000 * (shift_random(x) % 1000) / 1000;
    return (unsigned)((at / 8 + 4000 - back) % N);
}

static unsigned shift_misses(const evict_policy_t *policy, bool first, bool second)
{
    cache_t c = cache_new(policy, 300 * 64);
    uint64_t x = 7;
    unsigned missed = 0;
    for (unsigned i = 0; first && i < 60000; i++)
        missed += !cache_request(&c, shift_steady(&x), 64);
    x = 8;
    for (unsigned i = 0; second && i < 60000; i++)
        missed += !cache_request(&c, shift_drifting(&x, i), 64);
    cache_free(&c);
    return missed;
}

/* Neither half may cost much more in the joined trace than by itself, and no policy that doesn't adapt is better. */
Test(evict, hindsight_follows_a_workload_that_shifts)
{
    unsigned alone = shift_misses(&evict_hindsight, true, false) + shift_misses(&evict_hindsight, false, true);
    unsigned joined = shift_misses(&evict_hindsight, true, true);
    cr_assert_leq(joined, alone + alone / 25, "%u joined, %u alone", joined, alone);
    for (size_t p = 0; p < sizeof all / sizeof *all; p++) {
        unsigned other = shift_misses(all[p], true, true);
        cr_log_info("%s %u, hindsight %u", all[p]->name, other, joined);
        cr_assert_leq(joined, other + other / 100, "%s: %u, hindsight %u", all[p]->name, other, joined);
    }
}

Test(evict, everything_hit_still_yields_a_victim)
{
    for (size_t p = 0; p < sizeof all / sizeof *all; p++) {
        cache_t c = cache_new(all[p], 100);
        for (unsigned k = 0; k < 100; k++)
            cache_request(&c, k, 1);
        for (unsigned round = 0; round < 5; round++)
            for (unsigned k = 0; k < 100; k++)
                cache_request(&c, k, 1);
        cache_request(&c, 200, 1);
        cr_assert(in[200]);
        cache_free(&c);
    }
}
