/* The disk under the request path: what comes back from it has passed the purge ledger, is read once for all who ask,
 * and doesn't stand above what is newer. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "edge/tbl/metrics.h"
#include "world.h"

#define FRESH "cache-control: max-age=3600\netag: \"v1\""

static world_t *disk_world(void)
{
    return world_open(&(world_options_t){.disk = true, .more = "memory: {size: 8MiB, max_object: 256KiB}"});
}

static void is_body(const world_client_t *c, int status, const char *body)
{
    cr_expect(c->head && c->done && !c->aborted, "complete");
    cr_expect_eq(c->status, status, "status %d", c->status);
    cr_expect(c->n == strlen(body) && (c->n == 0 || memcmp(c->body, body, c->n) == 0), "%s instead of %s",
              c->body != NULL ? c->body : "", body);
}

static void store(world_t *w, const char *target, const char *lines, const char *fields, const char *body)
{
    size_t before = w->calls;
    world_client_t *c = world_get(w, 0, target, lines);
    world_disk(w);
    cr_assert_eq(w->calls, before + 1);
    world_answer(w, world_last_call(w), 200, fields, body);
    is_body(c, 200, body);
}

/* Hit twice, so worth the disk; then memory forgets it. */
static void to_disk(world_t *w, const char *target, const char *lines)
{
    world_get(w, 0, target, lines);
    world_get(w, 0, target, lines);
    world_disk(w);
}

static store_fate_t everything(object_t *o, void *arg)
{
    world_t *w = arg;
    (void)w;
    (void)o;
    return STORE_REMOVE;
}

/* Memory alone: what is on disk stays. */
static void forget(world_t *w)
{
    uint64_t cursor = 0;
    warm_t *warm = w->warm;
    w->warm = NULL; /* the store tells the disk of removals; this stands for a restart */
    do
        store_sweep(w->store, &cursor, 1000, everything, w);
    while (cursor != 0);
    w->warm = warm;
}

Test(sim_disk, what_was_hit_twice_comes_back_from_disk)
{
    world_t *w = disk_world();
    store(w, "/a", NULL, FRESH "\ncache-tag: t", "hello");
    to_disk(w, "/a", NULL);
    forget(w);
    world_pass(w, 10000);
    world_client_t *c = world_get(w, 0, "/a", NULL), *d = world_get(w, 1, "/a", NULL), *e = world_get(w, 0, "/a", NULL);
    world_disk(w);
    is_body(c, 200, "hello");
    is_body(d, 200, "hello");
    is_body(e, 200, "hello");
    cr_expect_eq(w->calls, 1);
    cr_expect(world_says(c, "cache-status", "sim-1; hit; ttl=3590; detail=disk"), "%.*s",
              SPAN_ARG(world_field(c, "cache-status")));
    cr_expect(world_says(world_get(w, 0, "/a", NULL), "cache-status", "detail=memory"));
    cr_expect(world_says(c, "age", "10"));
    world_free(w);
}

Test(sim_disk, a_purge_covers_what_is_on_disk)
{
    world_t *w = disk_world();
    store(w, "/a", NULL, FRESH "\ncache-tag: t", "old");
    to_disk(w, "/a", NULL);
    forget(w);
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert_eq(w->calls, 2);
    cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
    world_answer(w, world_last_call(w), 200, FRESH "\ncache-tag: t", "new");
    is_body(c, 200, "new");
    world_free(w);
}

Test(sim_disk, a_purge_while_it_is_read_counts)
{
    world_t *w = disk_world();
    store(w, "/a", NULL, FRESH "\ncache-tag: t", "old");
    to_disk(w, "/a", NULL);
    forget(w);
    warm_stall(w->warm, 30);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    cr_assert(!list_empty(&w->env[0].promotions), "it is being read");
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    world_disk(w);
    warm_stall(w->warm, 0);
    cr_expect(!c->head && w->calls == 2);
    world_answer(w, world_last_call(w), 200, FRESH, "new");
    is_body(c, 200, "new");
    world_free(w);
}

Test(sim_disk, soft_and_strict_marks_come_along)
{
    world_t *w = disk_world();
    store(w, "/a", NULL, FRESH "\ncache-tag: t", "a");
    to_disk(w, "/a", NULL);
    world_purge(w, LEDGER_TAG, "t", MARK_SOFT);
    forget(w);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert_eq(w->calls, 2);
    cr_expect(fields_has(&world_last_call(w)->fields, SPAN("if-none-match")), "it may be asked about");
    world_answer(w, world_last_call(w), 304, FRESH "\ncache-tag: t", "");
    is_body(c, 200, "a");
    world_free(w);
}

Test(sim_disk, variants_are_told_apart)
{
    world_t *w = disk_world();
    store(w, "/v", "accept-encoding: gzip", FRESH "\nvary: accept-encoding", "gzip");
    to_disk(w, "/v", "accept-encoding: gzip");
    store(w, "/v", "accept-encoding: br", FRESH "\nvary: accept-encoding", "br");
    to_disk(w, "/v", "accept-encoding: br");
    forget(w);
    world_client_t *gzip = world_get(w, 0, "/v", "accept-encoding: gzip"),
                   *br = world_get(w, 0, "/v", "accept-encoding: br"), *none = world_get(w, 0, "/v", NULL);
    world_disk(w);
    is_body(gzip, 200, "gzip");
    is_body(br, 200, "br");
    cr_expect(!none->head && w->calls == 3);
    world_free(w);
}

Test(sim_disk, an_unsafe_request_reaches_what_is_on_disk)
{
    world_t *w = disk_world();
    store(w, "/a", NULL, FRESH, "old");
    to_disk(w, "/a", NULL);
    forget(w);
    world_request(w, 0, "POST", "/a", NULL, "x");
    world_answer(w, world_last_call(w), 200, "", "done");
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_expect(!c->head && w->calls == 3, "it must be asked again (RFC 9111 4.4)");
    world_free(w);
}

Test(sim_disk, a_client_that_leaves_while_it_is_read)
{
    world_t *w = disk_world();
    store(w, "/a", NULL, FRESH, "hello");
    to_disk(w, "/a", NULL);
    forget(w);
    warm_stall(w->warm, 20);
    world_client_t *leaves = world_get(w, 0, "/a", NULL), *stays = world_get(w, 0, "/a", NULL);
    world_leave(w, leaves);
    world_disk(w);
    warm_stall(w->warm, 0);
    is_body(stays, 200, "hello");
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_disk, a_disk_that_is_handed_over_while_it_is_read)
{
    world_t *w = disk_world();
    store(w, "/a", NULL, FRESH "\ncache-tag: t", "hello");
    to_disk(w, "/a", NULL);
    forget(w);
    warm_stall(w->warm, 20);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    w->env[0].warm = w->env[0].fetch.warm = NULL; /* what a worker does when it is told to forget the disk */
    world_disk(w);
    warm_stall(w->warm, 0);
    cr_expect(!c->head && w->calls == 2);
    world_answer(w, world_last_call(w), 200, FRESH, "new");
    is_body(c, 200, "new");
    world_free(w);
}

Test(sim_disk, what_is_too_large_for_memory_lives_on_disk)
{
    world_t *w = disk_world();
    static char block[64 * 1024];
    memset(block, 'z', sizeof block);
    world_client_t *c = world_get(w, 0, "/large", NULL);
    world_head(w, world_last_call(w), 200, FRESH, 16 * sizeof block);
    for (int i = 0; i < 16;) {
        i += world_bytes(w, world_last_call(w), block, sizeof block);
        world_pass(w, 5);
        world_disk(w); /* which may be what it waits for */
    }
    world_end(w, world_last_call(w), UPSTREAM_OK);
    world_disk(w);
    cr_expect(c->done && c->n == 16 * sizeof block);
    world_disk(w);
    world_client_t *d = world_get(w, 1, "/large", "range: bytes=-5");
    world_disk(w);
    is_body(d, 206, "zzzzz");
    cr_expect_eq(w->calls, 1);
    store_stats_t s;
    store_stats(w->store, &s);
    cr_expect(s.objects == 1 && s.object_bytes < 4096, "its head alone");
    world_free(w);
}

static world_t *waiting_world(void)
{
    return world_open(&(world_options_t){
        .disk = true,
        .more = "memory: {size: 8MiB, max_object: 256KiB}\ndisk: {path: unused, size: 64MiB, wait: 50ms}"});
}

static uint64_t counted(metric_t metric)
{
    return metrics_value(metric, 0);
}

Test(sim_disk, who_waits_too_long_for_the_disk_goes_upstream)
{
    world_t *w = waiting_world();
    store(w, "/a", NULL, FRESH, "hello");
    to_disk(w, "/a", NULL);
    forget(w);
    warm_stall(w->warm, 60000);
    uint64_t before = counted(METRIC_DISK_STALLS);
    world_client_t *c = world_get(w, 0, "/a", NULL), *d = world_get(w, 0, "/a", NULL),
                   *cached = world_get(w, 0, "/a", "cache-control: only-if-cached");
    world_pass(w, 40);
    cr_expect(w->calls == 1 && !c->head);
    world_pass(w, 20);
    cr_assert_eq(w->calls, 2, "one for both");
    world_answer(w, world_last_call(w), 200, FRESH, "hello again");
    is_body(c, 200, "hello again");
    is_body(d, 200, "hello again");
    cr_expect(world_says(c, "cache-status", "fwd=uri-miss; fwd-status=200; stored; detail=disk-wait"), "%.*s",
              SPAN_ARG(world_field(c, "cache-status")));
    cr_expect_eq(counted(METRIC_DISK_STALLS) - before, 2);
    cr_expect(!cached->head, "it may not go upstream");
    warm_stall(w->warm, 0);
    world_disk(w);
    cr_expect(cached->done && cached->status == 200);
    is_body(world_get(w, 0, "/a", NULL), 200, "hello again"); /* what came late from the disk doesn't replace it */
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_disk, a_disk_that_answers_nobody_is_not_asked)
{
    world_t *w = waiting_world();
    char target[16];
    for (int i = 0; i < 5; i++) {
        snprintf(target, sizeof target, "/%d", i);
        store(w, target, NULL, FRESH, "hello");
        to_disk(w, target, NULL);
    }
    forget(w);
    warm_stall(w->warm, 60000);
    for (int i = 0; i < 4; i++) { /* a helper thread each */
        snprintf(target, sizeof target, "/%d", i);
        world_get(w, 0, target, NULL);
    }
    usleep(80000);
    cr_assert_eq(w->calls, 5);
    world_client_t *c = world_get(w, 0, "/4", NULL);
    cr_assert_eq(w->calls, 6, "at once");
    world_answer(w, world_last_call(w), 200, FRESH, "from the origin");
    is_body(c, 200, "from the origin");
    warm_stall(w->warm, 0);
    world_disk(w);
    cr_expect_eq(w->calls, 6, "the others had their answer from the disk");
    world_free(w);
}
