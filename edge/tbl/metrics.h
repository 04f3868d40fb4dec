/* Counters, gauges and histograms of the node: rows in metrics.def, cells here, Prometheus text at the end.
 *
 * Each thread counts in cells of its own (claimed at its first count, kept for the sum when it ends), so a count on the
 * path of a hit is an ordinary load, add and store: no locked instruction and no shared cache line. Threads beyond
 * METRICS_SLOTS share one set of cells with atomic additions.
 *
 *   metrics_add(METRIC_COLLAPSED, 0, 1);
 *   metrics_add(METRIC_HITS, LABEL_TIER_DISK, 1);
 *   unsigned site = metrics_label_register(METRIC_DIM_SITE, SPAN("www.example.com"));   when the configuration is read
 *   metrics_add2(METRIC_REQUESTS, site, LABEL_RESULT_HIT, 1);                           for each request
 *   metrics_observe(METRIC_REQUEST_DURATION, 0, clock_nanos() - began);
 *   metrics_gauge_add(METRIC_CONNECTIONS, LABEL_PROTOCOL_H2, +1);                    and -1 later, on any thread
 *   metrics_gauge_source(METRIC_OBJECTS, LABEL_TIER_MEMORY, store_objects, store);      asked at each export
 *
 * Everything is process-wide and lives from the start to the end: a reload of the configuration changes nothing here.
 * Threads: every function from any thread. */
#ifndef BRINK_TBL_METRICS_H
#define BRINK_TBL_METRICS_H

#include <stdatomic.h>
#include <stdio.h>

#include "edge/base/span.h"

enum {
    METRICS_SLOTS = 64,     /* threads alive at once that have cells of their own */
    METRICS_WORD_MAX = 128, /* bytes of a registered word; longer ones are cut */
    METRICS_HOOKS = 32,     /* at once; one more is a broken invariant */
    METRICS_BUCKETS = 22    /* of a histogram: 10 µs … 60 s in steps of 1, 2.5, 5, and +Inf */
};

/* ---- generated from metrics.def ---- */
#define METRIC_NOTHING(...)

#define METRIC_DIM(dim, label, density) METRIC_DIM_##dim,
#define METRIC_DIM_DYNAMIC(dim, label, most) METRIC_DIM_##dim,
#define METRIC_WORD METRIC_NOTHING
#define METRIC_DIM_END METRIC_NOTHING
#define METRIC METRIC_NOTHING
typedef enum metric_dim {
    METRIC_DIM_NONE,
#include "edge/tbl/metrics.def"
    METRIC_DIMS
} metric_dim_t;
#undef METRIC_DIM
#undef METRIC_DIM_DYNAMIC
#undef METRIC_WORD
#undef METRIC_DIM_END
#undef METRIC

/* Fixed words numbered through, to take each dimension's own numbers from. */
#define METRIC_DIM(dim, label, density) METRIC_FIRST_##dim##_, METRIC_BEFORE_##dim##_ = METRIC_FIRST_##dim##_ - 1,
#define METRIC_WORD(dim, id, word) METRIC_WORD_##dim##_##id##_,
#define METRIC_DIM_END(dim) METRIC_END_##dim##_, METRIC_LAST_##dim##_ = METRIC_END_##dim##_ - 1,
#define METRIC_DIM_DYNAMIC METRIC_NOTHING
#define METRIC METRIC_NOTHING
enum {
#include "edge/tbl/metrics.def"
    METRIC_WORDS_
};
#undef METRIC_DIM
#undef METRIC_WORD
#undef METRIC_DIM_END
#undef METRIC_DIM_DYNAMIC

#define METRIC_DIM METRIC_NOTHING
#define METRIC_WORD(dim, id, word) LABEL_##dim##_##id = METRIC_WORD_##dim##_##id##_ - METRIC_FIRST_##dim##_,
#define METRIC_DIM_END(dim) METRIC_SIZE_##dim = METRIC_END_##dim##_ - METRIC_FIRST_##dim##_,
#define METRIC_DIM_DYNAMIC(dim, label, most) METRIC_SIZE_##dim = (most),
enum metric_label {
    METRIC_SIZE_NONE = 1,
#include "edge/tbl/metrics.def"
};
#undef METRIC_DIM
#undef METRIC_WORD
#undef METRIC_DIM_END
#undef METRIC_DIM_DYNAMIC
#undef METRIC

#define METRIC_DIM METRIC_NOTHING
#define METRIC_WORD METRIC_NOTHING
#define METRIC_DIM_END METRIC_NOTHING
#define METRIC_DIM_DYNAMIC METRIC_NOTHING
#define METRIC(id, kind, name, d1, d2, help) METRIC_##id,
typedef enum metric {
#include "edge/tbl/metrics.def"
    METRICS
} metric_t;
#undef METRIC_DIM
#undef METRIC_WORD
#undef METRIC_DIM_END
#undef METRIC_DIM_DYNAMIC
#undef METRIC

/* ---- counting ---- */
typedef struct metric_place {
    unsigned first;  /* cell of label 0 */
    unsigned labels; /* combinations of labels */
    unsigned second; /* words of the second dimension */
} metric_place_t;
extern const metric_place_t metric_places[METRICS];
extern _Thread_local _Atomic uint64_t *metrics_mine; /* this thread's cells; NULL until its first count */
void metrics_add_slowly(metric_t m, unsigned label, uint64_t n);

/* n more under the label's number (0 when the metric has none). A number out of range is counted as
 * brink_impossible_total. */
static inline void metrics_add(metric_t m, unsigned label, uint64_t n)
{
    _Atomic uint64_t *cells = metrics_mine;
    if (__builtin_expect(cells == NULL || label >= metric_places[m].labels, 0)) {
        metrics_add_slowly(m, label, n);
        return;
    }
    _Atomic uint64_t *cell = &cells[metric_places[m].first + label];
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n, memory_order_relaxed);
}
/* The number of a pair of labels. */
static inline unsigned metrics_label2(metric_t m, unsigned first, unsigned second)
{
    return second < metric_places[m].second ? first * metric_places[m].second + second : ~0u;
}
static inline void metrics_add2(metric_t m, unsigned first, unsigned second, uint64_t n)
{
    metrics_add(m, metrics_label2(m, first, second), n);
}
/* One duration into a histogram; a negative one counts as 0. */
void metrics_observe(metric_t m, unsigned label, int64_t nanos);

/* ---- gauges ---- */
static inline void metrics_gauge_add(metric_t m, unsigned label, int64_t n)
{
    metrics_add(m, label, (uint64_t)n);
}
/* The value is this (plus what gauge_add says); also for counters that somebody else counts. */
void metrics_gauge_set(metric_t m, unsigned label, double value);
/* `fn` is asked at every export, on the thread that exports, without a lock; it must not block. It replaces an earlier
 * source of the same metric and label; NULL takes it away (an export that runs meanwhile may still call it: release
 * `arg` only when no export can run). For every kind but histograms. */
typedef double metrics_source_fn(void *arg);
void metrics_gauge_source(metric_t m, unsigned label, metrics_source_fn *fn, void *arg);
/* Called at the start of every export, without a lock: for a structure of numbers that is read once and handed on with
 * metrics_gauge_set. Several exports may run at once. `arg` as above; fn NULL takes the hook of that `arg` away. */
typedef void metrics_hook_fn(void *arg);
void metrics_hook(metrics_hook_fn *fn, void *arg);

/* ---- labels ---- */
/* Number of a word of a dynamic dimension; the same word always has the same number. 0 ("other") when the dimension is
 * full. Takes a lock: for when a configuration is read or an upstream appears, not for each request. */
unsigned metrics_label_register(metric_dim_t dim, span_t word);
/* LABEL_STATUS_… of a status code; 0 or less: LABEL_STATUS_NONE. */
unsigned metrics_status(int status);

/* ---- reading ---- */
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
/* Prometheus text format 0.0.4. */
void metrics_export(FILE *out);
/* The same as a malloc'ed string; free() releases. */
char *metrics_export_text(size_t *n);
/* Sum over all threads (histograms: number of observations). */
uint64_t metrics_value(metric_t m, unsigned label);
/* The sum over all labels. */
uint64_t metrics_total(metric_t m);
const char *metrics_name(metric_t m);
/* Quantile q (0 … 1) of a histogram in seconds, for status pages: linear interpolation within
 * the bucket; 0 when nothing was observed. */
double metrics_quantile(metric_t m, unsigned label, double q);

#endif
