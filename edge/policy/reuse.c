/* May a stored response answer this request? Everything needed was worked out when the response was stored, so a
 * decision is a few comparisons. Reasons and rules stand in reuse.def: the request path and explain ask the same ones.
 */
#include "edge/policy/reuse.h"

#include "edge/base/check.h"
#include "edge/http/cache_control.h"

/* Bounds of what a disconnected cache does. */
#define REUSE_DISCONNECTED_LEAST ((msec_t)60 * MSEC_PER_SEC)
#define REUSE_DISCONNECTED_MOST ((msec_t)24 * 60 * 60 * MSEC_PER_SEC)

static const struct {
    const char *word, *section;
} reasons[] = {
#define REUSE_REASON(id, word, section) [id] = {word, section},
#include "edge/policy/reuse.def"
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
    out->no_transform = (cc.flags & CACHE_CONTROL_NO_TRANSFORM) != 0;
    out->max_age = milliseconds(cc.max_age);
    out->min_fresh = milliseconds(cc.min_fresh);
    out->max_stale = milliseconds(cc.max_stale);
    out->stale_if_error = milliseconds(cc.stale_if_error);
}

typedef struct question {
    const stored_t *s;
    mark_t mark;
    const request_cc_t *rq;
    msec_t age, ttl;
    bool fresh, immutable;
} question_t;

static inline bool has(const question_t *q, uint32_t flag)
{
    return (q->s->flags & flag) != 0;
}

/* max-age=0 is a reload even within the millisecond in which the response was stored. */
static inline bool too_old(const question_t *q)
{
    return q->rq->max_age == 0 || (q->rq->max_age > 0 && q->age > q->rq->max_age);
}

static bool willing(const question_t *q)
{
    return q->rq->max_stale_any || q->rq->max_stale >= 0;
}

/* Nobody needs to look at its age to know that it is stale. */
static bool told_stale(const question_t *q)
{
    return q->mark == MARK_SOFT || has(q, STORED_WAS_STALE);
}

/* What the windows of RFC 5861 count is the time since it became stale by its own age, which is negative for a response
 * that only a soft purge made stale. "Unless the max-stale request directive is also present, the client does not wish
 * to receive a stale response." */
static bool may_be_stale(const question_t *q)
{
    const request_cc_t *rq = q->rq;
    bool averse = (rq->max_age >= 0 && !willing(q)) || rq->min_fresh >= 0 ||
                  (rq->max_stale >= 0 && !rq->max_stale_any && -q->ttl > rq->max_stale);
    return !averse && !has(q, STORED_MUST_REVALIDATE);
}

const char *reuse_then(reuse_t use)
{
    static const char *const words[] = {[REUSE_HIT] = "hit",
                                        [REUSE_STALE] = "stale",
                                        [REUSE_STALE_REVALIDATE] = "stale, and refresh",
                                        [REUSE_VALIDATE] = "revalidate",
                                        [REUSE_UNUSABLE] = "miss",
                                        [REUSE_GATEWAY_TIMEOUT] = "504"};
    return words[use];
}

/* Inlined twice: once without anybody who wants to know why. */
static inline __attribute__((always_inline)) reuse_verdict_t decide(const question_t *q, why_t *why)
{
#define REUSE_RULE(use, reason, says, condition)                                                                       \
    if (why_ask(why, condition, reasons[reason].word, reasons[reason].section, says, reuse_then(use)))                 \
        return (reuse_verdict_t){use, reason};
#include "edge/policy/reuse.def"
    __builtin_unreachable(); /* the last rule always holds */
}

static inline __attribute__((always_inline)) reuse_verdict_t ask(const stored_t *s, mark_t mark, const request_cc_t *rq,
                                                                 msec_t now_wall, why_t *why)
{
    question_t q = {.s = s, .mark = mark, .rq = rq, .age = stored_age(s, now_wall), .ttl = stored_ttl(s, now_wall)};
    q.fresh = q.ttl > 0 && mark == MARK_NONE && !has(&q, STORED_WAS_STALE);
    q.immutable = q.fresh && has(&q, STORED_IMMUTABLE);
    reuse_verdict_t v = decide(&q, why);
    const reuse_reason_t only = REUSE_BECAUSE_ONLY_IF_CACHED;
    if (why_ask(why, rq->only_if_cached && (v.use == REUSE_VALIDATE || v.use == REUSE_UNUSABLE), reasons[only].word,
                reasons[only].section, "the request wants what is stored or nothing, and nothing stored may be used",
                reuse_then(REUSE_GATEWAY_TIMEOUT)))
        return (reuse_verdict_t){REUSE_GATEWAY_TIMEOUT, only};
    return v;
}

reuse_verdict_t reuse_decide(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall)
{
    return ask(s, mark, rq, now_wall, NULL);
}

reuse_verdict_t reuse_explain(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall, why_t *why)
{
    return ask(s, mark, rq, now_wall, why);
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

/* As long again as it was fresh: what was meant to hold for a second isn't shown a day later, and what holds for years
 * isn't shown for years. Those who have said how long stale use may last have said it. */
msec_t reuse_disconnected_most(const stored_t *s)
{
    const uint32_t never = STORED_HIT_FOR_MISS | STORED_VARY_ANY | STORED_NO_CACHE | STORED_MUST_REVALIDATE |
                           STORED_NO_MAX_STALE | STORED_WAS_STALE | STORED_STALE_SAID;
    if ((s->flags & never) != 0 || s->lifetime <= 0)
        return 0;
    return s->lifetime < REUSE_DISCONNECTED_LEAST  ? REUSE_DISCONNECTED_LEAST
           : s->lifetime > REUSE_DISCONNECTED_MOST ? REUSE_DISCONNECTED_MOST
                                                   : s->lifetime;
}

/* Whoever asked for something fresh, or as fresh as that, gets the error rather than this. */
bool reuse_disconnected(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall)
{
    question_t q = {.s = s, .mark = mark, .rq = rq, .ttl = stored_ttl(s, now_wall)};
    msec_t most = reuse_disconnected_most(s);
    if (mark != MARK_NONE || rq->no_cache || (rq->has_authorization && !has(&q, STORED_AUTH_SHARED)))
        return false;
    return most > 0 && -q.ttl <= most && may_be_stale(&q);
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
