/* What an unsafe method's success invalidates (RFC 9111 4.4): the target URI, and Location and Content-Location of the
 * same origin. */
#ifndef BRINK_POLICY_INVALIDATE_H
#define BRINK_POLICY_INVALIDATE_H

#include "edge/http/method.h"
#include "edge/policy/key.h"

enum { INVALIDATE_MAX = 3 };

/* Number of URIs (uri form, in the arena); 0 for safe methods and error answers. */
int invalidate_targets(method_t method, int status, const cache_key_t *target, const fields_t *response,
                       const key_rules_t *rules, arena_t *a, span_t uris[INVALIDATE_MAX],
                       digest_t digests[INVALIDATE_MAX]);
/* Does the one Content-Location name the target itself? Then the answer to a POST is a representation of the target
 * (RFC 9110 9.3.3). */
bool invalidate_is_target(const cache_key_t *target, const fields_t *response, const key_rules_t *rules, arena_t *a);
/* Digests (tags_group_digest) of the groups that Cache-Group-Invalidation names; none for safe methods, whatever the
 * field says (RFC 9875 3), and none for error answers. */
err_t invalidate_groups(method_t method, int status, const cache_key_t *target, const fields_t *response, arena_t *a,
                        digest_t **out, size_t *n);

#endif
