/* What the purge ledger costs: a purge, and the check of a stored response, beside how much was purged. No disk and no
 * network: tests/bench/purge.py measures the node.
 *
 *     bench_purge [VALUES]      (1000000: as many as the ledger has room for) */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/policy/key.h"
#include "edge/policy/tags.h"
#include "purge/ledger.h"

enum { CHECKS = 2000 * 1000, TAGS = 3, OBJECTS = 1000 * 1000 };

static digest_t named(const char *what, size_t n)
{
    char name[32];
    return tags_digest(span_of(name, (size_t)snprintf(name, sizeof name, "%s-%zu", what, n)));
}

static void purge(ledger_t *l, ledger_kind_t kind, digest_t digest, uint32_t length)
{
    ledger_value_t v = {.digest = digest, .length = length, .kind = kind};
    ledger_append(l, &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1}, NULL);
}

/* ns of one check of a response with three tags that nothing covers. `all`: it was never checked before. */
static double check(ledger_t *l, bool all)
{
    span_t uri = SPAN("www.example.com/shop/shoes/4711?colour=red");
    digest_t tags[TAGS] = {named("own", 1), named("own", 2), named("own", 3)};
    ledger_subject_t s = {.uri = uri, .uri_digest = key_uri_digest(uri), .tags = tags, .tags_n = TAGS};
    ledger_stamp_t st;
    ledger_stamp_init(&st, 0);
    unsigned marks = ledger_stamp_check(l, &st, &s);
    int64_t began = clock_nanos();
    for (int i = 0; i < CHECKS; i++) {
        if (all)
            ledger_stamp_init(&st, 0);
        marks |= ledger_stamp_check(l, &st, &s);
    }
    double ns = (double)(clock_nanos() - began) / CHECKS;
    if (marks != MARK_NONE)
        abort();
    return ns;
}

static void checks(ledger_t *l, const char *after)
{
    ledger_stats_t s;
    ledger_stats(l, &s);
    printf("check after %-44s %7.1f ns   the first time %7.1f ns   (%zu values, %.1f MiB)\n", after, check(l, false),
           check(l, true), s.values, (double)s.bytes / 1048576);
}

static void fill(ledger_t *l, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++)
        purge(l, LEDGER_TAG, named("tag", i), 0);
}

/* One tag of a million responses: what the purge costs, and then each of them, when it is next asked for. */
static void one_tag(void)
{
    ledger_t *l = ledger_new(1, 0);
    digest_t tag = named("all", 0);
    ledger_stamp_t *stamps = mem_alloc(OBJECTS * sizeof *stamps);
    for (size_t i = 0; i < OBJECTS; i++)
        ledger_stamp_init(&stamps[i], 0);
    int64_t began = clock_nanos();
    purge(l, LEDGER_TAG, tag, 0);
    int64_t done = clock_nanos();
    size_t dead = 0;
    span_t uri = SPAN("h/a");
    ledger_subject_t s = {.uri = uri, .uri_digest = key_uri_digest(uri), .tags = &tag, .tags_n = 1};
    for (size_t i = 0; i < OBJECTS; i++)
        dead += ledger_stamp_check(l, &stamps[i], &s) == MARK_HARD;
    ledger_stats_t st;
    ledger_stats(l, &st);
    printf("purge of one tag of %d responses: %.1f us, %zu value (%.1f KiB); %zu are dead, each found to be so in %.0f "
           "ns\n",
           OBJECTS, (double)(done - began) / 1e3, st.values, (double)st.bytes / 1024, dead,
           (double)(clock_nanos() - done) / OBJECTS);
    free(stamps);
    ledger_free(l);
}

static void ceiling(ledger_t *l, size_t most)
{
    int64_t worst = 0, sum = 0;
    for (size_t i = 0; i < most; i++) {
        digest_t d = named("beyond", i);
        int64_t began = clock_nanos();
        purge(l, LEDGER_TAG, d, 0);
        int64_t took = clock_nanos() - began;
        sum += took;
        worst = took > worst ? took : worst;
    }
    ledger_stats_t s;
    ledger_stats(l, &s);
    printf("%zu more purges at the ceiling of %zu: %.2f us each, the slowest %.2f ms; %zu values, %.1f MiB, %llu "
           "collapses\n",
           most, s.max_values, (double)sum / 1e3 / (double)most, (double)worst / 1e6, s.values,
           (double)s.bytes / 1048576, (unsigned long long)s.collapses);
}

int main(int argc, char **argv)
{
    size_t most = argc > 1 ? strtoull(argv[1], NULL, 10) : LEDGER_MAX_VALUES;
    if (most < 20000) {
        fprintf(stderr, "bench_purge: at least 20000 values\n");
        return 2;
    }
    setlinebuf(stdout);
    ledger_t *l = ledger_new(1, most);
    one_tag();
    checks(l, "no purge");
    fill(l, 0, 10000);
    checks(l, "10,000 purges by tag");
    for (uint32_t i = 0; i < 10; i++)
        purge(l, LEDGER_PREFIX, named("prefix", i), 10 + i);
    for (size_t i = 0; i < 100; i++) {
        purge(l, LEDGER_URL, named("url", i), 0);
        purge(l, LEDGER_HOST, named("host", i), 0);
    }
    checks(l, "100 URLs, 100 hosts and 10 lengths of prefixes");
    ledger_stats_t s;
    ledger_stats(l, &s);
    size_t room = most - s.values;
    int64_t began = clock_nanos();
    fill(l, 10000, room);
    printf("%zu more purges by tag: %.2f us each\n", room, (double)(clock_nanos() - began) / 1e3 / (double)room);
    checks(l, "as many values as there is room for");
    ceiling(l, most);
    ledger_free(l);
    return 0;
}
