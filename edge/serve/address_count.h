/* How many connections each client address has, over all workers. Any thread. */
#ifndef BRINK_SERVE_ADDRESS_COUNT_H
#define BRINK_SERVE_ADDRESS_COUNT_H

#include "edge/access/network.h"

typedef struct address_count address_count_t;

/* `connections`: how many are counted at most at a time (the ceiling on all of them): the table never grows. */
address_count_t *address_count_new(size_t connections, uint64_t seed);
void address_count_free(address_count_t *c);
/* Counts one more connection unless the address has `most` already: false. `address` as network_client made it. */
bool address_count_take(address_count_t *c, const network_address_t *address, size_t most);
/* Takes back what address_count_take counted. */
void address_count_give(address_count_t *c, const network_address_t *address);
/* Addresses that have connections. */
size_t address_count_addresses(address_count_t *c);

#endif
