/* Each shard keeps two generations of a hash set. New nonces go into the younger; when that is a window old, or full,
 * the older one is thrown away whole and the younger takes its place. What is thrown away raises the floor: nothing
 * sent at or before its latest time is accepted again. If it was thrown away because of its age, that is true anyway;
 * if for want of room, the floor is what makes forgetting safe. */
#include "shield/replay.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/hash.h"
#include "edge/base/mem.h"

enum {
    REPLAY_SHARDS = 16,
    REPLAY_FIRST = 64,
    REPLAY_STEP =
        MSEC_PER_SEC /* by less than that both clocks may seem to move apart: they are read one after the other */
};

typedef struct replay_set {
    uint64_t *slots;      /* 0: empty; open addressing */
    size_t size, n;       /* size: power of two, or 0 */
    msec_t began, latest; /* first arrival by our clock, latest sending time by theirs */
} replay_set_t;

typedef struct replay_shard {
    pthread_mutex_t mutex; /* guards all below */
    replay_set_t young, old;
    msec_t floor;
    msec_t ahead; /* of the wall clock before the other one */
} replay_shard_t;

struct replay {
    msec_t window;
    size_t most;   /* in one generation of a shard */
    uint64_t seed; /* the place of a nonce can't be chosen from outside */
    replay_shard_t shards[REPLAY_SHARDS];
};

replay_t *replay_new(now_t start, msec_t window, size_t capacity)
{
    replay_t *r = mem_zalloc(sizeof *r);
    size_t most = capacity / (2 * REPLAY_SHARDS);
    r->window = window;
    r->most = most > 0 ? most : 1;
    CHECK(RAND_bytes((unsigned char *)&r->seed, sizeof r->seed) == 1);
    for (size_t i = 0; i < REPLAY_SHARDS; i++) {
        pthread_mutex_init(&r->shards[i].mutex, NULL);
        r->shards[i].floor = start.wall - 1;
        r->shards[i].ahead = start.wall - start.boot;
    }
    return r;
}

void replay_free(replay_t *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < REPLAY_SHARDS; i++) {
        free(r->shards[i].young.slots);
        free(r->shards[i].old.slots);
        pthread_mutex_destroy(&r->shards[i].mutex);
    }
    free(r);
}

/* Where it is, or the empty slot where it would be. */
static size_t replay_slot(const replay_set_t *s, uint64_t nonce)
{
    size_t at = (nonce >> 8) & (s->size - 1); /* the lowest bits chose the shard */
    while (s->slots[at] != 0 && s->slots[at] != nonce)
        at = (at + 1) & (s->size - 1);
    return at;
}

static bool replay_has(const replay_set_t *s, uint64_t nonce)
{
    return s->n > 0 && s->slots[replay_slot(s, nonce)] == nonce;
}

static void replay_grow(replay_set_t *s)
{
    replay_set_t bigger = *s;
    bigger.size = s->size == 0 ? REPLAY_FIRST : s->size * 2;
    bigger.slots = mem_zalloc(bigger.size * sizeof *bigger.slots);
    for (size_t i = 0; i < s->size; i++)
        if (s->slots[i] != 0)
            bigger.slots[replay_slot(&bigger, s->slots[i])] = s->slots[i];
    free(s->slots);
    *s = bigger;
}

static void replay_rotate(replay_shard_t *shard)
{
    if (shard->old.n > 0 && shard->old.latest > shard->floor)
        shard->floor = shard->old.latest;
    free(shard->old.slots);
    shard->old = shard->young;
    shard->young = (replay_set_t){.size = 0};
}

static bool replay_expired(const replay_set_t *s, msec_t window, msec_t wall)
{
    return s->n == 0 || wall - s->latest > window;
}

/* The clock was set. Where it was set back, the floor and what is remembered may lie in its future, and everything that
 * is sent would be taken for a replay until it is there again. Beyond the window nothing is let in, so there nothing
 * need be remembered either. */
static void replay_clock(replay_t *r, replay_shard_t *s, now_t now)
{
    msec_t by = now.wall - now.boot - s->ahead;
    if (by > -REPLAY_STEP && by < REPLAY_STEP)
        return;
    s->ahead += by;
    replay_set_t *sets[] = {&s->young, &s->old};
    for (size_t i = 0; i < 2; i++) {
        sets[i]->began += by;
        if (sets[i]->latest > now.wall + r->window)
            sets[i]->latest = now.wall + r->window;
    }
    if (s->floor >= now.wall)
        s->floor = now.wall - 1;
}

err_t replay_seen(replay_t *r, const tier_t *t, now_t now)
{
    msec_t wall = now.wall;
    uint64_t nonce = hash_64(span_of((const char *)t->nonce, sizeof t->nonce), r->seed);
    if (nonce == 0)
        nonce = 1;
    replay_shard_t *shard = &r->shards[nonce % REPLAY_SHARDS];
    pthread_mutex_lock(&shard->mutex);
    replay_clock(r, shard, now);
    replay_set_t *young = &shard->young;
    /* Only what has run out is dropped for its age, so that in calm times the floor never bites. */
    bool aged = young->n > 0 && wall - young->began > r->window && replay_expired(&shard->old, r->window, wall);
    if (aged || young->n >= r->most)
        replay_rotate(shard);
    bool seen = t->sent <= shard->floor || replay_has(young, nonce) || replay_has(&shard->old, nonce);
    if (!seen) {
        if ((young->n + 1) * 3 > young->size * 2)
            replay_grow(young);
        if (young->n == 0)
            *young = (replay_set_t){.slots = young->slots, .size = young->size, .began = wall, .latest = t->sent};
        young->slots[replay_slot(young, nonce)] = nonce;
        young->n++;
        if (t->sent > young->latest)
            young->latest = t->sent;
    }
    pthread_mutex_unlock(&shard->mutex);
    return seen ? ERR_EXISTS : ERR_OK;
}

size_t replay_count(replay_t *r)
{
    size_t n = 0;
    for (size_t i = 0; i < REPLAY_SHARDS; i++) {
        pthread_mutex_lock(&r->shards[i].mutex);
        n += r->shards[i].young.n + r->shards[i].old.n;
        pthread_mutex_unlock(&r->shards[i].mutex);
    }
    return n;
}
