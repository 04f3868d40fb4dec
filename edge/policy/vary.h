/* Selecting fields (RFC 9111 4.1): what a stored response remembers of the request that produced it. Pure.
 *
 * The packed form is opaque bytes: the names that Vary listed and the normalised values of the request. Normalisation
 * is by meaning: Accept-Encoding and Accept-Language by their sorted, weighted members, others by whitespace and order
 * of lines. */
#ifndef BRINK_POLICY_VARY_H
#define BRINK_POLICY_VARY_H

#include "edge/base/hash.h"
#include "edge/http/fields.h"

enum { VARY_MAX_NAMES = 16, VARY_MAX_BYTES = 8 * 1024 }; /* beyond: treated as Vary: * */

/* Packs for a response. ERR_OK with .n == 0: no Vary. ERR_RANGE: "*" somewhere, or over the ceilings: never matches. */
err_t vary_pack(arena_t *a, const fields_t *response, const fields_t *request, span_t *packed);
/* Does the packed form select this request? An empty one selects all. Malformed bytes select nothing. */
bool vary_match(span_t packed, const fields_t *request, arena_t *scratch);
/* The same, and where only Accept-Language differs: is the response in the one language that the request prefers to all
 * others? Then nothing better can come. For when nothing matches exactly. */
bool vary_match_language(span_t packed, const fields_t *request, arena_t *scratch);
/* For people: takes the next selecting field off a packed form, with the value that the request had in normal form (.p
 * NULL: it had none); `entry` is a packed form of that field alone. False: no more. */
bool vary_next(span_t *packed, span_t *entry, span_t *name, span_t *value);
/* Identity of a variant within its key: equal packed forms ↔ equal digests. Zero for no Vary. */
uint64_t vary_digest(span_t packed);
/* Do two packed forms list the same names? (For choosing what a new response replaces.) */
bool vary_same_names(span_t a, span_t b);

#endif
