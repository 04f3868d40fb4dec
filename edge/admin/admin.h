/* The admin listener: a table of routes declared once, and the answers that every node gives (dashboard, health,
 * metrics, status). Purge and explain bring handlers of their own: node.c adds their routes.
 *
 *     admin_options_t o = {.status = {node, fill, ready}, .authorize = auth_check, .authorize_ctx = auth};
 *
 *     admin_t *a = admin_new(&o);
 *
 *     admin_route(a, &(admin_route_t){METHOD_POST, "/v1/purge", ADMIN_PURGE, api_purge, purge});
 *
 *     admin_route(a, &(admin_route_t){METHOD_GET, "/v1/purge/:", ADMIN_PURGE, api_receipt, purge});
 *
 *     admin_mount(a, "/service/", false, compat_fastly, api);
 *
 * admin_handle is a handler_fn with the admin_t as its ctx.
 *
 * Every answer is counted by status, and carries Cache-Control: no-store and Cross-Origin-Resource-Policy: same-origin
 * as far as the handler left room among its extras. Errors are problem documents (RFC 9457).
 *
 * Threads: routes are added before the first request; admin_handle then runs on any loop, and handlers may reply on any
 * thread. admin_release only when no request can come and every reply was given. */
#ifndef BRINK_ADMIN_ADMIN_H
#define BRINK_ADMIN_ADMIN_H

#include "edge/admin/status.h"
#include "edge/base/err.h"
#include "edge/http/handler.h"

enum { ADMIN_ROUTES_MAX = 64 };

typedef struct admin admin_t;

/* What a call needs. */
typedef enum admin_scope {
    ADMIN_OPEN,  /* nothing: health, metrics, the dashboard's page */
    ADMIN_READ,  /* a token with "read" */
    ADMIN_PURGE, /* a token with "purge" */
    ADMIN_SELF   /* the handler asks for itself, because the answer has a shape of its own (Cloudflare's, Fastly's) */
} admin_scope_t;

typedef enum admin_verdict {
    ADMIN_ALLOWED,
    ADMIN_NO_TOKEN,     /* 401: none came */
    ADMIN_BAD_TOKEN,    /* 401: not one of ours */
    ADMIN_OUT_OF_SCOPE, /* 403: known, but not for this */
    ADMIN_TOO_MANY      /* 429: too many wrong ones from there */
} admin_verdict_t;

/* Asked for ADMIN_READ and ADMIN_PURGE. Must not block. */
typedef admin_verdict_t admin_authorize_fn(void *ctx, const handler_request_t *req, admin_scope_t scope);

typedef struct admin_route {
    method_t method;  /* GET is also HEAD */
    const char *path; /* segments; ":" is any one that is not empty, "::" as the last one any rest that is not empty.
                         Borrowed */
    admin_scope_t scope;
    handler_fn *handler;
    void *ctx;
} admin_route_t;

typedef struct admin_options {
    status_source_t status;
    /* NULL: no tokens are configured. Then READ is for loopback only, and PURGE for nobody. */
    admin_authorize_fn *authorize;
    void *authorize_ctx;
} admin_options_t;

admin_t *admin_new(const admin_options_t *o); /* with the routes of its own: / /healthz /readyz /metrics /v1/status */
void admin_release(admin_t *a);
/* Earlier routes win. More than ADMIN_ROUTES_MAX is a broken invariant. */
void admin_route(admin_t *a, const admin_route_t *r);
handler_fn admin_handle;

/* Hands every method on that path (exact), or on those that begin so, to a handler that looks at method and token
 * itself. `prefix` is borrowed. Counts as a route. */
void admin_mount(admin_t *a, const char *prefix, bool exact, handler_fn *handler, void *ctx);

/* Does a path match a route's pattern? Pure. */
bool admin_match(span_t pattern, span_t path);

#endif
