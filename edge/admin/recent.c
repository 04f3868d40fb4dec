/* A ring of lines under a mutex that only the log's writer and callers of the API take: no request waits for it. Beside
 * each line stands what it may be chosen by, so that choosing parses nothing. */
#include "edge/admin/recent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/http/query.h"

typedef struct recent_line {
    char *p; /* host, cache word, then the line */
    uint32_t n;
    uint16_t host_n, cache_n;
    int status;
} recent_line_t;

struct recent {
    _Atomic msec_t watched_until; /* wall */
    pthread_mutex_t mutex;        /* guards what follows */
    uint64_t next;                /* number of the line that comes next */
    size_t count, bytes;          /* lines [next - count, next) are here */
    recent_line_t line[RECENT_LINES];
};

typedef struct recent_query {
    span_t host, cache;
    int status_from, status_to; /* inclusive */
    uint64_t after;
    size_t last;
    bool has_after;
} recent_query_t;

recent_t *recent_new(void)
{
    recent_t *r = mem_zalloc(sizeof *r);
    pthread_mutex_init(&r->mutex, NULL);
    return r;
}

void recent_free(recent_t *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->count; i++)
        free(r->line[(r->next - 1 - i) % RECENT_LINES].p);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

bool recent_watched(const recent_t *r, msec_t wall)
{
    return wall < atomic_load_explicit(&r->watched_until, memory_order_relaxed);
}

void recent_add(recent_t *r, const accesslog_record_t *record, span_t line)
{
    size_t n = record->host.n + record->cache.n + line.n;
    recent_line_t l = {.p = mem_alloc(n + 1),
                       .n = (uint32_t)line.n,
                       .host_n = (uint16_t)record->host.n,
                       .cache_n = (uint16_t)record->cache.n,
                       .status = record->status};
    char *to = l.p;
    const span_t parts[] = {record->host, record->cache, line};
    for (size_t i = 0; i < 3; to += parts[i++].n)
        if (parts[i].n > 0)
            memcpy(to, parts[i].p, parts[i].n);
    pthread_mutex_lock(&r->mutex);
    while (r->count > 0 && (r->count == RECENT_LINES || r->bytes + n > RECENT_BYTES)) {
        recent_line_t *oldest = &r->line[(r->next - r->count) % RECENT_LINES];
        r->bytes -= (size_t)oldest->host_n + oldest->cache_n + oldest->n;
        r->count--;
        free(oldest->p);
    }
    r->line[r->next++ % RECENT_LINES] = l;
    r->count++;
    r->bytes += n;
    pthread_mutex_unlock(&r->mutex);
}

/* ---- asking ---- */

static bool recent_chosen(const recent_line_t *l, const recent_query_t *q)
{
    span_t host = span_of(l->p, l->host_n), cache = span_of(l->p + l->host_n, l->cache_n);
    span_t name = span_upto(host, span_find(host, ':'));
    return l->status >= q->status_from && l->status <= q->status_to &&
           (q->host.p == NULL || span_caseeq(host, q->host) || span_caseeq(name, q->host)) &&
           (q->cache.p == NULL || span_caseeq(cache, q->cache));
}

/* The number of the first line to be shown. */
static uint64_t recent_from(const recent_t *r, const recent_query_t *q)
{
    uint64_t first = r->next - r->count, at = r->next;
    if (q->has_after)
        return q->after < first ? first : q->after < r->next ? q->after : r->next;
    for (size_t left = q->last; at > first && left > 0;)
        left -= recent_chosen(&r->line[--at % RECENT_LINES], q);
    return at;
}

static char *recent_json(recent_t *r, const recent_query_t *q, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (out == NULL)
        return NULL;
    pthread_mutex_lock(&r->mutex);
    uint64_t first = r->next - r->count, at = recent_from(r, q);
    /* a number from before a restart of the node is greater than all there are: then everything is new */
    uint64_t lost = q->has_after && q->after < first ? first - q->after : 0;
    if (q->has_after && q->after > r->next)
        at = first;
    size_t lines = 0, bytes = 0;
    fputs("{\"lines\":[", out);
    for (; at < r->next && lines < RECENT_ANSWER_LINES && bytes < RECENT_ANSWER_BYTES; at++) {
        const recent_line_t *l = &r->line[at % RECENT_LINES];
        if (!recent_chosen(l, q))
            continue;
        if (lines++ > 0)
            fputc(',', out);
        fwrite(l->p + l->host_n + l->cache_n, 1, l->n, out);
        bytes += l->n;
    }
    fprintf(out, "],\"next\":%llu,\"lost\":%llu,\"more\":%s}\n", (unsigned long long)at, (unsigned long long)lost,
            at < r->next ? "true" : "false");
    pthread_mutex_unlock(&r->mutex);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static bool recent_number(span_t s, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(s.p[i] - '0');
    }
    return s.n > 0 && s.n <= 18;
}

/* One of the query's values into `q`; false with the 400 that names what would be right. */
static bool recent_parameter(span_t name, span_t value, recent_query_t *q, handler_response_t *resp)
{
    uint64_t n = 0;
    const char *right = "the name of a host";
    bool good = value.n > 0;
    if (span_eq(name, SPAN("host"))) {
        q->host = value;
    } else if (span_eq(name, SPAN("cache"))) {
        right = ACCESSLOG_CACHE_WORDS;
        good = accesslog_is_cache_word(value);
        q->cache = value;
    } else if (span_eq(name, SPAN("status"))) {
        right = ACCESSLOG_STATUSES;
        good = accesslog_statuses(value, &q->status_from, &q->status_to);
    } else if (span_eq(name, SPAN("after"))) {
        right = "the \"next\" of an earlier answer";
        good = q->has_after = recent_number(value, &q->after);
    } else {
        _Static_assert(RECENT_LINES == 4096, "as it says");
        right = "a number of lines, up to 4096";
        good = recent_number(value, &n) && n <= RECENT_LINES;
        q->last = good ? (size_t)n : q->last;
    }
    if (!good)
        handler_problem(resp, 400, "a parameter can't be that", "\"%.*s\" can't be \"%.*s\"; it is %s", SPAN_ARG(name),
                        SPAN_ARG(span_upto(value, 100)), right);
    return good;
}

static bool recent_read(arena_t *a, span_t query, recent_query_t *q, handler_response_t *resp)
{
    query_param_t params[] = {
        {.name = SPAN("last")}, {.name = SPAN("after")}, {.name = SPAN("host")}, {.name = SPAN("status")}, {.name = SPAN("cache")}};
    enum { PARAMS = sizeof params / sizeof *params };
    if (!query_read(a, query, params, PARAMS, resp))
        return false;
    for (size_t i = 0; i < PARAMS; i++)
        if (params[i].value.p != NULL && !recent_parameter(params[i].name, params[i].value, q, resp))
            return false;
    if (params[0].value.p == NULL || params[1].value.p == NULL)
        return true;
    handler_problem(resp, 400, "last and after exclude each other",
                    "ask as /v1/log?last=100, or with the \"next\" of its answer as /v1/log?after=NUMBER");
    return false;
}

void recent_handle(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    recent_t *r = ctx;
    handler_response_t resp = {.status = 0};
    recent_query_t q = {.status_to = 999, .last = RECENT_USUAL};
    arena_t a;
    arena_init(&a, 0);
    if (recent_read(&a, req->query, &q, &resp)) {
        atomic_store_explicit(&r->watched_until, clock_now().wall + RECENT_WATCHED, memory_order_relaxed);
        resp = (handler_response_t){.status = 200, .content_type = "application/json"};
        resp.body = recent_json(r, &q, &resp.body_len);
    }
    arena_release(&a);
    reply->send(reply, &resp);
}
