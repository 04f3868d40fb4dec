/* What a request that changed something at the origin makes doubtful (RFC 9111 4.4, RFC 9875 3): stored responses for
 * its target and the URIs that the answer names, and what belongs to the groups that it lists. The ledger remembers it
 * for what is on its way or elsewhere; what is stored for the target is marked on the spot.
 *
 * Where the answer to a POST is itself to be kept for GET (RFC 9110 9.3.3), it stands for what is there after the
 * change: its position is that of the invalidation, provided that nothing else came between. */
#include "edge/base/log.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/policy/invalidate.h"
#include "edge/tbl/metrics.h"

static void fetch_invalidate_mark(object_t *o, void *arg)
{
    (void)arg;
    ledger_stamp_raise(&o->stamp, MARK_STRICT);
}

typedef struct fetch_positions {
    uint64_t last;
    bool alone; /* no other entry came between */
} fetch_positions_t;

static void fetch_invalidate_one(fetch_t *f, digest_t digest, fetch_positions_t *p)
{
    uint64_t at = ledger_invalidate(f->deps->ledger, digest, f->deps->loop->now.boot);
    p->alone &= at == p->last + 1;
    p->last = at;
    metrics_add(METRIC_INVALIDATIONS, 0, 1);
}

void fetch_invalidate(fetch_t *f, int status, const fields_t *fields)
{
    span_t uris[INVALIDATE_MAX];
    digest_t digests[INVALIDATE_MAX], *groups;
    size_t groups_n;
    object_t *o = f->response.object;
    int n = invalidate_targets(f->spec.method, status, &f->key, fields, &f->spec.site->key, &f->arena, uris, digests);
    if (n == 0)
        return;
    if (invalidate_groups(f->spec.method, status, &f->key, fields, &f->arena, &groups, &groups_n) != ERR_OK) {
        log_warn("%.*s invalidates more or longer groups than allowed: none of them", SPAN_ARG(f->key.uri));
        groups_n = 0;
    }
    ledger_subject_t subject = {
        .uri = f->key.uri, .uri_digest = f->key.uri_digest, .tags = object_tags(o), .tags_n = o->tags_n};
    fetch_positions_t p = {0};
    p.alone = ledger_check(f->deps->ledger, &subject, f->spec.began, &p.last) == MARK_NONE;
    for (int i = 0; i < n; i++)
        fetch_invalidate_one(f, digests[i], &p);
    for (size_t i = 0; i < groups_n; i++)
        fetch_invalidate_one(f, groups[i], &p);
    if (p.alone)
        ledger_stamp_init(&o->stamp, p.last); /* else the commit finds it covered by what it has done itself */
    store_each(f->deps->store, f->key.digest, fetch_invalidate_mark, NULL);
    if (f->deps->warm != NULL)
        warm_remove_key(f->deps->warm, f->key.digest); /* marks of this kind don't outlive the process */
}
