/* Purge calls in three dialects: status, body and effect. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "node.h"
#include "purge/api.h"

static test_node_t n;
static api_t api;
static arena_t arena;
static span_t sites[] = {{"www.example.com", 15}};

static void setup(void)
{
    auth_token_t t[] = {{.name = SPAN("all"), .allow = AUTH_PURGE | AUTH_READ},
                        {.name = SPAN("site"), .allow = AUTH_PURGE, .sites = sites, .sites_n = 1},
                        {.name = SPAN("reader"), .allow = AUTH_READ}};
    SHA256((const unsigned char *)"T1", 2, t[0].sha256);
    SHA256((const unsigned char *)"T2", 2, t[1].sha256);
    SHA256((const unsigned char *)"T3", 2, t[2].sha256);
    arena_init(&arena, 0);
    test_node_init(&n, "edge-1", NULL);
    test_node_start(&n, false);
    api = (api_t){n.p, auth_new(t, 3)};
}
static void teardown(void)
{
    auth_free(api.auth);
    test_node_drop(&n);
    arena_release(&arena);
}
TestSuite(api, .init = setup, .fini = teardown, .timeout = 60);

typedef struct answer {
    handler_reply_t reply;
    handler_response_t r;
    _Atomic bool come;
} answer_t;

static void sent(handler_reply_t *r, handler_response_t *resp)
{
    answer_t *a = (answer_t *)r;
    a->r = *resp;
    cr_assert_not(atomic_exchange(&a->come, true), "answered twice");
}

/* headers: "name: value\n…" */
static int call(handler_fn *fn, const char *method, const char *path, const char *token, const char *headers,
                const char *body, json_t **out)
{
    answer_t *a = calloc(1, sizeof *a);
    fields_t f;
    char auth[64];
    fields_init(&f, &arena);
    if (token != NULL) {
        snprintf(auth, sizeof auth, "Bearer %s", token);
        fields_add(&f, SPAN("authorization"), arena_copy(&arena, span_str(auth)));
    }
    for (span_t h = span_str(headers); h.n > 0;) {
        size_t end = span_find(h, '\n'), colon = span_find(h, ':');
        fields_add(&f, span_upto(h, colon), span_trim(span_of(h.p + colon + 1, end - colon - 1)));
        h = span_from(h, end + 1);
    }
    handler_request_t req = {.method_name = span_str(method),
                             .path = span_str(path),
                             .query = SPAN_NONE,
                             .scheme = SPAN("http"),
                             .host = SPAN("www.example.com"),
                             .fields = &f,
                             .body = span_str(body),
                             .peer = SPAN("127.0.0.1"),
                             .peer_loopback = true};
    req.method = method_parse(req.method_name);
    a->reply.send = sent;
    fn(&api, &req, &a->reply);
    TEST_WAIT(atomic_load(&a->come));
    int status = a->r.status;
    json_t *j = json_loadb(a->r.body, a->r.body_len, 0, NULL);
    cr_assert_not_null(j, "%.*s", (int)a->r.body_len, a->r.body);
    if (status >= 400 && fn != compat_cloudflare && fn != compat_fastly)
        cr_assert_str_eq(a->r.content_type, "application/problem+json");
    const char *beside = status == 401   ? "www-authenticate"
                         : status == 405 ? "allow"
                         : status == 429 ? "retry-after"
                                         : NULL;
    bool has = beside == NULL;
    for (int i = 0; i < a->r.extras; i++)
        has |= beside != NULL && strcmp(a->r.extra_name[i], beside) == 0 && a->r.extra_value[i][0] != '\0';
    cr_assert(has, "%d without %s", status, beside);
    handler_response_release(&a->r);
    free(a);
    if (out != NULL)
        *out = j;
    else
        json_decref(j);
    return status;
}

Test(api, a_purge_and_its_receipt)
{
    json_t *j;
    uint64_t began = ledger_head(purge_ledger(n.p));
    cr_assert_eq(call(api_purge, "POST", "/v1/purge", "T1", "content-type: application/json", "{\"tags\":[\"t\"]}", &j),
                 202);
    cr_assert_str_eq(json_string_value(json_object_get(j, "id")), "journal:edge-1:1");
    cr_assert_str_eq(json_string_value(json_object_get(j, "durable")), "journal");
    cr_assert_eq(json_integer_value(json_object_get(j, "sequence")), 1);
    json_decref(j);
    cr_assert_eq(test_node_check(&n, "h/a", "t", began), MARK_HARD);
    cr_assert_eq(
        call(api_purge, "POST", "/v1/purge", "T1", "", "{\"everything\":true,\"soft\":true,\"wait\":\"fleet\"}", &j),
        200);
    cr_assert_eq(json_array_size(json_object_get(j, "nodes")), 1);
    json_decref(j);
    cr_assert_eq(call(api_receipt, "GET", "/v1/purge/journal:edge-1:1", "T1", "", "", &j), 200);
    cr_assert_eq(json_array_size(json_object_get(j, "missing")), 0);
    cr_assert_gt(json_integer_value(json_object_get(j, "accepted_at")), 1600000000000);
    json_decref(j);
    cr_assert_eq(call(api_receipt, "GET", "/v1/purge/journal:edge-2:1", "T1", "", "", NULL), 404);
    cr_assert_eq(call(api_receipt, "GET", "/v1/purge/", "T1", "", "", NULL), 404);
    cr_assert_eq(call(api_receipt, "GET", "/v1/purge/journal:edge-1:1", "T2", "", "", NULL), 403);
    cr_assert_eq(call(api_receipt, "DELETE", "/v1/purge/journal:edge-1:1", "T1", "", "", NULL), 405);
}

Test(api, refusals)
{
    static const struct {
        const char *method, *token, *headers, *body;
        int status;
    } rows[] = {
        {"GET", "T1", "", "{\"everything\":true}", 405},
        {"POST", NULL, "", "{\"everything\":true}", 401},
        {"POST", "T9", "", "{\"everything\":true}", 401},
        {"POST", "T3", "", "{\"everything\":true}", 403},
        {"POST", "T1", "content-type: text/plain", "{\"everything\":true}", 415},
        {"POST", "T1", "", "{\"everything\":", 400},
        {"POST", "T1", "", "{\"evrything\":true}", 400},
        {"POST", "T1", "", "{}", 422},
        {"POST", "T1", "", "{\"urls\":[\"http:///\"]}", 422},
        {"POST", "T2", "", "{\"urls\":[\"http://www.example.org/\"]}", 403},
        {"POST", "T2", "", "{\"urls\":[\"http://www.example.com@evil.org/\"]}", 422},
        {"POST", "T2", "", "{\"hosts\":[\"www.example.org\"]}", 403},
        {"POST", "T2", "", "{\"prefixes\":[\"www.example.com\"]}", 403},
        {"POST", "T2", "", "{\"prefixes\":[\"www.example.org/\"]}", 403},
        {"POST", "T2", "", "{\"everything\":true,\"sites\":[\"*\"]}", 400},
        {"POST", "T2", "", "{\"urls\":[\"https://WWW.example.com:443/x\"]}", 202},
        {"POST", "T2", "", "{\"prefixes\":[\"www.example.com/\"],\"hosts\":[\"www.example.com\"]}", 202},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t before = ledger_head(purge_ledger(n.p));
        int status = call(api_purge, rows[i].method, "/v1/purge", rows[i].token, rows[i].headers, rows[i].body, NULL);
        cr_expect_eq(status, rows[i].status, "row %zu: %d", i, status);
        cr_expect_eq(ledger_head(purge_ledger(n.p)) - before, status == 202, "row %zu: a refused purge does nothing",
                     i);
    }
}

Test(api, a_token_of_one_site_purges_tags_only_there)
{
    uint64_t began = ledger_head(purge_ledger(n.p));
    cr_assert_eq(call(api_purge, "POST", "/v1/purge", "T2", "", "{\"tags\":[\"t\"]}", NULL), 202);
    cr_assert_eq(test_node_check(&n, "www.example.com/x", "t", began), MARK_HARD);
    cr_assert_eq(test_node_check(&n, "www.example.org/x", "t", began), MARK_NONE);
    cr_assert_eq(call(api_purge, "POST", "/v1/purge", "T2", "", "{\"everything\":true}", NULL), 202);
    cr_assert_eq(test_node_check(&n, "www.example.com/y", NULL, began), MARK_HARD);
    cr_assert_eq(test_node_check(&n, "www.example.org/y", NULL, began), MARK_NONE);
}

Test(api, too_many)
{
    int status = 0;
    char one[64];
    for (int i = 0; i < AUTH_BURST + 200 && status != 429;
         i++) { /* the bucket refills while they are made: take it empty first */
        auth_who_t who = {.name = "site"};
        for (int k = 0; k < AUTH_BURST; k++)
            (void)auth_rate(api.auth, &who, INT64_MAX / 2);
        snprintf(one, sizeof one, "{\"tags\":[\"t%d\"]}", i);
        status = call(api_purge, "POST", "/v1/purge", "T2", "", one, NULL);
    }
    cr_assert_eq(status, 429);
}

Test(api, the_purge_method)
{
    json_t *j;
    uint64_t began = ledger_head(purge_ledger(n.p));
    cr_assert_eq(call(api_purge_method, "PURGE", "/a", NULL, "", "", NULL), 401);
    cr_assert_eq(call(api_purge_method, "PURGE", "/a", "T3", "", "", NULL), 403);
    cr_assert_eq(call(api_purge_method, "PURGE", "/a", NULL, "fastly-key: T1\nfastly-soft-purge: 1", "", &j), 200);
    cr_assert_str_eq(json_string_value(json_object_get(j, "status")), "ok");
    cr_assert_not_null(json_object_get(j, "id"));
    json_decref(j);
    cr_assert_eq(test_node_check(&n, "www.example.com/a", NULL, began), MARK_SOFT);
    cr_assert_eq(call(api_purge_method, "PURGE", "/b", "T1", "", "", NULL), 200);
    cr_assert_eq(test_node_check(&n, "www.example.com/b", NULL, began), MARK_HARD);
    cr_assert_eq(call(api_purge_method, "PURGE", "/c", "T1", "surrogate-key: k1  k2\nxkey: k3", "", NULL), 200);
    for (const char *k = "1"; k != NULL; k = *k == '1' ? "2" : *k == '2' ? "3" : NULL) {
        char tag[4] = {'k', *k, 0};
        cr_assert_eq(test_node_check(&n, "h/x", tag, began), MARK_HARD);
    }
    cr_assert_eq(test_node_check(&n, "www.example.com/c", NULL, began), MARK_NONE);
}

Test(api, as_cloudflare_has_it)
{
    static const char path[] = "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache";
    json_t *j;
    uint64_t began = ledger_head(purge_ledger(n.p));
    cr_assert_eq(call(compat_cloudflare, "POST", path, "T1", "content-type: application/json",
                      "{\"files\":[\"http://h/a\",{\"url\":\"http://h/b\",\"headers\":{\"Origin\":\"x\"}}]}", &j),
                 200);
    cr_assert(json_is_true(json_object_get(j, "success")));
    cr_assert_eq(json_array_size(json_object_get(j, "errors")), 0);
    cr_assert_not_null(json_object_get(json_object_get(j, "result"), "id"));
    json_decref(j);
    cr_assert_eq(test_node_check(&n, "h/a", NULL, began), MARK_HARD);
    cr_assert_eq(test_node_check(&n, "h/b", NULL, began), MARK_HARD);
    cr_assert_eq(call(compat_cloudflare, "POST", path, "T1", "", "{\"purge_everything\":true}", NULL), 200);
    cr_assert_eq(test_node_check(&n, "h/zz", NULL, began), MARK_HARD);
    cr_assert_eq(call(compat_cloudflare, "POST", path, "bad", "", "{\"tags\":[\"a\"]}", &j), 401);
    cr_assert(json_is_false(json_object_get(j, "success")));
    cr_assert_gt(json_array_size(json_object_get(j, "errors")), 0);
    json_decref(j);
    cr_assert_eq(call(compat_cloudflare, "POST", path, "T1", "", "{}", NULL), 400);
    cr_assert_eq(call(compat_cloudflare, "POST", "/client/v4/zones/x/settings", "T1", "", "{}", NULL), 404);
}

Test(api, more_often_than_allowed_is_refused_for_a_while)
{
    auth_who_t who = {.name = "all"};
    int status = 0;
    for (int tries = 0; tries < 200 && status != 429; tries++) { /* what was used up comes back, one a millisecond */
        for (int i = 0; i < AUTH_BURST; i++)
            auth_rate(api.auth, &who, clock_now().boot);
        status = call(api_purge, "POST", "/v1/purge", "T1", "", "{\"tags\":[\"a\"]}", NULL); /* looks for Retry-After */
    }
    cr_assert_eq(status, 429);
    cr_assert_eq(call(api_purge, "POST", "/v1/purge", "T2", "", "{\"tags\":[\"a\"]}", NULL), 202, "each has its own");
}

Test(api, as_fastly_has_it)
{
    json_t *j;
    uint64_t began = ledger_head(purge_ledger(n.p));
    cr_assert_eq(
        call(compat_fastly, "POST", "/service/SU1Z/purge/key-1", NULL, "fastly-key: T1\nfastly-soft-purge: 1", "", &j),
        200);
    cr_assert_str_eq(json_string_value(json_object_get(j, "status")), "ok");
    json_decref(j);
    cr_assert_eq(test_node_check(&n, "h/a", "key-1", began), MARK_SOFT);
    cr_assert_eq(call(compat_fastly, "POST", "/service/SU1Z/purge", "T1", "", "{\"surrogate_keys\":[\"a\",\"b\"]}", &j),
                 200);
    cr_assert(json_is_string(json_object_get(j, "a")) && json_is_string(json_object_get(j, "b")));
    json_decref(j);
    cr_assert_eq(call(compat_fastly, "POST", "/service/SU1Z/purge", "T1", "surrogate-key: c d", "", NULL), 200);
    cr_assert_eq(test_node_check(&n, "h/a", "b", began), MARK_HARD);
    cr_assert_eq(test_node_check(&n, "h/a", "d", began), MARK_HARD);
    cr_assert_eq(test_node_check(&n, "h/a", NULL, began), MARK_NONE);
    cr_assert_eq(call(compat_fastly, "POST", "/service/SU1Z/purge_all", "T1", "", "", NULL), 200);
    cr_assert_eq(test_node_check(&n, "h/a", NULL, began), MARK_HARD);
    cr_assert_eq(call(compat_fastly, "POST", "/service/SU1Z/purge", "T1", "", "{\"surrogate_keys\":[1]}", &j), 400);
    cr_assert_not_null(json_object_get(j, "msg"));
    json_decref(j);
    cr_assert_eq(call(compat_fastly, "POST", "/service/SU1Z/purge_all", NULL, "", "", NULL), 401);
    cr_assert_eq(call(compat_fastly, "PUT", "/service/SU1Z/purge_all", "T1", "", "", NULL), 405);
    cr_assert_eq(call(compat_fastly, "POST", "/service/SU1Z/version", "T1", "", "", NULL), 404);
}
