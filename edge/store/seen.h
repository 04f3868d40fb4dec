/* What was seen once before: two Bloom filters, of which the older one is emptied when the newer one is full. Tells
 * what comes back from what is asked for once in a lifetime, at 4 bytes a key.
 *
 * Threads: any, at any time; two that see the same key at once may both be the first. */
#ifndef BRINK_STORE_SEEN_H
#define BRINK_STORE_SEEN_H

#include <stdbool.h>
#include <stddef.h>

#include "edge/base/hash.h"

typedef struct seen seen_t;

/* Remembers the latest n to 2n keys. */
seen_t *seen_new(size_t n);
void seen_free(seen_t *s); /* NULL is fine */
/* Was it seen before? From now on it was. Wrong in 1 of 500 cases. */
bool seen_before(seen_t *s, digest_t digest);
/* Had most of the last few thousand been seen before? Then what is new will come back as well. */
bool seen_mostly(const seen_t *s);
size_t seen_bytes(size_t n); /* of memory that seen_new(n) takes */

#endif
