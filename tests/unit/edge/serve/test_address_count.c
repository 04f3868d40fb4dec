#include <criterion/criterion.h>
#include <string.h>

#include "edge/serve/address_count.h"

static network_address_t address(unsigned n)
{
    network_address_t a = {{0}};
    memcpy(a.bytes, &n, sizeof n);
    return a;
}

Test(address_count, an_address_has_so_many)
{
    address_count_t *c = address_count_new(100, 1);
    network_address_t a = address(1), b = address(2);
    for (int i = 0; i < 3; i++)
        cr_expect(address_count_take(c, &a, 3));
    cr_expect_not(address_count_take(c, &a, 3));
    cr_expect(address_count_take(c, &b, 3), "another has its own");
    address_count_give(c, &a);
    cr_expect(address_count_take(c, &a, 3));
    for (int i = 0; i < 3; i++)
        address_count_give(c, &a);
    cr_expect_eq(address_count_addresses(c), 1, "what has none is forgotten");
    address_count_give(c, &b);
    cr_expect_eq(address_count_addresses(c), 0);
    address_count_free(c);
    address_count_free(NULL);
}

/* Against plain counters, over many additions and removals in a table as full as it gets. */
Test(address_count, agrees_with_plain_counters)
{
    enum { ADDRESSES = 64, ROUNDS = 200000 };
    static unsigned count[ADDRESSES];
    address_count_t *c = address_count_new(ADDRESSES, 7);
    unsigned random = 1, addresses = 0;
    for (int i = 0; i < ROUNDS; i++) {
        random = random * 1103515245 + 12345;
        unsigned n = (random >> 16) % ADDRESSES;
        network_address_t a = address(n);
        if (random >> 8 & 1) {
            bool taken = address_count_take(c, &a, 5);
            cr_assert_eq(taken, count[n] < 5);
            addresses += taken && count[n] == 0;
            count[n] += taken;
        } else if (count[n] > 0) {
            address_count_give(c, &a);
            addresses -= --count[n] == 0;
        }
        if (i % 1000 == 0)
            cr_assert_eq(address_count_addresses(c), addresses);
    }
    address_count_free(c);
}
