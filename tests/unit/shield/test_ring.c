#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "shield/ring.h"

enum { KEYS = 1000000 };

static char texts[RING_MAX_NODES][32];

static void ring_of(ring_t *r, size_t first, size_t n, const uint32_t *weights)
{
    span_t names[RING_MAX_NODES];
    for (size_t i = 0; i < n; i++) {
        snprintf(texts[first + i], sizeof texts[0], "http://10.0.0.%zu:8090", first + i + 1);
        names[i] = span_str(texts[first + i]);
    }
    ring_init(r, names, weights, n);
}

static digest_t key_of(uint64_t i)
{
    return hash_digest(span_of((const char *)&i, sizeof i));
}

Test(ring, is_balanced)
{
    ring_t r;
    size_t count[10] = {0};
    ring_of(&r, 0, 10, NULL);
    for (uint64_t i = 0; i < KEYS; i++)
        count[ring_owner(&r, key_of(i))]++;
    for (size_t i = 0; i < 10; i++)
        cr_assert_lt(fabs((double)count[i] / (KEYS / 10.0) - 1), 0.015, "node %zu has %zu keys", i, count[i]);
}

Test(ring, a_node_that_goes_takes_only_its_own_keys)
{
    ring_t ten, nine;
    ring_of(&ten, 0, 10, NULL);
    ring_of(&nine, 0, 9, NULL);
    size_t moved = 0;
    for (uint64_t i = 0; i < KEYS; i++) {
        size_t before = ring_owner(&ten, key_of(i)), after = ring_owner(&nine, key_of(i));
        if (before != 9)
            cr_assert_eq(before, after);
        moved += before != after;
    }
    cr_assert_leq((double)moved / KEYS, 1 / 10.0 + 0.005);
}

Test(ring, its_keys_go_to_all_the_others_and_to_the_next_in_order)
{
    ring_t ten, nine;
    ring_of(&ten, 0, 10, NULL);
    ring_of(&nine, 0, 9, NULL);
    size_t count[9] = {0}, total = 0;
    for (uint64_t i = 0; i < KEYS / 4; i++) {
        uint8_t order[RING_MAX_NODES];
        ring_order(&ten, key_of(i), order);
        if (order[0] != 9)
            continue;
        cr_assert_eq(order[1], ring_owner(&nine, key_of(i)));
        count[order[1]]++;
        total++;
    }
    for (size_t i = 0; i < 9; i++)
        cr_assert_lt(fabs((double)count[i] * 9 / (double)total - 1), 0.08);
}

Test(ring, the_order_of_the_list_means_nothing)
{
    ring_t a, b;
    span_t names[5] = {SPAN("a"), SPAN("b"), SPAN("c"), SPAN("d"), SPAN("e")}, turned[5];
    for (size_t i = 0; i < 5; i++)
        turned[i] = names[(i + 2) % 5];
    ring_init(&a, names, NULL, 5);
    ring_init(&b, turned, NULL, 5);
    for (uint64_t i = 0; i < 2000; i++) {
        uint8_t x[RING_MAX_NODES], y[RING_MAX_NODES];
        cr_assert_eq(ring_order(&a, key_of(i), x), 5);
        ring_order(&b, key_of(i), y);
        unsigned seen = 0;
        for (size_t j = 0; j < 5; j++) {
            cr_assert_eq(x[j], (y[j] + 2) % 5);
            seen |= 1u << x[j];
        }
        cr_assert_eq(seen, 31);
    }
}

Test(ring, weights)
{
    ring_t r, less;
    const uint32_t weights[4] = {1, 2, 3, 4}, changed[4] = {1, 2, 3, 8};
    size_t count[4] = {0};
    ring_of(&r, 0, 4, weights);
    ring_of(&less, 0, 4, changed);
    for (uint64_t i = 0; i < KEYS; i++) {
        size_t owner = ring_owner(&r, key_of(i)), then = ring_owner(&less, key_of(i));
        count[owner]++;
        /* A node that grows takes keys and gives none, and no others move. */
        cr_assert(then == owner || then == 3);
    }
    for (size_t i = 0; i < 4; i++)
        cr_assert_lt(fabs((double)count[i] / (KEYS / 10.0 * (double)(i + 1)) - 1), 0.015, "node %zu has %zu", i,
                     count[i]);
}

Test(ring, ceilings)
{
    ring_t r;
    span_t names[RING_MAX_NODES + 5];
    for (size_t i = 0; i < RING_MAX_NODES + 5; i++)
        names[i] = SPAN("x");
    ring_init(&r, names, NULL, RING_MAX_NODES + 5);
    cr_assert_eq(r.n, RING_MAX_NODES);
    ring_init(&r, names, NULL, 0);
    uint8_t order[RING_MAX_NODES];
    cr_assert_eq(ring_order(&r, key_of(1), order), 0);
}

/* What other nodes of the fleet compute must not change from version to version: these values are part of the protocol.
 */
Test(ring, is_the_same_in_every_version)
{
    ring_t r;
    ring_of(&r, 0, 8, NULL);
    char got[64] = "";
    for (uint64_t i = 0; i < 16; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%zu", ring_owner(&r, key_of(i)));
    cr_assert_str_eq(got, "2610314005661262");
}
