/* The memory tier: an index in shards for lookups, one eviction policy and one account of bytes over all of them.
 *
 * A shard is a chained hash table under a read-write lock that is held for the walk of a bucket; what is found is
 * referenced there and judged after the lock is gone. Whoever changes something holds the store's mutex first, so an
 * object's place in index and policy change together, and takes a shard exclusively only for the change of a pointer.
 *
 * What is used is a number that reservations raise by compare-and-swap, so objects never pass the budget, not for a
 * moment (a table that doubles may, by its own size, until the insertion is over). Bytes come back when the last
 * reference to an object goes (account.h): evicting what is still being sent would free nothing, so such objects are
 * kept, and when nothing else is left the reservation fails. */
#include "edge/store/store.h"

#include <pthread.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

enum {
    STORE_BUCKETS_LEAST = 16,
    STORE_BATCH = 64,  /* objects that leave in one go */
    STORE_PINNED = 64, /* objects in use that are passed over in one search for room */
    STORE_ROUNDS = 64,
    STORE_WORTHY_HITS = 2
};

typedef struct store_shard {
    _Alignas(64) pthread_rwlock_t lock;
    object_t **buckets;
    size_t n, count; /* n is a power of two */
} store_shard_t;

struct store {
    store_shard_t *shards;
    unsigned shard_n;
    const evict_policy_t *policy;
    uint64_t budget;
    account_t *account;
    void (*on_evict)(object_t *o, store_why_t why, void *arg);
    void (*on_worthy)(object_t *o, void *arg);
    void *arg;

    pthread_mutex_t mutex; /* before any shard's lock; guards what follows, and object->stored */
    void *evict;
    size_t evict_overhead; /* as charged */
    uint64_t objects, object_bytes, inserted, gone[STORE_WHYS];

    _Atomic uint64_t reserved, refused;
};

/* Objects that left the store under its mutex, to be reported and released after it. */
typedef struct store_leaving {
    object_t *o[STORE_BATCH];
    store_why_t why[STORE_BATCH];
    size_t n;
} store_leaving_t;

static bool store_has(const object_t *o)
{
    return (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_STORED) != 0;
}

static void store_set(object_t *o, bool stored)
{
    if (stored)
        atomic_fetch_or_explicit(&o->flags, OBJECT_STORED, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&o->flags, (uint16_t)~OBJECT_STORED, memory_order_relaxed);
}

static store_shard_t *store_shard(store_t *s, digest_t d)
{
    return &s->shards[d.hi & (s->shard_n - 1)];
}

static object_t **store_bucket(store_shard_t *h, digest_t d)
{
    return &h->buckets[d.lo & (h->n - 1)];
}

store_t *store_open(const store_options_t *options)
{
    store_t *s = mem_zalloc(sizeof *s);
    s->shard_n = options->shards != 0 ? options->shards : STORE_SHARDS;
    CHECK((s->shard_n & (s->shard_n - 1)) == 0);
    s->policy = options->policy != NULL ? options->policy : &evict_hindsight;
    s->budget = options->bytes;
    s->on_evict = options->on_evict;
    s->on_worthy = options->on_worthy;
    s->arg = options->arg;
    s->account = mem_zalloc(sizeof *s->account);
    account_charge(s->account, 1); /* the store's own share */
    pthread_mutex_init(&s->mutex, NULL);
    s->evict = s->policy->create(s->budget);
    s->evict_overhead = s->policy->overhead(s->evict);
    s->shards = aligned_alloc(64, s->shard_n * sizeof *s->shards);
    CHECK(s->shards != NULL);
    for (unsigned i = 0; i < s->shard_n; i++) {
        store_shard_t *h = &s->shards[i];
        *h = (store_shard_t){.n = STORE_BUCKETS_LEAST};
        h->buckets = mem_zalloc(h->n * sizeof *h->buckets);
        /* without this a stream of readers could keep a writer out for ever */
        pthread_rwlockattr_t attr;
        pthread_rwlockattr_init(&attr);
        pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&h->lock, &attr);
        pthread_rwlockattr_destroy(&attr);
    }
    account_charge(s->account, sizeof *s + s->evict_overhead +
                                   s->shard_n * (sizeof *s->shards + STORE_BUCKETS_LEAST * sizeof *s->shards->buckets));
    return s;
}

/* ---- leaving ---- */

/* Under the mutex. The store's reference moves to `leaving`. */
static void store_unlink(store_t *s, object_t *o, bool in_policy, store_why_t why, store_leaving_t *leaving)
{
    CHECK(store_has(o) && leaving->n < STORE_BATCH);
    if (in_policy)
        s->policy->remove(s->evict, &o->evict);
    store_shard_t *h = store_shard(s, o->digest);
    pthread_rwlock_wrlock(&h->lock);
    object_t **at = store_bucket(h, o->digest);
    while (*at != o)
        at = &(*at)->chain;
    *at = o->chain;
    o->chain = NULL;
    h->count--;
    pthread_rwlock_unlock(&h->lock);
    store_set(o, false);
    if (why != STORE_EVICTED)
        atomic_fetch_or_explicit(&o->flags, OBJECT_DEAD, memory_order_release);
    s->objects--;
    s->object_bytes -= evict_size(&o->evict);
    s->gone[why]++;
    leaving->o[leaving->n] = o;
    leaving->why[leaving->n++] = why;
}

static void store_let_go(store_t *s, store_leaving_t *leaving)
{
    for (size_t i = 0; i < leaving->n; i++) {
        if (s->on_evict != NULL)
            s->on_evict(leaving->o[i], leaving->why[i], s->arg);
        object_unref(leaving->o[i]);
    }
    leaving->n = 0;
}

void store_close(store_t *s)
{
    if (s == NULL)
        return;
    uint64_t own = sizeof *s + s->evict_overhead + s->shard_n * sizeof *s->shards;
    for (unsigned i = 0; i < s->shard_n; i++) {
        store_shard_t *h = &s->shards[i];
        for (size_t b = 0; b < h->n; b++)
            for (object_t *o; (o = h->buckets[b]) != NULL;) {
                h->buckets[b] = o->chain;
                o->chain = NULL;
                store_set(o, false);
                s->policy->remove(s->evict, &o->evict);
                object_unref(o);
            }
        own += h->n * sizeof *h->buckets;
        free(h->buckets);
        pthread_rwlock_destroy(&h->lock);
    }
    s->policy->destroy(s->evict);
    pthread_mutex_destroy(&s->mutex);
    account_release(s->account, own + 1);
    free(s->shards);
    free(s);
}

/* ---- room ---- */

/* Adds to what is used unless that would pass the budget. */
static bool store_take(store_t *s, uint64_t bytes)
{
    uint64_t used = atomic_load_explicit(&s->account->used, memory_order_relaxed);
    do {
        if (bytes > s->budget || used > s->budget - bytes)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&s->account->used, &used, used + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static bool store_make_room(store_t *s, uint64_t bytes)
{
    for (int round = 0; round < STORE_ROUNDS; round++) {
        if (store_take(s, bytes))
            return true;
        if (bytes > s->budget)
            break;
        store_leaving_t leaving = {.n = 0};
        evict_item_t *pinned[STORE_PINNED];
        size_t pinned_n = 0;
        pthread_mutex_lock(&s->mutex);
        uint64_t used = atomic_load_explicit(&s->account->used, memory_order_relaxed), freed = 0;
        while (leaving.n < STORE_BATCH && pinned_n < STORE_PINNED && used + bytes > s->budget + freed) {
            evict_item_t *item = s->policy->victim(s->evict);
            if (item == NULL)
                break;
            object_t *o = CONTAINER_OF(item, object_t, evict);
            if (atomic_load_explicit(&o->refs, memory_order_relaxed) > 1) {
                pinned[pinned_n++] = item;
                continue;
            }
            freed += evict_size(item);
            store_unlink(s, o, false, STORE_EVICTED, &leaving);
        }
        for (size_t i = 0; i < pinned_n; i++)
            s->policy->keep(s->evict, pinned[i]);
        pthread_mutex_unlock(&s->mutex);
        bool nothing = leaving.n == 0 && used + bytes > s->budget;
        store_let_go(s, &leaving);
        if (nothing)
            break;
    }
    atomic_fetch_add_explicit(&s->refused, 1, memory_order_relaxed);
    return false;
}

bool store_reserve(store_t *s, uint64_t bytes)
{
    if (!store_make_room(s, bytes))
        return false;
    atomic_fetch_add_explicit(&s->reserved, bytes, memory_order_relaxed);
    return true;
}

void store_unreserve(store_t *s, uint64_t bytes)
{
    uint64_t before = atomic_fetch_sub_explicit(&s->reserved, bytes, memory_order_relaxed);
    CHECK(before >= bytes);
    account_release(s->account, bytes);
}

/* ---- in ---- */

/* Under the mutex. The index may pass the budget by the growth of one shard's table; the next insertion makes up for
 * it. */
static void store_grow(store_t *s, store_shard_t *h)
{
    size_t n = h->n * 2;
    object_t **fresh = mem_zalloc(n * sizeof *fresh), **old = h->buckets;
    account_charge(s->account, (n - h->n) * sizeof *fresh);
    pthread_rwlock_wrlock(&h->lock);
    for (size_t b = 0; b < h->n; b++)
        for (object_t *o = old[b], *next; o != NULL; o = next) {
            next = o->chain;
            o->chain = fresh[o->digest.lo & (n - 1)];
            fresh[o->digest.lo & (n - 1)] = o;
        }
    h->buckets = fresh;
    h->n = n;
    pthread_rwlock_unlock(&h->lock);
    free(old);
}

/* By Date (RFC 9111 4), which counts whole seconds; what had none got ours, which counts milliseconds. */
static bool store_older(const object_t *a, const object_t *b)
{
    stored_t x = object_meta(a), y = object_meta(b);
    msec_t of_a = x.date / MSEC_PER_SEC, of_b = y.date / MSEC_PER_SEC;
    return of_a != of_b ? of_a < of_b : x.response_time < y.response_time;
}

/* What an object will be charged: what was here before and is still referenced is still counted. */
static uint64_t store_need(const object_t *o)
{
    bool charged = (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_CHARGED) != 0;
    uint64_t own = charged ? 0 : object_own_bytes(o);
    bool shared = atomic_load_explicit(&object_body(o)->account, memory_order_relaxed) != NULL;
    return own + (shared ? 0 : body_bytes(object_body(o)));
}

/* Under the mutex. */
static uint64_t store_charge(store_t *s, object_t *o)
{
    bool before = (atomic_fetch_or_explicit(&o->flags, OBJECT_CHARGED, memory_order_relaxed) & OBJECT_CHARGED) != 0;
    uint64_t charged = before ? 0 : object_own_bytes(o);
    if (atomic_load_explicit(&object_body(o)->account, memory_order_relaxed) == NULL) {
        atomic_store_explicit(&object_body(o)->account, s->account, memory_order_relaxed);
        charged += body_bytes(object_body(o));
    }
    return charged;
}

/* What was reserved has become what the object is charged; the rest goes back. */
static void store_reservation_spent(store_t *s, uint64_t given, uint64_t charged)
{
    atomic_fetch_sub_explicit(&s->reserved, given, memory_order_relaxed);
    account_release(s->account, given - charged);
}

err_t store_insert(store_t *s, object_t *o, uint64_t reserved)
{
    CHECK(body_state(object_body(o)) == BODY_COMPLETE);
    if (object_dead(o))
        return ERR_REFUSED;
    uint64_t need = store_need(o);
    if (need > reserved && !store_reserve(s, need - reserved))
        return ERR_TOO_BIG;
    uint64_t given = need > reserved ? need : reserved;

    store_leaving_t leaving = {.n = 0};
    pthread_mutex_lock(&s->mutex);
    store_shard_t *h = store_shard(s, o->digest);
    object_t *same = NULL, *oldest = NULL;
    size_t variants = 0;
    for (object_t *k = *store_bucket(h, o->digest); k != NULL; k = k->chain) {
        if (!hash_eq(k->digest, o->digest))
            continue;
        if (object_variant(k) == object_variant(o))
            same = k;
        else if (variants++, oldest == NULL || store_older(k, oldest))
            oldest = k;
    }
    /* what came from disk while somebody stored the same variant is the older one, whatever its Date says */
    bool late = same != NULL && (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_FROM_DISK) != 0;
    if (store_has(o) || late) {
        pthread_mutex_unlock(&s->mutex);
        if (need > reserved)
            store_unreserve(s, need - reserved);
        return ERR_EXISTS;
    }
    if (same != NULL)
        store_unlink(s, same, true, STORE_REPLACED, &leaving);
    else if (variants >= STORE_MAX_VARIANTS)
        store_unlink(s, oldest, true, STORE_CROWDED, &leaving);
    if (h->count >= h->n)
        store_grow(s, h);

    uint64_t charged = store_charge(s, o);
    evict_item_init(&o->evict, o->digest.lo ^ object_variant(o), object_bytes(o));
    s->policy->insert(s->evict, &o->evict);
    size_t overhead = s->policy->overhead(s->evict);
    if (overhead > s->evict_overhead)
        account_charge(s->account, overhead - s->evict_overhead);
    else
        account_release(s->account, s->evict_overhead - overhead);
    s->evict_overhead = overhead;
    store_set(o, true);
    s->objects++;
    s->object_bytes += evict_size(&o->evict);
    s->inserted++;
    object_ref(o);
    pthread_rwlock_wrlock(&h->lock);
    object_t **at = store_bucket(h, o->digest);
    o->chain = *at;
    *at = o;
    h->count++;
    pthread_rwlock_unlock(&h->lock);
    pthread_mutex_unlock(&s->mutex);

    store_reservation_spent(s, given, charged);
    store_let_go(s, &leaving);
    if (atomic_load_explicit(&s->account->used, memory_order_relaxed) > s->budget) /* a table has grown */
        (void)store_make_room(s, 0);
    return ERR_OK;
}

err_t store_adopt(store_t *s, object_t *o, uint64_t reserved)
{
    uint64_t need = store_need(o);
    if (need > reserved && !store_reserve(s, need - reserved))
        return ERR_TOO_BIG;
    pthread_mutex_lock(&s->mutex);
    uint64_t charged = store_charge(s, o);
    pthread_mutex_unlock(&s->mutex);
    store_reservation_spent(s, need > reserved ? need : reserved, charged);
    return ERR_OK;
}

bool store_remove(store_t *s, object_t *o)
{
    store_leaving_t leaving = {.n = 0};
    pthread_mutex_lock(&s->mutex);
    if (store_has(o))
        store_unlink(s, o, true, STORE_REMOVED, &leaving);
    pthread_mutex_unlock(&s->mutex);
    bool was = leaving.n > 0;
    store_let_go(s, &leaving);
    return was;
}

static void store_demote(store_t *s, object_t *o)
{
    pthread_mutex_lock(&s->mutex);
    if (store_has(o))
        s->policy->demote(s->evict, &o->evict);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- looking ---- */

/* References to all objects of the digest; at most STORE_MAX_VARIANTS. */
static size_t store_collect(store_t *s, digest_t digest, object_t **found)
{
    size_t n = 0;
    store_shard_t *h = store_shard(s, digest);
    pthread_rwlock_rdlock(&h->lock);
    for (object_t *o = *store_bucket(h, digest); o != NULL && n < STORE_MAX_VARIANTS; o = o->chain)
        if (hash_eq(o->digest, digest))
            found[n++] = object_ref(o);
    pthread_rwlock_unlock(&h->lock);
    return n;
}

object_t *store_peek(store_t *s, digest_t digest, store_match_fn *match, void *arg)
{
    object_t *found[STORE_MAX_VARIANTS], *best = NULL;
    size_t n = store_collect(s, digest, found);
    for (size_t i = 0; i < n; i++) {
        object_t *lost = found[i];
        if ((best == NULL || store_older(best, lost)) && match(lost, arg)) {
            lost = best;
            best = found[i];
        }
        object_unref(lost);
    }
    return best;
}

object_t *store_lookup(store_t *s, digest_t digest, store_match_fn *match, void *arg)
{
    object_t *o = store_peek(s, digest, match, arg);
    if (o == NULL)
        return NULL;
    evict_touch(&o->evict);
    if (s->policy->hit != NULL)
        s->policy->hit(s->evict, &o->evict);
    uint32_t hits = atomic_load_explicit(&o->hits, memory_order_relaxed);
    if (hits < UINT32_MAX)
        atomic_store_explicit(&o->hits, ++hits, memory_order_relaxed);
    if (hits >= STORE_WORTHY_HITS && s->on_worthy != NULL &&
        (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_ON_DISK) == 0)
        s->on_worthy(o, s->arg);
    return o;
}

void store_each(store_t *s, digest_t digest, void (*visit)(object_t *o, void *arg), void *arg)
{
    object_t *found[STORE_MAX_VARIANTS];
    size_t n = store_collect(s, digest, found);
    for (size_t i = 0; i < n; i++) {
        visit(found[i], arg);
        object_unref(found[i]);
    }
}

/* The cursor is shard << 32 | bucket. When a table doubles while the walk is in it, bucket b becomes b and b + n: the
 * walk goes on at its bucket and meets what moved later, some of it twice. A bucket is visited whole. */
size_t store_sweep(store_t *s, uint64_t *cursor, size_t steps, store_visit_fn *visit, void *arg)
{
    uint32_t shard = (uint32_t)(*cursor >> 32), bucket = (uint32_t)*cursor;
    size_t visited = 0, looked = 0;
    while (shard < s->shard_n && visited < steps && looked < steps + STORE_BUCKETS_LEAST) {
        store_shard_t *h = &s->shards[shard];
        object_t **found = NULL;
        size_t n = 0, cap = 0;
        pthread_rwlock_rdlock(&h->lock);
        size_t buckets = h->n;
        for (; bucket < buckets && n == 0; bucket++, looked++)
            for (object_t *o = h->buckets[bucket]; o != NULL; o = o->chain) {
                if (n == cap) {
                    cap = cap == 0 ? 8 : cap * 2;
                    found = mem_realloc(found, cap * sizeof *found);
                }
                found[n++] = object_ref(o);
            }
        pthread_rwlock_unlock(&h->lock);
        for (size_t i = 0; i < n; i++, visited++) {
            store_fate_t fate = visit(found[i], arg);
            if (fate == STORE_REMOVE)
                store_remove(s, found[i]);
            else if (fate == STORE_DEMOTE)
                store_demote(s, found[i]);
            object_unref(found[i]);
        }
        free(found);
        if (bucket >= buckets)
            shard++, bucket = 0;
    }
    *cursor = shard < s->shard_n ? (uint64_t)shard << 32 | bucket : 0;
    return visited;
}

void store_stats(store_t *s, store_stats_t *out)
{
    *out = (store_stats_t){.budget = s->budget};
    pthread_mutex_lock(&s->mutex);
    out->objects = s->objects;
    out->object_bytes = s->object_bytes;
    out->inserted = s->inserted;
    memcpy(out->gone, s->gone, sizeof out->gone);
    pthread_mutex_unlock(&s->mutex);
    out->used = atomic_load_explicit(&s->account->used, memory_order_relaxed);
    out->reserved = atomic_load_explicit(&s->reserved, memory_order_relaxed);
    out->refused = atomic_load_explicit(&s->refused, memory_order_relaxed);
}
