/* Responses that are too large for memory: cut into pieces that go to disk while they are served, and served from
 * there. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/store/piece.h"
#include "edge/tbl/metrics.h"
#include "world.h"

#define FRESH "cache-control: max-age=3600\netag: \"v1\"\ncache-tag: t"
#define WEAK "cache-control: max-age=3600\netag: W/\"v1\"\ncache-tag: t"

enum { LENGTH = 5 * PIECE_BYTES + 12345, BLOCK = 100 * 1000 };

static world_t *pieces_world(void)
{
    return world_open(&(world_options_t){.disk = true, .more = "memory: {size: 8MiB, max_object: 256KiB}"});
}

/* The byte at that place, of one version or another. */
static char at(uint64_t place, char version)
{
    return (char)(version + (char)(place * 2654435761u >> 24) % 26);
}

static char *bytes(char version)
{
    char *b = malloc(LENGTH);
    for (uint64_t i = 0; i < LENGTH; i++)
        b[i] = at(i, version);
    return b;
}

/* What the upstream sends of [from, to); the world runs between the blocks. */
static void sends(world_t *w, world_call_t *call, uint64_t from, uint64_t to, char version)
{
    char *all = bytes(version);
    for (uint64_t i = from; i < to;) {
        uint64_t n = to - i < BLOCK ? to - i : BLOCK;
        if (world_bytes(w, call, all + i, n))
            i += n;
        world_pass(w, 5);
        if (!call->open)
            break;
        world_disk(w);
    }
    free(all);
}

static void answers(world_t *w, const char *fields, char version)
{
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, fields, LENGTH);
    sends(w, call, 0, LENGTH, version);
    world_end(w, call, UPSTREAM_OK);
    world_pass(w, 10);
    world_disk(w);
}

static void is(const world_client_t *c, int status, uint64_t from, uint64_t to, char version)
{
    cr_assert(c->head, "no answer");
    cr_expect_eq(c->status, status, "status %d", c->status);
    cr_expect(c->done && !c->aborted, "complete");
    cr_assert_eq(c->n, to - from, "%zu bytes", c->n);
    for (uint64_t i = from; i < to; i++)
        if (c->body[i - from] != at(i, version)) {
            cr_expect(false, "a wrong byte at %llu", (unsigned long long)i);
            break;
        }
}

static world_client_t *gets(world_t *w, unsigned loop, const char *lines)
{
    world_client_t *c = world_get(w, loop, "/a", lines);
    for (int i = 0; i < 50 && !c->done; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    return c;
}

static void stored(world_t *w, const char *fields)
{
    size_t calls = w->calls;
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert_eq(w->calls, calls + 1);
    answers(w, fields, 'a');
    is(c, 200, 0, LENGTH, 'a');
    cr_expect(world_says(c, "cache-status", "fwd=uri-miss; fwd-status=200; stored"));
}

static store_fate_t everything(object_t *o, void *arg)
{
    (void)o, (void)arg;
    return STORE_REMOVE;
}

/* Memory alone, as at a restart. */
static void forget(world_t *w)
{
    uint64_t cursor = 0;
    warm_t *warm = w->warm;
    w->warm = NULL;
    do
        store_sweep(w->store, &cursor, 1000, everything, w);
    while (cursor != 0);
    w->warm = warm;
}

Test(sim_pieces, a_large_response_is_served_from_disk)
{
    world_t *w = pieces_world();
    stored(w, FRESH);
    world_client_t *c = gets(w, 1, NULL);
    is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(c->content_length, LENGTH);
    cr_expect(world_says(c, "cache-status", "; hit; ttl=") && world_says(c, "cache-status", "detail=disk"));
    forget(w);
    is(gets(w, 0, NULL), 200, 0, LENGTH, 'a');
    is(gets(w, 0, "range: bytes=0-9"), 206, 0, 10, 'a');
    is(gets(w, 0, "range: bytes=-1"), 206, LENGTH - 1, LENGTH, 'a');
    is(gets(w, 0, "range: bytes=262143-262144"), 206, 262143, 262145, 'a');
    is(gets(w, 0, "range: bytes=300000-"), 206, 300000, LENGTH, 'a');
    cr_expect_eq(gets(w, 0, "range: bytes=99999999-")->status, 416);
    cr_expect_eq(gets(w, 0, "if-none-match: \"v1\"")->status, 304);
    c = gets(w, 0, "range: bytes=1000000-1000009,5-9,700000-700001");
    cr_assert(c->done && c->status == 206 && world_says(c, "content-type", "multipart/byteranges"));
    cr_expect_eq(c->content_length, (int64_t)c->n);
    char *all = bytes('a');
    cr_expect(memmem(c->body, c->n, all + 1000000, 10) != NULL && memmem(c->body, c->n, all + 700000, 2) != NULL);
    free(all);
    world_client_t *head = world_request(w, 0, "HEAD", "/a", NULL, NULL);
    world_disk(w);
    cr_expect(head->status == 200 && head->content_length == LENGTH && head->n == 0);
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

/* Its bytes are told of, though the head that memory keeps has none. */
Test(sim_pieces, explained)
{
    world_t *w = pieces_world();
    world_get(w, 0, "/a", NULL);
    answers(w, FRESH, 'a');
    w->env[0].purge_method = explain_handle;
    world_client_t *c = world_request(w, 0, "PURGE", "/v1/explain?url=http://site.example/a", NULL, NULL);
    for (int ms = 0; !c->done && ms < 10000; ms++) {
        usleep(1000);
        world_run(w);
    }
    char text[64];
    snprintf(text, sizeof text, "\"bytes\":%d,\"length\":%d", LENGTH, LENGTH);
    cr_assert(c->done && c->status == 200);
    cr_expect(strstr(c->body, "\"decision\":\"hit\"") != NULL && strstr(c->body, "detail=disk") != NULL, "%s", c->body);
    cr_expect(strstr(c->body, text) != NULL && strstr(c->body, "in pieces on disk") != NULL, "%s", c->body);
    world_free(w);
}

Test(sim_pieces, a_slow_disk_is_waited_for)
{
    world_t *w = pieces_world();
    stored(w, FRESH);
    warm_stall(w->warm, 3);
    is(gets(w, 0, NULL), 200, 0, LENGTH, 'a');
    world_client_t *leaves = world_get(w, 0, "/a", NULL);
    world_leave(w, leaves);
    world_disk(w);
    warm_stall(w->warm, 0);
    world_free(w);
}

Test(sim_pieces, memory_stays_bounded_while_it_arrives)
{
    world_t *w = pieces_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    char *all = bytes('a');
    store_stats_t s;
    for (uint64_t i = 0; i < LENGTH;) {
        uint64_t n = LENGTH - i < BLOCK ? LENGTH - i : BLOCK;
        if (world_bytes(w, call, all + i, n))
            i += n;
        world_pass(w, 5);
        world_disk(w);
        world_run(w);
        store_stats(w->store, &s);
        cr_expect_leq(s.used, 3 * PIECE_BYTES, "%llu bytes", (unsigned long long)s.used);
    }
    free(all);
    world_end(w, call, UPSTREAM_OK);
    world_disk(w);
    is(c, 200, 0, LENGTH, 'a');
    world_free(w);
}

Test(sim_pieces, what_was_cut_is_not_there)
{
    world_t *w = pieces_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, WEAK, LENGTH);
    sends(w, call, 0, 3 * PIECE_BYTES + 100, 'a');
    world_end(w, call, UPSTREAM_CUT);
    world_disk(w);
    cr_expect(c->aborted);
    c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_expect(!c->head && w->calls == 2, "nothing of it is found");
    world_free(w);
}

Test(sim_pieces, a_client_that_leaves_does_not_stop_it)
{
    world_t *w = pieces_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, WEAK, LENGTH);
    sends(w, call, 0, 2 * PIECE_BYTES, 'a');
    world_leave(w, c);
    world_run(w);
    cr_assert(call->open);
    sends(w, call, 2 * PIECE_BYTES, LENGTH, 'a');
    world_end(w, call, UPSTREAM_OK);
    world_pass(w, 10);
    world_disk(w);
    is(gets(w, 0, NULL), 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_pieces, a_purge_covers_head_and_pieces)
{
    static const char *const kinds[] = {FRESH, WEAK};
    for (size_t i = 0; i < 2; i++) {
        world_t *w = pieces_world();
        stored(w, kinds[i]);
        world_purge(w, LEDGER_TAG, "t", MARK_HARD);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert(w->calls == 2 && !fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
        answers(w, kinds[i], 'A'); /* the same validator, and other bytes: what was purged never comes back */
        is(c, 200, 0, LENGTH, 'A');
        is(gets(w, 0, NULL), 200, 0, LENGTH, 'A');
        world_free(w);
    }
}

Test(sim_pieces, a_purge_while_it_arrives_counts)
{
    world_t *w = pieces_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    sends(w, call, 0, 2 * PIECE_BYTES, 'a');
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    sends(w, call, 2 * PIECE_BYTES, LENGTH, 'a');
    world_end(w, call, UPSTREAM_OK);
    world_disk(w);
    is(c, 200, 0, LENGTH, 'a');
    c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_expect(!c->head && w->calls == 2);
    world_free(w);
}

Test(sim_pieces, a_validation_keeps_the_pieces)
{
    world_t *w = pieces_world();
    stored(w, WEAK);
    world_pass(w, 3601 * MSEC_PER_SEC);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert(w->calls == 2 && fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
    world_answer(w, world_last_call(w), 304, WEAK, "");
    world_disk(w);
    is(c, 200, 0, LENGTH, 'a');
    is(gets(w, 1, "range: bytes=-7"), 206, LENGTH - 7, LENGTH, 'a');
    forget(w);
    is(gets(w, 1, NULL), 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_pieces, a_length_that_is_not_known_before)
{
    world_t *w = pieces_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, -1);
    sends(w, call, 0, LENGTH, 'a');
    world_end(w, call, UPSTREAM_OK);
    world_pass(w, 10);
    world_disk(w);
    is(c, 200, 0, LENGTH, 'a');
    c = gets(w, 0, NULL);
    is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(c->content_length, LENGTH);
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_pieces, a_disk_that_takes_nothing_is_given_up)
{
    world_t *w = pieces_world();
    warm_stall(w->warm, 600000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    char *all = bytes('a');
    for (uint64_t i = 0; i < LENGTH;) {
        uint64_t n = LENGTH - i < BLOCK ? LENGTH - i : BLOCK;
        if (world_bytes(w, call, all + i, n))
            i += n;
        world_pass(w, 500);
    }
    free(all);
    world_end(w, call, UPSTREAM_OK);
    world_pass(w, 5000);
    is(c, 200, 0, LENGTH, 'a');
    warm_stall(w->warm, 0);
    world_disk(w);
    world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_expect_eq(w->calls, 2, "it isn't stored");
    world_free(w);
}
