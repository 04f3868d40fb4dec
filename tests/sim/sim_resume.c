/* A body whose connection was cut: the rest is asked for only where it is provably of the same representation; else the
 * client sees the cut and nothing is stored. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

#define STRONG "cache-control: max-age=60\netag: \"v1\""

static span_t asked(world_t *w, const char *name)
{
    return fields_get(&world_last_call(w)->fields, span_str(name));
}

/* "hello" of "hello world" has come, then the connection is gone. */
static world_client_t *cut(world_t *w, const char *lines, int64_t length)
{
    world_client_t *c = world_get(w, 0, "/big", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, lines, length);
    world_body(w, call, "hello");
    world_end(w, call, UPSTREAM_CUT);
    world_run(w);
    return c;
}

static void is_whole(world_t *w, const world_client_t *c)
{
    cr_assert(c->done && !c->aborted, "one whole body");
    cr_expect_eq(c->status, 200);
    cr_expect(c->n == 11 && memcmp(c->body, "hello world", 11) == 0, "%zu bytes", c->n);
    size_t before = w->calls;
    const world_client_t *again = world_get(w, 0, "/big", NULL);
    cr_expect(w->calls == before && world_says(again, "x-cache", "HIT") && again->n == 11, "it was stored");
}

static void is_cut(world_t *w, const world_client_t *c, size_t calls)
{
    world_run(w);
    cr_expect(c->done && c->aborted, "the cut is visible");
    cr_expect_eq(w->calls, calls, "%zu requests", w->calls);
    world_client_t *next = world_get(w, 0, "/big", NULL);
    cr_expect(w->calls == calls + 1 && !next->head, "nothing was stored");
    world_leave(w, next);
    world_end(w, world_last_call(w), UPSTREAM_CLOSED);
}

Test(sim_resume, the_rest_is_asked_for_and_put_behind)
{
    world_t *w = world_new(NULL, "upstream: { retries: 0 }");
    world_client_t *c = cut(w, STRONG, 11);
    cr_assert(!c->done && w->calls == 2);
    cr_expect(span_eq(asked(w, "range"), SPAN("bytes=5-")) && span_eq(asked(w, "if-range"), SPAN("\"v1\"")));
    world_head(w, world_last_call(w), 206, STRONG "\ncontent-range: bytes 5-10/11", 6);
    world_body(w, world_last_call(w), " world");
    world_end(w, world_last_call(w), UPSTREAM_OK);
    world_run(w);
    is_whole(w, c);
    world_free(w);
}

Test(sim_resume, also_where_the_length_was_not_known)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = cut(w, STRONG, -1);
    world_head(w, world_last_call(w), 206, STRONG "\ncontent-range: bytes 5-7/11", 3);
    world_body(w, world_last_call(w), " wo");
    world_end(w, world_last_call(w), UPSTREAM_OK); /* less than was asked for */
    world_run(w);
    cr_assert(!c->done && span_eq(asked(w, "range"), SPAN("bytes=8-")));
    world_head(w, world_last_call(w), 206, STRONG "\ncontent-range: bytes 8-10/11", 3);
    world_body(w, world_last_call(w), "rld");
    world_end(w, world_last_call(w), UPSTREAM_OK);
    world_run(w);
    is_whole(w, c);
    world_free(w);
}

Test(sim_resume, by_the_date_where_that_is_strong)
{
    static const char *const old = "cache-control: max-age=60\nlast-modified: Mon, 01 Jan 2001 00:00:00 GMT";
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = cut(w, old, 11);
    cr_assert(!c->done && w->calls == 2);
    cr_expect(span_eq(asked(w, "if-range"), SPAN("Mon, 01 Jan 2001 00:00:00 GMT")));
    char lines[256];
    snprintf(lines, sizeof lines, "%s\ncontent-range: bytes 5-10/11", old);
    world_head(w, world_last_call(w), 206, lines, 6);
    world_body(w, world_last_call(w), " world");
    world_end(w, world_last_call(w), UPSTREAM_OK);
    world_run(w);
    is_whole(w, c);
    world_free(w);
}

Test(sim_resume, a_server_without_ranges_sends_all_of_it_again)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = cut(w, STRONG, 11);
    world_head(w, world_last_call(w), 200, STRONG, 11);
    world_body(w, world_last_call(w), "hel");
    world_body(w, world_last_call(w), "lo wo");
    world_body(w, world_last_call(w), "rld");
    world_end(w, world_last_call(w), UPSTREAM_OK);
    world_run(w);
    is_whole(w, c);
    world_free(w);
}

Test(sim_resume, without_a_strong_validator_the_cut_stays)
{
    static const char *const rows[] = {
        "cache-control: max-age=60",
        "cache-control: max-age=60\netag: W/\"v1\"",
        "cache-control: max-age=60\netag: W/\"v1\"\nlast-modified: Mon, 01 Jan 2001 00:00:00 GMT",
        "cache-control: max-age=60\netag: unquoted",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_t *w = world_new(NULL, NULL);
        is_cut(w, cut(w, rows[i], 11), 1);
        world_free(w);
    }
}

Test(sim_resume, other_bytes_are_never_put_behind)
{
    static const struct {
        int status;
        const char *lines;
        int64_t length;
    } rows[] = {
        {200, "etag: \"v2\"", 11},
        {200, "cache-control: max-age=60", 11},
        {200, "etag: \"v1\"", 12},
        {206, "etag: \"v2\"\ncontent-range: bytes 5-10/11", 6},
        {206, "etag: W/\"v1\"\ncontent-range: bytes 5-10/11", 6},
        {206, "content-range: bytes 5-10/11", 6},
        {206, "etag: \"v1\"\ncontent-range: bytes 4-10/11", 7},
        {206, "etag: \"v1\"\ncontent-range: bytes 6-10/11", 5},
        {206, "etag: \"v1\"\ncontent-range: bytes 5-10/12", 6},
        {206, "etag: \"v1\"\ncontent-range: bytes 5-10/*", 6},
        {206, "etag: \"v1\"\ncontent-range: bytes 5-10/11", 7},
        {206, "etag: \"v1\"\ncontent-type: multipart/byteranges; boundary=x", 100},
        {206, "etag: \"v1\"\netag: \"v1\"\ncontent-range: bytes 5-10/11", 6},
        {404, "etag: \"v1\"", 3},
        {416, "etag: \"v1\"\ncontent-range: bytes */11", 0},
        {304, "etag: \"v1\"", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_t *w = world_new(NULL, NULL);
        world_client_t *c = cut(w, STRONG, 11);
        cr_assert(!c->done && w->calls == 2, "%zu", i);
        world_head(w, world_last_call(w), rows[i].status, rows[i].lines, rows[i].length);
        cr_expect(world_last_call(w)->cancelled, "%zu: status %d", i, rows[i].status);
        is_cut(w, c, 2);
        world_free(w);
    }
}

Test(sim_resume, there_is_an_end_to_it)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = cut(w, STRONG, 11);
    for (int i = 0; i < 100 && !c->done; i++) { /* that never brings anything */
        if (world_last_call(w)->open)
            world_end(w, world_last_call(w), i % 2 == 0 ? UPSTREAM_REFUSED : UPSTREAM_CLOSED);
        world_pass(w, 5000);
    }
    is_cut(w, c, 5);
    world_free(w);

    w = world_new(NULL, NULL);
    c = world_get(w, 0, "/big", NULL);
    world_head(w, world_last_call(w), 200, STRONG, 1000);
    world_body(w, world_last_call(w), "x");
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    for (int at = 1; at < 100 && !c->done; at++) { /* that drips: one byte each time */
        char lines[128];
        world_run(w);
        if (!world_last_call(w)->open)
            break;
        snprintf(lines, sizeof lines, STRONG "\ncontent-range: bytes %d-999/1000", at);
        world_head(w, world_last_call(w), 206, lines, 1000 - at);
        world_body(w, world_last_call(w), "x");
        world_end(w, world_last_call(w), UPSTREAM_CUT);
    }
    is_cut(w, c, 17);
    world_free(w);
}

Test(sim_resume, servers_that_cannot_just_now_are_asked_again)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = cut(w, STRONG, 11);
    world_head(w, world_last_call(w), 503, "", 0);
    cr_expect(world_last_call(w)->open && w->calls == 3);
    world_end(w, world_last_call(w), UPSTREAM_REFUSED);
    cr_assert(!c->done && world_last_call(w)->open && w->calls == 4);
    world_head(w, world_last_call(w), 206, STRONG "\ncontent-range: bytes 5-10/11", 6);
    world_body(w, world_last_call(w), " world");
    world_end(w, world_last_call(w), UPSTREAM_OK);
    world_run(w);
    is_whole(w, c);
    world_free(w);
}

/* A server that answers, and be it that it would rather not, has no broken connection. */
Test(sim_resume, being_refused_the_rest_is_no_failure_of_the_server)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = cut(w, STRONG, 11);
    for (int i = 0; i < 10 && !c->done; i++) {
        world_pass(w, 1000);
        if (world_last_call(w)->open)
            world_head(w, world_last_call(w), 429, "retry-after: 1", 0);
        world_run(w);
    }
    cr_expect(c->aborted);
    health_state_t h;
    health_read(health_at(upstreams_health(w->upstreams), 0), w->now.boot, &h);
    cr_expect(h.healthy && h.failures == 1, "%llu failures", (unsigned long long)h.failures);
    world_free(w);
}

Test(sim_resume, what_was_purged_meanwhile_is_not_stored)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_get(w, 0, "/big", NULL);
    world_head(w, world_last_call(w), 200, STRONG, 11);
    world_body(w, world_last_call(w), "hello");
    world_purge(w, LEDGER_ALL, "", MARK_HARD);
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    world_run(w);
    world_head(w, world_last_call(w), 206, STRONG "\ncontent-range: bytes 5-10/11", 6); /* asked for after the purge */
    world_body(w, world_last_call(w), " world");
    world_end(w, world_last_call(w), UPSTREAM_OK);
    world_run(w);
    cr_expect(c->done && !c->aborted && c->n == 11);
    size_t calls = w->calls;
    world_leave(w, world_get(w, 0, "/big", NULL));
    cr_expect_eq(w->calls, calls + 1, "its first bytes are older than the purge");
    world_end(w, world_last_call(w), UPSTREAM_CLOSED);
    world_free(w);
}

Test(sim_resume, a_client_that_leaves_ends_it)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = cut(w, "cache-control: no-store\netag: \"v1\"", 11);
    cr_assert(!c->done && w->calls == 2);
    world_leave(w, c);
    world_run(w);
    cr_expect(world_last_call(w)->cancelled);
    world_free(w);
}

Test(sim_resume, answers_to_other_methods_and_parts_are_not_resumed)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_request(w, 0, "POST", "/p", NULL, "x");
    world_head(w, world_last_call(w), 200, STRONG, 11);
    world_body(w, world_last_call(w), "hello");
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    world_run(w);
    cr_expect(c->aborted && w->calls == 1);
    world_free(w);
}
