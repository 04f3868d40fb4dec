/* The Grafana dashboard speaks of metrics that exist, with labels that they have: a rename in metrics.def fails here,
 * not on the operator's screen. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/tbl/metrics_priv.h"

static char problem[512];
static int expressions, matchers;

static bool word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == ':';
}

/* The row of a name as it stands in an expression; a histogram only with its suffix. NULL: there is none. */
static const metric_row_t *row_of(const char *name, size_t n)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    for (int m = 0; m < METRICS; m++) {
        const metric_row_t *row = &metric_rows[m];
        size_t base = strlen(row->name);
        if (strncmp(row->name, name, base < n ? base : n) != 0 || base > n)
            continue;
        if (row->kind != METRIC_KIND_HISTOGRAM) {
            if (base == n)
                return row;
            continue;
        }
        for (size_t i = 0; i < 3; i++)
            if (strlen(suffixes[i]) == n - base && strncmp(name + base, suffixes[i], n - base) == 0)
                return row;
    }
    return NULL;
}

static bool has_label(const metric_row_t *row, const char *label, size_t n)
{
    static const char *const scraped[] = {"instance", "job"};
    for (size_t i = 0; i < 2; i++)
        if (strlen(scraped[i]) == n && strncmp(scraped[i], label, n) == 0)
            return true;
    if (n == 2 && strncmp(label, "le", 2) == 0)
        return row->kind == METRIC_KIND_HISTOGRAM;
    for (int d = 0; d < 2; d++) {
        const char *have = metric_dim_rows[row->dim[d]].label;
        if (have != NULL && strlen(have) == n && strncmp(have, label, n) == 0)
            return true;
    }
    return false;
}

static bool has_word(const metric_row_t *row, const char *label, size_t label_n, const char *word, size_t n)
{
    for (int d = 0; d < 2; d++) {
        const metric_dim_row_t *dim = &metric_dim_rows[row->dim[d]];
        if (dim->label == NULL || strlen(dim->label) != label_n || strncmp(dim->label, label, label_n) != 0)
            continue;
        for (unsigned i = 0; i < dim->size && !dim->dynamic; i++) {
            const char *have = metrics_word(row->dim[d], i);
            if (strlen(have) == n && strncmp(have, word, n) == 0)
                return true;
        }
        return dim->dynamic;
    }
    return n > 0 && word[0] == '$'; /* instance =~ "$instance" */
}

/* {label="word",…}: what stands there must be the metric's. */
static bool check_matchers(const metric_row_t *row, const char *p)
{
    while (*p != '\0' && *p != '}') {
        while (*p == ',' || *p == '{' || *p == ' ')
            p++;
        size_t n = 0;
        while (word_char(p[n]))
            n++;
        if (!has_label(row, p, n)) {
            snprintf(problem, sizeof problem, "%s has no label %.*s", row->name, (int)n, p);
            return false;
        }
        const char *value = strchr(p + n, '"') + 1, *end = strchr(value, '"');
        for (const char *w = value; w < end; w++) { /* alternatives of a regular expression */
            size_t k = strcspn(w, "|\"");
            if (!has_word(row, p, n, w, k)) {
                snprintf(problem, sizeof problem, "%s: %.*s is never %.*s", row->name, (int)n, p, (int)k, w);
                return false;
            }
            w += k;
        }
        matchers++;
        p = end + 1;
    }
    return true;
}

/* Every name that begins as ours is a metric's; every "by (…)" names labels of the metrics inside (of some metric in
 * the expression). */
static bool check_expression(const char *expr)
{
    const metric_row_t *rows[16];
    size_t n_rows = 0;
    for (const char *p = expr; *p != '\0';) {
        size_t n = 0;
        while (word_char(p[n]))
            n++;
        if (n == 0) {
            if (*p == '"') /* a value, not a name */
                p = strchr(p + 1, '"');
            p++;
            continue;
        }
        if (strncmp(p, "brink_", 6) == 0 || strncmp(p, "process_", 8) == 0) {
            const metric_row_t *row = row_of(p, n);
            if (row == NULL) {
                snprintf(problem, sizeof problem, "no metric %.*s", (int)n, p);
                return false;
            }
            rows[n_rows++] = row;
            if (p[n] == '{' && !check_matchers(row, p + n))
                return false;
        }
        p += n;
    }
    if (n_rows == 0) {
        snprintf(problem, sizeof problem, "no metric at all in %.300s", expr);
        return false;
    }
    for (const char *by = expr; (by = strstr(by, " by (")) != NULL;)
        for (by += 5; *by != ')';) {
            size_t n = strcspn(by, ",)");
            bool found = false;
            for (size_t i = 0; i < n_rows; i++)
                found |= has_label(rows[i], by, n);
            if (!found) {
                snprintf(problem, sizeof problem, "by (%.*s) in %.300s", (int)n, by, expr);
                return false;
            }
            by += n;
            by += strspn(by, ", ");
        }
    return true;
}

static void walk(json_t *j)
{
    const char *key;
    json_t *v;
    size_t i;
    if (json_is_array(j))
        json_array_foreach(j, i, v) walk(v);
    json_object_foreach(j, key, v)
    {
        if (strcmp(key, "expr") == 0) {
            cr_assert(check_expression(json_string_value(v)), "%s", problem);
            expressions++;
        }
        walk(v);
    }
}

Test(grafana, the_check_can_fail)
{
    cr_assert(check_expression(
        "sum by (result) (rate(brink_requests_total{result=~\"hit|stale\",instance=~\"$instance\"}[5m]))"));
    cr_assert_not(check_expression("rate(brink_request_total[5m])"));
    cr_assert_not(check_expression("rate(brink_requests_totals[5m])"));
    cr_assert_not(check_expression("brink_purge_effect_seconds"));
    cr_assert_not(check_expression("brink_requests_total_count"));
    cr_assert_not(check_expression("brink_requests_total{tier=\"memory\"}"));
    cr_assert_not(check_expression("brink_requests_total{result=\"hits\"}"));
    cr_assert_not(check_expression("brink_requests_total{result=~\"hit|hits\"}"));
    cr_assert_not(check_expression("brink_requests_total{le=\"1\"}"));
    cr_assert_not(check_expression("sum by (tier) (brink_requests_total)"));
    cr_assert_not(check_expression("up"));
}

Test(grafana, dashboard_names_what_there_is)
{
    const char *path = BRINK_SOURCE_DIR "/configs/grafana.json";
    json_error_t e;
    json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    cr_assert_not_null(j, "%s:%d: %s", path, e.line, e.text);
    walk(j);
    cr_assert_gt(expressions, 50);
    cr_assert_gt(matchers, 50);
    json_decref(j);
}
