/* May this response be stored by a shared cache? RFC 9111 3 and 3.5, RFC 9213, the site's rules, and what experience
 * adds (Set-Cookie; error answers to odd requests). Pure. The verdict carries its reason. */
#ifndef BRINK_POLICY_STORABLE_H
#define BRINK_POLICY_STORABLE_H

#include "edge/policy/stored.h"
#include "edge/policy/why.h"

/* Why (not): a row of storable.def. */
typedef enum storable {
#define STORABLE_REASON(id, word, section) id,
#include "edge/policy/storable.def"
} storable_t;

/* 206: where the caller has made a part of it (part_describe). POST: once the caller has seen that the response is the
 * target's own representation (invalidate_is_target), it may be kept for GET where it says how long it is fresh (RFC
 * 9110 9.3.3). */
storable_t storable_decide(method_t method, const fields_t *request, int status, const fields_t *response,
                           const stored_t *described, const rules_t *rules, arena_t *scratch);
/* The same decision, told rule by rule. */
storable_t storable_explain(method_t method, const fields_t *request, int status, const fields_t *response,
                            const stored_t *described, const rules_t *rules, arena_t *scratch, why_t *why);
/* Takes off the fields that a qualified private="…" or no-cache="…" lists (RFC 9111 5.2.2.4, 5.2.2.7). Call it on the
 * fields that will be stored, before stored_describe and storable_decide: while a listed field is still there, both
 * take the qualified directive for the unqualified one, so a caller that doesn't strip is safe, only less lucky. */
void storable_strip(fields_t *response, arena_t *scratch);
/* A note that what came last for a key could not be shared, good for `lifetime` ms: reuse_decide says UNUSABLE,
 * hit-for-miss. `why` is kept with it: storable_noted. */
void storable_note(stored_t *out, storable_t why, msec_t now_wall, msec_t lifetime);
storable_t storable_noted(const stored_t *note);
const char *storable_word(storable_t s);
const char *storable_section(storable_t s);

#endif
