/* Two windows a worker, turned over by the clock. A mutex for each worker is taken for the requests that are looked at
 * only, and is free unless somebody asks at that moment. */
#include "edge/admin/hot.h"

#include <pthread.h>
#include <stdlib.h>

#include "edge/admin/json.h"
#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/http/query.h"

typedef struct hot_key {
    digest_t digest;
    uint64_t count, over, hits, bytes; /* over: of the count, what may have been another's */
    size_t n;
    char url[HOT_KEY_BYTES];
} hot_key_t;

typedef struct hot_window {
    int64_t number; /* boot / HOT_WINDOW */
    size_t n;
    uint64_t quick[HOT_KEYS]; /* digest.lo of each key: what is searched */
    hot_key_t key[HOT_KEYS];
} hot_window_t;

typedef struct hot_worker {
    _Alignas(64) int64_t second; /* its own thread's */
    unsigned in_second;
    uint64_t random;
    pthread_mutex_t mutex;  /* guards the windows */
    hot_window_t window[2]; /* by number, even and odd */
} hot_worker_t;

struct hot {
    unsigned workers;
    msec_t began;
    hot_worker_t *worker;
};

hot_t *hot_new(unsigned workers, msec_t boot)
{
    hot_t *h = mem_zalloc(sizeof *h);
    h->workers = workers;
    h->began = boot;
    h->worker = aligned_alloc(64, workers * sizeof *h->worker);
    CHECK(h->worker != NULL);
    memset(h->worker, 0, workers * sizeof *h->worker);
    for (unsigned i = 0; i < workers; i++) {
        h->worker[i].random = i + 1;
        pthread_mutex_init(&h->worker[i].mutex, NULL);
    }
    return h;
}

void hot_free(hot_t *h)
{
    if (h == NULL)
        return;
    for (unsigned i = 0; i < h->workers; i++)
        pthread_mutex_destroy(&h->worker[i].mutex);
    free(h->worker);
    free(h);
}

/* The counter of that URL; the smallest one is taken over where there is none. */
static hot_key_t *hot_find(hot_window_t *w, digest_t digest, span_t url)
{
    size_t i = 0, least = 0;
    while (i < w->n && (w->quick[i] != digest.lo || !hash_eq(w->key[i].digest, digest)))
        i++;
    if (i < w->n)
        return &w->key[i];
    uint64_t over = 0;
    if (w->n < HOT_KEYS) {
        w->n++;
    } else {
        for (i = 1; i < HOT_KEYS; i++)
            least = w->key[i].count < w->key[least].count ? i : least;
        i = least;
        over = w->key[i].count;
    }
    hot_key_t *k = &w->key[i];
    w->quick[i] = digest.lo;
    k->digest = digest;
    k->count = k->over = over;
    k->hits = k->bytes = 0;
    k->n = url.n < HOT_KEY_BYTES ? url.n : HOT_KEY_BYTES;
    if (k->n > 0)
        memcpy(k->url, url.p, k->n);
    return k;
}

/* By chance, since clients ask in rounds (a page and what is on it): every sixteenth might always be the same. */
static uint64_t hot_random(hot_worker_t *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random >> 32;
}

void hot_count(hot_t *h, unsigned worker, digest_t digest, span_t url, bool hit, uint64_t bytes, msec_t boot)
{
    hot_worker_t *w = &h->worker[worker];
    if (boot / MSEC_PER_SEC != w->second) {
        w->second = boot / MSEC_PER_SEC;
        w->in_second = 0;
    }
    unsigned weight = 1;
    if (++w->in_second > HOT_ALL) {
        if (hot_random(w) % HOT_SAMPLE != 0)
            return;
        weight = HOT_SAMPLE;
    }
    int64_t number = boot / HOT_WINDOW;
    pthread_mutex_lock(&w->mutex);
    hot_window_t *win = &w->window[number % 2];
    if (win->number != number) {
        win->number = number;
        win->n = 0;
    }
    hot_key_t *k = hot_find(win, digest, url);
    k->count += weight;
    k->hits += hit ? weight : 0;
    k->bytes += bytes * weight;
    pthread_mutex_unlock(&w->mutex);
}

/* ---- asking ---- */

static int hot_by_digest(const void *a, const void *b)
{
    const hot_key_t *x = a, *y = b;
    return x->digest.lo != y->digest.lo   ? (x->digest.lo > y->digest.lo) - (x->digest.lo < y->digest.lo)
           : x->digest.hi != y->digest.hi ? (x->digest.hi > y->digest.hi) - (x->digest.hi < y->digest.hi)
                                          : 0;
}

static int hot_by_count(const void *a, const void *b)
{
    const hot_key_t *x = a, *y = b;
    return (x->count < y->count) - (x->count > y->count);
}

/* All counters of both windows of all workers, those of one URL added up; the greatest first. */
static size_t hot_gather(hot_t *h, int64_t number, hot_key_t *all)
{
    size_t n = 0, kept = 0;
    for (unsigned i = 0; i < h->workers; i++) {
        hot_worker_t *w = &h->worker[i];
        pthread_mutex_lock(&w->mutex);
        for (int k = 0; k < 2; k++)
            if (w->window[k].number == number || w->window[k].number == number - 1) {
                memcpy(all + n, w->window[k].key, w->window[k].n * sizeof *all);
                n += w->window[k].n;
            }
        pthread_mutex_unlock(&w->mutex);
    }
    qsort(all, n, sizeof *all, hot_by_digest);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && hash_eq(all[kept - 1].digest, all[i].digest)) {
            all[kept - 1].count += all[i].count;
            all[kept - 1].over += all[i].over;
            all[kept - 1].hits += all[i].hits;
            all[kept - 1].bytes += all[i].bytes;
        } else {
            all[kept++] = all[i];
        }
    }
    qsort(all, kept, sizeof *all, hot_by_count);
    return kept;
}

char *hot_json(hot_t *h, size_t most, msec_t boot, size_t *length)
{
    int64_t number = boot / HOT_WINDOW;
    msec_t since = (number - 1) * HOT_WINDOW;
    double seconds = (double)(boot - (since > h->began ? since : h->began)) / MSEC_PER_SEC;
    seconds = seconds > 0.1 ? seconds : 0.1;
    hot_key_t *all = mem_alloc((size_t)h->workers * 2 * HOT_KEYS * sizeof *all);
    size_t n = hot_gather(h, number, all);
    json_t *urls = json_array();
    for (size_t i = 0; i < n && i < most; i++) {
        double counted = (double)(all[i].count - all[i].over);
        json_array_append_new(urls, json_pack("{s:o, s:f, s:f, s:f, s:f}", "url",
                                              admin_json_text(span_of(all[i].url, all[i].n)), "requests_per_second",
                                              (double)all[i].count / seconds, "at_least", counted / seconds,
                                              "hit_ratio", counted > 0 ? (double)all[i].hits / counted : 0.0,
                                              "bytes_per_second", (double)all[i].bytes / seconds));
    }
    free(all);
    json_t *j = json_pack("{s:f, s:o}", "seconds", seconds, "urls", urls);
    CHECK(j != NULL);
    char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(6));
    CHECK(text != NULL);
    json_decref(j);
    *length = strlen(text);
    return text;
}

void hot_handle(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    handler_response_t resp = {.status = 0};
    query_param_t n = {.name = SPAN("n")};
    size_t most = HOT_USUAL;
    arena_t a;
    arena_init(&a, 0);
    bool good = query_read(&a, req->query, &n, 1, &resp);
    if (good && n.value.p != NULL) {
        most = 0;
        for (size_t i = 0; i < n.value.n && most <= HOT_MOST; i++)
            most = n.value.p[i] >= '0' && n.value.p[i] <= '9' ? most * 10 + (size_t)(n.value.p[i] - '0') : HOT_MOST + 1;
        good = most > 0 && most <= HOT_MOST;
        if (!good)
            handler_problem(&resp, 400, "n can't be that", "\"%.*s\" should be a number of URLs, from 1 to %d",
                            SPAN_ARG(span_upto(n.value, 100)), HOT_MOST);
    }
    if (good) {
        resp = (handler_response_t){.status = 200, .content_type = "application/json"};
        resp.body = hot_json(ctx, most, clock_now().boot, &resp.body_len);
    }
    arena_release(&a);
    reply->send(reply, &resp);
}
