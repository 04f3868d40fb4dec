/* Addresses and URLs of the configuration: where to listen, where origins and Redis are. Pure.
 * Results live in the arena. On failure *why (static, or in the arena) says what would be right. */
#ifndef BRINK_CONF_ADDRESS_H
#define BRINK_CONF_ADDRESS_H

#include "edge/base/arena.h"
#include "edge/conf/conf.h"

/* "127.0.0.1:8080", "[::1]:8080", "unix:/run/brink.sock"; a relative unix path is put behind `dir` (a prefix ending in
 * '/', or ""). */
err_t address_listen(arena_t *a, span_t text, span_t dir, conf_address_t *out, const char **why);
/* "http://host[:port][/]", "https://…", "unix:/path". */
err_t address_origin(arena_t *a, span_t text, span_t dir, conf_origin_t *out, const char **why);
err_t address_redis(arena_t *a, span_t text, span_t dir, conf_redis_t *out, const char **why);
/* A host pattern of a site: a name, an address, either with a port, "*.name" or "*"; lower case in *out. */
err_t address_pattern(arena_t *a, span_t text, span_t *out, const char **why);
/* What can stand in Host: name or address with an optional port; lower case in *out. */
err_t address_host(arena_t *a, span_t text, span_t *out, const char **why);

#endif
