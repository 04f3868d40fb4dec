/* The memory tier: complete responses by the digest of their key, within a hard budget of bytes.
 *
 * Several objects may share a digest: the variants that Vary selects (RFC 9111 4.1). The budget counts objects with
 * their fields, keys and bodies, what was evicted but is still being sent, what fills in flight reserved, the index,
 * and the eviction policy's own memory.
 *
 * Threads: everything from any thread. A lookup takes one shard's lock shared, for a walk of one bucket; a hit takes no
 * exclusive lock. Changes are serialised by one mutex (a few hundred nanoseconds each), because one queue over all
 * shards keeps more than a queue a shard. Lock order: that mutex, then one shard. No lock is held when a callback runs.
 *
 * Ownership: the store holds a reference of its own to what it stores; what lookups return is a reference for the
 * caller. */
#ifndef BRINK_STORE_STORE_H
#define BRINK_STORE_STORE_H

#include "edge/base/err.h"
#include "edge/store/evict.h"
#include "edge/store/object.h"

enum {
    STORE_MAX_VARIANTS = 64, /* of one key; the oldest makes room */
    STORE_SHARDS = 256
};

typedef enum store_why {
    STORE_EVICTED,  /* for room: worth keeping elsewhere */
    STORE_REPLACED, /* by a newer response for the same variant */
    STORE_REMOVED,  /* store_remove, or a sweep's verdict */
    STORE_CROWDED   /* the oldest of too many variants */
} store_why_t;
enum { STORE_WHYS = 4 };

typedef struct store_options {
    uint64_t bytes;               /* hard budget */
    unsigned shards;              /* power of two, 0 = STORE_SHARDS */
    const evict_policy_t *policy; /* NULL = the default, evict_hindsight */
    /* The object left the store (the reference is the store's: take one to keep it). In whichever thread made it go. */
    void (*on_evict)(object_t *o, store_why_t why, void *arg);
    /* A lookup just made the second hit (or a later one, as long as OBJECT_ON_DISK isn't set): worth writing to disk.
     */
    void (*on_worthy)(object_t *o, void *arg);
    void *arg;
} store_options_t;

typedef struct store store_t;

typedef struct store_stats {
    uint64_t budget, used; /* bytes, `used` with everything named above */
    uint64_t objects, object_bytes, reserved;
    uint64_t inserted, refused; /* refused: no room even after eviction */
    uint64_t gone[STORE_WHYS];
} store_stats_t;

store_t *store_open(const store_options_t *options);
/* No other calls may be running. Objects that others still hold stay valid. on_evict is not called. */
void store_close(store_t *s);

/* The newest (meta.date, then response_time) of the digest's objects that `match` accepts; NULL if there is none.
 * `match` runs without locks; it must compare the key's text, and the selecting fields. Counts a hit. */
typedef bool store_match_fn(const object_t *o, void *arg);
object_t *store_lookup(store_t *s, digest_t digest, store_match_fn *match, void *arg);
/* The same without counting a hit: for looking on. */
object_t *store_peek(store_t *s, digest_t digest, store_match_fn *match, void *arg);
/* Calls `visit` for each of the digest's objects (at most STORE_MAX_VARIANTS), for marking them. */
void store_each(store_t *s, digest_t digest, void (*visit)(object_t *o, void *arg), void *arg);

/* Takes a reference of its own to a complete object that isn't in a store yet. Replaces the object of the same digest
 * and variant. `reserved`: what store_reserve gave for this body; passes to the object on success and stays the
 * caller's on error. ERR_TOO_BIG: no room for it; ERR_REFUSED: it is OBJECT_DEAD. ERR_EXISTS: it is stored already, or
 * it came from disk (OBJECT_FROM_DISK) and memory has the variant, which is then at least as new. */
err_t store_insert(store_t *s, object_t *o, uint64_t reserved);
/* Counts an object that isn't to be indexed (too large for memory) until its last reference goes. Errors and `reserved`
 * as with store_insert. */
err_t store_adopt(store_t *s, object_t *o, uint64_t reserved);
/* Takes it out and sets OBJECT_DEAD; false if it wasn't stored (any more). */
bool store_remove(store_t *s, object_t *o);
/* Room for a fill in flight, evicting as needed: true = `bytes` now count towards the budget until store_unreserve or
 * store_insert. False: can't be made (what is being sent can't be evicted); the fill then streams through uncached. */
bool store_reserve(store_t *s, uint64_t bytes);
void store_unreserve(store_t *s, uint64_t bytes);

/* Goes on with a walk over everything, about `steps` objects at a time; `*cursor` starts at 0 and is 0 again when the
 * walk is complete: then everything that was stored from its start to its end was visited at least once. Returns how
 * many were visited. `visit` answers what is to become of the object. */
typedef enum store_fate {
    STORE_KEEP,
    STORE_REMOVE, /* purged, or too old ever to be used again */
    STORE_DEMOTE  /* stale: to be evicted before anything that is fresh, unless it is asked for */
} store_fate_t;
typedef store_fate_t store_visit_fn(object_t *o, void *arg);
size_t store_sweep(store_t *s, uint64_t *cursor, size_t steps, store_visit_fn *visit, void *arg);

void store_stats(store_t *s, store_stats_t *out);

#endif
