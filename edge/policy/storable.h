/* May this response be stored by a shared cache? RFC 9111 3 and 3.5, RFC 9213, the site's rules, and what experience
 * adds (Set-Cookie; error answers to odd requests). Pure. The verdict carries its reason. */
#ifndef BRINK_POLICY_STORABLE_H
#define BRINK_POLICY_STORABLE_H

#include "edge/policy/stored.h"

/* One row a reason: name, the word in Cache-Status detail, the section it comes from. */
#define STORABLE_REASONS(X)                                                                                            \
    X(STORABLE_YES, "stored", "RFC 9111 3")                                                                            \
    X(STORABLE_METHOD, "method", "RFC 9111 3")                                                                         \
    X(STORABLE_STATUS, "status", "RFC 9111 3")                                                                         \
    X(STORABLE_PARTIAL, "partial", "RFC 9111 3.3")                                                                     \
    X(STORABLE_NO_STORE, "no-store", "RFC 9111 5.2.2.5")                                                               \
    X(STORABLE_REQUEST_NO_STORE, "request-no-store", "RFC 9111 5.2.1.5")                                               \
    X(STORABLE_PRIVATE, "private", "RFC 9111 5.2.2.7")                                                                 \
    X(STORABLE_AUTHORIZATION, "authorization", "RFC 9111 3.5")                                                         \
    X(STORABLE_SET_COOKIE, "set-cookie", "RFC 9111 7.3")                                                               \
    X(STORABLE_NO_FRESHNESS, "no-freshness", "RFC 9111 3")                                                             \
    X(STORABLE_VARY_ANY, "vary", "RFC 9111 4.1")                                                                       \
    X(STORABLE_RULE, "rule", "site rule")                                                                              \
    X(STORABLE_TOO_MANY_TAGS, "too-many-tags", "interface")                                                            \
    X(STORABLE_MALFORMED, "malformed", "RFC 9111 4.2.1")

typedef enum storable {
#define X(id, word, section) id,
    STORABLE_REASONS(X)
#undef X
} storable_t;

/* POST: once the caller has seen that the response is the target's own representation (invalidate_is_target), it may be
 * kept for GET where it says how long it is fresh (RFC 9110 9.3.3). */
storable_t storable_decide(method_t method, const fields_t *request, int status, const fields_t *response,
                           const stored_t *described, const rules_t *rules, arena_t *scratch);
/* Takes off the fields that a qualified private="…" or no-cache="…" lists (RFC 9111 5.2.2.4, 5.2.2.7). Call it on the
 * fields that will be stored, before stored_describe and storable_decide: while a listed field is still there, both
 * take the qualified directive for the unqualified one, so a caller that doesn't strip is safe, only less lucky. */
void storable_strip(fields_t *response, arena_t *scratch);
const char *storable_word(storable_t s);
const char *storable_section(storable_t s);

#endif
