/* Threads come, count and go, more of them at once than there are sets of cells, while another exports: nothing is
 * lost, sums never fall, and ThreadSanitizer sees no race. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/check.h"
#include "edge/tbl/metrics.h"

enum { THREADS = METRICS_SLOTS + 16, ROUNDS = 3, COUNTS = 2000 };

static _Atomic bool over;
static pthread_barrier_t barrier;

static void *count(void *arg)
{
    unsigned me = (unsigned)(size_t)arg;
    metrics_add(METRIC_ACCEPTED, 0, 1);
    pthread_barrier_wait(&barrier); /* all have chosen their cells: some must share */
    char word[32];
    for (unsigned i = 0; i < COUNTS; i++) {
        unsigned site = 1;
        if (i % 64 == 0) {
            int n = snprintf(word, sizeof word, "site-%u.example", i / 64 % 20);
            site = metrics_label_register(METRIC_DIM_SITE, span_of(word, (size_t)n));
        }
        metrics_add2(METRIC_REQUESTS, site, me % METRIC_SIZE_RESULT, 1);
        metrics_observe(METRIC_REQUEST_DURATION, 0, (int64_t)i * 1000);
        metrics_gauge_add(METRIC_CONNECTIONS, LABEL_PROTOCOL_H1, i % 2 == 0 ? 1 : -1);
        metrics_gauge_set(METRIC_UPSTREAM_HEALTHY, me % METRIC_SIZE_UPSTREAM, 1);
    }
    return NULL;
}

static double one(void *arg)
{
    (void)arg;
    return 1;
}

static void *export_all(void *arg)
{
    uint64_t before = 0;
    size_t n = 0;
    while (!atomic_load(&over)) {
        metrics_gauge_source(METRIC_OBJECTS, LABEL_TIER_MEMORY, n % 2 == 0 ? one : NULL, NULL);
        free(metrics_export_text(&n));
        uint64_t now = metrics_total(METRIC_REQUESTS);
        CHECK(now >= before);
        before = now;
    }
    return arg;
}

int main(void)
{
    pthread_t exporter, threads[THREADS];
    CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
    CHECK(pthread_create(&exporter, NULL, export_all, NULL) == 0);
    for (int r = 0; r < ROUNDS; r++) {
        for (size_t i = 0; i < THREADS; i++)
            CHECK(pthread_create(&threads[i], NULL, count, (void *)i) == 0);
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    atomic_store(&over, true);
    pthread_join(exporter, NULL);
    CHECK(metrics_total(METRIC_ACCEPTED) == (uint64_t)THREADS * ROUNDS);
    CHECK(metrics_total(METRIC_REQUESTS) == (uint64_t)THREADS * ROUNDS * COUNTS);
    CHECK(metrics_total(METRIC_REQUEST_DURATION) == (uint64_t)THREADS * ROUNDS * COUNTS);
    CHECK(metrics_total(METRIC_CONNECTIONS) == 0);
    CHECK(metrics_total(METRIC_IMPOSSIBLE) == 0);
    printf("%d threads counted %llu times\n", THREADS * ROUNDS, (unsigned long long)metrics_total(METRIC_REQUESTS));
    return 0;
}
