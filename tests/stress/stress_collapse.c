/* The request path on four loops at once: few keys, many requests that come and go, an origin whose pages change all
 * the time, answers that are cut, grow too large, may not be shared or were not modified, and a thread that purges.
 *
 * A page is made of records that tell its version and their own number. What must hold for every response: all records
 * are of one version; a response that ends well has all of them; and no version is older than the last purge that was
 * applied before its request began. In the end nothing may be left: no fetch in the table, no byte of the budget.
 *
 * Twice: with memory alone, and with a disk, which takes large pages in pieces, is slow at times, and is asked for
 * ranges of them. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/http/date.h"
#include "edge/policy/tags.h"
#include "edge/request/request.h"
#include "edge/tbl/metrics.h"

enum {
    THREADS = 4,
    KEYS = 6,
    CLIENTS = 24, /* of one thread, at once */
    MILLISECONDS = 3000,
    RECORD = 16,
    SMALL = 200,    /* records */
    LARGE = 120000, /* records: more than may be stored, and more than a window */
    STEP = 3000     /* records told at once */
};

static _Atomic uint64_t version[KEYS]; /* of the page at the origin */
static _Atomic uint64_t purged[KEYS];  /* version that the last purge is known to have made the least */
static _Atomic uint64_t complete, refused, aborted, left, resumed, failures;
static atomic_int busy; /* clients and calls that are alive */
static atomic_bool stop;
static store_t *store;
static ledger_t *ledger;
static warm_t *warm; /* NULL: no disk */

#define EXPECT(cond, ...)                                                                                              \
    do {                                                                                                               \
        if (!(cond) && atomic_fetch_add(&failures, 1) < 10) {                                                          \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond);                                                 \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
        }                                                                                                              \
    } while (0)

typedef struct side {
    pthread_t thread;
    loop_t loop;
    upstream_t client;
    request_env_t env;
    uint64_t seed;
    list_t calls, clients;
    size_t clients_n;
} side_t;

static side_t side[THREADS];
static char pages[KEYS][16], tags[KEYS][16];

static unsigned chance(side_t *s, unsigned n)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    return (unsigned)((s->seed >> 20) % n);
}

/* ---- the origin ---- */

typedef struct origin_call {
    upstream_call_t base;
    list_t link;
    side_t *side;
    const upstream_events_t *events;
    void *arg;
    int key;
    uint64_t version;
    unsigned records, told, fail_at; /* fail_at: cut there */
    bool head, paused, cancelled, same, part;
    unsigned first, end; /* asked for from this record on, and up to that; 0: all */
    bool beyond;         /* there is nothing of what was asked for */
} origin_call_t;

/* How long a page is depends on its version alone: its entity tag is strong. */
static unsigned origin_records(int key, uint64_t v)
{
    uint64_t h = (v * 64 + (uint64_t)key + 1) * 0x9e3779b97f4a7c15u;
    return 1 + (unsigned)(h >> 33) % ((h >> 12) % 20 == 0 ? LARGE : SMALL);
}

static upstream_call_t *origin_start(upstream_t *u, const upstream_request_t *r, const upstream_events_t *events,
                                     void *arg)
{
    side_t *s = CONTAINER_OF(u, side_t, client);
    origin_call_t *c = mem_zalloc(sizeof *c);
    *c = (origin_call_t){.side = s, .events = events, .arg = arg, .key = r->target.p[1] - '0', .fail_at = ~0u};
    CHECK(c->key >= 0 && c->key < KEYS);
    /* the page as it is when the request goes out: nothing may make this look newer */
    c->version = atomic_load(&version[c->key]);
    c->records = c->end = origin_records(c->key, c->version);
    if (chance(s, 10) == 0)
        c->fail_at = chance(s, c->records);
    char etag[32];
    snprintf(etag, sizeof etag, "\"%llu\"", (unsigned long long)c->version);
    span_t asked = fields_get(r->fields, SPAN("if-none-match"));
    c->same = asked.p != NULL && span_eq(asked, span_str(etag));
    unsigned long long from, to;
    char range[64];
    span_t if_range = fields_get(r->fields, SPAN("if-range"));
    snprintf(range, sizeof range, "%.*s", SPAN_ARG(fields_get(r->fields, SPAN("range"))));
    int numbers = sscanf(range, "bytes=%llu-%llu", &from, &to);
    bool same = if_range.p != NULL && span_eq(if_range, span_str(etag));
    if (numbers == 2 && if_range.p == NULL && from / RECORD >= c->records) {
        c->beyond = true;
        c->records = c->end = 0;
    } else if (numbers >= 1 && (same || if_range.p == NULL)) {
        CHECK(from % RECORD == 0 && from / RECORD < c->records);
        c->first = c->told = (unsigned)(from / RECORD);
        if (numbers == 2 && to / RECORD + 1 < c->records)
            c->end = (unsigned)(to / RECORD) + 1;
        c->fail_at = c->fail_at < c->told ? c->told : c->fail_at;
        atomic_fetch_add(&resumed, 1);
    }
    c->part = numbers >= 1 && !c->beyond && (same || if_range.p == NULL);
    list_push_back(&s->calls, &c->link);
    atomic_fetch_add(&busy, 1);
    return &c->base;
}

static void origin_resume(upstream_call_t *call)
{
    origin_call_t *c = CONTAINER_OF(call, origin_call_t, base);
    c->paused = false;
}

static void origin_cancel(upstream_call_t *call)
{
    origin_call_t *c = CONTAINER_OF(call, origin_call_t, base);
    CHECK(!c->cancelled);
    c->cancelled = true;
}

static const upstream_ops_t origin_ops = {.start = origin_start, .resume = origin_resume, .cancel = origin_cancel};

static void origin_end(origin_call_t *c, upstream_result_t result)
{
    list_remove(&c->link);
    if (!c->cancelled)
        c->events->done(c->arg, result);
    free(c);
    atomic_fetch_sub(&busy, 1);
}

static void origin_head(origin_call_t *c)
{
    static const char *const controls[] = {
        "max-age=60", "max-age=1, stale-while-revalidate=60", "max-age=1, stale-if-error=60", "no-store", "max-age=60",
        "private"};
    side_t *s = c->side;
    arena_t a;
    fields_t f;
    char date[DATE_LEN + 1];
    arena_init(&a, 0);
    fields_init(&f, &a);
    date_format(s->loop.now.wall, date);
    fields_add(&f, SPAN("date"), span_str(date));
    fields_add(&f, SPAN("cache-tag"), span_str(tags[c->key]));
    fields_add(&f, SPAN("etag"), arena_printf(&a, "\"%llu\"", (unsigned long long)c->version));
    fields_add(&f, SPAN("cache-control"),
               span_str(controls[chance(s, 20) == 0 ? 3 + chance(s, 3) : (unsigned)c->key % 3]));
    c->head = true;
    if (c->same)
        c->records = c->end = 0;
    if (c->part)
        fields_add(&f, SPAN("content-range"),
                   arena_printf(&a, "bytes %u-%u/%u", c->first * RECORD, c->end * RECORD - 1, c->records * RECORD));
    c->events->head(c->arg,
                    c->same     ? 304
                    : c->beyond ? 416
                    : c->part   ? 206
                                : 200,
                    &f, !c->same && (c->part || chance(s, 2)) ? (int64_t)(c->end - c->first) * RECORD : -1);
    arena_release(&a);
}

static void origin_tell(origin_call_t *c)
{
    static _Thread_local char bytes[STEP * RECORD + 1];
    unsigned n = c->end - c->told < STEP ? c->end - c->told : STEP;
    if (c->fail_at < c->told + n)
        n = c->fail_at - c->told;
    for (unsigned i = 0; i < n; i++)
        snprintf(bytes + (size_t)i * RECORD, RECORD + 1, "%08llu %06u\n", (unsigned long long)c->version, c->records);
    if (n > 0 && !c->events->body(c->arg, span_of(bytes, (size_t)n * RECORD))) {
        c->paused = !c->cancelled;
        return;
    }
    c->told += n;
}

/* One step of each call; true if anything happened. */
static bool origin_step(side_t *s)
{
    bool did = false;
    for (list_t *n = s->calls.next, *next; n != &s->calls; n = next) {
        origin_call_t *c = LIST_ITEM(n, origin_call_t, link);
        next = n->next;
        if (c->cancelled)
            origin_end(c, UPSTREAM_OK);
        else if (c->paused || chance(s, 3) == 0)
            continue; /* takes its time */
        else if (!c->head && chance(s, 30) == 0)
            origin_end(c, chance(s, 2) ? UPSTREAM_REFUSED : UPSTREAM_FIRST_BYTE_TIMEOUT);
        else if (!c->head)
            origin_head(c);
        else if (c->told < c->end && c->told < c->fail_at)
            origin_tell(c);
        else
            origin_end(c, c->told < c->end ? UPSTREAM_CUT : UPSTREAM_OK);
        did = true;
    }
    return did;
}

/* ---- clients ---- */

typedef struct client {
    exchange_t x;
    list_t link;
    side_t *side;
    arena_t arena;
    int key, status;
    uint64_t least, version; /* what it may be served; what it is */
    size_t bytes, records;
    int64_t length;
    char part[RECORD]; /* of a record, between sends */
    bool head, sent, final, cut, ranged;
} client_t;

static void client_head(exchange_t *x, int status, const fields_t *fields, int64_t content_length)
{
    client_t *c = CONTAINER_OF(x, client_t, x);
    (void)fields;
    EXPECT(!c->head, "two heads");
    c->head = true;
    c->status = status;
    c->length = content_length;
}

static void client_record(client_t *c)
{
    unsigned long long v;
    unsigned records;
    char text[RECORD + 1] = "";
    memcpy(text, c->part, RECORD);
    if (sscanf(text, "%08llu %06u\n", &v, &records) != 2) {
        EXPECT(false, "key %d: not a record: %s", c->key, text);
        return;
    }
    if (c->version == 0) {
        c->version = v;
        c->records = records;
    }
    EXPECT(c->version == v && c->records == records, "key %d: torn: version %llu of %llu records in %llu of %zu",
           c->key, v, (unsigned long long)records, (unsigned long long)c->version, c->records);
    EXPECT(v >= c->least, "key %d: version %llu after a purge of all before %llu", c->key, v,
           (unsigned long long)c->least);
}

static void client_send(exchange_t *x, const struct iovec *v, size_t n, exchange_end_t end)
{
    client_t *c = CONTAINER_OF(x, client_t, x);
    EXPECT(c->head && !c->sent && !c->final, "a send out of turn");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < v[i].iov_len; k++) {
            c->part[c->bytes++ % RECORD] = ((const char *)v[i].iov_base)[k];
            if (c->bytes % RECORD == 0 && (c->status == 200 || c->status == 206))
                client_record(c);
        }
    c->sent = true;
    c->final = end != EXCHANGE_MORE;
    c->cut = end == EXCHANGE_ABORT;
    x->body_sent = c->bytes;
}

static void client_informational(exchange_t *x, int status, const fields_t *fields)
{
    (void)x;
    (void)status;
    (void)fields;
}

static const exchange_ops_t client_ops = {
    .head = client_head, .send = client_send, .informational = client_informational, .send_most = 65536};

static void client_begin(side_t *s)
{
    client_t *c = mem_zalloc(sizeof *c);
    c->side = s;
    arena_init(&c->arena, 4 * 1024 * 1024);
    c->key = (int)chance(s, KEYS);
    c->ranged = chance(s, 10) == 0;
    exchange_t *x = &c->x;
    *x = (exchange_t){.ops = &client_ops,
                      .loop = &s->loop,
                      .arena = &c->arena,
                      .method_name = SPAN("GET"),
                      .method = METHOD_GET,
                      .scheme = SPAN("http"),
                      .authority = SPAN("site.example"),
                      .target = span_str(pages[c->key]),
                      .peer = SPAN("192.0.2.7"),
                      .protocol = 11,
                      .began_nanos = clock_nanos()};
    fields_init(&x->fields, &c->arena);
    if (c->ranged && warm != NULL && chance(s, 2)) { /* of what may be too short for that */
        unsigned first = chance(s, LARGE);
        fields_add(&x->fields, SPAN("range"),
                   arena_printf(&c->arena, "bytes=%u-%u", first * RECORD, first * RECORD + RECORD - 1));
    } else if (c->ranged) {
        fields_add(&x->fields, SPAN("range"), SPAN("bytes=0-15"));
    }
    if (chance(s, 30) == 0)
        fields_add(&x->fields, SPAN("cache-control"), SPAN("no-cache"));
    list_push_back(&s->clients, &c->link);
    s->clients_n++;
    atomic_fetch_add(&busy, 1);
    c->least = atomic_load(&purged[c->key]);
    request_begin(&s->env, x);
}

static void client_end(client_t *c)
{
    list_remove(&c->link);
    c->side->clients_n--;
    c->x.on_gone(&c->x);
    arena_release(&c->arena);
    free(c);
    atomic_fetch_sub(&busy, 1);
}

static void client_finished(client_t *c)
{
    atomic_fetch_add(c->cut ? &aborted : &complete, 1);
    /* 503: so many bodies are cut that the origin may be found out of order and tried by one request at a time. */
    EXPECT(c->status == 200 || c->status == 206 || c->status == 502 || c->status == 503 || c->status == 504 ||
               (c->ranged && c->status == 416),
           "status %d", c->status);
    if (c->status == 503)
        atomic_fetch_add(&refused, 1);
    if (c->cut || c->status >= 400)
        return;
    EXPECT(c->length < 0 || (size_t)c->length == c->bytes, "%zu bytes, %lld announced", c->bytes, (long long)c->length);
    EXPECT(c->status == 206 ? c->bytes == RECORD : c->bytes == c->records * RECORD,
           "key %d: complete with %zu bytes of %zu records", c->key, c->bytes, c->records);
}

static bool client_step(side_t *s)
{
    bool did = false;
    for (list_t *n = s->clients.next, *next; n != &s->clients; n = next) {
        client_t *c = LIST_ITEM(n, client_t, link);
        next = n->next;
        if (chance(s, 400) == 0) {
            atomic_fetch_add(&left, 1);
            client_end(c);
        } else if (!c->sent || chance(s, 4) == 0) {
            continue;
        } else if (c->final) {
            client_finished(c);
            client_end(c);
        } else {
            c->sent = false;
            c->x.on_writable(&c->x);
        }
        did = true;
    }
    return did;
}

/* ---- the threads ---- */

static void *side_main(void *arg)
{
    side_t *s = arg;
    while (!atomic_load(&stop) || atomic_load(&busy) > 0) {
        s->loop.now = clock_now();
        bool did = loop_run_messages(&s->loop) + loop_run_timers(&s->loop) > 0;
        if (!atomic_load(&stop) && s->clients_n < CLIENTS && chance(s, 2)) {
            client_begin(s);
            did = true;
        }
        did |= origin_step(s);
        did |= client_step(s);
        if (!did)
            sched_yield();
    }
    return NULL;
}

static void *purger_main(void *arg)
{
    ledger_t *l = arg;
    unsigned turn = 0;
    uint64_t seed = 88172645463325252ULL;
    while (!atomic_load(&stop)) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        int k = (int)((seed >> 33) % KEYS);
        bool all = (seed >> 40) % 16 == 0;
        uint64_t now[KEYS];
        for (int i = 0; i < KEYS; i++)
            now[i] = all || i == k ? atomic_fetch_add(&version[i], 1) + 1 : 0;
        char uri[64];
        int n = snprintf(uri, sizeof uri, "site.example%s", pages[k]);
        ledger_value_t v =
            all ? (ledger_value_t){.kind = LEDGER_ALL}
            : (seed >> 50) % 2
                ? (ledger_value_t){.kind = LEDGER_TAG, .digest = tags_digest(span_str(tags[k]))}
                : (ledger_value_t){.kind = LEDGER_URL, .digest = key_uri_digest(span_of(uri, (size_t)n))};
        ledger_append(l, &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1, .boot = 1}, NULL);
        for (int i = 0; i < KEYS; i++)
            if (now[i] != 0)
                atomic_store(&purged[i], now[i]);
        if (warm != NULL)
            warm_stall(warm, ++turn % 64 < 4 ? 20 : 0);
        usleep((useconds_t)((seed >> 44) % 4000));
    }
    return NULL;
}

static err_t no_normalise(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *uri_digest)
{
    (void)ctx;
    return key_from_url(a, url, &(key_rules_t){.query = KEY_QUERY_ALL}, uri, uri_digest);
}

/* ---- the disk ---- */

static uint32_t disk_verdict(void *arg, const warm_subject_t *s, uint64_t after, uint64_t *upto)
{
    (void)arg;
    ledger_subject_t subject = {.uri = s->uri, .uri_digest = s->uri_digest, .tags = s->tags, .tags_n = s->tags_n};
    return ledger_check(ledger, &subject, after, upto);
}

static void disk_on_evict(object_t *o, store_why_t why, void *arg)
{
    (void)arg;
    if (warm == NULL)
        return;
    if (why != STORE_EVICTED)
        warm_remove(warm, o->digest, object_variant(o));
    else if (atomic_load(&o->hits) > 0)
        warm_put(warm, o);
}

static void disk_on_worthy(object_t *o, void *arg)
{
    (void)arg;
    if (warm != NULL)
        warm_put(warm, o);
}

static void disk_open(const char *state)
{
    char path[128], err[WARM_ERROR_BYTES];
    snprintf(path, sizeof path, "%s/warm", state);
    warm_options_t o = {.path = path,
                        .size = 64 << 20,
                        .epoch = ledger_epoch(ledger),
                        .commit_ms = 2,
                        .queue_bytes = 4 << 20,
                        .verdict = disk_verdict};
    CHECK(warm_open(&o, &warm, err) == ERR_OK);
}

static int run(bool disk)
{
    static const char yaml[] =
        "node: stress\nlisten: [{address: \"127.0.0.1:1\"}]\nmemory: {size: 16MiB, max_object: 128KiB}\n"
        "disk: {path: unused, size: 64MiB, wait: 50ms, slice: 256KiB}\n"
        "sites:\n  - hosts: [\"*\"]\n    origins: [\"http://127.0.0.1:9\"]\n";
    static const unsigned labels[8];
    conf_t *conf;
    conf_error_t error;
    char state[] = "/tmp/brink-stress-XXXXXX", err[512];
    CHECK(mkdtemp(state) != NULL);
    CHECK(conf_parse(span_str(yaml), "stress.yaml", &conf, &error) == ERR_OK);
    log_set_level(LOG_LEVEL_ERROR); /* cut bodies are what this is about */
    purge_t *purge;
    purge_options_t po = {.node = "stress",
                          .version = "0",
                          .state = state,
                          .stream = "brink:purge",
                          .keep = 1000,
                          .max_disconnected = MSEC_NEVER,
                          .normalise = no_normalise};
    CHECK(purge_open(&po, &purge, err, sizeof err) == ERR_OK && purge_start(purge, false) == ERR_OK);
    now_t now = clock_now();
    ledger = purge_ledger(purge);
    store = store_open(&(store_options_t){
        .bytes = conf->memory.size, .shards = 4, .on_evict = disk_on_evict, .on_worthy = disk_on_worthy});
    if (disk)
        disk_open(state);
    atomic_store(&stop, false);
    complete = refused = aborted = left = resumed = 0;
    collapse_t *collapse = collapse_new();
    health_t *health = health_new();
    upstreams_t *upstreams = upstreams_new(health, conf);
    replay_t *replay = replay_new(now, TIER_WINDOW, 1024);
    for (int k = 0; k < KEYS; k++) {
        snprintf(pages[k], sizeof pages[k], "/%d", k);
        snprintf(tags[k], sizeof tags[k], "t%d", k);
        atomic_init(&version[k], 1);
        atomic_init(&purged[k], 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        side_t *s = &side[i];
        CHECK(loop_init(&s->loop, (int)i, false) == ERR_OK);
        s->loop.now = now;
        s->client = (upstream_t){.ops = &origin_ops, .loop = &s->loop};
        s->seed = 0x9e3779b97f4a7c15ULL * (i + 1);
        list_init(&s->calls);
        list_init(&s->clients);
        s->env = (request_env_t){.loop = &s->loop,
                                 .worker = i,
                                 .conf = conf,
                                 .upstreams = upstreams,
                                 .collapse = collapse,
                                 .store = store,
                                 .warm = warm,
                                 .purge = purge,
                                 .ledger = purge_ledger(purge),
                                 .replay = replay,
                                 .node = SPAN("stress"),
                                 .node_member = SPAN("stress"),
                                 .via = SPAN("1.1 stress (brink)"),
                                 .started = now.wall,
                                 .site_labels = labels};
        request_env_init(&s->env);
        s->env.fetch = (fetch_deps_t){.loop = &s->loop,
                                      .client = &s->client,
                                      .store = store,
                                      .warm = warm,
                                      .ledger = purge_ledger(purge),
                                      .node = SPAN("stress"),
                                      .upstream_labels = labels,
                                      .max_object = conf->memory.max_object};
        fetch_deps_init(&s->env.fetch);
    }
    pthread_t purger;
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&side[i].thread, NULL, side_main, &side[i]) == 0);
    CHECK(pthread_create(&purger, NULL, purger_main, purge_ledger(purge)) == 0);
    usleep(MILLISECONDS * 1000);
    atomic_store(&stop, true);
    pthread_join(purger, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(side[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        fetch_stop(&side[i].env.fetch);
    warm_close(warm);
    warm = NULL;
    for (size_t ran = 1; ran > 0;) { /* what the loops still had to say to each other */
        ran = 0;
        for (unsigned i = 0; i < THREADS; i++)
            ran += loop_run_messages(&side[i].loop);
    }
    store_stats_t stats;
    store_stats(store, &stats);
    EXPECT(stats.reserved == 0, "%llu bytes were never given back", (unsigned long long)stats.reserved);
    EXPECT(stats.used <= stats.budget, "over the budget");
    EXPECT(complete - refused > 200 && aborted > 0 && left > 0, "that was no test");
    for (unsigned i = 0; i < THREADS; i++) {
        EXPECT(side[i].env.in_flight == 0, "requests are left");
        loop_release(&side[i].loop);
    }
    printf("%s: %llu complete, %llu cut, %llu left, %llu resumed; collapsed %llu, stored %llu, purged while filling "
           "%llu\n",
           disk ? "with a disk" : "memory alone", (unsigned long long)complete, (unsigned long long)aborted,
           (unsigned long long)left, (unsigned long long)resumed, (unsigned long long)metrics_total(METRIC_COLLAPSED),
           (unsigned long long)metrics_value(METRIC_FILLS, LABEL_FILL_STORED),
           (unsigned long long)metrics_value(METRIC_FILLS, LABEL_FILL_PURGED));
    collapse_free(collapse); /* checks that its table is empty */
    store_close(store);
    upstreams_unref(upstreams);
    health_free(health);
    replay_free(replay);
    purge_stop(purge);
    purge_free(purge);
    conf_unref(conf);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", state);
    CHECK(system(command) == 0);
    return failures == 0 ? 0 : 1;
}

int main(void)
{
    return run(false) + run(true) == 0 ? 0 : 1;
}
