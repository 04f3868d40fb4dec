/* What most tests with Redis begin with: a server, and two nodes that are to use it. */
#ifndef BRINK_TESTS_PURGE_PAIR_H
#define BRINK_TESTS_PURGE_PAIR_H

#include "node.h"

extern test_redis_t redis;
extern test_node_t a, b; /* edge-1 and edge-2: their options may be changed before they are started */

void pair_setup(void);
void pair_teardown(void);

void ready(test_node_t *n); /* waits for it */
void both_ready(void);      /* starts both, and waits for them */
uint64_t head(test_node_t *n);
bool purged(test_node_t *n, const char *tag, uint64_t began);
int entries(void); /* of the stream */

#endif
