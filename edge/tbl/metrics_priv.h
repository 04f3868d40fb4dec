/* Between metrics.c (cells) and metrics_export.c (text). */
#ifndef BRINK_TBL_METRICS_PRIV_H
#define BRINK_TBL_METRICS_PRIV_H

#include <stdbool.h>

#include "edge/tbl/metrics.h"

typedef enum metric_kind {
    METRIC_KIND_COUNTER,
    METRIC_KIND_GAUGE,
    METRIC_KIND_SAMPLED,
    METRIC_KIND_HISTOGRAM,
    METRIC_KIND_INFO
} metric_kind_t;

typedef struct metric_row {
    metric_kind_t kind;
    const char *name, *help;
    metric_dim_t dim[2];
    unsigned first, labels, second; /* first cell, combinations of labels, words of the second dimension */
} metric_row_t;

typedef struct metric_dim_row {
    const char *label; /* NULL: METRIC_DIM_NONE */
    unsigned size;     /* words there may be */
    bool dynamic, sparse;
    unsigned first_word;    /* fixed: into the table of words */
    _Atomic(char *) *words; /* dynamic: those registered */
} metric_dim_row_t;

extern const metric_row_t metric_rows[METRICS];
extern const metric_dim_row_t metric_dim_rows[METRIC_DIMS];

/* The word of a number; NULL: not registered. */
const char *metrics_word(metric_dim_t dim, unsigned number);
/* The cell's sum over all threads, modulo 2^64. */
uint64_t metrics_sum(unsigned cell);
/* Was it set, or is it asked for? *value says what, without the sum. */
bool metrics_sampled(unsigned cell, double *value);
void metrics_run_hooks(void);
extern const int64_t metrics_bounds[METRICS_BUCKETS - 1]; /* upper bounds in nanoseconds, ascending */

#endif
