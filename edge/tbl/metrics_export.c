/* Prometheus text, format 0.0.4: one HELP and TYPE a metric, then its series. The cells are read while others count, so
 * a histogram's _count is made of the very buckets that are printed, never of a counter beside them. */
#include <math.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/tbl/metrics_priv.h"

static const char *const metrics_types[] = {
    [METRIC_KIND_COUNTER] = "counter",     [METRIC_KIND_GAUGE] = "gauge", [METRIC_KIND_SAMPLED] = "gauge",
    [METRIC_KIND_HISTOGRAM] = "histogram", [METRIC_KIND_INFO] = "gauge",
};
static const char *const metrics_bound_texts[METRICS_BUCKETS] = {
    "1e-05", "2.5e-05", "5e-05", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025",
    "0.05",  "0.1",     "0.25",  "0.5",    "1",       "2.5",    "5",     "10",     "25",    "60",   "+Inf",
};

static void metrics_put_escaped(FILE *out, const char *text, bool quotes)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            fputs("\\n", out);
        else {
            if (*text == '\\' || (quotes && *text == '"'))
                fputc('\\', out);
            fputc(*text, out);
        }
    }
}

/* {a="x",b="y",le="0.1"}, or nothing when there is no label at all. */
static void metrics_put_labels(FILE *out, const metric_row_t *row, const char *const words[2], const char *le)
{
    char sep = '{';
    for (int d = 0; d < 2; d++) {
        if (row->dim[d] == METRIC_DIM_NONE)
            continue;
        fprintf(out, "%c%s=\"", sep, metric_dim_rows[row->dim[d]].label);
        metrics_put_escaped(out, words[d], true);
        fputc('"', out);
        sep = ',';
    }
    if (le != NULL) {
        fprintf(out, "%cle=\"%s\"", sep, le);
        sep = ',';
    }
    if (sep != '{')
        fputc('}', out);
}

static void metrics_put_number(FILE *out, double v)
{
    if (isnan(v))
        fputs("NaN", out);
    else if (isinf(v))
        fputs(v > 0 ? "+Inf" : "-Inf", out);
    else if (v == floor(v) && fabs(v) < 9007199254740992.0)
        fprintf(out, "%.0f", v == 0 ? 0.0 : v); /* never "-0" */
    else
        fprintf(out, "%.12g", v);
}

static void metrics_put_histogram(FILE *out, const metric_row_t *row, unsigned label, const char *const words[2])
{
    unsigned cell = row->first + label * (METRICS_BUCKETS + 1);
    uint64_t count = 0;
    for (unsigned b = 0; b < METRICS_BUCKETS; b++) {
        count += metrics_sum(cell + b);
        fprintf(out, "%s_bucket", row->name);
        metrics_put_labels(out, row, words, metrics_bound_texts[b]);
        fprintf(out, " %llu\n", (unsigned long long)count);
    }
    fprintf(out, "%s_sum", row->name);
    metrics_put_labels(out, row, words, NULL);
    fputc(' ', out);
    metrics_put_number(out, (double)metrics_sum(cell + METRICS_BUCKETS) / 1e9);
    fprintf(out, "\n%s_count", row->name);
    metrics_put_labels(out, row, words, NULL);
    fprintf(out, " %llu\n", (unsigned long long)count);
}

static void metrics_put_series(FILE *out, const metric_row_t *row, unsigned i, unsigned j, const char *const words[2])
{
    unsigned label = i * row->second + j;
    if (row->kind == METRIC_KIND_HISTOGRAM) {
        metrics_put_histogram(out, row, label, words);
        return;
    }
    double sampled;
    bool has = metrics_sampled(row->first + label, &sampled);
    uint64_t sum = metrics_sum(row->first + label);
    if (row->kind == METRIC_KIND_INFO)
        sum = 1;
    if (!has && sum == 0) {
        const metric_dim_row_t *a = &metric_dim_rows[row->dim[0]], *b = &metric_dim_rows[row->dim[1]];
        if (row->kind == METRIC_KIND_SAMPLED || a->sparse || b->sparse || (a->dynamic && i == 0) ||
            (b->dynamic && j == 0))
            return;
    }
    fputs(row->name, out);
    metrics_put_labels(out, row, words, NULL);
    fputc(' ', out);
    if (row->kind == METRIC_KIND_COUNTER && sampled == 0)
        fprintf(out, "%llu", (unsigned long long)sum);
    else if (row->kind == METRIC_KIND_COUNTER)
        metrics_put_number(out, sampled + (double)sum);
    else
        metrics_put_number(out, sampled + (double)(int64_t)sum);
    fputc('\n', out);
}

void metrics_export(FILE *out)
{
    metrics_run_hooks();
    for (int m = 0; m < METRICS; m++) {
        const metric_row_t *row = &metric_rows[m];
        fprintf(out, "# HELP %s ", row->name);
        metrics_put_escaped(out, row->help, false);
        fprintf(out, "\n# TYPE %s %s\n", row->name, metrics_types[row->kind]);
        for (unsigned i = 0; i < metric_dim_rows[row->dim[0]].size; i++) {
            const char *words[2] = {metrics_word(row->dim[0], i), NULL};
            if (row->dim[0] != METRIC_DIM_NONE && words[0] == NULL)
                break; /* words are registered in order */
            for (unsigned j = 0; j < metric_dim_rows[row->dim[1]].size; j++) {
                words[1] = metrics_word(row->dim[1], j);
                if (row->dim[1] != METRIC_DIM_NONE && words[1] == NULL)
                    break;
                metrics_put_series(out, row, i, j, words);
            }
        }
    }
}

char *metrics_export_text(size_t *n)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, n);
    CHECK(out != NULL);
    metrics_export(out);
    CHECK(fclose(out) == 0);
    return text;
}
