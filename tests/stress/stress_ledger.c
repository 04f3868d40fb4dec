/* Eight threads append to and ask one ledger at the same time, with a table so small that it collapses all the while.
 *
 * What must hold, whatever the interleaving: when an append has returned, a check (and a stamp that was checked before)
 * of what it covers, with a position from before, is never MARK_NONE; a hard purge is always MARK_HARD; and what began
 * at the head after it is not hurt by it. Then eight threads purge through the whole module, journal included, and a
 * restart finds every answer. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "purge/purge.h"

enum { THREADS = 8, ROUNDS = 20000, HOT = 64, SUBMITS = 200 };

static ledger_t *ledger;
static ledger_stamp_t hot[HOT];
static _Atomic uint64_t hot_purged[HOT]; /* position of the last hard purge of hot object i whose append returned */
static _Atomic uint64_t failures;

static digest_t digest_of(unsigned thread, unsigned i)
{
    unsigned v[2] = {thread, i};
    return hash_digest(span_of((const char *)v, sizeof v));
}

#define EXPECT(cond)                                                                                                   \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            if (atomic_fetch_add(&failures, 1) == 0)                                                                   \
                fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                             \
        }                                                                                                              \
    } while (0)

static void one_round(unsigned me, unsigned i, uint64_t *seed)
{
    digest_t tag = digest_of(me, i);
    ledger_subject_t s = {.uri = SPAN("h/a"), .uri_digest = digest_of(me, i + ROUNDS), .tags = &tag, .tags_n = 1};
    ledger_stamp_t st;
    uint64_t upto, began = ledger_head(ledger);
    mark_t level = i % 3 == 0 ? MARK_SOFT : MARK_HARD;
    ledger_stamp_init(&st, began);
    mark_t before = ledger_stamp_check(ledger, &st, &s);
    (void)before; /* others may have collapsed the table meanwhile */
    ledger_value_t v = i % 2 ? (ledger_value_t){.kind = LEDGER_TAG, .digest = tag}
                             : (ledger_value_t){.kind = LEDGER_URL, .digest = s.uri_digest};
    uint64_t at = ledger_append(
        ledger, &(ledger_entry_t){.level = level, .values = &v, .n = 1, .outside = i % 5 == 0, .boot = 1}, NULL);
    mark_t m = ledger_check(ledger, &s, began, &upto);
    EXPECT(at > began && upto >= at);
    EXPECT(level == MARK_HARD ? m == MARK_HARD : m != MARK_NONE);
    m = ledger_stamp_check(ledger, &st, &s);
    EXPECT(level == MARK_HARD ? m == MARK_HARD : m != MARK_NONE);
    if (i % 5 == 0)
        ledger_confirm(ledger, &v, 1);

    /* an object that all threads share */
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    unsigned k = (unsigned)(*seed >> 33) % HOT;
    digest_t shared = digest_of(THREADS, k);
    ledger_subject_t h = {.uri = SPAN("h/hot"), .uri_digest = shared};
    uint64_t purged = atomic_load(&hot_purged[k]);
    m = ledger_stamp_check(ledger, &hot[k], &h);
    EXPECT(purged == 0 || m == MARK_HARD);
    if (i % 64 == 0) {
        ledger_value_t u = {.kind = LEDGER_URL, .digest = shared};
        uint64_t p = ledger_append(ledger, &(ledger_entry_t){.level = MARK_HARD, .values = &u, .n = 1}, NULL);
        atomic_store(&hot_purged[k], p);
    }
    if (i % 128 == 0)
        ledger_invalidate(ledger, shared, 1);
    if (i % 1000 == 0) {
        ledger_stats_t stats;
        ledger_stats(ledger, &stats);
        EXPECT(stats.values <= 1000);
    }
}

static void *run_ledger(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    uint64_t seed = me + 1;
    for (unsigned i = 0; i < ROUNDS; i++)
        one_round(me, i, &seed);
    return NULL;
}

/* ---- the whole module ---- */

static purge_t *purge;
static _Atomic unsigned answered;

static void done(void *ctx, const purge_outcome_t *o)
{
    (void)ctx;
    EXPECT(o->err == ERR_OK);
    atomic_fetch_add(&answered, 1);
}

static err_t normalise(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *d)
{
    (void)ctx;
    (void)a;
    *uri = url;
    *d = hash_digest(url);
    return ERR_OK;
}

static message_t url_message(span_t *url, char *buf, size_t size, unsigned me, unsigned i)
{
    *url = span_of(buf, (size_t)snprintf(buf, size, "http://h/%u/%u", me, i));
    return (message_t){.urls = {url, 1}, .timeout = -1};
}

static void *run_submit(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    char buf[64], bad[8];
    for (unsigned i = 0; i < SUBMITS; i++) {
        span_t url;
        uint64_t upto, began = ledger_head(purge_ledger(purge));
        message_t m = url_message(&url, buf, sizeof buf, me, i);
        EXPECT(purge_submit(purge, &m, done, NULL, bad, sizeof bad) == ERR_OK);
        ledger_subject_t s = {.uri = url, .uri_digest = hash_digest(url)};
        EXPECT(ledger_check(purge_ledger(purge), &s, began, &upto) == MARK_HARD);
        purge_status_t st;
        purge_status(purge, &st);
    }
    return NULL;
}

static void in_threads(void *(*run)(void *))
{
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&t[i], NULL, run, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
}

int main(void)
{
    ledger = ledger_new(1, 1000);
    for (unsigned k = 0; k < HOT; k++)
        ledger_stamp_init(&hot[k], 0);
    in_threads(run_ledger);
    ledger_stats_t stats;
    ledger_stats(ledger, &stats);
    EXPECT(stats.outside == 0 && stats.collapses > 0);
    printf("%llu entries, %llu collapses\n", (unsigned long long)stats.head, (unsigned long long)stats.collapses);
    ledger_free(ledger);

    char dir[] = "/tmp/brink-stress-XXXXXX", err[256], cmd[64];
    CHECK(mkdtemp(dir) != NULL);
    purge_options_t o = {.node = "stress", .state = dir, .normalise = normalise};
    CHECK(purge_open(&o, &purge, err, sizeof err) == ERR_OK && purge_start(purge, false) == ERR_OK);
    in_threads(run_submit);
    purge_stop(purge);
    EXPECT(atomic_load(&answered) == THREADS * SUBMITS);
    purge_free(purge);
    CHECK(purge_open(&o, &purge, err, sizeof err) == ERR_OK);
    for (unsigned me = 0; me < THREADS; me++)
        for (unsigned i = 0; i < SUBMITS; i++) {
            char buf[64];
            span_t url;
            url_message(&url, buf, sizeof buf, me, i);
            ledger_subject_t s = {.uri = url, .uri_digest = hash_digest(url)};
            EXPECT(ledger_check(purge_ledger(purge), &s, 0, NULL) == MARK_HARD);
        }
    purge_free(purge);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    CHECK(system(cmd) == 0);
    printf("%u purges through the journal, %llu failures\n", THREADS * SUBMITS,
           (unsigned long long)atomic_load(&failures));
    return atomic_load(&failures) != 0;
}
