/* Purging over HTTP: handlers that serve/ calls, on any event loop. ctx is an api_t, which must outlive purge_stop. */
#ifndef BRINK_PURGE_API_H
#define BRINK_PURGE_API_H

#include "edge/http/handler.h"
#include "purge/auth.h"
#include "purge/purge.h"

typedef struct api {
    purge_t *purge;
    auth_t *auth;
} api_t;

handler_fn api_purge;        /* POST /v1/purge */
handler_fn api_receipt;      /* GET /v1/purge/ID: path as received */
handler_fn api_purge_method; /* PURGE on a traffic listener: scheme, host, path and query are the URL's */

/* compat.c: calls shaped as two CDNs have them, with their bodies, answers and errors. */
handler_fn compat_cloudflare; /* POST or DELETE /client/v4/zones/ZONE/purge_cache */
handler_fn compat_fastly;     /* POST /service/ID/purge/KEY, /service/ID/purge, /service/ID/purge_all */
handler_fn compat_fastly_url; /* POST /purge/URL, with or without its scheme */

/* One row for each route, for whoever dispatches: `prefix` of the path; methods are checked inside. */
typedef struct api_route {
    const char *prefix;
    bool exact;
    handler_fn *handler;
} api_route_t;
extern const api_route_t api_routes[];
extern const size_t api_routes_n;

#endif
