#include "pair.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

test_redis_t redis;
test_node_t a, b;

void pair_setup(void)
{
    test_redis_start(&redis);
    test_node_init(&a, "edge-1", &redis);
    test_node_init(&b, "edge-2", &redis);
}

void pair_teardown(void)
{
    test_node_drop(&a);
    test_node_drop(&b);
    test_redis_drop(&redis);
}

void ready(test_node_t *n)
{
    TEST_WAIT(purge_ready(n->p));
}

void both_ready(void)
{
    test_node_start(&a, false);
    test_node_start(&b, false);
    ready(&a);
    ready(&b);
}

uint64_t head(test_node_t *n)
{
    return ledger_head(purge_ledger(n->p));
}

bool purged(test_node_t *n, const char *tag, uint64_t began)
{
    return test_node_check(n, "h/a", tag, began) == MARK_HARD;
}

int entries(void)
{
    return atoi(test_redis(&redis, "XLEN brink:purge"));
}
