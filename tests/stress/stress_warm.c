/* Loops that ask, put, remove and touch at random while a small disk rotates under them, with the store in front as in
 * the node. Every byte that comes back must be right and of the key that was asked for. */
#include <pthread.h>
#include <stdatomic.h>

#include "edge/store/store.h"
#include "tests/unit/edge/warm/disk.h"

enum { LOOPS = 4, KEYS = 600, STEPS = 3000 };

#define MUST(cond)                                                                                                     \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                                 \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static disk_t disk;
static store_t *store;
static _Atomic unsigned long memory_hits, disk_hits, misses;

static void left(object_t *o, store_why_t why, void *arg)
{
    (void)arg;
    if (why == STORE_EVICTED && atomic_load_explicit(&o->hits, memory_order_relaxed) > 0)
        (void)warm_put(disk.warm, o);
    else if ((atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_ON_DISK) != 0)
        warm_remove(disk.warm, o->digest, object_variant(o));
}

static void worthy(object_t *o, void *arg)
{
    (void)arg;
    (void)warm_put(disk.warm, o);
}

static bool any(const object_t *o, void *arg)
{
    (void)o;
    (void)arg;
    return true;
}

static bool admit(warm_get_t *g, uint64_t bytes)
{
    (void)g;
    return store_reserve(store, bytes);
}

typedef struct client {
    pthread_t thread;
    loop_t loop;
    uint64_t x;
    unsigned waiting;
} client_t;

typedef struct ask {
    disk_question_t q; /* first: disk_match finds it */
    client_t *client;
} ask_t;

static void answered(warm_get_t *g, object_t *o)
{
    ask_t *a = CONTAINER_OF(CONTAINER_OF(g, disk_question_t, get), ask_t, q);
    a->client->waiting--;
    uint64_t granted = g->granted;
    if (o != NULL) {
        MUST(make_verify(o, a->q.n));
        atomic_fetch_add(&disk_hits, 1);
        if (store_insert(store, o, granted) == ERR_OK)
            granted = 0;
    } else {
        atomic_fetch_add(&misses, 1);
    }
    if (granted > 0)
        store_unreserve(store, granted);
    object_unref(o);
    free(a);
}

static void fetch(uint64_t n, uint64_t version)
{
    object_t *o = make_object_full(n, 0, version, make_mix(n) % (n % 20 == 0 ? 500000 : 20000));
    (void)store_insert(store, o, 0);
    object_unref(o);
}

static void *run(void *arg)
{
    client_t *c = arg;
    for (unsigned i = 0; i < STEPS; i++) {
        c->x = make_mix(c->x + i);
        uint64_t n = (c->x >> 8) % KEYS * ((c->x >> 20) % KEYS) / KEYS;
        object_t *o = store_lookup(store, make_digest(n), any, NULL);
        if (o != NULL) {
            MUST(make_verify(o, n));
            atomic_fetch_add(&memory_hits, 1);
            warm_touch(disk.warm, atomic_load(&o->disk_id));
            if (c->x % 100 == 0)
                store_remove(store, o);
            object_unref(o);
        } else if (warm_maybe(disk.warm, make_digest(n))) {
            ask_t *a = mem_zalloc(sizeof *a);
            disk_ask(&disk, &a->q, n, 0);
            a->client = c;
            a->q.get.loop = &c->loop;
            a->q.get.admit = admit;
            a->q.get.done = answered;
            c->waiting++;
            warm_get(disk.warm, &a->q.get);
            if (c->x % 3 == 0)
                fetch(n, i);
        } else {
            fetch(n, i);
        }
        if (c->x % 211 == 0)
            warm_remove(disk.warm, make_digest(n), 0);
        if (i % 8 == 0)
            loop_run_messages(&c->loop);
        if (c->x % 1009 == 0) {
            warm_stats_t s;
            warm_stats(disk.warm, &s);
            MUST(s.bytes <= s.budget);
        }
    }
    while (c->waiting > 0)
        if (loop_run_messages(&c->loop) == 0)
            usleep(100);
    return NULL;
}

int main(void)
{
    disk_init(&disk, 16 * DISK_MIB);
    for (unsigned round = 0; round < 3; round++) {
        if (disk_open(&disk) != ERR_OK) {
            fprintf(stderr, "%s\n", disk.sentence);
            return 1;
        }
        store_options_t options = {.bytes = 2 * DISK_MIB, .on_evict = left, .on_worthy = worthy};
        store = store_open(&options);
        client_t clients[LOOPS];
        for (unsigned i = 0; i < LOOPS; i++) {
            clients[i] = (client_t){.x = round * 100 + i + 1};
            MUST(loop_init(&clients[i].loop, (int)i, true) == 0);
            MUST(pthread_create(&clients[i].thread, NULL, run, &clients[i]) == 0);
        }
        for (unsigned i = 0; i < LOOPS; i++)
            pthread_join(clients[i].thread, NULL);
        MUST(disk_flush(&disk) == ERR_OK);
        warm_stats_t s = disk_stats(&disk);
        MUST(s.corrupt == 0 && s.dropped_error == 0 && s.bytes <= s.budget);
        printf("%lu hits in memory, %lu on disk, %lu misses; %llu written, %llu reinserted, %llu segments dropped\n",
               memory_hits, disk_hits, misses, (unsigned long long)s.puts, (unsigned long long)s.reinserted,
               (unsigned long long)s.segments_dropped_full);
        disk_close(&disk);
        for (unsigned i = 0; i < LOOPS; i++) {
            loop_run_messages(&clients[i].loop);
            loop_release(&clients[i].loop);
        }
        store_stats_t st;
        store_stats(store, &st);
        MUST(st.reserved == 0);
        store_close(store);
        MUST(disk_usage(&disk) <= 16 * DISK_MIB);
    }
    MUST(memory_hits > 1000 && disk_hits > 300);
    disk_remove(&disk);
    return 0;
}
