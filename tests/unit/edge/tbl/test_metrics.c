/* Counting, labels, sources and quantiles. Criterion runs each test in a process of its own, so the cells start at 0.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

#include "edge/tbl/metrics.h"

static double half(void *arg)
{
    return *(int *)arg / 2.0;
}

Test(metrics, counts_by_label)
{
    metrics_add(METRIC_HITS, LABEL_TIER_MEMORY, 2);
    metrics_add(METRIC_HITS, LABEL_TIER_DISK, 3);
    metrics_add(METRIC_COLLAPSED, 0, 1);
    cr_assert_eq(metrics_value(METRIC_HITS, LABEL_TIER_MEMORY), 2);
    cr_assert_eq(metrics_value(METRIC_HITS, LABEL_TIER_DISK), 3);
    cr_assert_eq(metrics_value(METRIC_HITS, LABEL_TIER_SHIELD), 0);
    cr_assert_eq(metrics_total(METRIC_HITS), 5);
    cr_assert_eq(metrics_total(METRIC_COLLAPSED), 1);
    cr_assert_eq(metrics_total(METRIC_IMPOSSIBLE), 0);
}

Test(metrics, neighbours_do_not_overlap)
{
    /* every cell of every metric is its own: add a different amount to each and read all back */
    uint64_t n = 1;
    for (int m = 0; m < METRICS; m++)
        for (unsigned label = 0; label < metric_places[m].labels; label++)
            metrics_add((metric_t)m, label, n++);
    n = 1;
    for (int m = 0; m < METRICS; m++)
        for (unsigned label = 0; label < metric_places[m].labels; label++)
            cr_assert_eq(metrics_value((metric_t)m, label), n++);
    for (int m = 0; m < METRICS; m++)
        if (metric_places[m].labels == 0) /* histograms */
            cr_assert_eq(metrics_total((metric_t)m), 0, "%s", metrics_name((metric_t)m));
}

Test(metrics, label_out_of_range_is_counted_and_harmless)
{
    metrics_add(METRIC_HITS, 3, 1);
    metrics_add(METRIC_COLLAPSED, ~0u, 1);
    metrics_add2(METRIC_PURGES, LABEL_PURGE_KIND_TAG, 7, 1); /* would be the next kind's first source */
    metrics_add2(METRIC_PURGES, METRIC_SIZE_PURGE_KIND, 0, 1);
    metrics_add(METRIC_REQUEST_DURATION, 0, 1); /* a histogram can't be added to */
    metrics_observe(METRIC_HITS, 0, 1);
    metrics_observe(METRIC_FIRST_BYTE, 6, 1);
    metrics_gauge_set(METRIC_READY, 1, 1);
    metrics_gauge_source(METRIC_READY, 1, half, NULL);
    cr_assert_eq(metrics_total(METRIC_IMPOSSIBLE), 9);
    cr_assert_eq(metrics_total(METRIC_HITS) + metrics_total(METRIC_PURGES) + metrics_total(METRIC_REQUEST_DURATION), 0);
}

Test(metrics, registered_words_keep_their_number)
{
    unsigned a = metrics_label_register(METRIC_DIM_SITE, SPAN("a.example"));
    unsigned b = metrics_label_register(METRIC_DIM_SITE, SPAN("b.example"));
    cr_assert_neq(a, b);
    cr_assert_neq(a, 0);
    cr_assert_eq(metrics_label_register(METRIC_DIM_SITE, SPAN("a.example")), a);
    cr_assert_eq(metrics_label_register(METRIC_DIM_UPSTREAM, SPAN("b.example")), 1); /* its own numbers */
}

Test(metrics, full_dimension_overflows_to_other)
{
    char word[32];
    for (unsigned i = 1; i < METRIC_SIZE_UPSTREAM; i++) {
        int n = snprintf(word, sizeof word, "http://10.0.0.%u", i);
        cr_assert_eq(metrics_label_register(METRIC_DIM_UPSTREAM, span_of(word, (size_t)n)), i);
    }
    cr_assert_eq(metrics_label_register(METRIC_DIM_UPSTREAM, SPAN("http://one-too-many")), 0);
    cr_assert_eq(metrics_label_register(METRIC_DIM_UPSTREAM, SPAN("http://10.0.0.1")), 1);
}

Test(metrics, gauge_goes_up_and_down_over_threads)
{
    metrics_gauge_add(METRIC_CONNECTIONS, LABEL_PROTOCOL_H2, 1);
    metrics_gauge_add(METRIC_CONNECTIONS, LABEL_PROTOCOL_H2, -3);
    cr_assert_eq((int64_t)metrics_value(METRIC_CONNECTIONS, LABEL_PROTOCOL_H2), -2);
    metrics_gauge_set(METRIC_CONNECTIONS, LABEL_PROTOCOL_H2, 10);
    cr_assert_eq((int64_t)metrics_value(METRIC_CONNECTIONS, LABEL_PROTOCOL_H2), 8);
}

static void *count_and_end(void *arg)
{
    metrics_add(METRIC_COLLAPSED, 0, 1);
    return arg;
}

Test(metrics, counts_outlive_their_threads)
{
    /* more threads than there are sets of cells, one after the other */
    for (int i = 0; i < 3 * METRICS_SLOTS; i++) {
        pthread_t t;
        cr_assert_eq(pthread_create(&t, NULL, count_and_end, NULL), 0);
        pthread_join(t, NULL);
    }
    cr_assert_eq(metrics_total(METRIC_COLLAPSED), 3 * METRICS_SLOTS);
}

Test(metrics, observations_fall_into_their_buckets)
{
    metrics_observe(METRIC_PURGE_EFFECT, 0, -5);
    metrics_observe(METRIC_PURGE_EFFECT, 0, 0);
    metrics_observe(METRIC_PURGE_EFFECT, 0, 10000); /* an upper bound belongs to its bucket */
    metrics_observe(METRIC_PURGE_EFFECT, 0, 10001);
    metrics_observe(METRIC_PURGE_EFFECT, 0, 60000000000);
    metrics_observe(METRIC_PURGE_EFFECT, 0, INT64_MAX / 2);
    cr_assert_eq(metrics_total(METRIC_PURGE_EFFECT), 6);
    size_t n;
    char *text = metrics_export_text(&n);
    cr_assert(strstr(text, "brink_purge_effect_seconds_bucket{le=\"1e-05\"} 3\n"));
    cr_assert(strstr(text, "brink_purge_effect_seconds_bucket{le=\"2.5e-05\"} 4\n"));
    cr_assert(strstr(text, "brink_purge_effect_seconds_bucket{le=\"25\"} 4\n"));
    cr_assert(strstr(text, "brink_purge_effect_seconds_bucket{le=\"60\"} 5\n"));
    cr_assert(strstr(text, "brink_purge_effect_seconds_bucket{le=\"+Inf\"} 6\n"));
    cr_assert(strstr(text, "brink_purge_effect_seconds_count 6\n"));
    free(text);
}

Test(metrics, quantile_lies_in_its_bucket)
{
    cr_assert_eq(metrics_quantile(METRIC_FIRST_BYTE, LABEL_RESULT_HIT, 0.5), 0);
    for (int i = 0; i < 99; i++)
        metrics_observe(METRIC_FIRST_BYTE, LABEL_RESULT_HIT, 30000);
    metrics_observe(METRIC_FIRST_BYTE, LABEL_RESULT_HIT, 2000000000);
    double p50 = metrics_quantile(METRIC_FIRST_BYTE, LABEL_RESULT_HIT, 0.5);
    double p999 = metrics_quantile(METRIC_FIRST_BYTE, LABEL_RESULT_HIT, 0.999);
    cr_assert(p50 > 25e-6 && p50 <= 50e-6, "%g", p50);
    cr_assert(p999 > 1 && p999 <= 2.5, "%g", p999);
    metrics_observe(METRIC_FIRST_BYTE, LABEL_RESULT_MISS, INT64_MAX);
    cr_assert_eq(metrics_quantile(METRIC_FIRST_BYTE, LABEL_RESULT_MISS, 0.5), 60); /* no bound above: the last one */
}

Test(metrics, statuses)
{
    cr_assert_eq(metrics_status(0), LABEL_STATUS_NONE);
    cr_assert_eq(metrics_status(-1), LABEL_STATUS_NONE);
    cr_assert_eq(metrics_status(200), LABEL_STATUS_200);
    cr_assert_eq(metrics_status(304), LABEL_STATUS_304);
    cr_assert_eq(metrics_status(508), LABEL_STATUS_508);
    cr_assert_eq(metrics_status(226), LABEL_STATUS_2XX);
    cr_assert_eq(metrics_status(418), LABEL_STATUS_4XX);
    cr_assert_eq(metrics_status(599), LABEL_STATUS_5XX);
    cr_assert_eq(metrics_status(103), LABEL_STATUS_ODD);
    cr_assert_eq(metrics_status(999), LABEL_STATUS_ODD);
}
