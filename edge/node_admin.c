/* The routes of the admin listener that other parts bring, and the tokens. */
#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/node_priv.h"

#include <stdlib.h>

/* Every purge call checks its token itself: what it may purge depends on what it names. */
static const struct {
    method_t method;
    const char *path;
    handler_fn *handler;
} node_admin_routes[] = {
    {METHOD_POST, "/v1/purge", api_purge},
    {METHOD_GET, "/v1/purge/:", api_receipt},
    {METHOD_POST, "/client/v4/zones/:/purge_cache", compat_cloudflare},
    {METHOD_DELETE, "/client/v4/zones/:/purge_cache", compat_cloudflare},
    {METHOD_POST, "/purge/::", compat_fastly_url},
    {METHOD_POST, "/service/:/purge", compat_fastly},
    {METHOD_POST, "/service/:/purge_all", compat_fastly},
    {METHOD_POST, "/service/:/purge/::", compat_fastly},
};

static admin_verdict_t node_admin_authorize(void *ctx, const handler_request_t *req, admin_scope_t scope)
{
    arena_t a;
    auth_who_t who;
    arena_init(&a, 0);
    bool token = fields_has(req->fields, SPAN("authorization")) || fields_has(req->fields, SPAN("fastly-key")) ||
                 fields_has(req->fields, SPAN("x-auth-key"));
    int status = auth_check(ctx, req, scope == ADMIN_PURGE ? AUTH_PURGE : AUTH_READ, clock_now().boot, &a, &who);
    arena_release(&a);
    return status == 200   ? ADMIN_ALLOWED
           : status == 403 ? ADMIN_OUT_OF_SCOPE
           : status == 429 ? ADMIN_TOO_MANY
           : token         ? ADMIN_BAD_TOKEN
                           : ADMIN_NO_TOKEN;
}

static auth_token_t *node_admin_list(const conf_t *conf)
{
    auth_token_t *list = mem_zalloc((conf->admin.tokens_n + 1) * sizeof *list);
    for (size_t i = 0; i < conf->admin.tokens_n; i++) {
        const conf_token_t *t = &conf->admin.tokens[i];
        list[i] = (auth_token_t){.name = t->name,
                                 .allow = (t->allow & CONF_ALLOW_PURGE ? AUTH_PURGE : 0) |
                                          (t->allow & CONF_ALLOW_READ ? AUTH_READ : 0),
                                 .sites = t->sites,
                                 .sites_n = t->sites_n};
        memcpy(list[i].sha256, t->sha256, sizeof list[i].sha256);
    }
    return list;
}

void node_admin_tokens(node_t *n, const conf_t *conf)
{
    auth_token_t *list = node_admin_list(conf);
    auth_replace(n->auth, list, conf->admin.tokens_n);
    free(list);
}

void node_admin_open(node_t *n)
{
    auth_token_t *list = node_admin_list(n->conf);
    n->auth = auth_new(list, n->conf->admin.tokens_n);
    free(list);
    n->api = (api_t){.purge = n->purge, .auth = n->auth};
    n->admin = admin_new(&(admin_options_t){.status = {.ctx = n, .fill = node_status, .ready = node_ready},
                                            .authorize = node_admin_authorize,
                                            .authorize_ctx = n->auth});
    for (size_t i = 0; i < sizeof node_admin_routes / sizeof *node_admin_routes; i++)
        admin_route(n->admin, &(admin_route_t){node_admin_routes[i].method, node_admin_routes[i].path, ADMIN_SELF,
                                               node_admin_routes[i].handler, &n->api});
    admin_route(n->admin, &(admin_route_t){METHOD_GET, "/v1/top", ADMIN_READ, hot_handle, n->hot});
    admin_route(n->admin, &(admin_route_t){METHOD_GET, "/v1/log", ADMIN_READ, recent_handle, n->recent});
    admin_route(n->admin, &(admin_route_t){METHOD_GET, "/v1/explain", ADMIN_READ, explain_handle, NULL});
}
