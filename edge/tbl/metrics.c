/* The cells. A thread's set is one anonymous mapping, so that pages of labels it never counts cost nothing, and starts
 * on a page of its own, so that no two threads write one cache line. Only its thread writes it (relaxed load, add,
 * store); an export reads all sets and adds up. A set outlives its thread: the next new thread goes on counting in it,
 * so the sums never fall. */
#include "edge/tbl/metrics.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/base/utf8.h"
#include "edge/tbl/metrics_priv.h"

enum {
    WIDTH_COUNTER = 1,
    WIDTH_GAUGE = 1,
    WIDTH_SAMPLED = 1,
    WIDTH_HISTOGRAM = METRICS_BUCKETS + 1, /* the buckets, not cumulative, then the sum in nanoseconds */
    WIDTH_INFO = 1
};

/* ---- what metrics.def says ---- */
#define METRIC_DIM METRIC_NOTHING
#define METRIC_DIM_DYNAMIC METRIC_NOTHING
#define METRIC_WORD METRIC_NOTHING
#define METRIC_DIM_END METRIC_NOTHING
#define METRIC(id, kind, name, d1, d2, help)                                                                           \
    FIRST_##id, LAST_##id = FIRST_##id + METRIC_SIZE_##d1 * METRIC_SIZE_##d2 * WIDTH_##kind - 1,
enum {
#include "edge/tbl/metrics.def"
    CELLS
};
#undef METRIC

#define METRIC(id, kind, name, d1, d2, help)                                                                           \
    [METRIC_##id] = {METRIC_KIND_##kind,                                                                               \
                     name,                                                                                             \
                     help,                                                                                             \
                     {METRIC_DIM_##d1, METRIC_DIM_##d2},                                                               \
                     FIRST_##id,                                                                                       \
                     METRIC_SIZE_##d1 * METRIC_SIZE_##d2,                                                              \
                     METRIC_SIZE_##d2},
const metric_row_t metric_rows[METRICS] = {
#include "edge/tbl/metrics.def"
};
#undef METRIC

/* A histogram has no place to add to: metrics_add would break its buckets. */
#define METRIC(id, kind, name, d1, d2, help)                                                                           \
    [METRIC_##id] = {FIRST_##id, WIDTH_##kind == 1 ? METRIC_SIZE_##d1 * METRIC_SIZE_##d2 : 0, METRIC_SIZE_##d2},
const metric_place_t metric_places[METRICS] = {
#include "edge/tbl/metrics.def"
};
#undef METRIC
#undef METRIC_WORD
#undef METRIC_DIM_DYNAMIC

#define METRIC METRIC_NOTHING
#define METRIC_WORD(dim, id, word) [METRIC_WORD_##dim##_##id##_] = word,
#define METRIC_DIM_DYNAMIC METRIC_NOTHING
static const char *const metrics_fixed_words[METRIC_WORDS_ + 1] = {
#include "edge/tbl/metrics.def"
};
#undef METRIC_WORD
#undef METRIC_DIM_DYNAMIC

#define METRIC_WORD METRIC_NOTHING
#define METRIC_DIM_DYNAMIC(dim, label, most) static _Atomic(char *) metrics_words_##dim[most];
#include "edge/tbl/metrics.def"
#undef METRIC_DIM_DYNAMIC
#undef METRIC_DIM

#define DENSE false
#define SPARSE true
#define METRIC_DIM(dim, label, density)                                                                                \
    [METRIC_DIM_##dim] = {label, METRIC_SIZE_##dim, false, density, METRIC_FIRST_##dim##_, NULL},
#define METRIC_DIM_DYNAMIC(dim, label, most)                                                                           \
    [METRIC_DIM_##dim] = {label, METRIC_SIZE_##dim, true, false, 0, metrics_words_##dim},
const metric_dim_row_t metric_dim_rows[METRIC_DIMS] = {
    [METRIC_DIM_NONE] = {NULL, 1, false, false, METRIC_WORDS_, NULL},
#include "edge/tbl/metrics.def"
};
#undef METRIC_DIM
#undef METRIC_DIM_DYNAMIC
#undef METRIC_DIM_END
#undef METRIC_WORD
#undef METRIC
#undef DENSE
#undef SPARSE

const int64_t metrics_bounds[METRICS_BUCKETS - 1] = {
    10000,     25000,      50000,      100000,     250000,      500000,      1000000,
    2500000,   5000000,    10000000,   25000000,   50000000,    100000000,   250000000,
    500000000, 1000000000, 2500000000, 5000000000, 10000000000, 25000000000, 60000000000,
};

/* ---- sets of cells ---- */
static pthread_mutex_t metrics_mutex =
    PTHREAD_MUTEX_INITIALIZER; /* slots, words, sources; never held across a callback */
static _Atomic(_Atomic uint64_t *) metrics_slots[METRICS_SLOTS];
static bool metrics_taken[METRICS_SLOTS];
static _Atomic uint64_t metrics_shared[CELLS]; /* of threads without a slot */
static _Atomic double metrics_set[CELLS];
static _Atomic bool metrics_was_set[CELLS];
static struct {
    metrics_source_fn *fn;
    void *arg;
} metrics_sources[CELLS];

static struct {
    metrics_hook_fn *fn; /* NULL: free */
    void *arg;
} metrics_hooks[METRICS_HOOKS];

_Thread_local _Atomic uint64_t *metrics_mine;
static _Thread_local bool metrics_slotless; /* asked once in vain: this thread counts in the shared cells */
static pthread_key_t metrics_key;
static pthread_once_t metrics_once = PTHREAD_ONCE_INIT;

static void metrics_leave(void *slot)
{
    metrics_mine = NULL;
    pthread_mutex_lock(&metrics_mutex);
    metrics_taken[(size_t)slot - 1] = false;
    pthread_mutex_unlock(&metrics_mutex);
}

static void metrics_start(void)
{
    CHECK(pthread_key_create(&metrics_key, metrics_leave) == 0);
}

static void metrics_claim(void)
{
    pthread_once(&metrics_once, metrics_start);
    pthread_mutex_lock(&metrics_mutex);
    size_t i = 0;
    while (i < METRICS_SLOTS && metrics_taken[i])
        i++;
    if (i < METRICS_SLOTS) {
        _Atomic uint64_t *cells = atomic_load_explicit(&metrics_slots[i], memory_order_relaxed);
        if (cells == NULL) {
            cells = mmap(NULL, CELLS * sizeof *cells, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(cells != MAP_FAILED);
            atomic_store_explicit(&metrics_slots[i], cells, memory_order_release);
        }
        metrics_taken[i] = true;
        metrics_mine = cells;
    }
    pthread_mutex_unlock(&metrics_mutex);
    if (i < METRICS_SLOTS)
        pthread_setspecific(metrics_key, (void *)(i + 1));
    else
        metrics_slotless = true;
}

/* One cell of this thread, whichever set it counts in. */
static void metrics_bump(unsigned cell, uint64_t n)
{
    if (metrics_mine == NULL && !metrics_slotless)
        metrics_claim();
    if (metrics_mine == NULL) {
        atomic_fetch_add_explicit(&metrics_shared[cell], n, memory_order_relaxed);
        return;
    }
    _Atomic uint64_t *c = &metrics_mine[cell];
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

void metrics_add_slowly(metric_t m, unsigned label, uint64_t n)
{
    if (label < metric_places[m].labels)
        metrics_bump(metric_places[m].first + label, n);
    else
        metrics_bump(FIRST_IMPOSSIBLE, 1);
}

void metrics_observe(metric_t m, unsigned label, int64_t nanos)
{
    const metric_row_t *row = &metric_rows[m];
    if (row->kind != METRIC_KIND_HISTOGRAM || label >= row->labels) {
        metrics_bump(FIRST_IMPOSSIBLE, 1);
        return;
    }
    if (nanos < 0)
        nanos = 0;
    unsigned bucket = 0;
    while (bucket < METRICS_BUCKETS - 1 && nanos > metrics_bounds[bucket])
        bucket++;
    unsigned cell = row->first + label * WIDTH_HISTOGRAM;
    metrics_bump(cell + bucket, 1);
    metrics_bump(cell + METRICS_BUCKETS, (uint64_t)nanos);
}

void metrics_gauge_set(metric_t m, unsigned label, double value)
{
    if (label >= metric_places[m].labels) {
        metrics_bump(FIRST_IMPOSSIBLE, 1);
        return;
    }
    atomic_store_explicit(&metrics_set[metric_places[m].first + label], value, memory_order_relaxed);
    atomic_store_explicit(&metrics_was_set[metric_places[m].first + label], true, memory_order_release);
}

void metrics_gauge_source(metric_t m, unsigned label, metrics_source_fn *fn, void *arg)
{
    if (label >= metric_places[m].labels) {
        metrics_bump(FIRST_IMPOSSIBLE, 1);
        return;
    }
    unsigned cell = metric_places[m].first + label;
    pthread_mutex_lock(&metrics_mutex);
    metrics_sources[cell].fn = fn;
    metrics_sources[cell].arg = arg;
    pthread_mutex_unlock(&metrics_mutex);
}

void metrics_hook(metrics_hook_fn *fn, void *arg)
{
    pthread_mutex_lock(&metrics_mutex);
    size_t at = METRICS_HOOKS;
    for (size_t i = METRICS_HOOKS; i-- > 0;)
        if (fn != NULL ? metrics_hooks[i].fn == NULL : metrics_hooks[i].fn != NULL && metrics_hooks[i].arg == arg)
            at = i;
    CHECK(at < METRICS_HOOKS || fn == NULL);
    if (at < METRICS_HOOKS) {
        metrics_hooks[at].fn = fn;
        metrics_hooks[at].arg = arg;
    }
    pthread_mutex_unlock(&metrics_mutex);
}

void metrics_run_hooks(void)
{
    for (size_t i = 0; i < METRICS_HOOKS; i++) {
        pthread_mutex_lock(&metrics_mutex);
        metrics_hook_fn *fn = metrics_hooks[i].fn;
        void *arg = metrics_hooks[i].arg;
        pthread_mutex_unlock(&metrics_mutex);
        if (fn != NULL)
            fn(arg);
    }
}

/* ---- labels ---- */
/* A word becomes a label's value: whatever is not UTF-8 or not printable is replaced, so that every reader can parse
 * it. */
static char *metrics_clean(span_t word)
{
    word = span_upto(word, METRICS_WORD_MAX);
    char *z = mem_alloc(word.n + 1);
    size_t to = 0;
    for (size_t i = 0; i < word.n;) {
        size_t n = utf8_length(word.p + i, word.n - i);
        if (n == 0 || (unsigned char)word.p[i] < 0x20 || word.p[i] == 0x7f) {
            z[to++] = '?';
            i++;
        } else {
            memcpy(z + to, word.p + i, n);
            to += n;
            i += n;
        }
    }
    z[to] = '\0';
    return z;
}

unsigned metrics_label_register(metric_dim_t dim, span_t word)
{
    const metric_dim_row_t *row = &metric_dim_rows[dim];
    CHECK(row->dynamic);
    char *clean = metrics_clean(word);
    unsigned number = 0;
    pthread_mutex_lock(&metrics_mutex);
    for (unsigned i = 1; i < row->size && number == 0; i++) {
        char *known = atomic_load_explicit(&row->words[i], memory_order_relaxed);
        if (known == NULL) {
            atomic_store_explicit(&row->words[i], clean, memory_order_release);
            clean = NULL;
            number = i;
        } else if (strcmp(known, clean) == 0)
            number = i;
    }
    pthread_mutex_unlock(&metrics_mutex);
    free(clean);
    return number;
}

const char *metrics_word(metric_dim_t dim, unsigned number)
{
    const metric_dim_row_t *row = &metric_dim_rows[dim];
    if (!row->dynamic)
        return metrics_fixed_words[row->first_word + number];
    return number == 0 ? "other" : atomic_load_explicit(&row->words[number], memory_order_acquire);
}

unsigned metrics_status(int status)
{
    static const struct {
        short status, label;
    } known[] = {
#define S(code) {code, LABEL_STATUS_##code}
        S(101), S(200), S(201), S(202), S(203), S(204), S(206), S(300), S(301), S(302), S(303), S(304),
        S(307), S(308), S(400), S(401), S(403), S(404), S(405), S(410), S(412), S(413), S(414),
        S(416), S(422), S(429), S(451), S(500), S(501), S(502), S(503), S(504), S(508),
#undef S
    };
    if (status <= 0)
        return LABEL_STATUS_NONE;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return (unsigned)known[i].label;
    switch (status / 100) {
    case 2:
        return LABEL_STATUS_2XX;
    case 3:
        return LABEL_STATUS_3XX;
    case 4:
        return LABEL_STATUS_4XX;
    case 5:
        return LABEL_STATUS_5XX;
    default:
        return LABEL_STATUS_ODD;
    }
}

/* ---- reading ---- */
uint64_t metrics_sum(unsigned cell)
{
    uint64_t sum = atomic_load_explicit(&metrics_shared[cell], memory_order_relaxed);
    for (size_t i = 0; i < METRICS_SLOTS; i++) {
        _Atomic uint64_t *cells = atomic_load_explicit(&metrics_slots[i], memory_order_acquire);
        if (cells == NULL)
            break; /* slots are filled from the front */
        sum += atomic_load_explicit(&cells[cell], memory_order_relaxed);
    }
    return sum;
}

bool metrics_sampled(unsigned cell, double *value)
{
    pthread_mutex_lock(&metrics_mutex);
    metrics_source_fn *fn = metrics_sources[cell].fn;
    void *arg = metrics_sources[cell].arg;
    pthread_mutex_unlock(&metrics_mutex);
    bool was_set = atomic_load_explicit(&metrics_was_set[cell], memory_order_acquire);
    *value =
        (fn != NULL ? fn(arg) : 0) + (was_set ? atomic_load_explicit(&metrics_set[cell], memory_order_relaxed) : 0);
    return fn != NULL || was_set;
}

uint64_t metrics_value(metric_t m, unsigned label)
{
    const metric_row_t *row = &metric_rows[m];
    if (label >= row->labels)
        return 0;
    if (row->kind != METRIC_KIND_HISTOGRAM) {
        double set = atomic_load_explicit(&metrics_set[row->first + label], memory_order_relaxed);
        return metrics_sum(row->first + label) + (uint64_t)(int64_t)set;
    }
    uint64_t n = 0;
    for (unsigned b = 0; b < METRICS_BUCKETS; b++)
        n += metrics_sum(row->first + label * WIDTH_HISTOGRAM + b);
    return n;
}

uint64_t metrics_total(metric_t m)
{
    uint64_t n = 0;
    for (unsigned label = 0; label < metric_rows[m].labels; label++)
        n += metrics_value(m, label);
    return n;
}

const char *metrics_name(metric_t m)
{
    return metric_rows[m].name;
}

double metrics_quantile(metric_t m, unsigned label, double q)
{
    const metric_row_t *row = &metric_rows[m];
    if (row->kind != METRIC_KIND_HISTOGRAM || label >= row->labels)
        return 0;
    uint64_t counts[METRICS_BUCKETS], all = 0;
    for (unsigned b = 0; b < METRICS_BUCKETS; b++)
        all += counts[b] = metrics_sum(row->first + label * WIDTH_HISTOGRAM + b);
    if (all == 0)
        return 0;
    double want = q * (double)all, before = 0;
    for (unsigned b = 0; b < METRICS_BUCKETS - 1; b++) {
        if (counts[b] > 0 && before + (double)counts[b] >= want) {
            double low = b > 0 ? (double)metrics_bounds[b - 1] : 0, high = (double)metrics_bounds[b];
            double part = want > before ? (want - before) / (double)counts[b] : 0;
            return (low + (high - low) * part) / 1e9;
        }
        before += (double)counts[b];
    }
    return (double)metrics_bounds[METRICS_BUCKETS - 2] / 1e9;
}
