#include <criterion/criterion.h>

#include "shield/route.h"

static const uint8_t order[] = {2, 0, 1};
static uint32_t load[ROUTE_MAX];

static route_choice_t choice(void)
{
    return (route_choice_t){.shield_order = order,
                            .shield_n = 3,
                            .shield_usable = 7,
                            .fall_back = true,
                            .origin_n = 2,
                            .origin_usable = 3,
                            .origin_in_flight = load,
                            .retries = 1,
                            .random = 0};
}

static void next(route_t *r, const route_choice_t *c, route_kind_t kind, size_t index, bool forced)
{
    route_target_t t = route_next(r, c);
    cr_assert_eq(t.kind, kind, "kind %d", t.kind);
    if (kind != ROUTE_NONE) {
        cr_assert_eq(t.index, index, "index %zu", t.index);
        cr_assert_eq(t.forced, forced);
    }
}

Test(route, owner_then_next_then_origin_then_other_origin)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = true};
    next(&r, &c, ROUTE_SHIELD, 2, false);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_SHIELD, 0, false);
    route_failed(&r, ROUTE_UNSENT);
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_ORIGIN, 1, false);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_NONE, 0, false);
    next(&r, &c, ROUTE_NONE, 0, false);
}

/* Waiting for the same silent server again would take as long again. */
Test(route, who_was_silent_is_not_asked_again)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = true};
    c.retries = 3;
    next(&r, &c, ROUTE_SHIELD, 2, false);
    route_failed(&r, ROUTE_TIMED_OUT);
    next(&r, &c, ROUTE_SHIELD, 0, false);
    route_failed(&r, ROUTE_TIMED_OUT);
    next(&r, &c, ROUTE_SHIELD, 1, false);
    route_failed(&r, ROUTE_TIMED_OUT);
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    route_failed(&r, ROUTE_TIMED_OUT);
    next(&r, &c, ROUTE_ORIGIN, 1, false);
    route_failed(&r, ROUTE_TIMED_OUT);
    next(&r, &c, ROUTE_NONE, 0, false);
    route_t post = {.idempotent = false};
    next(&post, &c, ROUTE_SHIELD, 2, false);
    route_failed(&post, ROUTE_TIMED_OUT);
    next(&post, &c, ROUTE_NONE, 0, false);
}

Test(route, without_fallback_it_ends_at_the_shield)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = true};
    c.fall_back = false;
    next(&r, &c, ROUTE_SHIELD, 2, false);
    route_failed(&r, ROUTE_UNSENT);
    next(&r, &c, ROUTE_SHIELD, 0, false);
    route_failed(&r, ROUTE_UNSENT);
    next(&r, &c, ROUTE_NONE, 0, false);
}

Test(route, what_may_have_been_acted_on_is_not_repeated)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = false};
    next(&r, &c, ROUTE_SHIELD, 2, false);
    route_failed(&r, ROUTE_UNSENT);
    next(&r, &c, ROUTE_SHIELD, 0, false);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_NONE, 0, false);
}

Test(route, ejected_nodes_are_passed_over)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = true};
    c.shield_usable = 2;
    next(&r, &c, ROUTE_SHIELD, 1, false);
    route_failed(&r, ROUTE_UNSENT);
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    r = (route_t){.idempotent = true};
    c.shield_usable = 0;
    next(&r, &c, ROUTE_ORIGIN, 0, false);
}

Test(route, the_last_is_never_left_out)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = true};
    c.shield_usable = 0;
    c.fall_back = false;
    next(&r, &c, ROUTE_SHIELD, 2, true);
    route_failed(&r, ROUTE_UNSENT);
    next(&r, &c, ROUTE_SHIELD, 0, true);
    r = (route_t){.idempotent = true, .no_shield = true};
    c.origin_usable = 0;
    c.origin_n = 1;
    next(&r, &c, ROUTE_ORIGIN, 0, true);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_ORIGIN, 0, true);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_NONE, 0, false);
}

Test(route, a_single_origin_is_tried_again)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = true};
    c.shield_n = 0;
    c.origin_n = 1;
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_NONE, 0, false);
    r = (route_t){.idempotent = true};
    c.retries = 0;
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    route_failed(&r, ROUTE_SENT);
    next(&r, &c, ROUTE_NONE, 0, false);
}

Test(route, the_less_loaded_of_two)
{
    route_choice_t c = choice();
    c.shield_n = 0;
    load[0] = 5, load[1] = 4;
    route_t r = {.idempotent = true};
    next(&r, &c, ROUTE_ORIGIN, 1, false);
    load[1] = 6;
    r = (route_t){.idempotent = true};
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    load[0] = load[1] = 0;
    size_t count[2] = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        r = (route_t){.idempotent = true};
        c.random = i * 0x9e3779b97f4a7c15ULL;
        count[route_next(&r, &c).index]++;
    }
    cr_assert_gt(count[0], 400);
    cr_assert_gt(count[1], 400);
}

Test(route, only_what_was_not_tried)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = true, .untried = true, .optional = true};
    c.shield_n = 0, c.retries = 3;
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    next(&r, &c, ROUTE_ORIGIN, 1, false);
    next(&r, &c, ROUTE_NONE, 0, false);
    r = (route_t){.idempotent = true, .untried = true, .optional = true};
    c.origin_backup = 1;
    next(&r, &c, ROUTE_ORIGIN, 1, false);
    next(&r, &c, ROUTE_ORIGIN, 0, false);
    r = (route_t){.idempotent = true, .untried = true, .optional = true};
    c.origin_usable = 2;
    next(&r, &c, ROUTE_ORIGIN, 1, false);
    next(&r, &c, ROUTE_NONE, 0, false);
}

Test(route, what_was_not_admitted_was_no_try)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = false};
    next(&r, &c, ROUTE_SHIELD, 2, false);
    route_failed(&r, ROUTE_NOT_ADMITTED);
    c.shield_usable = 3;
    next(&r, &c, ROUTE_SHIELD, 0, false);
    route_failed(&r, ROUTE_UNSENT);
    next(&r, &c, ROUTE_SHIELD, 1, false);
    route_failed(&r, ROUTE_UNSENT);
    next(&r, &c, ROUTE_ORIGIN, 0, false);
}

Test(route, without_an_origin)
{
    route_choice_t c = choice();
    route_t r = {.idempotent = true};
    c.origin_n = 0;
    c.shield_n = 0;
    next(&r, &c, ROUTE_NONE, 0, false);
    c = choice();
    c.shield_n = ROUTE_MAX;
    static uint8_t all[ROUTE_MAX];
    for (size_t i = 0; i < ROUTE_MAX; i++)
        all[i] = (uint8_t)(ROUTE_MAX - 1 - i);
    c.shield_order = all;
    c.shield_usable = ~0ULL;
    r = (route_t){.idempotent = true};
    next(&r, &c, ROUTE_SHIELD, 63, false);
}
