/* Tags of a response: Surrogate-Key (space separated), Cache-Tag (comma separated), Cache-Groups (RFC 9875, a list of
 * strings; scoped to the origin, so it is kept apart from tags). Pure. */
#ifndef BRINK_POLICY_TAGS_H
#define BRINK_POLICY_TAGS_H

#include "edge/base/hash.h"
#include "edge/http/fields.h"

enum {
    TAGS_MAX = 1000,                /* distinct names */
    TAGS_MAX_SCOPED = TAGS_MAX * 2, /* digests, where each name may also be a group's */
    TAG_MAX_BYTES = 1024
};

/* Digests of the distinct tags into an array from the arena (a group's name counts as a tag: a purge by tag matches
 * it). ERR_TOO_BIG: more or longer ones than allowed; ERR_SYNTAX: one that no purge can name (not UTF-8, or with
 * control characters). The response must then not be stored. */
err_t tags_collect(const fields_t *response, arena_t *a, digest_t **out, size_t *n);
/* The same, and for each group also its digest within the origin, for invalidation by Cache-Group-Invalidation. Whoever
 * stores asks tags_collect first (storable_decide does): the ceiling here is that of digests. */
err_t tags_collect_scoped(const fields_t *response, span_t scheme, span_t host, arena_t *a, digest_t **out, size_t *n);
/* What the Cache-Group-Invalidation of a response invalidates within the origin (RFC 9875 3); the caller has made sure
 * that the method was unsafe: invalidate_groups does. */
err_t tags_groups_invalidated(const fields_t *response, span_t scheme, span_t host, arena_t *a, digest_t **out,
                              size_t *n);
digest_t tags_digest(span_t tag); /* byte by byte */
digest_t tags_group_digest(span_t scheme, span_t host, span_t group);

#endif
