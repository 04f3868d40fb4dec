/* One purge as people write it: the JSON body of POST /v1/purge and of the stream's entries, and the payloads of the
 * channel. Pure.
 *
 *   {"urls":[…], "tags":[…], "prefixes":[…], "hosts":[…], "everything":true, "soft":true, "wait":"fleet",
 * "timeout":"2s", "sites":[…], "gap":true}
 *
 * "files" and "purge_everything" are other names of "urls" and "everything". An unknown member is an error, so that a
 * misspelt selector never passes for a purge that was done. */
#ifndef BRINK_PURGE_MESSAGE_H
#define BRINK_PURGE_MESSAGE_H

#include "edge/base/arena.h"
#include "edge/base/err.h"
#include "edge/base/span.h"
#include "edge/base/time.h"
#include "purge/ledger.h"

enum {
    MESSAGE_MAX_BYTES = 1024 * 1024,
    MESSAGE_MAX_VALUES = 10000, /* all selectors together */
    MESSAGE_MAX_SITES = 256
};

typedef enum message_kind {
    MESSAGE_URL,
    MESSAGE_TAG,
    MESSAGE_PREFIX,
    MESSAGE_HOST,
    MESSAGE_ALL,
    MESSAGE_GAP,
    MESSAGE_KINDS
} message_kind_t;
extern const char *const message_kind_names[MESSAGE_KINDS]; /* "url", "tag", "prefix", "host", "everything", "gap" */

typedef enum message_wait { MESSAGE_WAIT_NONE, MESSAGE_WAIT_LOCAL, MESSAGE_WAIT_FLEET } message_wait_t;

typedef struct message_list {
    span_t *v;
    size_t n;
} message_list_t;

typedef struct message {
    message_list_t urls, tags, prefixes, hosts, sites;
    bool everything, soft, gap;
    message_wait_t wait;
    msec_t timeout; /* -1: not given */
} message_t;

/* What is wrong with a body. `status` is the HTTP status that says so: 400, 413 or 422. */
typedef struct message_error {
    int status;
    char text[256];
} message_error_t;

/* Who wrote it: clients may not say gap or sites; entries of the stream may. */
typedef enum message_from { MESSAGE_FROM_CLIENT, MESSAGE_FROM_STREAM } message_from_t;

/* All spans live in the arena. ERR_SYNTAX 400, ERR_TOO_BIG 413, ERR_RANGE 422. */
err_t message_parse(span_t json, message_from_t from, arena_t *a, message_t *out, message_error_t *err);
/* A payload of the channel: a tag, a URL (http://, https://), or the JSON body ({). */
err_t message_parse_payload(span_t payload, arena_t *a, message_t *out, message_error_t *err);
/* The canonical body, without wait and timeout: equal messages give equal bytes. malloc'ed. */
char *message_format(const message_t *m, size_t *n);
/* Checks what is already in a message_t (header-shaped purges): values that can't be, no selector at all. */
err_t message_validate(const message_t *m, message_error_t *err);

/* The message as values of the ledger, in the arena. `normalise` as in purge_options_t. A URL that can't be normalised:
 * ERR_RANGE with its text in bad, unless `lenient` (then it is left out and counted in *left_out). */
typedef struct message_compiled {
    ledger_value_t *values;
    size_t n, left_out;
    mark_t level;
} message_compiled_t;
typedef err_t message_normalise_fn(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *uri_digest);
err_t message_compile(const message_t *m, message_normalise_fn *normalise, void *ctx, bool lenient, arena_t *a,
                      message_compiled_t *out, span_t *bad);

#endif
