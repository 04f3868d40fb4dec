/* What malloc loses and connections take, against the budget of memory: a process that keeps every page it ever had. */
#include <criterion/criterion.h>

#include "edge/base/block.h"
#include "edge/node_memory.h"
#include "tests/unit/edge/store/make.h"

enum { MIB = 1024 * 1024, BUDGET = 64 * MIB, BODY = 256 * 1024, TURN = 1000 };

static store_t *full_store(void)
{
    store_t *s = store_open(&(store_options_t){.bytes = BUDGET, .shards = 4});
    for (uint64_t n = 0; n < 2 * BUDGET / BODY; n++) {
        object_t *o = make_object(n, BODY);
        store_insert(s, o, 0);
        object_unref(o);
    }
    return s;
}

static uint64_t used(store_t *s)
{
    store_stats_t st;
    store_stats(s, &st);
    cr_assert_leq(st.used, st.budget);
    return st.used;
}

static uint64_t objects(store_t *s)
{
    store_stats_t st;
    store_stats(s, &st);
    return st.object_bytes;
}

TestSuite(memory, .timeout = 60);

Test(memory, within_its_limits_a_node_uses_the_whole_budget)
{
    store_t *s = full_store();
    node_memory_t m;
    node_memory_init(&m, s, BUDGET);
    uint64_t before = objects(s);
    cr_assert_gt(before, BUDGET * 9 / 10);
    node_memory_tick(&m, BUDGET + NODE_MEMORY_FREE, TURN);
    node_memory_tick(&m, 0, 2 * TURN); /* unknown */
    cr_expect_eq(m.held, 0);
    cr_expect_eq(objects(s), before);
    store_close(s);
}

Test(memory, what_is_lost_is_taken_out_of_the_budget_and_given_back)
{
    store_t *s = full_store();
    node_memory_t m;
    node_memory_init(&m, s, BUDGET);
    node_memory_tick(&m, BUDGET + NODE_MEMORY_FREE + 2 * MIB, TURN);
    cr_expect_eq(m.held, 2 * MIB * NODE_MEMORY_GAIN, "held at once, however little grew");
    cr_expect_leq(objects(s), BUDGET - m.held);
    cr_expect_gt(used(s), BUDGET * 9 / 10);
    node_memory_tick(&m, BUDGET + NODE_MEMORY_FREE + MIB, 2 * TURN);
    cr_expect_eq(m.held, 2 * MIB * NODE_MEMORY_GAIN, "a little less: no change");
    node_memory_tick(&m, (uint64_t)BUDGET * 10, 3 * TURN);
    cr_expect_eq(m.held, BUDGET / NODE_MEMORY_MOST, "never all of it");
    cr_expect_leq(objects(s), BUDGET - m.held);
    node_memory_tick(&m, BUDGET, 4 * TURN);
    cr_expect_eq(m.held, 0);
    cr_assert(store_reserve(s, BUDGET / 2));
    store_unreserve(s, BUDGET / 2);
    store_close(s);
}

Test(memory, a_budget_that_is_being_sent_is_held_back_later)
{
    store_t *s = store_open(&(store_options_t){.bytes = BUDGET, .shards = 4});
    node_memory_t m;
    node_memory_init(&m, s, BUDGET);
    uint64_t most = BUDGET - used(s) - MIB;
    cr_assert(store_reserve(s, most));
    node_memory_tick(&m, BUDGET + NODE_MEMORY_FREE + 8 * MIB, TURN);
    cr_expect_eq(m.held, 0);
    store_unreserve(s, most);
    node_memory_tick(&m, BUDGET + NODE_MEMORY_FREE + 8 * MIB, 2 * TURN);
    cr_expect_eq(m.held, BUDGET / NODE_MEMORY_MOST);
    store_unreserve(s, m.held);
    store_close(s);
}

/* Fragmentation of a tenth, in a process that never gives back a page, settles well below what is allowed: 64 MiB. */
Test(memory, what_is_resident_settles)
{
    uint64_t budget = 1536ull * MIB, high = 0;
    store_t *s = store_open(&(store_options_t){.bytes = budget, .shards = 4});
    node_memory_t m;
    node_memory_init(&m, s, budget);
    for (int i = 0; i < 100; i++) {
        uint64_t full = budget - m.held, resident = full + full * i / 1000 + 12 * MIB;
        high = resident > high ? resident : high;
        node_memory_tick(&m, high, i * TURN);
    }
    cr_expect_leq(high, budget + 64 * MIB, "%llu MiB over", (unsigned long long)(high - budget) / MIB);
    cr_expect_geq(budget - m.held, budget * 85 / 100);
    store_unreserve(s, m.held);
    store_close(s);
}

Test(memory, blocks_that_are_kept_for_the_next_body_are_not_lost)
{
    enum { BLOCK = 6 * MIB };
    uint64_t before = node_memory_resident();
    if (before == 0)
        return; /* a sanitizer */
    char *p = block_alloc(BLOCK);
    memset(p, 1, BLOCK);
    cr_expect_gt(node_memory_resident(), before + BLOCK / 2);
    block_free(p, BLOCK);
    cr_expect_eq(block_kept(), BLOCK);
    cr_expect_lt(node_memory_resident(), before + BLOCK / 2);
}
