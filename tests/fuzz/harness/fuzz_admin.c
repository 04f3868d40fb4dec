/* A call of the admin listener, of anybody: "METHOD PATH?QUERY", lines of fields, an empty line, the body. Fields are
 * as the server hands them on; "T" as the value of Authorization, Fastly-Key or X-Auth-Key stands for a token that may
 * do everything. Every call is answered once, with a status of the table, JSON where it says so, and nothing changes by
 * GET. */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "edge/admin/admin.h"
#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "purge/api.h"
#include "tests/sim/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char token[] = "the token";
static world_t *world;
static auth_t *auth;
static admin_t *admin;
static api_t api;

typedef struct answer {
    handler_reply_t reply;
    pthread_mutex_t mutex;
    pthread_cond_t come;
    bool done;
    handler_response_t r;
} answer_t;

static void on_answer(handler_reply_t *reply, handler_response_t *r)
{
    answer_t *a = (answer_t *)reply;
    pthread_mutex_lock(&a->mutex);
    CHECK(!a->done);
    a->done = true;
    a->r = *r;
    pthread_cond_signal(&a->come);
    pthread_mutex_unlock(&a->mutex);
}

static admin_verdict_t authorize(void *ctx, const handler_request_t *req, admin_scope_t scope)
{
    arena_t a;
    auth_who_t who;
    arena_init(&a, 0);
    int status = auth_check(ctx, req, scope == ADMIN_PURGE ? AUTH_PURGE : AUTH_READ, clock_now().boot, &a, &who);
    arena_release(&a);
    return status == 200 ? ADMIN_ALLOWED : status == 403 ? ADMIN_OUT_OF_SCOPE : ADMIN_NO_TOKEN;
}

static void fill(void *ctx, status_t *out, arena_t *a)
{
    (void)ctx, (void)a;
    *out = (status_t){.version = "0", .node = SPAN("n"), .role = "edge", .purge = {.cursor = "", .redis = "none"}};
}

static bool ready(void *ctx)
{
    return ctx == NULL;
}

static void close_at_exit(void)
{
    admin_release(admin);
    auth_free(auth);
    world_free(world);
}

static void open_once(void)
{
    auth_token_t t = {.name = SPAN("t"), .allow = AUTH_PURGE | AUTH_READ};
    SHA256((const unsigned char *)token, sizeof token - 1, t.sha256);
    world = world_new("    rules: [{path: \"/x/**\", cache: false}]\n", NULL);
    world_get(world, 0, "/a", "accept-language: de");
    world_answer(
        world, world->call[0], 200,
        "cache-control: s-maxage=60, stale-while-revalidate=30\netag: \"1\"\nvary: accept-language\ncache-tag: t",
        "hello");
    world_run(world);
    auth = auth_new(&t, 1);
    api = (api_t){.purge = world->purge, .auth = auth};
    admin = admin_new(
        &(admin_options_t){.status = {.fill = fill, .ready = ready}, .authorize = authorize, .authorize_ctx = auth});
    for (size_t i = 0; i < api_routes_n; i++)
        admin_mount(admin, api_routes[i].prefix, api_routes[i].exact, api_routes[i].handler, &api);
    admin_route(admin, &(admin_route_t){METHOD_GET, "/v1/explain", ADMIN_READ, explain_handle, NULL});
    atexit(close_at_exit);
}

static span_t line(span_t *rest)
{
    size_t end = span_find(*rest, '\n');
    span_t l = span_upto(*rest, end);
    *rest = span_from(*rest, end < rest->n ? end + 1 : end);
    return l;
}

static void read_fields(arena_t *a, span_t *rest, fields_t *f)
{
    for (span_t l; rest->n > 0 && (l = line(rest)).n > 0;) {
        size_t colon = span_find(l, ':');
        span_t name = arena_copy(a, span_upto(l, colon)), value = span_trim(span_from(l, colon + 1));
        for (size_t i = 0; i < name.n; i++)
            ((char *)name.p)[i] = span_lower(name.p[i]);
        if (!fields_name_valid(name) || !fields_value_valid(value))
            continue;
        if (span_eq(value, SPAN("T")))
            value = span_eq(name, SPAN("authorization")) ? arena_printf(a, "Bearer %s", token) : span_str(token);
        (void)fields_add(f, name, value);
    }
}

static void look_at(const answer_t *a, const handler_request_t *req, uint64_t before)
{
    const handler_response_t *r = &a->r;
    static const int known[] = {200, 202, 204, 400, 401, 403, 404, 405, 413, 415, 422, 429, 500, 503, 504};
    bool is_known = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        is_known |= r->status == known[i];
    CHECK(is_known && r->extras <= 4 && r->status != 500);
    for (int i = 0; i < r->extras; i++)
        CHECK(fields_value_valid(span_str(r->extra_value[i])));
    if (r->content_type != NULL && strstr(r->content_type, "json") != NULL && r->body_len > 0) {
        json_t *j = json_loadb(r->body, r->body_len, 0, NULL);
        CHECK(j != NULL);
        json_decref(j);
    }
    purge_status_t now;
    purge_status(world->purge, &now);
    CHECK((req->method != METHOD_GET && req->method != METHOD_HEAD) || now.position == before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (world == NULL)
        open_once();
    if (size < 3 || size > 50000)
        return 0;
    arena_t arena;
    fields_t fields;
    arena_init(&arena, 0);
    fields_init(&fields, &arena);
    span_t rest = span_of((const char *)data, size), first = line(&rest);
    size_t sp = span_find(first, ' ');
    span_t method = span_upto(first, sp), target = span_from(first, sp + 1);
    size_t mark = span_find(target, '?');
    read_fields(&arena, &rest, &fields);
    static unsigned callers;
    unsigned caller = callers++;
    char peer[32];
    snprintf(peer, sizeof peer, "10.%u.%u.%u", caller >> 16 & 255, caller >> 8 & 255, caller & 255);
    handler_request_t req = {.method = method_parse(method),
                             .method_name = method,
                             .path = span_upto(target, mark),
                             .query = mark < target.n ? span_from(target, mark + 1) : SPAN_NONE,
                             .scheme = SPAN("http"),
                             .host = SPAN("localhost"),
                             .fields = &fields,
                             .body = rest,
                             .env = &world->env[0],
                             .peer = span_str(peer), /* each its own: nobody has to wait for wrong tokens */
                             .peer_loopback = (size & 1) != 0};
    if (req.path.n > 0 && req.path.p[0] == '/') {
        answer_t a = {.reply = {on_answer}, .mutex = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
        purge_status_t before;
        purge_status(world->purge, &before);
        admin_handle(admin, &req, &a.reply);
        pthread_mutex_lock(&a.mutex);
        while (!a.done)
            pthread_cond_wait(&a.come, &a.mutex);
        pthread_mutex_unlock(&a.mutex);
        look_at(&a, &req, before.position);
        handler_response_release(&a.r);
        world_run(world);
    }
    arena_release(&arena);
    return 0;
}
