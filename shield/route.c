/* A request's way: the owner in the ring, the next in order when that fails, then the origin (if the operator wants
 * that), each layer with its own count of tries. What is ejected is passed over; but where everything is ejected,
 * somebody is tried all the same, because an answer that probably fails is better than one that certainly does. */
#include "shield/route.h"

#include "edge/base/check.h"

static uint64_t route_bit(size_t i)
{
    return 1ULL << i;
}

static uint64_t route_all(size_t n)
{
    return n >= ROUTE_MAX ? ~0ULL : route_bit(n) - 1;
}

static route_target_t route_take(route_t *r, route_kind_t kind, size_t index, bool forced)
{
    r->last = (route_target_t){.kind = kind, .index = index, .forced = forced};
    if (kind == ROUTE_SHIELD) {
        r->tried_shield |= route_bit(index);
        r->shield_tries++;
    } else if (kind == ROUTE_ORIGIN) {
        r->tried_origin |= route_bit(index);
        r->origin_tries++;
    }
    return r->last;
}

static bool route_first(const route_choice_t *c, uint64_t among, size_t *index)
{
    for (size_t i = 0; i < c->shield_n; i++) {
        *index = c->shield_order[i];
        if (among & route_bit(*index))
            return true;
    }
    return false;
}

static bool route_shield(route_t *r, const route_choice_t *c, route_target_t *out)
{
    size_t index;
    if (r->shield_tries >= 1 + (c->retries > 1 ? c->retries : 1))
        return false;
    uint64_t all = route_all(c->shield_n) & ~r->silent_shield;
    uint64_t among = all & c->shield_usable & ~r->tried_shield;
    if (route_first(c, among, &index)) {
        /* Only the next one takes its keys: further on nobody would find them again. */
        size_t next;
        if (c->shield_avoid & route_bit(index) && route_first(c, among & ~route_bit(index), &next) &&
            !(c->shield_avoid & route_bit(next)))
            index = next;
        *out = route_take(r, ROUTE_SHIELD, index, false);
        return true;
    }
    if (c->fall_back || r->optional)
        return false;
    /* Nowhere else to go: the ejected ones, then the same again. */
    if (route_first(c, all & ~r->tried_shield, &index) || route_first(c, all, &index)) {
        *out = route_take(r, ROUTE_SHIELD, index, true);
        return true;
    }
    return false;
}

static uint32_t route_weight(const route_choice_t *c, size_t i)
{
    return c->origin_weight == NULL ? 1 : c->origin_weight[i] > 0 ? c->origin_weight[i] : 1;
}

/* One of the set, by weight. */
static size_t route_draw(const route_choice_t *c, uint64_t among, uint32_t random)
{
    uint64_t total = 0;
    for (uint64_t set = among; set != 0; set &= set - 1)
        total += route_weight(c, (size_t)__builtin_ctzll(set));
    uint64_t point = (total * random) >> 32;
    size_t i = 0;
    for (uint64_t set = among; set != 0; set &= set - 1) {
        i = (size_t)__builtin_ctzll(set);
        if (point < route_weight(c, i))
            break;
        point -= route_weight(c, i);
    }
    return i;
}

/* Two at random, the less loaded of them: nearly as good as the least loaded of all, and edges don't stampede to the
 * same one. */
static size_t route_balance(const route_choice_t *c, uint64_t among)
{
    size_t a = route_draw(c, among, (uint32_t)c->random);
    uint64_t others = among & ~route_bit(a);
    if (others == 0 || c->origin_in_flight == NULL)
        return a;
    size_t b = route_draw(c, others, (uint32_t)(c->random >> 32));
    uint64_t load_a = (uint64_t)c->origin_in_flight[a] * route_weight(c, b),
             load_b = (uint64_t)c->origin_in_flight[b] * route_weight(c, a);
    return load_b < load_a ? b : a;
}

/* The first of these sets with a member. */
static bool route_prefer(const uint64_t *sets, size_t n, uint64_t *among)
{
    for (size_t i = 0; i < n; i++)
        if ((*among = sets[i]) != 0)
            return true;
    return false;
}

static bool route_origin(route_t *r, const route_choice_t *c, route_target_t *out)
{
    if (c->origin_n == 0 || r->origin_tries >= 1 + c->retries)
        return false;
    uint64_t all = route_all(c->origin_n) & ~r->silent_origin, usable = all & c->origin_usable,
             fresh = usable & ~r->tried_origin;
    uint64_t first = ~c->origin_backup, room = ~c->origin_full, among;
    enum { UNTRIED = 4 };
    const uint64_t well[] = {fresh & first & room, fresh & first, fresh & room, fresh,
                             /* a second try of the same one finds a fresh connection */
                             usable & first, usable};
    const uint64_t not_well[] = {all & first & ~r->tried_origin, all & ~r->tried_origin, all & first, all};
    bool forced = !route_prefer(well, r->untried ? UNTRIED : sizeof well / sizeof *well, &among);
    if (forced && (r->optional || all == 0))
        return false;
    if (forced)
        route_prefer(not_well, sizeof not_well / sizeof *not_well, &among);
    *out = route_take(r, ROUTE_ORIGIN, route_balance(c, among), forced);
    return true;
}

route_target_t route_next(route_t *r, const route_choice_t *choice)
{
    route_target_t out;
    CHECK(choice->shield_n <= ROUTE_MAX && choice->origin_n <= ROUTE_MAX);
    bool shield = choice->shield_n > 0 && !r->no_shield;
    if (!r->ended && shield && r->origin_tries == 0 && route_shield(r, choice, &out))
        return out;
    if (!r->ended && (!shield || choice->fall_back) && route_origin(r, choice, &out))
        return out;
    r->ended = true;
    return r->last = (route_target_t){.kind = ROUTE_NONE};
}

void route_failed(route_t *r, route_failure_t how)
{
    if ((how == ROUTE_SENT || how == ROUTE_TIMED_OUT) && !r->idempotent)
        r->ended = true;
    if (how == ROUTE_TIMED_OUT && r->last.kind == ROUTE_SHIELD)
        r->silent_shield |= route_bit(r->last.index);
    else if (how == ROUTE_TIMED_OUT && r->last.kind == ROUTE_ORIGIN)
        r->silent_origin |= route_bit(r->last.index);
    if (how != ROUTE_NOT_ADMITTED)
        return;
    if (r->last.kind == ROUTE_SHIELD)
        r->shield_tries--;
    else if (r->last.kind == ROUTE_ORIGIN)
        r->origin_tries--;
}
