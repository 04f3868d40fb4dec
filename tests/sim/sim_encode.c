/* Content codings that the edge applies: which answers, in which form, kept and live. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "edge/base/mem.h"
#include "world.h"

#define FRESH "cache-control: s-maxage=60\netag: \"v1\"\ncontent-type: text/plain"
#define GZIP "accept-encoding: gzip"

enum { TEXT = 100000 };

static char *text(void)
{
    char *p = mem_alloc(TEXT + 64);
    for (size_t n = 0, i = 0; n < TEXT; i++)
        n += (size_t)sprintf(p + n, "line %zu of %zu\n", i * 7919, i % 13);
    p[TEXT] = '\0';
    return p;
}

/* Bytes that come out of what the client has so far; they must be the first of `body`. */
static size_t inflated(const world_client_t *c, const char *body)
{
    char *out = mem_alloc(TEXT + 64);
    z_stream z = {
        .next_in = (Bytef *)c->body, .avail_in = (uInt)c->n, .next_out = (Bytef *)out, .avail_out = TEXT + 64};
    cr_assert_eq(inflateInit2(&z, 31), Z_OK);
    int r = inflate(&z, Z_SYNC_FLUSH);
    cr_expect(c->done ? r == Z_STREAM_END : r == Z_OK || r == Z_BUF_ERROR, "%d", r);
    size_t n = z.total_out;
    inflateEnd(&z);
    cr_expect_eq(memcmp(out, body, n), 0, "other bytes");
    free(out);
    return n;
}

static void is_gzip(const world_client_t *c, const char *body, bool kept)
{
    cr_assert(c->head && c->done && !c->aborted);
    cr_expect_eq(c->status, 200);
    cr_expect(world_says(c, "content-encoding", "gzip"));
    cr_expect(world_says(c, "vary", "Accept-Encoding"));
    cr_expect_null(world_field(c, "accept-ranges").p);
    cr_expect_eq(c->content_length, kept ? (int64_t)c->n : -1, "%lld", (long long)c->content_length);
    cr_expect_eq(inflated(c, body), TEXT);
    cr_expect_lt(c->n, TEXT / 2);
}

static void is_plain(const world_client_t *c, int status, size_t n)
{
    cr_assert(c->head && c->done && !c->aborted);
    cr_expect_eq(c->status, status);
    cr_expect_null(world_field(c, "content-encoding").p);
    cr_expect_eq(c->n, n, "%zu bytes", c->n);
}

static bool tagged(const world_client_t *c, const char *etag)
{
    return span_eq(world_field(c, "etag"), span_str(etag));
}

/* A world in which "/a" is stored. */
static world_t *stored(const char *lines, const char *body)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 200, lines, body);
    return w;
}

Test(sim_encode, a_miss_is_coded_while_it_comes)
{
    char *body = text();
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/a", GZIP), *plain = world_get(w, 1, "/a", NULL);
    world_head(w, world_last_call(w), 200, FRESH "\naccept-ranges: bytes", -1);
    world_bytes(w, world_last_call(w), body, 3000);
    world_run(w);
    cr_expect_eq(inflated(a, body), 3000, "what has come is seen at once");
    world_bytes(w, world_last_call(w), body + 3000, TEXT - 3000);
    world_end(w, world_last_call(w), UPSTREAM_OK);
    is_gzip(a, body, false);
    cr_expect(tagged(a, "W/\"v1-gzip\""));
    is_plain(plain, 200, TEXT);
    cr_expect(world_says(plain, "vary", "Accept-Encoding"), "it depends on it for the others");
    cr_expect(tagged(plain, "\"v1\"") && world_says(plain, "accept-ranges", "bytes"));
    cr_expect_eq(w->calls, 1);
    world_free(w);
    free(body);
}

Test(sim_encode, hits_are_coded_once)
{
    char *body = text();
    world_t *w = stored(FRESH, body);
    is_gzip(world_get(w, 0, "/a", GZIP), body, false);
    cr_expect_eq(coder_waiting(w->coder), 1);
    is_gzip(world_get(w, 1, "/a", GZIP), body, false);
    cr_expect_eq(coder_waiting(w->coder), 1);
    coder_work(w->coder);
    world_client_t *c = world_get(w, 0, "/a", GZIP);
    is_gzip(c, body, true);
    cr_expect(tagged(c, "W/\"v1-gzip\"") && world_says(c, "x-cache", "HIT"));
    cr_expect_eq(coder_waiting(w->coder), 0);
    world_client_t *head = world_request(w, 0, "HEAD", "/a", GZIP, NULL);
    cr_expect(head->n == 0 && head->content_length == c->content_length &&
              world_says(head, "content-encoding", "gzip"));
    is_plain(world_get(w, 0, "/a", "accept-encoding: identity, gzip;q=0.5"), 200, TEXT);
    is_plain(world_get(w, 0, "/a", GZIP "\ncache-control: no-transform"), 200, TEXT);
    cr_expect_eq(w->calls, 1);
    world_free(w);
    free(body);
}

Test(sim_encode, purged_replaced_and_freshened)
{
    char *body = text();
    world_t *w = stored(FRESH, body);
    world_get(w, 0, "/a", GZIP);
    coder_work(w->coder);
    is_gzip(world_get(w, 0, "/a", GZIP), body, true);

    world_pass(w, 61000); /* stale; a 304 freshens it, and its coded form with it */
    world_client_t *a = world_get(w, 0, "/a", GZIP);
    cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("if-none-match")), SPAN("\"v1\"")));
    world_answer(w, world_last_call(w), 304, FRESH, "");
    world_client_t *b = world_get(w, 1, "/a", GZIP);
    is_gzip(a, body, true);
    is_gzip(b, body, true);

    world_purge(w, LEDGER_URL, "site.example/a", MARK_HARD);
    for (char *p = body; *p != '\0'; p++)
        *p = *p == 'l' ? 'L' : *p;
    world_client_t *c = world_get(w, 0, "/a", GZIP);
    cr_assert(!c->head, "purged: the coded form, too");
    world_answer(w, world_last_call(w), 200, "cache-control: s-maxage=60\netag: \"v2\"\ncontent-type: text/plain",
                 body);
    is_gzip(c, body, false);
    world_client_t *d = world_get(w, 0, "/a", GZIP);
    is_gzip(d, body, false);
    cr_expect(tagged(d, "W/\"v2-gzip\""));
    coder_work(w->coder);
    is_gzip(world_get(w, 0, "/a", GZIP), body, true);
    world_free(w);
    free(body);
}

Test(sim_encode, conditions_of_both_forms)
{
    char *body = text();
    world_t *w = stored(FRESH, body);
    static const struct {
        const char *lines;
        int status;
        const char *etag;
    } rows[] = {
        {GZIP "\nif-none-match: W/\"v1-gzip\"", 304, "W/\"v1-gzip\""},
        {GZIP "\nif-none-match: \"v1\"", 304, "\"v1\""},
        {GZIP "\nif-none-match: \"v1\", W/\"v1-gzip\"", 304, "W/\"v1-gzip\""},
        {GZIP "\nif-none-match: W/\"v1-br\"", 304, "W/\"v1-br\""},
        {"if-none-match: W/\"v1-gzip\"", 304, "W/\"v1-gzip\""},
        {"if-none-match: \"v1\"", 304, "\"v1\""},
        {"if-none-match: *", 304, "\"v1\""},
        {GZIP "\nif-none-match: *", 304, "W/\"v1-gzip\""},
        {GZIP "\nif-none-match: W/\"v0-gzip\"", 200, "W/\"v1-gzip\""},
        {GZIP "\nif-match: W/\"v1-gzip\"", 200, "W/\"v1-gzip\""},
        {GZIP "\nif-match: \"v1\"", 200, "W/\"v1-gzip\""},
        {"if-match: W/\"v1-gzip\"", 200, "\"v1\""},
        {GZIP "\nif-match: W/\"v0-gzip\"", 412, "\"v1\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_client_t *c = world_get(w, 0, "/a", rows[i].lines);
        cr_expect_eq(c->status, rows[i].status, "%s: %d", rows[i].lines, c->status);
        cr_expect(tagged(c, rows[i].etag), "%s: %.*s", rows[i].lines, SPAN_ARG(world_field(c, "etag")));
        cr_expect(world_says(c, "vary", "Accept-Encoding"), "%s", rows[i].lines);
    }
    cr_expect_eq(w->calls, 1);
    world_free(w);
    free(body);
}

Test(sim_encode, ranges_are_of_the_identity_form)
{
    char *body = text();
    world_t *w = stored(FRESH, body);
    world_client_t *c = world_get(w, 0, "/a", GZIP "\nrange: bytes=10-19");
    is_plain(c, 206, 10);
    cr_expect(memcmp(c->body, body + 10, 10) == 0 && tagged(c, "\"v1\"") && world_says(c, "vary", "Accept-Encoding"));
    c = world_get(w, 0, "/a", GZIP "\nrange: bytes=10-19\nif-range: \"v1\"");
    is_plain(c, 206, 10);
    c = world_get(w, 0, "/a", GZIP "\nrange: bytes=10-19\nif-range: W/\"v1-gzip\"");
    is_gzip(c, body, false); /* a part of the other form would be of no use to it */
    world_free(w);
    free(body);
}

Test(sim_encode, what_is_left_as_it_is)
{
    static const struct {
        const char *lines;
        size_t n;
        bool vary;
    } rows[] = {
        {"content-type: image/png", TEXT, false},
        {"content-type: text/plain\ncontent-encoding: br", TEXT, false},
        {"content-type: text/plain\ncache-control: no-transform, max-age=60", TEXT, false},
        {"content-type: text/plain\nrepr-digest: sha-256=:x:", TEXT, false},
        {"content-type: text/event-stream", TEXT, false},
        {"content-type: text/plain", 1023, false},
    };
    char *body = text();
    world_t *w = world_new(NULL, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[16], part[TEXT + 1];
        snprintf(path, sizeof path, "/%zu", i);
        snprintf(part, sizeof part, "%.*s", (int)rows[i].n, body);
        world_client_t *c = world_get(w, 0, path, GZIP);
        world_answer(w, world_last_call(w), 200, rows[i].lines, part);
        cr_assert(c->done);
        cr_expect_eq(c->n, rows[i].n, "%s", rows[i].lines);
        cr_expect(!world_says(c, "content-encoding", "gzip"), "%s", rows[i].lines);
        cr_expect_eq(world_says(c, "vary", "Accept-Encoding"), rows[i].vary, "%s", rows[i].lines);
    }
    world_client_t *c = world_get(w, 0, "/404", GZIP);
    world_answer(w, world_last_call(w), 404, "content-type: text/plain", body);
    is_plain(c, 404, TEXT);
    world_free(w);
    world_t *never = world_new("    compress: []", NULL);
    c = world_get(never, 0, "/a", GZIP);
    world_answer(never, world_last_call(never), 200, FRESH, body);
    is_plain(c, 200, TEXT);
    cr_expect_null(world_field(c, "vary").p);
    world_free(never);
    free(body);
}

/* Not for clients (RFC 9110 8.4.1), but not without a meaning: who writes it wants no coding on the way. */
Test(sim_encode, identity_is_no_content_coding)
{
    char *body = text();
    static const char *const said[] = {"identity", "Identity"};
    for (size_t i = 0; i < 2; i++) {
        char lines[160];
        snprintf(lines, sizeof lines, "%s\ncontent-encoding: %s", FRESH, said[i]);
        world_t *w = stored(lines, body);
        is_plain(w->client[0], 200, TEXT);
        world_client_t *c = world_get(w, 0, "/a", GZIP);
        is_plain(c, 200, TEXT);
        cr_expect(tagged(c, "\"v1\""));
        world_free(w);
    }
    world_t *shield = world_open(&(world_options_t){.node = "shield", .tier = true});
    world_t *edge = world_open(&(world_options_t){.node = "edge", .shield = true});
    world_client_t *a = world_get(edge, 0, "/a", GZIP);
    world_client_t *through = world_carry(edge, world_last_call(edge), shield);
    world_answer(shield, world_last_call(shield), 200, FRESH "\ncontent-encoding: identity", body);
    cr_expect(world_says(through, "content-encoding", "identity"), "the edge is to know, too");
    world_brought(edge, edge->call[0], through);
    is_plain(a, 200, TEXT);
    world_free(edge);
    world_free(shield);
    free(body);
}

Test(sim_encode, what_is_stored_for_nobody_is_coded_too)
{
    char *body = text();
    world_t *w = world_new("    rules: [{path: \"/api/**\", cache: false}]", NULL);
    world_client_t *a = world_get(w, 0, "/api/x", GZIP);
    world_answer(w, world_last_call(w), 200,
                 "cache-control: private\netag: \"p\"\nset-cookie: a=b\ncontent-type: application/json", body);
    is_gzip(a, body, false);
    cr_expect(tagged(a, "W/\"p-gzip\""));

    /* the origin is asked by the tag that it knows, and a 304 speaks of the form that the client has */
    world_client_t *b = world_get(w, 0, "/api/x", GZIP "\nif-none-match: W/\"p-gzip\"");
    cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("if-none-match")), SPAN("W/\"p-gzip\", \"p\"")));
    world_answer(w, world_last_call(w), 304, "etag: \"p\"", "");
    cr_expect(b->status == 304 && tagged(b, "W/\"p-gzip\""));
    cr_expect(world_says(b, "vary", "Accept-Encoding"), "as the 200 did");
    b = world_get(w, 0, "/api/x", GZIP "\nif-none-match: W/\"p-gzip\"");
    world_answer(w, world_last_call(w), 304, "etag: \"p\"\nvary: Cookie", "");
    cr_expect(world_says(b, "vary", "Cookie, Accept-Encoding"));
    b = world_get(w, 0, "/api/x", GZIP "\nif-none-match: \"p\"");
    world_answer(w, world_last_call(w), 304, "etag: \"p\"", "");
    cr_expect(b->status == 304 && world_field(b, "vary").p == NULL, "nothing says that this is ever coded");

    world_request(w, 0, "PUT", "/api/x", "if-match: W/\"p-gzip\"", "new");
    cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("if-match")), SPAN("W/\"p-gzip\", \"p\"")),
              "no lost update goes unnoticed, and none is made up");
    world_answer(w, world_last_call(w), 204, "", "");
    world_free(w);
    free(body);
}

Test(sim_encode, a_cut_body_is_cut_in_every_coding)
{
    char *body = text();
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/a", GZIP);
    const char *whole = "cache-control: max-age=60\ncontent-type: text/plain"; /* nothing to ask for the rest by */
    world_head(w, world_last_call(w), 200, whole, TEXT);
    world_bytes(w, world_last_call(w), body, 50000);
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    cr_expect(a->done && a->aborted);
    world_client_t *b = world_get(w, 0, "/b", GZIP);
    world_head(w, world_last_call(w), 200, whole, TEXT);
    world_bytes(w, world_last_call(w), body, 50000);
    world_leave(w, b); /* in the middle */
    world_end(w, world_last_call(w), UPSTREAM_CUT);
    world_free(w);
    free(body);
}

Test(sim_encode, live_coders_have_a_ceiling)
{
    char *body = text();
    world_t *w = stored(FRESH, body);
    world_client_t *c[40];
    size_t coded = 0;
    for (int i = 0; i < 40; i++) {
        c[i] = world_get(w, 0, "/a", NULL); /* so that the coder isn't asked */
        world_leave(w, c[i]);
    }
    for (int i = 0; i < 40; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%d", i);
        c[i] = world_get(w, 0, path, GZIP);
        world_head(w, world_last_call(w), 200, FRESH, -1);
        world_bytes(w, world_last_call(w), body, 5000);
        world_run(w);
        coded += world_says(c[i], "content-encoding", "gzip");
    }
    cr_expect(coded >= 8 && coded < 20, "of 64 MiB, a sixteenth: %zu", coded);
    for (size_t i = 0; i < w->calls; i++)
        if (w->call[i]->open)
            world_end(w, w->call[i], UPSTREAM_OK);
    for (int i = 0; i < 40; i++) {
        cr_expect(c[i]->done && !c[i]->aborted);
        if (world_says(c[i], "content-encoding", "gzip"))
            cr_expect_eq(inflated(c[i], body), 5000);
        else
            cr_expect_eq(c[i]->n, 5000);
    }
    world_free(w);
    free(body);
}

Test(sim_encode, what_origins_vary_on_stays)
{
    char *body = text();
    world_t *w = world_new(NULL, NULL);
    static const struct {
        const char *says, *sent;
    } rows[] = {{"vary: Cookie", "Cookie, Accept-Encoding"},
                {"vary: accept-encoding", "accept-encoding"},
                {"vary: Cookie\nvary: Accept-Encoding, X", "Cookie"},
                {"vary: *", "*"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[16], lines[256];
        snprintf(path, sizeof path, "/%zu", i);
        snprintf(lines, sizeof lines, "%s\n%s", FRESH, rows[i].says);
        world_client_t *c = world_get(w, 0, path, GZIP);
        world_answer(w, world_last_call(w), 200, lines, body);
        cr_expect(world_says(c, "content-encoding", "gzip"));
        cr_expect(span_eq(world_field(c, "vary"), span_str(rows[i].sent)), "%s: %.*s", rows[i].says,
                  SPAN_ARG(world_field(c, "vary")));
        world_get(w, 0, path, GZIP); /* makes the kept form of that variant, where it can be found again */
        coder_work(w->coder);
        size_t calls = w->calls;
        c = world_get(w, 0, path, GZIP);
        if (i < 3) {
            cr_expect_eq(w->calls, calls);
            cr_expect(c->content_length == (int64_t)c->n && inflated(c, body) == TEXT);
        }
        if (i == 1)
            cr_expect(!world_get(w, 1, path, "accept-encoding: br")->head, "the origin decides among its own");
    }
    world_free(w);
    free(body);
}

Test(sim_encode, the_shield_sends_what_the_origin_sent)
{
    char *body = text();
    world_t *edge = world_open(&(world_options_t){.node = "edge", .shield = true});
    world_t *shield = world_open(&(world_options_t){.node = "shield", .tier = true});
    world_client_t *a = world_get(edge, 0, "/a", GZIP);
    world_client_t *through = world_carry(edge, world_last_call(edge), shield);
    world_answer(shield, world_last_call(shield), 200, FRESH, body);
    is_plain(through, 200, TEXT);
    cr_expect(tagged(through, "\"v1\""));
    cr_expect_null(world_field(through, "vary").p);
    world_brought(edge, edge->call[0], through);
    is_gzip(a, body, false);
    is_plain(world_get(edge, 0, "/a", NULL), 200, TEXT);
    world_free(edge);
    world_free(shield);
    free(body);
}

Test(sim_encode, back_from_disk)
{
    char *body = text();
    world_t *w = world_open(&(world_options_t){.disk = true});
    world_get(w, 0, "/a", GZIP);
    world_answer(w, world_last_call(w), 200, FRESH, body);
    for (int i = 0; i < 3; i++)
        world_get(w, 0, "/a", GZIP);
    coder_work(w->coder);
    is_gzip(world_get(w, 0, "/a", GZIP), body, true);
    world_disk(w);
    warm_stats_t disk;
    warm_stats(w->warm, &disk);
    cr_expect_eq(disk.objects, 1, "the coded form stays where it is");
    world_free(w);
    free(body);
}
