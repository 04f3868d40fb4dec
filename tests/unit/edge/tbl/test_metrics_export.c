/* The text is read back by a checker that knows the format (0.0.4) and nothing of the exporter. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdlib.h>

#include "edge/tbl/metrics.h"

enum { MOST_SERIES = 20000 };

typedef struct family {
    char name[128], type[16];
    double last_bound, last_cumulative, inf; /* of the histogram being read */
    char last_labels[512];
} family_t;

static size_t read_name(const char *p)
{
    size_t n = 0;
    while (isalpha((unsigned char)p[n]) || p[n] == '_' || p[n] == ':' || (n > 0 && isdigit((unsigned char)p[n])))
        n++;
    return n;
}

/* {a="b",…}: returns the bytes read; labels without le go to `rest`, le's value to *bound (NULL: there was none). */
static size_t read_labels(const char *p, char *rest, char *bound)
{
    const char *start = p;
    rest[0] = bound[0] = '\0';
    if (*p != '{')
        return 0;
    p++;
    while (*p != '}') {
        size_t n = read_name(p);
        cr_assert(n > 0 && p[n] == '=' && p[n + 1] == '"', "label at: %.60s", p);
        const char *value = p + n + 2, *end = value;
        for (; *end != '"'; end++) {
            cr_assert(*end != '\n' && *end != '\0', "open label at: %.60s", p);
            if (*end == '\\') {
                end++;
                cr_assert(*end == '\\' || *end == '"' || *end == 'n', "bad escape at: %.60s", p);
            }
        }
        if (n == 2 && strncmp(p, "le", 2) == 0)
            sprintf(bound, "%.*s", (int)(end - value), value);
        else
            sprintf(rest + strlen(rest), "%.*s;", (int)(end + 1 - p), p);
        p = end + 1;
        if (*p == ',')
            p++;
        else
            cr_assert_eq(*p, '}', "after a label: %.60s", p);
    }
    return (size_t)(p + 1 - start);
}

static void check_text(const char *text)
{
    static char *seen[MOST_SERIES], *families[MOST_SERIES];
    size_t n_seen = 0, n_families = 0;
    family_t f = {0};
    for (const char *line = text; *line != '\0';) {
        const char *end = strchr(line, '\n');
        cr_assert_not_null(end, "the last line ends without a newline");
        if (strncmp(line, "# HELP ", 7) == 0) {
            size_t n = read_name(line + 7);
            cr_assert(n > 0 && line[7 + n] == ' ' && line + 8 + n < end, "%.80s", line);
            memset(&f, 0, sizeof f);
            memcpy(f.name, line + 7, n);
            for (size_t i = 0; i < n_families; i++)
                cr_assert_str_neq(families[i], f.name, "HELP twice");
            families[n_families++] = strdup(f.name);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            size_t n = strlen(f.name);
            cr_assert(strncmp(line + 7, f.name, n) == 0 && line[7 + n] == ' ', "TYPE without its HELP: %.80s", line);
            cr_assert_eq(f.type[0], '\0', "TYPE twice: %s", f.name);
            sprintf(f.type, "%.*s", (int)(end - line - 8 - (long)n), line + 8 + n);
            cr_assert(strcmp(f.type, "counter") == 0 || strcmp(f.type, "gauge") == 0 ||
                      strcmp(f.type, "histogram") == 0);
            if (strcmp(f.type, "counter") == 0)
                cr_assert_str_eq(f.name + n - 6, "_total", "a counter's name ends in _total: %s", f.name);
        } else {
            size_t n = read_name(line), base = strlen(f.name);
            cr_assert(strncmp(line, f.name, base) == 0, "series outside of its family: %.80s", line);
            char rest[512], bound[64];
            size_t labels = read_labels(line + n, rest, bound);
            cr_assert_eq(line[n + labels], ' ');
            char *stop;
            double value = strtod(line + n + labels + 1, &stop);
            cr_assert_eq(stop, end, "value: %.120s", line);
            if (strcmp(f.type, "histogram") != 0) {
                cr_assert_eq(n, base);
                cr_assert_eq(bound[0], '\0');
                if (strcmp(f.type, "counter") == 0)
                    cr_assert_geq(value, 0);
            } else if (strncmp(line + base, "_bucket", n - base) == 0 && n - base == 7) {
                cr_assert_neq(bound[0], '\0');
                double le = strtod(bound, NULL);
                if (strcmp(rest, f.last_labels) == 0 && f.inf == 0 && f.last_bound > 0) {
                    cr_assert_gt(le, f.last_bound);
                    cr_assert_geq(value, f.last_cumulative, "buckets are cumulative: %.120s", line);
                }
                strcpy(f.last_labels, rest);
                f.last_bound = le;
                f.last_cumulative = value;
                f.inf = strcmp(bound, "+Inf") == 0;
            } else {
                cr_assert(f.inf, "no +Inf bucket before: %.120s", line);
                cr_assert_str_eq(rest, f.last_labels);
                if (strncmp(line + base, "_count", n - base) == 0)
                    cr_assert_eq(value, f.last_cumulative, "count is not the +Inf bucket: %.120s", line);
                else
                    cr_assert(strncmp(line + base, "_sum", n - base) == 0 && n - base == 4, "%.120s", line);
            }
            char *series = strndup(line, n + labels);
            for (size_t i = 0; i < n_seen; i++)
                cr_assert_str_neq(seen[i], series, "series twice");
            cr_assert_lt(n_seen, MOST_SERIES);
            seen[n_seen++] = series;
        }
        line = end + 1;
    }
    cr_assert_gt(n_seen, 100);
    for (size_t i = 0; i < n_seen; i++)
        free(seen[i]);
    for (size_t i = 0; i < n_families; i++)
        free(families[i]);
}

static void export_and_check(void)
{
    size_t n;
    char *text = metrics_export_text(&n);
    cr_assert_eq(strlen(text), n);
    check_text(text);
    free(text);
}

static bool exports(const char *line)
{
    size_t n;
    char *text = metrics_export_text(&n), *padded = NULL;
    cr_assert_gt(asprintf(&padded, "\n%s", text), 0);
    bool found = strstr(padded, line) != NULL;
    free(text);
    free(padded);
    return found;
}

Test(metrics_export, of_an_idle_node)
{
    export_and_check();
    /* dense labels are there from the start, so that the first rate() is right */
    cr_assert(exports("\nbrink_hits_total{tier=\"shield\"} 0\n"));
    cr_assert(exports("\nbrink_floods_total{kind=\"reset\"} 0\n"));
    cr_assert(exports("\nbrink_connections{protocol=\"h2\"} 0\n"));
    cr_assert(exports("\nbrink_purge_gaps_total 0\n"));
    cr_assert(exports("\nbrink_build_info{version=\"" BRINK_VERSION "\"} 1\n"));
    cr_assert_not(exports("\nbrink_upstream_requests_total{"));
    cr_assert_not(exports("\nbrink_objects{")); /* nobody to ask */
}

static double minus_half(void *arg)
{
    (void)arg;
    return -0.5;
}
static double big(void *arg)
{
    (void)arg;
    return 21474836480.0;
}

Test(metrics_export, of_everything)
{
    const char *hosts[] = {"www.example.com", "*.example.org", "a\"b\\c\nd", "b\xc3\xbc.example", "\xff\xc0\x80"};
    for (size_t i = 0; i < 5; i++) {
        unsigned site = metrics_label_register(METRIC_DIM_SITE, span_str(hosts[i]));
        unsigned up = metrics_label_register(METRIC_DIM_UPSTREAM, span_str(hosts[i]));
        for (unsigned r = 0; r < METRIC_SIZE_RESULT; r++)
            metrics_add2(METRIC_REQUESTS, site, r, r);
        for (unsigned s = 0; s < METRIC_SIZE_STATUS; s++)
            metrics_add2(METRIC_UPSTREAM_REQUESTS, up, s, s);
    }
    metrics_add2(METRIC_REQUESTS, 0, LABEL_RESULT_HIT, 1);
    for (int m = 0; m < METRICS; m++)
        for (unsigned l = 0; l < 6; l++)
            metrics_observe((metric_t)m, l, (int64_t)l * 1000000); /* where it is no histogram: counted as impossible */
    metrics_gauge_source(METRIC_OBJECTS, LABEL_TIER_DISK, minus_half, NULL);
    metrics_gauge_source(METRIC_BUDGET, LABEL_TIER_DISK, big, NULL);
    metrics_gauge_set(METRIC_READY, 0, 0);
    metrics_gauge_set(METRIC_PURGE_LAG, 0, 0.125);
    metrics_gauge_add(METRIC_IN_FLIGHT, 0, -2);
    metrics_gauge_source(METRIC_PROCESS_CPU, 0, big, NULL);
    export_and_check();
    cr_assert(exports("\nbrink_requests_total{site=\"other\",result=\"hit\"} 1\n"));
    cr_assert(exports("\nbrink_requests_total{site=\"www.example.com\",result=\"hit\"} 0\n"));
    cr_assert(exports("\nbrink_requests_total{site=\"www.example.com\",result=\"error\"} 5\n"));
    cr_assert(exports("\nbrink_requests_total{site=\"b\xc3\xbc.example\",result=\"miss\"} 1\n"));
    cr_assert(exports("\nbrink_requests_total{site=\"a\\\"b\\\\c?d\",result=\"miss\"} 1\n"));
    cr_assert(exports("\nbrink_requests_total{site=\"\?\?\?\",result=\"miss\"} 1\n"));
    cr_assert(exports("\nbrink_objects{tier=\"disk\"} -0.5\n"));
    cr_assert(exports("\nbrink_budget_bytes{tier=\"disk\"} 21474836480\n"));
    cr_assert(exports("\nbrink_ready 0\n"));
    cr_assert(exports("\nbrink_purge_lag_seconds 0.125\n"));
    cr_assert(exports("\nbrink_requests_in_flight -2\n"));
    cr_assert(exports("\nbrink_first_byte_seconds_bucket{result=\"miss\",le=\"0.001\"} 1\n"));
    cr_assert(exports("\nbrink_first_byte_seconds_sum{result=\"error\"} 0.005\n"));
    metrics_gauge_source(METRIC_OBJECTS, LABEL_TIER_DISK, NULL, NULL);
    cr_assert_not(exports("\nbrink_objects{"));
}

static void read_once(void *arg)
{
    ++*(int *)arg;
    metrics_gauge_set(METRIC_LEDGER_ENTRIES, 0, 41 + *(int *)arg);
    metrics_gauge_set(METRIC_PURGE_GAPS, 0, 7);
}

Test(metrics_export, asks_hooks_once_an_export)
{
    int calls = 0;
    metrics_hook(read_once, &calls);
    cr_assert(exports("\nbrink_ledger_entries 42\n"));
    cr_assert(exports("\nbrink_ledger_entries 43\n"));
    cr_assert(exports("\nbrink_purge_gaps_total 7\n"));
    cr_assert_eq(calls, 3);
    metrics_hook(NULL, &calls);
    cr_assert(exports("\nbrink_ledger_entries 44\n")); /* what was set stays */
    for (int i = 0; i < 3 * METRICS_HOOKS; i++) {      /* places are used again */
        metrics_hook(read_once, &calls);
        metrics_hook(NULL, &calls);
    }
}

/* What an operator's dashboards rely on: a rename breaks them. */
Test(metrics_export, names_are_stable)
{
    static const char *const names[] = {
        "brink_requests_total counter",
        "brink_hits_total counter",
        "brink_request_duration_seconds histogram",
        "brink_upstream_duration_seconds histogram",
        "brink_bytes_total counter",
        "brink_objects gauge",
        "brink_bytes gauge",
        "brink_evictions_total counter",
        "brink_collapsed_total counter",
        "brink_upstream_requests_total counter",
        "brink_upstream_healthy gauge",
        "brink_purges_total counter",
        "brink_purge_lag_seconds gauge",
        "brink_purge_gaps_total counter",
        "brink_connections gauge",
        "brink_floods_total counter",
        "brink_build_info gauge",
    };
    char line[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(line, sizeof line, "\n# TYPE %s\n", names[i]);
        cr_assert(exports(line), "%s", names[i]);
    }
}
