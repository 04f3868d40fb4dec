/* Which node of a tier owns a key: weighted rendezvous hashing. Pure.
 *
 * Every node gets a score for the key, from nothing but its own name, its weight and the key's digest; the nodes in
 * falling order of score are where to try. So all edges agree without talking, a node that goes takes only its own keys
 * with it, and the order of the configured list means nothing. */
#ifndef BRINK_SHIELD_RING_H
#define BRINK_SHIELD_RING_H

#include "edge/base/hash.h"

enum { RING_MAX_NODES = 64 };

typedef struct ring {
    size_t n;
    bool weighted; /* some weight differs */
    uint64_t seed[RING_MAX_NODES];
    double weight[RING_MAX_NODES];
} ring_t;

/* Names (URLs of the nodes) identify; weights > 0, NULL for all equal. n <= RING_MAX_NODES, more are left out. Keeps no
 * pointer. */
void ring_init(ring_t *r, const span_t *names, const uint32_t *weights, size_t n);
/* Indexes of all nodes, best first. Returns their number. */
size_t ring_order(const ring_t *r, digest_t key, uint8_t out[RING_MAX_NODES]);
/* The first of them; the ring must not be empty. */
size_t ring_owner(const ring_t *r, digest_t key);

#endif
