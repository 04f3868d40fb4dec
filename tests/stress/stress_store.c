/* Eight threads look up, insert, replace, remove, reserve and sweep one small store at random. Whatever is found must
 * be whole and of the right key, the budget must hold at every look, and in the end every byte must have come back. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/store/store.h"
#include "tests/unit/edge/store/make.h"

enum { THREADS = 8, KEYS = 400, STEPS = 6000, BUDGET = 1 << 20 };

static store_t *store;
static _Atomic unsigned long found, missed, evicted;

#define MUST(cond)                                                                                                     \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                                 \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static void left(object_t *o, store_why_t why, void *arg)
{
    (void)arg;
    MUST(body_state(object_body(o)) == BODY_COMPLETE);
    if (why == STORE_EVICTED)
        atomic_fetch_add(&evicted, 1);
}

static void worthy(object_t *o, void *arg)
{
    (void)arg;
    if (o->digest.lo % 2)
        atomic_fetch_or(&o->flags, OBJECT_ON_DISK);
}

static bool variant_is(const object_t *o, void *arg)
{
    return object_variant(o) == *(uint64_t *)arg;
}

static store_fate_t sometimes(object_t *o, void *arg)
{
    uint64_t *x = arg;
    *x = make_mix(*x + o->digest.lo);
    return *x % 200 == 0 ? STORE_REMOVE : *x % 200 < 10 ? STORE_DEMOTE : STORE_KEEP;
}

static void *run(void *arg)
{
    uint64_t x = (uint64_t)(uintptr_t)arg + 1, cursor = 0;
    object_t *held[16] = {NULL};
    for (int i = 0; i < STEPS; i++) {
        x = make_mix(x + (uint64_t)i);
        uint64_t n = (x >> 8) % KEYS * ((x >> 20) % KEYS) / KEYS, variant = (x >> 40) % 3;
        object_t *o;
        switch (x % 8) {
        default:
            if ((o = store_lookup(store, make_digest(n), variant_is, &variant)) != NULL) {
                atomic_fetch_add(&found, 1);
                MUST(object_variant(o) == variant && make_verify(o, n));
                unsigned slot = (x >> 50) % 16;
                object_unref(held[slot]);
                held[slot] = o;
                break;
            }
            atomic_fetch_add(&missed, 1);
            /* fallthrough */
        case 0: {
            uint64_t size = (x >> 32) % 8000, reserved = 0;
            if (x % 3 == 0 && store_reserve(store, size))
                reserved = size;
            o = make_object_full(n, variant, x >> 48, (size_t)size);
            if (store_insert(store, o, reserved) != ERR_OK)
                store_unreserve(store, reserved);
            object_unref(o);
            break;
        }
        case 1:
            if ((o = store_peek(store, make_digest(n), variant_is, &variant)) != NULL) {
                if (x % 64 < 8)
                    store_remove(store, o);
                object_unref(o);
            }
            break;
        case 2:
            store_sweep(store, &cursor, 20, sometimes, &x);
            break;
        }
        store_stats_t st;
        if (i % 64 == 0) {
            store_stats(store, &st);
            MUST(st.used <= st.budget + 8 * 1024); /* a table that doubles is made up for at once */
        }
    }
    for (int i = 0; i < 16; i++)
        object_unref(held[i]);
    return NULL;
}

static store_fate_t all(object_t *o, void *arg)
{
    (void)o;
    (void)arg;
    return STORE_REMOVE;
}

int main(void)
{
    static const char *const names[] = {"hindsight", "s3fifo", "wtinylfu", "sieve", "lru", "gdsf"};
    for (size_t p = 0; p < sizeof names / sizeof *names; p++) {
        store_options_t options = {
            .bytes = BUDGET, .shards = 8, .policy = evict_by_name(names[p]), .on_evict = left, .on_worthy = worthy};
        store = store_open(&options);
        pthread_t threads[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            MUST(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        uint64_t cursor = 0;
        do
            store_sweep(store, &cursor, 1000, all, NULL);
        while (cursor != 0);
        store_stats_t st;
        store_stats(store, &st);
        MUST(st.objects == 0 && st.object_bytes == 0 && st.reserved == 0 && st.used < 400 * 1024);
        store_close(store);
    }
    printf("%lu found, %lu missed, %lu evicted\n", found, missed, evicted);
    MUST(found > 1000 && missed > 1000 && evicted > 1000);
    return 0;
}
