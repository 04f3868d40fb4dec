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
    return world_open(&(world_options_t){
        .disk = true,
        .more = "memory: {size: 8MiB, max_object: 256KiB}\ndisk: {path: unused, size: 64MiB, wait: 10s, slice: 1MiB}"});
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

/* What was cut reaches the disk, and the head comes after it. */
static void lands(world_t *w)
{
    for (int i = 0; i < 5; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    world_disk(w);
}

static void answers(world_t *w, const char *fields, char version)
{
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, fields, LENGTH);
    sends(w, call, 0, LENGTH, version);
    world_end(w, call, UPSTREAM_OK);
    lands(w);
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

static bool any(const object_t *o, void *arg)
{
    (void)o, (void)arg;
    return true;
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
        cr_expect_leq(s.used, 8 * PIECE_BYTES, "%llu bytes", (unsigned long long)s.used);
    }
    free(all);
    world_end(w, call, UPSTREAM_OK);
    lands(w);
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
    lands(w);
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
    lands(w);
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
    lands(w);
    is(c, 200, 0, LENGTH, 'a');
    c = gets(w, 0, NULL);
    is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(c->content_length, LENGTH);
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

static void given_up(const char *fields, size_t calls)
{
    world_t *w = pieces_world();
    warm_stall(w->warm, 600000);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, fields, LENGTH);
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
    gets(w, 0, NULL);
    cr_expect(w->calls == calls || calls == 0, "%s: %zu", fields, w->calls);
    world_free(w);
}

Test(sim_pieces, a_disk_that_takes_nothing_is_given_up)
{
    given_up(WEAK, 2);  /* it isn't stored */
    given_up(FRESH, 0); /* what it took before is found, and the rest is asked for */
}

/* ---- pieces that are missing ---- */

/* A purge by URL drops the pieces with the head; this drops a piece alone, as the disk does when it is full. */
static void drops(world_t *w, uint64_t number)
{
    object_t *head = NULL;
    cache_key_t key;
    arena_t a;
    arena_init(&a, 0);
    fields_t none;
    fields_init(&none, &a);
    key_rules_t rules = {0};
    cr_assert_eq(key_make(&a, SPAN("http"), SPAN("site.example"), SPAN("/a"), &rules, &none, &key), ERR_OK);
    head = store_peek(w->store, key.digest, any, NULL);
    cr_assert(head != NULL && object_pieces(head));
    warm_remove(w->warm, piece_digest(head, piece_edition_of(head), number), 0);
    world_disk(w);
    object_unref(head);
    arena_release(&a);
}

static void asked(world_t *w, const char *range, const char *if_range)
{
    const fields_t *f = &world_last_call(w)->fields;
    span_t r = fields_get(f, SPAN("range")), i = fields_get(f, SPAN("if-range"));
    cr_expect(span_eq(r, span_str(range)), "Range %.*s", SPAN_ARG(r));
    cr_expect(span_eq(i, span_str(if_range)), "If-Range %.*s", SPAN_ARG(i));
}

/* The upstream's answer to a request for a slice. */
static void brings(world_t *w, uint64_t from, uint64_t to, char version, const char *fields)
{
    char lines[256];
    world_call_t *call = world_last_call(w);
    snprintf(lines, sizeof lines, "%s\ncontent-range: bytes %llu-%llu/%d", fields, (unsigned long long)from,
             (unsigned long long)to - 1, LENGTH);
    world_head(w, call, 206, lines, (int64_t)(to - from));
    sends(w, call, from, to, version);
    if (call->open)
        world_end(w, call, UPSTREAM_OK);
    lands(w);
}

enum { SLICE = 1024 * 1024 };

Test(sim_pieces, a_missing_piece_is_fetched_with_its_slice_once_for_all)
{
    world_t *w = pieces_world();
    stored(w, FRESH);
    drops(w, 2);
    world_client_t *c[4];
    for (unsigned i = 0; i < 4; i++)
        c[i] = world_get(w, i % 2, "/a", i < 2 ? NULL : "range: bytes=600000-600009");
    world_disk(w);
    cr_assert_eq(w->calls, 2, "one for all: %zu", w->calls);
    asked(w, "bytes=0-1048575", "\"v1\"");
    brings(w, 0, SLICE, 'a', FRESH);
    for (int i = 0; i < 20; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    for (unsigned i = 0; i < 2; i++)
        is(c[i], 200, 0, LENGTH, 'a');
    for (unsigned i = 2; i < 4; i++)
        is(c[i], 206, 600000, 600010, 'a');
    is(gets(w, 0, NULL), 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 2);
    drops(w, 5);
    c[0] = world_get(w, 0, "/a", "range: bytes=-1");
    world_disk(w);
    asked(w, "bytes=1048576-1323064", "\"v1\"");
    brings(w, SLICE, LENGTH, 'a', FRESH);
    is(c[0], 206, LENGTH - 1, LENGTH, 'a');
    world_free(w);
}

Test(sim_pieces, no_body_is_mixed_from_two_versions)
{
    static const struct {
        const char *fields, *range;
        int status;
    } others[] = {
        {"cache-control: max-age=3600\netag: \"v2\"", "bytes 0-1048575/1323065", 206},
        {"cache-control: max-age=3600\netag: W/\"v1\"", "bytes 0-1048575/1323065", 206},
        {"cache-control: max-age=3600", "bytes 0-1048575/1323065", 206},
        {FRESH, "bytes 0-1048575/1323066", 206},
        {FRESH, "bytes 1-1048576/1323065", 206},
        {FRESH, "bytes 0-1048574/1323065", 206},
        {FRESH, "bytes 0-1048575/*", 206},
        {"cache-control: max-age=3600\netag: \"v2\"", NULL, 200},
        {"", NULL, 404},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        world_t *w = pieces_world();
        stored(w, FRESH);
        drops(w, 1);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert_eq(w->calls, 2);
        char lines[256];
        snprintf(lines, sizeof lines, "%s%s%s", others[i].fields, others[i].range != NULL ? "\ncontent-range: " : "",
                 others[i].range != NULL ? others[i].range : "");
        world_head(w, world_last_call(w), others[i].status, lines, others[i].range != NULL ? SLICE : LENGTH);
        world_run(w);
        cr_expect(c->aborted && c->n == PIECE_BYTES, "case %zu: visibly cut", i);
        cr_expect_eq(w->calls, 2, "case %zu: asked again", i);
        world_disk(w);
        c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert(w->calls == 3 && !c->head, "case %zu: what is stored is dropped", i);
        cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("range")));
        answers(w, "cache-control: max-age=3600\netag: \"v2\"", 'A');
        is(c, 200, 0, LENGTH, 'A');
        is(gets(w, 0, NULL), 200, 0, LENGTH, 'A');
        world_free(w);
    }
}

/* Where the first piece is missing, the head waits for it. */
Test(sim_pieces, a_version_that_is_no_more_is_not_begun)
{
    static const struct {
        const char *fields, *range;
        int status;
    } others[] = {
        {"cache-control: max-age=3600\netag: \"v2\"", "bytes 0-1048575/1323065", 206},
        {"cache-control: max-age=3600\netag: \"v2\"", NULL, 200},
        {"", NULL, 404},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        world_t *w = pieces_world();
        stored(w, FRESH);
        drops(w, 0);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert(w->calls == 2 && !c->head);
        char lines[256];
        snprintf(lines, sizeof lines, "%s%s%s", others[i].fields, others[i].range != NULL ? "\ncontent-range: " : "",
                 others[i].range != NULL ? others[i].range : "");
        world_head(w, world_last_call(w), others[i].status, lines, others[i].range != NULL ? SLICE : LENGTH);
        world_run(w);
        world_disk(w);
        cr_assert(w->calls == 3 && !c->head, "case %zu: what is stored is dropped", i);
        cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("range")));
        answers(w, "cache-control: max-age=3600\netag: \"v2\"", 'A');
        is(c, 200, 0, LENGTH, 'A');
        cr_expect(world_says(c, "cache-status", "sim-1; fwd=uri-miss; fwd-status=200; stored"), "%.*s",
                  SPAN_ARG(world_field(c, "cache-status")));
        is(gets(w, 0, NULL), 200, 0, LENGTH, 'A');
        world_free(w);
    }
}

/* A range whose first piece is there, and a later one was never fetched: what the client gets is of one version, and
 * whole. */
Test(sim_pieces, a_range_of_another_version_is_answered_from_that)
{
    world_t *w = world_open(&(world_options_t){
        .disk = true,
        .more =
            "memory: {size: 8MiB, max_object: 256KiB}\ndisk: {path: unused, size: 64MiB, wait: 10s, slice: 256KiB}"});
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=1310720-");
    world_disk(w);
    brings(w, 5 * PIECE_BYTES, LENGTH, 'a', FRESH);
    is(c, 206, 5 * PIECE_BYTES, LENGTH, 'a');
    c = world_get(w, 0, "/a", "range: bytes=0-9");
    world_disk(w);
    asked(w, "bytes=0-262143", "\"v1\"");
    brings(w, 0, PIECE_BYTES, 'a', FRESH);
    is(c, 206, 0, 10, 'a');
    is(gets(w, 1, "range: bytes=100-200000"), 206, 100, 200001, 'a');
    cr_expect_eq(gets(w, 1, "if-none-match: \"v1\"")->status, 304);
    cr_assert_eq(w->calls, 2, "nothing is missing for those");
    c = world_get(w, 0, "/a", "range: bytes=200000-700000");
    world_disk(w);
    cr_assert(w->calls == 3 && !c->head);
    asked(w, "bytes=262144-524287", "\"v1\"");
    world_leave(w, world_get(w, 1, "/a", "range: bytes=200000-700000"));
    world_head(w, world_last_call(w), 200, "cache-control: max-age=3600\netag: \"v2\"", LENGTH);
    world_run(w);
    world_disk(w);
    cr_assert(w->calls == 4 && !c->head);
    answers(w, "cache-control: max-age=3600\netag: \"v2\"", 'A');
    is(c, 206, 200000, 700001, 'A');
    is(gets(w, 0, NULL), 200, 0, LENGTH, 'A');
    world_free(w);
}

Test(sim_pieces, what_can_not_be_had_at_all_is_an_error_and_not_a_cut)
{
    world_t *w = pieces_world();
    stored(w, FRESH);
    drops(w, 4);
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=1100000-1100009");
    world_disk(w);
    while (!c->done && world_last_call(w)->open)
        world_end(w, world_last_call(w), UPSTREAM_FIRST_BYTE_TIMEOUT);
    cr_expect(c->done && !c->aborted && c->status == 504, "%d", c->status);
    cr_expect(world_says(c, "cache-status", "fwd=partial; detail=http_response_timeout"), "%.*s",
              SPAN_ARG(world_field(c, "cache-status")));
    is(gets(w, 0, "range: bytes=0-9"), 206, 0, 10, 'a');
    world_free(w);
}

Test(sim_pieces, a_server_that_ignores_range_sends_all_of_it)
{
    world_t *w = pieces_world();
    stored(w, FRESH);
    drops(w, 1);
    drops(w, 3);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert_eq(w->calls, 2);
    answers(w, FRESH, 'a');
    for (int i = 0; i < 20; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_pieces, without_a_strong_validator_nothing_is_fetched_to_it)
{
    world_t *w = pieces_world();
    stored(w, WEAK);
    drops(w, 3);
    world_client_t *c = gets(w, 0, NULL);
    cr_expect(c->aborted && c->n == 3 * PIECE_BYTES);
    cr_expect_eq(w->calls, 1);
    world_disk(w);
    world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_expect_eq(w->calls, 2, "the next one gets it anew");
    world_free(w);
}

Test(sim_pieces, a_slice_that_was_cut_is_asked_for_again)
{
    world_t *w = pieces_world();
    stored(w, FRESH);
    drops(w, 1);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(w->calls, 2 + i);
        world_call_t *call = world_last_call(w);
        world_head(w, call, 206, FRESH "\ncontent-range: bytes 0-1048575/1323065", SLICE);
        sends(w, call, 0, i == 0 ? 300000 : SLICE, 'a');
        world_end(w, call, i == 0 ? UPSTREAM_CUT : UPSTREAM_OK);
        for (int k = 0; k < 20; k++) {
            world_disk(w);
            world_pass(w, 5);
        }
    }
    is(c, 200, 0, LENGTH, 'a');
    world_free(w);
}

/* ---- ranges of what isn't stored ---- */

Test(sim_pieces, ranges_of_one_cold_slice_are_one_request)
{
    world_t *w = pieces_world();
    static const char *const ranges[] = {"range: bytes=1100000-1100009", "range: bytes=1048576-1048577",
                                         "range: bytes=1300000-1300003", "range: bytes=1323000-"};
    static const uint64_t from[] = {1100000, 1048576, 1300000, 1323000}, to[] = {1100010, 1048578, 1300004, LENGTH};
    world_client_t *c[8];
    for (unsigned i = 0; i < 8; i++)
        c[i] = world_get(w, i / 4, "/a", ranges[i % 4]);
    world_disk(w);
    cr_assert_eq(w->calls, 1, "%zu", w->calls);
    cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("range")), SPAN("bytes=1048576-2097151")));
    brings(w, SLICE, LENGTH, 'a', FRESH);
    for (int i = 0; i < 10; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    for (unsigned i = 0; i < 8; i++)
        is(c[i], 206, from[i % 4], to[i % 4], 'a');
    cr_expect(world_says(c[0], "cache-status", "fwd=uri-miss; fwd-status=206"), "%.*s",
              SPAN_ARG(world_field(c[0], "cache-status")));
    c[0] = gets(w, 0, "range: bytes=1048576-1323064");
    is(c[0], 206, SLICE, LENGTH, 'a');
    cr_expect(world_says(c[0], "cache-status", "; hit") &&
              world_says(c[0], "content-range", "1048576-1323064/1323065"));
    cr_expect_eq(w->calls, 1);
    c[0] = world_get(w, 0, "/a", NULL); /* what is missing for the whole is the other slice */
    world_disk(w);
    cr_assert_eq(w->calls, 2);
    asked(w, "bytes=0-1048575", "\"v1\"");
    brings(w, 0, SLICE, 'a', FRESH);
    for (int i = 0; i < 10; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    is(c[0], 200, 0, LENGTH, 'a');
    forget(w);
    is(gets(w, 1, NULL), 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_pieces, a_slice_of_something_small_is_a_part)
{
    world_t *w = world_open(&(world_options_t){
        .disk = true,
        .more = "memory: {size: 8MiB, max_object: 2MiB}\ndisk: {path: unused, size: 64MiB, slice: 1MiB}"});
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=1100000-1100009");
    world_disk(w);
    brings(w, SLICE, LENGTH, 'a', FRESH);
    is(c, 206, 1100000, 1100010, 'a');
    cr_expect(world_says(c, "content-range", "bytes 1100000-1100009/1323065"));
    is(gets(w, 0, "range: bytes=-1"), 206, LENGTH - 1, LENGTH, 'a');
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_pieces, a_slice_that_is_not_it_is_asked_for_as_it_was)
{
    static const struct {
        const char *fields, *range;
        int status;
        int64_t length;
        bool again;
    } answers_[] = {
        {"cache-control: no-store\netag: \"v1\"", "bytes 1048576-2097151/9000000", 206, SLICE, true},
        {FRESH, "bytes 1048576-1099999/1100000", 206, 51424, false}, /* what the client wants isn't there */
        {FRESH, "bytes 1048577-2097151/9000000", 206, SLICE - 1, true},
        {FRESH, "bytes */5", 416, 0, false},
    };
    for (size_t i = 0; i < sizeof answers_ / sizeof *answers_; i++) {
        world_t *w = pieces_world();
        world_client_t *c = world_get(w, 0, "/a", "range: bytes=1100000-1100009");
        world_disk(w);
        char lines[256];
        snprintf(lines, sizeof lines, "%s\ncontent-range: %s", answers_[i].fields, answers_[i].range);
        world_head(w, world_last_call(w), answers_[i].status, lines, answers_[i].length);
        world_run(w);
        world_disk(w);
        cr_expect_eq(w->calls, answers_[i].again ? 2 : 1, "case %zu", i);
        if (answers_[i].again) {
            cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("range")), SPAN("bytes=1100000-1100009")),
                      "case %zu", i);
            world_head(w, world_last_call(w), 206, FRESH "\ncontent-range: bytes 1100000-1100009/1323065", 10);
            char *all = bytes('a');
            world_bytes(w, world_last_call(w), all + 1100000, 10);
            free(all);
            world_end(w, world_last_call(w), UPSTREAM_OK);
            is(c, 206, 1100000, 1100010, 'a');
        } else {
            if (answers_[i].length == 0)
                world_end(w, world_last_call(w), UPSTREAM_OK);
            cr_expect(c->done && c->status == 416, "case %zu", i);
        }
        world_free(w);
    }
}

/* ---- who comes while it arrives ---- */

Test(sim_pieces, one_fetch_for_all_who_come_while_it_arrives)
{
    world_t *w = pieces_world();
    world_client_t *c[4], *ahead;
    c[0] = world_get(w, 0, "/a", NULL);
    c[1] = world_get(w, 1, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    sends(w, call, 0, 2 * PIECE_BYTES + 5, 'a');
    c[2] = world_get(w, 1, "/a", NULL);
    c[3] = world_get(w, 0, "/a", "range: bytes=5-600000");
    ahead = world_get(w, 1, "/a", "range: bytes=-7");
    world_leave(w, c[0]); /* nobody depends on who came first */
    sends(w, call, 2 * PIECE_BYTES + 5, LENGTH, 'a');
    world_end(w, call, UPSTREAM_OK);
    lands(w);
    is(c[1], 200, 0, LENGTH, 'a');
    is(c[2], 200, 0, LENGTH, 'a');
    is(c[3], 206, 5, 600001, 'a');
    is(ahead, 206, LENGTH - 7, LENGTH, 'a');
    cr_expect(world_says(c[1], "cache-status", "stored; collapsed") && world_says(c[2], "cache-status", "; hit"));
    cr_expect_eq(w->calls, 1, "%zu", w->calls);
    forget(w);
    is(gets(w, 0, NULL), 200, 0, LENGTH, 'a');
    world_free(w);
}

Test(sim_pieces, what_was_cut_is_completed)
{
    world_t *w = pieces_world();
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, FRESH, LENGTH);
    sends(w, call, 0, 2 * PIECE_BYTES + 5, 'a');
    world_leave(w, c);
    for (int i = 0; i < 6 && call->open; i++) { /* nor does the origin answer the requests for the rest */
        world_end(w, call, UPSTREAM_CUT);
        world_pass(w, 1000);
        call = world_last_call(w);
    }
    lands(w);
    size_t calls = w->calls;
    c = gets(w, 0, "range: bytes=300-400000");
    is(c, 206, 300, 400001, 'a');
    cr_expect(world_says(c, "cache-status", "; hit"));
    cr_expect_eq(w->calls, calls, "that much is there");
    c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert_eq(w->calls, calls + 1);
    asked(w, "bytes=0-1048575", "\"v1\"");
    brings(w, 0, SLICE, 'a', FRESH);
    asked(w, "bytes=1048576-1323064", "\"v1\"");
    brings(w, SLICE, LENGTH, 'a', FRESH);
    is(c, 200, 0, LENGTH, 'a');
    world_free(w);
}

Test(sim_pieces, a_server_that_cant_answer_now_costs_nothing_that_is_stored)
{
    world_t *w = pieces_world();
    stored(w, FRESH);
    drops(w, 4);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    for (int i = 0; i < 10; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    cr_assert_eq(w->calls, 2);
    world_answer(w, world_last_call(w), 503, "", "");
    world_run(w);
    cr_expect(c->aborted);
    is(gets(w, 0, "range: bytes=0-1000000"), 206, 0, 1000001, 'a');
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

/* A response that has begun may be finished with what it began with; who asks then gets none of it. */
Test(sim_pieces, a_purge_while_it_is_read)
{
    world_t *w = pieces_world();
    stored(w, FRESH);
    warm_stall(w->warm, 1);
    world_client_t *c = world_get(w, 0, "/a", NULL), *after;
    world_pass(w, 5);
    cr_assert(!c->done);
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    for (int i = 0; i < 50 && !c->done; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    warm_stall(w->warm, 0);
    is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 1);
    after = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert(w->calls == 2 && !after->head);
    answers(w, "cache-control: max-age=3600\netag: \"v2\"", 'A');
    is(after, 200, 0, LENGTH, 'A');
    world_free(w);
}

Test(sim_pieces, what_takes_the_place_of_another_is_on_disk)
{
    static const char *const kinds[] = {FRESH, WEAK};
    for (size_t i = 0; i < 2; i++) {
        world_t *w = pieces_world();
        stored(w, kinds[i]);
        world_pass(w, 3601 * MSEC_PER_SEC);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert_eq(w->calls, 2);
        answers(w, i == 0 ? "cache-control: max-age=3600\netag: \"v2\"" : "cache-control: max-age=3600", 'A');
        is(c, 200, 0, LENGTH, 'A');
        forget(w);
        is(gets(w, 0, NULL), 200, 0, LENGTH, 'A');
        cr_expect_eq(w->calls, 2, "%s", kinds[i]);
        world_free(w);
    }
}
