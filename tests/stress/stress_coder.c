/* Coded forms under threads: some ask and read, one replaces and removes what they are made of, one counts what is hot
 * and one asks for that, while the coder works. What is found is always of the response that it was looked for by. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "edge/admin/hot.h"
#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/coding/coder.h"
#include "edge/policy/key.h"

enum { KEYS = 8, BYTES = 40000, READERS = 3, ROUNDS = 3000, CHANGES = 400 };

static store_t *store;
static coder_t *coder;
static hot_t *hot;
static atomic_uint found, over;

static object_t *response(unsigned key, unsigned version)
{
    arena_t a;
    arena_init(&a, 0);
    cache_key_t k;
    key_rules_t rules = {.query = KEY_QUERY_ALL};
    fields_t none = {0};
    fieldblock_t *fields;
    char path[16];
    snprintf(path, sizeof path, "/%u", key);
    CHECK(key_make(&a, SPAN("http"), SPAN("h"), span_str(path), &rules, &none, &k) == ERR_OK);
    CHECK(fieldblock_pack(&none, &fields) == ERR_OK);
    body_t *body = body_new(BYTES);
    char *p = mem_alloc(BYTES);
    memset(p, (int)('a' + version % 26), BYTES);
    CHECK(body_append(body, span_of(p, BYTES), NULL) == ERR_OK);
    free(p);
    body_end(body, BODY_COMPLETE);
    stored_t meta = {
        .status = 200, .flags = STORED_CODABLE, .response_time = version, .date = version, .content_length = BYTES};
    object_t *o = object_new(&k, SPAN_NONE, &meta, version, fields, body, NULL, 0);
    arena_release(&a);
    return o;
}

static bool any(const object_t *o, void *arg)
{
    (void)o, (void)arg;
    return true;
}

static char first(const object_t *o)
{
    body_cursor_t c = {0};
    struct iovec v;
    CHECK(body_read(object_body(o), &c, UINT64_MAX, &v, 1, SIZE_MAX) == 1);
    return *(char *)v.iov_base;
}

static void check_coded(const object_t *o, const object_t *coded)
{
    static const char gzip[] = "\x1f\x8b";
    char out[64];
    body_cursor_t c = {0};
    struct iovec v;
    CHECK(body_read(object_body(coded), &c, UINT64_MAX, &v, 1, SIZE_MAX) == 1 && memcmp(v.iov_base, gzip, 2) == 0);
    z_stream z = {
        .next_in = v.iov_base, .avail_in = (uInt)v.iov_len, .next_out = (Bytef *)out, .avail_out = sizeof out};
    CHECK(inflateInit2(&z, 31) == Z_OK);
    int r = inflate(&z, Z_SYNC_FLUSH);
    CHECK(r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR);
    inflateEnd(&z);
    CHECK(out[0] == first(o));
    atomic_fetch_add(&found, 1);
}

static void *reader(void *arg)
{
    unsigned worker = (unsigned)(uintptr_t)arg, seed = worker;
    for (unsigned i = 0; i < ROUNDS || (atomic_load(&over) == 0 && i < 100 * ROUNDS); i++) {
        object_t *like = response((unsigned)rand_r(&seed) % KEYS, 0);
        object_t *o = store_lookup(store, like->digest, any, NULL);
        if (o != NULL) {
            object_t *coded = coded_find(store, o, CODING_GZIP);
            if (coded != NULL)
                check_coded(o, coded);
            else
                coder_ask(coder, o, CODING_GZIP);
            hot_count(hot, worker, o->digest, object_uri(o), coded != NULL, BYTES, i);
            object_unref(coded);
        }
        object_unref(o);
        object_unref(like);
    }
    return NULL;
}

static void *changer(void *arg)
{
    (void)arg;
    unsigned seed = 99;
    for (unsigned version = 1; version <= CHANGES; version++) {
        unsigned key = (unsigned)rand_r(&seed) % KEYS;
        object_t *o = response(key, version), *before = store_peek(store, o->digest, any, NULL);
        CHECK(store_insert(store, o, 0) == ERR_OK);
        if (before != NULL && version % 3 == 0)
            coded_carry(store, o, o);
        if (version % 5 == 0)
            store_remove(store, o);
        object_unref(before);
        object_unref(o);
        struct timespec nap = {.tv_nsec = 1000000};
        nanosleep(&nap, NULL);
    }
    atomic_store(&over, 1);
    return NULL;
}

static void *watcher(void *arg)
{
    (void)arg;
    for (int i = 0; atomic_load(&over) == 0; i++) {
        size_t n;
        free(hot_json(hot, 10, i, &n));
    }
    return NULL;
}

int main(void)
{
    store = store_open(&(store_options_t){.bytes = 8 << 20});
    coder = coder_open(store, true);
    hot = hot_new(READERS, 0);
    CHECK(coder != NULL);
    pthread_t threads[READERS + 2];
    for (size_t i = 0; i < READERS; i++)
        CHECK(pthread_create(&threads[i], NULL, reader, (void *)(uintptr_t)i) == 0);
    CHECK(pthread_create(&threads[READERS], NULL, changer, NULL) == 0);
    CHECK(pthread_create(&threads[READERS + 1], NULL, watcher, NULL) == 0);
    for (size_t i = 0; i < READERS + 2; i++)
        pthread_join(threads[i], NULL);
    coder_close(coder);
    hot_free(hot);
    store_stats_t s;
    store_stats(store, &s);
    CHECK(s.reserved == 0);
    store_close(store);
    printf("%u coded forms found\n", atomic_load(&found));
    return atomic_load(&found) > 0 ? 0 : 1;
}
