/* What a small cached response costs in memory: fills a store with objects of 1 KB with 250 bytes of key and fields,
 * and prints what each takes beyond these, as the budget counts it and as the kernel sees it. Then everything is
 * replaced several times by objects of random sizes, to see what fragmentation does to resident memory at a full
 * budget.
 *
 *     bench_memory [OBJECTS [BUDGET]]      (1000000 objects in 1.5 GiB) */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/mem.h"
#include "edge/store/store.h"

enum { BODY = 1024, KEY_AND_FIELDS = 250, CHURN = 3, CHURN_MOST = 16 * 1024 };

static uint64_t anonymous(void)
{
    unsigned long size = 0, resident = 0, shared = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%lu %lu %lu", &size, &resident, &shared) != 3)
        abort();
    fclose(f);
    return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

static object_t *object_of(uint64_t n, size_t size)
{
    static char bytes[CHURN_MOST + BODY];
    char key[64], etag[32], filler[KEY_AND_FIELDS];
    arena_t a;
    arena_init(&a, 0);
    fields_t f;
    fields_init(&f, &a);
    int key_n = snprintf(key, sizeof key, "https://www.example.com/assets/%012llu.js", (unsigned long long)n);
    int etag_n = snprintf(etag, sizeof etag, "\"%016llx\"", (unsigned long long)mix(n));
    fields_add(&f, SPAN("content-type"), SPAN("text/javascript"));
    fields_add(&f, SPAN("cache-control"), SPAN("public, max-age=31536000"));
    fields_add(&f, SPAN("date"), SPAN("Mon, 23 Nov 2026 12:00:00 GMT"));
    fields_add(&f, SPAN("last-modified"), SPAN("Mon, 16 Nov 2026 12:00:00 GMT"));
    fields_add(&f, SPAN("etag"), span_of(etag, (size_t)etag_n));
    fields_add(&f, SPAN("server"), SPAN("origin"));
    size_t sum = (size_t)key_n + SPAN("x-own").n;
    for (size_t i = 0; i < f.n; i++)
        sum += f.v[i].name.n + f.v[i].value.n;
    memset(filler, 'x', sizeof filler);
    fields_add(&f, SPAN("x-own"), span_of(filler, KEY_AND_FIELDS - sum));
    fieldblock_t *block;
    if (fieldblock_pack(&f, &block) != ERR_OK)
        abort();
    body_t *body = body_new((int64_t)size);
    (void)body_append(body, span_of(bytes, size), NULL);
    body_end(body, BODY_COMPLETE);
    msec_t now = 1795435200000 + (msec_t)(n % 1000000);
    stored_t meta = {.status = 200,
                     .flags = STORED_HAS_ETAG | STORED_HAS_LAST_MODIFIED | STORED_STRONG_ETAG,
                     .date = now / 1000 * 1000 - 1000,
                     .request_time = now - 20,
                     .response_time = now,
                     .lifetime = 31536000000,
                     .last_modified = now / 1000 * 1000 - 604800000,
                     .content_length = (int64_t)size};
    span_t text = span_of(key, (size_t)key_n);
    object_t *o =
        object_restore(hash_digest(text), 0, text, 8, (uint32_t)key_n - 8, SPAN_NONE, &meta, 1, block, body, NULL, 0);
    arena_release(&a);
    return o;
}

static void put(store_t *s, uint64_t n, size_t size)
{
    object_t *o = object_of(n, size);
    (void)store_insert(s, o, 0);
    object_unref(o);
}

static void tell(store_t *s, const char *when, uint64_t before)
{
    store_stats_t st;
    store_stats(s, &st);
    printf("%-8s %8llu objects  %7.1f MiB counted  %7.1f MiB resident  %llu evicted\n", when,
           (unsigned long long)st.objects, (double)st.used / 1048576, (double)(anonymous() - before) / 1048576,
           (unsigned long long)st.gone[STORE_EVICTED]);
}

int main(int argc, char **argv)
{
    uint64_t objects = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint64_t budget = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)3 << 29;
    uint64_t before = anonymous();
    store_t *s = store_open(&(store_options_t){.bytes = budget});
    for (uint64_t n = 0; n < objects; n++)
        put(s, n, BODY);
    tell(s, "filled", before);
    store_stats_t st;
    store_stats(s, &st);
    printf("beyond body, fields and key: %.0f bytes an object counted, %.0f resident\n",
           (double)st.used / (double)st.objects - BODY - KEY_AND_FIELDS,
           (double)(anonymous() - before) / (double)st.objects - BODY - KEY_AND_FIELDS);
    for (uint64_t moved = 0, n = objects; moved < budget * CHURN; n++) {
        size_t size = 64 + mix(n) % (mix(n * 3) % (CHURN_MOST - 64) + 1);
        put(s, n, size);
        moved += size;
    }
    tell(s, "churned", before);
    store_close(s);
    return 0;
}
