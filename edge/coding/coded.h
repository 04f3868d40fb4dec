/* Coded forms of stored responses. Each is an object of its own in the memory tier, beside the one that it was made of:
 * counted and evicted by its own popularity, swept with the same purges. It has no life of its own: it is found through
 * the identity form alone, after that has been found usable (fresh, not purged), and only if it was made of the very
 * response that is there now (object_same). So whatever happens to the identity form (a purge, a new response, a
 * restart) leaves a coded form that nobody finds. It never goes to disk. Any thread. */
#ifndef BRINK_CODING_CODED_H
#define BRINK_CODING_CODED_H

#include "edge/http/coding.h"
#include "edge/store/store.h"

/* The coded form of `o` that memory has, with a reference; counts a hit. NULL: none. */
object_t *coded_find(store_t *s, const object_t *o, coding_t c);
/* The same, for looking on. */
object_t *coded_peek(store_t *s, const object_t *o, coding_t c);
/* Stores bytes as the coded form of `o`, which is complete. Errors as of store_insert. */
err_t coded_keep(store_t *s, const object_t *o, coding_t c, span_t bytes);
/* A 304 has freshened `from`: what was made of its content is what would be made of that of `to`. */
void coded_carry(store_t *s, const object_t *from, object_t *to);

#endif
