/* Remembers the nonces of authenticated tier requests for as long as they could be accepted again. Bounded: under more
 * requests than fit, the oldest are forgotten and everything sent before them is refused from then on, so the window in
 * which a request may arrive shrinks and a replay is still never let through. Threads: any; sharded by nonce, a lock a
 * shard.
 *
 * A wall clock that is set back doesn't shut the tier out for as long: nothing sent before that moment is accepted, as
 * after a start. (And as after a start, what was sent long ago, in the time that comes again, would be accepted once.)
 */
#ifndef BRINK_SHIELD_REPLAY_H
#define BRINK_SHIELD_REPLAY_H

#include "shield/tier.h"

typedef struct replay replay_t;

enum { REPLAY_DEFAULT_CAPACITY = 1 << 21 }; /* nonces; 8 bytes each at two thirds full, allocated as needed */

/* What was sent before the start can't be told from a replay of what the process before this one answered: it is
 * refused. */
replay_t *replay_new(now_t start, msec_t window, size_t capacity);
void replay_free(replay_t *r);
/* ERR_OK: new, and remembered now. ERR_EXISTS: seen, or sent too long ago to tell. Only after tier_verify said ERR_OK:
 * what is not authenticated must not fill the table. */
err_t replay_seen(replay_t *r, const tier_t *t, now_t now);
size_t replay_count(replay_t *r); /* nonces remembered */

#endif
