#include <criterion/criterion.h>

#include "edge/access/limiter.h"

enum { SECOND = 1000 * 1000 };

static digest_t client(uint64_t n)
{
    return (digest_t){.hi = n, .lo = ~n};
}

Test(limiter, a_burst_then_the_rate)
{
    limiter_t *l = limiter_new(64, 7);
    int64_t now = 5 * (int64_t)SECOND;
    for (int i = 0; i < 20; i++)
        cr_expect_eq(limiter_take(l, client(1), 10, 20, now), 0, "%d", i);
    cr_expect_eq(limiter_take(l, client(1), 10, 20, now), 100, "a tenth of a second for the next");
    cr_expect_eq(limiter_take(l, client(1), 10, 20, now + 40 * 1000), 60, "what was refused cost nothing");
    cr_expect_eq(limiter_take(l, client(1), 10, 20, now + 100 * 1000), 0);
    cr_expect_gt(limiter_take(l, client(1), 10, 20, now + 100 * 1000), 0);
    cr_expect_eq(limiter_take(l, client(2), 10, 20, now), 0, "another client has its own");
    int passed = 0;
    for (int64_t t = now + 100 * SECOND; t < now + 110 * (int64_t)SECOND; t += 1000)
        passed += limiter_take(l, client(1), 10, 20, t) == 0;
    cr_expect(passed >= 119 && passed <= 120, "%d in ten seconds: the burst and ten a second", passed);
    limiter_free(l);
}

/* Whoever is over the limit stays over it, however many others come. */
Test(limiter, a_flood_of_clients_frees_nobody_who_is_over_the_limit)
{
    limiter_t *l = limiter_new(64, 7);
    int64_t now = SECOND;
    while (limiter_take(l, client(1), 10, 100, now) == 0)
        ;
    for (uint64_t i = 2; i < 20000; i++)
        limiter_take(l, client(i), 10, 100, now);
    cr_expect_gt(limiter_take(l, client(1), 10, 100, now), 0);
    limiter_free(l);
}

Test(limiter, asking_takes_nothing_and_displaces_nobody)
{
    limiter_t *l = limiter_new(64, 7);
    int64_t now = SECOND;
    for (int i = 0; i < 10; i++)
        cr_expect_eq(limiter_wait(l, client(1), 1, 1, now), 0);
    cr_expect_eq(limiter_take(l, client(1), 1, 1, now), 0);
    cr_expect_eq(limiter_wait(l, client(1), 1, 1, now), 1000);
    for (uint64_t i = 2; i < 20000; i++)
        cr_expect_eq(limiter_wait(l, client(i), 1, 1, now), 0);
    cr_expect_eq(limiter_wait(l, client(1), 1, 1, now), 1000);
    cr_expect_eq(limiter_wait(l, client(1), 1, 1, now + SECOND), 0);
    limiter_free(l);
}

Test(limiter, extremes)
{
    limiter_t *l = limiter_new(1, 0);
    cr_expect_eq(limiter_take(l, client(1), 1, 1, 0), 0);
    cr_expect_eq(limiter_take(l, client(1), 1, 1, 0), 1000);
    cr_expect_eq(limiter_take(l, client(2), LIMITER_RATE_MOST, LIMITER_BURST_MOST, INT64_MAX / 2), 0);
    cr_expect_eq(limiter_take(l, client(3), 1, LIMITER_BURST_MOST, INT64_MAX / 2), 0);
    limiter_free(l);
    limiter_free(NULL);
}
