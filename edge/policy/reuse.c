/* May a stored response answer this request? Everything needed was worked out when the response was stored, so a
 * decision is a few comparisons. The questions stand in the order of their severity: first what nothing can lift (the
 * ledger's word, what the response forbids), then what the client asks for, then freshness, then the ways in which
 * something stale may still be used. */
#include "edge/policy/reuse.h"

#include "edge/base/check.h"
#include "edge/http/cache_control.h"

static const struct {
    const char *word, *section;
} reasons[] = {
#define X(id, word, section) [id] = {word, section},
    REUSE_REASONS(X)
#undef X
};

static msec_t milliseconds(int64_t seconds)
{
    return seconds == CACHE_CONTROL_ABSENT ? -1 : seconds * MSEC_PER_SEC;
}

static bool pragma_no_cache(const fields_t *request)
{
    span_t line;
    for (size_t i = 0; fields_next(request, SPAN("pragma"), &i, &line);) {
        while (line.n > 0) {
            size_t comma = span_find(line, ',');
            if (span_caseeq(span_trim(span_upto(line, comma)), SPAN("no-cache")))
                return true;
            line = span_from(line, comma + 1);
        }
    }
    return false;
}

void request_cc_parse(request_cc_t *out, const fields_t *request)
{
    *out = (request_cc_t){
        .max_age = -1,
        .min_fresh = -1,
        .max_stale = -1,
        .stale_if_error = -1,
        .has_authorization = fields_has(request, SPAN("authorization")),
        .has_range = fields_has(request, SPAN("range")),
    };
    cache_control_t cc;
    if (!cache_control_parse(&cc, request, SPAN("cache-control"))) {
        out->no_cache = pragma_no_cache(request);
        return;
    }
    /* no-cache="x" has no meaning in a request: the client wants no-cache of some kind. */
    out->no_cache = (cc.flags & (CACHE_CONTROL_NO_CACHE | CACHE_CONTROL_NO_CACHE_FIELDS)) != 0;
    out->no_store = (cc.flags & CACHE_CONTROL_NO_STORE) != 0;
    out->only_if_cached = (cc.flags & CACHE_CONTROL_ONLY_IF_CACHED) != 0;
    out->max_stale_any = (cc.flags & CACHE_CONTROL_MAX_STALE_ANY) != 0;
    out->max_age = milliseconds(cc.max_age);
    out->min_fresh = milliseconds(cc.min_fresh);
    out->max_stale = milliseconds(cc.max_stale);
    out->stale_if_error = milliseconds(cc.stale_if_error);
}

static reuse_verdict_t verdict(reuse_t use, reuse_reason_t reason)
{
    return (reuse_verdict_t){.use = use, .reason = reason};
}

/* Stale, or to be taken for it. `stale_for` is what the windows of RFC 5861 count: the time since it became stale by
 * its own age, which is negative for a response that only a soft purge made stale. */
static reuse_verdict_t decide_stale(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t stale_for)
{
    bool told = mark == MARK_SOFT || (s->flags & STORED_WAS_STALE) != 0;
    bool willing = rq->max_stale_any || rq->max_stale >= 0;
    /* "Unless the max-stale request directive is also present, the client does not wish to receive a stale response."
     */
    bool averse = (rq->max_age >= 0 && !willing) || rq->min_fresh >= 0 ||
                  (rq->max_stale >= 0 && !rq->max_stale_any && stale_for > rq->max_stale);
    if ((s->flags & STORED_MUST_REVALIDATE) == 0 && !averse) {
        if (s->stale_while_revalidate > 0 && stale_for <= s->stale_while_revalidate)
            return verdict(REUSE_STALE_REVALIDATE, REUSE_BECAUSE_SWR);
        if (!told && (s->flags & STORED_NO_MAX_STALE) == 0 && willing &&
            (rq->max_stale_any || stale_for <= rq->max_stale))
            return verdict(REUSE_STALE, REUSE_BECAUSE_MAX_STALE);
    }
    return verdict(REUSE_VALIDATE, mark == MARK_SOFT ? REUSE_BECAUSE_SOFT_PURGE : REUSE_BECAUSE_STALE);
}

static reuse_verdict_t decide(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall)
{
    if (mark == MARK_HARD)
        return verdict(REUSE_UNUSABLE, REUSE_BECAUSE_HARD_PURGE);
    msec_t age = stored_age(s, now_wall);
    msec_t ttl = stored_ttl(s, now_wall);
    if (s->flags & STORED_HIT_FOR_MISS)
        return verdict(REUSE_UNUSABLE, ttl > 0 ? REUSE_BECAUSE_HIT_FOR_MISS : REUSE_BECAUSE_STALE);
    if (s->flags & STORED_VARY_ANY)
        return verdict(REUSE_UNUSABLE, REUSE_BECAUSE_VARY);
    if (mark == MARK_STRICT)
        return verdict(REUSE_VALIDATE, REUSE_BECAUSE_STRICT);
    if (rq->has_authorization && (s->flags & STORED_AUTH_SHARED) == 0)
        return verdict(REUSE_VALIDATE, REUSE_BECAUSE_AUTHORIZATION);
    if (s->flags & STORED_NO_CACHE)
        return verdict(REUSE_VALIDATE, REUSE_BECAUSE_NO_CACHE);

    bool fresh = ttl > 0 && mark == MARK_NONE && (s->flags & STORED_WAS_STALE) == 0;
    bool reload = false; /* asked for something newer, though nothing can be newer than immutable */
    bool immutable = fresh && (s->flags & STORED_IMMUTABLE) != 0;
    if (rq->no_cache) {
        if (!immutable)
            return verdict(REUSE_VALIDATE, REUSE_BECAUSE_REQUEST_NO_CACHE);
        reload = true;
    }
    /* max-age=0 is a reload even within the millisecond in which the response was stored. */
    if (rq->max_age == 0 || (rq->max_age > 0 && age > rq->max_age)) {
        if (!immutable)
            return verdict(REUSE_VALIDATE, REUSE_BECAUSE_REQUEST_MAX_AGE);
        reload = true;
    }
    if (!fresh)
        return decide_stale(s, mark, rq, -ttl);
    if (rq->min_fresh >= 0 && ttl < rq->min_fresh)
        return verdict(REUSE_VALIDATE, REUSE_BECAUSE_MIN_FRESH);
    return verdict(REUSE_HIT, reload ? REUSE_BECAUSE_IMMUTABLE : REUSE_BECAUSE_FRESH);
}

reuse_verdict_t reuse_decide(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall)
{
    reuse_verdict_t v = decide(s, mark, rq, now_wall);
    if (rq->only_if_cached && (v.use == REUSE_VALIDATE || v.use == REUSE_UNUSABLE))
        return verdict(REUSE_GATEWAY_TIMEOUT, REUSE_BECAUSE_ONLY_IF_CACHED);
    return v;
}

bool reuse_stale_if_error(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall)
{
    const uint32_t never = STORED_HIT_FOR_MISS | STORED_VARY_ANY | STORED_NO_CACHE | STORED_MUST_REVALIDATE;
    if (mark == MARK_HARD || mark == MARK_STRICT || (s->flags & never) != 0)
        return false;
    if (rq->has_authorization && (s->flags & STORED_AUTH_SHARED) == 0)
        return false;
    msec_t stale_for = -stored_ttl(s, now_wall);
    if (s->stale_if_error > 0 && stale_for <= s->stale_if_error)
        return true;
    /* The client's own word widens nothing that the response or the operator narrowed, and lifts no purge. */
    return mark == MARK_NONE && (s->flags & (STORED_NO_MAX_STALE | STORED_WAS_STALE)) == 0 && rq->stale_if_error > 0 &&
           stale_for <= rq->stale_if_error;
}

const char *reuse_word(reuse_reason_t r)
{
    CHECK((size_t)r < sizeof reasons / sizeof *reasons);
    return reasons[r].word;
}

const char *reuse_section(reuse_reason_t r)
{
    CHECK((size_t)r < sizeof reasons / sizeof *reasons);
    return reasons[r].section;
}
